"""The plots of `mer-r1 diagnose RUN…`: SVG and PNG of the numbers in diagnosis.json.

    gaps          fast - slow in recall, precision and F1, and in WAF            MER-R1 Figures 1b and 3a
    answers       categories of both modes; retained hits                        Figures 3b and 8
    confidence    on gold and its margin, of both modes, at both positions       Figures 3c-d
    pair          slow against slow of two systems                               Figure 5
    dynamics      reward of recall and precision over training                   Figure 7
    reliability   confidence of a category at the first word against how often it is right
    leak          what the subtitles give away

Convention: an open mark is fast (or the reference system), a filled one slow (or the tuned one); a colour is a system
(Okabe and Ito, 2008); every bar is a 95 % interval. Where a difference is measured, its interval is drawn around the
mark that it moves to. The same numbers give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mer_r1.analysis.paradox import GAPS, Diagnosis, Level
from mer_r1.analysis.reliability import Reliability
from mer_r1.analysis.runs import DYNAMICS, RunsDiagnosis
from mer_r1.analysis.tables import Estimate
from mer_r1.data.sample import MODES, Mode
from mer_r1.display.plots import (
    BLUE,
    GREEN,
    GREY,
    GRID,
    INK,
    MUTED,
    ORANGE,
    PAPER,
    PINK,
    canvas,
    running_mean,
    save,
    shortened,
)
from mer_r1.evaluation.records import Json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (GREY, ORANGE, BLUE, GREEN, PINK)
WIDTH = 10.2  # inches
HEADROOM, ROW, BETWEEN = 1.15, 0.27, 0.16  # inches: title and axis, a system's row, space between sets
TWO_LINES = 0.2  # inches more, where a title has two lines
MAX_LABEL, LEGEND_CHARACTERS = 26, 90  # a legend of more characters has several lines

Panel = tuple[str, str, float]
"""A measure of the levels, its title, and what it is multiplied by."""
DIVERSITY: tuple[Panel, ...] = (("num_categories", "categories an answer", 1),)
CONFIDENCES: tuple[Panel, ...] = (
    ("confidence_gold_first", "log-confidence on gold,\nfirst word", 1),
    ("confidence_gold", "log-confidence on gold,\nmean over words", 1),
    ("margin_first", "margin over hard others,\nfirst word", 1),
    ("margin", "margin over hard others,\nmean over words", 1),
)
SCORES: tuple[Panel, ...] = (("recall", "recall, %", 100), ("precision", "precision, %", 100))
Row = tuple[float, str, str]
"""Of a row its height, the set and the system."""


def draw(found: RunsDiagnosis, out: Path) -> list[Path]:
    """Every plot that the numbers allow, as OUT/NAME.svg and OUT/NAME.png. Raises InputError without matplotlib."""
    plots: dict[str, Callable[[RunsDiagnosis, Path], list[Path]]] = {
        "gaps": _gaps,
        "answers": _answers,
        "confidence": _confidence,
        "pair": _pair,
        "dynamics": _dynamics,
        "reliability": _reliability,
        "leak": _leak,
    }
    return [path for name, plot in plots.items() for path in plot(found, out / name)]


def colour_of(found: RunsDiagnosis) -> dict[str, str]:
    """A colour for each system; the last two of three stand as in the report."""
    shift = 0 if len(found.systems) > 2 else 1
    return {name: COLOURS[(index + shift) % len(COLOURS)] for index, name in enumerate(found.systems)}


def _save(figure: Any, path: Path) -> list[Path]:
    """The figure as PATH.svg and PATH.png."""
    return [save(figure, path.with_name(f"{path.name}.{ending}")) for ending in ("svg", "png")]


def label(text: str) -> str:
    """A title as it stands at an axis."""
    return shortened(text, MAX_LABEL)


def _rows(found: RunsDiagnosis) -> list[tuple[Row, Diagnosis]]:
    """A row for each set and system whose modes are compared, from above, with space between sets."""
    rows: list[tuple[Row, Diagnosis]] = []
    y = 0.0
    for name, item in found.sets.items():
        compared = [(system, values.paradox) for system, values in item.systems.items() if values.paradox]
        rows += [((y + index * ROW, name, system), of) for index, (system, of) in enumerate(compared)]
        y += len(compared) * ROW + (BETWEEN if compared else 0.0)
    return rows


def _panels(figure: Any, num: int, titles: Mapping[str, str], rows: Sequence[Row]) -> list[Axes]:
    """Panels beside each other over the same rows: sets named once at the left, a legend of the systems above."""
    panels: list[Axes] = list(figure.subplots(1, num, sharey=True, squeeze=False)[0])
    middle: dict[str, list[float]] = {}
    for y, name, _ in rows:
        middle.setdefault(name, []).append(y)
    panels[0].set_yticks([sum(ys) / len(ys) for ys in middle.values()], [label(titles[name]) for name in middle])
    panels[0].set_ylim(max(y for y, _, _ in rows) + ROW, -ROW)
    for axes in panels:
        axes.grid(axis="x", color=GRID)
    return panels


def _titles(found: RunsDiagnosis) -> dict[str, str]:
    return {name: item.title for name, item in found.sets.items()}


def _legend(figure: Any, marks: Sequence[tuple[str, dict[str, Any]]]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **{"linestyle": "", "marker": "o", "markersize": 7, **look}) for _, look in marks]
    texts = [label(title) for title, _ in marks]
    ncols = len(texts) if sum(map(len, texts)) < LEGEND_CHARACTERS else 3
    figure.legend(handles, texts, loc="outside upper left", ncols=ncols, handletextpad=0.5, columnspacing=1.4)


def _height(rows: Sequence[Row]) -> float:
    return HEADROOM + max(y for y, _, _ in rows) + 2 * ROW


def _system_marks(found: RunsDiagnosis, rows: Sequence[Row]) -> list[tuple[str, dict[str, Any]]]:
    colours, shown = colour_of(found), {system for _, _, system in rows}
    return [(title, {"color": colours[name]}) for name, title in found.systems.items() if name in shown]


FAST_SLOW: list[tuple[str, dict[str, Any]]] = [
    ("fast", {"color": MUTED, "markerfacecolor": PAPER}),
    ("slow", {"color": MUTED}),
]
BAND: tuple[str, dict[str, Any]] = (
    "95 % of the difference",
    {"color": MUTED, "marker": "", "linestyle": "-", "linewidth": 5, "alpha": 0.28},
)


def _gaps(found: RunsDiagnosis, path: Path) -> list[Path]:
    """A panel a measure; that of WAF only where there is a set of sentiment."""
    rows: list[Row] = []
    deltas: list[Mapping[str, Estimate]] = []
    y, colours = 0.0, colour_of(found)
    for name, item in found.sets.items():
        rows += [(y + index * ROW, name, system) for index, system in enumerate(item.gaps)]
        deltas += item.gaps.values()
        y += len(item.gaps) * ROW + (BETWEEN if item.gaps else 0.0)
    panels = [panel for panel in (*GAPS, ("waf", "WAF")) if any(panel[0] in delta for delta in deltas)]
    if not rows:
        return []
    with canvas("diagnosis gaps", WIDTH, _height(rows)) as figure:
        for axes, (key, title) in zip(_panels(figure, len(panels), _titles(found), rows), panels, strict=True):
            axes.axvline(0, color=MUTED, linewidth=1)
            for (height, _, system), delta in zip(rows, deltas, strict=True):
                if key in delta:
                    _point(axes, height, delta[key], 100, colours[system])
            axes.set(title=title, xlabel="fast − slow, points")
        _legend(figure, _system_marks(found, rows))
        return _save(figure, path)


def _point(axes: Axes, y: float, row: Estimate, scale: float, colour: str) -> None:
    """A value with its interval."""
    if row.bounds:
        axes.plot([scale * bound for bound in row.bounds], [y, y], color=colour, linewidth=2, solid_capstyle="round")
    if row.value is not None:
        axes.plot(scale * row.value, y, "o", color=colour, markersize=6)


def _answers(found: RunsDiagnosis, path: Path) -> list[Path]:
    compared, colours = _rows(found), colour_of(found)
    rows = [row for row, _ in compared]
    if not rows:
        return []
    with canvas("diagnosis answers", WIDTH, _height(rows)) as figure:
        *levels, kept = _panels(figure, len(DIVERSITY) + 1, _titles(found), rows)
        _draw_levels(levels, DIVERSITY, compared, colours)
        for (y, _, system), of in compared:
            _point(kept, y, of.retained_hit_rate, 100, colours[system])
        kept.set(title="retained hit rate, %")
        _legend(figure, [*_system_marks(found, rows), *FAST_SLOW, BAND])
        return _save(figure, path)


def _confidence(found: RunsDiagnosis, path: Path) -> list[Path]:
    """Of each measure both positions beside each other; one that no answer has is left out."""
    compared = _rows(found)
    shown = _known(CONFIDENCES, [level for _, of in compared for level in (of.fast, of.slow)])
    if not shown:
        return []
    rows = [row for row, _ in compared]
    with canvas("diagnosis confidence", WIDTH + 1.2, _height(rows) + TWO_LINES) as figure:
        panels = _panels(figure, len(shown), _titles(found), rows)
        _draw_levels(panels, shown, compared, colour_of(found))
        _legend(figure, [*_system_marks(found, rows), *FAST_SLOW, BAND])
        return _save(figure, path)


def _known(measures: Sequence[Panel], levels: Sequence[Level]) -> list[Panel]:
    """Those measures that some side has."""
    return [panel for panel in measures if any(getattr(level, panel[0]) is not None for level in levels)]


def _draw_levels(
    panels: Sequence[Axes], shown: Sequence[Panel], compared: Sequence[tuple[Row, Diagnosis]], colours: dict[str, str]
) -> None:
    """A measure a panel, from slow to fast."""
    for axes, (key, title, scale) in zip(panels, shown, strict=True):
        for (y, _, system), of in compared:
            _dumbbell(axes, y, (of.slow, of.fast), key, of.delta[key], scale, colours[system], filled=0)
        axes.set(title=title)


def _dumbbell(
    axes: Axes,
    y: float,
    ends: tuple[Level, Level],
    key: str,
    delta: Estimate,
    scale: float,
    colour: str,
    *,
    filled: int,
) -> None:
    """From the first end to the second, the interval of the difference around the second; `filled` is an index."""
    first, second = (getattr(level, key) for level in ends)
    if first is None or second is None:
        return
    axes.plot([scale * first, scale * second], [y, y], color=colour, linewidth=1)
    if delta.bounds:
        around = [scale * (first + bound) for bound in delta.bounds]
        axes.plot(around, [y, y], color=colour, linewidth=5, alpha=0.28, solid_capstyle="round")
    for index, value in enumerate((first, second)):
        axes.plot(
            scale * value, y, "o", color=colour, markerfacecolor=colour if index == filled else PAPER, markersize=6
        )


def _pair(found: RunsDiagnosis, path: Path) -> list[Path]:
    compared = [(name, item.pair) for name, item in found.sets.items() if item.pair]
    if not compared or found.pair is None:
        return []
    reference, tuned = found.pair
    rows: list[Row] = [(index * (ROW + BETWEEN), name, tuned) for index, (name, _) in enumerate(compared)]
    colour = colour_of(found)[tuned]
    shown = [*SCORES, *_known(CONFIDENCES, [level for _, of in compared for level in (of.reference, of.tuned)])]
    with canvas("diagnosis pair", 2.4 * len(shown) + 1.8, _height(rows) + TWO_LINES) as figure:
        for axes, (key, title, scale) in zip(_panels(figure, len(shown), _titles(found), rows), shown, strict=True):
            for (y, _, _), (_, of) in zip(rows, compared, strict=True):
                _dumbbell(axes, y, (of.reference, of.tuned), key, of.delta[key], scale, colour, filled=1)
            axes.set(title=title)
        titles = [f"{found.systems[name]}, slow" for name in (reference, tuned)]
        _legend(
            figure, [(titles[0], {"color": colour, "markerfacecolor": PAPER}), (titles[1], {"color": colour}), BAND]
        )
        return _save(figure, path)


def _dynamics(found: RunsDiagnosis, path: Path) -> list[Path]:
    if not found.dynamics:
        return []
    colours = colour_of(found)
    with canvas("diagnosis dynamics", WIDTH, 3.4) as figure:
        panels = figure.subplots(1, 2)
        for axes, key in zip(panels, DYNAMICS, strict=True):
            for name, log in found.dynamics.items():
                if row := log.get(key):
                    axes.plot(row.steps, row.values, color=colours[name], alpha=0.3, linewidth=0.9)
                    axes.plot(row.steps, running_mean(row.values), color=colours[name], linewidth=2)
            axes.set(title=f"{key.removeprefix('reward/')} reward of the sampled answers", xlabel="step")
            axes.grid(color=GRID)
        shown = [(found.systems[name], {"color": colours[name], "linestyle": "-", "marker": "", "linewidth": 2})
                 for name in found.dynamics]  # fmt: skip
        _legend(figure, shown)
        return _save(figure, path)


def _reliability(found: RunsDiagnosis, path: Path) -> list[Path]:
    """A row a set and a column a system; of one system alone three sets stand beside each other."""
    sets = [item for item in found.sets.values() if item.systems]
    cells = [
        (index, name, values.reliability)
        for index, item in enumerate(sets)
        for name, values in item.systems.items()
        if any(values.reliability.values())
    ]
    if not cells:
        return []
    names = [name for name in found.systems if any(name == system for _, system, _ in cells)]
    across = len(names) if len(names) > 1 else min(3, len(cells))
    down = len(sets) if len(names) > 1 else -(-len(cells) // across)
    colours = colour_of(found)
    with canvas("diagnosis reliability", 3.5 * across + 0.3, 3.5 * down + 0.7) as figure:
        panels = figure.subplots(down, across, squeeze=False)
        empty = set(panels.ravel())
        for number, (index, name, calibration) in enumerate(cells):
            axes = panels[index, names.index(name)] if len(names) > 1 else panels.ravel()[number]
            heading = f"{label(found.systems[name])}, {label(sets[index].title)}"
            _diagram(axes, calibration, colours[name], heading)
            empty.discard(axes)
        for axes in empty:
            axes.set_visible(False)
        _legend(figure, [*FAST_SLOW, ("bars: pairs of slow", {"marker": "s", "color": GRID})])
        return _save(figure, path)


def _diagram(axes: Axes, calibration: Mapping[Mode, Reliability | None], colour: str, heading: str) -> None:
    """One reliability diagram: both modes over the diagonal, and below how many pairs a bin of slow holds."""
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":")
    words = []
    of_modes = {mode: calibration.get(mode) for mode in MODES}
    for mode, of_mode in of_modes.items():
        if of_mode is None:
            continue
        bins, ece = [item for item in of_mode.every.bins if item.count], of_mode.every.ece
        points: list[Any] = [(item.confidence, item.gold) for item in bins]
        axes.plot(
            *zip(*points, strict=True), marker="o", color=colour,
            markerfacecolor=PAPER if mode == "fast" else colour, markersize=6, linewidth=1.4,
            linestyle="--" if mode == "fast" else "-",
        )  # fmt: skip
        if ece.value is not None:
            around = f" [{ece.low:.3f}, {ece.high:.3f}]" if ece.bounds else ""
            words.append(f"{mode}: ECE {ece.value:.3f}{around}, {sum(item.count for item in bins):,} pairs")
    shown = of_modes["slow"] or of_modes["fast"]
    if shown is not None:
        total = sum(item.count for item in shown.every.bins) or 1
        middle = [(item.low + item.high) / 2 for item in shown.every.bins]
        axes.bar(middle, [0.3 * item.count / total for item in shown.every.bins], 0.094, color=GRID, zorder=0)
    axes.set_title("\n".join([heading, *words]), fontsize=9)
    axes.set(
        xlim=(-0.02, 1.02),
        ylim=(0, 1.02),
        xlabel="confidence of a category at the first word",
        ylabel="share that is gold",
    )
    axes.set_xticks([0, 0.5, 1])
    axes.set_yticks([0, 0.5, 1])


def _leak(found: RunsDiagnosis, path: Path) -> list[Path]:
    leaks = {name: item.leak for name, item in found.sets.items() if item.leak}
    if not leaks:
        return []
    colours = colour_of(found)
    rows: list[Row] = [(index * (ROW + BETWEEN), name, "") for index, name in enumerate(leaks)]
    shown = [name for name in found.systems if any(name in found.sets[item].systems for item in leaks)]
    with canvas("diagnosis leak", WIDTH, _height(rows)) as figure:
        (axes,) = _panels(figure, 1, _titles(found), rows)
        for y, name, _ in rows:
            words, chance, constant = (leaks[name][key] for key in ("found", "shuffled", "constant"))
            axes.plot(100 * chance["f1"], y, "|", color=MUTED, markersize=14, markeredgewidth=2)
            _point(axes, y, Estimate(words["f1"], *words["intervals"]["f1"]), 100, INK)
            if constant:
                axes.plot(100 * constant["f1"], y, "x", color=MUTED, markersize=7, markeredgewidth=1.8)
            for system in shown:
                numbers = found.sets[name].systems.get(system)
                if numbers and numbers.paradox and numbers.paradox.slow.f1 is not None:
                    axes.plot(100 * numbers.paradox.slow.f1, y, "D", color=colours[system], markersize=6)
        axes.set(xlabel="F1, %", xlim=(-2, 102))
        marks: list[tuple[str, dict[str, Any]]] = [
            ("words of the subtitle", {"color": INK}),
            ("the same, shuffled", {"color": MUTED, "marker": "|", "markeredgewidth": 2}),
            ("best constant answer", {"color": MUTED, "marker": "x", "markeredgewidth": 1.8}),
        ]
        systems = [(f"{found.systems[name]}, slow", {"color": colours[name], "marker": "D"}) for name in shown]
        _legend(figure, [*marks, *systems])
        return _save(figure, path)


def draw_modality(result: Json, path: Path) -> list[Path]:
    """What `mer-r1 diagnose modality` measured under each condition, as PATH.svg and PATH.png."""
    modes = list(result["modes"])
    names = list(result["modes"][modes[0]])
    rows: list[Row] = [(index * (ROW * len(modes) + BETWEEN), name, "") for index, name in enumerate(names)]
    titles = {name: name.replace("-", " ") for name in names}
    with canvas("diagnosis modality", WIDTH, _height(rows) + ROW) as figure:
        for axes, (key, title) in zip(_panels(figure, len(GAPS), titles, rows), GAPS, strict=True):
            for index, mode in enumerate(modes):
                for y, name, _ in rows:
                    found = result["modes"][mode][name]
                    height = y + (index - (len(modes) - 1) / 2) * ROW
                    _point(axes, height, Estimate(found[key], *found["intervals"][key]), 100, BLUE)
                    if mode == "fast" and found[key] is not None:
                        axes.plot(100 * found[key], height, "o", color=BLUE, markerfacecolor=PAPER, markersize=6)
            axes.set(title=f"{title}, %")
        fast, slow = ({**look, "color": BLUE} for _, look in FAST_SLOW)
        _legend(figure, [(mode, fast if mode == "fast" else slow) for mode in modes])
        return _save(figure, path)
