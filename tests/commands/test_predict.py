"""`mer-r1 predict`: any clip, both modes, for people and as JSON lines; a manifest row by row, resumable."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mer_r1.commands import main
from mer_r1.data.manifest import read_manifest
from mer_r1.data.sample import Prediction
from mer_r1.display.predictions import print_predictions
from tests.generation.server import ANSWER, be_quick
from tests.judge.endpoint import Reply, says, serve
from tests.media.make_media import gray_frames, tone, write_media

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
        (clip.stem, mode) for _ in range(2) for mode in ("fast", "slow")
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


@pytest.mark.slow
def test_ids_are_those_that_a_manifest_has_for_the_files(
    corpus_folder: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mer_r1.data.predictions import read_predictions

    manifest, out = corpus_folder / "val.jsonl", tmp_path / "out.jsonl"
    gold = [replace(sample, id=(sample.video or sample.audio or Path()).stem) for sample in read_manifest(manifest)]
    clips = [path for sample in gold if (path := sample.video or sample.audio)]
    assert predict(model, *clips, "--mode", "fast", "--out", out, tokens="2") == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    assert {row["id"] for row in rows_of(out)} == {sample.id for sample in gold}
    assert predict(model, *clips, "--mode", "fast", "--json", tokens="2") == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(printed, key=str) == sorted(rows_of(out), key=str)
    assert len(read_predictions(out)) == len(clips)


@pytest.mark.slow
def test_a_folder_is_its_clips_and_their_number_is_said(
    clip: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("b.mp4", "deep/a.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(clip.read_bytes())
    assert predict(model, tmp_path, "--mode", "fast", "--json", tokens="2") == 0
    printed = capsys.readouterr()
    assert [json.loads(line)["id"] for line in printed.out.splitlines()] == ["b", "a"]
    assert printed.err.startswith(f"{tmp_path}: 2 clips\n")


@pytest.mark.slow
def test_words_beside_a_clip_are_used_and_named_unless_they_are_not_wanted(
    clip: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "film.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "film.en.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nIt is awful news.\n")
    raws = []
    for more in ((), ("--subtitle", "It is awful news."), ("--no-subtitles",)):
        assert predict(model, tmp_path / "film.mp4", *more, "--mode", "slow", "--json", tokens="12") == 0
        printed = capsys.readouterr()
        assert (f"{tmp_path / 'film.mp4'}: words from film.en.srt" in printed.err) == (more == ())
        raws.append(json.loads(printed.out)["raw"])
    assert raws[0] == raws[1] != raws[2]
    assert predict(model, tmp_path / "film.mp4", "--mode", "slow") == 0
    assert "  words from film.en.srt" in capsys.readouterr().out.splitlines()


@pytest.mark.slow
def test_emotions_over_time_are_a_table_a_plot_and_rows(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    clip = write_media(tmp_path / "film.mp4", frames=gray_frames(14) * 2, sound=tone(3.5, 16_000))
    (tmp_path / "film.srt").write_text("1\n00:00:00,000 --> 00:00:00,500\nI won!\n")
    assert predict(model, clip, "--window", "1.5", "--plot", tmp_path / "plot.png", "--mode", "fast") == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0] == f"{clip}  words from film.srt"
    assert [line.split()[0] for line in lines[1:5]] == ["time", "0:00–0:01.5", "0:00.75–0:02.25", "0:01.5–0:03"]
    assert lines[2].endswith("I won!")
    assert f"Plot: {tmp_path / 'plot.png'}" in lines
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert printed.err.startswith("Model: ")

    assert predict(model, clip, "--window", "1.5", "--hop", "1.5", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["id"], row["mode"], row["start_s"], row["end_s"]) for row in rows] == [
        ("film", mode, start_s, end_s) for start_s, end_s in ((0, 1.5), (1.5, 3), (3, 3.5)) for mode in ("fast", "slow")
    ]
    assert [row["subtitle"] for row in rows[::2]] == ["I won!", None, None]


@pytest.mark.slow
def test_a_clip_that_ends_early_is_shown_as_far_as_it_goes_and_the_next_one_too(
    clip: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = write_media(
        tmp_path / "short.mkv", frames=gray_frames(14) * 3, sound=tone(5, 16_000), video_options={"bf": "0", "g": "8"}
    )
    film.write_bytes(film.read_bytes()[: film.stat().st_size * 2 // 3])
    assert predict(model, film, clip, "--window", "1", "--hop", "1", "--mode", "fast", tokens="2") == 1
    printed = capsys.readouterr().out
    assert printed.count("0:00–0:01") == 2
    assert "failed: " in printed
    assert "short.mkv: its " in printed
    assert predict(model, film, "--window", "1", "--hop", "1", "--mode", "fast", "--json", tokens="2") == 1
    rows = capsys.readouterr()
    assert len(rows.out.splitlines()) >= 2
    assert "failed: " in rows.err


@pytest.mark.slow
def test_a_clip_longer_than_a_model_is_shown_names_windows(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_media(tmp_path / "long.mp4", frames=gray_frames(14) * 10, fps=1)
    assert predict(model, clip, "--mode", "fast", tokens="2") == 0
    assert "long: 140 s long, of which the model is shown the first 120 s; --window 5" in capsys.readouterr().err


@pytest.mark.parametrize(("wheel", "shown"), [("plutchik", "joy"), ("w3", "joyful"), ("all", "Geneva happiness")])
def test_categories_of_other_wheels_are_shown_by_name(
    wheel: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from mer_r1.emotion.wheel import WheelSet

    wheels = WheelSet.load(protocol="corrected").chosen(wheel)
    prediction = Prediction("a", "slow", "raw", "", ("happy", "qwerty"), "ok", confidence={"happy": 0.5})
    print_predictions([prediction], shown=wheels)
    printed = capsys.readouterr().out
    assert printed.splitlines()[1].endswith(shown)
    assert "in no wheel" in printed
    assert "w1" not in printed


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
    (("--out", "b", "--subtitle", "said", "--json"), "--json: says what is printed"),
    (("--out", "b", "a.mp4", "--window", "5"), "--window: says what is printed"),
    (("a.mp4", "--hop", "1"), "--hop: goes with --window"),
    (("a.mp4", "--plot", "a.png"), "--plot: goes with --window"),
    (("--subtitle", "said", "--window", "5"), "--window: goes with CLIP"),
    (("a.mp4", "--subtitle", "said", "--window", "5"), "--subtitle: is said in whole clips"),
    (("a.mp4", "--subtitle", "said", "--transcribe"), "--subtitle: is said in whole clips"),
    (("a.mp4", "--no-subtitles", "--transcribe"), "--no-subtitles: goes without --transcribe"),
    (("--transcribe", __file__), "is a file; write CLIP before it"),
    (("--subtitle", "said", "--wheel", "Russell"), "use one of: Ekman, Shaver, Willcox, Plutchik, Geneva, all"),
    (("a.mp4", "--window", "0"), "a.mp4: no such file"),
    ((__file__, "--window", "0"), "--window 0"),
    ((__file__, "--window", "2", "--hop", "3"), "--hop 3"),
    ((__file__, "--window", "2", "--plot", "a.pdf"), "--plot a.pdf: give a name that ends in"),
    ((__file__, __file__, "--window", "2", "--plot", "a.png"), "--plot a.png: draws one clip and one wheel"),
    ((__file__, "--window", "2", "--model", "nowhere"), "is not a media file"),
    ((__file__, "--transcribe", "--model", "nowhere"), "nowhere"),
    (("lost.mp4", __file__, "gone.wav"), "lost.mp4, gone.wav: no such files"),
    (("--subtitle", "said", "--max-new-tokens", "0"), "--max-new-tokens 0"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[message for _, message in WRONG])
def test_arguments_that_do_not_go_together_are_named(
    arguments: tuple[str, ...], message: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(model, *arguments) == 2
    assert message in capsys.readouterr().err
