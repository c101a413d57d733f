"""The policy loss against a plain loop, its clipping, its KL term and its gradient."""

from math import exp
from typing import Any

import pytest
import torch
from torch import Tensor

from mer_r1.rl.losses import PolicyLoss, policy_loss

EPSILON, BETA = 0.2, 0.04


def _case(seed: int, rows: int = 4, length: int = 6) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    new = -torch.rand((rows, length), generator=generator, dtype=torch.float64) * 3
    lengths = torch.randint(1, length + 1, (rows,), generator=generator)
    return {
        "log_probs_BR": new.requires_grad_(),
        "old_log_probs_BR": (new + 0.4 * torch.randn(new.shape, generator=generator, dtype=torch.float64)).detach(),
        "reference_log_probs_BR": (new + 0.4 * torch.randn(new.shape, generator=generator)).detach(),
        "advantages_B": torch.randn(rows, generator=generator, dtype=torch.float64),
        "mask_BR": (torch.arange(length) < lengths[:, None]).long(),
    }


def _loss(case: dict[str, Any], epsilon: float = EPSILON, beta: float = BETA) -> PolicyLoss:
    return policy_loss(**case, epsilon=epsilon, beta=beta)


def _numbers(case: dict[str, Any], **changes: float) -> list[float]:
    return [value.item() for value in _loss(case, **changes)]


def _by_hand(case: dict[str, Any]) -> tuple[float, float, float]:
    """Loss, KL and clipped share, token by token."""
    losses, kls, clips = [], [], []
    for i, row in enumerate(case["mask_BR"].tolist()):
        tokens = []
        for t, present in enumerate(row):
            if not present:
                continue
            new, old, reference = (
                case[name][i, t].item() for name in ("log_probs_BR", "old_log_probs_BR", "reference_log_probs_BR")
            )
            advantage, ratio = float(case["advantages_B"][i]), exp(new - old)
            clipped = min(max(ratio, 1 - EPSILON), 1 + EPSILON)
            kl = exp(reference - new) - (reference - new) - 1
            tokens.append(min(ratio * advantage, clipped * advantage) - BETA * kl)
            kls.append(kl)
            clips.append(clipped * advantage < ratio * advantage)
        losses.append(-sum(tokens) / len(tokens))
    return sum(losses) / len(losses), sum(kls) / len(kls), sum(clips) / len(clips)


@pytest.mark.parametrize("seed", range(8))
def test_the_loss_is_that_of_a_plain_loop(seed: int) -> None:
    case = _case(seed)
    assert _numbers(case) == pytest.approx(_by_hand(case), rel=1e-6)


@pytest.mark.parametrize(
    ("ratio", "advantage", "is_clipped"),
    [(1.5, 1.0, True), (0.5, 1.0, False), (1.5, -1.0, False), (0.5, -1.0, True), (1.1, 1.0, False), (0.9, -1.0, False)],
)
def test_a_ratio_is_clipped_only_where_it_has_gone_the_advantages_way(
    ratio: float, advantage: float, is_clipped: bool
) -> None:
    new = torch.tensor([[ratio]]).log().requires_grad_()
    mask = torch.ones(1, 1, dtype=torch.long)
    result = policy_loss(new, torch.zeros(1, 1), None, torch.tensor([advantage]), mask, EPSILON, 0.0)
    result.loss.backward()  # type: ignore[no-untyped-call]
    assert new.grad is not None
    assert bool(new.grad == 0) == is_clipped == bool(result.clip_share)
    bound = 1 + EPSILON if ratio > 1 else 1 - EPSILON
    assert result.loss.item() == pytest.approx(-advantage * (bound if is_clipped else ratio), rel=1e-6)


