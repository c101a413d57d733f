"""How figures are drawn by matplotlib: settings, colours and files, one look for the page and for plots on disk.

The same numbers give the same bytes: a fixed hash salt, no date, and none of the user's own settings. Text stays text.
Palette: Okabe and Ito (2008), safe for colour-blind readers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from mer_r1.data.files import atomic_path
from mer_r1.errors import InputError

ORANGE, BLUE, GREEN, PINK = "#e69f00", "#0072b2", "#009e73", "#cc79a7"
VERMILION, SKY, GREY, BLACK = "#d55e00", "#56b4e9", "#7a828b", "#000000"
INK, MUTED, GRID, PAPER = "#1a1e23", "#59636e", "#dde1e6", "#ffffff"
DPI = 160
SMOOTHED_SHARE = 0.08


class Colours(NamedTuple):
    """What is no data: text, axes' names, lines behind, and the ground."""

    ink: str = INK
    muted: str = MUTED
    grid: str = GRID
    paper: str = PAPER


PRINTED = Colours()


def _drop_foreign_backend() -> None:
    """A notebook names its backend to the commands that it starts, and matplotlib is not imported without that one.

    Our figures need none: they are files.
    """
    scheme, _, module = os.environ.get("MPLBACKEND", "").partition("://")
    if scheme == "module" and find_spec(module.partition(".")[0]) is None:
        del os.environ["MPLBACKEND"]


@contextmanager
def style(salt: str, colours: Colours = PRINTED, settings: Mapping[str, Any] | None = None) -> Iterator[Any]:
    """matplotlib set for a deterministic figure, `settings` laid over ours; gives the class of a figure.

    Raises InputError where matplotlib is missing.
    """
    _drop_foreign_backend()
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise InputError("plots need matplotlib; pip install 'mer-r1[report]'") from None
    ours: dict[Any, Any] = {
        "svg.hashsalt": f"mer-r1 {salt}", "svg.fonttype": "none", "text.parse_math": False, "font.size": 10.5,
        "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "axes.unicode_minus": True,
        "text.color": colours.ink, "axes.labelcolor": colours.muted, "axes.edgecolor": colours.grid,
        "xtick.color": colours.muted, "ytick.color": colours.ink, "xtick.labelcolor": colours.ink,
        "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False, "ytick.major.size": 0,
        "xtick.major.size": 0, "axes.axisbelow": True, "grid.linewidth": 0.8, "legend.frameon": False,
    }  # fmt: skip
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(ours | dict(settings or {}))
        yield Figure


@contextmanager
def canvas(salt: str, width: float, height: float) -> Iterator[Any]:
    """A figure of that many inches for a file, on white. Raises InputError where matplotlib is missing."""
    settings = {
        "font.size": 9.5, "legend.fontsize": 9, "axes.titlesize": 10.5, "axes.titlelocation": "left",
        "xtick.labelcolor": MUTED, "ytick.labelcolor": INK, "figure.facecolor": PAPER, "axes.facecolor": PAPER,
    }  # fmt: skip
    with style(salt, settings=settings) as new:
        yield new(figsize=(width, height), layout="constrained")


def save(figure: Any, path: Path) -> Path:
    """Write the figure as its name ends, .svg or .png, whole or not at all; the path."""
    metadata = {"Date": None, "Creator": None} if path.suffix == ".svg" else {"Software": None}
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix.removeprefix("."), dpi=DPI, metadata=metadata)
    return path


def shortened(text: str, characters: int) -> str:
    """A text of at most so many characters: a long one without its middle, for names of models differ at their ends."""
    half = characters // 2
    return text if len(text) <= characters else f"{text[: half - 1]}…{text[-half:]}"


def running_mean(values: Sequence[float]) -> list[float]:
    """Mean over the SMOOTHED_SHARE of the values around each, fewer towards both ends."""
    reach = int(SMOOTHED_SHARE * len(values) / 2)
    sums = list(accumulate(values, initial=0.0))
    ends = [(max(0, i - reach), min(len(values), i + reach + 1)) for i in range(len(values))]
    return [(sums[end] - sums[start]) / (end - start) for start, end in ends]
