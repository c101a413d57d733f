"""`mer-r1 diagnose`: why a model is better, from the answers of both modes. Nothing is asked of a model here.

    diagnose RUN…                  all runs and sets: tables, DIR/diagnosis.json, DIR/cases.jsonl, plots as SVG and PNG
    diagnose --gold G --pred P     the thinking paradox of one predictions file

What is measured stands in mer_r1/diagnosis/ (runs.py names the parts), how it is drawn in diagnose_plots.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mer_r1.analysis.paradox import MODES, diagnose
from mer_r1.analysis.runs import diagnose_runs
from mer_r1.data.files import write_json, write_json_lines
from mer_r1.data.gold import read_gold
from mer_r1.data.predictions import read_predictions
from mer_r1.display.diagnosis import print_runs
from mer_r1.display.diagnosis_plots import draw
from mer_r1.errors import InputError
from mer_r1.evaluation.runs import read_runs
from mer_r1.metrics.corpus_score import load_wheels

NUM_CASES = 10
ROWS = (  # key, title, shown in percent
    ("recall", "recall, %", True),
    ("precision", "precision, %", True),
    ("f1", "F1, %", True),
    ("num_categories", "categories an answer", False),
    ("answer_words", "words an answer", False),
    ("confidence_gold", "log-confidence on gold", False),
    ("margin", "margin over hard others", False),
)


def run(
    gold: Path,
    pred: Path,
    wheels: str = "builtin",
    json_out: Path | None = None,
    *,
    protocol: str = "official",
) -> dict[str, Any]:
    """Diagnose the predictions of both modes in `pred`, print the table, write `json_out`, and return what it holds.

    Raises InputError that names file and line for a wrong row, a mode that is missing, or ids that do not match.
    """
    truth = read_gold(gold)
    table = load_wheels(wheels, protocol)
    predictions = read_predictions(pred, table.protocol.parser)
    try:
        result = diagnose(truth.labels, predictions, table, name=gold.stem, clusters=truth.clusters)
    except InputError as error:
        raise InputError(f"{pred}: {error}") from None
    print_diagnosis(result, Console())
    if json_out is not None:
        write_json(json_out, result)
    return result


def run_folders(
    folders: Sequence[Path],
    out: Path | None = None,
    wheels: str = "builtin",
    *,
    protocol: str = "official",
    num_cases: int = NUM_CASES,
) -> dict[str, Any]:
    """Diagnose the runs in `folders` into `out` (by default diagnosis/ in the first), print the tables.

    Of each kind of case the `num_cases` strongest are printed; all are in cases.jsonl. Returns what diagnosis.json
    holds. Raises InputError that names file and line for what cannot be read, and where matplotlib is missing.
    """
    if num_cases < 0:
        raise InputError(f"--cases {num_cases}: give 0 or more")
    table = load_wheels(wheels, protocol)
    systems = read_runs(folders)
    out = folders[0] / "diagnosis" if out is None else out
    found = diagnose_runs(systems, table)
    write_json(out / "diagnosis.json", found.numbers)
    write_json_lines(out / "cases.jsonl", list(found.cases))
    drawn = draw(found.numbers, out)
    console = Console(highlight=False)
    print_runs(found, console, num_cases)
    names = ", ".join(path.stem for path in drawn if path.suffix == ".svg")
    console.print(f"\nNumbers: {out / 'diagnosis.json'}\nCases: {out / 'cases.jsonl'}", markup=False, soft_wrap=True)
    console.print(f"Plots (.svg, .png): {names}", markup=False, soft_wrap=True)
    return found.numbers


def print_diagnosis(result: Mapping[str, Any], console: Console) -> None:
    """The diagnosis for people."""
    table = Table(title=f"Fast and slow thinking on {result['n']} clips, mean over wheels", title_justify="left")
    for title in ("", "fast", "slow", "fast − slow", "95 % interval"):
        table.add_column(title, justify="right" if title else "left")
    for key, title, percent in ROWS:
        delta = result["delta"].get(key, {})
        cells = [_number(result[mode][key], percent) for mode in MODES]
        bounds = _bounds(delta["low"], delta["high"], percent) if delta else ""
        table.add_row(title, *cells, _number(delta["value"], percent) if delta else "", bounds)
    table.add_section()
    low, high = result["retained_hit_rate_interval"]
    bounds = _bounds(low, high, True)
    table.add_row("retained hit rate, %", "", _number(result["retained_hit_rate"], True), "", bounds)
    console.print(table)
    console.print(result["finding"], markup=False, highlight=False)
    for mode in MODES:
        counts = result[mode]
        if counts["missing"] or counts["unanswered"]:
            line = f"{mode}: {counts['missing']} clips without a prediction, {counts['unanswered']} unfinished or empty"
            console.print(f"{line} (counted by the words they hold, if any)", markup=False, highlight=False)
    if not result["fast"]["num_with_confidence"]:
        console.print("The predictions hold no category confidences: write them with `mer-r1 predict`.", markup=False)
    console.print(result["signature"], markup=False, highlight=False, soft_wrap=True)


def _bounds(low: float | None, high: float | None, percent: bool) -> str:
    return "–" if low is None else escape(f"[{_number(low, percent)}, {_number(high, percent)}]")


def _number(value: float | None, percent: bool) -> str:
    if value is None:
        return "n/a"
    return f"{100 * value:.2f}" if percent else f"{value:.2f}"
