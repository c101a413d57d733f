"""The published tables as data: MER-UniBench, MME-Emotion and the ablations (MER-R1 Tables 1 to 5), in percent.

They stand in published.yaml beside this file. Means are as printed; those of MME-Emotion are means over samples, which
the table itself does not give.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

BESIDE = {"mer-unibench": ("AffectGPT-R1", "Baseline", "MER-R1")}
"""The rows printed beside the model's where not all are."""


@dataclass(frozen=True)
class PublishedRow:
    """One system's numbers, a value a column; `mode` is "fast" or "slow" where the table says it."""

    model: str
    values: tuple[float, ...]
    mode: str | None = None


@dataclass(frozen=True)
class PublishedTable:
    """A table with its source ("arXiv …, Table 1"), what its numbers are, and its rows in the paper's order."""

    name: str
    title: str
    source: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[PublishedRow, ...]

    def rows_of(self, *models: str, mode: str | None = None) -> tuple[PublishedRow, ...]:
        """The rows of these systems, of one mode where it is named."""
        return tuple(row for row in self.rows if row.model in models and mode in (None, row.mode))


@cache
def published() -> Mapping[str, PublishedTable]:
    """All tables by name: the two benchmarks, "unified" (F1 on basic emotions), "ablation", "calibration"."""
    text = files(__package__).joinpath("published.yaml").read_text(encoding="utf-8")
    data: dict[str, Any] = yaml.safe_load(text)
    source = data.pop("source")
    return {name: _table(name, source, table) for name, table in data.items()}


def _table(name: str, source: str, table: dict[str, Any]) -> PublishedTable:
    rows = tuple(PublishedRow(row["model"], tuple(row["values"]), row.get("mode")) for row in table["rows"])
    return PublishedTable(
        name, table["title"], f"{source}, {table['place']}", table["note"], tuple(table["columns"]), rows
    )
