"""A confusion matrix: gold labels down, answers across."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rich.console import Console

from mer_r1.display.grid import Grid, print_grid, width_of
from mer_r1.text import percent, printable

SHORTEST = 3  # letters of a class that a narrow table leaves


def confusion_grid(title: str, confusion: Mapping[str, Mapping[str, int]], recalls: Mapping[str, float]) -> Grid:
    """How often each answer was given to each gold label, "·" for never, and the recall of each label."""
    rows = tuple(
        (printable(gold), *(str(num) if num else "·" for num in counts.values()), percent(recalls[gold], 1))
        for gold, counts in confusion.items()
    )
    columns = tuple(printable(item) for item in next(iter(confusion.values())))
    return Grid(title, ("", *columns, "recall %"), rows, num_names=1)


def print_confusion(grid: Grid, console: Console) -> None:
    """The matrix; where the terminal is narrower the heads of its columns are their first letters."""
    if width_of(grid, console) > console.width:
        grid = replace(grid, columns=("", *_shortened(grid.columns[1:-1]), grid.columns[-1]))
    print_grid(grid, console)


def _shortened(names: Sequence[str]) -> list[str]:
    """The first letters of each name that no other begins with, with a full stop where letters are left out."""
    found = []
    for name in names:
        others = [other for other in names if other != name]
        lengths = range(SHORTEST, len(name))
        enough = (n for n in lengths if not any(other.startswith(name[:n]) for other in others))
        kept = next(enough, len(name))
        found.append(name if kept >= len(name) - 1 or name.startswith("(") else f"{name[:kept]}.")
    return found
