"""`mer-r1 predict`: any clip, both modes, for people and as JSON lines; a manifest row by row, resumable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mer_r1.commands import main
from mer_r1.data.manifest import read_manifest
from mer_r1.data.sample import Prediction
from mer_r1.display.predictions import print_predictions
from tests.generation.server import ANSWER, be_quick
from tests.judge.endpoint import Reply, says, serve

SHORT = "5"  # tokens of an answer


def predict(model: str, *arguments: object, tokens: str = SHORT) -> int:
    return main(["predict", "--model", model, "--max-new-tokens", tokens, *map(str, arguments)])


@pytest.fixture(scope="module")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mer_r1.synthetic.corpus import Plan, write_corpus

    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(Plan(num=5, seed=0), folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random tiny Thinker in a run's folder."""
    from mer_r1.models.tiny.omni import write_tiny
    from mer_r1.synthetic.corpus import minimer_texts

    folder = tmp_path_factory.mktemp("run")
    write_tiny(folder / "model", minimer_texts(200))
    return str(folder)


@pytest.fixture
def clip(corpus_folder: Path) -> Path:
    return next(path for path in sorted((corpus_folder / "clips").iterdir()) if path.suffix == ".mp4")


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")


@pytest.mark.slow
def test_a_clip_is_answered_in_both_modes_with_words_or_an_honest_line(
    clip: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(model, clip) == 0
    printed = capsys.readouterr().out
    fast, slow = printed.split(f"{clip}  slow thinking")
    assert fast.startswith(f"{clip}  fast thinking")
    for part in (fast, slow):
        assert "in no wheel" in part or "%" in part or "no emotion word (" in part


def test_which_model_answers_is_said_beside_the_answers_and_a_toy_is_called_one(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(model, "--subtitle", "It is awful news.", "--mode", "fast", "--json") == 0
    printed = capsys.readouterr()
    assert printed.err.startswith(f"Model: {model} (Qwen2_5OmniModel, 1.")
    assert printed.err.count("\n") == 1
    assert "A toy: its answers say nothing about people" in printed.err
    json.loads(printed.out)


def test_json_lines_are_the_rows_of_a_predictions_file(
    clip: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(model, clip, clip, "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["id"], row["mode"]) for row in rows] == [
        (str(clip), mode) for _ in range(2) for mode in ("fast", "slow")
    ]
    for row in rows:
        assert set(row) == set(Prediction.__dataclass_fields__)
        assert row["status"] in ("ok", "truncated", "no_answer")
        assert len(row["media"]["frame_times_s"]) == 4
        assert row["media"]["audio_taken_s"] == pytest.approx(1.0, abs=0.1)
        assert all(0 < share <= 1 for share in (row["confidence"] or {}).values())
    assert rows[0]["raw"].startswith("<think></think><answer>")
    assert rows[:2] == rows[2:]


@pytest.mark.slow
def test_a_clip_that_fails_is_printed_as_failed_beside_the_others_and_ends_in_one(
    clip: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.mp4").write_text("this is no film")
    clips = (clip, tmp_path / "text.mp4", clip)
    assert predict(model, *clips, "--mode", "fast") == 1
    printed = capsys.readouterr().out
    assert printed.count("fast thinking") == 3
    assert f"  failed: {tmp_path / 'text.mp4'}: is not a media file" in printed
    assert predict(model, *clips, "--mode", "fast", "--json") == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["status"] == "error" for row in rows] == [False, True, False]
    assert rows[0]["raw"].startswith("<think></think>")


def test_a_model_at_an_address_is_given_clips(
    clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("httpx")
    be_quick(monkeypatch)
    with serve(lambda number, body: says(ANSWER) if number else Reply(400, b"{}")) as endpoint:
        assert predict("omni-7b", clip, "--url", endpoint.url, "--mode", "slow") == 1
        assert "failed: " in capsys.readouterr().out
        assert predict("omni-7b", clip, "--url", endpoint.url, "--mode", "slow") == 0
    printed = capsys.readouterr().out
    assert f"{clip}  slow thinking" in printed
    assert "happy" in printed


@pytest.mark.slow
def test_a_row_whose_clip_is_lost_is_named_the_others_are_answered_and_it_is_asked_again(
    clip: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, out = tmp_path / "lost.jsonl", tmp_path / "out.jsonl"
    manifest.write_text('{"id": "a", "video": "lost.mp4"}\n{"id": "b", "subtitle": "It is awful news."}\n')
    asked = ("--manifest", manifest, "--out", out, "--mode", "slow")
    assert predict(model, *asked) == 1
    assert "1 of 2 answers failed, such as a (slow)" in capsys.readouterr().out
    rows = {row["id"]: row for row in rows_of(out)}
    assert rows["a"]["status"] == "error"
    assert "lost.mp4: no such file" in rows["a"]["error"]
    assert rows["b"]["status"] != "error"

    (tmp_path / "lost.mp4").write_bytes(clip.read_bytes())
    assert predict(model, *asked) == 0
    assert [row["id"] for row in rows_of(out)] == ["a", "b", "a"]
    assert rows_of(out)[-1]["status"] != "error"


def test_a_subtitle_alone_is_enough(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(model, "--subtitle", "It is awful news.", "--mode", "slow") == 0
    assert capsys.readouterr().out.startswith("subtitle  slow thinking")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["[bold]x.mp4", "[", "[\\\\].mp4", "<script>.mp4", ":smile:.mp4", "a b\\.mp4"])
def test_a_file_name_is_printed_as_it_stands(
    name: str, clip: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / name
    copy.write_bytes(clip.read_bytes())
    predict(model, copy, "--subtitle", "[bold]x <script> <|im_end|>", "--mode", "fast", tokens="2")
    assert f"{copy}  fast thinking" in capsys.readouterr().out.splitlines()[0]


def test_what_a_model_says_can_neither_style_nor_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say = "[bold]x :smile: \x1b[2Jy\x9b5m"
    print_predictions(
        [
            Prediction(
                "\x1b]0;id", "slow", say, say, ("[red]happy", "\x1b[31msad"), "ok", confidence={"[red]happy": 0.5}
            ),
            Prediction("b", "fast", say, "", (), "no_answer"),
            Prediction("c", "fast", "", "", (), "error", error=say),
        ]
    )
    printed = capsys.readouterr().out
    assert printed.count("[bold]x :smile: ") == 3
    assert "[red]happy" in printed
    assert "50%" in printed
    assert "no emotion word (no_answer)" in printed
    assert not {"\x1b", "\x9b"} & set(printed)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
def test_a_manifest_is_written_once_row_by_row_and_mode_by_mode(
    corpus_folder: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, out = corpus_folder / "train.jsonl", tmp_path / "deep" / "out.jsonl"
    ids = [sample.id for sample in read_manifest(manifest)]
    assert predict(model, "--manifest", manifest, "--out", out) == 0
    whole = out.read_bytes()
    assert [(row["id"], row["mode"]) for row in rows_of(out)] == [(i, mode) for mode in ("fast", "slow") for i in ids]
    assert predict(model, "--manifest", manifest, "--out", out) == 0
    assert out.read_bytes() == whole

    out.write_bytes(whole[: whole.rindex(b'"mode"')])  # cut off within the last line
    assert predict(model, "--manifest", manifest, "--out", out) == 0
    assert rows_of(out) == [json.loads(line) for line in whole.splitlines()]
    assert sorted(path.name for path in out.parent.iterdir()) == ["out.jsonl", "out.jsonl.settings.json"]
    capsys.readouterr()
    assert predict(model, "--manifest", manifest, "--out", out, tokens="6") == 2
    assert "made with max_new_tokens 5, not 6" in capsys.readouterr().err
    assert rows_of(out) == [json.loads(line) for line in whole.splitlines()]


@pytest.mark.slow
def test_one_mode_may_be_asked_first_and_the_other_later(corpus_folder: Path, model: str, tmp_path: Path) -> None:
    manifest, out = corpus_folder / "val.jsonl", tmp_path / "out.jsonl"
    for mode in ("slow", "both"):
        predict(model, "--manifest", manifest, "--out", out, "--mode", mode, tokens="2")
    assert [row["mode"] for row in rows_of(out)] == ["slow", "fast"]


def test_rows_with_line_separators_survive_a_cut_off_line(corpus_folder: Path, model: str, tmp_path: Path) -> None:
    manifest, out = corpus_folder / "val.jsonl", tmp_path / "out.jsonl"
    kept = {"id": "other", "mode": "slow", "raw": "a\u2028b\x85c"}
    out.write_text(json.dumps(kept, ensure_ascii=False) + '\n{"id": "cut', encoding="utf-8")
    predict(model, "--manifest", manifest, "--out", out, "--mode", "slow", tokens="2")
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").rstrip("\n").split("\n")]
    assert rows[0] == kept
    assert len(rows) == 2


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b'wrong\n{"id": "cut', b'{"id": \n{"id": "a"}\n'])
def test_a_predictions_file_that_is_none_is_named_and_left_alone(
    data: bytes, corpus_folder: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    out.write_bytes(data)
    assert predict(model, "--manifest", corpus_folder / "val.jsonl", "--out", out) == 2
    assert "out.jsonl:1: not" in capsys.readouterr().err
    assert out.read_bytes() == data


WRONG = [
    ((), "nothing to predict"),
    (("--subtitle", " \n"), "nothing to predict"),
    (("--manifest", "a.jsonl"), "--manifest: goes with --out"),
    (("--manifest", "a.jsonl", "--out", "b", "c.mp4"), "without CLIP"),
    (("--manifest", "a.jsonl", "--out", "b", "--subtitle", "said"), "--subtitle"),
    (("--manifest", "a.jsonl", "--out", "b", "--candidates", "joy"), "--candidates"),
    (("--manifest", "a.jsonl", "--out", "b", "--json"), "--json"),
    (("--out", "b", "--subtitle", "said"), "--out: goes with --manifest"),
    (("--subtitle", "said", "--max-new-tokens", "0"), "--max-new-tokens 0"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[message for _, message in WRONG])
def test_arguments_that_do_not_go_together_are_named(
    arguments: tuple[str, ...], message: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(model, *arguments) == 2
    assert message in capsys.readouterr().err
