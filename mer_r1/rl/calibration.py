"""Slow-fast confidence calibration (MER-R1 Section 4.3, Eq. 9-11).

Shape letters: B rollouts, A anchors, C categories of all wheels side by side.

conf(c) is the confidence in a category at an answer word (models/category_confidence.py), read once behind the
response's own reasoning and once in the fast context of the same ids (models/token_offsets.py).

    Delta(e) = conf_slow(c(e)) - conf_fast(c(e))                                                          (Eq. 9)

R+ is the mean of Delta over words of correct category, R- the mean of -Delta over words of an incorrect one (Eq.
10-11). The paper has no wheel index: here correctness is judged per wheel, and a word's Delta is averaged over the
wheels in which it is correct (for R+) or incorrect (for R-); wheels without gold say nothing. A
category whose confidence is NaN gives its words no Delta in that wheel. A response without reasoning (no think block,
an empty one, no steps) has y_cot = {}, so its two contexts are one and its Delta is 0. Ablation A1 takes the generated
id's own log p(first token of e) for conf; correctness stays that of the wheels. No gradient flows through confidence.

Confidences carry the noise of the precision they are computed in, and dividing by a group's std turns any spread into
advantages of size 1. So where the rewards of a group spread less than a floor, they count as equal (`without_noise`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan

import torch
from torch import Tensor

from mer_r1.emotion.wheel import WheelSet
from mer_r1.models.category_confidence import AnchorConfidence, CategoryTokens
from mer_r1.objectives import ConfidenceLevel
from mer_r1.rl.advantages import moments
from mer_r1.rl.rollouts import Contexts, RolloutBatch

CLIP = 5.0  # of one word's Delta; a log of almost nothing should not rule a group


def calibration_pair(
    words: Sequence[str],
    slow: AnchorConfidence,
    fast: AnchorConfidence,
    gold: Sequence[frozenset[int]],
    tokens: CategoryTokens,
    wheels: WheelSet,
    level: ConfidenceLevel = "category",
) -> tuple[float, float]:
    """(R+, R-) of one response (Eq. 11). NaN where there is no correct, or no incorrect, word.

    `slow` and `fast` are the confidences at the anchors of `words`, in order; `gold` the gold categories per wheel.
    `level` "word" is ablation A1.
    """
    gaps_AC = slow.category_AC - fast.category_AC
    if level == "word":
        gaps_AC = (slow.word_A - fast.word_A)[:, None].expand_as(gaps_AC)
    correct: list[float] = []
    incorrect: list[float] = []
    for word, gap_C in zip(words, gaps_AC.clamp(-CLIP, CLIP).tolist(), strict=True):  # NaN stays NaN
        ways = [
            (gap_C[tokens.column(wheel, category)], category in gold[wheel])
            for wheel, categories in enumerate(wheels.lookup(word) or ())
            for category in categories
            if gold[wheel]
        ]
        right = [gap for gap, is_right in ways if is_right and not isnan(gap)]
        wrong = [-gap for gap, is_right in ways if not is_right and not isnan(gap)]
        correct += [_mean(right)] if right else []
        incorrect += [_mean(wrong)] if wrong else []
    return _mean(correct), _mean(incorrect)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else nan


def without_noise(pairs_PG2: Tensor, floor: float) -> Tensor:
    """R+ and R- (P, G, 2), those of a group whose unbiased std is under `floor` nat all at its mean; NaN stays NaN."""
    present_PG2 = ~pairs_PG2.isnan()
    mean_P12, std_P12 = moments(pairs_PG2, present_PG2)
    return torch.where(present_PG2 & (std_P12 < floor), mean_P12.expand_as(pairs_PG2), pairs_PG2)


@dataclass(frozen=True)
class CalibrationRewards:
    """Per row R+ and R-, NaN where they do not apply, and (slow, fast) log-confidences of its answer words.

    The confidence of a word is that of its category, averaged over the wheels that know it, or under A1 its own.
    """

    pairs_B2: Tensor
    words: list[dict[str, tuple[float, float]]]


def calibration_rewards(
    batch: RolloutBatch,
    branches: Contexts,
    confidences: Sequence[AnchorConfidence],
    tokens: CategoryTokens,
    wheels: WheelSet,
    level: ConfidenceLevel,
) -> CalibrationRewards:
    """Slow-fast calibration of a batch from the confidences that a pass over its contexts read."""
    pairs_B2 = torch.full((len(batch.rows), 2), torch.nan)
    words: list[dict[str, tuple[float, float]]] = [{} for _ in batch.rows]
    for order, (row, answer) in enumerate(branches.answers.items()):
        slow, fast = confidences[order], confidences[len(branches.answers) + branches.fast_of[row]]
        if not batch.responses[row].reasoning.strip():
            slow = fast  # y_cot is empty: the two contexts of Eq. 8 are one, however the response's tags are written
        gold = wheels.map_set(batch.golds[batch.prompt_of(row)])
        pairs_B2[row] = torch.tensor(calibration_pair(answer.words, slow, fast, gold, tokens, wheels, level))
        sides = (slow.category_AC.tolist(), fast.category_AC.tolist(), slow.word_A.tolist(), fast.word_A.tolist())
        for word, slow_C, fast_C, slow_word, fast_word in zip(answer.words, *sides, strict=True):
            columns = [column for column in tokens.columns(word, wheels) if not isnan(slow_C[column])]
            if columns and level == "category":
                slow_word, fast_word = (_mean([side_C[column] for column in columns]) for side_C in (slow_C, fast_C))
            if columns:
                words[row][word] = (round(slow_word, 5), round(fast_word, 5))
    return CalibrationRewards(pairs_B2, words)
