"""Categories and confidences of many clips as tables, a column a category of all wheels; numbers with intervals.

The columns of wheel k begin at `emotion.wheel.shifts(categories_of)[k]`, as its bits do in a packed set.
Shape letters: N clips, C categories of all wheels together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from mer_r1.data.labels import read_labels
from mer_r1.data.sample import Position, Prediction
from mer_r1.emotion.compiled import NEUTRAL, shifts
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.metrics.statistics import Floats, or_none
from mer_r1.text import printable

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The interval, where it has both bounds."""
        return None if self.low is None or self.high is None else (self.low, self.high)


def estimate(value: float, low: float, high: float) -> Estimate:
    """The estimate of these numbers, NaN as None."""
    return Estimate(or_none(value), or_none(low), or_none(high))


def gold_categories(labels: object, wheels: WheelSet) -> int:
    """The categories of a gold label field, packed; its words are read as the scorer reads them."""
    return wheels.map_words(read_labels(labels, wheels.protocol.parser)[0])[0]


def category_bits(packed: Sequence[int], wheels: WheelSet) -> Mask:
    """Packed categories as (N, C) booleans."""
    indices: dict[int, int] = {}
    index_N = [indices.setdefault(item, len(indices)) for item in packed]  # few sets are different
    width = sum(len(names) for names in wheels.categories_of)
    rows = np.array([[item >> bit & 1 for bit in range(width)] for item in indices], dtype=np.bool_)
    return rows.reshape(-1, width)[index_N]


def log_confidences(rows: Sequence[Prediction], wheels: WheelSet, position: Position) -> Floats:
    """The log-confidence of every category at this position of the answers, (N, C); NaN where there is none.

    Raises InputError for a category that is not of these wheels, at either position.
    """
    allowed = {
        wheel: frozenset({*names, NEUTRAL}) for wheel, names in zip(wheels.names, wheels.categories_of, strict=True)
    }
    found = (row.categories_at(position) or {} for row in rows)
    table = np.array(list(chain.from_iterable(_row(item, wheels) for item in found)), dtype=np.float64)
    for row in rows:
        for wheel, values in chain((row.categories or {}).items(), (row.categories_first or {}).items()):
            if wheel in allowed and not values.keys() <= allowed[wheel]:
                stranger = min(values.keys() - allowed[wheel])
                raise InputError(
                    f'id "{printable(row.id)}": {wheel} has no category "{printable(stranger)}"; name the wheels that '
                    "the predictions were made with"
                )
    table[~np.isfinite(table)] = np.nan
    return table.reshape(len(rows), -1)


def by_wheel(wheels: WheelSet) -> Iterator[slice]:
    """The columns of each wheel."""
    for start, names in zip(shifts(wheels.categories_of), wheels.categories_of, strict=True):
        yield slice(start, start + len(names))


def _row(found: Mapping[str, Mapping[str, float]], wheels: WheelSet) -> list[float]:
    values: list[float] = []
    for wheel, names in zip(wheels.names, wheels.categories_of, strict=True):
        logs = found.get(wheel)
        values += [logs.get(name, np.nan) for name in names] if logs else [np.nan] * len(names)
    return values
