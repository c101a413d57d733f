"""Rows as Parquet files with the features of Hugging Face `datasets`, files embedded.

`load_dataset(FOLDER)` reads data/NAME-00000-of-0000K.parquet as the split NAME, and `hf upload` makes it a data set of
the Hub. The features stand in the file's metadata, so that films, sound and pictures come out as such. Bytes of files
are embedded and their paths cut down to the name: the folder can be moved, and no path of this machine is in it.
Memory: BATCH_BYTES of files. A file is closed at SHARD_BYTES.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mer_r1.data.files import put_new
from mer_r1.errors import InputError

BATCH_BYTES, SHARD_BYTES = 64 * 2**20, 500 * 2**20

Cell = dict[str, Any]
"""A file as `datasets` stores it: {"bytes", "path"}."""


def embedded(path: Path) -> Cell:
    """A file as a cell. Raises InputError where it cannot be read."""
    try:
        return {"bytes": path.read_bytes(), "path": path.name}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a readable file") from None


def write_parquet(folder: Path, name: str, rows: Iterable[dict[str, Any]], features: Any) -> list[Path]:
    """Write rows below `folder`/data as the split `name` and return the files.

    `features` is a `datasets.Features`. Raises InputError where files of that split hold something else.
    """
    import pyarrow
    from pyarrow import parquet

    place = folder / "data"
    place.mkdir(parents=True, exist_ok=True)
    schema = features.arrow_schema
    made: list[Path] = []
    batches = _batches(rows)
    batch = next(batches, None)
    while batch is not None:
        made.append(place / f".{name}-{len(made):05d}.new")
        size = 0
        with parquet.ParquetWriter(made[-1], schema) as writer:
            while batch is not None and size < SHARD_BYTES:
                writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
                size += sum(map(_num_bytes, batch))
                batch = next(batches, None)
    names = {place / f"{name}-{index:05d}-of-{len(made):05d}.parquet": path for index, path in enumerate(made)}
    if other := sorted({*place.glob(f"{name}-[0-9]*-of-[0-9]*.parquet")} - names.keys()):
        for path in made:
            path.unlink()
        raise InputError(f"{other[0]} is of an earlier export; remove it, or give another folder with --out")
    put_new(names)
    return [*names]


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Rows in lists of at most a thousand, and of about BATCH_BYTES of files."""
    batch: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += _num_bytes(row)
        if size >= BATCH_BYTES or len(batch) == 1000:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _num_bytes(row: dict[str, Any]) -> int:
    """The bytes of a row's files."""
    cells = [item for value in row.values() for item in (value if isinstance(value, list) else [value])]
    return sum(len(cell["bytes"]) for cell in cells if isinstance(cell, dict) and "bytes" in cell)
