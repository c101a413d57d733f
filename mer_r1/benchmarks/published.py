"""Published tables as data: Tables 1 to 5 of MER-R1 and the main table of EMO-R3, in percent, means as printed.

They stand in published.yaml beside this file, the main table of a benchmark under its name. No row of OPPO (arXiv
2606.25325) or OneEmo (arXiv 2608.06013) is among them: their tables were not at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml


@dataclass(frozen=True)
class PublishedRow:
    """One system's numbers, a value a column, NaN where none is printed; `mode` where the table says it."""

    model: str
    values: tuple[float, ...]
    mode: str | None = None


@dataclass(frozen=True)
class PublishedTable:
    """A table with its source ("arXiv …, Table 1"), what its numbers are, and its rows in the paper's order.

    `benchmark` is the name of the benchmark it is of.
    """

    benchmark: str
    title: str
    source: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[PublishedRow, ...]

    def rows_of(self, *models: str, mode: str | None = None) -> tuple[PublishedRow, ...]:
        """The rows of these systems, of one mode where it is named."""
        return tuple(row for row in self.rows if row.model in models and mode in (None, row.mode))


def tables_of(benchmark: str) -> tuple[PublishedTable, ...]:
    """All published tables of a benchmark, in the order of the paper."""
    return tuple(table for table in published().values() if table.benchmark == benchmark)


@cache
def published() -> Mapping[str, PublishedTable]:
    """All tables by name: the benchmarks', "unified" (F1 on basic emotions), "ablation", "calibration"."""
    tables = yaml.safe_load(files(__package__).joinpath("published.yaml").read_text(encoding="utf-8"))
    for name, table in tables.items():
        table.setdefault("benchmark", name)
        table["columns"] = tuple(table["columns"])
        table["rows"] = tuple(PublishedRow(**row | {"values": tuple(row["values"])}) for row in table["rows"])
    return {name: PublishedTable(**table) for name, table in tables.items()}
