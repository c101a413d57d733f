"""A step of RL as values that only go forward: rollouts -> rewarded -> scored (MER-R1 Section 4, Eq. 3 and 12).

Shape letters: P prompts, G rollouts of a group, B = P x G rollouts, R response ids, K rewards (REWARDS).

    RolloutBatch   sampled responses of a micro-batch (rollouts.py)
    Rewarded       with the rewards that the texts and a judge decide, before any pass of the policy
    Scored         after the policy's first pass: all rewards, the advantages, the old log-probabilities

An objective that reads confidences has no advantages before that first pass, which reads them; for any other the
advantages of the whole step, of all processes, are known before. Every later pass over the same rollouts
(num_iterations > 1) reads `Scored` alone. Functions here take values and give values: sampling, processes, logs and
files are the trainer's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mer_r1.data.sample import Rollout
from mer_r1.emotion.wheel import WheelSet
from mer_r1.models.backbone import Backbone
from mer_r1.models.category_confidence import CategoryTokens
from mer_r1.models.packing import GroupPass, group_pass, pack, with_same_media
from mer_r1.objectives import (
    CALIBRATION_REWARDS,
    COEFFICIENTS,
    REFLECTION_REWARDS,
    REWARDS,
    confidence_level,
    needs_length,
)
from mer_r1.recipe import RlSection
from mer_r1.rl.advantages import advantages, moments
from mer_r1.rl.calibration import calibration_rewards, without_noise
from mer_r1.rl.kl import kl_advantages
from mer_r1.rl.losses import PolicyLoss, policy_loss
from mer_r1.rl.mismatch import Mismatch, compare
from mer_r1.rl.reflection.scores import Reflection
from mer_r1.rl.rollouts import Contexts, RolloutBatch, soft_overlong, text_rewards

_CALIBRATION = [REWARDS.index(name) for name in CALIBRATION_REWARDS]
_SAME = 1e-6  # what float32 leaves of the std of equal rewards, and of their advantages
_REFLECTION = [REWARDS.index(name) for name in REFLECTION_REWARDS]
_OVERLONG = REWARDS.index("overlong")


@dataclass(frozen=True)
class Rewarded:
    """Rollouts of a micro-batch before the policy's first pass over them.

    `rewards_PGK` is NaN for calibration. `advantages_PG` is None where the objective reads confidences,
    `reference_log_probs_BR` where there is no KL term. `num_tokens` are the response tokens in the step's loss over the
    number of its micro-batches, both of all processes; `step` counts from 1.
    """

    rollouts: RolloutBatch
    contexts: Contexts
    rewards_PGK: Tensor
    reflection: Reflection | None
    advantages_PG: Tensor | None
    reference_log_probs_BR: Tensor | None
    num_tokens: float
    step: int


@dataclass(frozen=True)
class Scored:
    """Rollouts after the policy's first pass. `words` holds, per row, the (slow, fast) confidences of answer words.

    Where another than the policy sampled, `mismatch` says how far its log-probabilities are from the old ones, and
    `correction`, (B, R) or (B, 1), is what the loss is multiplied by for it.
    """

    rewarded: Rewarded
    rewards_PGK: Tensor
    advantages_PG: Tensor
    old_log_probs_BR: Tensor
    words: list[dict[str, tuple[float, float]]] | None
    mismatch: Mismatch | None = None
    correction: Tensor | None = None


class Measurement(NamedTuple):
    """A number of a micro-batch and its weight in the mean over micro-batches and processes."""

    name: str
    value: float
    weight: float


def rewards_before_pass(
    rollouts: RolloutBatch, reflection: Reflection | None, wheels: WheelSet, rl: RlSection
) -> Tensor:
    """Rewards (P, G, K) that the texts, their lengths and a judge decide; NaN for the others."""
    rewards_PGK = text_rewards(rollouts, wheels, rl.length_penalty)
    if needs_length(rl.objective):
        cache = rl.soft_punish_cache or max(1, rl.max_completion_length // 5)
        overlong = [soft_overlong(len(row), rl.max_completion_length, cache) for row in rollouts.rows]
        rewards_PGK[..., _OVERLONG] = torch.tensor(overlong).view(rewards_PGK.shape[:2])
    if reflection is not None:
        rewards_PGK[..., _REFLECTION] = reflection.scores_PG3
    return _paid(rewards_PGK, rollouts)


def _paid(rewards_PGK: Tensor, rollouts: RolloutBatch) -> Tensor:
    """The rewards, of which a prompt without countable gold has none (NaN), so that its group has advantage 0."""
    without_P = torch.tensor([not gold for gold in rollouts.golds], device=rewards_PGK.device)
    return rewards_PGK.masked_fill(without_P[:, None, None], torch.nan)


def advantages_of(rewards_PGK: Tensor, rl: RlSection) -> Tensor:
    """Advantages (P, G) under a recipe's objective and coefficients."""
    coefficients = {name: getattr(rl, name) for name in COEFFICIENTS}
    return advantages(rewards_PGK, rl.objective, coefficients, rl.scale_rewards)


