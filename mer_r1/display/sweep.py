"""The table of a sweep (analysis/sweep.py has its numbers), in percent: printed, and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from mer_r1.analysis.sweep import MODES, Measures
from mer_r1.text import MISSING, percent


def _columns(result: Mapping[str, Any], measures: Measures) -> list[str]:
    other = [f"{mode}/other" for mode in MODES if result["other"]]
    return [*(f"{mode}/{key}" for mode in MODES for key in measures.greedy), *other, *measures.columns]


def _cells(numbers: Mapping[str, Mapping[str, float]], columns: Sequence[str], with_range: bool = True) -> list[str]:
    texts = []
    for name in columns:
        mean, low, high = (percent(numbers.get(name, {}).get(part), 1) for part in ("mean", "low", "high"))
        texts.append(f"{mean} ({low}–{high})" if with_range and mean != MISSING else mean)
    return texts


def _header(name: str) -> str:
    return name.replace("/", " ").replace("f1", "F1")


def markdown(result: Mapping[str, Any], measures: Measures) -> str:
    """The table for a document: percent, mean (lowest–highest) over the seeds."""
    seeds = sorted({row["seed"] for row in result["runs"]})
    columns = _columns(result, measures)
    lines = [
        f"| {result['key']} | {' | '.join(map(_header, columns))} |",
        f"|---|{'---|' * len(columns)}",
        *(f"| {value} | {' | '.join(_cells(numbers, columns))} |" for value, numbers in result["summary"].items()),
        "",
        f"Percent, mean (lowest–highest) over seeds {', '.join(map(str, seeds))}; {result['n']} samples of "
        f"{result['test']}; `{result['signature']}`.",
        *(f"Other: {other['n']} samples of {other['test']}; `{other['signature']}`." for other in result["other"]),
    ]
    return "\n".join(lines) + "\n"


def print_sweep(result: Mapping[str, Any], measures: Measures, console: Console) -> None:
    """Print the table; on a narrow screen without ranges, which the file then holds."""
    is_wide = console.width >= 150
    shown = "mean (lowest–highest)" if is_wide else "mean"
    table = Table(title=f"{result['key']}: percent, {shown} over seeds", title_justify="left")
    table.add_column(str(result["key"]).replace(".", ".\n"))
    columns = _columns(result, measures)
    for name in columns:
        table.add_column(_header(name).replace(" ", "\n"), justify="right")
    for value, numbers in result["summary"].items():
        table.add_row(value, *_cells(numbers, columns, is_wide))
    console.print(table)
    console.print(f"[dim]{result['signature']}[/dim]")
