"""The policy loss (MER-R1 Eq. 3): clipped importance ratio and a KL penalty, per token.

Shape letters: B rollouts, R response tokens.

    L = - mean over rollouts of mean over tokens of [ min(r A, clip(r, 1-eps, 1+eps) A) - beta (rho - log rho - 1) ]

with r = p / p_old, log rho = log p_ref - log p (the k3 estimate of KL). This is TRL's loss_type "grpo".
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class PolicyLoss(NamedTuple):
    """The loss, and means over tokens of the KL estimate and of the share of clipped tokens (no gradient)."""

    loss: Tensor
    kl: Tensor
    clip_share: Tensor


def policy_loss(
    log_probs_BR: Tensor,
    old_log_probs_BR: Tensor,
    reference_log_probs_BR: Tensor | None,
    advantages_B: Tensor,
    mask_BR: Tensor,
    epsilon: float,
    beta: float,
) -> PolicyLoss:
    """Loss of one batch of rollouts. `mask_BR` is 1 on response tokens; a row without any counts as 0."""
    present_BR = mask_BR.bool()
    log_ratio_BR = (log_probs_BR - old_log_probs_BR).masked_fill(~present_BR, 0.0)
    ratio_BR = log_ratio_BR.exp()
    clipped_BR = ratio_BR.clamp(1 - epsilon, 1 + epsilon)
    advantage_B1 = advantages_B[:, None]
    gain_BR = torch.minimum(ratio_BR * advantage_B1, clipped_BR * advantage_B1)
    kl_BR = torch.zeros_like(gain_BR)
    if reference_log_probs_BR is not None:
        log_rho_BR = (reference_log_probs_BR - log_probs_BR).masked_fill(~present_BR, 0.0)
        kl_BR = log_rho_BR.exp() - log_rho_BR - 1
    per_token_BR = -(gain_BR - beta * kl_BR) * mask_BR
    loss = (per_token_BR.sum(1) / mask_BR.sum(1).clamp_min(1)).mean()
    tokens = mask_BR.sum().clamp_min(1)
    clipped = ((ratio_BR * advantage_B1 > clipped_BR * advantage_B1) * mask_BR).sum() / tokens
    return PolicyLoss(loss, ((kl_BR * mask_BR).sum() / tokens).detach(), clipped.detach())
