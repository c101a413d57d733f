"""The policy loss against a plain loop by TRL's formulas, its clipping, its KL term and its gradient."""

from math import exp
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from mer_r1.objectives import LossType
from mer_r1.rl.losses import PolicyLoss, policy_loss, scheduled_beta

EPSILON, BETA = 0.2, 0.04
LOSS_TYPES: tuple[LossType, ...] = get_args(LossType)
MAX_LENGTH = 11


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


def _loss(case: dict[str, Any], epsilon: float = EPSILON, beta: float = BETA, **options: Any) -> PolicyLoss:
    return policy_loss(**case, epsilon=epsilon, beta=beta, **options)


def _numbers(case: dict[str, Any], **changes: Any) -> list[float]:
    return [value.item() for value in _loss(case, **changes)]


def _by_hand(
    case: dict[str, Any], loss_type: str, epsilon_high: float, num_tokens: float | None
) -> tuple[float, float, float, float, float]:
    """Loss, KL and clipped shares, token by token, with TRL's four ways to one number."""
    rows: list[list[float]] = []
    kls, lows, highs = [], [], []
    for i, row in enumerate(case["mask_BR"].tolist()):
        rows.append([])
        for t, present in enumerate(row):
            if not present:
                continue
            new, old, reference = (
                case[name][i, t].item() for name in ("log_probs_BR", "old_log_probs_BR", "reference_log_probs_BR")
            )
            advantage, ratio = float(case["advantages_B"][i]), exp(new - old)
            clipped = min(max(ratio, 1 - EPSILON), 1 + epsilon_high)
            kl = exp(reference - new) - (reference - new) - 1
            rows[-1].append(-min(ratio * advantage, clipped * advantage) + BETA * kl)
            kls.append(kl)
            lows.append(ratio < 1 - EPSILON and advantage < 0)
            highs.append(ratio > 1 + epsilon_high and advantage > 0)
    total, count = sum(map(sum, rows)), len(kls)
    loss = {
        "grpo": sum(sum(row) / len(row) for row in rows) / len(rows),
        "bnpo": total / count,
        "dapo": total / (num_tokens or count),
        "dr_grpo": total / (len(rows) * MAX_LENGTH),
    }[loss_type]
    low, high = sum(lows) / count, sum(highs) / count
    return loss, sum(kls) / count, low + high, low, high


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
@pytest.mark.parametrize("epsilon_high", [None, 0.28])
@pytest.mark.parametrize("num_tokens", [None, 7.5])
@pytest.mark.parametrize("seed", range(4))
def test_the_loss_is_that_of_a_plain_loop(
    loss_type: LossType, epsilon_high: float | None, num_tokens: float | None, seed: int
) -> None:
    case = _case(seed)
    made = _numbers(
        case,
        loss_type=loss_type,
        epsilon_high=epsilon_high,
        num_tokens=num_tokens,
        max_completion_length=MAX_LENGTH,
    )
    assert made == pytest.approx(_by_hand(case, loss_type, epsilon_high or EPSILON, num_tokens), rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_dapo_makes_the_mean_over_micro_batches_the_mean_over_all_tokens(seed: int) -> None:
    case = _case(seed, rows=6)
    whole = _loss(case, loss_type="bnpo").loss
    parts = [{name: values[rows] for name, values in case.items()} for rows in (slice(0, 2), slice(2, 3), slice(3, 6))]
    num_tokens = float(case["mask_BR"].sum()) / len(parts)
    losses = [_loss(part, loss_type="dapo", num_tokens=num_tokens).loss for part in parts]
    torch.testing.assert_close(sum(losses) / len(losses), whole)
    bnpo = [_loss(part, loss_type="bnpo").loss for part in parts]
    assert not torch.isclose(torch.stack(bnpo).mean(), whole)


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_the_gradient_is_that_of_finite_differences(loss_type: LossType) -> None:
    case = _case(6)
    case["mask_BR"][1] = 0  # a rollout without tokens

    def loss_of(log_probs_BR: Tensor) -> Tensor:
        options = {"epsilon_high": 0.28, "num_tokens": 9.0, "max_completion_length": MAX_LENGTH}
        return _loss({**case, "log_probs_BR": log_probs_BR}, beta=0.3, loss_type=loss_type, **options).loss

    assert torch.autograd.gradcheck(loss_of, (case["log_probs_BR"],), eps=1e-6, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize(("epsilon_high", "is_clipped"), [(None, True), (0.2, True), (0.28, False)])
def test_clip_higher_lets_a_good_answer_rise_further(epsilon_high: float | None, is_clipped: bool) -> None:
    new, mask = torch.tensor([[1.25], [0.75]]).log(), torch.ones(2, 1)
    advantages = torch.tensor([1.0, -1.0])
    made = policy_loss(new, torch.zeros(2, 1), None, advantages, mask, EPSILON, 0.0, epsilon_high=epsilon_high)
    assert float(made.clip_ratio_high) == 0.5 * is_clipped
    assert float(made.clip_ratio_low) == 0.5  # falling is bounded as before
    assert made.loss.item() == pytest.approx((-(1.2 if is_clipped else 1.25) + 0.8) / 2)


def test_what_a_loss_type_needs_is_asked_for() -> None:
    with pytest.raises(ValueError, match="max_completion_length; give it"):
        _loss(_case(0), loss_type="dr_grpo")
    with pytest.raises(ValueError, match="use grpo, bnpo, dapo or dr_grpo"):
        _loss(_case(0), loss_type="gspo")


def test_beta_stays_or_falls_to_a_quarter_in_the_first_half() -> None:
    steps = (0, 1, 25, 50, 51, 100)
    assert [scheduled_beta(0.04, "constant", step, 100) for step in steps] == [0.04] * 6
    falling = [scheduled_beta(0.04, "decay", step, 100) for step in steps]
    assert falling == pytest.approx([0.04, 0.04 * 0.985, 0.025, 0.01, 0.01, 0.01])
    assert scheduled_beta(0.04, "decay", 1, 0) == pytest.approx(0.01)


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
    assert bool(new.grad == 0) == is_clipped == bool(result.clip_ratio)
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


def _gradient(case: dict[str, Any], **changes: Any) -> Tensor:
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


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
@pytest.mark.parametrize("filling", [7.0, float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("names", [("log_probs_BR",), ("old_log_probs_BR",), ("reference_log_probs_BR",), None])
def test_masked_tokens_do_not_matter(loss_type: LossType, filling: float, names: tuple[str, ...] | None) -> None:
    case, options = _case(4), {"loss_type": loss_type, "max_completion_length": MAX_LENGTH}
    case["mask_BR"][2] = 0
    expected, gradient = _numbers(case, **options), _gradient(case, **options)
    absent = case["mask_BR"] == 0
    for name in names or ("log_probs_BR", "old_log_probs_BR", "reference_log_probs_BR"):
        changed = case[name].detach().masked_fill(absent, filling)
        case[name] = changed.requires_grad_() if name == "log_probs_BR" else changed
    assert _numbers(case, **options) == expected
    assert torch.equal(_gradient(case, **options), gradient)
    assert gradient[absent].eq(0).all()


@pytest.mark.parametrize("loss_type", ["grpo", "dr_grpo"])
def test_a_rollout_without_tokens_counts_as_nothing_but_stays_in_the_mean(loss_type: LossType) -> None:
    case = _case(5)
    options: dict[str, Any] = {"loss_type": loss_type, "max_completion_length": MAX_LENGTH}
    whole = _loss(case, **options).loss * len(case["mask_BR"])
    for name in ("log_probs_BR", "old_log_probs_BR", "reference_log_probs_BR", "mask_BR"):
        case[name] = torch.cat([case[name], torch.zeros_like(case[name][:1])])
    case["advantages_B"] = torch.cat([case["advantages_B"], torch.ones(1)])
    torch.testing.assert_close(_loss(case, **options).loss, whole / len(case["mask_BR"]))


def test_long_answers_weigh_as_much_as_short_ones() -> None:
    """The mean is taken within each rollout first (TRL's loss_type "grpo")."""
    new = torch.zeros(2, 8, requires_grad=True)
    mask = torch.tensor([[1] * 8, [1, 1] + [0] * 6])
    loss = policy_loss(new, torch.zeros(2, 8), None, torch.tensor([1.0, 1.0]), mask, EPSILON, 0.0).loss
    (gradient,) = torch.autograd.grad(loss, new)
    assert gradient.sum(1).tolist() == pytest.approx([-0.5, -0.5])
