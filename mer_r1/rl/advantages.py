"""Advantages: per-objective rewards of a group in, one number per rollout out (MER-R1 Section 4.1-4.3, Eq. 3, 5, 12).

Shape letters: P prompts, G rollouts of a group, K objectives.

An objective is a sum of terms. A term weighs some rewards, adds them, normalises the sum within its group and weighs
the result. So adding inside a term entangles rewards before normalisation (the baseline), and separate terms keep them
apart (dual-objective disentanglement).

    norm(x)_i = (x_i - mean) / (std + 1e-4), std unbiased

A reward that does not apply is NaN: it stays out of its group's mean and std and its advantage is 0. Where a term adds
several rewards, a NaN among them counts as nothing unless all are NaN. A group without spread has advantage 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

EPS = 1e-4
REWARDS = ("recall", "precision", "f1", "format", "calibration_plus", "calibration_minus")


@dataclass(frozen=True)
class Term:
    """`weight` x norm(sum of `parts`). A weight is a number or the name of a recipe's coefficient."""

    parts: Mapping[str, float | str]
    weight: float | str = 1.0


_CALIBRATION = (Term({"calibration_plus": 1.0}, "lambda_cali"), Term({"calibration_minus": 1.0}, "lambda_cali"))
_DUAL = (Term({"recall": 1.0}), Term({"precision": 1.0}), Term({"format": 1.0}, "lambda_fmt"))

OBJECTIVES: dict[str, tuple[Term, ...]] = {
    "baseline": (Term({"f1": 1.0, "format": "lambda_fmt"}),),
    "rd": (Term({"recall": 1.0, "precision": 1.0, "format": "lambda_fmt"}),),
    "rd_ad": _DUAL,
    "mer_r1": (*_DUAL, *_CALIBRATION),
}


def needs_calibration(objective: str) -> bool:
    """Whether the objective reads the slow-fast confidence gap, and so needs the fast pass."""
    return any("calibration" in name for term in OBJECTIVES[objective] for name in term.parts)


def advantages(rewards_PGK: Tensor, objective: str, coefficients: Mapping[str, float]) -> Tensor:
    """Advantages (P, G) of rewards whose last axis runs over REWARDS."""

    def value(weight: float | str) -> float:
        return coefficients[weight] if isinstance(weight, str) else weight

    total_PG = rewards_PGK.new_zeros(rewards_PGK.shape[:2])
    for term in OBJECTIVES[objective]:
        parts_PGJ = torch.stack(
            [value(weight) * rewards_PGK[..., REWARDS.index(name)] for name, weight in term.parts.items()], dim=-1
        )
        absent_PG = parts_PGJ.isnan().all(-1)
        sum_PG = parts_PGJ.nansum(-1).masked_fill(absent_PG, torch.nan)
        total_PG = total_PG + value(term.weight) * normalise(sum_PG)
    return total_PG


def normalise(values_PG: Tensor) -> Tensor:
    """norm(x) over each group (row), NaN-aware; see the module's convention."""
    present_PG = ~values_PG.isnan()
    count_P1 = present_PG.sum(1, keepdim=True)
    mean_P1 = values_PG.nansum(1, keepdim=True) / count_P1.clamp_min(1)
    centred_PG = (values_PG - mean_P1).masked_fill(~present_PG, 0.0)
    std_P1 = (centred_PG.square().sum(1, keepdim=True) / (count_P1 - 1).clamp_min(1)).sqrt()
    flat_P1 = std_P1 <= 1e-6 * mean_P1.abs().clamp_min(1.0)  # equal rewards may differ in their last bit
    return (centred_PG / (std_P1 + EPS)).masked_fill(flat_P1, 0.0)
