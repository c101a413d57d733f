"""Propositions 1-3 of the paper on sampled groups, and that the groups are what they say."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mer_r1.metrics.open_vocabulary import set_statistics
from mer_r1.metrics.rewards import sample_scores
from mer_r1.objectives import EPS, REWARDS
from mer_r1.rl import theory
from mer_r1.rl.advantages import advantages
from mer_r1.rl.theory import Floats, Groups, Measured, measure, sample_sets, sample_words, summary
from tests.small_wheels import SMALL

SETS = sample_sets(400, 64, seed=0)
MEASURED = measure(SETS)
PAIRS = arrays.arrays(np.float64, (2, 1, 12), elements=st.sampled_from([0.0, 0.2, 0.25, 1 / 3, 0.5, 0.75, 1.0]))


def _f1(recall: Floats, precision: Floats) -> Floats:
    return np.asarray(2 * recall * precision / np.maximum(recall + precision, 1e-12))


def _measured(recall: Floats, precision: Floats) -> Measured:
    return measure(Groups(recall, precision, _f1(recall, precision)))


def test_rewards_are_those_of_sets() -> None:
    recall, precision, f1 = SETS
    for rewards in SETS:
        assert ((rewards >= 0) & (rewards <= 1)).all()
    np.testing.assert_allclose(f1, _f1(recall, precision), atol=1e-9)
    assert ((recall == 0) == (precision == 0)).all()
    gold_sizes = np.arange(1, 41)
    for group in recall:  # a recall is a count over the gold's size, the same for all of a group
        counts = group[:, None] * gold_sizes
        assert np.isclose(counts, counts.round(), atol=1e-9).all(axis=0).any()
    assert MEASURED.rho_N.min() < -0.2
    assert MEASURED.rho_N.max() > 0.9


def test_words_are_scored_by_the_trainers_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def keep(gold: list[str], answer: list[str], wheels: object) -> object:
        seen.append(sample_scores(set_statistics(gold, answer, SMALL)))
        return set_statistics(gold, answer, SMALL)

    monkeypatch.setattr(theory, "set_statistics", keep)
    groups = sample_words(3, 5, 0, SMALL)
    np.testing.assert_array_equal(np.stack(groups, axis=-1).reshape(-1, 3), seen)


@pytest.mark.parametrize("groups", [SETS, sample_sets(400, 4, seed=1), sample_words(20, 32, 0, SMALL)])
def test_proposition_3_is_exact(groups: Groups) -> None:
    made = measure(groups)
    assert len(made.rho_N) > 10
    assert np.abs(made.dual_N2 - np.sqrt((1 + made.rho_N) / 2)[:, None]).max() < 1e-9


@given(PAIRS)
def test_proposition_3_holds_for_any_rewards(pairs: Floats) -> None:
    made = _measured(*pairs)
    assume(len(made.rho_N))
    assert made.rho_N[0] == pytest.approx(np.corrcoef(*pairs[:, 0])[0, 1])
    assert made.dual_N2[0] == pytest.approx([np.sqrt((1 + made.rho_N[0]) / 2)] * 2, abs=1e-9)


@given(PAIRS)
def test_the_trainers_advantage_tilts_by_its_eps_and_no_more(pairs: Floats) -> None:
    """dual_eps is the product's own rd_ad, and leaves Prop. 3 by (1 - rho^2) |a - b| / (2 + 2 rho)^1.5 at first order,
    where a, b = sigma / (sigma + EPS) with unbiased sigma."""
    made = _measured(*pairs)
    assume(len(made.rho_N))
    rewards = np.zeros((1, 12, len(REWARDS)))
    rewards[..., 0], rewards[..., 1] = pairs
    dual = advantages(torch.tensor(rewards), "rd_ad", {"lambda_fmt": 0.1}).numpy()[0]
    own = [np.corrcoef(reward, dual)[0, 1] for reward in pairs[:, 0]]
    assert made.dual_eps_N2[0] == pytest.approx(own, abs=1e-9)
    rho = made.rho_N[0]
    assume(rho > -0.9)
    kept = [std / (std + EPS) for std in pairs[:, 0].std(axis=1, ddof=1)]
    bound = (1 - rho**2) * abs(kept[0] - kept[1]) / (2 + 2 * rho) ** 1.5
    assert np.abs(made.dual_eps_N2[0] - made.dual_expected_N[0]).max() <= 1.1 * bound + 1e-9


def test_proposition_2_becomes_exact_as_the_spread_shrinks() -> None:
    rng = np.random.default_rng(0)
    means = rng.uniform(0.3, 0.8, (2, 200, 1))
    noise = rng.normal(size=(2, 200, 64)) * rng.uniform(0.2, 1.0, (2, 200, 1))
    errors = []
    for scale in (0.1, 0.01, 0.001):
        made = _measured(*(means + scale * noise))
        errors.append(float(np.abs(made.f1_N2 - made.f1_approx_N2).max()))
    assert errors[1] < errors[0] / 5
    assert errors[2] < errors[1] / 5
    assert errors[2] < 1e-3


def test_proposition_1_names_the_side_where_the_spread_is_small_and_tau_is_far_from_one() -> None:
    rng = np.random.default_rng(1)
    means = rng.uniform(0.3, 0.8, (2, 400, 1))
    noise = 0.01 * rng.normal(size=(2, 400, 64)) * rng.uniform(0.2, 1.0, (2, 400, 1))
    made = _measured(*(means + noise))
    far = np.abs(np.log(made.tau_N)) > 0.1
    assert 100 < (made.tau_N[far] > 1).sum() < far.sum() - 100
    assert made.agrees_N[far].all()


def test_proposition_1_is_a_coin_near_tau_one_and_better_further_out() -> None:
    shares = []
    for low, high in ((0.0, 0.1), (0.1, 0.3), (0.3, 1.0), (1.0, np.inf)):
        distance = np.abs(np.log(MEASURED.tau_N))
        inside = (distance >= low) & (distance < high)
        assert inside.sum() > 20
        shares.append(MEASURED.agrees_N[inside].mean())
    assert 0.3 < shares[0] < 0.8
    assert shares == sorted(shares)
    assert shares[-1] > 0.99


def test_groups_in_which_nothing_can_lean_are_left_out_and_counted() -> None:
    vary, other = np.array([0.2, 0.4, 0.9]), np.array([0.5, 0.1, 0.3])
    flat = np.full(3, 0.5)
    recall = np.stack([vary, flat, vary, vary, vary])
    precision = np.stack([other, vary, flat, vary, 1 - vary])  # the last two: rho = 1 and -1
    made = _measured(recall, precision)
    assert (len(made.rho_N), made.num_left_out) == (1, 4)
    nothing = summary(_measured(recall[1:], precision[1:]))
    assert nothing == {"groups": 0, "left_out": 4, "prop1": None, "prop2": None, "prop3": None}


def test_the_summary_counts_every_group_in_one_cell() -> None:
    made = summary(MEASURED)
    cells = made["prop1"]["cells"]
    assert sum(cell["groups"] for cell in cells) == made["groups"] == len(MEASURED.rho_N)
    agreeing = sum(cell["groups"] * (cell["agree"] or 0) for cell in cells)
    assert agreeing / made["groups"] == pytest.approx(made["prop1"]["agree"])
    assert made["prop3"]["max_error"] < 1e-9 < made["prop3"]["max_error_eps"] < 0.1


def test_the_same_seed_gives_the_same_groups_and_another_does_not() -> None:
    np.testing.assert_array_equal(sample_sets(5, 4, 3), sample_sets(5, 4, 3))
    assert not np.array_equal(sample_sets(5, 4, 3), sample_sets(5, 4, 4))


@pytest.mark.slow
def test_it_starts_without_torch() -> None:
    code = "import sys, mer_r1.rl.theory, mer_r1.display.theory; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
