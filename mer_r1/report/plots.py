"""The page's figures, as inline SVG made by matplotlib.

Colours are CSS variables of the page, so that a figure follows its light or dark mode; text stays text. The same
numbers give the same bytes (fixed hash salt, no date). Palette: Okabe and Ito (2008), safe for colour-blind readers;
fast and slow differ by an open and a filled mark, systems by their place and line style. Kinds of figure: MER-R1
Figures 3, 5 and 7.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mer_r1.errors import InputError
from mer_r1.run_folder import System, interval_of, number_at, value_at

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, GRID, PAPER = "#010203", "#040506", "#070809", "#0a0b0c"
VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--line", PAPER: "--card"}
PLACEHOLDERS = ("#0d0e0f", "#101112", "#131415", "#161718", "#191a1b")
COLOURS = {"sft": 0, "baseline": 1, "mer_r1": 2}  # place among the page's --system-N; others follow
STYLES = {"sft": "-", "baseline": (0, (4, 1.5)), "mer_r1": "-"}

MISSING = "the report needs jinja2 and matplotlib; pip install 'mer-r1[report]'"
GAPS = (("recall", "recall"), ("precision", "precision"), ("f1", "F1"))
SMOOTHED_SHARE = 0.08
WIDTH, RESULT_HEIGHT, PAIR_HEIGHT = 4.6, 3.1, 2.4  # inches


@dataclass(frozen=True)
class Figure:
    """A figure for the page: the SVG, its caption, and what it shows in words for those who do not see it."""

    svg: str
    caption: str


def colour_index(name: str, systems: Sequence[System]) -> int:
    """The place of a system's colour in the page's palette."""
    others = [system.name for system in systems if system.name not in COLOURS]
    return COLOURS[name] if name in COLOURS else 3 + others.index(name) % 2


def f1_plot(systems: Sequence[System], constant_f1: float | None, width: float = WIDTH) -> Figure | None:
    """F1 of every system and mode with its interval, and a line where the best constant answer stands."""
    rows = [(s, mode) for s in systems for mode in ("fast", "slow") if s.number(mode, "f1") is not None]
    if not rows:
        return None

    def draw(axes: Axes) -> None:
        for y, (system, mode) in enumerate(rows):
            value, bounds = 100 * (system.number(mode, "f1") or 0), system.interval(mode, "f1")
            colour = _colour(system, systems)
            if bounds:
                axes.plot([100 * b for b in bounds], [y, y], color=colour, linewidth=2.2, solid_capstyle="round")
            axes.plot(value, y, "o", color=colour, markerfacecolor=PAPER if mode == "fast" else colour, markersize=8)
        if constant_f1 is not None:
            axes.axvline(100 * constant_f1, color=MUTED, linestyle=":", linewidth=1.4)
            axes.annotate(
                "always the same words", (100 * constant_f1, len(rows) - 0.5), (4, 0), textcoords="offset points",
                color=MUTED, va="center", fontsize=9,
            )  # fmt: skip
        axes.set_yticks(range(len(rows)), [f"{system.title}, {mode}" for system, mode in rows])
        axes.set_ylim(len(rows) - 0.1, -0.6)
        axes.set_xlabel("F1, %")
        axes.grid(axis="x", color=GRID)

    said = [f"{s.title} {mode} {100 * (s.number(mode, 'f1') or 0):.1f}" for s, mode in rows]
    caption = "F1 with 95 % intervals. Open mark: fast; filled mark: slow."
    return _figure("f1", draw, caption, said, height=RESULT_HEIGHT, width=width)


def plane_plot(systems: Sequence[System], width: float = WIDTH) -> Figure | None:
    """Recall against precision, from fast to slow of every system, over faint lines of equal F1."""
    points = {
        s.name: [(s.number(mode, "recall"), s.number(mode, "precision")) for mode in ("fast", "slow")] for s in systems
    }
    rows = [s for s in systems if all(value is not None for point in points[s.name] for value in point)]
    if not rows:
        return None
    pairs = {s.name: [(100 * (r or 0), 100 * (p or 0)) for r, p in points[s.name]] for s in rows}

    def draw(axes: Axes) -> None:
        for system in rows:
            colour, (fast, slow) = _colour(system, systems), pairs[system.name]
            axes.annotate(
                "", slow, fast, arrowprops={"arrowstyle": "-|>", "color": colour, "shrinkA": 5, "shrinkB": 5, "lw": 1.8}
            )
            axes.plot(*fast, "o", color=colour, markerfacecolor=PAPER, markersize=8)
            axes.plot(*slow, "o", color=colour, markersize=8, label=system.title)
        axes.margins(0.18)
        _equal_f1_lines(axes)
        axes.set_xlabel("recall, %")
        axes.set_ylabel("precision, %")
        _legend(axes)

    said = [
        f"{s.title} from recall {fast[0]:.1f}, precision {fast[1]:.1f} to recall {slow[0]:.1f}, precision {slow[1]:.1f}"
        for s, (fast, slow) in ((s, pairs[s.name]) for s in rows)
    ]
    caption = "From fast (open) to slow (filled). Upwards and to the right is better; dotted: equal F1."
    return _figure("plane", draw, caption, said, height=RESULT_HEIGHT, width=width)


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


def without_plot(without: Any, systems: Sequence[System], width: float = WIDTH) -> Figure | None:
    """F1 of MER-R1's slow answers with all media and without one, as metrics.json names them."""
    names = without if isinstance(without, dict) else {}
    rows = [(name, value) for name in names if (value := number_at(without, name, "f1")) is not None]
    if not rows or not systems:
        return None
    asked = next((system for system in systems if system.name == "mer_r1"), systems[-1])
    labels = ["all media" if name == "nothing" else f"without {name}" for name, _ in rows]

    def draw(axes: Axes) -> None:
        values = [100 * value for _, value in rows]
        axes.barh(range(len(rows)), values, 0.6, color=_colour(asked, systems))
        for y, value in enumerate(values):
            axes.annotate(f"{value:.1f}", (value, y), (4, 0), textcoords="offset points", va="center", color=INK)
        axes.set_yticks(range(len(rows)), labels)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0, 1.12 * max(*values, 1.0))
        axes.set_xlabel("F1, %")
        axes.grid(axis="x", color=GRID)

    num = number_at(without, rows[0][0], "n")
    clips = f" on {num:.0f} clips" if num is not None else ""
    said = [f"{label} {100 * value:.1f}" for label, (_, value) in zip(labels, rows, strict=True)]
    caption = f"What each medium is worth: F1 of {asked.title}’s slow answers{clips}, a medium taken away at a time."
    return _figure("without", draw, caption, said, height=RESULT_HEIGHT, width=width)


