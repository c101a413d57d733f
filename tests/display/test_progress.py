"""Stages of a long job: plain lines without a terminal, and an estimate that follows the machine's speed."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from mer_r1.display.benchmark import benchmark_bars
from mer_r1.display.progress import LINE_EVERY_S, Stages, progress_bar, training_bars

LOGS = {"loss": 1.23456, "reward/recall": 0.5, "reward/precision": 0.25, "kl": 0.125}

EXPECTED = {"first": 100.0, "second": 300.0}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [1000.0]
    monkeypatch.setattr("mer_r1.display.progress.time.monotonic", lambda: now[0])

    def forward(seconds: float) -> None:
        now[0] += seconds

    return forward


def plain() -> Console:
    return Console(file=io.StringIO(), width=200)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_without_a_terminal_each_stage_is_a_plain_line_with_what_is_left(
    clock: Callable[[float], None], tmp_path: Path
) -> None:
    console = plain()
    with Stages(dict(EXPECTED), tmp_path / "stages.json", console) as stages:
        with stages.stage("first"):
            clock(200.0)
        with stages.stage("second"):
            clock(30.0)
    lines = printed(console).rstrip().splitlines()
    assert lines == [
        "About 7 min on two idle CPU cores.",
        "first ... (about 7 min left)",
        "first done in 200 s",
        "second ... (about 10 min left)",  # the machine is half as fast as the reference
        "second done in 30 s",
    ]
    assert stages.seconds == {"first": 200.0, "second": 30.0}
    assert "\x1b" not in printed(console)


def test_reports_are_printed_now_and_then_and_correct_the_estimate(
    clock: Callable[[float], None], tmp_path: Path
) -> None:
    console = plain()
    with Stages(dict(EXPECTED), tmp_path / "stages.json", console) as stages, stages.stage("first"):
        stages.report(0, 10, "soon")
        clock(LINE_EVERY_S + 30)
        stages.report(5, 10, "half")  # 50 s for half of 100 s: as fast as the reference
        stages.report(6, 10, "too soon after")
    lines = printed(console).rstrip().splitlines()
    assert lines[2] == "  5/10  about 6 min left  half"
    assert len(lines) == 4


def test_what_is_left_follows_the_pace_of_the_last_minute(clock: Callable[[float], None], tmp_path: Path) -> None:
    """Another program comes after 20 of 100 units and goes after 32; the mean of the whole stage would hide both."""
    with Stages(dict(EXPECTED), tmp_path / "stages.json", plain()) as stages, stages.stage("first"):
        left = {0: stages._left(0.0)}
        for done in range(1, 100):
            clock(5.0 if 20 < done <= 32 else 1.0)
            stages.report(done, 100)
            left[done] = stages._left(done / 100)
    assert (left[0], left[20]) == ("about 7 min left", "about 6 min left")
    assert left[32] == "about 31 min left"  # 368 s at a fifth of the speed
    assert left[99] == "about 5 min left"


def test_a_stage_that_begins_goes_on_at_the_pace_of_late(clock: Callable[[float], None], tmp_path: Path) -> None:
    with Stages(dict(EXPECTED), tmp_path / "stages.json", plain()) as stages:
        with stages.stage("first"):
            for done in (80, 90, 100):  # 80 of them by an earlier call
                stages.report(done, 100)
                clock(30.0)
        with stages.stage("second"):
            assert stages._left(0.0) == "about 15 min left"


def test_bars_of_long_steps_say_what_is_left_and_a_resumed_run_does_not_count_what_was_there(
    clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(file=io.StringIO(), width=150, force_terminal=True)
    monkeypatch.setattr("mer_r1.display.progress.Console", lambda: console)
    with training_bars() as (progress, _):
        progress(600, 700, {})
        clock(90.0)  # longer than a minute is a step where answers are long
        progress(601, 700, {"loss": 1.0})
    assert "about 2.5 h left" in printed(console)
    with benchmark_bars() as answered:
        answered("meld slow", 1, 10)
        clock(120.0)
        answered("meld slow", 2, 10)
    assert "about 16 min left" in printed(console)


def test_a_short_rest_is_given_in_seconds_and_never_as_nothing(clock: Callable[[float], None], tmp_path: Path) -> None:
    console = plain()
    with Stages({"only": 40.0}, tmp_path / "stages.json", console) as stages, stages.stage("only"):
        clock(40.0)
        stages.report(10, 10)
    assert printed(console).splitlines()[1:3] == ["only ... (about 40 s left)", "  10/10  about 5 s left"]


def test_on_a_terminal_stages_are_bars_and_an_error_ends_them(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True)

    def fail() -> None:
        with Stages(dict(EXPECTED), tmp_path / "stages.json", console) as stages, stages.stage("first"):
            stages.report(0, 0, "nothing to do")
            stages.report(3, 6, "note")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    text = printed(console)
    assert "3/6" in text
    assert "first ..." not in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")  # the cursor is shown again


def test_a_stage_that_fails_keeps_its_seconds(clock: Callable[[float], None], tmp_path: Path) -> None:
    stages = Stages(dict(EXPECTED), tmp_path / "stages.json", plain())

    def stop() -> None:
        with stages, stages.stage("first"):
            clock(5.0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert stages.seconds == {"first": 5.0}
    assert json.loads((tmp_path / "stages.json").read_text()) == {"first": 5.0}


def test_seconds_add_up_over_a_stop_and_finished_stages_do_not_spoil_the_estimate(
    clock: Callable[[float], None], tmp_path: Path
) -> None:
    def go(first_s: float, second_s: float) -> Stages:
        with Stages(dict(EXPECTED), tmp_path / "out" / "stages.json", plain()) as stages:
            with stages.stage("first"):
                clock(first_s)
            with stages.stage("second"):
                clock(second_s)
                if not second_s:
                    raise KeyboardInterrupt
        return stages

    with pytest.raises(KeyboardInterrupt):
        go(80.0, 0.0)
    again = go(0.0, 300.0)
    assert again.total_s == {"first": 80.0, "second": 300.0}
    assert again.seconds == {"first": 0.0, "second": 300.0}
    lines = printed(again.console).splitlines()
    assert lines[3] == "second ... (about 5 min left)"


def test_a_bar_appears_with_its_first_report(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("Counting"):
        pass
    assert capsys.readouterr().out == ""
    with progress_bar("Counting") as report:
        report(2, 2)
    assert "Counting" in capsys.readouterr().out


def last_frame(console: Console) -> list[str]:
    """The lines that stand on a terminal at the end, without what moves the cursor or colors."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", printed(console))
    return [line.rstrip() for line in text.replace("\r", "\n").splitlines() if line.strip()]


