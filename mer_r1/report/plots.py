"""How the page's figures are drawn, as inline SVG by matplotlib.

Colours are CSS variables of the page, so that a figure follows its light or dark mode. Fast and slow differ by an open
and a filled mark, systems by their colour and line style. Axes are fitted to the data and end where a number can be no
more. training_plots.py has the figures of a training (MER-R1 Figure 7), score_plots.py those of answers.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from mer_r1.display.plots import Colours, shortened, style
from mer_r1.report.sets import NUM_COLOURS, ShownSystem

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, GRID, PAPER = "#010203", "#040506", "#070809", "#0a0b0c"
COLOURS = Colours(INK, MUTED, GRID, PAPER)  # none that a figure has otherwise; each stands for a variable of the page
VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--line", PAPER: "--card"}
PLACEHOLDERS = ("#0d0e0f", "#101112", "#131415", "#161718", "#191a1b", "#1c1d1e", "#1f2021")  # of --system-N
STYLES = ("-", (0, (4, 1.5)), "-", (0, (1, 1)), (0, (6, 1, 1, 1)), (0, (2, 1)), (0, (8, 2)))  # by colour
assert len(PLACEHOLDERS) == len(STYLES) == NUM_COLOURS

WIDTH = 4.6  # inches
CHARACTERS_AN_INCH, MARK_CHARACTERS = 11.0, 6  # how much of a legend fits into a line
MAX_LABEL_CHARACTERS = 24

Limits = tuple[float | None, float | None]
"""The least and the most that a number can be; None: there is none."""


@dataclass(frozen=True)
class Figure:
    """A figure for the page: the SVG, its caption, and what it shows in words for those who do not see it."""

    svg: str
    caption: str


def fit(axes: Axes, which: Literal["x", "y"], limits: Limits) -> None:
    """An axis fitted to what is drawn, but not beyond what a number can be; what lies on its end is drawn whole."""
    axes.autoscale_view()
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    least, most = axes.dataLim.intervalx if which == "x" else axes.dataLim.intervaly
    if limits[0] is not None:
        low = max(low, min(limits[0], least))
    if limits[1] is not None:
        high = min(high, max(limits[1], most))
    axes.set(**{f"{which}lim": (low, high)})
    for line in axes.lines:
        line.set_clip_on(False)


def named(system: ShownSystem) -> str:
    """A system's title as a figure's label: a long one without its middle, for it would leave no room for the axes.

    matplotlib leaves out labels that begin with "_"; a hair space helps.
    """
    title = shortened(system.title, MAX_LABEL_CHARACTERS)
    return f"\N{HAIR SPACE}{title}" if title.startswith("_") else title


def legend(axes: Axes) -> None:
    """The systems' names above the axes, without a frame."""
    handles, titles = axes.get_legend_handles_labels()
    characters = CHARACTERS_AN_INCH * axes.figure.bbox.width / axes.figure.dpi
    axes.legend(
        handles, titles, loc="lower left", bbox_to_anchor=(-0.02, 1.0), borderaxespad=0.1,
        handlelength=1.6, ncols=_num_columns([len(title) + MARK_CHARACTERS for title in titles], characters),
    )  # fmt: skip


def _num_columns(lengths: Sequence[int], characters: float) -> int:
    """How many columns of a legend fit into a line, filled as matplotlib fills them; at least one, at most three."""
    columns = {num: np.array_split(lengths, num) for num in (3, 2)}
    fitting = (num for num, item in columns.items() if sum(max(c, default=0) for c in item) <= characters)
    return next(fitting, 1)


def draw_figure(
    name: str, draw: Callable[[Axes], None], caption: str, words: Sequence[str], *, height: float, width: float = WIDTH
) -> Figure:
    """What `draw` draws, for the page. `name` is the page's only of that name; `words` are the numbers in words."""
    with style(name, COLOURS) as new, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # one that matplotlib's font has not got; the page's own draws it
        figure = new(figsize=(width, height), layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        draw(axes)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return Figure(_for_page(text.getvalue(), f"{caption} {'; '.join(words)}."), caption)


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
    names = VARIABLES | {colour: f"--system-{index}" for index, colour in enumerate(PLACEHOLDERS)}
    for colour, variable in names.items():
        svg = svg.replace(colour, f"var({variable})")
    return re.sub(r"\n\s*", "\n", svg)


def _own_font(match: re.Match[str]) -> str:
    """matplotlib's font shorthand -> the size alone; the family is the page's."""
    size = re.search(r"[\d.]+px", match[0])
    return f"font-size: {size[0]}" if size else "font-family: inherit"