def gap_plot(systems: Sequence[System]) -> Figure | None:
    """Fast minus slow in recall, precision and F1 of every system, with intervals (MER-R1 Figure 3a)."""
    rows = [s for s in systems if any(_gap(s, key) is not None for key, _ in GAPS)]
    if not rows:
        return None
    width = 0.8 / len(rows)

    def draw(axes: Axes) -> None:
        for place, system in enumerate(rows):
            for x, (key, _) in enumerate(GAPS):
                value, bounds = _gap(system, key), interval_of(value_at(system.numbers, "diagnosis", "delta", key))
                if value is None:
                    continue
                centre = x + (place - (len(rows) - 1) / 2) * width
                label = system.title if x == 0 else None
                axes.bar(centre, 100 * value, 0.88 * width, color=_colour(system, systems), label=label)
                if bounds:
                    axes.plot([centre] * 2, [100 * b for b in bounds], color=INK, linewidth=1.3)
        axes.axhline(0, color=MUTED, linewidth=1)
        axes.set_xticks(range(len(GAPS)), [name for _, name in GAPS])
        axes.set_ylabel("fast − slow, points")
        axes.grid(axis="y", color=GRID)
        _legend(axes)

    said = [f"{s.title} " + ", ".join(f"{name} {100 * (_gap(s, key) or 0):+.1f}" for key, name in GAPS) for s in rows]
    caption = "Fast minus slow, with 95 % intervals. Above zero fast leads, below zero slow leads."
    return _figure("gaps", draw, caption, said, height=PAIR_HEIGHT)


