"""Names of files that are tables and no manifests, and the command that makes a manifest of one."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

ENDINGS = (".csv", ".tsv", ".tab", ".xlsx", ".xlsm", ".parquet", ".pq")


def is_table(path: Path) -> bool:
    """Whether a file is a table by its name; one that ends in .json is, unless it is JSON lines of rows with an id."""
    name = path.name.lower()
    if not name.endswith(".json"):
        return name.endswith(ENDINGS)
    try:
        with path.open("rb") as handle:
            first = json.loads(handle.readline().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return path.is_file()
    return not (isinstance(first, dict) and "id" in first)


def prepare_command(path: Path, *options: str) -> str:
    """`mer-r1 prepare table` for a file."""
    name = f"{path.stem}_manifest.jsonl" if path.suffix.lower() == ".jsonl" else f"{path.stem}.jsonl"
    return shlex.join(
        ["mer-r1", "prepare", "table", str(path), "--media", "DIR", *options, "--out", str(path.with_name(name))]
    )
