"""Set precision, recall, F1 and HIT of open-vocabulary emotion words over emotion wheels, as MER-UniBench counts them.

Sufficient statistics first: a sample is three counts a wheel (overlap, gold, predicted), from which the evaluator, the
bootstrap and the reward are all computed. With g and p the sets of categories of gold and predicted words in wheel k
(synonyms collapse; a word that no wheel knows is dropped, or is a category of its own in every wheel, by the protocol
that the wheels were compiled for):

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

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mer_r1.metrics.statistics import Floats, ratio

if TYPE_CHECKING:
    from mer_r1.emotion.wheel import MappedWords, WheelSet

MEASURES = ("precision", "recall", "f1", "hit")


class SetStatistics(NamedTuple):
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


def set_statistics(gold_words: Iterable[str], predicted_words: Iterable[str], wheels: WheelSet) -> SetStatistics:
    """The counts of one sample from its words. Reward and evaluator both count so."""
    return statistics_of(wheels.map_words(gold_words), wheels.map_words(predicted_words), wheels)


def statistics_of(gold: MappedWords, predicted: MappedWords, wheels: WheelSet) -> SetStatistics:
    """The counts of one sample from what `wheels.map_words` gives of its two sides."""
    count = wheels.count
    counts = SetStatistics(count(gold[0] & predicted[0]), count(gold[0]), count(predicted[0]))
    if wheels.protocol.oov == "count" and (gold[1] or predicted[1]):
        return _with_unmapped(counts, set(gold[1]), set(predicted[1]))
    return counts


def _with_unmapped(counts: SetStatistics, gold: set[str], predicted: set[str]) -> SetStatistics:
    """Each word that reaches no category as a category of its own, in every wheel."""
    both, of_gold, of_predicted = len(gold & predicted), len(gold), len(predicted)
    return SetStatistics(
        tuple([n + both for n in counts.overlap]),
        tuple([n + of_gold for n in counts.num_gold]),
        tuple([n + of_predicted for n in counts.num_predicted]),
    )


def stack(statistics: Sequence[SetStatistics], num_wheels: int = 5) -> StatisticsArrays:
    """The counts of many samples as three (N, W) arrays; `num_wheels` is asked only when there is no sample."""
    width = len(statistics[0].overlap) if statistics else num_wheels
    numbers = chain.from_iterable(chain.from_iterable(statistics))
    flat = np.fromiter(numbers, dtype=np.int64, count=3 * width * len(statistics))
    table = flat.reshape(len(statistics), 3, width)
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
    means = ratio(totals, counted)
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
