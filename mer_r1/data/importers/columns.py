"""Which column holds which field of a manifest: as given, as the form of the file says, or guessed by name and content.

A guess takes the first line of names (names.py) of which the table holds a column; two columns of one line are an error
that names the option. Content decides where names do not: a column of names that end like media files is a medium (of a
column of ids a single one does, where no other column is a medium), one of numbers with fractions under a label's name
is the valence, columns of 0 and 1 named by emotions are labels. Two forms may stand for a column's name: "none"
switches a guess off, and an id may be made of several columns, "dia{Dialogue_ID}_utt{Utterance_ID}". Labels may be
several columns, with commas between.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite
from typing import Any, Literal

from mer_r1.data.importers.names import EMOTIONS, NAMES, normal_name
from mer_r1.data.importers.table import NOT_KNOWN, Embedded, Table, is_blank, text_of
from mer_r1.data.manifest import MEDIA_KEYS
from mer_r1.data.media_names import media_kind
from mer_r1.errors import InputError
from mer_r1.text import printable

OPTIONS = {
    field: "--speaker" if field == "cluster" else f"--{field}"
    for field in NAMES
    if field not in ("source", "candidates")
}
"""Field -> the option that says which column it is."""
NONE = "none"
ON = frozenset({"1", "true", "yes", "y", "x", "t"})
OFF = frozenset({"", "0", "false", "no", "n", "f"})
_LOOKED_AT = 1000
_HOLE = re.compile(r"\{([^{}]+)\}")

How = Literal["given", "guessed", "by the file's form"]


@dataclass(frozen=True)
class Chosen:
    """The columns of one field, how they were chosen, and the pattern that an id is made by, if one."""

    columns: tuple[str, ...]
    how: How
    pattern: str | None = None

    def __str__(self) -> str:
        return self.pattern or ", ".join(self.columns)


Columns = dict[str, Chosen]


def choose_columns(table: Table, given: Mapping[str, str | None]) -> Columns:
    """The columns of every field that the table has. Raises InputError for a wrong or an ambiguous one."""
    chosen: Columns = {}
    off = {field for field, value in given.items() if value == NONE and NONE not in table.columns}
    for field, value in given.items():
        if value is not None and field not in off:
            chosen[field] = _given(table, field, value)
    for field, column in table.fields.items():
        if field not in chosen and field not in off:
            chosen[field] = Chosen((column,), "by the file's form")
    guess = _Guess(table, chosen)
    for field in (*MEDIA_KEYS, *(name for name in NAMES if name not in MEDIA_KEYS)):
        if field not in chosen and field not in off and (columns := guess.of(field)):
            chosen[field] = Chosen(columns, "guessed")
    identity = chosen.get("id")
    if identity and identity.how == "guessed" and not any(kind in chosen for kind in MEDIA_KEYS):
        kind = guess.some_kind(identity.columns[0])
        if kind is not None and kind not in off:
            chosen[kind] = chosen.pop("id")
    return {field: chosen[field] for field in NAMES if field in chosen}


def _given(table: Table, field: str, value: str) -> Chosen:
    option = OPTIONS[field]
    if field == "id" and _HOLE.search(value) and value not in table.columns:
        columns = tuple(find_column(table, name, option) for name in _HOLE.findall(value))
        names = iter(columns)
        return Chosen(columns, "given", _HOLE.sub(lambda _: f"{{{next(names)}}}", value))
    if field == "labels" and "," in value and value not in table.columns:
        return Chosen(tuple(find_column(table, name.strip(), option) for name in value.split(",")), "given")
    return Chosen((find_column(table, value, option),), "given")


def find_column(table: Table, name: str, option: str) -> str:
    """A column by its name, in any case and with any sign between its words. Raises InputError for none."""
    if name in table.columns:
        return name
    found = [column for column in table.columns if normal_name(column) == normal_name(name)]
    if len(found) == 1:
        return found[0]
    close = get_close_matches(name, table.columns, n=1)
    hint = f"did you mean {printable(close[0])!r}? " if close else ""
    raise InputError(
        f"{option} {printable(name)}: {table.path} has no such column; {hint}"
        f"it has {printable(', '.join(table.columns), 400)}"
    )


def is_flag(cells: Sequence[Any]) -> bool:
    """Whether a column's cells only say yes or no, as one-hot columns do."""
    texts = {text_of(cell).lower() for cell in cells}
    return bool(texts) and texts <= ON | OFF


def number_in(cell: Any) -> float | None:
    """The number of a cell, written with a point or, as in much of Europe, a comma; None where it is none."""
    if isinstance(cell, bool) or is_blank(cell):
        return None
    try:
        number = float(text_of(cell).replace(",", "."))
    except ValueError:
        return None
    return number if isfinite(number) else None


