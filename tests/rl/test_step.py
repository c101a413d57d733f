"""A step's values: what each stage adds, and that it leaves those before it as they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import pytest
import torch

from mer_r1.emotion.wheel import WheelSet
from mer_r1.models.backbone import pad_right
from mer_r1.models.category_confidence import category_tokens
from mer_r1.models.packing import GroupPass
from mer_r1.models.qwen2_5_omni import OmniBackbone
from mer_r1.models.types import Generated, Prompt
from mer_r1.objectives import CALIBRATION_REWARDS, REWARDS
from mer_r1.prompting.response import RESPONSE_FORMATS, parse_response
from mer_r1.recipe import RlSection
from mer_r1.rl import step as step_module
from mer_r1.rl.losses import PolicyLoss, policy_loss
from mer_r1.rl.rollouts import RolloutBatch, contexts
from mer_r1.rl.step import (
    Rewarded,
    Scored,
    advantages_of,
    has_spread,
    loss_of,
    measurements,
    num_loss_tokens,
    read_rollouts,
    rewards_before_pass,
    rollout_rows,
    score_first_pass,
)

WHEELS = WheelSet.load("builtin")
TEXTS = (
    "<think>A smile.</think><answer>happy, sad</answer>",
    "<think>A loud voice.</think><answer>angry, furious</answer>",
    "<think>Nothing.</think><answer>calm</answer>",
    "<answer>happy</answer>",
)
Golds = tuple[tuple[str, ...], ...]
GOLDS: Golds = (("happy", "joyful"), ("angry", "calm"))
CALIBRATION = [REWARDS.index(name) for name in CALIBRATION_REWARDS]


def _rollouts(backbone: OmniBackbone, prompts: Sequence[Prompt], golds: Golds = GOLDS) -> RolloutBatch:
    encoded = backbone.encode(backbone.collate(prompts[:2]))
    rows = [[*backbone.text_ids(text), backbone.tokenizer.eos_token_id] for text in TEXTS]
    stopped = torch.ones(len(rows), dtype=torch.bool)
    generated = Generated(*pad_right(rows, backbone.tokenizer.pad_token_id, backbone.device), stopped)
    return RolloutBatch(("a", "b"), golds, encoded, generated, rows, list(TEXTS), [parse_response(t) for t in TEXTS])


def _step(
    backbone: OmniBackbone, prompts: Sequence[Prompt], rl: RlSection, golds: Golds = GOLDS
) -> tuple[Rewarded, GroupPass, Scored]:
    tokens = category_tokens(backbone, WHEELS) if rl.objective == "mer_r1" else None
    rollouts = _rollouts(backbone, prompts, golds)
    branches = contexts(backbone, rollouts, RESPONSE_FORMATS["think_answer"], tokens is not None)
    rewards = rewards_before_pass(rollouts, None, WHEELS, rl)
    before = None if tokens else advantages_of(rewards, rl)
    rewarded = Rewarded(rollouts, branches, rewards, None, before, None, 10.0, step=3)
    first = read_rollouts(backbone, backbone.model, rollouts, branches, 1.0, tokens=tokens)
    return rewarded, first, score_first_pass(rewarded, first, tokens, WHEELS, rl)


@pytest.mark.parametrize("objective", ["mer_r1", "baseline"])
def test_scoring_leaves_what_was_known_before_the_pass_as_it_was(
    tiny: OmniBackbone, prompts: Sequence[Prompt], objective: Any
) -> None:
    rewarded, first, scored = _step(tiny, prompts, RlSection(objective=objective))
    assert scored.rewarded is rewarded
    assert rewarded.rewards_PGK[..., CALIBRATION].isnan().all()
    assert torch.equal(scored.old_log_probs_BR, first.log_probs_BR)
    assert not scored.old_log_probs_BR.requires_grad
    for value in (rewarded, scored):
        with pytest.raises(AttributeError):
            setattr(value, fields(value)[0].name, None)


def test_calibration_rewards_come_with_the_pass_and_enter_the_advantages(
    tiny: OmniBackbone, prompts: Sequence[Prompt]
) -> None:
    rl = RlSection(objective="mer_r1", lambda_cali=0.5, calibration_floor=0)  # an untaught model spreads little
    rewarded, _, scored = _step(tiny, prompts, rl)
    assert not scored.rewards_PGK[..., CALIBRATION].isnan().all()
    others = [index for index in range(len(REWARDS)) if index not in CALIBRATION]
    torch.testing.assert_close(
        scored.rewards_PGK[..., others], rewarded.rewards_PGK[..., others], equal_nan=True, atol=0, rtol=0
    )
    assert torch.equal(scored.advantages_PG, advantages_of(scored.rewards_PGK, rl))
    assert not torch.equal(scored.advantages_PG, advantages_of(rewarded.rewards_PGK, rl))
    assert scored.words is not None
    assert set(scored.words[0]) == {"happy", "sad"}


def test_advantages_known_before_the_pass_are_kept(tiny: OmniBackbone, prompts: Sequence[Prompt]) -> None:
    rewarded, _, scored = _step(tiny, prompts, RlSection(objective="baseline"))
    assert scored.advantages_PG is rewarded.advantages_PG
    assert scored.words is None


def test_the_loss_of_the_first_pass_is_minus_the_mean_advantage(tiny: OmniBackbone, prompts: Sequence[Prompt]) -> None:
    """All ratios are 1 there, so a rollout's tokens each lose its advantage."""
    _, first, scored = _step(tiny, prompts, rl := RlSection(objective="baseline", scale_rewards="none"))
    weighted = RlSection(objective="baseline", scale_rewards="none", loss_type="bnpo")
    lengths = first.mask_BR.sum(1)
    assert float(loss_of(scored, first, 0.0, rl).loss.detach()) == pytest.approx(
        -float(scored.advantages_PG.mean()), abs=1e-6
    )
    expected = -float((scored.advantages_PG.flatten() * lengths).sum() / lengths.sum())
    assert float(loss_of(scored, first, 0.0, weighted).loss.detach()) == pytest.approx(expected, abs=1e-6)
    assert abs(expected) > 1e-3