def has_spread(advantages_PG: Tensor) -> Tensor:
    """Whether the answers of each prompt (P,) differ in advantage by more than rounding."""
    return (advantages_PG.abs() > _SAME).any(1)


def read_rollouts(
    backbone: Backbone,
    model: Any,
    rollouts: RolloutBatch,
    contexts: Contexts,
    temperature: float,
    *,
    run_towers: bool = False,
    tokens: CategoryTokens | None = None,
) -> GroupPass:
    """One packed pass of `model` over a micro-batch; with `tokens` it reads the confidences too.

    The towers' output is that of the rollouts, unless `run_towers`.
    """
    encoded, fast = rollouts.encoded, contexts.fast if tokens else ()
    if fast and contexts.fast_prompts is not None:
        encoded = with_same_media(backbone, encoded, contexts.fast_prompts)
    packed = pack(encoded.prompts, contexts.slow, fast)
    return group_pass(backbone, model, packed, None if run_towers else encoded, temperature, tokens)


def score_first_pass(
    rewarded: Rewarded, first: GroupPass, tokens: CategoryTokens | None, wheels: WheelSet, rl: RlSection
) -> Scored:
    """What the first pass of the policy adds: the old log-probabilities, calibration where the objective pays it, and
    the mismatch with the sampler's log-probabilities where it gave any.

    `tokens` is the table that `first` was read with.
    """
    old_log_probs_BR = first.log_probs_BR.detach()
    mismatch, correction = None, None
    if (sampled_BR := rewarded.rollouts.generated.log_probs_BR) is not None:
        mismatch, correction = compare(old_log_probs_BR, sampled_BR, first.mask_BR, rl.mismatch, rl.mismatch_cap)
    if rewarded.advantages_PG is not None:
        rewards_PGK, advantages_PG = rewarded.rewards_PGK, rewarded.advantages_PG
        return Scored(rewarded, rewards_PGK, advantages_PG, old_log_probs_BR, None, mismatch, correction)
    assert tokens is not None, "an objective whose advantages wait for the pass reads confidences"
    level = confidence_level(rl.objective)
    found = calibration_rewards(rewarded.rollouts, rewarded.contexts, first.confidences, tokens, wheels, level)
    rewards_PGK = rewarded.rewards_PGK.clone()
    pairs_PG2 = found.pairs_B2.view(*rewards_PGK.shape[:2], 2)
    rewards_PGK[..., _CALIBRATION] = without_noise(pairs_PG2, rl.calibration_floor)
    rewards_PGK = _paid(rewards_PGK, rewarded.rollouts)
    advantages_PG = advantages_of(rewards_PGK, rl)
    return Scored(rewarded, rewards_PGK, advantages_PG, old_log_probs_BR, found.words, mismatch, correction)


def loss_of(scored: Scored, passed: GroupPass, beta: float, rl: RlSection) -> PolicyLoss:
    """The policy loss of a pass over scored rollouts: the first pass itself, or a later one.

    With rl.kl k1_in_reward its penalty joins the advantages here: the recorded ones are of the rewards alone.
    """
    reference_BR = scored.rewarded.reference_log_probs_BR
    advantages_B = scored.advantages_PG.flatten().to(passed.log_probs_BR.device)
    if rl.kl == "k1_in_reward" and reference_BR is not None:
        group = scored.rewarded.rollouts.num_generations
        advantages_B = advantages_B + kl_advantages(scored.old_log_probs_BR, reference_BR, passed.mask_BR, group, beta)
    return policy_loss(
        passed.log_probs_BR,
        scored.old_log_probs_BR,
        reference_BR,
        advantages_B,
        passed.mask_BR * in_loss(scored.rewarded.rollouts, rl).to(passed.mask_BR)[:, None],
        rl,
        beta,
        scored.rewarded.num_tokens,
        scored.correction,
    )


