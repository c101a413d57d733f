"""`mer-r1 synth`: manifests out, wrong settings named."""

from __future__ import annotations

from pathlib import Path

import pytest

from mer_r1.analysis.check import check_manifest
from mer_r1.commands import main
from mer_r1.data.manifest import read_manifest


def synth(out: Path, *options: str) -> int:
    return main(["synth", str(out), "--workers", "1", *options])


@pytest.mark.slow
def test_the_corpus_is_made_its_manifests_are_printed_and_check_finds_them_sound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert synth(tmp_path / "out", "--num", "10", "--seconds", "0.5") == 0
    printed = capsys.readouterr().out
    total = 0
    for split in ("train", "val", "test"):
        path = tmp_path / "out" / f"{split}.jsonl"
        assert str(path) in printed
        total += len(read_manifest(path))
        assert check_manifest(path).problems == []
    assert total == 10


def test_pictures_are_made_with_a_fourth_manifest_and_check_finds_all_sound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert synth(tmp_path / "out", "--num", "10", "--pictures") == 0
    printed = capsys.readouterr().out
    assert "Making pictures" in printed
    total = 0
    for split in ("train", "val", "test", "other"):
        path = tmp_path / "out" / f"{split}.jsonl"
        assert str(path) in printed
        total += len(read_manifest(path))
        assert check_manifest(path).problems == []
    assert total == 10


def test_the_form_reaches_the_reasoning(tmp_path: Path) -> None:
    assert synth(tmp_path, "--num", "5", "--seconds", "0.5", "--form", "set_steps") == 0
    assert all((sample.reasoning or "").startswith("<step1>") for sample in read_manifest(tmp_path / "train.jsonl"))


def test_the_same_command_again_is_done_at_once(tmp_path: Path) -> None:
    assert synth(tmp_path, "--num", "5", "--seconds", "0.5") == 0
    clip = next((tmp_path / "clips").iterdir())
    clip.write_bytes(b"kept")
    assert synth(tmp_path, "--num", "5", "--seconds", "0.5") == 0
    assert clip.read_bytes() == b"kept"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seconds", "0.4"), "--seconds 0.4"),
        (("--seconds", "nan"), "--seconds nan"),
        (("--seconds", "61"), "--seconds 61"),
        (("--seed", "-1"), "--seed -1"),
        (("--num", "4"), "--num 4"),
        (("--workers", "-1"), "--workers -1"),
        (("--form", "answer"), "--form answer: give one of think_answer, set_steps"),
        (("--pictures",), "--num 5: pictures need at least 10"),
        (("--pictures", "--seconds", "1.0"), "--seconds 1.0: a picture has no length"),
        (("--pictures", "--form", "set_steps"), "--form set_steps: a picture's reasoning is always"),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_is_written(
    options: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert synth(tmp_path / "out", "--num", "5", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
