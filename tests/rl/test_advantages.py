"""Advantages: each objective against numpy, what absent and equal rewards do, and Proposition 1 of the paper."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from mer_r1.rl.advantages import OBJECTIVES, REWARDS, advantages, needs_calibration, normalise

LAMBDAS = {"lambda_cali": 0.1, "lambda_fmt": 0.3}
R, P, F, FMT, PLUS, MINUS = range(6)
GROUPS = arrays.arrays(
    np.float64, (3, 5), elements=st.sampled_from([0.0, 0.2, 0.25, 1 / 3, 0.5, 0.6, 0.75, 1.0, -0.4, 2.5])
)


def _norm(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(x - mean) / (std + 1e-4) within each row, unbiased; 0 where a row has no spread; 0 for NaN."""
    result = np.zeros_like(values)
    for row, group in enumerate(values):
        present = ~np.isnan(group)
        if present.sum() > 1 and np.ptp(group[present]) > 1e-9:
            std = group[present].std(ddof=1)
            result[row, present] = (group[present] - group[present].mean()) / (std + 1e-4)
    return result


def _by_hand(rewards: NDArray[np.float64], objective: str) -> NDArray[np.float64]:
    """The table of docs/architecture.md, Section 5."""
    get = [rewards[..., k] for k in range(6)]
    if objective == "baseline":
        return _norm(get[F] + 0.3 * get[FMT])
    if objective == "rd":
        return _norm(get[R] + get[P] + 0.3 * get[FMT])
    dual = _norm(get[R]) + _norm(get[P]) + 0.3 * _norm(get[FMT])
    if objective == "rd_ad":
        return dual
    assert objective == "mer_r1"
    return dual + 0.1 * (_norm(get[PLUS]) + _norm(get[MINUS]))


def _random_rewards(seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    rewards = rng.choice([0.0, 0.25, 1 / 3, 0.5, 0.6, 1.0], size=(6, 5, len(REWARDS)))
    rewards[..., PLUS:] = rng.normal(size=(6, 5, 2))
    rewards[..., PLUS:][rng.random((6, 5, 2)) < 0.3] = np.nan
    rewards[0, :, PLUS] = np.nan
    rewards[1, :, R] = 0.5
    return rewards


def _advantages(rewards: NDArray[Any], objective: str) -> NDArray[np.float64]:
    return advantages(torch.tensor(rewards), objective, LAMBDAS).numpy()


@pytest.mark.parametrize("objective", ["baseline", "rd", "rd_ad", "mer_r1"])
@pytest.mark.parametrize("seed", range(5))
def test_every_objective_is_its_formula(objective: str, seed: int) -> None:
    rewards = _random_rewards(seed)
    np.testing.assert_allclose(_advantages(rewards, objective), _by_hand(rewards, objective), atol=1e-9)


def test_the_objectives_are_those_of_the_table() -> None:
    assert tuple(OBJECTIVES) == ("baseline", "rd", "rd_ad", "mer_r1")
    assert [name for name in OBJECTIVES if needs_calibration(name)] == ["mer_r1"]


def test_disentangling_rewards_is_not_disentangling_advantages() -> None:
    """A reward with the larger spread rules a sum before normalisation and not one after it."""
    rewards = np.zeros((1, 4, 6))
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
    assert normalise(values).tolist() == [[0.0] * 3] * 2


def test_an_absent_reward_within_a_sum_counts_as_nothing() -> None:
    rewards = np.zeros((1, 3, 6))
    rewards[0, :, R], rewards[0, :, P], rewards[0, :, FMT] = (0.5, np.nan, 1.0), (0.5, np.nan, 0.0), (1.0, 1.0, 0.0)
    expected = _norm(np.array([[1.3, 0.3, 1.0]]))
    np.testing.assert_allclose(_advantages(rewards, "rd"), expected, atol=1e-9)


@pytest.mark.parametrize("value", [0.0, 1 / 3, 0.1 + 0.2, 2.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_group_without_spread_has_advantage_zero(value: float, dtype: torch.dtype) -> None:
    values = torch.full((2, 7), value, dtype=dtype)
    values[1, 3] += torch.finfo(dtype).eps * value  # equal but for the last bit of a sum
    assert normalise(values).eq(0).all()


@given(GROUPS)
def test_an_advantage_is_centred_and_of_unit_spread_whatever_the_scale(values: NDArray[np.float64]) -> None:
    made = normalise(torch.tensor(values)).numpy()
    np.testing.assert_allclose(made.mean(1), 0, atol=1e-9)
    for group, advantage in zip(values, made, strict=True):
        spread = group.std(ddof=1)
        assert advantage.std(ddof=1) == pytest.approx(spread / (spread + 1e-4) if np.ptp(group) else 0.0, abs=1e-6)


@given(GROUPS, st.floats(0.5, 50), st.floats(-5, 5))
def test_scale_and_shift_of_a_reward_do_not_matter(values: NDArray[np.float64], scale: float, shift: float) -> None:
    assume(all(group.std() > 0.05 for group in values))
    one, other = (normalise(torch.tensor(v)).numpy() for v in (values, scale * values + shift))
    np.testing.assert_allclose(other, one, atol=0.02)  # 1e-4 is added to the standard deviation


@given(GROUPS)
def test_groups_do_not_see_each_other(values: NDArray[np.float64]) -> None:
    together = normalise(torch.tensor(values))
    for row in range(len(values)):
        torch.testing.assert_close(normalise(torch.tensor(values[row : row + 1])), together[row : row + 1])


@given(GROUPS, st.permutations(range(5)))
def test_the_order_within_a_group_does_not_matter(values: NDArray[np.float64], order: list[int]) -> None:
    one = normalise(torch.tensor(values))[:, order]
    torch.testing.assert_close(normalise(torch.tensor(values[:, order])), one)


@given(
    arrays.arrays(np.float64, (2, 12), elements=st.floats(0, 1)),
)
def test_recall_and_precision_correlate_alike_with_the_dual_advantage(values: NDArray[np.float64]) -> None:
    """Proposition 1, Eq. 7; by Proposition 3 both correlations are sqrt((1 + rho) / 2)."""
    recall, precision = values
    assume(recall.std() > 0.05)
    assume(precision.std() > 0.05)
    rho = np.corrcoef(recall, precision)[0, 1]
    assume(rho > -0.95)
    rewards = np.zeros((1, 12, 6))
    rewards[0, :, R], rewards[0, :, P] = recall, precision
    dual = _advantages(rewards, "rd_ad")[0]
    correlations = [np.corrcoef(reward, dual)[0, 1] for reward in (recall, precision)]
    assert correlations == pytest.approx([np.sqrt((1 + rho) / 2)] * 2, abs=0.01)


def test_the_f1_advantage_leans_to_the_reward_of_larger_spread() -> None:
    """Proposition 1, Eq. 6: with tau > 1 recall rules the baseline's advantage, with tau < 1 precision does."""
    rng = np.random.default_rng(0)
    wide, narrow = 0.5 + 0.2 * rng.uniform(-1, 1, 200), 0.5 + 0.02 * rng.uniform(-1, 1, 200)
    for recall, precision in ((wide, narrow), (narrow, wide)):
        rewards = np.zeros((1, 200, 6))
        rewards[0, :, R], rewards[0, :, P] = recall, precision
        rewards[0, :, F] = 2 * recall * precision / (recall + precision)
        made = _advantages(rewards, "baseline")[0]
        with_recall, with_precision = np.corrcoef(recall, made)[0, 1], np.corrcoef(precision, made)[0, 1]
        assert (with_recall > with_precision) == (recall is wide)
