"""How the page's figures are drawn, as inline SVG by matplotlib, and those of a training's log.

Colours are CSS variables of the page, so that a figure follows its light or dark mode; text stays text. The same
numbers give the same bytes (fixed hash salt, no date). Palette: Okabe and Ito (2008), safe for colour-blind readers;
fast and slow differ by an open and a filled mark, systems by their place and line style. Kinds of figure: MER-R1
Figure 7; score_plots.py has those of Figures 3, 5 and 8.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mer_r1.errors import InputError
from mer_r1.report.sets import NUM_COLOURS, ShownSystem

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, GRID, PAPER = "#010203", "#040506", "#070809", "#0a0b0c"
VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--line", PAPER: "--card"}
PLACEHOLDERS = ("#0d0e0f", "#101112", "#131415", "#161718", "#191a1b")  # of --system-N
STYLES = ("-", (0, (4, 1.5)), "-", (0, (1, 1)), (0, (6, 1, 1, 1)))  # by colour
assert len(PLACEHOLDERS) == len(STYLES) == NUM_COLOURS

MISSING = "the report needs jinja2 and matplotlib; pip install 'mer-r1[report]'"
SMOOTHED_SHARE = 0.08
WIDTH = 4.6  # inches


@dataclass(frozen=True)
class Figure:
    """A figure for the page: the SVG, its caption, and what it shows in words for those who do not see it."""

    svg: str
    caption: str


def log_plot(
    systems: Sequence[ShownSystem],
    key: str,
    caption: str,
    label: str,
    *,
    smooth: bool = True,
    height: float = 2.6,
    width: float = WIDTH,
) -> Figure | None:
    """One logged number over training steps, a line for each system: raw faint, running mean strong."""
    rows = [(each, *each.system.series(key)) for each in systems if each.system.series(key)[0]]
    if not rows:
        return None

    def draw(axes: Axes) -> None:
        for each, steps, values in rows:
            colour, style = PLACEHOLDERS[each.colour], STYLES[each.colour]
            mark = "o" if len(steps) < 3 else None
            if smooth:
                axes.plot(steps, values, color=colour, alpha=0.3, linewidth=0.9)
                values = running_mean(values)
            axes.plot(steps, values, color=colour, linestyle=style, linewidth=2, label=each.title, marker=mark)
        axes.set_xlabel("step")
        axes.set_ylabel(label)
        axes.grid(color=GRID)
        if len(rows) > 1:
            legend(axes)

    said = [f"{each.title} from {values[0]:.3g} to {running_mean(values)[-1]:.3g}" for each, _, values in rows]
    return draw_figure(f"log-{key}", draw, caption, said, height=height, width=width)


def running_mean(values: Sequence[float]) -> list[float]:
    """Mean over the SMOOTHED_SHARE of the values around each, fewer towards both ends."""
    reach = int(SMOOTHED_SHARE * len(values) / 2)
    rows = [values[max(0, i - reach) : i + reach + 1] for i in range(len(values))]
    return [sum(row) / len(row) for row in rows]


def legend(axes: Axes) -> None:
    """The systems' names above the axes, without a frame."""
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


def draw_figure(
    name: str, draw: Callable[[Axes], None], caption: str, said: Sequence[str], *, height: float, width: float = WIDTH
) -> Figure:
    """What `draw` draws, for the page. `name` is the page's only of that name; `said` are the numbers in words."""
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
