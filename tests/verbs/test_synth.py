"""`mer-r1 synth`: manifests out, wrong settings named."""

from __future__ import annotations

from pathlib import Path

import pytest

from mer_r1.errors import InputError
from mer_r1.manifest import read_manifest
from mer_r1.verbs.check import run as check
from mer_r1.verbs.synth import run


def test_the_corpus_is_made_its_manifests_are_printed_and_check_finds_them_sound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert run(tmp_path / "out", num=10, seconds=0.5, workers=1) == 0
    printed = capsys.readouterr().out
    total = 0
    for split in ("train", "val", "test"):
        path = tmp_path / "out" / f"{split}.jsonl"
        assert str(path) in printed
        total += len(read_manifest(path))
        assert check(path) == 0
    assert total == 10


def test_the_same_command_again_is_done_at_once(tmp_path: Path) -> None:
    assert run(tmp_path, num=5, seconds=0.5, workers=1) == 0
    clip = next((tmp_path / "clips").iterdir())
    clip.write_bytes(b"kept")
    assert run(tmp_path, num=5, seconds=0.5, workers=1) == 0
    assert clip.read_bytes() == b"kept"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"seconds": 0.4}, "--seconds 0.4"),
        ({"seconds": float("nan")}, "--seconds nan"),
        ({"seconds": 61.0}, "--seconds 61"),
        ({"seed": -1}, "--seed -1"),
        ({"num": 4}, "--num 4"),
        ({"workers": -1}, "--workers -1"),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_is_written(
    settings: dict[str, float], named: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=named):
        run(tmp_path / "out", **({"num": 5, "seconds": 0.5, "workers": 1} | settings))  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
