"""CSV and its kin: comma, semicolon, tab or bar between cells, in the encodings that programs save.

The first row names the columns. Which sign separates is read from the first rows: the one by which they have the same
number of cells, and most of them; Excel's line "sep=;" is obeyed. A cell in quotes may hold signs and line ends.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from mer_r1.data.importers.encoding import file_text
from mer_r1.data.importers.table import Choice, Row, Table, ends_in, named_columns, table_of
from mer_r1.errors import InputError, first_line

SIGNS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_NUM_LOOKED_AT = 50


def takes(source: str) -> bool:
    """A name that ends in .csv, .tsv, .tab or .txt."""
    return ends_in(source, ".csv", ".tsv", ".tab", ".txt")


def read(source: str, choice: Choice) -> Table:
    """The table; a row with more or fewer cells than the head is an error that names its line."""
    path = Path(source)
    lines, sign, encoding = read_lines(path, choice.encoding)
    head = next(lines, (0, []))[1]
    columns = named_columns(head)
    rows = []
    for line, cells in lines:
        if len(cells) > len(columns) and not any(cell.strip() for cell in cells[len(columns) :]):
            cells = cells[: len(columns)]
        if len(cells) != len(columns):
            raise InputError(
                f"{path}:{line}: {len(cells)} cells under {len(columns)} columns, which a {SIGNS[sign]} separates; "
                f"put quotes around a cell that holds one"
            )
        if any(cell.strip() for cell in cells):
            rows.append(Row(line, dict(zip(columns, cells, strict=True))))
    return table_of(path, f"CSV, {SIGNS[sign]} between cells, {encoding}", columns, rows)


def read_lines(path: Path, encoding: str | None = None) -> tuple[Iterator[tuple[int, list[str]]], str, str]:
    """The cells of every row, the head among them, with the row's line; the sign between them; the encoding."""
    text, encoding = file_text(path, encoding)
    skipped, sign = 0, ""
    if text[:4].lower() == "sep=" and text[4:5] in SIGNS:
        sign, skipped = text[4], 1
        text = text.partition("\n")[2]
    sign = sign or _sign_of(text, "\t" if ends_in(path.name, ".tsv", ".tab") else ",")
    return _lines(path, text, sign, skipped), sign, encoding


def _lines(path: Path, text: str, sign: str, skipped: int) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, each with the line where it begins."""
    reader = csv.reader(StringIO(text, newline=""), delimiter=sign, strict=True)
    begin = 1 + skipped
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(f"{path}:{begin}: not a row of a CSV file ({first_line(error)}); fix the quotes") from None
        if cells:
            yield begin, cells
        begin = reader.line_num + 1 + skipped


def _sign_of(text: str, default: str) -> str:
    """The sign that gives the first rows the same number of cells, and the most of them."""
    counts = {}
    for sign in SIGNS:
        reader = csv.reader(StringIO(text, newline=""), delimiter=sign)
        sizes = []
        try:
            for cells in reader:
                sizes += [len(cells)] if cells else []
                if len(sizes) == _NUM_LOOKED_AT:
                    break
        except csv.Error:
            sizes = []
        if sizes and sizes[0] > 1:
            counts[sign] = (sum(size == sizes[0] for size in sizes) / len(sizes), sizes[0], sign == default)
    return max(counts, key=lambda sign: counts[sign]) if counts else default
