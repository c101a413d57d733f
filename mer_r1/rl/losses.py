"""The policy loss: clipped importance ratio and a KL penalty (MER-R1 Eq. 3).

Shape letters: B rollouts of one micro-batch, R response tokens.

    l = -[ min(min(r, delta) A, clip(r, 1 - eps, 1 + eps_high) A) - beta KL ]

KL is one of the estimates of kl.py. r is p / p_old of the token, or under importance_sampling_level "sequence" one for
the whole response, the exponential of the mean of its tokens' log ratios (GSPO, TRL). Eq. 3 writes the ratio of the
sequence without that mean, a product over hundreds of tokens, which nobody clips at 0.2. Where p = p_old both levels
have the same value and the same gradient.

`epsilon_high` above `epsilon` is DAPO's clip-higher. `delta` (TRL's name; INTELLECT-2) bounds r from above where A < 0,
which the clip does not do. It is dual-clip PPO: max(min(r A, clip(r) A), c A) for A < 0, verl's clip_ratio_c and
EasyR1's clip_ratio_dual, is the same number and gradient for c = delta > 1 + eps_high.

How the tokens' l become one number is `loss_type`, with TRL's names and meanings:

    grpo     mean over rollouts of the mean over a rollout's tokens; a short answer weighs as much as a long one
    bnpo     mean over all tokens of the micro-batch
    dapo     sum over tokens / num_tokens, which makes the mean over micro-batches the mean over all tokens of the step
    dr_grpo  sum over tokens / (B x max_completion_length): no length is divided by

Only tokens under the mask count; what stands elsewhere, NaN and infinities included, reaches neither the loss nor the
gradient.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mer_r1.objectives import ImportanceLevel
from mer_r1.recipe import RlSection
from mer_r1.rl.kl import kl_estimate


class PolicyLoss(NamedTuple):
    """The loss, and means over tokens (no gradient): the KL estimate, and the share of tokens that are clipped.

    A token is clipped where the clipping takes its gradient: `clip_ratio_low` a falling one below 1 - eps whose
    advantage is negative, `clip_ratio_high` a rising one above 1 + eps_high; `clip_ratio` is their sum. Beside them
    `clip_ratio_dual` are tokens above delta whose advantage is negative.
    """

    loss: Tensor
    kl: Tensor
    clip_ratio: Tensor
    clip_ratio_low: Tensor
    clip_ratio_high: Tensor
    clip_ratio_dual: Tensor


def policy_loss(
    log_probs_BR: Tensor,
    old_log_probs_BR: Tensor,
    reference_log_probs_BR: Tensor | None,
    advantages_B: Tensor,
    mask_BR: Tensor,
    rl: RlSection,
    beta: float,
    num_tokens: float | None = None,
    correction: Tensor | None = None,
) -> PolicyLoss:
    """Loss of one micro-batch of rollouts. `mask_BR` is 1 on response tokens; a row without any counts as 0.

    Of `rl` are read epsilon, epsilon_high, delta, importance_sampling_level, kl, loss_type and max_completion_length;
    `beta` is that of the step. `num_tokens`, for dapo: the response tokens of the whole optimiser step (of all
    processes) divided by the number of its micro-batches (of all processes); None takes this micro-batch's own, which
    is bnpo. `correction`, (B, R) or (B, 1), multiplies a token's part but its KL (mismatch.py).
    """
    present_BR = mask_BR.bool()
    log_ratio_BR = (log_probs_BR - old_log_probs_BR).masked_fill(~present_BR, 0.0)
    ratio_BR = importance_ratio(log_ratio_BR, mask_BR, rl.importance_sampling_level)
    low, high = 1 - rl.epsilon, 1 + (rl.epsilon if rl.epsilon_high is None else rl.epsilon_high)
    bound = torch.inf if rl.delta is None else rl.delta
    advantage_B1 = advantages_B[:, None]
    gain_BR = torch.minimum(ratio_BR.clamp(max=bound) * advantage_B1, ratio_BR.clamp(low, high) * advantage_B1)
    if correction is not None:
        gain_BR = gain_BR * correction
    kl_BR = torch.zeros_like(log_ratio_BR)
    if reference_log_probs_BR is not None:
        policy_BR, reference_BR = (
            values.masked_fill(~present_BR, 0.0) for values in (log_probs_BR, reference_log_probs_BR)
        )
        kl_BR = kl_estimate(rl.kl, policy_BR, reference_BR, log_ratio_BR)
    penalty_BR = beta * kl_BR if rl.kl != "k1_in_reward" else torch.zeros_like(kl_BR)
    per_token_BR = -(gain_BR - penalty_BR) * mask_BR

    def share(values_BR: Tensor) -> Tensor:
        return ((values_BR * mask_BR).sum() / mask_BR.sum().clamp_min(1)).detach()

    clipped_low = share((ratio_BR < low) & (advantage_B1 < 0))
    clipped_high = share((ratio_BR > high) & (advantage_B1 > 0))
    return PolicyLoss(
        loss=_aggregate(per_token_BR, mask_BR, rl, num_tokens),
        kl=share(kl_BR),
        clip_ratio=clipped_low + clipped_high,
        clip_ratio_low=clipped_low,
        clip_ratio_high=clipped_high,
        clip_ratio_dual=share((ratio_BR > bound) & (advantage_B1 < 0)),
    )


def importance_ratio(log_ratio_BR: Tensor, mask_BR: Tensor, level: ImportanceLevel) -> Tensor:
    """p / p_old of every token (B, R), or of every response (B, 1): the exponential of its mean log ratio.

    `log_ratio_BR` is 0 where the mask is.
    """
    if level == "token":
        return log_ratio_BR.exp()
    return (log_ratio_BR.sum(1, keepdim=True) / mask_BR.sum(1, keepdim=True).clamp_min(1)).exp()


def _aggregate(per_token_BR: Tensor, mask_BR: Tensor, rl: RlSection, num_tokens: float | None) -> Tensor:
    """One number of the masked losses of tokens; see the module."""
    if rl.loss_type == "grpo":
        return (per_token_BR.sum(1) / mask_BR.sum(1).clamp_min(1)).mean()
    if rl.loss_type == "dr_grpo":
        return per_token_BR.sum() / (len(per_token_BR) * rl.max_completion_length)
    if rl.loss_type == "dapo" and num_tokens is not None:
        return per_token_BR.sum() / max(num_tokens, 1.0)
    return per_token_BR.sum() / mask_BR.sum().clamp_min(1)
