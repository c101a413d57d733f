"""A table of texts, or a line, on the terminal, whole even where the terminal is narrower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.segment import Segments
from rich.table import Table

WIDEST = 400  # characters of a table


@dataclass(frozen=True)
class Grid:
    """A table as text: a row a system, its first `num_names` cells name and mode."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_names: int = 2


def print_grid(grid: Grid, console: Console) -> None:
    """A table whose heads break at spaces, below its title.

    Where the terminal is narrower it has no vertical lines; where that is too wide still its lines run over, and no
    number is cut.
    """
    table = _table(grid)
    if _width(table, console) > console.width:
        table = _table(grid, light=True)
    print_title(grid.title, console)
    lines = console.render(table, console.options.update(width=max(_width(table, console), console.width)))
    console.print(Segments(lines), crop=False, soft_wrap=True, end="")


def width_of(grid: Grid, console: Console) -> int:
    """How many columns a terminal needs that shows it whole."""
    return _width(_table(grid, light=True), console)


def print_title(title: str, console: Console) -> None:
    """The title of a table, whose words are not broken however narrow the table is."""
    print_line(title, console, "italic")


def print_line(line: str, console: Console, style: str | None = None) -> None:
    """A line as it is: brackets are no markup, numbers have no color, and it runs over instead of being broken."""
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def _table(grid: Grid, *, light: bool = False) -> Table:
    if light:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    else:
        table = Table()
    for index, head in enumerate(grid.columns):
        side: Literal["left", "right"] = "left" if index < grid.num_names else "right"
        table.add_column(escape(head.replace(" ", "\n")), justify=side, no_wrap=True)
    for row in grid.rows:
        table.add_row(*map(escape, row))
    return table


def _width(table: Table, console: Console) -> int:
    return Measurement.get(console, console.options.update(max_width=WIDEST), table).maximum
