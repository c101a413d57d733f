"""Advantages: each objective against numpy, TRL's own formula, what absent and equal rewards do, and symmetries."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from torch import Tensor

from mer_r1.objectives import (
    OBJECTIVES,
    REWARDS,
    Objective,
    ScaleRewards,
    Term,
    confidence_level,
    needs_calibration,
    needs_initial_answer,
    needs_reflection,
    needs_wheels,
)
from mer_r1.recipe import RlSection
from mer_r1.rl.advantages import advantages, normalise

LAMBDAS = {"lambda_cali": 0.1, "lambda_fmt": 0.3, "lambda_rer": 0.2}
R, P, F, FMT, FIRST, BACK, ACC, PLUS, MINUS, _, _, RER, LONG = range(13)
K = len(REWARDS)
SCALES: tuple[ScaleRewards, ...] = ("group", "batch", "none")
GROUPS = arrays.arrays(
    np.float64, (3, 5), elements=st.sampled_from([0.0, 0.2, 0.25, 1 / 3, 0.5, 0.6, 0.75, 1.0, -0.4, 2.5])
)
REWARD_ARRAYS = arrays.arrays(
    np.float64, (3, 5, K), elements=st.sampled_from([0.0, 0.25, 1 / 3, 0.6, 1.0, -0.4, float("nan")])
)
Floats = NDArray[np.float64]


def _norm(values: Floats, scale: bool = True) -> Floats:
    """(x - mean) / (std + 1e-4) within each row, unbiased; 0 where a row has no spread; 0 for NaN."""
    result = np.zeros_like(values)
    for row, group in enumerate(values):
        present = ~np.isnan(group)
        if present.sum() > 1 and np.ptp(group[present]) > 1e-9:
            divisor = group[present].std(ddof=1) + 1e-4 if scale else 1.0
            result[row, present] = (group[present] - group[present].mean()) / divisor
    return result


def _by_hand(rewards: Floats, objective: str) -> Floats:
    """The table of docs/objectives.md."""
    get = [rewards[..., k] for k in range(K)]
    zero = [np.nan_to_num(column) for column in get]
    if objective in ("baseline", "dr_grpo"):
        return _norm(get[F] + 0.3 * get[FMT], scale=objective == "baseline")
    if objective == "rd":
        return _norm(get[R] + get[P] + 0.3 * get[FMT])
    if objective == "dapo":
        return _norm(get[F] + 0.3 * get[FMT] + zero[LONG])
    if objective == "affectgpt_r1":
        return _norm(get[F] + get[FMT])
    if objective == "videoauto_r1":
        return _norm(0.9 * zero[FIRST] + 1.1 * get[F] + get[FMT] + 0.3 * zero[BACK])
    if objective == "accuracy":
        return _norm(0.9 * get[ACC] + 0.1 * get[FMT])
    if objective in ("emo_r3", "emo_r3_words"):
        return _norm(0.8 * get[ACC if objective == "emo_r3" else F] + 0.1 * zero[RER] + 0.1 * get[FMT])
    if objective == "mer_r1_b1":
        return _norm(get[R] + get[P] + 0.1 * (zero[PLUS] + zero[MINUS]) + 0.3 * get[FMT])
    if objective == "mer_r1_b2":
        return _norm(get[R] + 0.1 * zero[PLUS]) + _norm(get[P] + 0.1 * zero[MINUS]) + 0.3 * _norm(get[FMT])
    dual = _norm(get[R]) + _norm(get[P]) + 0.3 * _norm(get[FMT])
    if objective == "rd_ad":
        return dual
    if objective == "gdpo":
        return np.asarray((dual - dual.mean()) / (dual.std(ddof=1) + 1e-4))
    if objective == "mer_r1_a2":
        return dual + 0.1 * _norm(get[PLUS])
    assert objective in ("mer_r1", "mer_r1_a1", "mer_r1_rer")
    calibrated = dual + 0.1 * (_norm(get[PLUS]) + _norm(get[MINUS]))
    return calibrated + 0.2 * _norm(get[RER]) if objective == "mer_r1_rer" else calibrated


def _random_rewards(seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    rewards = rng.choice([0.0, 0.25, 1 / 3, 0.5, 0.6, 1.0], size=(6, 5, K))
    rewards[..., PLUS : MINUS + 1] = rng.normal(size=(6, 5, 2))
    for name in (PLUS, MINUS, FIRST, BACK, RER):
        rewards[..., name][rng.random((6, 5)) < 0.3] = np.nan
    rewards[0, :, PLUS] = np.nan
    rewards[1, :, R] = 0.5
    return rewards


def _advantages(rewards: NDArray[Any], objective: str, scale: ScaleRewards = "group") -> Floats:
    return advantages(torch.tensor(rewards), objective, LAMBDAS, scale).numpy()


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("seed", range(5))
def test_every_objective_is_its_formula(objective: str, seed: int) -> None:
    rewards = _random_rewards(seed)
    np.testing.assert_allclose(_advantages(rewards, objective), _by_hand(rewards, objective), atol=1e-9)


def test_a_new_objective_is_one_entry_that_recipes_accept(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Objective((Term({"recall": 1.0}), Term({"calibration_plus": 0.5})))
    monkeypatch.setitem(OBJECTIVES, "mine", mine)
    assert RlSection(objective="mine").objective == "mine"
    assert needs_calibration("mine")
    assert needs_wheels("mine")
    assert not needs_reflection("mine")


def test_every_objective_reads_rewards_that_there_are() -> None:
    for objective in OBJECTIVES.values():
        assert {name for term in objective.terms for name in term.parts} <= set(REWARDS)
    assert len(set(REWARDS)) == len(REWARDS)


def test_a_reward_that_there_is_not_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OBJECTIVES, "mine", Objective((Term({"recal": 1.0}),)))
    with pytest.raises(ValueError, match=r"reads 'recal', and no reward has that name; did you mean 'recall'\?"):
        advantages(torch.zeros(1, 2, K), "mine", LAMBDAS)


def test_what_the_objectives_need_follows_from_their_rewards() -> None:
    calibrated = ["mer_r1", "mer_r1_a1", "mer_r1_a2", "mer_r1_b1", "mer_r1_b2", "mer_r1_rer"]
    assert [name for name in OBJECTIVES if needs_calibration(name)] == calibrated
    assert [name for name in OBJECTIVES if needs_initial_answer(name)] == ["videoauto_r1"]
    assert [name for name in OBJECTIVES if needs_reflection(name)] == ["emo_r3", "emo_r3_words", "mer_r1_rer"]
    assert [name for name in OBJECTIVES if not needs_wheels(name)] == ["accuracy", "emo_r3"]
    assert [name for name in OBJECTIVES if confidence_level(name) == "word"] == ["mer_r1_a1"]


def test_disentangling_rewards_is_not_disentangling_advantages() -> None:
    """A reward with the larger spread rules a sum before normalisation and not one after it."""
    rewards = np.zeros((1, 4, K))
    rewards[0, :, R] = [0.0, 1.0, 0.0, 1.0]
    rewards[0, :, P] = [0.6, 0.5, 0.5, 0.4]
    entangled, apart = (_advantages(rewards, name)[0] for name in ("rd", "rd_ad"))
    assert entangled[3] > entangled[0]  # recall alone decides
    assert apart[3] == pytest.approx(apart[2] + apart[1] - apart[0], abs=1e-6)
    assert apart[0] > entangled[0]


def test_a_reward_that_does_not_apply_gives_no_advantage_and_shifts_no_other() -> None:
    values = torch.tensor([[0.2, torch.nan, 0.8, torch.nan, 0.5]])
    made = normalise(values)
    assert made[0, [1, 3]].tolist() == [0.0, 0.0]
    torch.testing.assert_close(made[0, [0, 2, 4]], normalise(torch.tensor([[0.2, 0.8, 0.5]]))[0])


def test_a_reward_that_applies_to_one_or_none_gives_no_advantage() -> None:
    values = torch.tensor([[torch.nan, 3.0, torch.nan], [torch.nan] * 3])
    for scale in SCALES:
        assert normalise(values, scale).tolist() == [[0.0] * 3] * 2


def test_an_absent_reward_within_a_sum_counts_as_nothing() -> None:
    rewards = np.zeros((1, 3, K))
    rewards[0, :, R], rewards[0, :, P], rewards[0, :, FMT] = (0.5, np.nan, 1.0), (0.5, np.nan, 0.0), (1.0, 1.0, 0.0)
    expected = _norm(np.array([[1.3, 0.3, 1.0]]))
    np.testing.assert_allclose(_advantages(rewards, "rd"), expected, atol=1e-9)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("value", [0.0, 1 / 3, 0.1 + 0.2, 2.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_group_without_spread_has_advantage_zero(value: float, dtype: torch.dtype, scale: ScaleRewards) -> None:
    values = torch.full((3, 7), value, dtype=dtype)
    values[1, 3] += torch.finfo(dtype).eps * value  # equal but for the last bit of a sum
    values[2] = torch.arange(7)  # so the batch has a spread
    made = normalise(values, scale)
    assert made[:2].eq(0).all()
    assert made[2].ne(0).any()


@pytest.mark.parametrize("num_prompts", [1, 4])
def test_a_group_of_one_has_advantage_zero(num_prompts: int) -> None:
    rewards = np.random.default_rng(0).random((num_prompts, 1, K))
    for objective, scale in product(OBJECTIVES, SCALES):
        assert (_advantages(rewards, objective, scale) == 0).all()


ANY_OBJECTIVE, ANY_SCALE = st.sampled_from(sorted(OBJECTIVES)), st.sampled_from(SCALES)


@settings(max_examples=100)
@given(ANY_OBJECTIVE, ANY_SCALE, REWARD_ARRAYS)
def test_no_rewards_make_an_advantage_that_is_no_number(objective: str, scale: ScaleRewards, rewards: Floats) -> None:
    made = _advantages(rewards, objective, scale)
    assert np.isfinite(made).all()
    names = [REWARDS.index(name) for term in OBJECTIVES[objective].terms for name in term.parts]
    nothing_applies = np.isnan(rewards[..., names]).all(-1)
    assert (made[nothing_applies] == 0).all()


@settings(max_examples=100)
@given(ANY_OBJECTIVE, ANY_SCALE, REWARD_ARRAYS)
def test_advantages_of_a_group_sum_to_zero(objective: str, scale: ScaleRewards, rewards: Floats) -> None:
    made = _advantages(rewards, objective, scale)
    if OBJECTIVES[objective].whiten:
        np.testing.assert_allclose(made.sum(), 0, atol=1e-9)  # over the batch
    else:
        np.testing.assert_allclose(made.sum(1), 0, atol=1e-9)


@settings(max_examples=100)
@given(ANY_OBJECTIVE, ANY_SCALE, REWARD_ARRAYS, st.permutations(range(5)))
def test_the_order_within_a_group_does_not_matter(
    objective: str, scale: ScaleRewards, rewards: Floats, order: list[int]
) -> None:
    made = _advantages(rewards, objective, scale)[:, order]
    np.testing.assert_allclose(_advantages(rewards[:, order], objective, scale), made, atol=1e-9)


@given(GROUPS)
def test_an_advantage_is_centred_and_of_unit_spread_whatever_the_scale(values: Floats) -> None:
    made = normalise(torch.tensor(values)).numpy()
    np.testing.assert_allclose(made.mean(1), 0, atol=1e-9)
    for group, advantage in zip(values, made, strict=True):
        spread = group.std(ddof=1)
        assert advantage.std(ddof=1) == pytest.approx(spread / (spread + 1e-4) if np.ptp(group) else 0.0, abs=1e-6)


@given(GROUPS, st.floats(0.5, 50), st.floats(-5, 5))
def test_scale_and_shift_of_a_reward_do_not_matter(values: Floats, scale: float, shift: float) -> None:
    assume(all(group.std() > 0.05 for group in values))
    for mode in SCALES[:2]:
        one, other = (normalise(torch.tensor(v), mode).numpy() for v in (values, scale * values + shift))
        np.testing.assert_allclose(other, one, atol=0.02)  # 1e-4 is added to the standard deviation
    one, other = (normalise(torch.tensor(v), "none").numpy() for v in (values, scale * values + shift))
    np.testing.assert_allclose(other, scale * one, atol=1e-9)


@given(GROUPS)
def test_groups_do_not_see_each_other(values: Floats) -> None:
    together = normalise(torch.tensor(values))
    for row in range(len(values)):
        torch.testing.assert_close(normalise(torch.tensor(values[row : row + 1])), together[row : row + 1])


# ---- TRL 1.16: how grpo_trainer.py comes from rewards to advantages, and what its nanstd computes


def _nanstd(values: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    variance = (values - values.nanmean(dim, keepdim=True)).square().nanmean(dim, keepdim=keepdim)
    count = (~values.isnan()).sum(dim, keepdim=keepdim)
    return (variance * torch.where(count > 1, count / (count - 1), torch.nan)).sqrt()


def _trl_sum_then_normalize(rewards_PGK: Tensor, weights_K: Tensor, scale: ScaleRewards) -> Tensor:
    rewards_PG = (rewards_PGK * weights_K).nansum(-1)
    rewards_PG[rewards_PGK.isnan().all(-1)] = torch.nan
    centred_PG = rewards_PG - rewards_PG.nanmean(1, keepdim=True)
    if scale != "none":
        centred_PG = centred_PG / ((_nanstd(rewards_PG, 1, True) if scale == "group" else _nanstd(rewards_PG)) + 1e-4)
    return centred_PG.nan_to_num(0.0)


def _trl_normalize_then_sum(rewards_PGK: Tensor, weights_K: Tensor) -> Tensor:
    normal_PGK = (rewards_PGK - rewards_PGK.nanmean(1, keepdim=True)) / (_nanstd(rewards_PGK, 1, True) + 1e-4)
    rewards_PG = (normal_PGK * weights_K).nansum(-1)
    rewards_PG[rewards_PGK.isnan().all(-1)] = torch.nan
    return ((rewards_PG - rewards_PG.nanmean()) / (_nanstd(rewards_PG) + 1e-4)).nan_to_num(0.0)


@pytest.mark.parametrize("seed", range(10))
def test_gdpo_is_trls_normalize_then_sum(seed: int) -> None:
    rewards = _random_rewards(seed)
    rewards[2, 1:3, [[R], [P], [FMT]]] = np.nan  # nothing applies to these
    rewards[3, 0, R] = np.nan
    rewards[4, 1:, P] = np.nan  # applies to one
    chosen = torch.tensor(rewards[..., [R, P, FMT]])
    expected = _trl_normalize_then_sum(chosen, torch.tensor([1.0, 1.0, 0.3], dtype=torch.float64))
    np.testing.assert_allclose(_advantages(rewards, "gdpo"), expected, atol=1e-6)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("seed", range(5))
def test_scale_rewards_means_what_it_means_in_trl(seed: int, scale: ScaleRewards) -> None:
    rewards = _random_rewards(seed)
    rewards[2, 1:3, [[F], [FMT]]] = np.nan
    rewards[3, 0, F] = np.nan
    chosen = torch.tensor(rewards[..., [F, FMT]])
    weights = torch.tensor([1.0, 0.3], dtype=torch.float64)
    expected = _trl_sum_then_normalize(chosen, weights, scale)
    np.testing.assert_allclose(_advantages(rewards, "baseline", scale), expected, atol=1e-6)
    plain = _trl_sum_then_normalize(chosen, weights, "none")
    np.testing.assert_allclose(_advantages(rewards, "dr_grpo", scale), plain, atol=1e-6)
