"""Folders that are a data set by their layout.

    metadata.csv | .jsonl | .parquet     beside the media that it names, as `datasets` reads pictures, sounds and videos
    *-00000-of-00002.parquet             the shards of one or several splits
    dataset_info.json                    LLaMA-Factory's list of data sets, where it names one file of the folder
    one table                            of any form
    joy/1.jpg  anger/2.jpg               media in folders, which are the labels

With --split a folder of that name below is read.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import cast

from mer_r1.data.importers import delimited, excel, json_rows, parquet
from mer_r1.data.importers.saved_dataset import chosen_split
from mer_r1.data.importers.table import Choice, Importer, Row, Table, table_of
from mer_r1.data.media_names import media_kind
from mer_r1.errors import InputError
from mer_r1.text import printable

_READERS = tuple(cast(Importer, module) for module in (delimited, json_rows, excel, parquet))
_SHARD = re.compile(r"(.+?)-\d+-of-\d+\.parquet")
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
INFO = "dataset_info.json"


def takes(source: str) -> bool:
    """Any folder."""
    return Path(source).is_dir()


def read(source: str, choice: Choice) -> Table:
    """The table of the folder. Raises InputError where it holds none, or several."""
    folder = Path(source)
    if choice.split is not None and (folder / choice.split).is_dir():
        return read(str(folder / choice.split), Choice(choice.sheet, None, choice.encoding))
    for name in _METADATA:
        if (folder / name).is_file():
            return _read_file(folder / name, choice)
    if splits := _shards(folder):
        split = chosen_split(source, list(splits), choice)
        return parquet.read_shards(folder, splits[split])
    tables = _tables(folder)
    if len(tables) == 1:
        return _read_file(tables[0], choice)
    if tables:
        raise InputError(f"{folder}: several tables; give one of {printable(', '.join(map(str, tables)), 300)}")
    return _of_folders(folder)


def _read_file(path: Path, choice: Choice) -> Table:
    return next(reader for reader in _READERS if reader.takes(str(path))).read(str(path), choice)


def _shards(folder: Path) -> dict[str, list[Path]]:
    """The Parquet files of a folder, or of its folder data, by split."""
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for place in (folder, folder / "data"):
        for path in sorted(place.glob("*.parquet")) if place.is_dir() and not found else ():
            shard = _SHARD.fullmatch(path.name)
            found[shard[1] if shard else path.stem].append(path)
    return dict(found)


def _tables(folder: Path) -> list[Path]:
    """The tables in a folder: those that LLaMA-Factory's list names, else all."""
    here = [
        path
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != INFO and any(reader.takes(path.name) for reader in _READERS)
    ]
    names = {str(entry.get("file_name")) for entry in dataset_info(folder).values()}
    return [path for path in here if path.name in names] or [path for path in here if path.suffix != ".txt"]


def dataset_info(folder: Path) -> dict[str, dict[str, object]]:
    """LLaMA-Factory's list of data sets beside a table: name -> what it says; empty where there is none."""
    path = folder / INFO
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return {name: entry for name, entry in found.items() if isinstance(entry, dict)} if isinstance(found, dict) else {}


def _of_folders(folder: Path) -> Table:
    """Media in folders, each folder a label."""
    rows: list[Row] = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        for path in sorted(place.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if (kind := media_kind(path.name)) and path.is_file() and not path.name.startswith("."):
                rows.append(Row(len(rows) + 1, {kind: name, "label": place.name}))
    if not rows:
        raise InputError(f"{folder}: neither a table nor folders of media; give a table, or the folder of a data set")
    columns = tuple(dict.fromkeys(key for row in rows for key in row.cells))
    return table_of(folder, "folders of media, named by labels", columns, rows)
