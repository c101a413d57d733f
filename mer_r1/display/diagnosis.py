"""The diagnosis of runs as tables on the console: what diagnosis.json holds, in percent where it is a share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mer_r1.analysis.paradox import MODES
from mer_r1.analysis.runs import Found
from mer_r1.evaluation.runs import Json, number_at, value_at
from mer_r1.text import printable

SCORES = (("recall", 100), ("precision", 100), ("f1", 100))
CONFIDENCES = (("confidence_gold", 1), ("margin", 1))
SCORE_HEADS, CONFIDENCE_HEADS = ("recall", "precision", "F1"), ("on gold", "margin")


def print_runs(found: Found, console: Console, num_cases: int) -> None:
    """All tables; `num_cases` of each kind of case."""
    numbers = found.numbers
    if numbers["sets"]:
        _print_gaps(numbers, console)
        _print_levels(numbers, console)
        _print_pair(numbers, console)
        _print_leak(numbers, console)
        if num_cases:
            _print_cases(found, console, num_cases)
    for name, series in numbers["dynamics"].items():
        ends = [f"{key.removeprefix('reward/')} {_ends(row['values'])}" for key, row in series.items()]
        console.print(f"{numbers['systems'][name]}, reward over training: {', '.join(ends)}", markup=False)
    for note in numbers["notes"]:
        console.print(note, markup=False)
    signatures = [value_at(values, "paradox", "signature") for _, _, values in _rows(numbers)]
    for signature in dict.fromkeys(item for item in signatures if item):
        console.print(signature, markup=False, soft_wrap=True)


def _rows(numbers: Json) -> Iterator[tuple[str, str, Json]]:
    """(title of the set, title of the system, its numbers), the set's title once."""
    for item in numbers["sets"].values():
        for index, (name, values) in enumerate(item["systems"].items()):
            yield item["title"] if index == 0 else "", numbers["systems"][name], values


def _table(title: str, heads: Sequence[str], num_left: int) -> Table:
    table = Table(title=title, title_justify="left")
    for index, head in enumerate(heads):
        table.add_column(head, justify="left" if index < num_left else "right", overflow="fold")
    return table


def _print_gaps(numbers: Json, console: Console) -> None:
    table = _table(
        "Fast − slow, with 95 % intervals (recall, precision, F1 in points)",
        ("set", "system", *SCORE_HEADS, "categories"),
        2,
    )
    for title, system, values in _rows(numbers):
        if values["paradox"]:
            cells = [_delta(values["paradox"]["delta"][key], scale) for key, scale in (*SCORES, ("num_categories", 1))]
            table.add_row(escape(title), escape(system), *cells)
    if table.row_count:
        console.print(table)


def _print_levels(numbers: Json, console: Console) -> None:
    heads = ("set", "system", *CONFIDENCE_HEADS, "retained, %", "ECE fast", "ECE slow", "paradox")
    table = _table("Confidence, fast − slow; what slow retains of fast; calibration (0 is best)", heads, 2)
    for title, system, values in _rows(numbers):
        found = values["paradox"]
        gaps = [_delta(found["delta"][key], scale) if found else "–" for key, scale in CONFIDENCES]
        retained = _percent(number_at(found, "retained_hit_rate"))
        errors = [_decimal(number_at(values["reliability"], mode, "every", "ece")) for mode in MODES]
        verdict = {True: "shows", False: "no", None: "open"}[found["paradox"]] if found else "–"
        table.add_row(escape(title), escape(system), *gaps, retained, *errors, verdict)
    console.print(table)


def _print_pair(numbers: Json, console: Console) -> None:
    if not numbers["pair"]:
        return
    reference, tuned = (numbers["systems"][name] for name in numbers["pair"])
    table = _table(
        f"Slow answers: {escape(tuned)} − {escape(reference)}, with 95 % intervals",
        ("set", *SCORE_HEADS, *CONFIDENCE_HEADS),
        1,
    )
    for item in numbers["sets"].values():
        if item["pair"]:
            table.add_row(
                escape(item["title"]),
                *(_delta(item["pair"]["delta"][key], scale) for key, scale in (*SCORES, *CONFIDENCES)),
            )
    if table.row_count:
        console.print(table)


def _print_leak(numbers: Json, console: Console) -> None:
    heads = ("set", "clips", "names gold", "shuffled", "F1", "shuffled", "constant", "p")
    table = _table("Label leak: the subtitle's own words as the answer, %", heads, 1)
    for item in numbers["sets"].values():
        leak = item["leak"]
        if leak:
            shares = [leak[key]["names_gold"] for key in ("found", "shuffled")]
            f1 = [leak["found"]["f1"], leak["shuffled"]["f1"], number_at(leak["constant"], "f1")]
            cells = [str(leak["n"]), *map(_percent, (*shares, *f1)), _decimal(leak["p_value"])]
            table.add_row(escape(item["title"]), *cells)
    if table.row_count:
        console.print(table)


def _print_cases(found: Found, console: Console, num_cases: int) -> None:
    numbers = found.numbers
    for kind, rule in numbers["rules"].items():
        rows = sorted((row for row in found.cases if row["kind"] == kind), key=lambda row: -row["strength"])
        if not rows:
            continue
        table = _table(f"{escape(rule['title'])}: {len(rows)} clips", ("strength", "set", "clip", "categories"), 0)
        table.caption, table.caption_justify = escape(rule["rule"]), "left"
        for column in table.columns[1:]:
            column.justify = "left"
        for row in rows[:num_cases]:
            said = ", ".join(dict.fromkeys(name for names in row["categories"].values() for name in names))
            title = numbers["sets"][row["set"]]["title"]
            table.add_row(
                _decimal(row["strength"]), escape(title), escape(printable(row["id"])), escape(printable(said))
            )
        console.print(table)


def _delta(row: Mapping[str, Any], scale: int) -> str:
    digits = 1 if scale == 100 else 2
    cells = [row[key] for key in ("value", "low", "high")]
    if any(cell is None for cell in cells):
        return "–"
    low, high = (f"{scale * cell:.{digits}f}".replace("-", "−") for cell in cells[1:])
    value = f"{scale * cells[0]:+.{digits}f}".replace("-", "−")
    return escape(f"{value}\n[{low}, {high}]")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _ends(values: Sequence[float]) -> str:
    return f"{values[0]:.2f} → {values[-1]:.2f}"
