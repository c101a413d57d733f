"""Emotions over time: lines of one width in the terminal, and a figure whose values are those of the predictions."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from mer_r1.data.sample import MediaFacts, Mode, Prediction
from mer_r1.display.timeline import TimelinePrinter, category_series, clock, plot_timeline, print_windows, span
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.generation.timeline import PredictedWindow

WHEELS = WheelSet.load(protocol="corrected")


def answer(mode: Mode, words: tuple[str, ...] = ("happy", "calm"), joy: float | None = 0.5) -> Prediction:
    categories = None if joy is None else {"w1": {"joy": math.log(joy)}}
    return Prediction("a", mode, "raw", "", words, "ok", confidence={"happy": 0.83}, categories=categories)


def windows(*fast: Prediction) -> list[PredictedWindow]:
    said = "I won! \x1b[2J" + "and so on " * 30
    return [PredictedWindow(2.5 * k, 2.5 * k + 5, said, (one, answer("slow"))) for k, one in enumerate(fast)]


FAILED = Prediction("a", "fast", "", "", (), "error", error="damaged \x1b[31m")


def test_times_are_those_of_a_player() -> None:
    assert [clock(value) for value in (0, 2.5, 0.75, 65, 59.996, 3723.04)] == [
        "0:00",
        "0:02.5",
        "0:00.75",
        "1:05",
        "1:00",
        "1:02:03.04",
    ]
    assert span(2.5, 7.5) == "0:02.5–0:07.5"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_each_window_is_a_row_under_a_head_and_nothing_steers_the_terminal(width: int) -> None:
    out = io.StringIO()
    printer = TimelinePrinter(Console(file=out, width=width))
    for window in windows(answer("fast"), FAILED):
        printer.add(window)
    head, first, *rest = out.getvalue().splitlines()
    second = next(line for line in rest if line.startswith("0:02.5"))
    assert head.split() == ["time", "fast", "thinking", "slow", "thinking", "words", "said"]
    assert first.startswith("0:00–0:05            happy 83%, calm")
    assert second.startswith("0:02.5–0:07.5        failed: damag")
    assert [line.index("happy") for line in (first, second)] == [21, head.index("slow")]
    assert "\x1b" not in out.getvalue()
    assert all(len(line) <= max(width, 75) for line in (head, first, *rest))


def test_an_answer_wider_than_its_column_is_wrapped_and_no_word_of_it_is_cut() -> None:
    out = io.StringIO()
    words = ("disgusted", "embarrassed", "relieved", "hopeful")
    printer = TimelinePrinter(Console(file=out, width=80))
    printer.add(windows(answer("fast", words))[0])
    head, *lines = out.getvalue().splitlines()
    fast = [line[21 : head.index("slow")].strip() for line in lines]
    assert " ".join(fast).strip() == "disgusted, embarrassed, relieved, hopeful"


def test_what_is_not_there_has_no_column_and_half_heard_sound_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    heard = replace(answer("fast"), media=MediaFacts(audio_s=5.0, audio_taken_s=1.0))
    assert not print_windows([PredictedWindow(0, 5, None, (heard,))], "films/a.mp4", "", 0, None)
    printed = capsys.readouterr().out
    assert "words said" not in printed
    assert "Of a window's sound this model is given the first 1 s." in printed


def test_a_category_s_value_is_its_probability_or_whether_a_word_reaches_it() -> None:
    made = windows(answer("fast", joy=0.25), FAILED, answer("fast", ("furious",), joy=None))
    series = category_series(made, "fast", WHEELS)
    assert [*series] == [*WHEELS.categories_of[0]]
    assert series["joy"] == [pytest.approx(0.25), pytest.approx(math.nan, nan_ok=True), 0.0]
    assert series["anger"] == [0.0, pytest.approx(math.nan, nan_ok=True), 1.0]


@pytest.mark.slow
def test_a_plot_is_written_as_its_name_ends_and_is_the_same_each_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    made = windows(answer("fast"), FAILED, answer("fast"))
    png = plot_timeline(made, "a $x$ <b>.mp4", tmp_path / "a.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert plot_timeline(made, "a $x$ <b>.mp4", tmp_path / "b.png").read_bytes() == png
    svg = plot_timeline(made, "a.mp4", tmp_path / "a.svg", wheel=3).read_text()
    for text in ("fast thinking", "slow thinking", "anticipation", "Plutchik", "grey: no answer", "0:05"):
        assert text in svg


def test_another_ending_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--plot .*a\.pdf: give a name that ends in \.png or \.svg"):
        plot_timeline(windows(answer("fast")), "a", tmp_path / "a.pdf")


def test_one_window_alone_can_be_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert plot_timeline(windows(FAILED), "a", tmp_path / "a.svg").exists()
