"""Figures: deterministic, in the page's colours, with their numbers in words, for one set and for several."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure as MatplotlibFigure

from mer_r1.data.sample import Sample
from mer_r1.display.plots import running_mean
from mer_r1.evaluation.records import RunRecord
from mer_r1.evaluation.runs import System
from mer_r1.report import plots
from mer_r1.report.measured import Result, measure
from mer_r1.report.pictures import outline, picture
from mer_r1.report.plots import PLACEHOLDERS, Figure, Limits, fit, named
from mer_r1.report.score_plots import gap_plots, pair_plot, plane_plot, retained_plot, score_plot
from mer_r1.report.sets import page_sets, shown_systems
from mer_r1.report.training_plots import Log, large_logs, log_plot, pays, small_logs
from tests.media.make_media import gray_frames, tone, write_media
from tests.report.runs import shown_of, systems_of
from tests.small_wheels import SMALL

LOSS = Log("loss", "Loss.", "loss")
GOLD = [Sample(str(n), subtitle="x", labels=("happy", "sad") if n % 2 else ("angry",)) for n in range(8)]
ONE = {str(n): ("happy sad", "happy") for n in range(8)}


def measured(num_sets: int) -> tuple[Result, ...]:
    systems = []
    for system in systems_of(GOLD, a=ONE, b={identity: (slow, fast) for identity, (fast, slow) in ONE.items()}):
        sets = tuple(replace(system.sets[0], name=f"s{n}", title=f"Set {n}") for n in range(num_sets))
        systems.append(replace(system, sets=sets))
    shown = shown_systems(systems)
    return measure(shown, page_sets(shown), SMALL)


def said(figure: Figure | None) -> str:
    assert figure is not None
    found = re.search(r'aria-label="([^"]*)"', figure.svg)
    assert found is not None
    return found[1]


@pytest.mark.slow
@pytest.mark.parametrize("num_sets", [1, 3])
def test_figures_name_every_system_and_set_with_its_number(num_sets: int) -> None:
    rows = measured(num_sets)
    value = 100 * (rows[0].modes["fast"].value("f1") or 0)
    label = f"a, fast {value:.1f}" if num_sets == 1 else f"Set 2 a fast {value:.1f}, a "
    assert label in said(score_plot(rows, 0.4))
    gaps, pairs = gap_plots(rows), pair_plot(rows, "num_categories", "Categories.", "categories")
    if num_sets == 1:
        assert len(gaps) == 1
        assert "a recall +20.0, precision +0.0, F1 +13.3; b recall −20.0" in said(gaps[0])
        assert "a 1.80, 1.00; b 1.00, 1.80" in said(pairs)
    else:
        assert ["Set 1 a 20.0, b −20.0" in said(gap) for gap in gaps] == [True, False, False]
        assert "Set 0 a fast 1.80, a 1.00, b fast 1.00, b 1.80; Set 1" in said(pairs)
    assert (plane_plot(rows) is None) == (num_sets > 1)
    assert (retained_plot(rows) is None) == (num_sets == 1)


@pytest.mark.slow
def test_the_same_numbers_give_the_same_bytes_in_the_page_s_colours() -> None:
    one, two = (score_plot(measured(2), None) for _ in range(2))
    assert one == two
    assert one is not None
    assert "var(--system-1)" in one.svg
    assert not re.search(r"#0[0-9a-f]0", one.svg)


def test_titles_are_escaped_in_figures() -> None:
    evil = '<script>"&'
    log = tuple({"step": step, "loss": 1.0 / step} for step in range(1, 20))
    shown = shown_systems([System("x", evil, Path(), log=log), System("y", "y", Path(), log=log)])
    figure = log_plot(shown, LOSS)
    assert figure is not None
    assert "<script" not in figure.svg
    assert "&lt;script&gt;" in figure.svg


def lines_of(titles: Sequence[str]) -> str:
    """The SVG of the losses of systems of these titles."""
    log = tuple({"step": step, "loss": 1.0 / step} for step in range(1, 20))
    figure = log_plot(shown_systems([System(t, t, Path(), log=log) for t in titles]), LOSS)
    assert figure is not None
    return figure.svg


def test_every_system_stands_in_the_legend_even_with_an_underline_or_in_a_script_the_font_has_not() -> None:
    svg = lines_of(["_best", "情绪", "b"])
    for title in ("_best", "情绪"):
        assert re.search(rf">\s*{title}</text>", svg)


@pytest.mark.slow
@pytest.mark.parametrize(("letters", "rows"), [(4, 1), (24, 3), (90, 3)])
def test_a_legend_of_long_titles_has_fewer_columns(letters: int, rows: int) -> None:
    svg = lines_of([c * letters for c in "abc"])
    places = re.findall(r' y="([\d.]+)"[^>]*>(?:a{4,}|b{4,}|c{4,})[^<]*</text>', svg)
    assert len(places) == 3
    assert len(set(places)) == rows


@pytest.mark.slow
def test_short_titles_of_a_narrow_figure_stand_in_one_line() -> None:
    rows = measure(*shown_of(GOLD, Supervised=ONE, b=ONE, c=ONE), SMALL)
    figure = plane_plot(rows, 3.8)
    assert figure is not None
    assert len(set(re.findall(r' y="([\d.]+)"[^>]*>(?:Supervised|b|c)</text>', figure.svg))) == 1


@pytest.mark.slow
def test_titles_of_any_length_leave_room_for_the_axes() -> None:
    long = "model of a very long name that says everything about itself"
    systems, sets = shown_of(GOLD, **{f"{long} 1": ONE, f"{long} 2": ONE})
    rows = measure(systems, sets, SMALL)
    pair = pair_plot(rows, "num_categories", "", "")
    assert None not in (score_plot(rows, 0.4, 3.8), plane_plot(rows, 3.8), pair, *gap_plots(rows))
    assert [named(system) for system in systems] == ["model of a …out itself 1", "model of a …out itself 2"]


def test_seven_systems_have_seven_colours_of_their_own() -> None:
    systems = shown_systems([System(n, n, Path()) for n in "abcdefg"])
    assert sorted(system.colour for system in systems) == list(range(7))
    assert len(set(PLACEHOLDERS)) == len(PLACEHOLDERS) == 7
    style = (Path(plots.__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
    for index in range(7):
        assert f".system-{index} {{ --tile: var(--system-{index}); }}" in style
        assert len(re.findall(rf"--system-{index}: #", style)) == 3  # light, dark, print
    schemes = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    for scheme in schemes:
        assert len(set(re.findall(r"--system-\d: (#\w+)", scheme))) == 7


def trained(objective: str | None, **values: float) -> System:
    """A training of that objective whose log holds these numbers, at two steps."""
    log = tuple(
        {"step": step} | {name.replace("_", "/", 1): value for name, value in values.items()} for step in (1, 2)
    )
    return System("a", "a", Path(), log=log, run=RunRecord(objective=objective))


@pytest.mark.parametrize(
    ("objective", "expected"),
    [("mer_r1", []), ("accuracy", ["accuracy"]), ("emo_r3", ["accuracy", "reflection"]), (None, [])],
)
def test_a_reward_has_a_curve_where_the_objective_pays_it(objective: str | None, expected: list[str]) -> None:
    rewards = {"reward_recall": 0.5, "reward_accuracy": 0.0, "reward_reflection": 0.5, "reward_format": 1.0}
    words = [said(figure) for figure in small_logs(shown_systems([trained(objective, **rewards)]))]
    found = [name for name in ("accuracy", "reflection") if any(text.lower().startswith(name[:7]) for text in words)]
    assert found == expected
    assert any(text.startswith("Format reward") for text in words)
    assert pays(trained(None, reward_accuracy=0.5), "accuracy")  # an older run of one label logged no recall


@pytest.mark.parametrize(
    ("values", "limits", "expected"),
    [
        ((80.0, 99.9), (0.0, 100.0), lambda low, high: 70 < low < 80 and high == 100),
        ((0.0, 50.0), (0.0, 100.0), lambda low, high: low == 0 and 50 < high < 60),
        ((140.0, 150.0), (0.0, None), lambda low, high: 130 < low < 140 and 150 < high < 160),
        ((-1.0, 0.0), (None, 0.0), lambda low, high: -1.2 < low < -1 and high == 0),
        (
            (90.0, 120.0),
            (0.0, 100.0),
            lambda low, high: 80 < low < 90 and high == 120,
        ),  # what is there is never cut off
    ],
)
def test_an_axis_is_fitted_to_the_data_and_ends_where_a_number_can_be_no_more(
    values: tuple[float, float], limits: Limits, expected: Callable[[float, float], bool]
) -> None:
    axes = MatplotlibFigure().add_subplot()
    axes.margins(0.12)
    axes.plot(values, [0, 1])
    fit(axes, "x", limits)
    assert expected(*axes.get_xlim()), axes.get_xlim()


def test_without_numbers_there_is_no_figure() -> None:
    assert score_plot((), None) is None
    assert gap_plots(()) == []
    assert pair_plot((), "margin", "", "") is None
    assert small_logs(()) == large_logs(()) == []


def test_a_running_mean_keeps_a_constant_and_does_not_lag_a_line() -> None:
    assert running_mean([3.0] * 50) == pytest.approx([3.0] * 50)
    line = [float(n) for n in range(100)]
    assert running_mean(line)[4:-4] == pytest.approx(line[4:-4])
    assert running_mean([1.0, 5.0]) == [1.0, 5.0]
    assert running_mean([]) == []
    values = [float(n * n % 7) for n in range(50)]
    assert running_mean(values) == pytest.approx([np.mean(values[max(0, i - 2) : i + 3]) for i in range(50)])


def test_a_running_mean_of_a_long_log_adds_every_value_once() -> None:
    added = 0

    class Value(float):
        def __add__(self, other: float) -> Value:
            nonlocal added
            added += 1
            return Value(float(self) + float(other))

        __radd__ = __add__

    running_mean([Value(1.0)] * 10_000)
    assert 0 < added <= 10_000


def test_a_picture_holds_four_frames_with_times_and_the_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_media(path, frames=gray_frames(8, 320, 240), sound=tone(1.0, 16_000))
    shown = picture(Sample("a", video=path))
    assert len(shown.frames) == 4
    assert shown.frames[0][1] is not None
    assert sum(len(uri) for uri, _ in shown.frames) < 20_000
    assert shown.sound.startswith("M")
    assert picture(Sample("a", subtitle="x")) == type(shown)((), "", None)


def test_what_cannot_be_shown_is_named_without_its_folder(tmp_path: Path) -> None:
    problem = picture(Sample("a", video=tmp_path / "gone.mp4")).problem
    assert problem.startswith("gone.mp4")
    assert str(tmp_path) not in problem


def test_the_outline_of_silence_is_flat_and_of_a_tone_fills_the_field() -> None:
    def heights(waveform: np.ndarray) -> list[float]:
        return [float(point.split()[1]) for point in outline(waveform)[1:-1].split("L")]

    assert set(heights(np.zeros(1000, np.float32))) == {1.0, 1.02}
    assert min(heights(tone(1.0, 16_000)[0])) == 0
    assert max(heights(tone(1.0, 16_000)[0])) == pytest.approx(2.02)
    assert outline(np.zeros(0, np.float32)) == ""
