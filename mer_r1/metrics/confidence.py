"""Confidence of fast and slow thinking on right and wrong categories: the numbers of the thinking paradox.

For one wheel, conf(c) is the log of the probability mass of category c's words at the first token of an answer word
(MER-R1 Definition 1, Eq. 1; models/category_confidence.py), of the first word or averaged over the words: the caller
says which. With G the gold categories and H the three most confident others:

    conf_gt  = mean of conf over G            conf_neg = mean of conf over H
    margin   = conf_gt - conf_neg             (Definition 2, Eq. 2)

Convention: H is chosen per thinking mode, from that mode's own confidences; with fewer than three other categories it
is all of them. A category whose confidence is NaN (no word of it in the vocabulary) is left out. A sample without gold
(or without others) is NaN. Means, deltas of the modes and the retained hit rate: analysis/paradox.py.
Shape letters: N samples, C categories of one wheel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mer_r1.metrics.statistics import Floats, ratio

Mask = NDArray[np.bool_]

NUM_HARD_NEGATIVES = 3


@dataclass(frozen=True)
class ConfidenceMargin:
    """Of each sample the confidence on gold, on hard negatives, and their difference (NaN where undefined)."""

    gold_N: Floats
    negative_N: Floats
    margin_N: Floats


def confidence_margin(
    log_confidence_NC: Floats, gold_NC: Mask, num_negatives: int = NUM_HARD_NEGATIVES
) -> ConfidenceMargin:
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
        return ConfidenceMargin(gold_N, negative_N, gold_N - negative_N)


def _masked_mean(values_NC: Floats, mask_NC: Mask) -> Floats:
    counts_N = mask_NC.sum(axis=1)
    sums_N = np.where(mask_NC, values_NC, 0.0).sum(axis=1)
    return ratio(sums_N, counts_N.astype(np.float64))