def in_loss(rollouts: RolloutBatch, rl: RlSection) -> Tensor:
    """Which rollouts (B,) the loss reads: all, or those that were not cut at max_completion_length."""
    stopped_B = rollouts.generated.stopped_B
    return stopped_B if rl.mask_truncated_completions else torch.ones_like(stopped_B)


def num_loss_tokens(rollouts: RolloutBatch, rl: RlSection) -> int:
    """The response tokens that the loss reads."""
    pairs = zip(rollouts.rows, in_loss(rollouts, rl).tolist(), strict=True)
    return sum(len(row) for row, is_read in pairs if is_read)


def measurements(scored: Scored, first: GroupPass) -> Iterator[Measurement]:
    """The numbers of new rollouts. A mean reward weighs as many rollouts as it applies to; entropy weighs ids.

    `frac_reward_zero_std` is the share of groups whose answers all have advantage 0. `frac_calibration_zero_std` is the
    share without spread, or with less than rl.calibration_floor, of all R+ and R- of groups that two answers have.
    """
    rollouts, reflection = scored.rewarded.rollouts, scored.rewarded.reflection
    rewards_BK = scored.rewards_PGK.flatten(0, 1)
    means, applies = rewards_BK.nanmean(0).tolist(), (~rewards_BK.isnan()).sum(0).tolist()
    for name, mean, num in zip(REWARDS, means, applies, strict=True):
        yield Measurement(f"reward/{name}", mean, num)
    size = len(rollouts.responses)
    yield Measurement("frac_reward_zero_std", float((~has_spread(scored.advantages_PG)).float().mean()), 1)
    pairs_PG2 = scored.rewards_PGK[..., _CALIBRATION]
    is_compared_P2 = (~pairs_PG2.isnan()).sum(1) > 1
    if num_compared := int(is_compared_P2.sum()):
        std_P12 = moments(pairs_PG2, ~pairs_PG2.isnan())[1]
        flat = float((std_P12[:, 0] < _SAME)[is_compared_P2].float().mean())
        yield Measurement("frac_calibration_zero_std", flat, num_compared)
    yield Measurement("answer_words", sum(len(response.labels) for response in rollouts.responses) / size, 1)
    yield Measurement("answered_share", sum(response.status == "ok" for response in rollouts.responses) / size, 1)
    if rollouts.ended is not None:
        yield Measurement("ended_share", sum(rollouts.ended) / size, 1)
    yield Measurement("response_tokens", sum(map(len, rollouts.rows)) / size, 1)
    yield Measurement("truncated_share", 1 - float(rollouts.generated.stopped_B.float().mean()), 1)
    if reflection is not None:
        yield Measurement("reflection_neutral", reflection.neutral_share, size)
    num_ids = float(rollouts.generated.mask_BR.sum())
    yield Measurement("entropy", float(first.entropy_BR.sum()) / num_ids, num_ids)


def rollout_rows(scored: Scored) -> list[Rollout]:
    """Scored rollouts as lines for rollouts.jsonl."""
    batch, reflection = scored.rewarded.rollouts, scored.rewarded.reflection
    rows = []
    for row, (text, response) in enumerate(zip(batch.texts, batch.responses, strict=True)):
        prompt, index = divmod(row, batch.num_generations)
        values = zip(REWARDS, scored.rewards_PGK[prompt, index].tolist(), strict=True)
        rows.append(
            Rollout(
                step=scored.rewarded.step,
                id=batch.ids[prompt],
                text=text,
                labels=response.labels,
                status=response.status,
                rewards={name: None if isnan(value) else value for name, value in values},
                advantage=float(scored.advantages_PG[prompt, index]),
                confidences=scored.words[row] if scored.words else None,
                reflection=reflection.answers[row] if reflection else None,
                ended=batch.ended[row] if batch.ended else None,
            )
        )
    return rows
