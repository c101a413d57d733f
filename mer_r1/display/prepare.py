"""What `mer-r1 prepare` has written and what is missing, printed for a person."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mer_r1.benchmarks.mer_unibench.layouts import SETS
from mer_r1.benchmarks.prepare import Prepared
from mer_r1.data.prepared import PreparedSet
from mer_r1.text import printable

NUM_SHOWN = 20


def print_prepared(prepared: Prepared) -> None:
    """Print a table of the data sets, their notes, and what is missing."""
    console = Console()
    table = Table(title="prepared", title_justify="left")
    for head in ("data set", "samples", "missing", "manifest"):
        table.add_column(head, justify="right" if head in ("samples", "missing") else "left", overflow="fold")
    for item in prepared.found:
        num_missing = f"{len(item.whole.missing):,}"
        for path, part in item.files.items():
            table.add_row(escape(item.whole.title), f"{len(part.samples):,}", num_missing, escape(str(path)))
        if not item.files:
            table.add_row(escape(item.whole.title), "0", num_missing, "not written")
    console.print(table)
    for item in prepared.found:
        for line in _lines(item.whole):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    for data in (SETS[name] for name in prepared.absent):
        line = f"{data.title}: not there, no folder {data.folder}; {data.where}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for name, path in prepared.stale:
        line = f"{SETS[name].title}: {path} is of an earlier time and was left as it is; remove it, or move it away"
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _lines(whole: PreparedSet) -> list[str]:
    """Notes, the first missing files and where they are to be had."""
    lines = [f"{whole.title}: {note}" for note in whole.notes]
    lines += [f"{whole.title}: missing {printable(file.path, 200)}: {file.why}" for file in whole.missing[:NUM_SHOWN]]
    if (more := len(whole.missing) - NUM_SHOWN) > 0:
        lines.append(f"{whole.title}: missing {more:,} more; --missing FILE writes all of them")
    if whole.missing:
        lines.append(f"{whole.title}: to be had: {whole.where}")
    return lines
