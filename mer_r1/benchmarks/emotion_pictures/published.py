"""EMO-R3's table of accuracies as data, and over which sets its means are (arXiv 2602.23802, Section 4).

A^I   accuracy on the set that was trained on (`in_domain`)
A^O   plain mean over the other sets
A     plain mean over all of them
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from mer_r1.benchmarks.emotion_pictures.layouts import PICTURE_SETS
from mer_r1.text import printable

UNTRAINED = "Vanilla"
MEANS = ("A^I", "A^O", "A")


@dataclass(frozen=True)
class PublishedCells:
    """One method's accuracies in percent: training set -> tested set -> accuracy, and its A^I, A^O and A as printed."""

    model: str
    cells: Mapping[str, Mapping[str, float]]
    means: tuple[float | None, ...]


@dataclass(frozen=True)
class PublishedPictures:
    """The paper's table, its source and what its numbers are."""

    title: str
    source: str
    note: str
    rows: tuple[PublishedCells, ...]


@cache
def published_pictures() -> PublishedPictures:
    """The table of published.yaml beside this file."""
    data: dict[str, Any] = yaml.safe_load(files(__package__).joinpath("published.yaml").read_text(encoding="utf-8"))
    rows = tuple(
        PublishedCells(
            row["model"],
            {train: dict(zip(data["test"][train], row[train], strict=True)) for train in data["train"]},
            tuple(row["means"]),
        )
        for row in data["rows"]
    )
    return PublishedPictures(data["title"], data["source"], data["note"], rows)


def domains(sets: Iterable[str], in_domain: str | None) -> dict[str, list[str]]:
    """Over which sets A^I, A^O and A are means; none for the first two without `in_domain`."""
    names = list(sets)
    if in_domain not in names:
        return {"A^I": [], "A^O": [], "A": names}
    return {"A^I": [in_domain], "A^O": [name for name in names if name != in_domain], "A": names}


def title_of(name: str) -> str:
    """What a set is called."""
    return PICTURE_SETS[name].title if name in PICTURE_SETS else printable(name)
