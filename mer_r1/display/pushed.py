"""What `mer-r1 push` would upload, printed for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console

from mer_r1.display.grid import Grid, print_grid, print_line
from mer_r1.text import printable


def print_files(hub_id: str, sizes: Mapping[str, int], passed_over: Sequence[str]) -> None:
    """Print the files with their sizes (bytes), and those that stay."""
    console = Console()
    rows = [(name, f"{size / 1e6:,.2f}") for name, size in sizes.items()]
    total = ("all", f"{sum(sizes.values()) / 1e6:,.2f}")
    print_grid(Grid(f"to {hub_id}", ("file", "MB"), (*rows, total), 1), console)
    if passed_over:
        print_line(f"not uploaded: {', '.join(map(printable, passed_over))}", console)
