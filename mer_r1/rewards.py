"""Per-objective rewards of one response, from the very counts that the evaluator uses.

Formula (MER-R1 Eq. 4, which has no wheel index; this project takes the mean over the wheels whose gold set is not
empty). With g and p the category sets of one wheel:

    R_R = mean |g∩p| / |g|        R_P = mean |g∩p| / |p|, 0 when p is empty
    R_F = mean 2|g∩p| / (|g|+|p|)  (the per-sample F1 of the baseline; the corpus F1 is another number, see metrics)
    R_fmt = 1 when the text keeps strictly to its profile and reasons (an empty think block does not), else 0

Convention: an answer without words scores 0; when the gold words map in no wheel, R_R, R_P and R_F are NaN, "does not
apply", and stay out of their group. R_fmt always applies. The gold answer itself scores 1.0 on all. What an unknown
word costs, and whether "neutral" counts, is decided by the protocol that the wheels were compiled for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING

from mer_r1.metrics.open_vocabulary import SetStatistics, set_statistics
from mer_r1.sample import Response

if TYPE_CHECKING:
    from mer_r1.emotion.wheel import WheelSet


@dataclass(frozen=True)
class Rewards:
    """The rewards of one response, each in [0, 1] or NaN where it does not apply."""

    recall: float
    precision: float
    f1: float
    format: float


def score_response(response: Response, gold: Sequence[str], wheels: WheelSet) -> Rewards:
    """Rewards of a parsed response against the gold words."""
    recall, precision, f1 = sample_scores(set_statistics(gold, response.labels, wheels))
    return Rewards(
        recall=recall,
        precision=precision,
        f1=f1,
        format=float(response.well_formed and response.reasoning.strip() != ""),
    )


def sample_scores(statistics: SetStatistics) -> tuple[float, float, float]:
    """(recall, precision, F1) of one sample: means over the wheels with gold categories; NaN when there is none."""
    rows = [
        (overlap / num_gold, overlap / max(num_predicted, 1), 2 * overlap / (num_gold + num_predicted))
        for overlap, num_gold, num_predicted in zip(
            statistics.overlap, statistics.num_gold, statistics.num_predicted, strict=True
        )
        if num_gold
    ]
    if not rows:
        return nan, nan, nan
    recalls, precisions, f1s = zip(*rows, strict=True)
    return sum(recalls) / len(rows), sum(precisions) / len(rows), sum(f1s) / len(rows)
