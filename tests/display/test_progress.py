"""Stages of a long job: plain lines without a terminal, and an estimate that follows the machine's speed."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from mer_r1.display.progress import LINE_EVERY_S, Stages, progress_bar

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
        "About 7 min on two CPU cores.",
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
        stages.report(1, 10, "soon")
        clock(LINE_EVERY_S + 30)
        stages.report(5, 10, "half")  # 50 s for half of 100 s: as fast as the reference
        stages.report(6, 10, "too soon after")
    lines = printed(console).rstrip().splitlines()
    assert lines[2] == "  5/10  half  about 6 min left"
    assert len(lines) == 4


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
