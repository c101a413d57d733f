"""What `mer-r1 check` found in a manifest, printed for a person."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from mer_r1.analysis.check import Findings
from mer_r1.text import printable

NUM_SHOWN = 20
NUM_LINES = 5


def print_findings(found: Findings) -> None:
    """Print every problem, and a table of what was read, the notices and the unknown labels."""
    console = Console()
    for problem in found.problems:
        console.print(printable(problem, 10_000), markup=False, highlight=False, soft_wrap=True)
    title = f"{escape(printable(found.manifest))}: {'NOT valid' if found.problems else 'valid'}"
    table = Table("what", Column("count", justify="right"), "lines", title=title, title_justify="left")
    table.add_row("valid rows", str(found.num_rows))
    table.add_row("rows whose media were decoded", str(found.num_read))
    table.add_row("frames taken", str(found.frames))
    table.add_row("seconds of sound taken", f"{found.sound_s:.1f}")
    table.add_section()
    for notice, lines in sorted(found.notices.items()):
        if lines:
            first = ", ".join(map(str, sorted(lines)[:NUM_LINES]))
            table.add_row(notice, str(len(lines)), first + (", …" if len(lines) > NUM_LINES else ""))
    table.add_section()
    for word, count in found.unmapped_labels.most_common(NUM_SHOWN):
        table.add_row(escape(f'label "{printable(word)}" is not in the wheels'), str(count))
    if (more := len(found.unmapped_labels) - NUM_SHOWN) > 0:
        table.add_row("further labels not in the wheels", str(more))
    if (dropped := found.uncountable) is not None:
        table.add_section()
        table.add_row("rows that RL learns from", str(found.num_rows - dropped.reasons.total()))
        table.add_row("rows that RL drops (data.uncountable)", str(dropped.reasons.total()))
        for label, count in dropped.labels.most_common(NUM_SHOWN):
            table.add_row(escape(f'of these labelled "{printable(label)}"'), str(count))
    table.add_section()
    table.add_row("problems", str(len(found.problems)), style="bold")
    console.print(table)
    console.print(f"wheels {found.wheels}", markup=False, highlight=False)
