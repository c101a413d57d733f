"""`mer-r1 check`: 0 for a sound manifest, 1 with every problem listed."""

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mer_r1.analysis.check import Findings, _compare, check_manifest, gold_errors
from mer_r1.benchmarks.prepare import prepare
from mer_r1.data.sample import Sample
from mer_r1.display.check import print_findings
from mer_r1.emotion.wheel import load_wheels
from mer_r1.errors import InputError
from mer_r1.media import MediaBudget
from mer_r1.media import validate as check_media
from mer_r1.media.validate import MediaReport, MediaRow, inspect_rows
from tests.benchmarks.mme_files import write_clips, write_questions
from tests.evaluation.scoring import write
from tests.media.make_media import gray_frames, tone, write_media
from tests.small_wheels import SMALL

BUDGET = MediaBudget(num_frames=2, min_pixels=28 * 28, max_pixels=112 * 112)


def run(manifest: Path, *arguments: Any, json_out: Path | None = None, **options: Any) -> int:
    """As the command does, under a small budget."""
    found = check_manifest(manifest, *arguments, **options)
    print_findings(found)
    if json_out is not None:
        json_out.write_text(json.dumps(found.as_json()), encoding="utf-8")
    return 1 if found.problems else 0


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_media(folder / "talk.mp4", frames=gray_frames(8), sound=tone(1.0, 16_000))
    write_media(folder / "mute.mp4", frames=gray_frames(8))
    (folder / "torn.mp4").write_bytes((folder / "talk.mp4").read_bytes()[:200])
    return folder


