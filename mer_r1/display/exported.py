"""What `mer-r1 export-data` has written, printed for a person."""

from __future__ import annotations

from rich.console import Console

from mer_r1.display.grid import print_line
from mer_r1.exporters.export import Exported


def print_exported(exported: Exported) -> None:
    """Print the files, the rows, what was left out and how the data set is loaded."""
    console = Console()
    for path in exported.files:
        print_line(str(path), console)
    print_line(f"{exported.rows:,} rows; load them by: {exported.use}", console)
    if exported.inside:
        print_line(
            f"note: {exported.inside:,} films have no sound file; a trainer hears what lies in them only if it is told "
            "to take sound from videos, or with --extract-sound",
            console,
        )
    if exported.silent:
        print_line(f"note: the sound of {exported.silent:,} rows is left out; this trainer takes none", console)
    for line in exported.left_out.lines():
        print_line(line, console, "yellow")
