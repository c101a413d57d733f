"""The tables of emotion pictures: the model's accuracies by set over EMO-R3's published cells, and a confusion matrix.

Convention: one run is one training set, half a row of the published table, whose means are over both halves; published
rows beside the model's take the cells of the same training set, and their means are of the cells shown. Without
`in_domain` only the untrained model stands beside. The variants of a set ("webemo-25") stand beside its published
column: whether they are the paper's labels is not known. Fractions come in, percent go out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from mer_r1.benchmarks.emotion_pictures.benchmark import NAME, domains
from mer_r1.benchmarks.emotion_pictures.layouts import title_of
from mer_r1.benchmarks.published import published
from mer_r1.data.sample import Mode
from mer_r1.display.benchmark import print_closing
from mer_r1.display.confusion import confusion_grid, print_confusion
from mer_r1.display.grid import Grid, print_grid, print_line
from mer_r1.display.score import failed_answers
from mer_r1.evaluation.answered import FailedRule
from mer_r1.evaluation.records import ScoresByMode
from mer_r1.evaluation.suite import Outcome
from mer_r1.metrics.statistics import mean_of_all
from mer_r1.text import percent, printable, with_interval

Json = dict[str, Any]

UNTRAINED = "Vanilla"


def print_pictures(outcome: Outcome, console: Console) -> None:
    """The accuracies, a line a set and mode, the confusion of the last mode, and what is incomplete."""
    metrics = outcome.metrics
    assert metrics is not None, "pictures are scored where they are answered"
    numbers = metrics.to_json()
    modes, sets, in_domain = outcome.run.request.modes, numbers["sets"], numbers["in_domain"]
    grid = accuracy_grid(outcome.run.request.model_name, metrics.sets, modes, in_domain)
    print_grid(grid, console)
    for mode in modes:
        for key, item in sets.items():
            print_line(f"{title_of(key)}, {mode}: {_line(item[mode], outcome.run.request.failed)}", console)
        for key, mean in numbers["means"][mode].items():
            of = f"{mean['num_sets']} set{'s' * (mean['num_sets'] > 1)}"
            print_line(f"{key}, {mode}: {_with_interval(mean)} over {of}", console)
    shown_mode = modes[-1]  # slow, where both were asked; score.json has both
    for key, item in sets.items():
        title, numbers_of = f"{title_of(key)}, {shown_mode}: gold down, answers across", item[shown_mode]
        recalls = {label: of["recall"] for label, of in numbers_of["recalls"].items()}
        print_confusion(confusion_grid(title, numbers_of["confusion"], recalls), console)
    if len(grid.rows) > len(modes):
        note = f"{published()[NAME].source}. {published()[NAME].note}"
        print_line(note, console, "dim")
    print_line(numbers["signature"], console)
    if outcome.run.request.limit:
        console.print(
            f"The first {outcome.run.request.limit} pictures of each set, not the whole sets.", style="yellow"
        )
    print_closing(outcome, console)


def accuracy_grid(model: str, sets: Mapping[str, ScoresByMode], modes: Sequence[Mode], in_domain: str | None) -> Grid:
    """The model's rows over published ones."""
    heads = [f"{title_of(name)}{' (trained on)' if name == in_domain else ''}" for name in sets]
    rows = []
    for mode in modes:
        records = {name: scores.of_mode(mode) for name, scores in sets.items()}
        accuracies = {name: record.accuracy if record else None for name, record in records.items()}
        rows.append((printable(model), mode, *_cells(accuracies, in_domain)))
    train = (in_domain or "").partition("-")[0]
    table = published()[NAME]
    for row in table.rows:
        # An untrained model has the same cells whatever the training set.
        by_column = {column: value / 100 for column, value in zip(table.columns, row.values, strict=True)}
        column = title_of("emoset" if row.model == UNTRAINED else train) + " → {}"
        cells = {name: by_column.get(column.format(title_of(name.partition("-")[0]))) for name in sets}
        if any(value is not None for value in cells.values()):
            rows.append((f"{row.model} (published)", "", *_cells(cells, in_domain)))
    return Grid("Emotion pictures, accuracy in %", ("", "", *heads, *domains((), None)), tuple(rows))


def _cells(accuracies: Mapping[str, float | None], in_domain: str | None) -> list[str]:
    means = [mean_of_all([accuracies[name] for name in names]) for names in domains(accuracies, in_domain).values()]
    return [percent(value) for value in (*accuracies.values(), *means)]


def _line(numbers: Json, rule: FailedRule) -> str:
    """The accuracy with its interval, what constant answering scores, and what was no single candidate."""
    constant = numbers["constant"]
    parts = [
        f"{_with_interval(numbers)} of {numbers['n']:,}",
        f"always {printable(constant['label'])} {percent(constant['accuracy'])}",
        f"{numbers['unparsed']} without a label, {numbers['other']} no single candidate",
    ]
    if numbers["failed"]:
        parts.append(failed_answers(numbers["failed"], rule))
    return "; ".join(parts)


def _with_interval(numbers: Json) -> str:
    low, high = numbers.get("interval") or numbers["intervals"]["accuracy"]
    return with_interval(numbers["accuracy"], low, high)
