"""A file of rows that a stop may have cut off within its last line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mer_r1.data.files import read_json_lines
from mer_r1.errors import InputError


def whole_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file that is there, a last line that a stop cut off left out.

    Raises FileNotFoundError, and InputError that names file and line for anything else that is no JSON object.
    """
    size = path.stat().st_size
    try:
        for _, row in read_json_lines(path):
            yield row
    except InputError as error:
        _, tail = _tail(path, size)
        with path.open("rb") as handle:
            last = 1 + sum(chunk.count(b"\n") for chunk in iter(lambda: handle.read(1 << 20), b"") if chunk)
        if not (tail.startswith(b"{") and str(error).startswith(f"{path}:{last}: ")):
            raise


def _tail(path: Path, size: int) -> tuple[int, bytes]:
    """Where the last line starts that has no end, and what it holds; empty where every line has one."""
    with path.open("rb") as handle:
        start, tail = size, b""
        while start > 0 and b"\n" not in tail:
            step = min(1 << 16, start)
            start -= step
            handle.seek(start)
            tail = handle.read(step) + tail
    cut = tail.rfind(b"\n") + 1
    return start + cut, tail[cut:]


def repair(path: Path) -> None:
    """End the last line of a file: cut it off where it is half, and give it an end where only that is missing.

    Raises InputError, the file left alone, where another line is no row.
    """
    if not path.exists():
        return
    for _ in whole_rows(path):
        pass
    size = path.stat().st_size
    start, tail = _tail(path, size)
    if not tail:
        return
    with path.open("r+b") as handle:
        try:
            json.loads(tail)
            handle.seek(size)
            handle.write(b"\n")
        except ValueError:
            handle.truncate(start)
