"""The KL term of Eq. 3, beta D_KL(policy || reference): its estimators, and its weight over a run.

Shape letters: B rollouts, G of a group, R response tokens.

A token has d = log p - log p_ref and the importance ratio r = p / p_old; rho = exp(-d). What an estimate's gradient is
in expectation, over tokens that the old policy drew:

    k3             rho - log rho - 1        of KL(reference || policy), where p = p_old
    k3_corrected   r (rho - log rho - 1)    of KL(policy || reference), for p = p_old and later
    k2             d^2 / 2                  of KL(policy || reference), where p = p_old; the value is biased
    k1_in_reward   d                        of KL(policy || reference), through the advantage; see `kl_advantages`

The value of k3 is that of KL(policy || reference), but its derivative forgets that the policy draws the tokens. Where
p = p_old, k3_corrected and k2 have the same gradient token by token, d grad log p; near the reference k3's is the same
to first order. k3 is in GRPO's paper and in most code; k3_corrected is DeepSeek-V3.2's, and TRL's with
use_bias_correction_kl. The first three pay a token for its own divergence; what it does to the divergence of those
behind it is in k1_in_reward alone.
"""

from __future__ import annotations

from torch import Tensor

from mer_r1.objectives import BetaSchedule, KlEstimator


def kl_estimate(kind: KlEstimator, log_probs_BR: Tensor, reference_BR: Tensor, log_ratio_BR: Tensor) -> Tensor:
    """The estimate at every token (B, R). `log_ratio_BR` is each token's own, whatever the level of the policy loss."""
    log_rho_BR = reference_BR - log_probs_BR
    if kind == "k1_in_reward":
        return -log_rho_BR
    if kind == "k2":
        return log_rho_BR.square() / 2
    k3_BR = log_rho_BR.exp() - log_rho_BR - 1
    return log_ratio_BR.exp() * k3_BR if kind == "k3_corrected" else k3_BR


def kl_advantages(
    old_log_probs_BR: Tensor, reference_BR: Tensor, mask_BR: Tensor, num_generations: int, beta: float
) -> Tensor:
    """What k1_in_reward adds to the advantages (B,): -beta (k - mean of k in its group), k the sum of d of a response.

    PPO-style RLHF pays -beta k beside the reward. Every normalised reward here has a term of its own, and so has this
    one: it is centred within its group and never divided by a std, which would take beta's size away. OpenRLHF too
    normalises the rewards first; TRL's RLOO and verl's use_kl_in_reward subtract beta k before.
    """
    k_B = (old_log_probs_BR - reference_BR).masked_fill(~mask_BR.bool(), 0.0).sum(1)
    k_PG = k_B.view(-1, num_generations)
    return -beta * (k_PG - k_PG.mean(1, keepdim=True)).flatten()


def scheduled_beta(beta: float, schedule: BetaSchedule, step: int, max_steps: int) -> float:
    """The weight of the KL term at an optimiser step, counted from 0.

    "decay" (HumanOmniV2's) falls linearly from beta to a quarter of it at half of `max_steps`, and stays there.
    """
    if schedule == "constant":
        return beta
    return beta * (1 - 0.75 * min(1.0, 2 * step / max(max_steps, 1)))
