"""MER-UniBench's tables over the published rows: the official one, one with F1 on all recognition sets, the groups'.

Convention: a mean is plain, over the sets that are there; with fewer than nine its head says of how many, and the
published rows beside it are means of the same sets. The table of the groups, whose published rows cannot be taken apart
by sets, is printed of all nine alone. Fractions come in, percent go out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from mer_r1.benchmarks.mer_unibench.benchmark import GROUPS, NAME, OFFICIAL, UNIFIED, MerUniBench, value_of
from mer_r1.benchmarks.mer_unibench.layouts import SETS
from mer_r1.benchmarks.published import PublishedTable, published
from mer_r1.data.sample import Mode
from mer_r1.display.benchmark import print_closing
from mer_r1.display.grid import Grid, print_grid, print_line
from mer_r1.display.score import print_failed, print_wheels
from mer_r1.evaluation.records import ScoresByMode, finite
from mer_r1.evaluation.sentiment import not_unibench
from mer_r1.evaluation.suite import Outcome
from mer_r1.metrics.statistics import mean_of_all
from mer_r1.text import number, percent, printable

BESIDE = ("AffectGPT-R1", "Baseline", "MER-R1")
"""The published rows beside the model's."""
NAMES = {"f1": "F1", "hit": "HIT", "waf": "WAF"}


def print_unibench(outcome: Outcome, benchmark: MerUniBench, console: Console) -> None:
    """Both tables, what the numbers are not, what is counted beside them, the signature, and what is incomplete."""
    metrics = outcome.metrics
    assert metrics is not None, "MER-UniBench is scored where it is answered"
    model, modes = outcome.run.request.model_name, outcome.run.request.modes
    sets = metrics.sets
    for grid in (official_grid(model, sets, modes), unified_grid(model, sets, modes)):
        print_grid(grid, console)
    if len(sets) == len(SETS):
        print_grid(groups_grid(model, metrics.means, modes), console)
    note = f"{published()[NAME].source}, and {published()['unified'].source}. {published()[NAME].note}"
    console.print(f"Published rows: {note}", style="dim", markup=False, highlight=False)
    for line in metrics.notes:
        print_line(line, console, "yellow")
    if not all(f"|{part}" in metrics.signature for part in ("wheels:official@", "protocol:official|")):
        console.print("Not the official wheels or protocol: these F1 and HIT are not MER-UniBench's.", style="yellow")
        print_wheels(metrics.signature, console)
    judged = benchmark.sentiment
    why = not_unibench(judged.name, judged.asked)
    if why and any(SETS[name].task == "sentiment" for name in sets):
        print_line(why, console, "yellow")
    if outcome.run.request.limit:
        console.print(f"The first {outcome.run.request.limit} clips of each set, not the whole sets.", style="yellow")
    records = [record for item in sets.values() for mode in modes if (record := item.of_mode(mode))]
    if unanswered := sum(record.unanswered or 0 for record in records):
        refusals = sum(record.refusals or 0 for record in records)
        line = f"unanswered: {unanswered} answers are cut off or empty"
        line += f" ({refusals} refusals)" if refusals else ""
        line += ", and scored by the words they hold, if any"
        console.print(line, style="yellow", highlight=False, soft_wrap=True)
    if misread := sum(record.misread or 0 for record in records):
        line = f"misread: of {misread} answers the official parser reads other words than the corrected one"
        console.print(line, style="yellow", highlight=False, soft_wrap=True)
    print_failed(sum(record.failed or 0 for record in records), outcome.run.request.failed, console)
    print_line(metrics.signature, console)
    print_closing(outcome, console)


def official_grid(model: str, sets: Mapping[str, ScoresByMode], modes: Sequence[Mode]) -> Grid:
    """The model's rows of the official table over published ones."""
    return _grid("MER-UniBench, in %", published()[NAME], OFFICIAL, model, sets, modes)


def unified_grid(model: str, sets: Mapping[str, ScoresByMode], modes: Sequence[Mode]) -> Grid:
    """The same with F1 on the basic-emotion sets, and the mean of the recognition sets."""
    return _grid("With F1 on the basic-emotion sets, in %", published()["unified"], UNIFIED, model, sets, modes)


def groups_grid(model: str, means: Mapping[str, Mapping[str, Any]], modes: Sequence[Mode]) -> Grid:
    """The model's rows of the columns that Tables 4 and 5 have, over the rows of both; `means` as in metrics.json."""
    columns = (*GROUPS, "mean", "mean_f1")
    rows = [(printable(model), mode, *(percent(finite(means[mode].get(name))) for name in columns)) for mode in modes]
    printed = {row.values: row for name in ("calibration", "ablation") for row in published()[name].rows}
    for row in sorted(printed.values(), key=lambda row: row.values[-2]):
        rows.append((f"{row.model} (published)", "", *map(number, row.values)))
    return Grid("Means of the groups, in %", ("", "", *published()["ablation"].columns), tuple(rows))


def _grid(
    title: str,
    table: PublishedTable,
    measures: Mapping[str, str],
    model: str,
    sets: Mapping[str, ScoresByMode],
    modes: Sequence[Mode],
) -> Grid:
    rows = []
    for mode in modes:
        values = {name: value_of(scores, mode, name, measures) for name, scores in sets.items()}
        rows.append((printable(model), mode, *map(percent, values.values()), *_means(values, measures)))
    for of_mode in dict.fromkeys(mode if table.rows[0].mode else None for mode in modes):
        for row in table.rows_of(*BESIDE, mode=of_mode):
            by_set = dict(zip(SETS, row.values, strict=False))
            here: dict[str, float | None] = {name: by_set[name] / 100 for name in sets}
            is_whole = len(sets) == len(SETS)  # then the means are as printed
            means = [number(value) for value in row.values[len(SETS) :]] if is_whole else _means(here, measures)
            rows.append((f"{row.model} (published)", of_mode or "", *map(percent, here.values()), *means))
    heads = (f"{SETS[name].title} {NAMES[measures[SETS[name].task]]}" for name in sets)
    return Grid(title, ("", "", *heads, *_mean_heads(sets, measures)), tuple(rows))


def _means(values: Mapping[str, float | None], measures: Mapping[str, str]) -> list[str]:
    """The cells of the means, that of the recognition sets first where the table has it."""
    cells = [percent(mean_of_all(list(values.values())))]
    recognition = [value for name, value in values.items() if SETS[name].task != "sentiment"]
    return [percent(mean_of_all(recognition)), *cells] if measures is UNIFIED else cells


def _mean_heads(sets: Mapping[str, object], measures: Mapping[str, str]) -> tuple[str, ...]:
    """Those of `_means`; where not all nine sets are there they say of how many they are."""
    counts = {"Mean": len(sets)}
    if measures is UNIFIED:
        counts = {"R-Mean": sum(SETS[name].task != "sentiment" for name in sets), **counts}
    if len(sets) == len(SETS):
        return tuple(counts)
    return tuple(f"{head} of {num} {'set' if num == 1 else 'sets'}" for head, num in counts.items())
