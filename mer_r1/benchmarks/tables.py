"""The owners' csv tables: a row a clip, the columns that are needed, every error named by file, line and column.

Convention: UTF-8 with or without a byte order mark, the first row names the columns, a cell in quotes may hold commas
and line ends. A clip that is there twice has its last row, as in the owners' code; how many do is counted. Cells are
mended as data/characters.py says, clips' names apart.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from mer_r1.data.characters import mended
from mer_r1.errors import InputError, first_line
from mer_r1.text import printable

MAX_BYTES = 256 * 2**20
NAME = "name"


@dataclass(frozen=True)
class Table:
    """`cells` maps a clip's name to its cells by column, `lines` to the line where its row ends; in the file's order.

    `num_repeated` is the number of rows that a later row of the same clip replaced, `num_mended` that of rows with
    characters of another encoding.
    """

    path: Path
    cells: dict[str, dict[str, str]]
    lines: dict[str, int]
    num_repeated: int
    num_mended: int = 0

    def where(self, clip: str) -> str:
        """File and line of a clip's row, for a message."""
        return f"{self.path}:{self.lines[clip]}"


def read_table(path: Path, columns: Sequence[str]) -> Table:
    """The rows of a csv by the clip that the column "name" names, with the cells of `columns`, mended.

    Raises InputError as `read_text` does, for a missing column, a row with more or fewer cells than the first, and a
    name that is no plain file name.
    """
    cells: dict[str, dict[str, str]] = {}
    lines: dict[str, int] = {}
    num_repeated = num_mended = 0
    for line, row in _rows(path, (NAME, *columns)):
        clip = row[NAME].strip()
        if error := name_error(clip):
            raise InputError(f'{path}:{line}: column "{NAME}" holds {printable(clip)!r}, which {error}')
        num_repeated += clip in cells
        cells[clip] = {column: mended(row[column]) for column in columns}
        num_mended += any(cells[clip][column] != row[column] for column in columns)
        lines[clip] = line
    if not cells:
        raise InputError(f"{path}: no rows; take the owners' own file")
    return Table(path, cells, lines, num_repeated, num_mended)


def name_error(clip: str) -> str | None:
    """Why a clip's name cannot be part of a file's name, with the fix; None where it can."""
    if not clip.strip():
        return "is empty; give every row the name of its clip"
    if "/" in clip or "\\" in clip or "\0" in clip or clip in (".", ".."):
        return "leads to another folder; give the clip's file name without its ending"
    if len(clip) > 200:
        return "is longer than 200 characters; give the clip's file name without its ending"
    try:
        clip.encode("utf-8")
    except UnicodeEncodeError:
        return "is no Unicode text; give the clip's file name without its ending"
    return None


def read_text(path: Path, what: str = "the owners' own file") -> str:
    """The text of one of the owners' files, its line ends as they are.

    Raises InputError for a file that is not there or cannot be read (`what` to give instead), is not UTF-8, or is over
    256 MiB.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; it is part of the data set")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: larger than {MAX_BYTES // 2**20} MiB; take the owners' own file")
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            return handle.read()
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; save the file as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give {what}") from None


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader(StringIO(read_text(path, "a csv file"), newline=""), strict=True)
    try:
        head = [title.strip() for title in next(reader, [])]
        for column in columns:
            if column not in head:
                titles = printable(", ".join(head)) or "none"
                raise InputError(f'{path}:1: no column "{column}", only {titles}; take the owners\' own file')
        for row in reader:
            if row and len(row) != len(head):
                raise InputError(
                    f"{path}:{reader.line_num}: {len(row)} cells under {len(head)} columns; "
                    "put quotes around a cell that holds a comma"
                )
            if row:
                yield reader.line_num, {column: row[head.index(column)] for column in columns}
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: not a csv row ({first_line(error)}); fix the quotes") from None
