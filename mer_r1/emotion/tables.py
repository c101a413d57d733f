"""The tables of MER-UniBench, read from the files in which their authors publish them.

    format.csv           name, format                              a base word, and its surface forms
    synonym.xlsx         word_run1, synonym_run1, ... to run8      a wheel word, and base words listed as its synonyms
    wheel1 to 5.xlsx     level1, level2, level3                    inner, middle and outer ring of a wheel

Convention: lists are split at commas; words are lower-cased and stripped; a wheel's blank cells take the one above; a
blank row is passed over; of a workbook the first sheet is read. Every base word is a form of itself, and every wheel
word a synonym of itself in all eight lists. Of a word that occurs twice in a wheel the last one counts, as in the
authors' code. What the authors' code would misread is an error, with file, sheet, row and fix.
Source: github zeroQiaoba/AffectGPT, AffectGPT/emotion_wheel (docs/wheels.md).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mer_r1.data.files import read_bytes
from mer_r1.emotion.compiled import NUM_WHEELS
from mer_r1.emotion.words import normalise
from mer_r1.errors import InputError

WHEEL_FILES = tuple(f"wheel{k}.xlsx" for k in range(1, NUM_WHEELS + 1))
FILES = ("format.csv", "synonym.xlsx", *WHEEL_FILES)
NUM_LISTS = 8
LEVELS = (1, 2)
MAX_FILE_BYTES = 20_000_000
MAX_UNPACKED_BYTES = 100_000_000
MAX_ROWS = 20_000
MAX_COLUMNS = 32

_WHEEL_COLUMNS = ("level1", "level2", "level3")
_SYNONYM_COLUMNS = tuple(f"{kind}_run{run}" for run in range(1, NUM_LISTS + 1) for kind in ("word", "synonym"))

_Row = tuple[str, dict[str, str]]
"""The location of a row, for messages, and its normalised cells by column."""


@dataclass(frozen=True)
class Wheel:
    """One wheel: level-1 word -> its level-2 words -> their level-3 words, in the order of the file."""

    tree: Mapping[str, Mapping[str, tuple[str, ...]]]

    def categories(self, level: int) -> tuple[str, ...]:
        """The words of level 1 or 2, in the order of the file."""
        if level == 1:
            return tuple(self.tree)
        return tuple(dict.fromkeys(two for rings in self.tree.values() for two in rings))

    def category_of(self, level: int) -> dict[str, str]:
        """Wheel word -> its category of level 1 or 2.

        At level 2 a level-1 word takes the alphabetically first of its level-2 words. Of a word that occurs twice the
        last one counts.
        """
        index: dict[str, str] = {}
        for one, rings in self.tree.items():
            index[one] = one if level == 1 else min(rings)
            for two, outer in rings.items():
                index.update(dict.fromkeys((two, *outer), one if level == 1 else two))
        return index


@dataclass(frozen=True)
class Tables:
    """The tables as they are in the files.

    `base_words`: surface form -> its base words, alphabetically. `votes`: base word -> wheel word -> how many of the
    eight lists name the base word as the wheel word's synonym; at least one, and eight for the word itself.
    """

    base_words: Mapping[str, tuple[str, ...]]
    votes: Mapping[str, Mapping[str, int]]
    wheels: tuple[Wheel, ...]


def read_files(folder: Path) -> dict[str, bytes]:
    """The bytes of the seven files. Raises InputError for those that are missing, unreadable or too large."""
    if missing := missing_files(folder):
        raise InputError(
            f"{folder}: {', '.join(missing)} missing; a folder of wheels holds {', '.join(FILES)} (docs/wheels.md)"
        )
    return {name: _read(folder / name) for name in FILES}


def missing_files(folder: Path) -> list[str]:
    """Those of the seven files that are not in the folder."""
    return [name for name in FILES if not os.path.isfile(folder / name)]


def _read(path: Path) -> bytes:
    return read_bytes(
        path, MAX_FILE_BYTES, fix="give a file that may be read", too_large="this is no table of emotion words"
    )


def parse_tables(files: Mapping[str, bytes], folder: Path) -> Tables:
    """The tables in the bytes of the seven files; `folder` is named in messages.

    Raises InputError for the first error in them.
    """
    wheels = tuple(_wheel(_sheet_rows(files[name], folder / name, _WHEEL_COLUMNS)) for name in WHEEL_FILES)
    wheel_words = {word for wheel in wheels for word in wheel.category_of(1)}
    votes = _votes(_sheet_rows(files["synonym.xlsx"], folder / "synonym.xlsx", _SYNONYM_COLUMNS), wheel_words)
    base_words = _base_words(_csv_rows(files["format.csv"], folder / "format.csv", ("name", "format")), votes)
    return Tables(base_words, votes, wheels)


def _wheel(rows: Iterator[_Row]) -> Wheel:
    tree: dict[str, dict[str, list[str]]] = {}
    began: dict[str, str] = {}
    where, one, two = next(rows)[0], "", ""
    for where, cells in rows:
        if cells["level1"]:
            one, two = cells["level1"], ""
        if not one:
            raise InputError(f"{where}: no level1 in this row or above; write the category into the first column")
        began.setdefault(one, where)
        two = cells["level2"] or two
        if not two and cells["level3"]:
            raise InputError(
                f"{where}: level3 {_named(cells['level3'])} has no level2 under {_named(one)}; write one beside it"
            )
        rings = tree.setdefault(one, {})
        if two:
            outer = rings.setdefault(two, [])
            outer += [cells["level3"]] if cells["level3"] else []
    if not tree:
        raise InputError(f"{where}: the wheel is empty; write one row a word of level3 below it")
    for one, rings in tree.items():
        if not rings:
            raise InputError(f"{began[one]}: level1 {_named(one)} has no level2; write at least one beside it")
    return Wheel({one: {two: tuple(outer) for two, outer in rings.items()} for one, rings in tree.items()})


def _votes(rows: Iterator[_Row], wheel_words: Iterable[str]) -> dict[str, dict[str, int]]:
    """Base word -> wheel word -> number of lists. A pair that one list names twice counts once."""
    named: set[tuple[str, str, int]] = {(word, word, run) for word in wheel_words for run in range(NUM_LISTS)}
    known = frozenset(wheel_words)
    next(rows)
    for where, cells in rows:
        for run in range(NUM_LISTS):
            word, synonyms = cells[f"word_run{run + 1}"], _list(cells[f"synonym_run{run + 1}"])
            if synonyms and not word:
                raise InputError(
                    f"{where}: synonym_run{run + 1} has no word beside it; write it into word_run{run + 1}"
                )
            if word and word not in known:
                raise InputError(
                    f"{where}: {_named(word)} of word_run{run + 1} is in no wheel; write a word of wheel1 to wheel5"
                )
            named.update((synonym, word, run) for synonym in synonyms)
    votes: dict[str, dict[str, int]] = {}
    for base, word, _ in sorted(named):
        of_base = votes.setdefault(base, {})
        of_base[word] = of_base.get(word, 0) + 1
    return votes


def _base_words(rows: Iterator[_Row], votes: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    bases_of = {base: {base} for base in votes}
    seen: set[str] = set()
    next(rows)
    for where, cells in rows:
        name = cells["name"]
        if not name:
            raise InputError(f"{where}: the name is empty; write the base word of these forms")
        if name in seen:
            raise InputError(f"{where}: {_named(name)} has a row already; write all its forms into one")
        if name not in votes:
            raise InputError(
                f"{where}: {_named(name)} is no wheel word and no synonym of one; name it in synonym.xlsx, or remove "
                "the row"
            )
        seen.add(name)
        for form in _list(cells["format"]):
            bases_of.setdefault(form, set()).add(name)
    return {form: tuple(sorted(bases)) for form, bases in bases_of.items()}


def _list(cell: str) -> list[str]:
    return [word for piece in cell.split(",") if (word := normalise(piece))]


def _named(word: str) -> str:
    """A word or title between quotes, for a one-line message."""
    from mer_r1.text import printable  # here, for reading compiled wheels needs none of it

    return f'"{printable(word)}"'


def _csv_rows(data: bytes, path: Path, columns: Sequence[str]) -> Iterator[_Row]:
    """The head, with empty cells, then the rows of a CSV file that are not blank."""
    import csv
    import io

    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: not UTF-8 text; save the file as CSV in UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    head: list[str] | None = None
    try:
        for cells in reader:
            where = f"{path}:{reader.line_num}"
            if head is None:
                head = _head([*cells], columns, where)
                yield where, {}
            elif cells and len(cells) != len(head):
                raise InputError(
                    f"{where}: {len(cells)} cells, but the head has {len(head)}; put a list of forms between quotes"
                )
            elif any(normalise(cell) for cell in cells):
                yield where, dict(zip(head, map(normalise, cells), strict=True))
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: not a row of CSV ({error}); fix its quotes") from None
    if head is None:
        raise InputError(f"{path}: empty; its first row names the columns {', '.join(columns)}")


def _sheet_rows(data: bytes, path: Path, columns: Sequence[str]) -> Iterator[_Row]:
    """The head, with empty cells, then the rows of a workbook's first sheet that are not blank."""
    title, rows = _first_sheet(data, path)
    index = f"{path}: sheet {_named(title)}"
    if not rows:
        raise InputError(f"{index}: empty; its first row names the columns {', '.join(columns)}")
    head = _head(rows[0], columns, f"{index}, row 1")
    yield f"{index}, row 1", {}
    for number, cells in enumerate(rows[1:], start=2):
        where = f"{index}, row {number}"
        values: dict[str, str] = {}
        for name, cell in zip(head, cells, strict=False):
            if cell is not None and not isinstance(cell, str):
                raise InputError(f"{where}: {_named(str(cell))} is not a text; write words only")
            if cell and normalise(cell) and not name:
                raise InputError(f"{where}: {_named(cell)} is in a column without a name; remove it")
            values[name] = normalise(cell or "")
        if any(values.values()):
            yield where, {column: values.get(column, "") for column in columns}


