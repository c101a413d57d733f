"""The policy loss (MER-R1 Eq. 3): clipped importance ratio and a KL penalty, per token.

Shape letters: B rollouts of one micro-batch, R response tokens.

    l = -[ min(r A, clip(r, 1 - eps, 1 + eps_high) A) - beta (rho - log rho - 1) ]

with r = p / p_old, log rho = log p_ref - log p (the k3 estimate of KL). How the tokens' l become one number is
`loss_type`, with TRL's names and meanings:

    grpo     mean over rollouts of the mean over a rollout's tokens; a short answer weighs as much as a long one (Eq. 3)
    bnpo     mean over all tokens of the micro-batch
    dapo     sum over tokens / num_tokens, which makes the mean over micro-batches the mean over all tokens of the step
    dr_grpo  sum over tokens / (B x max_completion_length): no length is divided by

`epsilon_high` above `epsilon` is DAPO's clip-higher. Only tokens under the mask count; what stands elsewhere, NaN and
infinities included, reaches neither the loss nor the gradient.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mer_r1.objectives import BetaSchedule, LossType


class PolicyLoss(NamedTuple):
    """The loss, and means over tokens (no gradient): the KL estimate, and the share of tokens that are clipped.

    A token is clipped where the clipping takes its gradient: `clip_ratio_low` a falling one below 1 - eps whose
    advantage is negative, `clip_ratio_high` a rising one above 1 + eps_high; `clip_ratio` is their sum.
    """

    loss: Tensor
    kl: Tensor
    clip_ratio: Tensor
    clip_ratio_low: Tensor
    clip_ratio_high: Tensor


def policy_loss(
    log_probs_BR: Tensor,
    old_log_probs_BR: Tensor,
    reference_log_probs_BR: Tensor | None,
    advantages_B: Tensor,
    mask_BR: Tensor,
    epsilon: float,
    beta: float,
    *,
    loss_type: LossType = "grpo",
    epsilon_high: float | None = None,
    num_tokens: float | None = None,
    max_completion_length: int | None = None,
) -> PolicyLoss:
    """Loss of one micro-batch of rollouts. `mask_BR` is 1 on response tokens; a row without any counts as 0.

    `num_tokens`, for dapo: the response tokens of the whole optimiser step (of all processes) divided by the number of
    its micro-batches (of all processes); None takes this micro-batch's own, which is bnpo. `epsilon_high` None is
    `epsilon`. Raises ValueError for dr_grpo without `max_completion_length`, and for another loss type.
    """
    present_BR = mask_BR.bool()
    ratio_BR = (log_probs_BR - old_log_probs_BR).masked_fill(~present_BR, 0.0).exp()
    low, high = 1 - epsilon, 1 + (epsilon if epsilon_high is None else epsilon_high)
    advantage_B1 = advantages_B[:, None]
    gain_BR = torch.minimum(ratio_BR * advantage_B1, ratio_BR.clamp(low, high) * advantage_B1)
    kl_BR = torch.zeros_like(gain_BR)
    if reference_log_probs_BR is not None:
        log_rho_BR = (reference_log_probs_BR - log_probs_BR).masked_fill(~present_BR, 0.0)
        kl_BR = log_rho_BR.exp() - log_rho_BR - 1
    per_token_BR = -(gain_BR - beta * kl_BR) * mask_BR
    loss = _aggregate(per_token_BR, mask_BR, loss_type, num_tokens, max_completion_length)

    def share(values_BR: Tensor) -> Tensor:
        return ((values_BR * mask_BR).sum() / mask_BR.sum().clamp_min(1)).detach()

    clipped_low = share((ratio_BR < low) & (advantage_B1 < 0))
    clipped_high = share((ratio_BR > high) & (advantage_B1 > 0))
    return PolicyLoss(loss, share(kl_BR), clipped_low + clipped_high, clipped_low, clipped_high)


def _aggregate(
    per_token_BR: Tensor,
    mask_BR: Tensor,
    loss_type: LossType,
    num_tokens: float | None,
    max_completion_length: int | None,
) -> Tensor:
    """One number of the masked losses of tokens; see the module."""
    if loss_type == "grpo":
        return (per_token_BR.sum(1) / mask_BR.sum(1).clamp_min(1)).mean()
    if loss_type == "bnpo" or (loss_type == "dapo" and num_tokens is None):
        return per_token_BR.sum() / mask_BR.sum().clamp_min(1)
    if loss_type == "dapo":
        assert num_tokens is not None
        return per_token_BR.sum() / max(num_tokens, 1.0)
    if loss_type == "dr_grpo":
        if max_completion_length is None:
            raise ValueError("loss_type 'dr_grpo' divides by max_completion_length; give it")
        return per_token_BR.sum() / (len(per_token_BR) * max_completion_length)
    raise ValueError(f"loss_type {loss_type!r} is not known; use grpo, bnpo, dapo or dr_grpo")


def scheduled_beta(beta: float, schedule: BetaSchedule, step: int, max_steps: int) -> float:
    """The weight of the KL term at an optimiser step, counted from 0.

    "decay" (HumanOmniV2's) falls linearly from beta to a quarter of it at half of `max_steps`, and stays there.
    """
    if schedule == "constant":
        return beta
    return beta * (1 - 0.75 * min(1.0, 2 * step / max(max_steps, 1)))
