"""What every benchmark prints: what was found, progress, a plain table of its scores, what is incomplete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from mer_r1.benchmarks.published import tables_of
from mer_r1.display.grid import Grid, print_grid, print_line
from mer_r1.display.progress import bars
from mer_r1.evaluation.suite import FoundSets, Outcome, Progress
from mer_r1.metrics.statistics import mean_of_all
from mer_r1.text import number, percent, printable


@contextmanager
def benchmark_bars() -> Iterator[Progress]:
    """A bar for each thing that is being done; of several processes the first one shows its own."""
    with bars() as shown:
        yield shown.report


def print_found(found: FoundSets, console: Console) -> None:
    """What is worth knowing of the sets that are there, and which are not."""
    for prepared in found.sets.values():
        lines = list(prepared.notes)
        if prepared.missing:
            first = prepared.missing[0]
            lines.append(f"{len(prepared.missing)} clips are not there, such as {first.path} ({first.why})")
        for line in lines:
            print_line(f"{prepared.title}: {line}", console)
    for line in found.absent.values():
        print_line(line, console, "yellow")


def print_scores(outcome: Outcome, console: Console) -> None:
    """A row a mode: the headline of each set, and their plain mean. For a benchmark without a table of its own."""
    metrics = outcome.metrics
    if metrics is None:
        return
    rows = []
    for mode in outcome.run.request.modes:
        found = {name: record for name, scores in metrics.sets.items() if (record := scores.of_mode(mode))}
        values = [record.value(record.measure) for record in found.values()]
        cells = map(percent, (*values, mean_of_all(values)))
        rows.append((printable(outcome.run.request.model_name), mode, *cells))
    first = outcome.run.request.modes[0]
    heads = [f"{name} {record.measure}" for name, item in metrics.sets.items() if (record := item.of_mode(first))]
    print_grid(Grid(f"{metrics.title}, in %", ("", "", *heads, "Mean"), tuple(rows)), console)
    records = (item.of_mode(mode) for item in metrics.sets.values() for mode in outcome.run.request.modes)
    signatures = [metrics.signature] if metrics.signature else [record.signature for record in records if record]
    for signature in signatures:
        print_line(signature, console)


def print_published(benchmark: str, console: Console) -> None:
    """The published tables of a benchmark, whole and as they are printed; nothing where there are none."""
    for table in tables_of(benchmark):
        num_names = 2 if any(row.mode for row in table.rows) else 1
        digits = 1 if benchmark == "mme-emotion" else 2
        rows = tuple(
            (*(row.model, row.mode or "")[:num_names], *(number(value, digits) for value in row.values))
            for row in table.rows
        )
        heads = (*[""] * num_names, *table.columns)
        print_grid(Grid(f"{table.title}, in % ({table.source})", heads, rows, num_names), console)
        console.print(table.note, style="dim", markup=False, highlight=False)


def print_closing(outcome: Outcome, console: Console) -> None:
    """What is incomplete, and where the numbers are."""
    for problem in outcome.problems:
        print_line(f"incomplete: {problem}", console, "bold red")
    if outcome.metrics is not None:
        print_line(f"Numbers: {outcome.run.out / 'metrics.json'}", console)
