"""What `mer-r1 prepare table` has read: which column is which field, samples, counts, and what is missing."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from rich.console import Console

from mer_r1.data.importers.prepare import PreparedTable
from mer_r1.data.manifest import manifest_row
from mer_r1.display.grid import Grid, print_grid, print_line
from mer_r1.text import printable

NUM_SHOWN = 20
NUM_SAMPLES = 5


def print_table(prepared: PreparedTable, out: Path | None, console: Console, *, dry_run: bool) -> None:
    """Print the table's columns, with a dry run its first samples, and the counts."""
    table, imported = prepared.table, prepared.imported
    chosen = {column: (field, item.how) for field, item in prepared.columns.items() for column in item.columns}
    rows = [(printable(column), *chosen.get(column, ("–", "not used"))) for column in table.columns]
    if "id" not in prepared.columns:
        rows.append(("–", "id", "made of the media's names, else of the words"))
    print_line(f"{printable(table.path, 200)}: {table.form}, {len(table.rows):,} rows", console, "bold")
    print_grid(Grid("", ("column", "field", "how"), tuple(rows), num_names=3), console)
    if dry_run:
        print_line(f"\nThe first {min(NUM_SAMPLES, len(imported.samples))} samples", console, "bold")
        for sample in imported.samples[:NUM_SAMPLES]:
            row = manifest_row(sample, (out or Path("manifest.jsonl")).parent)
            print_line(printable(json.dumps(row, ensure_ascii=False), 1000), console)
    print_line("", console)
    for note in imported.notes:
        print_line(printable(note, 500), console)
    _print_words("labels", imported.labels, console)
    _print_words("labels that the mapping does not hold, left as they are", imported.unmapped, console)
    for file in imported.missing[:NUM_SHOWN]:
        print_line(f"missing {printable(file.path, 300)}: {file.why}", console)
    if (more := len(imported.missing) - NUM_SHOWN) > 0:
        print_line(f"missing {more:,} more; --missing FILE writes all of them", console)
    counts = f"{len(imported.samples):,} samples, {len(imported.missing):,} rows without their media"
    if dry_run:
        print_line(f"{counts}; a dry run, nothing is written", console)
        return
    print_line(f"{counts}: {out}", console)
    if imported.embedded:
        folder = next(iter(imported.embedded)).parent
        print_line(f"{len(imported.embedded):,} media that lay in the table: {folder}", console)
    print_line(f"next: mer-r1 check {out}", console)


def _print_words(what: str, counts: Counter[str], console: Console) -> None:
    if counts:
        shown = ", ".join(f"{printable(word)} {num:,}" for word, num in counts.most_common(NUM_SHOWN))
        more = f", and {len(counts) - NUM_SHOWN:,} more" if len(counts) > NUM_SHOWN else ""
        print_line(f"{len(counts):,} {what}: {shown}{more}", console)
