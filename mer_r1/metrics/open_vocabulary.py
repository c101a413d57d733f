"""Set precision, recall, F1 and HIT of open-vocabulary emotion words over emotion wheels, as MER-UniBench counts them.

Sufficient statistics first: a sample is three counts a wheel (overlap, gold, predicted), from which the evaluator, the
bootstrap and the reward are all computed. With g and p the sets of categories of gold and predicted words in wheel k
(synonyms collapse, unknown words are dropped):

    g empty          the sample is left out of wheel k (n differs between wheels)
    p empty          precision = recall = 0
    else             precision = |g∩p| / |p|, recall = |g∩p| / |g|
    HIT              mean of |g∩p|: a count, so it exceeds 1 when a gold set has several categories
    F1 of wheel k    2PR / (P+R) of the corpus means P and R, not a mean of the samples' F1; NaN when P+R = 0
    reported         the plain mean over wheels of each measure; NaN when a wheel's value is NaN

Source: MER-UniBench (AffectGPT's `ew_metric.py`); MER-R1 Section 5 and Appendix B. Shape letters: N samples, B
resamples, W wheels.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MEASURES = ("precision", "recall", "f1", "hit")


class WordMapper(Protocol):
    """What maps words to categories: `WheelSet`, or a small fake in a test."""

    def map_set(self, words: tuple[str, ...], /) -> tuple[frozenset[int], ...]:
        """The set of category ids of `words` in each wheel."""
        ...


@dataclass(frozen=True)
class SetStatistics:
    """Counts of one sample, one entry a wheel: categories in both sets, in the gold set, in the predicted set."""

    overlap: tuple[int, ...]
    num_gold: tuple[int, ...]
    num_predicted: tuple[int, ...]


class StatisticsArrays(NamedTuple):
    """The counts of N samples."""

    overlap_NW: NDArray[np.int64]
    num_gold_NW: NDArray[np.int64]
    num_predicted_NW: NDArray[np.int64]


@dataclass(frozen=True)
class WheelScore:
    """One wheel: `n` samples with a non-empty gold set, and the measures over them (fractions; HIT may exceed 1)."""

    n: int
    precision: float
    recall: float
    f1: float
    hit: float


@dataclass(frozen=True)
class OpenVocabularyScore:
    """The mean over wheels of each measure, and the wheels."""

    precision: float
    recall: float
    f1: float
    hit: float
    wheels: tuple[WheelScore, ...]


def set_statistics(gold_words: Sequence[str], predicted_words: Sequence[str], wheels: WordMapper) -> SetStatistics:
    """The counts of one sample from its words. Reward and evaluator both start here."""
    return statistics_of_sets(wheels.map_set(tuple(gold_words)), wheels.map_set(tuple(predicted_words)))


def statistics_of_sets(gold: Sequence[AbstractSet[int]], predicted: Sequence[AbstractSet[int]]) -> SetStatistics:
    """The counts of one sample from the category sets of each wheel (as `WheelSet.map_set` gives them)."""
    if len(gold) != len(predicted):
        raise ValueError(f"gold has {len(gold)} wheels, predicted {len(predicted)}; map both with one WheelSet")
    return SetStatistics(
        overlap=tuple(len(g & p) for g, p in zip(gold, predicted, strict=True)),
        num_gold=tuple(len(g) for g in gold),
        num_predicted=tuple(len(p) for p in predicted),
    )


def stack(statistics: Sequence[SetStatistics], num_wheels: int = 5) -> StatisticsArrays:
    """The counts of many samples as three (N, W) arrays; `num_wheels` is asked only when there is no sample."""
    width = len(statistics[0].overlap) if statistics else num_wheels
    table = np.array([(s.overlap, s.num_gold, s.num_predicted) for s in statistics], dtype=np.int64)
    table = table.reshape(len(statistics), 3, width)
    return StatisticsArrays(table[:, 0], table[:, 1], table[:, 2])


def terms(arrays: StatisticsArrays) -> Floats:
    """What a corpus adds up: (N, 4, W) of [counted 0/1, precision, recall, overlap], all zero where gold is empty."""
    counted = arrays.num_gold_NW > 0
    overlap = np.where(counted, arrays.overlap_NW, 0).astype(np.float64)
    precision = overlap / np.maximum(arrays.num_predicted_NW, 1)
    recall = overlap / np.maximum(arrays.num_gold_NW, 1)
    return np.stack([counted.astype(np.float64), precision, recall, overlap], axis=1)


def measures(sums_B4W: Floats, undefined_f1: float = np.nan) -> Floats:
    """Sums of `terms` over samples -> (B, 4, W) of precision, recall, F1, HIT.

    NaN where no sample counts. F1 is `undefined_f1` where P+R = 0: NaN is the official value; the bootstrap and the
    search for a constant answer take 0, its limit.
    """
    counted, totals = sums_B4W[..., :1, :], sums_B4W[..., 1:, :]
    means = np.divide(totals, counted, out=np.full_like(totals, np.nan), where=counted > 0)
    precision, recall, hit = means[..., 0, :], means[..., 1, :], means[..., 2, :]
    both = precision + recall
    f1 = np.where(np.isnan(both), np.nan, undefined_f1)
    f1 = np.divide(2 * precision * recall, both, out=f1, where=both > 0)
    return np.stack([precision, recall, f1, hit], axis=-2)


def mean_over_wheels(measures_B4W: Floats) -> Floats:
    """(B, 4, W) -> (B, 4): the reported precision, recall, F1, HIT. A wheel's NaN makes the mean NaN, as officially."""
    return np.asarray(measures_B4W.mean(axis=-1), dtype=np.float64)


def bootstrap_measures(sums_BK: Floats) -> Floats:
    """Resampled sums of `terms`, flattened to K = 4W -> (B, 4): the reported measures, with 0 for an F1 of 0/0."""
    return mean_over_wheels(measures(sums_BK.reshape(len(sums_BK), 4, -1), undefined_f1=0.0))


def wheel_scores(arrays: StatisticsArrays) -> OpenVocabularyScore:
    """The corpus scores, exactly as the official code gives them. NaN where nothing can be scored."""
    per_wheel = measures(terms(arrays).sum(axis=0)[None])
    counts = (arrays.num_gold_NW > 0).sum(axis=0)
    rows = per_wheel[0].T.tolist()
    wheels = tuple(WheelScore(int(n), *row) for n, row in zip(counts, rows, strict=True))
    precision, recall, f1, hit = mean_over_wheels(per_wheel)[0].tolist()
    return OpenVocabularyScore(precision, recall, f1, hit, wheels)
