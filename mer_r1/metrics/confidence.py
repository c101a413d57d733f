"""Confidence of fast and slow thinking on right and wrong categories: the numbers of the thinking paradox.

For one wheel, conf(c) is the log of the probability mass of category c's words at the answer's first token (MER-R1
Definition 1, Eq. 1; computed by the model's side). With G the gold categories and H the three most confident others:

    conf_gt  = mean of conf over G            conf_neg = mean of conf over H
    margin   = conf_gt - conf_neg             (Definition 2, Eq. 2)
    retained = sum |G ∩ fast ∩ slow| / sum |G ∩ fast|      (Appendix C, "retained hit rate")

Convention: H is chosen per thinking mode, from that mode's own confidences; with fewer than three other categories it
is all of them. A category whose confidence is NaN (no word of it in the vocabulary) is not there. A sample without gold
(or without others) is NaN and stays out of means. Deltas are fast minus slow, as in the paper's Figure 3. The retained
rate is pooled over samples, NaN when fast hit nothing. Shape letters: N samples, C categories of one wheel.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

NUM_HARD_NEGATIVES = 3


@dataclass(frozen=True)
class Confidence:
    """Of each sample the confidence on gold, on hard negatives, and their difference (NaN where undefined)."""

    gold_N: Floats
    negative_N: Floats
    margin_N: Floats


class ConfidenceMeans(NamedTuple):
    """Means over the samples where each is defined, and how many those are (gold; margin)."""

    gold: float
    negative: float
    margin: float
    num_gold: int
    num_margin: int


class Retained(NamedTuple):
    """Gold categories that fast predicted, how many of them slow still has, and the ratio."""

    num_fast_hits: int
    num_kept: int
    rate: float


def category_mask(sets: Sequence[AbstractSet[int]], num_categories: int) -> Mask:
    """Sets of category ids -> (N, C) booleans. Raises ValueError for an id outside the wheel."""
    mask = np.zeros((len(sets), num_categories), dtype=np.bool_)
    for row, ids in enumerate(sets):
        for category in ids:
            if not 0 <= category < num_categories:
                raise ValueError(f"category id {category} in a wheel of {num_categories}; use ids of the same wheel")
            mask[row, category] = True
    return mask


def confidence(log_confidence_NC: Floats, gold_NC: Mask, num_negatives: int = NUM_HARD_NEGATIVES) -> Confidence:
    """Confidence on gold and on the hard negatives of each sample of one wheel, and the margin.

    Raises ValueError when the shapes differ or `num_negatives` is below 1.
    """
    if log_confidence_NC.shape != gold_NC.shape:
        raise ValueError(f"confidences {log_confidence_NC.shape} and gold {gold_NC.shape} differ; give (N, C) for both")
    if num_negatives < 1:
        raise ValueError(f"num_negatives is {num_negatives}; give at least 1")
    others_NC = np.where(gold_NC, np.nan, log_confidence_NC)
    hardest_NH = np.argsort(-others_NC, axis=1, kind="stable")[:, :num_negatives]  # NaN, not there, sorts last
    hard_NC = np.zeros_like(gold_NC)
    np.put_along_axis(hard_NC, hardest_NH, True, axis=1)
    gold_N = _masked_mean(log_confidence_NC, gold_NC & ~np.isnan(log_confidence_NC))
    negative_N = _masked_mean(log_confidence_NC, hard_NC & ~np.isnan(others_NC))
    with np.errstate(invalid="ignore"):
        return Confidence(gold_N, negative_N, gold_N - negative_N)


def fast_minus_slow(fast: Confidence, slow: Confidence) -> Confidence:
    """The difference of each number of each sample, fast minus slow."""
    with np.errstate(invalid="ignore"):
        return Confidence(*(getattr(fast, field.name) - getattr(slow, field.name) for field in fields(Confidence)))


def confidence_means(values: Confidence) -> ConfidenceMeans:
    """Means over the samples where a number is defined; NaN where there is none."""
    columns = [column[~np.isnan(column)] for column in (values.gold_N, values.negative_N, values.margin_N)]
    gold, negative, margin = (float(column.mean()) if len(column) else float("nan") for column in columns)
    return ConfidenceMeans(gold, negative, margin, num_gold=len(columns[0]), num_margin=len(columns[2]))


def retained_hits(gold_NC: Mask, fast_NC: Mask, slow_NC: Mask) -> Retained:
    """How many right categories of the fast answer the slow answer keeps, pooled over samples."""
    hits_NC = gold_NC & fast_NC
    hits, kept = int(hits_NC.sum()), int((hits_NC & slow_NC).sum())
    return Retained(hits, kept, kept / hits if hits else float("nan"))


def _masked_mean(values_NC: Floats, mask_NC: Mask) -> Floats:
    counts_N = mask_NC.sum(axis=1)
    sums_N = np.where(mask_NC, values_NC, 0.0).sum(axis=1)
    means_N: Floats = np.divide(sums_N, counts_N, out=np.full(len(counts_N), np.nan), where=counts_N > 0)
    return means_N
