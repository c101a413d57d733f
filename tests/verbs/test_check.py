"""`mer-r1 check`: 0 for a sound manifest, 2 with every problem listed."""

from pathlib import Path

import pytest

from mer_r1.errors import InputError
from mer_r1.media import MediaBudget
from mer_r1.sample import Sample
from mer_r1.verbs.check import Findings, gold_faults, run
from tests.media.make_media import gray_frames, tone, write_media
from tests.small_wheels import SMALL
from tests.verbs.test_score import write

BUDGET = MediaBudget(num_frames=2, min_pixels=28 * 28, max_pixels=112 * 112)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_media(folder / "talk.mp4", frames=gray_frames(8), sound=tone(1.0, 16_000))
    write_media(folder / "mute.mp4", frames=gray_frames(8))
    (folder / "torn.mp4").write_bytes((folder / "talk.mp4").read_bytes()[:200])
    return folder


def test_a_sound_manifest_passes_and_what_is_worth_knowing_is_counted(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(
        clips / "sound.jsonl",
        {"id": "a", "video": "talk.mp4", "subtitle": "hello", "labels": ["happy", "calm"]},
        {"id": "b", "video": "mute.mp4", "labels": ["sad", "qwerty", "sad"]},
        {"id": "c", "video": "talk.mp4", "subtitle": "well"},
        {"id": "d", "subtitle": "only words", "labels": ["angry"]},
    )
    assert run(path, budget=BUDGET) == 0
    printed = squeezed(capsys.readouterr().out)
    assert "sound.jsonl: sound" in printed
    for line in (
        "sound rows | 4",
        "rows whose media were decoded | 3",
        "clips without sound | 1",
        "rows without subtitle | 1",
        "rows without labels | 1",
        "rows that repeat a label | 1",
        "rows of text alone | 1",
        "media used by several rows | 1",
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
        {"id": "g", "audio": "mute.mp4"},
    )
    assert run(path, budget=BUDGET) == 2
    printed = capsys.readouterr().out
    problems = [line for line in printed.splitlines() if line.startswith(str(path))]
    lines = [int(problem.removeprefix(f"{path}:").split(":")[0]) for problem in problems]
    assert sorted(lines) == [1, 2, 3, 3, 4, 5, 6, 7]
    assert "NOT sound" in printed
    assert "problems | 8" in squeezed(printed)
    assert any('unknown key "vidoe"; did you mean "video"?' in problem for problem in problems)
    assert any("reach no category of any wheel" in problem for problem in problems)
    assert any("are read back from an answer as" in problem for problem in problems)


def test_limit_decodes_the_first_rows_only_but_checks_all_labels(clips: Path) -> None:
    rows = [{"id": "a", "video": "talk.mp4"}, {"id": "b", "video": "torn.mp4"}]
    path = write(clips / "limit.jsonl", *rows)
    assert run(path, limit=1, budget=BUDGET) == 0
    assert run(path, limit=2, budget=BUDGET) == 2
    assert run(write(clips / "limit2.jsonl", *rows, {"id": "c", "subtitle": "x", "labels": ["qwerty"]}), limit=1) == 2


def test_wrong_arguments_are_named(clips: Path, tmp_path: Path) -> None:
    path = write(clips / "one.jsonl", {"id": "a", "subtitle": "x"})
    with pytest.raises(InputError, match="no such file"):
        run(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="--limit is 0"):
        run(path, limit=0)
    with pytest.raises(InputError, match="nonsense"):
        run(path, wheels="nonsense")


def test_gold_that_is_only_neutral_is_counted_where_the_wheels_do_not_score_it() -> None:
    found = Findings()
    assert list(gold_faults(Sample(id="a", labels=("Neutral",)), SMALL, found)) == []
    assert sum(found.notices.values()) == 1
    assert found.unmapped_labels == {"neutral": 1}
    assert len(list(gold_faults(Sample(id="b", labels=("lost",)), SMALL, found))) == 1
    assert list(gold_faults(Sample(id="c", labels=("At Ease", "sad")), SMALL, found)) == []
    assert "read back" in next(gold_faults(Sample(id="d", labels=("At  Ease", "sad")), SMALL, found))
