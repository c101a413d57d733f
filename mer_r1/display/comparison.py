"""The one table of `mer-r1 score`: a row a system and mode, the main measure first, and what must stand beside it.

Fractions come in; percent and points go out, but for CSV and JSON, which have the fractions as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Literal

from rich.console import Console

from mer_r1.data.predictions import UNSTATED
from mer_r1.display.formats import comma_separated, latex, markdown
from mer_r1.display.grid import Grid, print_grid, print_line
from mer_r1.display.score import TITLES, class_lines, failed_answers, matrix_of, title_of, wheels_line
from mer_r1.evaluation.answered import FailedRule
from mer_r1.evaluation.compare import Comparison, Row
from mer_r1.evaluation.sentiment import not_unibench
from mer_r1.metrics.statistics import NUM_RESAMPLES
from mer_r1.text import interval, p_value, percent, points, printable

Form = Literal["md", "latex", "csv"]
INTERVAL = "95\u00a0% interval"


def print_table(found: Comparison, rule: FailedRule, console: Console) -> None:
    """The table, what must be known of its numbers, and the signature."""
    print_grid(grid_of(found), console)
    for line in notes_of(found, rule):
        console.print(line, markup=False, highlight=False)
    for signature in found.signatures:
        print_line(signature, console)


def rendered(found: Comparison, form: Form, rule: FailedRule = "left-out", *, matrices: bool = False) -> str:
    """The table as text of that form; CSV has the signatures and no place for the notes.

    With `matrices` the confusion matrix of every row follows, where classes are scored; in CSV as one table behind an
    empty line.
    """
    with_classes = [row for row in found.rows if row.reports.classes is not None] if matrices else []
    if form == "csv":
        return _csv(found) + ("\n" + _csv_matrices(with_classes) if with_classes else "")
    write = {"md": markdown, "latex": latex}[form]
    parts = [write(grid_of(found), notes_of(found, rule), found.signatures)]
    for row in with_classes:
        assert row.reports.classes is not None, "it was looked at above"
        parts.append(write(matrix_of(row.reports.classes, f"{_title(row)}. "), class_lines(row.reports.classes)))
    return "\n".join(parts)


def bare(found: Comparison) -> list[str]:
    """The main number of each row in percent, "nan" where it is not defined."""
    values = (row.reports.measures[found.headline] for row in found.rows)
    return [f"{100 * value:.2f}" for value in values]


def grid_of(found: Comparison) -> Grid:
    """The measures of every row; the main one with its difference to the first system, or alone with its interval."""
    main, has_modes = found.headline, any(row.mode != UNSTATED for row in found.rows)
    beside = () if main == "accuracy" else ("accuracy",)  # that of sentiment, which its WAF stands for
    measures = [name for name in found.rows[0].reports.measures if name in TITLES and name not in beside]
    compared = bool(found.num_comparisons)
    heads = ["", "mode"][: 1 + has_modes] + [TITLES[name] for name in measures]
    if compared:
        p = "p (Holm)" if found.num_comparisons > 1 else "p"
        heads += [f"Δ\u00a0{TITLES[main]}", INTERVAL, p]
    else:
        heads.insert(2 + has_modes, INTERVAL)
    rows = []
    for row in found.rows:
        cells = [row.system.name, "" if row.mode == UNSTATED else printable(row.mode)][: 1 + has_modes]
        cells += [percent(row.reports.measures.get(name)) for name in measures]
        if compared:
            cells += _difference(row, main)
        else:
            cells.insert(2 + has_modes, interval(*row.reports.intervals[main]))
        rows.append(tuple(cells))
    return Grid(title_of(found.rows[0].reports), tuple(heads), tuple(rows), num_names=1 + has_modes)


def notes_of(found: Comparison, rule: FailedRule) -> Iterator[str]:
    """What must be known of the numbers beside the signature: how differences were tested, and what is missing."""
    if found.num_comparisons:
        yield _test_line(found)
    if found.not_compared:
        yield f"not compared: the modes {printable(', '.join(found.not_compared))}, which not every file has"
    for row in found.rows:
        name = _title(row)
        if row.reports.failed:
            yield f"{name}: {failed_answers(row.reports.failed, rule)}"
        if row.reports.strangers:
            yield f"{name}: {row.reports.strangers}"
        if row.reports.classes is None and row.reports.main.missing:
            fate = " and count as empty answers" if row.reports.words else ""
            yield f"{name}: {row.reports.main.missing} clips have no prediction{fate}"
        if row.reports.classes is not None:
            yield from (f"{name}: {line}" for line in islice(class_lines(row.reports.classes), 1, None))
    sentiments = [row.reports.sentiment for row in found.rows if row.reports.sentiment is not None]
    yield from dict.fromkeys(filter(None, (not_unibench(item.backend, item.prompt) for item in sentiments)))
    if line := wheels_line(found.signatures[0]):
        yield line


def _title(row: Row) -> str:
    return row.system.name + ("" if row.mode == UNSTATED else f", {printable(row.mode)}")


def _test_line(found: Comparison) -> str:
    clusters = found.rows[0].reports.main.clusters
    drawn = "whole clusters" if clusters and any(clusters) else "clips"
    line = f"Δ to {found.first} in points, by the paired bootstrap ({NUM_RESAMPLES:,} resamples of {drawn})"
    many = found.num_comparisons
    return line + (f"; p with Holm's correction over {many} comparisons" if many > 1 else "")


def _difference(row: Row, measure: str) -> list[str]:
    found = row.differences.get(measure)
    if found is None:
        return ["", "", ""]
    return [points(found.delta, 2), interval(found.low, found.high), p_value(row.p_holm[measure])]


def _csv(found: Comparison) -> str:
    """A line a row, each number under a name of its own: `f1`, `f1_low`, `f1_delta`, `f1_p_holm`, .."""
    plain = ("system", "file", "mode", "n", "counted", "missing", "failed")
    measures = list(dict.fromkeys(name for row in found.rows for name in row.reports.measures))
    heads = [*plain, *(name for measure in measures for name in (measure, f"{measure}_low", f"{measure}_high"))]
    parts = {"delta": "delta", "low": "delta_low", "high": "delta_high", "p_value": "p", "p_holm": "p_holm"}
    if found.num_comparisons:
        heads += [f"{measure}_{part}" for measure in measures for part in parts.values()]
    rows = []
    for row in found.rows:
        values = row.to_json()
        cells = [values[name] for name in plain]
        for measure in measures:
            cells += [values.get(measure), *values["intervals"].get(measure, (None, None))]
        if found.num_comparisons:
            of = values["difference"] or {}
            cells += [of.get(measure, {}).get(part) for measure in measures for part in parts]
        rows.append([*cells, values["signature"]])
    return comma_separated([*heads, "signature"], rows)


def _csv_matrices(rows: Sequence[Row]) -> str:
    """A line a row and gold class: how often each answer was given."""
    lines: list[list[str | int | None]] = []
    columns: list[str] = []
    for row in rows:
        assert row.reports.classes is not None, "the caller has chosen them"
        for gold, counts in row.reports.classes.confusion.items():
            columns = [printable(name) for name in counts]
            mode = None if row.mode == UNSTATED else row.mode
            lines.append([row.system.name, mode, printable(gold), *counts.values()])
    return comma_separated(["system", "mode", "gold", *columns], lines)
