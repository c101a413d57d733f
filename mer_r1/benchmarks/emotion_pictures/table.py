"""The tables of emotion pictures: one's own accuracies by set over EMO-R3's published cells, and a confusion matrix.

    A^I   accuracy on the set that was trained on (`in_domain`)
    A^O   plain mean over the other sets
    A     plain mean over all of them

Convention: one run is one training set, half a row of the published table, whose means are over both halves; published
rows beside one's own take the cells of the same training set, and their means are of the cells shown. Without
`in_domain` only the untrained model stands beside. The variants of a set ("webemo-25") stand beside its published
column: whether they are the paper's labels is not known. Fractions come in, percent go out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from mer_r1.benchmarks.emotion_pictures.layouts import PICTURE_SETS
from mer_r1.benchmarks.mer_unibench.table import Grid, mean_of_all, percent
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
    """The table of pictures_published.yaml beside this file."""
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


def accuracy_grid(
    model: str, sets: Mapping[str, Mapping[str, float | None]], modes: Sequence[str], in_domain: str | None
) -> Grid:
    """One's own rows over published ones. `sets` maps a set to its modes to their accuracies."""
    heads = [f"{title_of(name)}{' (trained on)' if name == in_domain else ''}" for name in sets]
    rows = []
    for mode in modes:
        accuracies = {name: by_mode.get(mode) for name, by_mode in sets.items()}
        rows.append((printable(model), mode, *_cells(accuracies, in_domain)))
    for row in published_pictures().rows:
        train = (in_domain or "").partition("-")[0]
        if row.model == UNTRAINED or train in row.cells:
            known = {key: value for cells in row.cells.values() for key, value in cells.items()}
            cells = known if row.model == UNTRAINED else row.cells[train]
            found = {name: cells.get(name.partition("-")[0]) for name in sets}
            if any(value is not None for value in found.values()):
                fractions = {name: None if value is None else value / 100 for name, value in found.items()}
                rows.append((f"{row.model} (published)", "", *_cells(fractions, in_domain)))
    return Grid("Emotion pictures, accuracy in %", ("", "", *heads, *MEANS), tuple(rows))


def published_grid() -> Grid:
    """The published table whole, as it is printed."""
    table = published_pictures()
    heads = [f"{title_of(train)} → {title_of(test)}" for train, cells in table.rows[0].cells.items() for test in cells]
    rows = tuple(
        (
            row.model,
            *(f"{value:.2f}" for cells in row.cells.values() for value in cells.values()),
            *("-" if value is None else f"{value:.2f}" for value in row.means),
        )
        for row in table.rows
    )
    return Grid(f"{table.title}, accuracy in % ({table.source})", ("", *heads, *MEANS), rows, num_names=1)


def confusion_grid(name: str, mode: str, numbers: Mapping[str, Any]) -> Grid:
    """Gold labels down, answers across, and the recall of each label; of the JSON values of an AccuracyReport."""
    confusion: Mapping[str, Mapping[str, int]] = numbers["confusion"]
    rows = tuple(
        (
            printable(gold),
            *(str(num) if num else "·" for num in counts.values()),
            f"{100 * numbers['recalls'][gold]['recall']:.1f}",
        )
        for gold, counts in confusion.items()
    )
    columns = tuple(printable(item) for item in next(iter(confusion.values())))
    return Grid(f"{title_of(name)}, {mode}: gold down, answers across", ("", *columns, "recall %"), rows, num_names=1)


def title_of(name: str) -> str:
    """What a set is called."""
    return PICTURE_SETS[name].title if name in PICTURE_SETS else printable(name)


def _cells(accuracies: Mapping[str, float | None], in_domain: str | None) -> list[str]:
    means = [mean_of_all([accuracies[name] for name in names]) for names in domains(accuracies, in_domain).values()]
    return [percent(value) for value in (*accuracies.values(), *means)]
