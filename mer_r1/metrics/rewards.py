"""Per-objective rewards of one response, from the very counts that the evaluator uses.

Formula (MER-R1 Eq. 4, which has no wheel index; this project takes the mean over the wheels whose gold set is not
empty). With g and p the category sets of one wheel:

    R_R = mean |g∩p| / |g|        R_P = mean |g∩p| / |p|, 0 when p is empty
    R_F = mean 2|g∩p| / (|g|+|p|)  (the per-sample F1 of the baseline; the corpus F1 is another number, see metrics)
    R_fmt = 1 when the text keeps strictly to its response format and reasons (an empty think block does not), else 0

and, where a response answers before it thinks and after (VideoAuto-R1's answer_think_answer),

    initial_f1 = R_F of the first answer
    fallback   = 1 when the first answer is the fallback and R_F of the last is above RIGHT, else 0

For one label out of several candidates (EMO-R3) there is the hard match, 1 or 0: `accuracy` = data.labels.names_gold.

R_F, and it alone, may be multiplied by a penalty of length (AffectGPT-R1) where |o| > |y|, o and y the distinct words
of answer and gold as an answer is parsed:

    inverse  1 / (|o| - |y| + 1)        ratio  |y| / |o|        log  log(|y| + 1) / log(|o| + 1)

Convention: an answer without words scores 0; when the gold words map in no wheel, R_R, R_P and R_F are NaN, "does not
apply", and stay out of their group. R_fmt always applies; the two of a first answer are NaN where there is none, and
`fallback` looks at R_F before the penalty. The gold answer itself scores 1.0 on all, under every penalty. What an
unknown word costs, and whether "neutral" counts, is decided by the protocol that the wheels were compiled for.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, nan
from typing import TYPE_CHECKING

from mer_r1.data.labels import corrected_labels, names_gold
from mer_r1.data.sample import Response
from mer_r1.metrics.open_vocabulary import SetStatistics, set_statistics
from mer_r1.objectives import LengthPenalty, Rewards
from mer_r1.prompting.response import fell_back, initial_labels

if TYPE_CHECKING:
    from mer_r1.emotion.wheel import WheelSet

RIGHT = 0.7
"""Above this R_F an answer counts as right, VideoAuto-R1's threshold for its fallback reward."""


def score_response(
    response: Response, gold: Sequence[str], wheels: WheelSet, *, length_penalty: LengthPenalty = "none"
) -> Rewards:
    """Rewards of a parsed response against the gold words, as the protocol's parser reads them."""
    recall, precision, f1 = sample_scores(set_statistics(gold, response.labels, wheels))
    initial = initial_labels(response)
    initial_f1 = nan if initial is None else sample_scores(set_statistics(gold, initial, wheels))[2]
    return Rewards(
        recall=recall,
        precision=precision,
        f1=f1 * length_factor(len(response.labels), len(corrected_labels(gold)), length_penalty),
        format=float(response.well_formed and response.reasoning.strip() != ""),
        initial_f1=initial_f1,
        fallback=nan if initial is None else float(fell_back(response) and f1 > RIGHT),
        accuracy=float(names_gold(response.labels, gold)),
    )


def length_factor(num_answered: int, num_gold: int, length_penalty: LengthPenalty) -> float:
    """What R_F of an answer of so many distinct words is multiplied by; 1 unless it has more than the gold."""
    if length_penalty == "none" or num_answered <= num_gold:
        return 1.0
    factors = {
        "inverse": 1 / (num_answered - num_gold + 1),
        "ratio": num_gold / num_answered,
        "log": log(num_gold + 1) / log(num_answered + 1),
    }
    return factors[length_penalty]


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