def pair_plot(systems: Sequence[System], key: str, caption: str, label: str) -> Figure | None:
    """One number of the diagnosis, fast beside slow, of every system (MER-R1 Figure 3b-d)."""
    rows = [s for s in systems if all(s.number("diagnosis", mode, key) is not None for mode in ("fast", "slow"))]
    if not rows:
        return None
    pairs = [tuple(s.number("diagnosis", mode, key) or 0.0 for mode in ("fast", "slow")) for s in rows]

    def draw(axes: Axes) -> None:
        for y, (system, pair) in enumerate(zip(rows, pairs, strict=True)):
            colour = _colour(system, systems)
            axes.plot(pair, [y, y], color=colour, linewidth=2, alpha=0.55)
            axes.plot(pair[0], y, "o", color=colour, markerfacecolor=PAPER, markersize=8)
            axes.plot(pair[1], y, "o", color=colour, markersize=8)
        axes.set_yticks(range(len(rows)), [system.title for system in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.margins(x=0.12)
        axes.set_xlabel(label)
        axes.grid(axis="x", color=GRID)

    said = [f"{s.title} fast {fast:.2f}, slow {slow:.2f}" for s, (fast, slow) in zip(rows, pairs, strict=True)]
    return _figure(f"pair-{key}", draw, f"{caption} Open mark: fast; filled mark: slow.", said, height=PAIR_HEIGHT)


def log_plot(
    systems: Sequence[System],
    key: str,
    caption: str,
    label: str,
    *,
    smooth: bool = True,
    height: float = 2.6,
    width: float = WIDTH,
) -> Figure | None:
    """One logged number over training steps, a line for each system: raw faint, running mean strong."""
    rows = [(s, *s.series(key)) for s in systems if s.series(key)[0]]
    if not rows:
        return None

    def draw(axes: Axes) -> None:
        for system, steps, values in rows:
            colour, style = _colour(system, systems), STYLES.get(system.name, ":")
            mark = "o" if len(steps) < 3 else None
            if smooth:
                axes.plot(steps, values, color=colour, alpha=0.3, linewidth=0.9)
                values = running_mean(values)
            axes.plot(steps, values, color=colour, linestyle=style, linewidth=2, label=system.title, marker=mark)
        axes.set_xlabel("step")
        axes.set_ylabel(label)
        axes.grid(color=GRID)
        if len(rows) > 1:
            _legend(axes)

    said = [f"{s.title} from {values[0]:.3g} to {running_mean(values)[-1]:.3g}" for s, _, values in rows]
    return _figure(f"log-{key}", draw, caption, said, height=height, width=width)


def running_mean(values: Sequence[float]) -> list[float]:
    """Mean over the SMOOTHED_SHARE of the values around each, fewer towards both ends."""
    reach = int(SMOOTHED_SHARE * len(values) / 2)
    rows = [values[max(0, i - reach) : i + reach + 1] for i in range(len(values))]
    return [sum(row) / len(row) for row in rows]


def _gap(system: System, key: str) -> float | None:
    return system.number("diagnosis", "delta", key, "value")


def _colour(system: System, systems: Sequence[System]) -> str:
    return PLACEHOLDERS[colour_index(system.name, systems)]


def _legend(axes: Axes) -> None:
    axes.legend(
        frameon=False, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, borderaxespad=0.1, handlelength=1.6
    )


@contextmanager
def style(salt: str) -> Iterator[Any]:
    """matplotlib set for a deterministic SVG in the page's colours, whatever the user's own settings are."""
    try:
        import matplotlib
        from matplotlib.figure import Figure as MatplotlibFigure
    except ModuleNotFoundError:
        raise InputError(MISSING) from None
    settings: dict[Any, Any] = {
        "svg.hashsalt": f"mer-r1 {salt}", "svg.fonttype": "none", "text.parse_math": False, "font.size": 10.5,
        "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "axes.unicode_minus": True,
        "text.color": INK, "axes.labelcolor": MUTED, "axes.edgecolor": GRID, "xtick.color": MUTED,
        "ytick.color": INK, "xtick.labelcolor": INK, "axes.spines.top": False, "axes.spines.right": False,
        "axes.spines.left": False, "ytick.major.size": 0, "xtick.major.size": 0, "axes.axisbelow": True,
        "grid.linewidth": 0.8,
    }  # fmt: skip
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        yield MatplotlibFigure


def _figure(
    name: str, draw: Callable[[Axes], None], caption: str, said: Sequence[str], *, height: float, width: float = WIDTH
) -> Figure:
    with style(name) as new:
        figure = new(figsize=(width, height), layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        draw(axes)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return Figure(_for_page(text.getvalue(), f"{caption} {'; '.join(said)}."), caption)


def _for_page(svg: str, words: str) -> str:
    """The SVG without prolog, metadata and names that would clash, in the page's colours, with `words` for it."""
    from html import escape

    svg = svg[svg.index("<svg ") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<g/>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"font: [\d.]+px [^;\"]*|font-family: [^;\"]*", _own_font, svg)
    size = re.search(r'viewBox="[^"]*"', svg)
    assert size is not None, "matplotlib writes a viewBox"
    head = f'<svg {size[0]} role="img" aria-label="{escape(words)}" xmlns:xlink="http://www.w3.org/1999/xlink">'
    svg = head + svg[svg.index(">") + 1 :]
    names = VARIABLES | {colour: f"--system-{place}" for place, colour in enumerate(PLACEHOLDERS)}
    for colour, variable in names.items():
        svg = svg.replace(colour, f"var({variable})")
    return re.sub(r"\n\s*", "\n", svg)


def _own_font(match: re.Match[str]) -> str:
    """matplotlib's font shorthand -> the size alone; the family is the page's."""
    size = re.search(r"[\d.]+px", match[0])
    return f"font-size: {size[0]}" if size else "font-family: inherit"