def test_the_kl_term_is_zero_where_policy_and_reference_agree_and_positive_elsewhere() -> None:
    case = _case(0)
    case["reference_log_probs_BR"] = case["log_probs_BR"].detach().clone()
    assert float(_loss(case).kl) == 0.0
    assert _numbers(case) == _numbers(case, beta=0.0)
    for shift in (-0.5, 0.5):
        case["reference_log_probs_BR"] = case["log_probs_BR"].detach() + shift
        assert float(_loss(case).kl) == pytest.approx(exp(shift) - shift - 1, rel=1e-6)
        assert _numbers(case, beta=1.0)[0] > _numbers(case, beta=0.0)[0]


def test_without_a_reference_there_is_no_kl_term() -> None:
    case = {**_case(0), "reference_log_probs_BR": None}
    assert float(_loss(case).kl) == 0.0
    assert _numbers(case) == _numbers(case, beta=0.0)


def _gradient(case: dict[str, Any], **changes: float) -> Tensor:
    gradients = torch.autograd.grad(_loss(case, **changes).loss, [case["log_probs_BR"]])
    return gradients[0]


def test_at_ratio_one_the_gradient_is_minus_the_advantage_times_that_of_log_p() -> None:
    case = _case(1)
    case["old_log_probs_BR"] = case["log_probs_BR"].detach().clone()
    mask = case["mask_BR"]
    expected = -case["advantages_B"][:, None] * mask / mask.sum(1, keepdim=True) / len(mask)
    torch.testing.assert_close(_gradient(case, beta=0.0), expected)


def test_a_good_answer_becomes_likelier_and_a_bad_one_less_so() -> None:
    case = _case(2)
    case["old_log_probs_BR"] = case["log_probs_BR"].detach().clone()
    case["mask_BR"] = torch.ones_like(case["mask_BR"])
    upward = -_gradient(case, beta=0.0)  # the way of gradient descent
    assert (upward.sign() == case["advantages_B"].sign()[:, None]).all()


def test_the_kl_term_draws_the_policy_to_its_reference() -> None:
    case = _case(3)
    case["old_log_probs_BR"] = case["log_probs_BR"].detach().clone()
    case["advantages_B"] = torch.zeros_like(case["advantages_B"])
    upward = -_gradient(case)
    gap = (case["reference_log_probs_BR"] - case["log_probs_BR"]).detach()
    present = case["mask_BR"].bool()
    assert (upward.sign() == gap.sign())[present].all()


@pytest.mark.parametrize("filling", [7.0, float("-inf"), float("nan")])
def test_masked_tokens_do_not_matter(filling: float) -> None:
    case = _case(4)
    expected, gradient = _numbers(case), _gradient(case)
    absent = case["mask_BR"] == 0
    assert absent.any()
    for name in ("log_probs_BR", "old_log_probs_BR", "reference_log_probs_BR"):
        changed = case[name].detach().masked_fill(absent, filling)
        case[name] = changed.requires_grad_() if name == "log_probs_BR" else changed
    assert _numbers(case) == expected
    assert torch.equal(_gradient(case), gradient)


def test_a_rollout_without_tokens_counts_as_nothing_but_stays_in_the_mean() -> None:
    case = _case(5)
    whole = _loss(case).loss * len(case["mask_BR"])
    for name in ("log_probs_BR", "old_log_probs_BR", "reference_log_probs_BR", "mask_BR"):
        case[name] = torch.cat([case[name], torch.zeros_like(case[name][:1])])
    case["advantages_B"] = torch.cat([case["advantages_B"], torch.ones(1)])
    torch.testing.assert_close(_loss(case).loss, whole / len(case["mask_BR"]))


def test_long_answers_weigh_as_much_as_short_ones() -> None:
    """The mean is taken within each rollout first (TRL's loss_type "grpo")."""
    new = torch.zeros(2, 8, requires_grad=True)
    mask = torch.tensor([[1] * 8, [1, 1] + [0] * 6])
    loss = policy_loss(new, torch.zeros(2, 8), None, torch.tensor([1.0, 1.0]), mask, EPSILON, 0.0).loss
    (gradient,) = torch.autograd.grad(loss, new)
    assert gradient.sum(1).tolist() == pytest.approx([-0.5, -0.5])
