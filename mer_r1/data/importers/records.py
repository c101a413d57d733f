"""Gold and predictions out of tables: rows with the keys that a JSON-lines file of them has.

A column that is called like a key is that key. Else gold's are guessed as `prepare table` guesses them, and a
prediction's by PREDICTED. Gold labels are read as `prepare table` reads them; a prediction's text stays as it is, for
the scoring protocol's parser to judge, so that a table scores as the same rows in JSON lines do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from mer_r1.data.files import read_json_lines
from mer_r1.data.importers import read_table
from mer_r1.data.importers.columns import NONE, OPTIONS, Columns, choose_columns, number_in
from mer_r1.data.importers.label_cells import LabelReader
from mer_r1.data.importers.names import normal_name
from mer_r1.data.importers.samples import file_ids
from mer_r1.data.importers.table import NOT_KNOWN, Table, is_blank, text_of
from mer_r1.data.table_names import is_table, prepare_command
from mer_r1.errors import InputError
from mer_r1.text import printable

Row = dict[str, Any]
Kind = Literal["gold", "predictions"]

PREDICTED = {
    "labels": (
        "prediction predictions pred preds predicted pred_label pred_labels predicted_label predicted_labels "
        "pred_emotion predicted_emotion pred_emotions predicted_emotions",
        "answer answers label emotion emotions",
    ),
    "raw": ("response output completion generated_text raw_output model_output",),
    "reasoning": ("rationale explanation",),
}
"""Key of a prediction -> lines of names of its column, as in names.py."""
_KEPT = ("mode", "status", "sentiment", "error", "confidence", "categories", "categories_first")


def read_records(path: Path, kind: Kind, *, growing: bool = False) -> Iterator[tuple[int, Row]]:
    """(line, row) of JSON lines, or of a table of any form; of `growing` lines a half-written last one is passed over.

    Raises InputError that names the file and the fix.
    """
    if not is_table(path):
        yield from read_json_lines(path, growing=growing)
        return
    table = read_table(str(path))
    yield from _gold(table) if kind == "gold" else _predictions(table)


def _gold(table: Table) -> Iterator[tuple[int, Row]]:
    exact = {field: field if field in table.columns else None for field in OPTIONS}
    try:
        columns = choose_columns(table, exact | dict.fromkeys(("subtitle", "reasoning"), NONE))
    except InputError as error:
        raise InputError(f"{error}; here by: {prepare_command(table.path, '--labels', 'COL')}") from None
    if not {"labels", "valence"} & columns.keys():
        raise _lacks(table, "labels or valence", prepare_command(table.path, "--labels", "COL"))
    labels = LabelReader(table, columns["labels"]) if "labels" in columns else None
    for (line, identity), row in zip(_ids(table, columns), table.rows, strict=True):
        found: Row = {"id": identity}
        if labels is not None:
            found["labels"] = list(labels.read(row))
        if "valence" in columns:
            cell = row.cells.get(columns["valence"].columns[0])
            number = number_in(cell)
            found["valence"] = None if text_of(cell).lower() in NOT_KNOWN else cell if number is None else number
        if "cluster" in columns:
            found["cluster"] = text_of(row.cells.get(columns["cluster"].columns[0])) or None
        yield line, found


def _predictions(table: Table) -> Iterator[tuple[int, Row]]:
    by_key = {key: key for key in (*PREDICTED, *_KEPT) if key in table.columns}
    for key, lines in PREDICTED.items():
        if key not in by_key and (column := _named(table, key, lines)):
            by_key[key] = column
    if not {"labels", "raw", "sentiment"} & by_key.keys():
        raise _lacks(table, "labels", "rename the column of answers to labels")
    known = {"id": "id" if "id" in table.columns else None}
    others = dict.fromkeys(("labels", "valence", "cluster", "subtitle", "reasoning"), NONE)
    try:
        columns = choose_columns(table, known | others)
    except InputError as error:
        raise InputError(f"{error}; here: rename the column of ids to id") from None
    for (line, identity), row in zip(_ids(table, columns), table.rows, strict=True):
        yield line, {"id": identity} | {key: _value(table, column, row.cells) for key, column in by_key.items()}


def _value(table: Table, column: str, cells: Mapping[str, Any]) -> Any:
    """A cell of a prediction; a class by its name."""
    cell = cells.get(column)
    if isinstance(cell, int) and not isinstance(cell, bool) and 0 <= cell < len(names := table.classes.get(column, ())):
        return names[cell]
    return None if is_blank(cell) else cell


def _named(table: Table, key: str, lines: tuple[str, ...]) -> str | None:
    for line in lines:
        found = [column for column in table.columns if normal_name(column) in line.split()]
        if len(found) > 1:
            shown = " and ".join(printable(column) for column in found[:4])
            raise InputError(f"{table.path}: the columns {shown} may each be the {key}; rename the right one to {key}")
        if found:
            return found[0]
    return None


def _ids(table: Table, columns: Columns) -> list[tuple[int, str]]:
    """The line and the id of every row; a repeated id is for the reader to judge."""
    if "id" in columns:
        column = columns["id"].columns[0]
        return [(row.line, text_of(row.cells.get(column))) for row in table.rows]
    ids = file_ids(table, columns)
    if ids is None:
        raise _lacks(table, "ids", "rename the column of clips' ids to id")
    return [(row.line, identity) for row, identity in zip(table.rows, ids, strict=True)]


def _lacks(table: Table, what: str, fix: str) -> InputError:
    return InputError(f"{table.path}: no column of {what} among {printable(', '.join(table.columns), 300)}; {fix}")
