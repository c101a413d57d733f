"""What `mer-r1 diagnose modality` prints: a table a mode, a row a condition, in percent."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mer_r1.analysis.modality import EVERYTHING, MEASURES, ModalityOutcome
from mer_r1.display.benchmark import print_closing
from mer_r1.display.grid import print_line
from mer_r1.text import interval, percent, points

Json = dict[str, Any]


def print_run(outcome: ModalityOutcome, console: Console) -> None:
    """The tables, the plots' names, and what is incomplete; draws OUT/modality.svg and .png."""
    from mer_r1.display.diagnosis_plots import draw_modality

    print_modality(outcome.numbers, console)
    paths = draw_modality(outcome.numbers, outcome.run.out / "modality")
    names = ", ".join(path.name for path in paths)
    print_line(f"\n{outcome.run.out / 'modality.json'}, {names}", console)
    print_closing(outcome, console)


def print_modality(result: Json, console: Console) -> None:
    """The table for people."""
    for mode, rows in result["modes"].items():
        num = rows[EVERYTHING]["n"]
        rest = f" (of {result['n']}, the others have a failed answer)" if num < result["n"] else ""
        table = Table(title=f"{mode} answers of {escape(result['model'])}, {num} clips{rest}", title_justify="left")
        for head in ("input", "clips with it", "recall", "precision", "F1", "F1 − everything", "failed"):
            table.add_column(head, justify="left" if head == "input" else "right")
        for name, row in rows.items():
            delta = row["delta"]["f1"]
            value = ""
            if name != EVERYTHING and None not in delta.values():
                value = f"{points(delta['value'])}\n{interval(delta['low'], delta['high'], 1)}"
            cells = [percent(row[key], 1) for key in MEASURES]
            table.add_row(name.replace("-", " "), str(row["num_had"]), *cells, escape(value), str(row["failed"] or ""))
        console.print(table)
        console.print(result["finding"][mode], markup=False)
        print_line(rows[EVERYTHING]["signature"], console)
