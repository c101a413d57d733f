"""What `mer-r1 check` found in a manifest, printed for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from mer_r1.analysis.check import Findings
from mer_r1.display.grid import print_line
from mer_r1.text import printable

NUM_SHOWN = 20
NUM_LINES = 5


def print_problems(problems: Sequence[str]) -> None:
    """Print each on a line of its own."""
    console = Console()
    for problem in problems:
        console.print(printable(problem, 10_000), markup=False, highlight=False, soft_wrap=True)


def print_findings(found: Findings, num_printed: int = 0) -> None:
    """Print every problem but the first `num_printed`, and tables of the rows, the media, notices, unknown labels."""
    print_problems(found.problems[num_printed:])
    console = Console()
    console.print(_rows(found))
    table = Table("what", Column("count", justify="right"), "lines")
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
    if "rl" in found.stages and (dropped := found.stages["rl"].uncountable):
        table.add_section()
        for label, count in dropped.labels.most_common(NUM_SHOWN):
            table.add_row(escape(f'dropped rows labelled "{printable(label)}"'), str(count))
    table.add_section()
    table.add_row("problems", str(len(found.problems)), style="bold")
    console.print(table)
    if found.unmapped_labels:
        hint = "labels that are not in the wheels: write each with its words into a file (Freude,joy), and `mer-r1 "
        hint += "prepare table MANIFEST --mapping FILE --out NEW` renames them"
        print_line(hint, console)
    console.print(f"wheels {found.wheels}", markup=False, highlight=False)


def _rows(found: Findings) -> Table:
    """The rows of the file in classes that add up, a column a stage; without a stage one column."""
    title = f"{escape(printable(found.manifest))}: {'NOT valid' if found.problems else 'valid'}"
    stages: Mapping[str, tuple[int, Mapping[str, int]]] = {
        f"for {stage}": rows.counts(found.faulty) for stage, rows in found.stages.items()
    } or {"count": (found.num_rows - len(found.faulty), {})}
    table = Table("rows", *(Column(name, justify="right") for name in stages), title=title, title_justify="left")
    table.add_row("used" if found.stages else "without problems", *(str(used) for used, _ in stages.values()))
    for reason in dict.fromkeys(reason for _, unused in stages.values() for reason in unused):
        table.add_row(f"not used: {reason}", *(str(unused.get(reason, 0)) for _, unused in stages.values()))
    table.add_row("with problems", *(str(found.num_with_problems) for _ in stages))
    table.add_section()
    whole = "in the file" if found.is_whole else "up to where reading ended"
    table.add_row(whole, *(str(found.num_in_file) for _ in stages), style="bold")
    if found.stages:
        table.add_row("ready", *("yes" if found.is_ready(stage) else "NO" for stage in found.stages), style="bold")
    return table
