"""Are the category confidences probabilities? The reliability diagram and the expected calibration error.

For every clip, wheel and category the confidence p = exp(conf) (MER-R1 Definition 1) at the first token of the answer's
first word is set against whether the category is a gold one, y in {0, 1}. The pairs of all wheels are pooled and sorted
into NUM_BINS bins of equal width:

    ECE = sum over bins |sum of p - sum of y| / number of pairs
    interval = [2 ECE - b_high, 2 ECE - b_low], cut to [0, 1], where b are the bounds over resampled clips (or clusters)

A resample adds its own noise to every |.|, so its ECE lies above that of the sample, as that lies above the true one:
the interval is therefore the reflected (basic) one (Davison and Hinkley, 1997), and may lie below the estimate.

`top` is the same of the most confident category of each wheel alone, as is usual for classifiers (Guo et al., 2017);
over all categories most pairs lie in the lowest bin, where a confidence is hardly wrong, so that ECE is small.

The first word alone, for there p is a share of the model's own distribution. What averages over the words is none: exp
of a mean log falls below the mean of p, and a mean of calibrated probabilities is itself under-confident (Ranjan and
Gneiting, 2010), so that the error would grow with the number of words.

Convention: a wheel is left out of a clip without gold in it; a category without a confidence, and an answer that is an
error or holds none at its first word (0.1.0 wrote such), are left out. The shares of one position add up to at most 1,
but for ids that categories share, so of a clip with two gold categories both cannot be near 1: such clips read as
under-confident by construction. Shape letters: N clips, C categories of a wheel, B resamples, K bins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mer_r1.analysis.tables import Estimate, Mask, by_wheel, category_bits, estimate, gold_categories, log_confidences
from mer_r1.data.sample import Prediction, Sample
from mer_r1.emotion.wheel import WheelSet
from mer_r1.metrics.statistics import Floats, bootstrap_intervals, ratio

NUM_BINS = 10


@dataclass(frozen=True)
class Bin:
    """A bin of confidence: its bounds, its pairs, their mean confidence and the share that is gold (None: no pair)."""

    low: float
    high: float
    count: int
    confidence: float | None
    gold: float | None


@dataclass(frozen=True)
class Binned:
    """The bins, and the expected calibration error with its 95 % interval (None: no pair, or one clip alone)."""

    bins: tuple[Bin, ...]
    ece: Estimate

    def to_json(self) -> dict[str, Any]:
        """As JSON values, the error and its interval apart."""
        ece = self.ece
        return {"bins": [asdict(item) for item in self.bins], "ece": ece.value, "interval": [ece.low, ece.high]}


@dataclass(frozen=True)
class Reliability:
    """The reliability over all categories and over the top one of each wheel, on `n` clips that have a confidence."""

    n: int
    every: Binned
    top: Binned

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"n": self.n, "every": self.every.to_json(), "top": self.top.to_json()}


def reliability(
    samples: Sequence[Sample], predictions: Mapping[str, Prediction], wheels: WheelSet
) -> Reliability | None:
    """The reliability of the confidences of one mode, given by id; None where no answer holds one at its first word.

    Raises InputError where the confidences are those of other wheels.
    """
    kept = [
        sample
        for sample in samples
        if (row := predictions.get(sample.id)) and row.status != "error" and row.categories_first
    ]
    if not kept:
        return None
    all_gold_NC = category_bits([gold_categories(sample.labels, wheels) for sample in kept], wheels)
    rows = [predictions[sample.id] for sample in kept]
    table_NC = np.exp(np.minimum(0.0, log_confidences(rows, wheels, "first")))
    every, top = (np.zeros((len(kept), 3 * NUM_BINS)) for _ in range(2))
    for part in by_wheel(wheels):
        gold_NC, confidence_NC = all_gold_NC[:, part], table_NC[:, part]
        confidence_NC[~gold_NC.any(axis=1)] = np.nan
        every += _binned(confidence_NC, gold_NC)
        best_N1 = np.argmax(np.where(np.isnan(confidence_NC), -1.0, confidence_NC), axis=1)[:, None]
        top += _binned(np.take_along_axis(confidence_NC, best_N1, axis=1), np.take_along_axis(gold_NC, best_N1, axis=1))
    clusters = [sample.cluster for sample in kept]
    return Reliability(len(kept), _with_error(every, clusters), _with_error(top, clusters))


def _binned(confidence_NC: Floats, gold_NC: Mask) -> Floats:
    """(N, 3K): of each clip and bin the pairs, the sum of their confidences, and the gold ones."""
    known = ~np.isnan(confidence_NC)
    clip, _ = np.nonzero(known)
    values, right = confidence_NC[known], gold_NC[known].astype(np.float64)
    index = clip * NUM_BINS + np.minimum((values * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    size = len(confidence_NC) * NUM_BINS
    parts = [np.bincount(index, weights, size) for weights in (np.ones(len(values)), values, right)]
    return np.concatenate([part.reshape(-1, NUM_BINS) for part in parts], axis=1)


def _ece(sums_BK: Floats) -> Floats:
    """(B, 3K) -> (B, 1)."""
    count, confidence, gold = np.split(sums_BK, 3, axis=1)
    return ratio(np.abs(confidence - gold).sum(axis=1), count.sum(axis=1))[:, None]


def _with_error(terms: Floats, clusters: Sequence[str | None]) -> Binned:
    sums = terms.sum(axis=0)
    count, confidence, gold = np.split(sums, 3)
    edges = [index / NUM_BINS for index in range(NUM_BINS + 1)]
    bins = tuple(
        Bin(low, high, int(n), p / n if n else None, y / n if n else None)
        for low, high, n, p, y in zip(
            edges, edges[1:], count.tolist(), confidence.tolist(), gold.tolist(), strict=False
        )
    )
    ece = float(_ece(sums[None])[0, 0])
    drawn = bootstrap_intervals(terms, _ece, clusters)[0]
    low, high = np.clip([2 * ece - drawn.high, 2 * ece - drawn.low], 0.0, 1.0).tolist()  # NaN stays NaN
    return Binned(bins, estimate(ece, low, high))
