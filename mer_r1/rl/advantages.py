"""Advantages: per-objective rewards of a group in, one number per rollout out (MER-R1 Section 4.1-4.3, Eq. 3, 5, 12).

Shape letters: P prompts, G rollouts of a group, K rewards (REWARDS), J rewards of one term.

An objective is a sum of terms. A term weighs some rewards, adds them, normalises the sum within its group and weighs
the result. So adding inside a term entangles rewards before normalisation (the baseline), and separate terms keep them
apart (dual-objective disentanglement); docs/objectives.md has the table of all names.

    norm(x)_i = (x_i - mean) / (std + 1e-4), mean over the group, std unbiased

`scale_rewards` names the std as TRL does: "group" that of the group, "batch" that of x over the whole batch, "none" no
division. An objective with `scale` False never divides (Dr. GRPO); one with `whiten` True normalises the summed
advantage once more, over the batch (GDPO).

A reward that does not apply is NaN: it stays out of its group's mean and std and its advantage is 0. Where a term adds
several rewards, a NaN among them counts as nothing unless all are NaN. A group without spread has advantage 0, and so
has a group of one. A rollout to which no reward applies stays out of the whitening too, and keeps 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

EPS = 1e-4
REWARDS = (
    "recall",
    "precision",
    "f1",
    "format",
    "calibration_plus",
    "calibration_minus",
    "initial_f1",
    "fallback",
    "accuracy",
    "coherence",
    "consistency",
    "reflection",
)

ScaleRewards = Literal["group", "batch", "none"]
ConfidenceLevel = Literal["category", "word"]


@dataclass(frozen=True)
class Term:
    """`weight` x norm(sum of `parts`). A weight is a number or the name of a recipe's coefficient."""

    parts: Mapping[str, float | str]
    weight: float | str = 1.0


@dataclass(frozen=True)
class Objective:
    """A sum of terms; see the module for `scale` and `whiten`.

    `confidence` says whose confidence feeds the calibration rewards: the category's of a word (Eq. 1), or the word's
    own (ablation A1).
    """

    terms: tuple[Term, ...]
    scale: bool = True
    whiten: bool = False
    confidence: ConfidenceLevel = "category"


_FORMAT = Term({"format": 1.0}, "lambda_fmt")
_DUAL = (Term({"recall": 1.0}), Term({"precision": 1.0}), _FORMAT)
_PLUS, _MINUS = Term({"calibration_plus": 1.0}, "lambda_cali"), Term({"calibration_minus": 1.0}, "lambda_cali")
_BASELINE = (Term({"f1": 1.0, "format": "lambda_fmt"}),)
_CALIBRATED_SUM = {"calibration_plus": "lambda_cali", "calibration_minus": "lambda_cali", "format": "lambda_fmt"}

OBJECTIVES: dict[str, Objective] = {
    "baseline": Objective(_BASELINE),
    "rd": Objective((Term({"recall": 1.0, "precision": 1.0, "format": "lambda_fmt"}),)),
    "rd_ad": Objective(_DUAL),
    "mer_r1": Objective((*_DUAL, _PLUS, _MINUS)),
    "mer_r1_a1": Objective((*_DUAL, _PLUS, _MINUS), confidence="word"),
    "mer_r1_a2": Objective((*_DUAL, _PLUS)),
    # The paper says "in the reward space" and no more: here all rewards meet before one normalisation, as in rd.
    "mer_r1_b1": Objective((Term({"recall": 1.0, "precision": 1.0, **_CALIBRATED_SUM}),)),
    "mer_r1_b2": Objective(
        (
            Term({"recall": 1.0, "calibration_plus": "lambda_cali"}),
            Term({"precision": 1.0, "calibration_minus": "lambda_cali"}),
            _FORMAT,
        )
    ),
    "gdpo": Objective(_DUAL, whiten=True),
    "dr_grpo": Objective(_BASELINE, scale=False),
    "affectgpt_r1": Objective((Term({"f1": 1.0, "format": 1.0}),)),
    "videoauto_r1": Objective((Term({"initial_f1": 0.9, "f1": 1.1, "format": 1.0, "fallback": 0.3}),)),
    "accuracy": Objective((Term({"accuracy": 0.9, "format": 0.1}),)),
    "emo_r3": Objective((Term({"accuracy": 0.8, "reflection": 0.1, "format": 0.1}),)),
    "emo_r3_words": Objective((Term({"f1": 0.8, "reflection": 0.1, "format": 0.1}),)),
    "mer_r1_rer": Objective((*_DUAL, _PLUS, _MINUS, Term({"reflection": 1.0}, "lambda_rer"))),
}


