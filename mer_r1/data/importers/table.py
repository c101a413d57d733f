"""A table as every importer gives it: columns, and rows of cells, each with its place in the file.

A cell is a value as JSON has it (text, number, true or false, list, object), `Embedded` for a medium that lies in the
table itself, or None where it is empty. Numbers of CSV files stay texts: "007" is a name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from mer_r1.data.files import read_bytes
from mer_r1.errors import InputError
from mer_r1.text import printable

MAX_BYTES = 256 * 2**20
NOT_KNOWN = frozenset({"", "nan", "none", "null", "na", "<na>", "n/a", "#n/a"})
"""How programs (R, pandas, Excel) write that a label or a number is not known, in lower case."""


@dataclass(frozen=True)
class Embedded:
    """A medium whose bytes lie in the table: its kind, the ending of its file, its name there, and how to read it."""

    kind: str
    ending: str
    name: str
    read: Callable[[], bytes] = field(repr=False)


@dataclass(frozen=True)
class Row:
    """One row; `line` is the line of the file where it begins, or its number where a file has no lines, from 1."""

    line: int
    cells: Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """A table with the path it came from; `form` says in words how it was read.

    `classes` has the names behind the numbers of a column, where the file states them. `fields` maps a field of a
    manifest to the column that holds it, where the form says so and nothing is to be guessed.
    """

    path: Path
    form: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The folder that relative paths in it start from."""
        return self.path if self.path.is_dir() else self.path.parent

    def where(self, row: Row) -> str:
        """File and line of a row, for a message."""
        return f"{self.path}:{row.line}"

    def cells(self, column: str) -> list[Any]:
        """The cells of a column that are not empty."""
        return [cell for row in self.rows if not is_blank(cell := row.cells.get(column))]


@dataclass(frozen=True)
class Choice:
    """Which part of a file is read, and in which encoding, where a user says so."""

    sheet: str | None = None
    split: str | None = None
    encoding: str | None = None


class Importer(Protocol):
    """What a module of this folder is: it says which sources are its own, and reads one as a table."""

    def takes(self, source: str) -> bool:
        """Whether a source is of this form; nothing is read but names and a few bytes."""

    def read(self, source: str, choice: Choice) -> Table:
        """The table. Raises InputError that names file, line and fix."""


def is_blank(cell: object) -> bool:
    """Whether a cell holds nothing: None, NaN, or a text of white space."""
    return cell is None or (isinstance(cell, float) and cell != cell) or (isinstance(cell, str) and not cell.strip())


def text_of(cell: object) -> str:
    """A cell as text, "" where it is empty; a whole number without ".0", as which tables write ids."""
    if is_blank(cell):
        return ""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return str(int(cell))
    return str(cell).strip()


def named_columns(heads: Iterable[object]) -> tuple[str, ...]:
    """Names of columns from the cells of a head; one without a name is "", a repeated one gets a number."""
    names: list[str] = []
    for head in heads:
        name, number = text_of(head), 2
        while name and name in names:
            name, number = f"{text_of(head)} ({number})", number + 1
        names.append(name)
    return tuple(names)


def table_of(path: Path, form: str, columns: tuple[str, ...], rows: Iterable[Row], **more: Any) -> Table:
    """A table without columns that have no name. Raises InputError where no row or no column is left."""
    named = tuple(column for column in columns if column)
    kept = tuple(replace(row, cells={name: cell for name, cell in row.cells.items() if name}) for row in rows)
    if not named:
        raise InputError(f"{path}: no column has a name; write names of columns into the first row")
    if not kept:
        raise InputError(f"{path}: no rows under the columns {printable(', '.join(named))}")
    return Table(path, form, named, kept, **more)


def file_bytes(path: Path) -> bytes:
    """The bytes of a table's file. Raises InputError for one that cannot be read or is over 256 MiB."""
    return read_bytes(
        path, MAX_BYTES, fix="give the path of a table", too_large="save it as JSON lines or Parquet, in parts"
    )


def ends_in(source: str, *endings: str) -> bool:
    """Whether the name of a source ends so, in any case."""
    return source.lower().endswith(endings)
