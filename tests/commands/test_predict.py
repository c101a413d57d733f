"""`mer-r1 predict`: any clip, both modes, for people and as JSON lines; a manifest row by row, resumable."""

from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Any

import pytest

from mer_r1.data.manifest import read_manifest
from mer_r1.data.sample import Mode, Prediction
from mer_r1.errors import InputError
from mer_r1.generation.make import DEFAULT_MODEL
from mer_r1.pipelines.predict import as_json, clip_sample, predict_clips, run, show

SHORT = 5  # tokens of an answer


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


def test_a_clip_is_answered_in_both_modes_with_words_or_an_honest_line(
    clip: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([clip], source=model, max_new_tokens=SHORT) == 0
    printed = capsys.readouterr().out
    fast, slow = printed.split(f"{clip}  slow thinking")
    assert fast.startswith(f"{clip}  fast thinking")
    for part in (fast, slow):
        assert "in no wheel" in part or "%" in part or "no emotion word (" in part


def test_json_lines_are_the_rows_of_a_predictions_file(
    clip: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    modes: tuple[Mode, ...] = ("fast", "slow")
    assert run([clip, clip], modes=modes, source=model, max_new_tokens=SHORT, json_lines=True) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["id"], row["mode"]) for row in rows] == [(str(clip), mode) for _ in range(2) for mode in modes]
    for row in rows:
        assert set(row) == set(Prediction.__dataclass_fields__)
        assert row["status"] in ("ok", "truncated", "no_answer")
        assert len(row["media"]["frame_times_s"]) == 4
        assert row["media"]["audio_taken_s"] == pytest.approx(1.0, abs=0.1)
        assert all(0 < share <= 1 for share in (row["confidence"] or {}).values())
    assert rows[0]["raw"].startswith("<think></think><answer>")
    assert rows[:2] == rows[2:]


CLIPS = [
    ("lost.mp4", None, "no such file"),
    ("lost.wav", None, "no such file"),
    ("empty.mp4", b"", "is empty"),
    ("text.mp4", b"this is no film", "is not a media file"),
    ("text.png", b"this is no picture", "is not a media file"),
]


@pytest.mark.parametrize(("name", "data", "message"), CLIPS, ids=[name for name, _, _ in CLIPS])
def test_a_clip_that_is_none_is_named_and_nothing_is_printed(
    name: str,
    data: bytes | None,
    message: str,
    clip: Path,
    model: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=f"^{tmp_path / name}: {message}"):
        run([clip, tmp_path / name], source=model, max_new_tokens=SHORT)
    with pytest.raises(InputError, match="is a directory"):
        run([tmp_path], source=model, max_new_tokens=SHORT)
    assert capsys.readouterr().out == ""


