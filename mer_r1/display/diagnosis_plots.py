"""The plots of `mer-r1 diagnose RUN…`: SVG and PNG of the numbers in diagnosis.json.

    gaps          fast - slow in recall, precision and F1                        MER-R1 Figures 1b and 3a
    answers       categories, confidence, margin of both modes; retained hits    Figures 3b-d and 8
    pair          slow against slow of two systems                               Figure 5
    dynamics      reward of recall and precision over training                   Figure 7
    reliability   confidence of a category against how often it is right
    leak          what the subtitles give away

Convention: an open mark is fast (or the reference system), a filled one slow (or the tuned one); a colour is a system
(Okabe and Ito, 2008); every bar is a 95 % interval. Where a difference is measured, its interval is drawn around the
mark that it moves to. The same numbers give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mer_r1.data.files import atomic_path
from mer_r1.evaluation.runs import Json, interval_of, number_at, value_at
from mer_r1.report.plots import running_mean, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, GRID, PAPER = "#1a1e23", "#59636e", "#dde1e6", "#ffffff"
COLOURS = ("#7a828b", "#e69f00", "#0072b2", "#009e73", "#cc79a7")
DPI = 160
WIDTH = 10.2  # inches
HEADROOM, ROW, BETWEEN = 1.15, 0.27, 0.16  # inches: title and axis, a system's row, space between sets
MAX_LABEL, LEGEND_LETTERS = 26, 90  # a legend of more letters has several lines

GAPS = (("recall", "recall"), ("precision", "precision"), ("f1", "F1"))
LEVELS = (
    ("num_categories", "categories an answer", 1),
    ("confidence_gold", "log-confidence on gold", 1),
    ("margin", "margin over hard others", 1),
)
PAIR = (("recall", "recall, %", 100), ("precision", "precision, %", 100), *LEVELS[1:])
Row = tuple[float, str, str]
"""Of a row its height, the set and the system."""


def draw(numbers: Json, out: Path) -> list[Path]:
    """Every plot that the numbers allow, as OUT/NAME.svg and OUT/NAME.png. Raises InputError without matplotlib."""
    plots: dict[str, Callable[[Json, Path], list[Path]]] = {
        "gaps": _gaps,
        "answers": _answers,
        "pair": _pair,
        "dynamics": _dynamics,
        "reliability": _reliability,
        "leak": _leak,
    }
    return [path for name, plot in plots.items() for path in plot(numbers, out / name)]


def colour_of(numbers: Json) -> dict[str, str]:
    """A colour for each system; the last two of three stand as in the report."""
    names = list(numbers["systems"])
    shift = 0 if len(names) > 2 else 1
    return {name: COLOURS[(index + shift) % len(COLOURS)] for index, name in enumerate(names)}


def save(figure: Any, path: Path) -> list[Path]:
    """The figure as PATH.svg and PATH.png."""
    written = []
    for ending, metadata in (("svg", {"Date": None, "Creator": None}), ("png", {"Software": None})):
        target = path.with_name(f"{path.name}.{ending}")
        with atomic_path(target) as temporary:
            figure.savefig(temporary, format=ending, dpi=DPI, metadata=metadata)
        written.append(target)
    return written


@contextmanager
def canvas(name: str, width: float, height: float) -> Iterator[Any]:
    """A figure in the look of these plots."""
    with style(f"diagnosis {name}") as new:
        import matplotlib

        matplotlib.rcParams.update(
            {"text.color": INK, "axes.labelcolor": MUTED, "axes.edgecolor": GRID, "axes.titlesize": 10.5,
             "xtick.color": MUTED, "ytick.color": INK, "xtick.labelcolor": MUTED, "ytick.labelcolor": INK,
             "axes.titlelocation": "left", "figure.facecolor": PAPER, "axes.facecolor": PAPER, "legend.fontsize": 9,
             "font.size": 9.5}
        )  # fmt: skip
        yield new(figsize=(width, height), layout="constrained")


def label(text: str) -> str:
    """A title as it stands at an axis; a long one keeps its end, in which models differ."""
    return text if len(text) <= MAX_LABEL else f"{text[: MAX_LABEL // 2 - 1]}…{text[-MAX_LABEL // 2 :]}"


def _rows(numbers: Json, has: Callable[[Json], bool]) -> list[Row]:
    """A row for each set and system that `has` the numbers, from above, with space between sets."""
    rows: list[Row] = []
    y = 0.0
    for name, item in numbers["sets"].items():
        found = [system for system, values in item["systems"].items() if has(values)]
        rows += [(y + index * ROW, name, system) for index, system in enumerate(found)]
        y += len(found) * ROW + (BETWEEN if found else 0.0)
    return rows


def _panels(figure: Any, num: int, numbers: Json, rows: Sequence[Row]) -> list[Axes]:
    """Panels beside each other over the same rows: sets named once at the left, a legend of the systems above."""
    panels: list[Axes] = list(figure.subplots(1, num, sharey=True, squeeze=False)[0])
    middle: dict[str, list[float]] = {}
    for y, name, _ in rows:
        middle.setdefault(name, []).append(y)
    panels[0].set_yticks(
        [sum(ys) / len(ys) for ys in middle.values()], [label(numbers["sets"][name]["title"]) for name in middle]
    )
    panels[0].set_ylim(max(y for y, _, _ in rows) + ROW, -ROW)
    for axes in panels:
        axes.grid(axis="x", color=GRID)
    return panels


def _legend(figure: Any, marks: Sequence[tuple[str, dict[str, Any]]]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **{"linestyle": "", "marker": "o", "markersize": 7, **look}) for _, look in marks]
    texts = [label(title) for title, _ in marks]
    ncols = len(texts) if sum(map(len, texts)) < LEGEND_LETTERS else 3
    figure.legend(
        handles, texts, loc="outside upper left", ncols=ncols, frameon=False, handletextpad=0.5, columnspacing=1.4
    )


def _height(rows: Sequence[Row]) -> float:
    return HEADROOM + max(y for y, _, _ in rows) + 2 * ROW


def _system_marks(numbers: Json, rows: Sequence[Row]) -> list[tuple[str, dict[str, Any]]]:
    colours, shown = colour_of(numbers), {system for _, _, system in rows}
    return [(title, {"color": colours[name]}) for name, title in numbers["systems"].items() if name in shown]


FAST_SLOW: list[tuple[str, dict[str, Any]]] = [
    ("fast", {"color": MUTED, "markerfacecolor": PAPER}),
    ("slow", {"color": MUTED}),
]
BAND: tuple[str, dict[str, Any]] = (
    "95 % of the difference",
    {"color": MUTED, "marker": "", "linestyle": "-", "linewidth": 5, "alpha": 0.28},
)


def _gaps(numbers: Json, path: Path) -> list[Path]:
    rows = _rows(numbers, lambda values: values["paradox"] is not None)
    if not rows:
        return []
    colours = colour_of(numbers)
    with canvas("gaps", WIDTH, _height(rows)) as figure:
        for axes, (key, title) in zip(_panels(figure, len(GAPS), numbers, rows), GAPS, strict=True):
            axes.axvline(0, color=MUTED, linewidth=1)
            for y, name, system in rows:
                delta = numbers["sets"][name]["systems"][system]["paradox"]["delta"][key]
                _point(axes, y, delta, 100, colours[system])
            axes.set(title=title, xlabel="fast − slow, points")
        _legend(figure, _system_marks(numbers, rows))
        return save(figure, path)


def _point(axes: Axes, y: float, row: Mapping[str, Any], scale: float, colour: str) -> None:
    """A value with its interval."""
    value, bounds = number_at(row, "value"), interval_of(row)
    if bounds:
        axes.plot([scale * bound for bound in bounds], [y, y], color=colour, linewidth=2, solid_capstyle="round")
    if value is not None:
        axes.plot(scale * value, y, "o", color=colour, markersize=6)


def _answers(numbers: Json, path: Path) -> list[Path]:
    rows = _rows(numbers, lambda values: values["paradox"] is not None)
    if not rows:
        return []
    colours = colour_of(numbers)
    with canvas("answers", WIDTH + 1.2, _height(rows)) as figure:
        *levels, kept = _panels(figure, len(LEVELS) + 1, numbers, rows)
        for axes, (key, title, scale) in zip(levels, LEVELS, strict=True):
            for y, name, system in rows:
                found = numbers["sets"][name]["systems"][system]["paradox"]
                ends = [number_at(found, mode, key) for mode in ("slow", "fast")]
                _dumbbell(axes, y, ends, found["delta"][key], scale, colours[system], filled=0)
            axes.set(title=title)
        for y, name, system in rows:
            found = numbers["sets"][name]["systems"][system]["paradox"]
            low, high = found["retained_hit_rate_interval"]
            row = {"value": found["retained_hit_rate"], "low": low, "high": high}
            _point(kept, y, row, 100, colours[system])
        kept.set(title="retained hit rate, %")
        _legend(figure, [*_system_marks(numbers, rows), *FAST_SLOW, BAND])
        return save(figure, path)


def _dumbbell(
    axes: Axes,
    y: float,
    ends: Sequence[float | None],
    delta: Any,
    scale: float,
    colour: str,
    *,
    filled: int,
) -> None:
    """From the first end to the second, the interval of the difference around the second; `filled` is a place."""
    first, second = ends
    if first is None or second is None:
        return
    bounds = interval_of(delta)
    axes.plot([scale * first, scale * second], [y, y], color=colour, linewidth=1)
    if bounds:
        around = [scale * (first + bound) for bound in bounds]
        axes.plot(around, [y, y], color=colour, linewidth=5, alpha=0.28, solid_capstyle="round")
    for index, value in enumerate((first, second)):
        axes.plot(
            scale * value, y, "o", color=colour, markerfacecolor=colour if index == filled else PAPER, markersize=6
        )


def _pair(numbers: Json, path: Path) -> list[Path]:
    sets = [name for name, item in numbers["sets"].items() if item["pair"] is not None]
    if not sets:
        return []
    reference, tuned = numbers["pair"]
    rows: list[Row] = [(index * (ROW + BETWEEN), name, tuned) for index, name in enumerate(sets)]
    colour = colour_of(numbers)[tuned]
    with canvas("pair", WIDTH + 1.2, _height(rows)) as figure:
        for axes, (key, title, scale) in zip(_panels(figure, len(PAIR), numbers, rows), PAIR, strict=True):
            for y, name, _ in rows:
                found = numbers["sets"][name]["pair"]
                ends = [number_at(found, side, key) for side in ("reference", "tuned")]
                _dumbbell(axes, y, ends, found["delta"][key], scale, colour, filled=1)
            axes.set(title=title)
        titles = [f"{numbers['systems'][name]}, slow" for name in (reference, tuned)]
        _legend(
            figure, [(titles[0], {"color": colour, "markerfacecolor": PAPER}), (titles[1], {"color": colour}), BAND]
        )
        return save(figure, path)


def _dynamics(numbers: Json, path: Path) -> list[Path]:
    if not numbers["dynamics"]:
        return []
    colours = colour_of(numbers)
    with canvas("dynamics", WIDTH, 3.4) as figure:
        panels = figure.subplots(1, 2)
        for axes, key in zip(panels, ("reward/recall", "reward/precision"), strict=True):
            for name, found in numbers["dynamics"].items():
                steps, values = (value_at(found, key, item) or [] for item in ("steps", "values"))
                axes.plot(steps, values, color=colours[name], alpha=0.3, linewidth=0.9)
                axes.plot(steps, running_mean(values), color=colours[name], linewidth=2)
            axes.set(title=f"{key.removeprefix('reward/')} reward of the sampled answers", xlabel="step")
            axes.grid(color=GRID)
        shown = [(numbers["systems"][name], {"color": colours[name], "linestyle": "-", "marker": "", "linewidth": 2})
                 for name in numbers["dynamics"]]  # fmt: skip
        _legend(figure, shown)
        return save(figure, path)


def _reliability(numbers: Json, path: Path) -> list[Path]:
    """A row a set and a column a system; of one system alone three sets stand beside each other."""
    sets = list(numbers["sets"].values())
    cells = [
        (index, name, found)
        for index, item in enumerate(sets)
        for name, values in item["systems"].items()
        if any((found := values["reliability"]).values())
    ]
    if not cells:
        return []
    names = [name for name in numbers["systems"] if any(name == system for _, system, _ in cells)]
    across = len(names) if len(names) > 1 else min(3, len(cells))
    down = len(sets) if len(names) > 1 else -(-len(cells) // across)
    colours = colour_of(numbers)
    with canvas("reliability", 3.5 * across + 0.3, 3.5 * down + 0.7) as figure:
        panels = figure.subplots(down, across, squeeze=False)
        empty = set(panels.ravel())
        for number, (index, name, found) in enumerate(cells):
            axes = panels[index, names.index(name)] if len(names) > 1 else panels.ravel()[number]
            heading = f"{label(numbers['systems'][name])}, {label(sets[index]['title'])}"
            _diagram(axes, found, colours[name], heading)
            empty.discard(axes)
        for axes in empty:
            axes.set_visible(False)
        _legend(figure, [*FAST_SLOW, ("bars: pairs of slow", {"marker": "s", "color": GRID})])
        return save(figure, path)


def _diagram(axes: Axes, found: Json, colour: str, heading: str) -> None:
    """One reliability diagram: both modes over the diagonal, and below how many pairs a bin of slow holds."""
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":")
    words = []
    for mode, fill in (("fast", PAPER), ("slow", colour)):
        every = value_at(found, mode, "every")
        if every is None:
            continue
        bins = [item for item in every["bins"] if item["count"]]
        axes.plot(
            [item["confidence"] for item in bins], [item["gold"] for item in bins], marker="o", color=colour,
            markerfacecolor=fill, markersize=6, linewidth=1.4, linestyle="--" if mode == "fast" else "-",
        )  # fmt: skip
        bounds = interval_of(every["interval"])
        total = sum(item["count"] for item in bins)
        if every["ece"] is not None:
            around = f" [{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds else ""
            words.append(f"{mode}: ECE {every['ece']:.3f}{around}, {total:,} pairs")
    shown = value_at(found, "slow", "every", "bins") or value_at(found, "fast", "every", "bins")
    total = sum(item["count"] for item in shown) or 1
    axes.bar(
        [(item["low"] + item["high"]) / 2 for item in shown], [0.3 * item["count"] / total for item in shown], 0.094,
        color=GRID, zorder=0,
    )  # fmt: skip
    axes.set_title("\n".join([heading, *words]), fontsize=9)
    axes.set(xlim=(-0.02, 1.02), ylim=(0, 1.02), xlabel="confidence of a category", ylabel="share that is gold")
    axes.set_xticks([0, 0.5, 1])
    axes.set_yticks([0, 0.5, 1])


def _leak(numbers: Json, path: Path) -> list[Path]:
    sets = [name for name, item in numbers["sets"].items() if item["leak"]]
    if not sets:
        return []
    colours = colour_of(numbers)
    rows: list[Row] = [(index * (ROW + BETWEEN), name, "") for index, name in enumerate(sets)]
    shown = [name for name in numbers["systems"] if any(name in numbers["sets"][item]["systems"] for item in sets)]
    with canvas("leak", WIDTH, _height(rows)) as figure:
        (axes,) = _panels(figure, 1, numbers, rows)
        for y, name, _ in rows:
            item = numbers["sets"][name]
            found, chance, constant = item["leak"]["found"], item["leak"]["shuffled"], item["leak"]["constant"]
            low, high = found["intervals"]["f1"]
            axes.plot(100 * chance["f1"], y, "|", color=MUTED, markersize=14, markeredgewidth=2)
            _point(axes, y, {"value": found["f1"], "low": low, "high": high}, 100, INK)
            if constant:
                axes.plot(100 * constant["f1"], y, "x", color=MUTED, markersize=7, markeredgewidth=1.8)
            for system in shown:
                f1 = number_at(item["systems"], system, "paradox", "slow", "f1")
                if f1 is not None:
                    axes.plot(100 * f1, y, "D", color=colours[system], markersize=6)
        axes.set(xlabel="F1, %", xlim=(-2, 102))
        marks: list[tuple[str, dict[str, Any]]] = [
            ("words of the subtitle", {"color": INK}),
            ("the same, shuffled", {"color": MUTED, "marker": "|", "markeredgewidth": 2}),
            ("best constant answer", {"color": MUTED, "marker": "x", "markeredgewidth": 1.8}),
        ]
        systems = [(f"{numbers['systems'][name]}, slow", {"color": colours[name], "marker": "D"}) for name in shown]
        _legend(figure, [*marks, *systems])
        return save(figure, path)


def draw_modality(result: Json, path: Path) -> list[Path]:
    """What `mer-r1 diagnose modality` measured under each condition, as PATH.svg and PATH.png."""
    modes = list(result["modes"])
    names = list(result["modes"][modes[0]])
    rows: list[Row] = [(index * (ROW * len(modes) + BETWEEN), name, "") for index, name in enumerate(names)]
    titles = {"sets": {name: {"title": name.replace("-", " ")} for name in names}}
    with canvas("modality", WIDTH, _height(rows) + ROW) as figure:
        for axes, (key, title) in zip(_panels(figure, len(GAPS), titles, rows), GAPS, strict=True):
            for index, mode in enumerate(modes):
                for y, name, _ in rows:
                    found = result["modes"][mode][name]
                    low, high = found["intervals"][key]
                    height = y + (index - (len(modes) - 1) / 2) * ROW
                    _point(axes, height, {"value": found[key], "low": low, "high": high}, 100, COLOURS[2])
                    if mode == "fast" and found[key] is not None:
                        axes.plot(100 * found[key], height, "o", color=COLOURS[2], markerfacecolor=PAPER, markersize=6)
            axes.set(title=f"{title}, %")
        fast, slow = ({**look, "color": COLOURS[2]} for _, look in FAST_SLOW)
        _legend(figure, [(mode, fast if mode == "fast" else slow) for mode in modes])
        return save(figure, path)
