"""The figures of what was measured: F1, recall against precision, fast minus slow, confidence, and lost media.

On one data set a row is a system, on several it is a set, and the systems stand in it above each other. Open mark:
fast; filled mark: slow; lines are 95 % intervals or join the two. Kinds of figure: MER-R1 Figures 3, 5 and 8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from mer_r1.analysis.paradox import GAPS
from mer_r1.analysis.tables import Estimate
from mer_r1.data.sample import MODES, Mode
from mer_r1.evaluation.records import Bounds, ScoreRecord
from mer_r1.metrics.signature import counted_by, parts_of
from mer_r1.report.measured import Result
from mer_r1.report.plots import (
    GRID,
    INK,
    MUTED,
    PAPER,
    PLACEHOLDERS,
    WIDTH,
    Figure,
    Limits,
    draw_figure,
    fit,
    legend,
    named,
)
from mer_r1.report.sets import ShownSystem
from mer_r1.text import number, points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESULT_HEIGHT, PAIR_HEIGHT = 3.1, 2.4  # inches
MARK = 8
PERCENT: Limits = (0.0, 100.0)
PAIRS: tuple[tuple[str, str, str, Limits], ...] = (
    ("num_categories", "Categories an answer names, mean over wheels.", "categories an answer", (0.0, None)),
    (
        "confidence_gold_first",
        "Confidence on the right categories at an answer’s first word; 0 would be certainty.",
        "log-probability",
        (None, 0.0),
    ),
    (
        "confidence_gold",
        "Confidence on the right categories, mean over an answer’s words; 0 would be certainty.",
        "log-probability",
        (None, 0.0),
    ),
    (
        "margin_first",
        "Margin over the three hardest wrong categories at an answer’s first word.",
        "difference of log-probabilities",
        (None, None),
    ),
    (
        "margin",
        "Margin over the three hardest wrong categories, mean over an answer’s words.",
        "difference of log-probabilities",
        (None, None),
    ),
)
NAMES = {"f1": "F1", "hit": "HIT", "waf": "WAF", "accuracy": "accuracy"}


@dataclass(frozen=True)
class Mark:
    """One number: its interval, the system it is of, and whether its mark is filled (slow, or of both modes)."""

    value: float
    bounds: Bounds
    system: ShownSystem
    filled: bool = True


@dataclass(frozen=True)
class Row:
    """A line of a plot with its label; marks of one tuple stand on one height and are joined."""

    label: str
    groups: tuple[tuple[Mark, ...], ...]


def score_plot(measured: Sequence[Result], constant_f1: float | None, width: float = WIDTH) -> Figure | None:
    """The headline measure of every system and mode with its interval; on one set also the best constant answer's."""
    one_set = is_one_set(measured)
    rows = []
    for title, of_set in _sets(measured):
        marks = [(mark, mode) for item in of_set for mode in MODES for mark in _score_marks(item, mode)]
        if one_set:
            rows += [Row(f"{named(mark.system)}, {mode}", ((mark,),)) for mark, mode in marks]
        elif marks:
            rows.append(Row(title, tuple((mark,) for mark, _ in marks)))
    measures = {score.headline for item in measured for score in item.modes.values()}
    label = " or ".join(NAMES[name] for name in NAMES if name in measures)
    line = constant_f1 if measures == {"f1"} and one_set else None
    limits = (0.0, None) if "hit" in measures else PERCENT  # HIT is a count of right categories
    caption = f"{label[:1].upper()}{label[1:]} with 95 % intervals. Open mark: fast; filled mark: slow."
    return _row_plot("scores", rows, caption, f"{label}, percent", limits, line=line, width=width, one_set=one_set)