def test_a_row_whose_clip_is_lost_is_named_the_others_are_answered_and_it_is_asked_again(
    clip: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, out = tmp_path / "lost.jsonl", tmp_path / "out.jsonl"
    manifest.write_text('{"id": "a", "video": "lost.mp4"}\n{"id": "b", "subtitle": "It is awful news."}\n')
    asked: dict[str, Any] = {"manifest": manifest, "out": out, "modes": ("slow",), "source": model}
    assert run([], **asked, max_new_tokens=SHORT) == 1
    assert "1 of 2 answers failed, such as a (slow)" in capsys.readouterr().out
    rows = {row["id"]: row for row in rows_of(out)}
    assert rows["a"]["status"] == "error"
    assert "lost.mp4: no such file" in rows["a"]["error"]
    assert rows["b"]["status"] != "error"

    (tmp_path / "lost.mp4").write_bytes(clip.read_bytes())
    assert run([], **asked, max_new_tokens=SHORT) == 0
    assert [row["id"] for row in rows_of(out)] == ["a", "b", "a"]
    assert rows_of(out)[-1]["status"] != "error"


def test_a_line_separator_in_an_answer_stays_in_its_json_line() -> None:
    text = as_json([Prediction("a", "slow", "x\u2028y\ny", "", (), "no_answer")] * 2)
    assert [json.loads(line)["raw"] for line in text.split("\n")] == ["x\u2028y\ny"] * 2


def test_a_subtitle_alone_is_enough(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([], subtitle="It is awful news.", modes=("slow",), source=model, max_new_tokens=SHORT) == 0
    assert capsys.readouterr().out.startswith("subtitle  slow thinking")


def test_a_subtitle_goes_with_a_clip_and_changes_what_is_asked(clip: Path, model: str) -> None:
    texts = (None, "It is awful news.", "I got what I wished for.")
    assert len({predict_clips([clip], text, ("slow",), model, 20)[0].raw for text in texts}) > 1


@pytest.mark.parametrize("name", ["[bold]x.mp4", "[", "[\\\\].mp4", "<script>.mp4", ":smile:.mp4", "a b\\.mp4"])
def test_a_file_name_is_printed_as_it_stands(
    name: str, clip: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / name
    copy.write_bytes(clip.read_bytes())
    run([copy], subtitle="[bold]x <script> <|im_end|>", modes=("fast",), source=model, max_new_tokens=2)
    assert f"{copy}  fast thinking" in capsys.readouterr().out.splitlines()[0]


def test_what_a_model_says_can_neither_style_nor_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say = "[bold]x :smile: \x1b[2Jy\x9b5m"
    show(
        [
            Prediction(
                "\x1b]0;id", "slow", say, say, ("[red]happy", "\x1b[31msad"), "ok", confidence={"[red]happy": 0.5}
            ),
            Prediction("b", "fast", say, "", (), "no_answer"),
        ]
    )
    printed = capsys.readouterr().out
    assert printed.count("[bold]x :smile: ") == 2
    assert "[red]happy" in printed
    assert "50%" in printed
    assert "no emotion word (no_answer)" in printed
    assert not {"\x1b", "\x9b"} & set(printed)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_manifest_is_written_once_row_by_row_and_mode_by_mode(
    corpus_folder: Path, model: str, tmp_path: Path
) -> None:
    manifest, out = corpus_folder / "train.jsonl", tmp_path / "deep" / "out.jsonl"
    ids = [sample.id for sample in read_manifest(manifest)]
    assert run([], manifest=manifest, out=out, source=model, max_new_tokens=SHORT) == 0
    whole = out.read_bytes()
    assert [(row["id"], row["mode"]) for row in rows_of(out)] == [(i, mode) for mode in ("fast", "slow") for i in ids]
    assert run([], manifest=manifest, out=out, source=model, max_new_tokens=SHORT) == 0
    assert out.read_bytes() == whole

    out.write_bytes(whole[: whole.rindex(b'"mode"')])  # cut off within the last line
    assert run([], manifest=manifest, out=out, source=model, max_new_tokens=SHORT) == 0
    assert rows_of(out) == [json.loads(line) for line in whole.splitlines()]
    assert sorted(path.name for path in out.parent.iterdir()) == ["out.jsonl", "out.jsonl.settings.json"]
    with pytest.raises(InputError, match=f"made with max_new_tokens {SHORT}, not {SHORT + 1}"):
        run([], manifest=manifest, out=out, source=model, max_new_tokens=SHORT + 1)
    assert rows_of(out) == [json.loads(line) for line in whole.splitlines()]


def test_one_mode_may_be_asked_first_and_the_other_later(corpus_folder: Path, model: str, tmp_path: Path) -> None:
    manifest, out = corpus_folder / "val.jsonl", tmp_path / "out.jsonl"
    for modes in (("slow",), ("fast", "slow")):
        run([], manifest=manifest, out=out, modes=modes, source=model, max_new_tokens=2)
    assert [row["mode"] for row in rows_of(out)] == ["slow", "fast"]


def test_rows_with_line_separators_survive_a_cut_off_line(corpus_folder: Path, model: str, tmp_path: Path) -> None:
    manifest, out = corpus_folder / "val.jsonl", tmp_path / "out.jsonl"
    kept = {"id": "other", "mode": "slow", "raw": "a\u2028b\x85c"}
    out.write_text(json.dumps(kept, ensure_ascii=False) + '\n{"id": "cut', encoding="utf-8")
    run([], manifest=manifest, out=out, modes=("slow",), source=model, max_new_tokens=2)
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").rstrip("\n").split("\n")]
    assert rows[0] == kept
    assert len(rows) == 2


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b'wrong\n{"id": "cut', b'{"id": \n{"id": "a"}\n'])
def test_a_predictions_file_that_is_none_is_named_and_left_alone(
    data: bytes, corpus_folder: Path, model: str, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    out.write_bytes(data)
    with pytest.raises(InputError, match=r"out\.jsonl:1: not"):
        run([], manifest=corpus_folder / "val.jsonl", out=out, source=model, max_new_tokens=2)
    assert out.read_bytes() == data


def test_the_ending_of_a_name_says_what_medium_it_is() -> None:
    assert clip_sample(Path("a.WAV")).audio == Path("a.WAV")
    assert clip_sample(Path("a.PnG")).image == Path("a.PnG")
    assert clip_sample(Path("a.mkv"), "said").video == Path("a.mkv")
    assert clip_sample(Path("a"), "said").subtitle == "said"


@pytest.mark.parametrize("name", ["a.wav", "a.png", "a.mp4"])
def test_a_clip_is_given_the_labels_to_choose_from(name: str) -> None:
    assert clip_sample(Path(name), None, ["joy", "fear"]).candidates == ("joy", "fear")


def test_sound_and_pictures_are_answered_too(model: str, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (80, 60), (200, 100, 50)).save(tmp_path / "face.png")
    with wave.open(str(tmp_path / "voice.wav"), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(b"\0\1" * 8000)
    made = predict_clips([tmp_path / "face.png", tmp_path / "voice.wav"], None, ("fast",), model, SHORT)
    assert [Path(prediction.id).name for prediction in made] == ["face.png", "voice.wav"]
    assert made[0].media is not None
    assert made[0].media.audio_s is None
    assert made[1].media is not None
    assert made[1].media.audio_s == pytest.approx(0.5)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "nothing to predict"),
    ({"subtitle": " \n"}, "nothing to predict"),
    ({"manifest": Path("a.jsonl")}, "--manifest: goes with --out"),
    ({"manifest": Path("a.jsonl"), "out": Path("b"), "clips": [Path("c.mp4")]}, "--manifest: .*without CLIP"),
    ({"manifest": Path("a.jsonl"), "out": Path("b"), "subtitle": "said"}, "--subtitle"),
    ({"manifest": Path("a.jsonl"), "out": Path("b"), "candidates": ["joy"]}, "--candidates"),
    ({"manifest": Path("a.jsonl"), "out": Path("b"), "json_lines": True}, "--json"),
    ({"out": Path("b"), "subtitle": "said"}, "--out: goes with --manifest"),
    ({"subtitle": "said", "max_new_tokens": 0}, "--max-new-tokens 0"),
    ({"subtitle": "said", "max_new_tokens": -3}, "--max-new-tokens -3"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[message for _, message in WRONG])
def test_arguments_that_do_not_go_together_are_named(arguments: dict[str, Any], message: str, model: str) -> None:
    with pytest.raises(InputError, match=message):
        run(**({"clips": [], "source": model} | arguments))


def test_without_a_quickstart_the_default_model_names_what_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"no run here yet; run `mer-r1 quickstart`, or give --model"):
        run([], subtitle="said", source=str(DEFAULT_MODEL))
