"""Slow-fast confidence calibration (MER-R1 Section 4.3, Eq. 9-11).

Shape letters: A anchors, C categories of all wheels side by side.

conf(c) is the confidence in a category at an answer word (models/category_confidence.py), read once behind the
response's own reasoning and once in the fast context of the same ids (models/token_offsets.py).

    Delta(e) = conf_slow(c(e)) - conf_fast(c(e))                                                          (Eq. 9)

R+ is the mean of Delta over words of correct category, R- the mean of -Delta over words of an incorrect one (Eq.
10-11). The paper has no wheel index: here correctness is judged per wheel, and a word's Delta is averaged over the
wheels in which it is correct (for R+) or incorrect (for R-); wheels without gold say nothing. A
category whose confidence is NaN gives its words no Delta in that wheel. Ablation A1 takes the generated
id's own log p(first token of e) for conf; correctness stays that of the wheels. No gradient flows through confidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan, nan

from torch import Tensor

from mer_r1.emotion.wheel import WheelSet
from mer_r1.models.category_confidence import CategoryTokens, Confidence
from mer_r1.objectives import ConfidenceLevel

CLIP = 5.0  # of one word's Delta; a log of almost nothing should not rule a group


def calibration_pair(
    words: Sequence[str],
    slow: Confidence,
    fast: Confidence,
    gold: Sequence[frozenset[int]],
    tokens: CategoryTokens,
    wheels: WheelSet,
    level: ConfidenceLevel = "category",
) -> tuple[float, float]:
    """(R+, R-) of one response (Eq. 11). NaN where there is no correct, or no incorrect, word.

    `slow` and `fast` are the confidences at the anchors of `words`, in order; `gold` the gold categories per wheel.
    `level` "word" is ablation A1.
    """
    correct: list[float] = []
    incorrect: list[float] = []
    for word, gap_C in zip(words, _gaps(slow, fast, level).tolist(), strict=True):
        ways = [
            (gap_C[tokens.column(wheel, category)], category in gold[wheel])
            for wheel, categories in enumerate(wheels.lookup(word) or ())
            for category in categories
            if gold[wheel]
        ]
        right = [gap for gap, is_right in ways if is_right and not isnan(gap)]
        wrong = [-gap for gap, is_right in ways if not is_right and not isnan(gap)]
        if right:
            correct.append(sum(right) / len(right))
        if wrong:
            incorrect.append(sum(wrong) / len(wrong))
    return _mean(correct), _mean(incorrect)


def _gaps(slow: Confidence, fast: Confidence, level: ConfidenceLevel) -> Tensor:
    """Delta of every anchor as if its word were of each category, (A, C), bounded; NaN stays NaN."""
    if level == "word":
        gaps_AC = (slow.word_A - fast.word_A)[:, None].expand_as(slow.category_AC)
    else:
        gaps_AC = slow.category_AC - fast.category_AC
    return gaps_AC.clamp(-CLIP, CLIP)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else nan