class _Guess:
    """Guesses for one table; a column that is chosen is not guessed again."""

    def __init__(self, table: Table, chosen: Columns) -> None:
        self._table = table
        self._used = {column for item in chosen.values() for column in item.columns}
        self._cells = {
            column: [cell for cell in table.cells(column)[:_LOOKED_AT] if text_of(cell).lower() not in NOT_KNOWN]
            for column in table.columns
        }
        self._kinds = {column: _media_kind_of(cells) for column, cells in self._cells.items()}

    def of(self, field: str) -> tuple[str, ...]:
        """The columns of a field, none where nothing speaks for one."""
        if field in MEDIA_KEYS:
            found = self._medium(field)
        else:
            found = self._one(field, [column for column in self._free() if self._suits(field, column)])
        columns = (found,) if found else self._one_hot() if field == "labels" else ()
        self._used.update(columns)
        return columns

    def some_kind(self, column: str) -> str | None:
        """The medium that the names of files among a column's cells are, be they the fewer; None where none is one."""
        return _media_kind_of([cell for cell in self._cells[column] if isinstance(cell, str) and media_kind(cell)])

    def _free(self) -> list[str]:
        return [column for column in self._table.columns if column not in self._used and self._cells[column]]

    def _suits(self, field: str, column: str) -> bool:
        """Whether what a column holds can be this field, whatever its name."""
        cells = self._cells[column]
        if self._kinds[column]:
            return False
        if field == "valence":
            return all(number_in(cell) is not None for cell in cells)
        if field == "labels":
            return not (_has_fractions(cells) or all(isinstance(cell, bool) for cell in cells))
        return field == "candidates" or not any(isinstance(cell, list | dict) for cell in cells)

    def _medium(self, kind: str) -> str | None:
        by_content = [column for column in self._free() if self._kinds[column] == kind]
        if len(by_content) == 1:
            return by_content[0]
        if by_content:
            return self._one(kind, by_content) or self._ambiguous(kind, by_content)
        named = [column for column in self._free() if self._kinds[column] is None]
        first = {normal for normal in NAMES[kind][0].split() if normal != "frame"}
        plain = [column for column in named if normal_name(column) in first and self._are_names(column)]
        return plain[0] if len(plain) == 1 else self._ambiguous(kind, plain) if plain else None

    def _are_names(self, column: str) -> bool:
        """Whether a column's cells may be names of files: texts or numbers, each its own."""
        texts = [text_of(cell) for cell in self._cells[column] if not isinstance(cell, list | dict)]
        return len(texts) == len(self._cells[column]) and len(set(texts)) == len(texts)

    def _one(self, field: str, columns: list[str]) -> str | None:
        """The one of these columns by its name. Raises InputError where two speak for it alike."""
        lines = NAMES[field]
        if field == "valence":  # -0.8 under "label" is no label
            lines = (*lines, " ".join(NAMES["labels"]))
            columns = [c for c in columns if normal_name(c) in lines[0].split() or _has_fractions(self._cells[c])]
        for line in lines:
            names = line.split()
            found = [column for column in columns if normal_name(column) in names]
            if len(found) > 1:
                return self._ambiguous(field, found)
            if found:
                return found[0]
        return None

    def _ambiguous(self, field: str, columns: list[str]) -> str:
        shown = " and ".join(printable(column) for column in columns[:4])
        raise InputError(
            f"{self._table.path}: the columns {shown} may each be the {field}; say which: "
            f"{OPTIONS[field]} {' | '.join(printable(column) for column in columns[:4])} | {NONE}"
        )

    def _one_hot(self) -> tuple[str, ...]:
        free = [column for column in self._free() if is_flag(self._cells[column])]
        named = tuple(column for column in free if normal_name(column).rpartition("_")[2] in EMOTIONS)
        return named if len(named) > 1 else ()


def _has_fractions(cells: Sequence[Any]) -> bool:
    numbers = [number_in(cell) for cell in cells]
    return all(number is not None for number in numbers) and any(number != int(number or 0) for number in numbers)


def _media_kind_of(cells: Sequence[Any]) -> str | None:
    """The kind of medium that most cells are, by their endings or because it lies in the table."""
    kinds = Counter(
        cell.kind if isinstance(cell, Embedded) else media_kind(cell) if isinstance(cell, str) else None
        for cell in cells
    )
    kind, num = kinds.most_common(1)[0] if kinds else (None, 0)
    return kind if num > len(cells) / 2 else None