def _reads(objective: str) -> set[str]:
    return {name for term in OBJECTIVES[objective].terms for name in term.parts}


def needs_calibration(objective: str) -> bool:
    """Whether the objective reads the slow-fast confidence gap, and so needs the fast pass."""
    return not _reads(objective).isdisjoint({"calibration_plus", "calibration_minus"})


def needs_initial_answer(objective: str) -> bool:
    """Whether the objective pays the answer before thinking, and so needs a profile that has one."""
    return not _reads(objective).isdisjoint({"initial_f1", "fallback"})


def needs_reflection(objective: str) -> bool:
    """Whether the objective pays what a judge says of an answer's steps, and so needs a profile that has steps."""
    return not _reads(objective).isdisjoint({"coherence", "consistency", "reflection"})


def needs_wheels(objective: str) -> bool:
    """Whether the objective pays categories, so that gold which reaches none has no reward."""
    return not _reads(objective).isdisjoint({"recall", "precision", "f1", "initial_f1"})


def needs_choice(objective: str) -> bool:
    """Whether the objective pays the one right label among a sample's candidates."""
    return not _reads(objective).isdisjoint({"accuracy", "coherence", "reflection"})


def confidence_level(objective: str) -> ConfidenceLevel:
    """Whose confidence the calibration rewards of an objective compare: "category" (Eq. 1) or "word" (ablation A1)."""
    return OBJECTIVES[objective].confidence


def advantages(
    rewards_PGK: Tensor, objective: str, coefficients: Mapping[str, float], scale_rewards: ScaleRewards = "group"
) -> Tensor:
    """Advantages (P, G) of rewards whose last axis runs over REWARDS.

    `coefficients` holds lambda_cali, lambda_fmt and lambda_rer. Raises KeyError for an objective that is not in
    OBJECTIVES.
    """
    chosen = OBJECTIVES[objective]

    def value(weight: float | str) -> float:
        return coefficients[weight] if isinstance(weight, str) else weight

    total_PG = rewards_PGK.new_zeros(rewards_PGK.shape[:2])
    applies_PG = torch.zeros_like(total_PG, dtype=torch.bool)
    for term in chosen.terms:
        parts_PGJ = torch.stack(
            [value(weight) * rewards_PGK[..., REWARDS.index(name)] for name, weight in term.parts.items()], dim=-1
        )
        absent_PG = parts_PGJ.isnan().all(-1)
        sum_PG = parts_PGJ.nansum(-1).masked_fill(absent_PG, torch.nan)
        total_PG = total_PG + value(term.weight) * normalise(sum_PG, scale_rewards if chosen.scale else "none")
        applies_PG |= ~absent_PG
    if not chosen.whiten:
        return total_PG
    # The batch as one group: whitening is the same norm over all of it.
    return normalise(total_PG.masked_fill(~applies_PG, torch.nan).reshape(1, -1)).reshape(total_PG.shape)


def normalise(values_PG: Tensor, scale_rewards: ScaleRewards = "group") -> Tensor:
    """norm(x) over each group (row), NaN-aware; see the module's convention."""
    present_PG = ~values_PG.isnan()
    mean_P1, std_P1 = _moments(values_PG, present_PG)
    centred_PG = (values_PG - mean_P1).masked_fill(~present_PG, 0.0)
    # Equal rewards may differ in the last bit of their sum, which must not become an advantage.
    centred_PG = centred_PG.masked_fill(std_P1 <= 1e-6 * mean_P1.abs().clamp_min(1.0), 0.0)
    if scale_rewards == "none":
        return centred_PG
    if scale_rewards == "batch":
        std_P1 = _moments(values_PG.reshape(1, -1), present_PG.reshape(1, -1))[1]
    return centred_PG / (std_P1 + EPS)


def _moments(values_PG: Tensor, present_PG: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and unbiased std (P, 1) of what is present in each row; 0 for none, std 0 for one."""
    count_P1 = present_PG.sum(1, keepdim=True)
    mean_P1 = values_PG.nansum(1, keepdim=True) / count_P1.clamp_min(1)
    centred_PG = (values_PG - mean_P1).masked_fill(~present_PG, 0.0)
    return mean_P1, (centred_PG.square().sum(1, keepdim=True) / (count_P1 - 1).clamp_min(1)).sqrt()