def plane_plot(measured: Sequence[Result], width: float = WIDTH) -> Figure | None:
    """Recall against precision, from fast to slow of every system, over faint lines of equal F1; of one set."""
    pairs: list[tuple[ShownSystem, tuple[float, float], tuple[float, float]]] = []
    for item in measured:
        fast, slow = (_point(item, mode) for mode in MODES)
        if fast is not None and slow is not None:
            pairs.append((item.system, fast, slow))
    if not pairs or not is_one_set(measured):
        return None

    def draw(axes: Axes) -> None:
        for system, fast, slow in pairs:
            colour = PLACEHOLDERS[system.colour]
            axes.annotate(
                "", slow, fast, arrowprops={"arrowstyle": "-|>", "color": colour, "shrinkA": 5, "shrinkB": 5, "lw": 1.8}
            )
            axes.plot(*fast, "o", color=colour, markerfacecolor=PAPER, markersize=MARK)
            axes.plot(*slow, "o", color=colour, markersize=MARK, label=named(system))
        axes.margins(0.18)
        for which in ("x", "y"):
            fit(axes, which, PERCENT)
        _equal_f1_lines(axes)
        axes.set_xlabel("recall, percent")
        axes.set_ylabel("precision, percent")
        legend(axes)

    words = [f"{system.title} from {_in_plane(fast)} to {_in_plane(slow)}" for system, fast, slow in pairs]
    caption = "From fast (open) to slow (filled). Upwards and to the right is better; dotted: equal F1."
    return draw_figure("plane", draw, caption, words, height=RESULT_HEIGHT, width=width)


def without_plot(
    without: Mapping[str, ScoreRecord], systems: Sequence[ShownSystem], wheels: str, width: float = WIDTH
) -> Figure | None:
    """F1 of MER-R1's slow answers with all media and without one, as a quickstart's metrics.json names them.

    `wheels` are those of the page's numbers, as `counted_by` names them; where these are by others, they are named.
    """
    known = [(name, scores) for name, scores in without.items() if scores.f1 is not None]
    if not known or not systems:
        return None
    asked = next((item for item in systems if item.system.name == "mer_r1"), systems[-1])
    rows = []
    for name, scores in known:
        mark = Mark(100 * (scores.f1 or 0.0), _in_percent(scores.bounds("f1")), asked)
        rows.append(Row("all media" if name == "nothing" else f"without {name}", ((mark,),)))
    num, signature = known[0][1].n, known[0][1].signature
    clips = f" on {num} clips" if num is not None else ""
    intervals = ", with 95 % intervals" if any(row.groups[0][0].bounds for row in rows) else ""
    other = f" By {by}." if (by := _counted_by(signature)) not in ("", wheels) else ""
    caption = (
        f"What each medium is worth: F1 of {asked.title}’s slow answers{clips}, a medium taken away at a "
        f"time{intervals}.{other}"
    )
    return _row_plot("without", rows, caption, "F1, percent", PERCENT, one_set=True, width=width)


def _counted_by(signature: str) -> str:
    """Wheels and protocol of a signature; empty where it has none."""
    parts = parts_of(signature)
    return counted_by(parts["wheels"], parts["protocol"]) if {"wheels", "protocol"} <= parts.keys() else ""


def gap_plots(measured: Sequence[Result]) -> list[Figure | None]:
    """Fast minus slow in recall, precision and F1 with intervals (MER-R1 Figure 3a): one figure, or one a measure."""
    if is_one_set(measured):
        gaps = [(item.system, item.diagnosis.delta) for item in measured if item.diagnosis]
        return [_gap_bars(gaps)] if gaps else []
    figures = []
    for key, name in GAPS:
        caption = f"{name[:1].upper()}{name[1:]}, fast minus slow, with 95 % intervals. Right of zero fast leads."
        rows = _by_set(measured, partial(_mark, key=key))
        label = f"{name}, percentage points"
        figures.append(_row_plot(f"gap-{key}", rows, caption, label, (-100.0, 100.0), line=0.0, one_set=False))
    return figures


def _mark(result: Result, key: str) -> tuple[Mark, ...]:
    """A gap of the diagnosis, or the share "retained", with its interval, where it is known."""
    if result.diagnosis is None:
        return ()
    estimate = (result.diagnosis.delta | {"retained": result.diagnosis.retained_hit_rate})[key]
    if estimate.value is None:
        return ()
    return (Mark(100 * estimate.value, _in_percent(estimate.bounds), result.system),)


def pair_plots(measured: Sequence[Result]) -> list[Figure | None]:
    """What the diagnosis says of both modes beside each other, a figure a measure."""
    return [pair_plot(measured, *pair) for pair in PAIRS]