@pytest.mark.parametrize(
    ("width", "numbers"),
    [
        (120, "loss 1.235  recall 0.500  precision 0.250  kl 0.125"),
        (80, "loss 1.235  recall 0.500"),
        (60, "loss 1.235"),
        (44, ""),
    ],
)
def test_a_narrow_terminal_keeps_the_step_and_the_time_left_and_drops_numbers_whole(
    width: int, numbers: str, clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    monkeypatch.setattr("mer_r1.display.progress.Console", lambda **_: console)
    with training_bars() as (progress, _):
        progress(600, 3262, LOGS)
        clock(90.0)
        progress(601, 3262, LOGS)
    lines = last_frame(console)
    assert all(len(line) <= width for line in lines)
    assert re.match(r"Training ━\S+━+ 601/3262  about 66\.5 h left", lines[-1])
    assert lines[-1].partition("left")[2].strip() == numbers


@pytest.mark.parametrize("width", [80, 60])
def test_the_stages_of_a_job_keep_their_time_left_on_a_narrow_terminal(
    width: int, clock: Callable[[float], None], tmp_path: Path
) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    name = "Answers without one medium: sound"
    with Stages({name: 100.0}, tmp_path / "stages.json", console) as stages, stages.stage(name):
        stages.report(0, 700)
        clock(10.0)
        stages.report(70, 700, "recall 0.51 precision 0.62")
        stages._bars.refresh()
    lines = last_frame(console)
    assert all(len(line) <= width for line in lines)
    assert any("70/700  about 2 min left" in line for line in lines)
    assert lines[-1].endswith("700/700  in 10 s")


def test_a_training_in_a_log_file_is_a_line_now_and_then_without_control_characters(
    clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    console = plain()
    monkeypatch.setattr("mer_r1.display.progress.Console", lambda **_: console)
    with training_bars() as (progress, prepared):
        prepared(4, 4, {})
        for step in range(1, 3001):
            clock(1.0)
            progress(step, 3000, LOGS)
    lines = printed(console).splitlines()
    assert lines[0] == "Reading clips 4/4  in 0 s"
    assert lines[1] == "Training 1/3000  loss 1.235  recall 0.500  precision 0.250  kl 0.125"
    assert lines[2].startswith("Training 21/3000  about 50 min left  loss 1.235")
    assert lines[-1].startswith("Training 3000/3000  in 50 min  loss 1.235")
    assert 100 < len(lines) < 160  # every 20 s, and from 2000 s on every hundredth of the time
    assert "\x1b" not in printed(console)
    assert "\r" not in printed(console)


def test_a_training_that_reports_nothing_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with training_bars():
        pass
    assert capsys.readouterr().out == ""


def test_of_several_processes_one_shows_its_bars(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, shown in (("1", False), ("0", True)):
        monkeypatch.setenv("RANK", rank)
        with training_bars() as (progress, _):
            progress(1, 1, LOGS)
        assert ("Training 1/1" in capsys.readouterr().out) is shown
