"""Tables for tests of the importers: written as other programs write them, with media that are names alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openpyxl

from mer_r1.data.importers.prepare import PreparedTable, Request, prepare_table
from mer_r1.data.importers.table import Choice
from mer_r1.data.sample import Sample


def media(folder: Path, *names: str) -> Path:
    """Files of these names, which nobody decodes."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def write_json(path: Path, value: Any) -> Path:
    return write(path, json.dumps(value, ensure_ascii=False))


def workbook(path: Path, **sheets: list[list[Any]]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def prepared(source: Path | str, media_folder: Path | None = None, **more: Any) -> PreparedTable:
    """What a dry run gives; an option that is a column stands among `more` by its field."""
    columns = {name: more.pop(name) for name in list(more) if name not in REQUEST}
    choice = Choice(**{name: more.pop(name) for name in ("sheet", "split", "encoding") if name in more})
    request = Request(str(source), media=media_folder, columns=columns, choice=choice, **more)
    return prepare_table(request, dry_run=True)


REQUEST = ("out", "mapping", "candidates", "missing", "sheet", "split", "encoding")


def samples(source: Path | str, media_folder: Path | None = None, **more: Any) -> tuple[Sample, ...]:
    return prepared(source, media_folder, **more).imported.samples
