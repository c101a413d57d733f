"""Excel workbooks (.xlsx, .xlsm): one sheet, whose first row that is not empty names the columns.

Values are read as the program that saved the file computed them; nothing is computed here.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mer_r1.data.importers.table import Choice, Row, Table, ends_in, file_bytes, is_blank, named_columns, table_of
from mer_r1.errors import InputError, first_line
from mer_r1.text import printable

MAX_UNPACKED_BYTES = 500_000_000
MAX_COLUMNS = 2000
_OLD = (".xls", ".ods", ".numbers", ".xlsb")


def takes(source: str) -> bool:
    """A name that ends in .xlsx or .xlsm, or as an older workbook."""
    return ends_in(source, ".xlsx", ".xlsm", *_OLD)


def read(source: str, choice: Choice) -> Table:
    """The table of the one sheet with rows, or of the one that is chosen."""
    path = Path(source)
    if ends_in(source, *_OLD):
        raise InputError(f"{path}: {path.suffix} is not read; save it as .xlsx or CSV")
    sheets = dict(_sheets(path))
    filled = [name for name, rows in sheets.items() if len(rows) > 1]
    if choice.sheet is not None and choice.sheet not in sheets:
        raise InputError(f"{path}: no sheet {printable(choice.sheet)!r}; it has {printable(', '.join(sheets), 300)}")
    if choice.sheet is None and len(filled) > 1:
        raise InputError(f"{path}: several sheets with rows; say which: --sheet {printable(' | '.join(filled), 300)}")
    if choice.sheet is None and not filled:
        raise InputError(f"{path}: no sheet with a head and rows under it; give another file")
    name = choice.sheet if choice.sheet is not None else filled[0]
    rows = sheets[name]
    columns = named_columns(rows[0][1] if rows else ())
    found = []
    for line, cells in rows[1:]:
        if any(not is_blank(cell) for cell in cells[len(columns) :]):
            raise InputError(f"{path}:{line}: a cell beyond the {len(columns)} columns that the first row names")
        values = [*cells[: len(columns)], *[None] * (len(columns) - len(cells))]
        found.append(Row(line, dict(zip(columns, map(_plain, values), strict=True))))
    return table_of(path, f"Excel, sheet {printable(name)}", columns, found)


def _sheets(path: Path) -> Iterator[tuple[str, list[tuple[int, Sequence[Any]]]]]:
    """The visible sheets by name, each with its rows that are not empty."""
    import openpyxl

    data = file_bytes(path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > MAX_UNPACKED_BYTES:
            raise InputError(f"{path}: unpacks to {unpacked:,} bytes; save it as CSV")
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
        for sheet in book.worksheets:
            if sheet.sheet_state == "visible":
                found = enumerate(sheet.iter_rows(values_only=True, max_col=MAX_COLUMNS), 1)
                yield sheet.title, [(line, _stripped(row)) for line, row in found if any(not is_blank(c) for c in row)]
        book.close()
    except InputError:
        raise
    except Exception as error:  # a damaged workbook makes openpyxl raise whatever comes
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise InputError(f"{path}: not a workbook that can be read ({reason}); save it again, or as CSV") from None


def _stripped(row: Sequence[Any]) -> Sequence[Any]:
    """A row without the empty cells at its end."""
    last = max((index for index, cell in enumerate(row) if not is_blank(cell)), default=-1)
    return row[: last + 1]


def _plain(cell: Any) -> Any:
    """A cell as JSON has it: dates and times as ISO text."""
    return cell.isoformat() if hasattr(cell, "isoformat") else cell
