"""The KL estimators against exact categorical distributions, and beta over a run.

A policy of five tokens: expectations are sums over all tokens, or over all groups, so nothing is sampled.
"""

from itertools import product
from typing import get_args

import pytest
import torch
from torch import Tensor

from mer_r1.objectives import KlEstimator
from mer_r1.recipe import RlSection
from mer_r1.rl.kl import kl_advantages, kl_estimate, scheduled_beta
from mer_r1.rl.losses import policy_loss

V = 5
BETA = 0.7


def _logits(seed: int) -> Tensor:
    return torch.randn(V, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _kl(p_V: Tensor, q_V: Tensor) -> Tensor:
    return (p_V.exp() * (p_V - q_V)).sum()


def _exact_gradients(logits_V: Tensor, reference_V: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients in the logits of KL(policy || reference) and of KL(reference || policy)."""
    ways = []
    for is_forward in (True, False):
        theta = logits_V.clone().requires_grad_()
        policy_V = theta.log_softmax(-1)
        divergence = _kl(policy_V, reference_V) if is_forward else _kl(reference_V, policy_V)
        ways.append(torch.autograd.grad(divergence, theta)[0])
    return ways[0], ways[1]


def _expected_gradient(kind: KlEstimator, logits_V: Tensor, old_V: Tensor, reference_V: Tensor) -> Tensor:
    """Gradient of the loss's KL term, averaged over the tokens that the old policy draws."""
    total, mask = torch.zeros(V, dtype=torch.float64), torch.ones(1, 1, dtype=torch.long)
    for token in range(V):
        theta, drawn = logits_V.clone().requires_grad_(), torch.tensor([[token]])
        new, old, reference = theta.log_softmax(-1)[drawn], old_V[drawn], reference_V[drawn]
        rl = RlSection(kl=kind)
        loss = policy_loss(new, old, reference, torch.zeros(1, dtype=torch.float64), mask, rl, BETA).loss
        total += old_V[token].exp() * torch.autograd.grad(loss, theta)[0] / BETA
    return total


@pytest.mark.parametrize("seed", range(3))
def test_on_the_policy_s_own_tokens_plain_k3_has_the_gradient_of_the_other_kl(seed: int) -> None:
    logits, reference = _logits(seed), _logits(seed + 10).log_softmax(-1)
    old = logits.log_softmax(-1)
    wanted, other = _exact_gradients(logits, reference)
    assert float((wanted - other).norm()) > 0.1 * float(wanted.norm())
    torch.testing.assert_close(_expected_gradient("k3", logits, old, reference), other)
    for kind in ("k3_corrected", "k2"):
        torch.testing.assert_close(_expected_gradient(kind, logits, old, reference), wanted)


@pytest.mark.parametrize("seed", range(3))
def test_on_an_older_policy_s_tokens_only_the_corrected_estimate_holds(seed: int) -> None:
    logits, reference = _logits(seed), _logits(seed + 10).log_softmax(-1)
    old = (logits + 0.5 * _logits(seed + 20)).log_softmax(-1)
    wanted, _ = _exact_gradients(logits, reference)
    torch.testing.assert_close(_expected_gradient("k3_corrected", logits, old, reference), wanted)
    for kind in ("k2", "k3"):
        found = _expected_gradient(kind, logits, old, reference)
        assert float((found - wanted).norm()) > 0.05 * float(wanted.norm())


@pytest.mark.parametrize("group", [2, 3])
def test_k1_in_reward_has_the_gradient_of_the_kl_by_the_advantage_alone(group: int) -> None:
    """Over all groups that the policy may draw. The mean of a group holds the answer itself, so 1 / G is missing, as it
    is from every other reward here."""
    logits, reference = _logits(1), _logits(11).log_softmax(-1)
    policy = logits.log_softmax(-1)
    total = torch.zeros(V, dtype=torch.float64)
    for drawn in product(range(V), repeat=group):
        theta, tokens = logits.clone().requires_grad_(), torch.tensor(drawn)
        old_BR, reference_BR = policy[tokens][:, None], reference[tokens][:, None]
        mask = torch.ones(group, 1, dtype=torch.long)
        advantages = kl_advantages(old_BR, reference_BR, mask, group, BETA)
        assert float(advantages.sum()) == pytest.approx(0.0, abs=1e-12)
        new_BR = theta.log_softmax(-1)[tokens][:, None]
        rl = RlSection(kl="k1_in_reward")
        loss = policy_loss(new_BR, old_BR, reference_BR, advantages, mask, rl, BETA).loss
        total += policy[tokens].sum().exp() * torch.autograd.grad(loss, theta)[0]
    wanted, _ = _exact_gradients(logits, reference)
    torch.testing.assert_close(total, BETA * (1 - 1 / group) * wanted)


def _pair_log_probs(tables_NV: Tensor, pair: tuple[int, ...]) -> Tensor:
    """log p (2,) of a response of two tokens: the first by the first row, the second by the row of the first."""
    return tables_NV.log_softmax(-1)[[0, 1 + pair[0]], list(pair)]


@pytest.mark.parametrize("kind", get_args(KlEstimator))
def test_only_k1_in_reward_charges_a_token_for_the_divergence_of_those_behind_it(kind: KlEstimator) -> None:
    """Responses of two of three tokens, each in a group with each: gradients of sums over tokens (dr_grpo)."""
    generator = torch.Generator().manual_seed(0)
    start, reference = (torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    pairs = list(product(range(3), repeat=2))
    whole = start.clone().requires_grad_()
    policy = torch.stack([_pair_log_probs(whole, pair).sum() for pair in pairs])
    wanted = torch.autograd.grad(
        _kl(policy, torch.stack([_pair_log_probs(reference, pair).sum() for pair in pairs])), whole
    )[0]
    own = start.clone().requires_grad_()
    divergences = [_kl(own[row].log_softmax(-1), reference[row].log_softmax(-1)) for row in range(4)]
    weights = [1.0, *start[0].softmax(-1).tolist()]
    token_wise = torch.autograd.grad(sum(w * d for w, d in zip(weights, divergences, strict=True)), own)[0]
    rl = RlSection(kl=kind, loss_type="dr_grpo", max_completion_length=1000)
    total, mask = torch.zeros_like(start), torch.ones(2, 2, dtype=torch.long)
    for group in product(pairs, repeat=2):
        theta = start.clone().requires_grad_()
        new_BR = torch.stack([_pair_log_probs(theta, pair) for pair in group])
        reference_BR = torch.stack([_pair_log_probs(reference, pair) for pair in group])
        advantages = torch.zeros(2, dtype=torch.float64)
        if kind == "k1_in_reward":
            advantages = 2 * kl_advantages(new_BR.detach(), reference_BR, mask, 2, 1.0)  # 1 - 1 / G is 1 / 2
        loss = 1000 * policy_loss(new_BR, new_BR.detach(), reference_BR, advantages, mask, rl, 1.0).loss
        total += new_BR.detach().sum().exp() * torch.autograd.grad(loss, theta)[0]
    miss = float((total - wanted).norm() / wanted.norm())
    if kind == "k1_in_reward":
        assert miss < 1e-12
    elif kind == "k3":
        assert miss > 0.5
    else:
        torch.testing.assert_close(total, token_wise)
        assert 0.05 < miss < 0.2


def test_k1_in_reward_sums_over_a_response_and_compares_within_its_group() -> None:
    old = torch.tensor([[-1.0, -2.0], [-1.0, torch.nan], [0.0, 0.0], [-3.0, -1.0]])
    reference = torch.tensor([[-2.0, -2.5], [-1.5, 7.0], [0.0, 0.0], [-3.0, -1.0]])
    mask = torch.tensor([[1, 1], [1, 0], [1, 1], [1, 1]])
    assert kl_advantages(old, reference, mask, 2, 0.1).tolist() == pytest.approx([-0.05, 0.05, 0.0, 0.0])


@pytest.mark.parametrize("kind", get_args(KlEstimator))
def test_an_estimate_is_zero_at_the_reference_and_its_mean_is_near_the_kl(kind: KlEstimator) -> None:
    policy, reference = _logits(2).log_softmax(-1), _logits(12).log_softmax(-1)
    none = torch.zeros(V, dtype=torch.float64)
    assert torch.equal(kl_estimate(kind, policy, policy, none), none)
    mean = float((policy.exp() * kl_estimate(kind, policy, reference, none)).sum())
    exact = float(_kl(policy, reference))
    assert mean == pytest.approx(exact, rel=0.5 if kind == "k2" else 1e-9)
    assert (kind == "k2") == (abs(mean - exact) > 1e-3)


def test_beta_stays_or_falls_to_a_quarter_in_the_first_half() -> None:
    steps = (0, 1, 25, 50, 51, 100)
    assert [scheduled_beta(0.04, "constant", step, 100) for step in steps] == [0.04] * 6
    falling = [scheduled_beta(0.04, "decay", step, 100) for step in steps]
    assert falling == pytest.approx([0.04, 0.04 * 0.985, 0.025, 0.01, 0.01, 0.01])
    assert scheduled_beta(0.04, "decay", 1, 0) == pytest.approx(0.01)
