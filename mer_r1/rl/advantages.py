"""Advantages: per-objective rewards of a group in, one number per rollout out (MER-R1 Section 4.1-4.3, Eq. 3, 5, 12).

Shape letters: P prompts, G rollouts of a group, K rewards (REWARDS), J rewards of one term.

The terms of every objective are data (objectives.py); each is normalised within its group:

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

import torch
from torch import Tensor

from mer_r1.objectives import EPS, OBJECTIVES, REWARDS, ScaleRewards, misnamed


def advantages(
    rewards_PGK: Tensor, objective: str, coefficients: Mapping[str, float], scale_rewards: ScaleRewards = "group"
) -> Tensor:
    """Advantages (P, G) of rewards whose last axis runs over REWARDS.

    `coefficients` are the recipe's, by their names in COEFFICIENTS. Raises KeyError for an objective that is not in
    OBJECTIVES, and ValueError for one whose terms name a reward or a coefficient that there is not.
    """
    chosen = OBJECTIVES[objective]
    if problem := misnamed(chosen):
        raise ValueError(f"objective {objective} {problem}")

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
    mean_P1, std_P1 = moments(values_PG, present_PG)
    centred_PG = (values_PG - mean_P1).masked_fill(~present_PG, 0.0)
    # Equal rewards may differ in the last bit of their sum, which must not become an advantage.
    centred_PG = centred_PG.masked_fill(std_P1 <= 1e-6 * mean_P1.abs().clamp_min(1.0), 0.0)
    if scale_rewards == "none":
        return centred_PG
    if scale_rewards == "batch":
        std_P1 = moments(values_PG.reshape(1, -1), present_PG.reshape(1, -1))[1]
    return centred_PG / (std_P1 + EPS)


def moments(values_PG: Tensor, present_PG: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and unbiased std over the second axis, which is kept as 1, of what is present; 0 for none, std 0 for one."""
    count_P1 = present_PG.sum(1, keepdim=True)
    mean_P1 = values_PG.nansum(1, keepdim=True) / count_P1.clamp_min(1)
    centred_PG = (values_PG - mean_P1).masked_fill(~present_PG, 0.0)
    return mean_P1, (centred_PG.square().sum(1, keepdim=True) / (count_P1 - 1).clamp_min(1)).sqrt()
