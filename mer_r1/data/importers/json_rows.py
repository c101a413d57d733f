"""JSON and JSON lines, in the shapes that people keep labels in.

[{"id": …}, …]                              a list of objects
{"id": …}  {"id": …}                        an object a line
{"clip_1": {"label": …}, …}                 objects by id
{"clip_1": "happy", "clip_2": ["sad"]}      labels by id
{"data": [{…}, …]}                          one list under a key, whatever stands beside it
{"label": {"0": "happy", "1": "sad"}}       columns, as pandas writes by default
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from mer_r1.data.files import read_json_lines
from mer_r1.data.importers.encoding import file_text
from mer_r1.data.importers.table import Choice, Row, Table, ends_in, table_of
from mer_r1.errors import InputError
from mer_r1.text import printable

ID = "id"
LABELS = "labels"
_CHATS = ("messages", "conversations")


def takes(source: str) -> bool:
    """A name that ends in .json, .jsonl or .ndjson."""
    return ends_in(source, ".json", ".jsonl", ".ndjson")


def read(source: str, choice: Choice) -> Table:
    """The table. In a file that is one JSON text a row's line is its number."""
    path = Path(source)
    if ends_in(source, ".jsonl", ".ndjson") and choice.encoding is None:
        return _table(path, "JSON lines", [Row(line, row) for line, row in read_json_lines(path)])
    text, _ = file_text(path, choice.encoding)
    try:
        whole = json.loads(text, object_pairs_hook=partial(_object, path))
    except InputError:
        raise
    except RecursionError:
        raise InputError(f"{path}: not valid JSON (nested too deeply); give a list of objects") from None
    except ValueError as error:
        if _is_lines(text):
            return _table(path, "JSON lines", [Row(line, row) for line, row in read_json_lines(path)])
        line = getattr(error, "lineno", 1)
        reason = getattr(error, "msg", "a number too long")
        raise InputError(f"{path}:{line}: not valid JSON ({reason}); give a list of objects") from None
    objects = list(_objects(path, whole))
    return _table(path, "JSON", [Row(number, row) for number, row in enumerate(objects, 1)])


def _object(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of the file. Raises InputError for a key that stands twice: one of two clips would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise InputError(f"{path}: key {printable(twice)!r} stands twice in one object; keep one")
    return found


def _table(path: Path, form: str, rows: list[Row]) -> Table:
    columns = tuple(dict.fromkeys(key for row in rows for key in row.cells))
    return table_of(path, form, columns, rows)


def _is_lines(text: str) -> bool:
    """Whether the first line that is not empty is an object of its own."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _objects(path: Path, whole: Any) -> Iterator[dict[str, Any]]:
    """The rows in a JSON value."""
    if isinstance(whole, dict):
        whole = _rows_of_object(whole)
    if not isinstance(whole, list):
        raise InputError(f"{path}: no rows; give a list of objects, or one object a line")
    for number, row in enumerate(whole, 1):
        if not isinstance(row, dict):
            raise InputError(f"{path}:{number}: row {number} is {type(row).__name__}; an object is needed")
        yield row


def _rows_of_object(whole: dict[str, Any]) -> Any:
    lists = [
        value
        for key, value in whole.items()
        if key not in _CHATS and isinstance(value, list) and value and isinstance(value[0], dict)
    ]
    if len(lists) == 1:
        return lists[0]
    if whole and all(isinstance(value, dict) for value in whole.values()):
        indices = [list(value) for value in whole.values()]
        if all(index == indices[0] for index in indices) and indices[0] == [str(i) for i in range(len(indices[0]))]:
            return [{column: values[index] for column, values in whole.items()} for index in indices[0]]
        return [value if ID in value else {ID: identity, **value} for identity, value in whole.items()]
    if any(key in whole for key in (ID, LABELS, *_CHATS)):
        return [whole]
    if whole and all(_is_words(value) for value in whole.values()):
        return [{ID: identity, LABELS: value} for identity, value in whole.items()]
    return None


def _is_words(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))