def _loss_inputs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What policy_loss is given from now on."""
    calls: list[tuple[Any, ...]] = []

    def spy(*args: Any) -> PolicyLoss:
        calls.append(args)
        return policy_loss(*args)

    monkeypatch.setattr(step_module, "policy_loss", spy)
    return calls


def test_an_answer_that_was_cut_is_left_out_of_the_loss_where_the_recipe_says_so(
    tiny: OmniBackbone, prompts: Sequence[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reward stays in its group, and it counts as a row: the mean over responses divides by all of them."""
    calls = _loss_inputs(monkeypatch)
    kept, masked = (RlSection(objective="baseline", mask_truncated_completions=mask) for mask in (False, True))
    _, first, scored = _step(tiny, prompts, kept)
    rollouts = scored.rewarded.rollouts
    rollouts.generated.stopped_B[1] = False
    losses = [float(loss_of(scored, first, 0.0, rl).loss.detach()) for rl in (kept, masked)]
    assert torch.equal(calls[0][4], first.mask_BR)
    assert torch.equal(calls[1][4].any(1), torch.tensor([True, False, True, True]))
    assert torch.equal(calls[0][3], calls[1][3])  # the advantages
    assert losses[1] == pytest.approx(losses[0] + float(scored.advantages_PG[0, 1]) / 4, abs=1e-6)
    assert num_loss_tokens(rollouts, kept) - num_loss_tokens(rollouts, masked) == len(rollouts.rows[1])
    shares = {name: value for name, value, _ in measurements(scored, first)}
    assert shares["truncated_share"] == 0.25


def test_overlong_answers_are_punished_as_trl_punishes_them(tiny: OmniBackbone, prompts: Sequence[Prompt]) -> None:
    """Within the one reward, before it is normalised; other objectives pay no length."""
    pytest.importorskip("trl")
    from trl.rewards import get_soft_overlong_punishment

    rollouts = _rollouts(tiny, prompts)
    lengths = [len(row) for row in rollouts.rows]
    most = max(lengths)
    rl = RlSection(objective="dapo", max_completion_length=most, soft_punish_cache=most - min(lengths))
    rewards_PGK = rewards_before_pass(rollouts, None, WHEELS, rl)
    theirs = get_soft_overlong_punishment(most, most - min(lengths))(rollouts.rows)
    assert rewards_PGK[..., REWARDS.index("overlong")].flatten().tolist() == pytest.approx(theirs)
    assert min(theirs) == -1 < max(theirs) == 0
    assert not torch.equal(advantages_of(rewards_PGK, rl), advantages_of(rewards_PGK, RlSection(objective="baseline")))
    plain = rewards_before_pass(rollouts, None, WHEELS, RlSection(objective="baseline"))
    assert plain[..., REWARDS.index("overlong")].isnan().all()
    fifth = RlSection(objective="dapo", max_completion_length=5 * most)
    assert rewards_before_pass(rollouts, None, WHEELS, fifth)[..., REWARDS.index("overlong")].eq(0).all()


