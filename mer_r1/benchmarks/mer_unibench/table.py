"""MER-UniBench's two tables from the numbers of its sets: the official one, and one with F1 on all recognition sets.

    official       F1 on OV-MERD+, HIT on the four basic-emotion sets, WAF on the four sentiment sets (MER-R1 Table 1)
    unified        F1 in the place of HIT; R-Mean is the mean of the five recognition sets        (MER-R1 Table 3)

Convention: a mean is plain, over the sets that are there; with fewer than nine its head says of how many, and the
published rows beside it are means of the same sets. Fractions from 0 to 1 come in, percent go out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mer_r1.benchmarks.mer_unibench.layouts import SETS
from mer_r1.benchmarks.published import BESIDE, PublishedTable, published
from mer_r1.text import printable

OFFICIAL = {"fine": "f1", "basic": "hit", "sentiment": "waf"}
UNIFIED = {"fine": "f1", "basic": "f1", "sentiment": "waf"}
NAMES = {"f1": "F1", "hit": "HIT", "waf": "WAF"}

Numbers = Mapping[str, float | None]
"""The measures of one set in one mode."""


@dataclass(frozen=True)
class Grid:
    """A table as text: a row a system, its first `num_names` cells name and mode."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_names: int = 2


def means_of(numbers: Mapping[str, Numbers]) -> dict[str, Any]:
    """The means of one mode over the sets of `numbers`: "mean", "mean_f1" and "r_mean", None where a number is none."""
    recognition = [name for name in numbers if SETS[name].task != "sentiment"]
    return {
        "num_sets": len(numbers),
        "mean": mean_of_all([_value(numbers[name], name, OFFICIAL) for name in numbers]),
        "mean_f1": mean_of_all([_value(numbers[name], name, UNIFIED) for name in numbers]),
        "num_recognition_sets": len(recognition),
        "r_mean": mean_of_all([_value(numbers[name], name, UNIFIED) for name in recognition]),
    }


def official_grid(model: str, sets: Mapping[str, Mapping[str, Numbers]], modes: Sequence[str]) -> Grid:
    """One's own rows of the official table over published ones. `sets` maps a set to its modes to their numbers."""
    rows = [_own_row(model, mode, sets, OFFICIAL) for mode in modes]
    beside = [_published_row(published()["mer-unibench"], row.model, row.values, sets) for row in _beside()]
    return Grid("MER-UniBench, in %", (*_heads(sets, OFFICIAL), *_mean_heads(sets)), (*rows, *beside))


def unified_grid(model: str, sets: Mapping[str, Mapping[str, Numbers]], modes: Sequence[str]) -> Grid:
    """The same with F1 on the basic-emotion sets, and the mean of the recognition sets."""
    table = published()["unified"]
    rows = [_own_row(model, mode, sets, UNIFIED) for mode in modes]
    beside = [
        _published_row(table, row.model, row.values, sets, row.mode or "")
        for mode in modes
        for row in table.rows_of(*BESIDE["mer-unibench"], mode=mode)
    ]
    heads = (*_heads(sets, UNIFIED), *_mean_heads(sets, "R-Mean"))
    return Grid("With F1 on the basic-emotion sets, in %", heads, (*rows, *beside))


def published_grid(table: PublishedTable) -> Grid:
    """A published table whole, as it is printed."""
    digits = 1 if table.name == "mme-emotion" else 2
    num_names = 2 if any(row.mode for row in table.rows) else 1
    rows = tuple(
        (*(row.model, row.mode or "")[:num_names], *(f"{value:.{digits}f}" for value in row.values))
        for row in table.rows
    )
    return Grid(f"{table.title}, in % ({table.source})", (*[""] * num_names, *table.columns), rows, num_names)


def _beside() -> Sequence[Any]:
    return published()["mer-unibench"].rows_of(*BESIDE["mer-unibench"])


def _own_row(
    model: str, mode: str, sets: Mapping[str, Mapping[str, Numbers]], measures: Mapping[str, str]
) -> tuple[str, ...]:
    values = {name: _value(modes[mode], name, measures) for name, modes in sets.items()}
    return (printable(model), mode, *map(percent, values.values()), *_means(values, measures))


def _published_row(
    table: PublishedTable,
    model: str,
    values: Sequence[float],
    sets: Mapping[str, object],
    mode: str = "",
) -> tuple[str, ...]:
    """The columns of the sets that are there; means as printed where all nine are."""
    by_set = dict(zip(SETS, values, strict=False))
    here: dict[str, float | None] = {name: by_set[name] / 100 for name in sets}
    measures = UNIFIED if table.name == "unified" else OFFICIAL
    means = [f"{value:.2f}" for value in values[len(SETS) :]] if len(sets) == len(SETS) else _means(here, measures)
    return (f"{model} (published)", mode, *map(percent, here.values()), *means)


def _means(values: Mapping[str, float | None], measures: Mapping[str, str]) -> list[str]:
    """The cells of the means, that of the recognition sets first where the table has it."""
    cells = [percent(mean_of_all(list(values.values())))]
    recognition = [value for name, value in values.items() if SETS[name].task != "sentiment"]
    return [percent(mean_of_all(recognition)), *cells] if measures is UNIFIED else cells


def _heads(sets: Mapping[str, object], measures: Mapping[str, str]) -> tuple[str, ...]:
    return ("", "", *(f"{SETS[name].title} {NAMES[measures[SETS[name].task]]}" for name in sets))


def _mean_heads(sets: Mapping[str, object], *more: str) -> tuple[str, ...]:
    num = sum(SETS[name].task != "sentiment" for name in sets)
    whole = len(sets) == len(SETS)
    return (
        *(head if whole else f"{head} of {num} {_sets(num)}" for head in more),
        "Mean" if whole else f"Mean of {len(sets)} {_sets(len(sets))}",
    )


def _sets(num: int) -> str:
    return "set" if num == 1 else "sets"


def _value(numbers: Numbers, name: str, measures: Mapping[str, str]) -> float | None:
    return numbers.get(measures[SETS[name].task])


def mean_of_all(values: Sequence[float | None]) -> float | None:
    """The plain mean; None where a value is missing or there is none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def percent(value: float | None) -> str:
    """A fraction as a cell of a table."""
    return "-" if value is None else f"{100 * value:.2f}"
