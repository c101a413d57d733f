"""Parquet files, one or the shards of a split; classes and media as `datasets` describes them in the file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
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
        features, found = _read(shard)
        classes |= class_names(features)
        first = len(rows)
        for index, cells in enumerate(found):
            rows.append(Row(first + index + 1, cells))
        columns = columns or tuple(rows[-1].cells if rows else ())
    return table_of(
        path, "Parquet" + (f", {len(shards)} files" if len(shards) > 1 else ""), columns, rows, classes=classes
    )


def _read(path: Path) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a Parquet file that can be read ({first_line(error)})") from None
    known = (file.schema_arrow.metadata or {}).get(b"huggingface", b"{}")
    features: dict[str, Any] = json.loads(known).get("info", {}).get("features", {})
    return features, _rows(path, file, features)


def _rows(path: Path, file: Any, features: dict[str, Any]) -> Iterator[dict[str, Any]]:
    import pyarrow as pa

    kinds = media_columns(features)
    columns = [name for name in file.schema_arrow.names if not name.startswith("__index_level_")]

    @lru_cache(maxsize=1)
    def column_of(group: int, name: str) -> Any:
        return file.read_row_group(group, columns=[name]).column(name)

    def value_of(group: int, name: str, index: int) -> Any:
        return column_of(group, name)[index].as_py()

    try:
        for group in range(file.num_row_groups):
            batches = file.iter_batches(_BATCH, row_groups=[group], columns=columns)
            for index, values in enumerate(row for batch in batches for row in batch.to_pylist()):
                yield {
                    name: media_cell(value, kinds.get(name), partial(value_of, group, name, index))
                    for name, value in values.items()
                }
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read to its end ({first_line(error)}); fetch it again") from None