def pair_plot(
    measured: Sequence[Result], key: str, caption: str, label: str, limits: Limits = (None, None)
) -> Figure | None:
    """One number of the diagnosis, fast beside slow, of every system (MER-R1 Figure 3b-d)."""

    def marks(result: Result) -> tuple[Mark, ...]:
        levels = (result.diagnosis.fast, result.diagnosis.slow) if result.diagnosis else ()
        values = [getattr(level, key) for level in levels]
        known = [value for value in values if value is not None]
        return tuple(Mark(v, None, result.system, filled=mode == "slow") for v, mode in zip(known, MODES, strict=False))

    complete = [result for result in measured if len(marks(result)) == len(MODES)]
    one_set = is_one_set(measured)
    rows = [Row(named(result.system), (marks(result),)) for result in complete] if one_set else _by_set(complete, marks)
    caption = f"{caption} Open mark: fast; filled mark: slow."
    return _row_plot(f"pair-{key}", rows, caption, label, limits, one_set=one_set, height=PAIR_HEIGHT)


def retained_plot(measured: Sequence[Result]) -> Figure | None:
    """The retained hit rate of every system on several sets (MER-R1 Figure 8); on one set the page says it in words."""
    if is_one_set(measured):
        return None
    rows = _by_set(measured, partial(_mark, key="retained"))
    caption = "Retained hit rate: of fast’s right categories the share that slow keeps, with 95 % intervals."
    return _row_plot("retained", rows, caption, "retained, percent", PERCENT, one_set=False)


def is_one_set(measured: Sequence[Result]) -> bool:
    """Whether all results are of one set; with none, too."""
    return len({item.page_set.index for item in measured}) <= 1


def _sets(measured: Sequence[Result]) -> Iterator[tuple[str, list[Result]]]:
    """The title of each set with its results, which stand together."""
    for _, of_set in groupby(measured, key=lambda item: item.page_set.index):
        results = list(of_set)
        yield results[0].page_set.title, results


def _score_marks(result: Result, mode: Mode) -> list[Mark]:
    if mode not in result.modes:
        return []
    score = result.modes[mode]
    value, bounds = score.value(score.headline), _in_percent(score.bounds(score.headline))
    return [] if value is None else [Mark(100 * value, bounds, result.system, filled=mode == "slow")]


def _point(result: Result, mode: Mode) -> tuple[float, float] | None:
    """(recall, precision) in percent, where both are defined."""
    if mode not in result.modes:
        return None
    recall, precision = (result.modes[mode].value(measure) for measure in ("recall", "precision"))
    return None if recall is None or precision is None else (100 * recall, 100 * precision)


def _in_plane(point: tuple[float, float]) -> str:
    return f"recall {number(point[0], 1)}, precision {number(point[1], 1)}"


def _in_percent(bounds: Bounds) -> Bounds:
    return None if bounds is None else (100 * bounds[0], 100 * bounds[1])


def _by_set(measured: Sequence[Result], marks: Callable[[Result], tuple[Mark, ...]]) -> list[Row]:
    """A row a set, a group of marks a system."""
    rows = []
    for title, of_set in _sets(measured):
        if groups := tuple(found for item in of_set if (found := marks(item))):
            rows.append(Row(title, groups))
    return rows


def _row_plot(
    name: str,
    rows: Sequence[Row],
    caption: str,
    label: str,
    limits: Limits,
    *,
    one_set: bool,
    line: float | None = None,
    width: float = WIDTH,
    height: float = RESULT_HEIGHT,
) -> Figure | None:
    """Marks in labelled rows; higher than `height` where the rows need it. None without a row."""
    if not rows:
        return None
    most = max(len(row.groups) for row in rows)

    def draw(axes: Axes) -> None:
        seen: set[int] = set()
        for y, row in enumerate(rows):
            for index, group in enumerate(row.groups):
                _draw_group(axes, group, y + (index - (len(row.groups) - 1) / 2) * 0.72 / most, seen, not one_set)
        if line is not None:
            axes.axvline(100 * line, color=MUTED, linestyle=":", linewidth=1.4)
        if line:
            axes.annotate(
                "always the same words", (100 * line, len(rows) - 0.5), (4, 0), textcoords="offset points",
                color=MUTED, va="center", fontsize=9,
            )  # fmt: skip
        axes.set_yticks(range(len(rows)), [row.label for row in rows])
        axes.set_ylim(len(rows) - (0.1 if line else 0.4), -0.6)
        axes.margins(x=0.12)
        fit(axes, "x", limits)
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel(label)
        axes.grid(axis="x", color=GRID)
        if not one_set and len(seen) > 1:
            legend(axes)

    words = [
        f"{row.label} " + (", ".join(_in_words(mark, one_set) for group in row.groups for mark in group))
        for row in rows
    ]
    needed = 0.9 + (0.26 if one_set else 0.12 + 0.13 * most) * len(rows)
    return draw_figure(name, draw, caption, words, height=max(height, needed), width=width)