def _head(cells: Sequence[object], columns: Sequence[str], where: str) -> list[str]:
    """The names of the columns. Raises InputError when one of `columns` is missing or occurs twice."""
    head = [normalise(cell) if isinstance(cell, str) else "" for cell in cells]
    if wrong := [column for column in columns if head.count(column) != 1]:
        raise InputError(f"{where}: needs each column once: {', '.join(columns)}; see to {', '.join(wrong)}")
    return head


def _first_sheet(data: bytes, path: Path) -> tuple[str, list[tuple[object, ...]]]:
    """Title and rows of a workbook's first sheet, at most MAX_ROWS of MAX_COLUMNS. Formulas give their kept values."""
    import io
    import warnings
    import zipfile

    import openpyxl

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(part.file_size for part in archive.infolist())
        if unpacked > MAX_UNPACKED_BYTES:
            raise InputError(f"{path}: unpacks to {unpacked // 1_000_000} MB; this is no table of emotion words")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of parts that are not read, such as styles
            book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
            try:
                sheet = book.worksheets[0]
                # Own bounds, for what a sheet says of its size is not always true.
                cells = sheet.iter_rows(max_row=MAX_ROWS + 1, max_col=MAX_COLUMNS, values_only=True)
                rows: list[tuple[object, ...]] = [*cells]
            finally:
                book.close()
    except InputError:
        raise
    except Exception as error:  # a damaged workbook makes openpyxl raise whatever comes
        raise InputError(f"{path}: not a valid xlsx workbook ({type(error).__name__}); save it as .xlsx") from None
    if len(rows) > MAX_ROWS:
        raise InputError(f"{path}: sheet {_named(sheet.title)}: more than {MAX_ROWS:,} rows; this is no table of words")
    return sheet.title, rows
