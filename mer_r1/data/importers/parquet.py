"""Parquet files, one or the shards of a split; classes and media as `datasets` describes them in the file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from mer_r1.data.importers.embedded import class_names, media_cell, media_columns
from mer_r1.data.importers.table import Choice, Row, Table, ends_in, table_of
from mer_r1.errors import InputError, first_line

_BATCH = 64  # rows: media may be large


def takes(source: str) -> bool:
    """A name that ends in .parquet."""
    return ends_in(source, ".parquet", ".pq")


def read(source: str, choice: Choice) -> Table:
    """The table; a row's line is its number."""
    return read_shards(Path(source), [Path(source)])


def read_shards(path: Path, shards: Sequence[Path]) -> Table:
    """The rows of several files with the same columns as one table, which is called `path`."""
    rows: list[Row] = []
    columns: tuple[str, ...] = ()
    classes: dict[str, tuple[str, ...]] = {}
    for shard in shards:
        names, features, found = _read(shard)
        columns = columns or names
        classes |= class_names(features)
        first = len(rows)
        for index, cells in enumerate(found):
            rows.append(Row(first + index + 1, cells))
    return table_of(
        path, "Parquet" + (f", {len(shards)} files" if len(shards) > 1 else ""), columns, rows, classes=classes
    )


def _read(path: Path) -> tuple[tuple[str, ...], dict[str, Any], Iterator[dict[str, Any]]]:
    """The columns of a file, what `datasets` says of them, and the rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a Parquet file that can be read ({first_line(error)})") from None
    columns = tuple(name for name in file.schema_arrow.names if not name.startswith("__index_level_"))
    features = _features(file.schema_arrow.metadata or {})
    return columns, features, _rows(path, file, columns, features)


def _features(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """The features in a file's metadata; empty where it has none, or none that can be read."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _rows(path: Path, file: Any, columns: Sequence[str], features: dict[str, Any]) -> Iterator[dict[str, Any]]:
    import pyarrow as pa

    kinds = media_columns(features)

    @lru_cache(maxsize=1)
    def column_of(group: int, name: str) -> Any:
        return file.read_row_group(group, columns=[name]).column(name)

    def value_of(group: int, name: str, index: int) -> Any:
        return column_of(group, name)[index].as_py()

    try:
        for group in range(file.num_row_groups):
            batches = file.iter_batches(_BATCH, row_groups=[group], columns=[*columns])
            for index, values in enumerate(row for batch in batches for row in batch.to_pylist()):
                yield {
                    name: media_cell(value, kinds.get(name), partial(value_of, group, name, index))
                    for name, value in values.items()
                }
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read to its end ({first_line(error)}); fetch it again") from None