def _draw_group(axes: Axes, group: Sequence[Mark], y: float, seen: set[int], with_names: bool) -> None:
    size = MARK if not with_names else 6
    if len(group) > 1:
        colour = PLACEHOLDERS[group[0].system.colour]
        axes.plot([mark.value for mark in group], [y] * len(group), color=colour, linewidth=2, alpha=0.55)
    for mark in group:
        colour, label = PLACEHOLDERS[mark.system.colour], None
        if mark.bounds:
            axes.plot(mark.bounds, [y, y], color=colour, linewidth=2.2, solid_capstyle="round")
        if mark.filled and mark.system.index not in seen:
            seen.add(mark.system.index)
            label = named(mark.system)
        axes.plot(mark.value, y, "o", color=colour, markerfacecolor=colour if mark.filled else PAPER, markersize=size,
                  label=label)  # fmt: skip


def _in_words(mark: Mark, one_set: bool) -> str:
    value = number(mark.value, 1 if abs(mark.value) >= 10 else 2)
    return value if one_set else f"{mark.system.title}{'' if mark.filled else ' fast'} {value}"


def _gap_bars(gaps: Sequence[tuple[ShownSystem, Mapping[str, Estimate]]]) -> Figure | None:
    width = 0.8 / len(gaps)

    def draw(axes: Axes) -> None:
        for index, (system, delta) in enumerate(gaps):
            for x, (key, _) in enumerate(GAPS):
                value, bounds = delta[key].value, delta[key].bounds
                if value is None:
                    continue
                centre = x + (index - (len(gaps) - 1) / 2) * width
                label = named(system) if x == 0 else None
                axes.bar(centre, 100 * value, 0.88 * width, color=PLACEHOLDERS[system.colour], label=label)
                if bounds:
                    axes.plot([centre] * 2, [100 * b for b in bounds], color=INK, linewidth=1.3)
        axes.axhline(0, color=MUTED, linewidth=1)
        axes.set_xticks(range(len(GAPS)), [name for _, name in GAPS])
        axes.set_ylabel("percentage points")
        axes.grid(axis="y", color=GRID)
        legend(axes)

    words = [
        f"{system.title} " + ", ".join(f"{name} {points(delta[key].value)}" for key, name in GAPS)
        for system, delta in gaps
    ]
    caption = "Fast minus slow, with 95 % intervals. Above zero fast leads, below zero slow leads."
    return draw_figure("gaps", draw, caption, words, height=PAIR_HEIGHT)


def _equal_f1_lines(axes: Axes) -> None:
    """Lines precision = F r / (2 r - F) for F = 10, 20 ... 90 % behind what is drawn; the limits stay as they are."""
    axes.autoscale_view()
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    for f1 in range(10, 100, 5 if right - left < 30 else 10):
        recall = [max(left, f1 / 2 + 0.5) + step * (right - left) / 60 for step in range(61)]
        line = [(r, f1 * r / (2 * r - f1)) for r in recall]
        inside = [(r, p) for r, p in line if left <= r <= right and bottom <= p <= top]
        if len(inside) > 1:
            axes.plot(*zip(*inside, strict=True), ":", color=MUTED, linewidth=0.9, alpha=0.7, zorder=0)
            axes.annotate(
                f"F1 {f1}", inside[-1], (2, 0), textcoords="offset points", fontsize=8, color=MUTED, va="center"
            )
    axes.set(xlim=(left, right), ylim=(bottom, top))