def test_a_valid_manifest_passes_and_what_is_worth_knowing_is_counted(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(
        clips / "good.jsonl",
        {"id": "a", "video": "talk.mp4", "subtitle": "hello", "labels": ["happy", "calm"]},
        {"id": "b", "video": "mute.mp4", "labels": ["sad", "qwerty", "sad"]},
        {"id": "c", "video": "talk.mp4", "subtitle": "well", "valence": 0.5},
        {"id": "d", "subtitle": "only words", "labels": ["angry"]},
    )
    assert run(path, budget=BUDGET) == 0
    printed = squeezed(capsys.readouterr().out)
    assert "good.jsonl: valid" in printed
    for line in (
        "without problems | 4",
        "in the file | 4",
        "rows whose media were decoded | 3",
        "clips without sound | 1 | 2",
        "rows without subtitle | 1 | 2",
        "rows without labels | 1 | 3",
        "rows that repeat a label | 1 | 2",
        "rows of text alone | 1 | 4",
        "rows that share a file with another row | 2 | 1, 3",
        'label "qwerty" is not in the wheels | 1',
        "problems | 0",
    ):
        assert line in printed


def squeezed(printed: str) -> str:
    return " ".join(printed.replace("│", "|").split())


def test_every_problem_is_listed_not_only_the_first(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(
        clips / "bad.jsonl",
        {"id": "a", "video": "torn.mp4", "labels": ["happy"]},
        {"id": "b", "video": "none.mp4", "labels": ["happy"]},
        {"id": "c", "vidoe": "talk.mp4", "subtitle": "x", "valence": True},
        {"id": "a", "video": "talk.mp4"},
        {"id": "e", "subtitle": "x", "labels": ["happy, sad."]},
        {"id": "f", "subtitle": "x", "labels": ["qwerty"]},
        {"id": "g", "audio": "mute.mp4", "valence": 0},
    )
    assert run(path, budget=BUDGET) == 1
    printed = capsys.readouterr().out
    problems = [line for line in printed.splitlines() if line.startswith(str(path))]
    lines = [int(problem.removeprefix(f"{path}:").split(":")[0]) for problem in problems]
    assert sorted(lines) == [1, 2, 3, 3, 4, 5, 6, 7]
    assert "NOT valid" in printed
    assert "problems | 8" in squeezed(printed)
    assert "without problems | 0 | | with problems | 7 | ├──────────────────┼───────┤ | in the file | 7" in squeezed(
        printed
    )
    assert any('unknown key "vidoe"; did you mean "video"?' in problem for problem in problems)
    assert any("reach no category of any wheel" in problem for problem in problems)
    assert any("are read back from an answer as" in problem for problem in problems)


def test_limit_decodes_the_first_rows_only_but_checks_all_labels(clips: Path) -> None:
    rows = [{"id": "a", "video": "talk.mp4"}, {"id": "b", "video": "torn.mp4"}]
    path = write(clips / "limit.jsonl", *rows)
    assert run(path, limit=1, budget=BUDGET) == 0
    assert run(path, limit=2, budget=BUDGET) == 1
    assert run(write(clips / "limit2.jsonl", *rows, {"id": "c", "subtitle": "x", "labels": ["qwerty"]}), limit=1) == 1


def test_wrong_arguments_are_named(clips: Path, tmp_path: Path) -> None:
    path = write(clips / "one.jsonl", {"id": "a", "subtitle": "x"})
    with pytest.raises(InputError, match="no such file"):
        run(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="--limit is 0"):
        run(path, limit=0)
    with pytest.raises(InputError, match="--workers is 0"):
        run(path, workers=0)
    with pytest.raises(InputError, match="nonsense"):
        run(path, wheels="nonsense")


def test_gold_that_is_only_neutral_is_counted_where_the_wheels_do_not_score_it() -> None:
    found = Findings()
    assert list(gold_errors(Sample(id="a", labels=("Neutral",)), SMALL, found, 1)) == []
    assert list(found.notices.values()) == [[1]]
    assert found.unmapped_labels == {"neutral": 1}
    assert len(list(gold_errors(Sample(id="b", labels=("lost",)), SMALL, found, 1))) == 1
    assert list(gold_errors(Sample(id="c", labels=("At Ease", "sad")), SMALL, found, 1)) == []
    assert "read back" in next(gold_errors(Sample(id="d", labels=("At  Ease", "sad")), SMALL, found, 1))


def test_odd_media_are_counted_with_their_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    still, silence = [gray_frames(3)[2]] * 8, np.zeros((1, 16_000), np.float32)
    write_media(tmp_path / "still.mp4", frames=still, sound=tone(1.0, 16_000))
    write_media(tmp_path / "dark.mp4", frames=[np.full((96, 96, 3), k, np.uint8) for k in range(8)], sound=silence)
    write_media(tmp_path / "short.mp4", frames=gray_frames(2), sound=tone(0.25, 16_000))
    write_media(tmp_path / "apart.mp4", frames=gray_frames(8), sound=tone(3.0, 16_000))
    write_media(tmp_path / "long.wav", sound=tone(15.0, 16_000), audio_codec="pcm_s16le", audio_format="s16")
    (tmp_path / "copy.mp4").write_bytes((tmp_path / "still.mp4").read_bytes())
    names = ["still.mp4", "dark.mp4", "short.mp4", "apart.mp4", "copy.mp4"]
    rows = [{"id": name, "video": name, "subtitle": "x", "labels": ["happy"]} for name in names]
    rows.append({"id": "long", "audio": "long.wav", "subtitle": "x", "labels": ["happy"]})
    path = write(tmp_path / "odd.jsonl", *rows)
    budget = replace(BUDGET, fps=None, max_audio_s=10.0)
    assert run(path, budget=budget, json_out=tmp_path / "found.json", workers=2) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["notices"] == {
        "black pictures": [2],
        "clips longer than what is taken (120 s, sound 10 s)": [6],
        "clips over 10 times the median length": [6],
        "clips shorter than 0.3 s": [3],
        "rows with the content of another file": [1, 5],
        "silent sound": [2],
        "sound and pictures that differ in length": [4],
        "videos that stand still": [1, 5],
    }
    assert (found["sound"], found["rows"], found["decoded"], found["problems"]) == (True, 6, 6, [])
    assert "videos that stand still | 2 | 1, 5" in squeezed(capsys.readouterr().out)


def test_gold_that_is_no_candidate_is_a_problem() -> None:
    found = Findings()
    sample = Sample(id="a", labels=("happy", "Sad"), candidates=("Happy", "angry"))
    (error,) = gold_errors(sample, SMALL, found, 1)
    assert error == "labels ['sad'] are not among its candidates; add them there, or correct the labels"
    assert list(gold_errors(replace(sample, candidates=("sad", "happy")), SMALL, found, 1)) == []


def test_a_row_without_gold_among_labelled_ones_is_a_problem_and_a_manifest_without_gold_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare: dict[str, Any] = {"id": "a", "subtitle": "x"}
    assert run(write(tmp_path / "bare.jsonl", bare)) == 0
    assert run(write(tmp_path / "mixed.jsonl", bare, {"id": "b", "subtitle": "x", "labels": ["happy"]})) == 1
    assert "mixed.jsonl:1: no labels, which other rows have" in capsys.readouterr().out


def die(row: MediaRow, budget: MediaBudget) -> MediaReport:
    """A decoder that falls over some files, and hangs over others."""
    if row.sample.id == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if row.sample.id == "hang":
        time.sleep(60)
    return MediaReport(row.line)


@pytest.mark.slow
def test_a_file_that_crashes_or_hangs_its_decoder_is_a_fault_of_its_row_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a", "crash", "b", "hang", "c", "crash", "d", "e"]
    rows = [MediaRow(k, Sample(id=name, video=Path(f"{name}.mp4"))) for k, name in enumerate(names)]
    monkeypatch.setattr(check_media, "inspect_row", die)
    monkeypatch.setattr(check_media, "_serve", serve)
    found = {report.line: report.error for report in inspect_rows(rows, replace(BUDGET, max_decode_s=0.25), 2)}
    assert sorted(found) == list(range(8))
    assert [line for line, error in found.items() if error is None] == [0, 2, 4, 6, 7]
    assert found[1] == found[5]
    assert str(found[1]).startswith("crash.mp4: the decoder ended with SIGSEGV on it; ")
    assert str(found[3]).startswith("hang.mp4: takes longer than 1 s to decode; ")


def serve(connection: Any, budget: MediaBudget) -> None:
    """The real one, with a decoder that falls over."""
    check_media.inspect_row = die
    SERVE(connection, budget)


SERVE = check_media._serve


def test_an_exception_that_nobody_foresaw_is_a_fault_of_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> None:
        raise ZeroDivisionError("by a frame rate")

    monkeypatch.setattr(check_media, "read_clip", read)
    seen = check_media.inspect_row(MediaRow(7, Sample(id="a", video=Path("a.mp4"))), BUDGET)
    assert seen.line == 7
    assert str(seen.error).startswith("a.mp4: cannot be decoded (ZeroDivisionError: by a frame rate); ")


def test_the_questions_of_mme_emotion_are_sound_though_no_wheel_knows_their_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_clips(write_questions(tmp_path / "mme"), seconds=1)
    path = tmp_path / "mme.jsonl"
    prepare("mme-emotion", root, path)
    assert run(path, budget=BUDGET, json_out=tmp_path / "found.json") == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["problems"] == []
    assert found["notices"]["rows of MME-Emotion, whose answers a judge scores and no wheel"] == list(range(1, 10))
    assert found["unmapped_labels"] == {}
    rows = [json.loads(line) | {"source": "another"} for line in path.read_text().splitlines()]
    assert run(write(tmp_path / "mme" / "other.jsonl", *rows), limit=1, budget=BUDGET) == 1


def test_every_row_of_a_copied_file_is_listed(tmp_path: Path) -> None:
    write_media(tmp_path / "a.mp4", frames=gray_frames(8), sound=tone(1.0, 16_000))
    (tmp_path / "copy.mp4").write_bytes((tmp_path / "a.mp4").read_bytes())
    rows = [{"id": str(n), "video": name, "subtitle": "x"} for n, name in enumerate(["a.mp4", "copy.mp4", "a.mp4"])]
    assert run(write(tmp_path / "m.jsonl", *rows), budget=BUDGET, json_out=tmp_path / "found.json") == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["notices"]["rows with the content of another file"] == [1, 2, 3]


def test_a_clip_is_odd_only_above_ten_times_the_median_length() -> None:
    found = Findings()
    _compare([(1, 1.0), (2, 1.0), (3, 1.0), (4, 10.0), (5, 10.01)], [], found)
    assert found.notices["clips over 10 times the median length"] == [5]


def test_rows_that_rl_would_drop_are_told_beforehand_with_their_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They stop no run, so that they are no problem; a manifest of nothing else is one."""
    labels: list[Any] = [["neutral"], ["happy"], ["polite-ish", "neutral"], None, ["sad", "neutral"]]
    rows = [{"id": str(number), "subtitle": "x", "labels": words} for number, words in enumerate(labels)]
    path = write(tmp_path / "m.jsonl", *rows)
    assert run(path, json_out=tmp_path / "plain.json") == 1
    assert json.loads((tmp_path / "plain.json").read_text())["uncountable"] is None
    capsys.readouterr()
    assert run(path, stages=["rl"], json_out=tmp_path / "found.json") == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["uncountable"] == {
        "rows": 3,
        "reasons": {"no label reaches a category of the wheels": 2, "no labels": 1},
        "labels": {"neutral": 2, "polite-ish": 1},
    }
    assert found["notices"]["rows that RL drops (data.uncountable): no label reaches a category of the wheels"] == [
        1,
        3,
    ]
    printed = squeezed(capsys.readouterr().out)
    for line in ("used | 2", "not used: no labels | 1", "in the file | 5", 'dropped rows labelled "neutral" | 2'):
        assert line in printed
    alone = write(tmp_path / "alone.jsonl", rows[0])
    (problem,) = check_manifest(alone, stages=["rl"]).problems
    assert problem.startswith(f"{alone}: no row has gold that mer_r1 can pay with the builtin wheels")
    assert check_manifest(alone, wheels=load_wheels("builtin", "corrected"), stages=["rl"]).problems == []


def test_a_manifest_that_is_no_longer_as_it_was_typed_is_told(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "subtitle": "It\x92s", "labels": ["happy"]},
        {"id": "b", "subtitle": "itâ€™s", "labels": ["happy"]},
        {"id": "c", "subtitle": "x", "labels": ["happy"], "reasoning": "a\0b \ufffd"},
    ]
    found = check_manifest(write(tmp_path / "m.jsonl", *rows))
    assert {notice: lines for notice, lines in found.notices.items() if lines and "alone" not in notice} == {
        "rows with characters of another encoding, mended on reading": [1],
        "rows whose text has the look of UTF-8 read as cp1252 (such as “â€™”)": [2],
        "rows whose text has control characters": [3],
        "rows whose text has U+FFFD, which stands for a character that was lost": [3],
    }


@pytest.mark.parametrize("label", ["happy, sad", "['happy','sad']", "happy and sad"])
def test_several_words_in_one_label_are_written_out_as_a_list(label: str, tmp_path: Path) -> None:
    (problem,) = check_manifest(write(tmp_path / "m.jsonl", {"id": "a", "subtitle": "x", "labels": [label]})).problems
    assert problem.endswith('; write "labels": ["happy", "sad"]')
    fixed = write(tmp_path / "n.jsonl", {"id": "a", "subtitle": "x", "labels": ["happy", "sad"]})
    assert check_manifest(fixed).problems == []


def test_labels_that_no_wheel_knows_are_told_how_to_be_renamed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": "a", "subtitle": "x", "labels": ["Freude"]}, {"id": "b", "subtitle": "y", "labels": ["happy"]}]
    assert run(write(tmp_path / "german.jsonl", *rows), stages=("rl",)) == 0
    assert "prepare table MANIFEST --mapping FILE" in capsys.readouterr().out
    assert run(write(tmp_path / "english.jsonl", rows[1]), stages=("rl",)) == 0
    assert "--mapping" not in capsys.readouterr().out
