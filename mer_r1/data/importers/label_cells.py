"""The labels of a row: from one cell, several, or columns of yes and no.

    happy, sad   happy;sad   ['happy', 'sad']   ["happy"]   a list       words, read as answers are (data/labels.py)
    happy=1, sad=0, anger=0                                              the columns' names, without what all begin with
    3                                                                    a class: its name in the file, or by a mapping

A mapping is asked for the whole cell first, then for each word; a word that it does not hold stays and is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mer_r1.data.importers.columns import ON, Chosen, is_flag
from mer_r1.data.importers.table import NOT_KNOWN, Row, Table, text_of
from mer_r1.data.labels import split_labels
from mer_r1.errors import InputError
from mer_r1.text import printable


@dataclass
class LabelReader:
    """Reads the labels of a table's rows; what was found is counted.

    `counts` are the labels as they stand in the manifest, `unmapped` those of them that the mapping does not hold.
    """

    table: Table
    chosen: Chosen
    mapping: Mapping[str, tuple[str, ...]] | None = None
    counts: Counter[str] = field(default_factory=Counter)
    unmapped: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Columns of yes and no are labels by their names, where there are several of them."""
        columns = self.chosen.columns
        flags = {column for column in columns if is_flag(self.table.cells(column))}
        self._flags = flags if len(columns) > 1 else set()
        self._prefix = _num_shared(sorted(self._flags))
        others = [column for column in columns if column not in flags and self.table.cells(column)]
        if len(self._flags) > 1 and others:
            row = next(row for row in self.table.rows if text_of(row.cells.get(others[0])))
            cell = printable(row.cells[others[0]])
            raise InputError(
                f"{self.table.where(row)}: column {printable(others[0])!r} holds {cell!r}, the other columns of labels "
                "0 and 1; turn it into 0 and 1, or leave it out of --labels"
            )

    def read(self, row: Row) -> tuple[str, ...]:
        """The labels of one row. Raises InputError for a number that has no name."""
        words: list[str] = []
        for column in self.chosen.columns:
            cell = row.cells.get(column)
            if column in self._flags:
                words += self._called(column[self._prefix :], row) if text_of(cell).lower() in ON else ()
            else:
                words += self._of_cell(column, cell, row)
        found = tuple(dict.fromkeys(words))
        self.counts.update(found)
        return found

    def _of_cell(self, column: str, cell: Any, row: Row) -> tuple[str, ...]:
        if isinstance(cell, list):
            return tuple(word for item in cell for word in self._of_cell(column, item, row))
        if text_of(cell).lower() in NOT_KNOWN:
            return ()
        if (names := self.table.classes.get(column)) and not isinstance(cell, str):
            if not 0 <= int(cell) < len(names):
                return ()  # -1 is "no label" there
            return self._called(names[int(cell)], row)
        return self._called(text_of(cell), row)

    def _called(self, text: str, row: Row) -> tuple[str, ...]:
        """The words of a text, by the mapping where there is one."""
        if self.mapping is not None and (known := self.mapping.get(text.lower())) is not None:
            return known
        words: list[str] = []
        for word in split_labels(text) or _numbers(text):
            known = None if self.mapping is None else self.mapping.get(word)
            if known is None and word.replace(".", "", 1).lstrip("-").isdigit():
                raise InputError(
                    f"{self.table.where(row)}: label {printable(word)} is a number, no word; name it in a file of "
                    f"lines such as {printable(word)},happy and give --mapping FILE (of columns of 0 and 1 give all: "
                    "--labels A,B,C)"
                )
            if known is None and self.mapping is not None:
                self.unmapped[word] += 1
            words += (word,) if known is None else known
        return tuple(words)


def _num_shared(columns: Sequence[str]) -> int:
    """The characters of what all names begin with: of "emotion_joy" and "emotion_fear", which pandas writes, 8."""
    shared = 0
    while len(columns) > 1:
        heads = {column[shared:].partition("_")[:2] for column in columns}
        if len(heads) > 1 or not (head := heads.pop())[1]:
            break
        shared += len("".join(head))
    return shared


def _numbers(text: str) -> tuple[str, ...]:
    """The numbers of a text without a word: classes."""
    return tuple(piece for piece in text.strip("[] ").replace(";", ",").replace(" ", ",").split(",") if piece)