def test_k1_in_reward_joins_the_advantages_of_the_loss_and_not_the_recorded_ones(
    tiny: OmniBackbone, prompts: Sequence[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = _loss_inputs(monkeypatch)
    rl = RlSection(objective="baseline", kl="k1_in_reward")
    rewarded, first, scored = _step(tiny, prompts, rl)
    reference = scored.old_log_probs_BR - torch.tensor([0.1, 0.3, 0.2, 0.2])[:, None] * first.mask_BR
    scored = replace(scored, rewarded=replace(rewarded, reference_log_probs_BR=reference))
    loss_of(scored, first, 0.5, rl)
    k = torch.tensor([0.1, 0.3, 0.2, 0.2]) * first.mask_BR.sum(1)
    centred = (k.view(2, 2) - k.view(2, 2).mean(1, keepdim=True)).flatten()
    torch.testing.assert_close(calls[0][3], scored.advantages_PG.flatten() - 0.5 * centred)
    assert [row.advantage for row in rollout_rows(scored)] == scored.advantages_PG.flatten().tolist()


def test_a_mean_reward_weighs_the_rollouts_it_applies_to(tiny: OmniBackbone, prompts: Sequence[Prompt]) -> None:
    _, first, scored = _step(tiny, prompts, RlSection(objective="mer_r1"))
    found = {name: (value, weight) for name, value, weight in measurements(scored, first)}
    plus = scored.rewards_PGK[..., CALIBRATION[0]].flatten()
    known = plus[~plus.isnan()]
    assert 0 < len(known) < 4
    assert found["reward/calibration_plus"] == pytest.approx((float(known.mean()), len(known)))
    assert found["reward/recall"][1] == 4
    assert found["entropy"][1] == sum(map(len, scored.rewarded.rollouts.rows))


def test_a_group_whose_advantages_are_rounding_has_no_spread(tiny: OmniBackbone, prompts: Sequence[Prompt]) -> None:
    """Whitening over the batch leaves a group of equal rewards some 1e-8 away from 0."""
    rewards_PGK = torch.rand(8, 4, len(REWARDS), generator=torch.Generator().manual_seed(0))
    rewards_PGK[::3] = rewards_PGK[::3, :1]
    advantages_PG = advantages_of(rewards_PGK, RlSection(objective="gdpo"))
    assert 0 < float(advantages_PG[::3].abs().max()) < 1e-6
    assert has_spread(advantages_PG).tolist() == [bool(prompt % 3) for prompt in range(8)]
    rl = RlSection(objective="baseline")
    _, first, scored = _step(tiny, prompts, rl)
    scored = replace(scored, advantages_PG=torch.tensor([[2e-8, -2e-8], [1.0, -1.0]]))
    measured = {item.name: item.value for item in measurements(scored, first)}
    assert measured["frac_reward_zero_std"] == 0.5


def test_lines_of_a_step_hold_its_rewards_and_advantages(tiny: OmniBackbone, prompts: Sequence[Prompt]) -> None:
    _, _, scored = _step(tiny, prompts, RlSection(objective="mer_r1"))
    rows = rollout_rows(scored)
    assert [row.text for row in rows] == list(TEXTS)
    assert [row.advantage for row in rows] == scored.advantages_PG.flatten().tolist()
    assert {row.step for row in rows} == {3}
    assert rows[3].rewards["format"] == 0.0


@pytest.mark.parametrize("objective", ["mer_r1", "baseline", "gdpo", "accuracy"])
def test_a_prompt_without_countable_gold_is_paid_nothing(
    tiny: OmniBackbone, prompts: Sequence[Prompt], objective: Any
) -> None:
    """Not its format either: all its rewards are absent, and its group's advantages 0."""
    rewarded, first, scored = _step(tiny, prompts, RlSection(objective=objective), golds=(("happy",), ()))
    assert rewarded.rewards_PGK[1].isnan().all()
    assert scored.rewards_PGK[1].isnan().all()
    assert (scored.advantages_PG[1] == 0).all()
    assert not scored.rewards_PGK[0].isnan().all()
    weights = {name: weight for name, _, weight in measurements(scored, first)}
    assert weights["reward/format"] == scored.advantages_PG.shape[1]


@pytest.mark.slow
def test_calibration_that_spreads_less_than_the_floor_has_no_advantage_and_is_counted(
    tiny: OmniBackbone, prompts: Sequence[Prompt]
) -> None:
    found = {}
    for floor in (0.0, 100.0):
        _, first, scored = _step(tiny, prompts, RlSection(objective="mer_r1", calibration_floor=floor))
        measured = {item.name: item.value for item in measurements(scored, first)}
        found[floor] = scored.rewards_PGK[..., CALIBRATION], scored.advantages_PG, measured["frac_calibration_zero_std"]
    (exact, with_noise, num_exact), (level, without, num_level) = found.values()
    assert torch.equal(exact.isnan(), level.isnan())
    assert torch.allclose(exact.nanmean(1), level.nanmean(1), equal_nan=True)
    compared = (~exact.isnan()).sum(1) > 1
    assert compared.any()
    assert (num_exact, num_level) == (0.0, 1.0)
    _, _, uncalibrated = _step(tiny, prompts, RlSection(objective="rd_ad"))
    assert torch.allclose(without, uncalibrated.advantages_PG)
    assert not torch.allclose(with_noise, without)
