"""Bootstrap intervals and the paired bootstrap test, over sufficient statistics.

A corpus measure is a function of sums over samples, so a resample is one row of weights times one table:
B resamples of N samples with K terms cost a (B, N) x (N, K) product, whatever the measure. Where few
samples differ in their terms, how often each distinct row is drawn comes straight from the multinomial law: the same
distribution, for less.

    interval   percentiles of the resampled measure (95 %: 2.5 and 97.5), N samples drawn with replacement
    clusters   whole clusters are drawn instead (one speaker, one dialogue): samples within one are not independent
    paired     both systems are resampled with the same draw; two-sided p = (1 + #{|d* - d| >= |d|}) / (1 + B)
    Holm       of m p-values the i-th smallest times (m - i + 1), never below the one before it, at most 1

Convention: a resample whose measure is NaN (no sample counts) is left out of the percentiles; an interval is NaN when
all are, and where there is one sample or one cluster alone, for then every resample is the whole. The seed is fixed, so
that one file has one interval. Source: Efron and Tibshirani (1993), percentile method; Koehn (2004) for the paired
test; Holm (1979) for several comparisons. Shape letters: N samples, C clusters, D distinct rows of terms, B resamples,
K terms, M measures.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
NUM_RESAMPLES = 1000

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Measures = Callable[[Floats], Floats]  # sums (B, K) -> measures (B, M)

_CELLS_AT_ONCE = 500_000  # weights held at a time: 4 MB, and as much for the draws, stay in the cache;
_MIN_ROWS = 16  # but at least so many resamples, or the product is slow (26 MB for 100,000 samples)
_DRAWS_A_COUNT = 12  # one multinomial count takes as long as this many draws of one sample


class Interval(NamedTuple):
    """Bounds of a measure; NaN when the measure is not defined, or is that of one sample or cluster alone."""

    low: float
    high: float

    def to_json(self) -> list[float | None]:
        """[low, high], NaN as None."""
        return [or_none(self.low), or_none(self.high)]


@dataclass(frozen=True)
class Difference:
    """Second system minus first, its interval, and the two-sided p-value of no difference (NaN where undefined)."""

    delta: float
    low: float
    high: float
    p_value: float


def ratio(above: Floats, below: Floats) -> Floats:
    """The quotients of two arrays, NaN where `below` is 0: nothing was counted, or drawn."""
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def mean_of_all(values: Sequence[float | None]) -> float | None:
    """The plain mean, such as over sets; None where a value is missing or there is none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def bootstrap_intervals(
    terms_NK: Floats,
    measures: Measures,
    clusters: Sequence[Hashable | None] | None = None,
    *,
    num_resamples: int = NUM_RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> tuple[Interval, ...]:
    """One interval a measure. `clusters` names each sample's cluster; None is a cluster of its own.

    Raises ValueError for a level outside (0, 1), no resamples, or clusters of another length.
    """
    _check(len(terms_NK), clusters, num_resamples, level)
    terms_CK = _by_cluster(terms_NK, clusters)
    if len(terms_CK) == 1:  # every resample is the sample: that is no interval
        return tuple(Interval(math.nan, math.nan) for _ in measures(terms_CK)[0])
    measured_BM = measures(_resampled_sums(terms_CK, num_resamples, seed))
    return tuple(_interval(column, level) for column in measured_BM.T)


def paired_bootstrap(
    first_NK: Floats,
    second_NK: Floats,
    measures: Measures,
    clusters: Sequence[Hashable | None] | None = None,
    *,
    num_resamples: int = NUM_RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> tuple[Difference, ...]:
    """Second minus first for each measure; row n of both tables must be the same sample.

    Raises ValueError as `bootstrap_intervals` does, and when the two tables differ in shape.
    """
    if first_NK.shape != second_NK.shape:
        raise ValueError(
            f"tables of {first_NK.shape} and {second_NK.shape}; give both systems' terms of the same samples"
        )
    _check(len(first_NK), clusters, num_resamples, level)
    width = first_NK.shape[1]
    both_CK = _by_cluster(np.concatenate([first_NK, second_NK], axis=1), clusters)
    drawn_BK = _resampled_sums(both_CK, num_resamples, seed)
    whole_1K = both_CK.sum(axis=0)[None]
    deltas_M = (measures(whole_1K[:, width:]) - measures(whole_1K[:, :width]))[0]
    drawn_BM = measures(drawn_BK[:, width:]) - measures(drawn_BK[:, :width])
    if len(both_CK) == 1:
        drawn_BM = np.full_like(drawn_BM, np.nan)
    return tuple(_difference(float(d), column, level) for d, column in zip(deltas_M, drawn_BM.T, strict=True))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of a family of comparisons, corrected for its size; a NaN is none of the family and stays."""
    order = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    corrected, highest = list(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def _check(num_samples: int, clusters: Sequence[object] | None, num_resamples: int, level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; give a fraction between 0 and 1, such as 0.95")
    if num_resamples < 1:
        raise ValueError(f"num_resamples is {num_resamples}; give at least 1")
    if clusters is not None and len(clusters) != num_samples:
        raise ValueError(f"{len(clusters)} clusters for {num_samples} samples; give one a sample")


def _by_cluster(terms_NK: Floats, clusters: Sequence[Hashable | None] | None) -> Floats:
    """Sums of each cluster, (C, K), in the order of first appearance."""
    if clusters is None:
        return terms_NK
    indices: dict[Hashable, int] = {}
    index_N = [
        indices.setdefault((n,) if name is None else ("", name), len(indices)) for n, name in enumerate(clusters)
    ]
    sums_CK = np.zeros((len(indices), terms_NK.shape[1]))
    np.add.at(sums_CK, index_N, terms_NK)
    return sums_CK


def _resampled_sums(terms_CK: Floats, num_resamples: int, seed: int) -> Floats:
    """(B, K): the terms of C units drawn with replacement, added up."""
    sums_BK = np.zeros((num_resamples, terms_CK.shape[1]))
    if not terms_CK.size:
        return sums_BK
    generator = np.random.default_rng(seed)
    rows_DK, repeats_D = _distinct_rows(terms_CK)
    few = len(rows_DK) * _DRAWS_A_COUNT < len(terms_CK)
    table = rows_DK if few else terms_CK
    at_once = max(_MIN_ROWS, _CELLS_AT_ONCE // len(table))
    for start in range(0, num_resamples, at_once):
        part = sums_BK[start : start + at_once]
        if few:
            chances_D = repeats_D / len(terms_CK)
            weights = generator.multinomial(len(terms_CK), chances_D, size=len(part)).astype(np.float64)
        else:
            weights = _drawn(generator, len(part), len(terms_CK))
        np.matmul(weights, table, out=part)
    return sums_BK


def _distinct_rows(terms_CK: Floats) -> tuple[Floats, Ints]:
    """The different rows, (D, K), in the order of first appearance, and how many units have each, (D,)."""
    rows = np.ascontiguousarray(terms_CK, dtype=np.float64)
    repeats = Counter(rows.view(f"V{rows.itemsize * rows.shape[1]}").ravel().tolist())
    return np.frombuffer(b"".join(repeats)).reshape(len(repeats), -1), np.array(list(repeats.values()), dtype=np.int64)


def _drawn(generator: np.random.Generator, num_rows: int, num_units: int) -> Floats:
    """(num_rows, C): how often each unit is drawn when as many are drawn as there are."""
    draws = generator.integers(num_units, size=(num_rows, num_units), dtype=np.int64)
    weights = np.empty((num_rows, num_units))
    for row, drawn in zip(weights, draws, strict=True):
        row[:] = np.bincount(drawn, minlength=num_units)
    return weights


def _interval(values_B: Floats, level: float) -> Interval:
    finite = values_B[np.isfinite(values_B)]
    if not len(finite):
        return Interval(float("nan"), float("nan"))
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return Interval(low, high)


def _difference(delta: float, drawn_B: Floats, level: float) -> Difference:
    finite = drawn_B[np.isfinite(drawn_B)]
    low, high = _interval(drawn_B, level)
    if not len(finite) or not np.isfinite(delta):
        return Difference(delta, low, high, float("nan"))
    as_far = int(np.count_nonzero(np.abs(finite - delta) >= abs(delta)))
    return Difference(delta, low, high, (1 + as_far) / (1 + len(finite)))


def or_none(value: float) -> float | None:
    """A number as a JSON value: None for NaN and infinity."""
    return float(value) if math.isfinite(value) else None
