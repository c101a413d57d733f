"""The policy loss against a plain loop by TRL's formulas, its clipping, its KL term and its gradient."""

from math import exp
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from mer_r1.objectives import ImportanceLevel, KlEstimator, LossType
from mer_r1.recipe import RlSection
from mer_r1.rl.losses import PolicyLoss, policy_loss

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


def _loss(case: dict[str, Any], beta: float = BETA, num_tokens: float | None = None, **keys: Any) -> PolicyLoss:
    rl = RlSection(**{"kl": "k3", "epsilon": EPSILON, "max_completion_length": MAX_LENGTH, **keys})
    return policy_loss(**case, rl=rl, beta=beta, num_tokens=num_tokens)


def _one_token(ratio: float, advantage: float, **keys: Any) -> tuple[PolicyLoss, float]:
    """The loss of one token whose old probability is 1, and its gradient in log p."""
    new = torch.tensor([[ratio]]).log().requires_grad_()
    mask = torch.ones(1, 1, dtype=torch.long)
    made = policy_loss(new, torch.zeros(1, 1), None, torch.tensor([advantage]), mask, RlSection(**keys), 0.0)
    (gradient,) = torch.autograd.grad(made.loss, new)
    return made, float(gradient)


def _numbers(case: dict[str, Any], **changes: Any) -> list[float]:
    return [value.item() for value in _loss(case, **changes)]


def _by_hand(case: dict[str, Any], loss_type: str, epsilon_high: float, num_tokens: float | None) -> tuple[float, ...]:
    """Loss, KL and clipped shares (none of the dual clip), token by token, with TRL's four ways to one number."""
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
    return loss, sum(kls) / count, low + high, low, high, 0.0


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
@pytest.mark.parametrize("epsilon_high", [None, 0.28])
@pytest.mark.parametrize("num_tokens", [None, 7.5])
@pytest.mark.parametrize("seed", range(4))
def test_the_loss_is_that_of_a_plain_loop(
    loss_type: LossType, epsilon_high: float | None, num_tokens: float | None, seed: int
) -> None:
    case = _case(seed)
    made = _numbers(case, loss_type=loss_type, epsilon_high=epsilon_high, num_tokens=num_tokens)
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
@pytest.mark.parametrize("kl", get_args(KlEstimator))
@pytest.mark.parametrize("level", get_args(ImportanceLevel))
def test_the_gradient_is_that_of_finite_differences(loss_type: LossType, kl: str, level: str) -> None:
    case = _case(6)
    case["mask_BR"][1] = 0  # a rollout without tokens

    def loss_of(log_probs_BR: Tensor) -> Tensor:
        keys = {"epsilon_high": 0.28, "delta": 1.5, "kl": kl, "importance_sampling_level": level}
        changed = {**case, "log_probs_BR": log_probs_BR}
        return _loss(changed, beta=0.3, num_tokens=9.0, loss_type=loss_type, **keys).loss

    assert torch.autograd.gradcheck(loss_of, (case["log_probs_BR"],), eps=1e-6, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize(("epsilon_high", "is_clipped"), [(None, True), (0.2, True), (0.28, False)])
def test_clip_higher_lets_a_good_answer_rise_further(epsilon_high: float | None, is_clipped: bool) -> None:
    new, mask = torch.tensor([[1.25], [0.75]]).log(), torch.ones(2, 1)
    advantages = torch.tensor([1.0, -1.0])
    made = policy_loss(new, torch.zeros(2, 1), None, advantages, mask, RlSection(epsilon_high=epsilon_high), 0.0)
    assert float(made.clip_ratio_high) == 0.5 * is_clipped
    assert float(made.clip_ratio_low) == 0.5  # falling is bounded as before
    assert made.loss.item() == pytest.approx((-(1.2 if is_clipped else 1.25) + 0.8) / 2)


@pytest.mark.parametrize(
    ("ratio", "advantage", "is_clipped"),
    [(1.5, 1.0, True), (0.5, 1.0, False), (1.5, -1.0, False), (0.5, -1.0, True), (1.1, 1.0, False), (0.9, -1.0, False)],
)
def test_a_ratio_is_clipped_only_where_it_has_gone_the_advantages_way(
    ratio: float, advantage: float, is_clipped: bool
) -> None:
    made, gradient = _one_token(ratio, advantage)
    assert (gradient == 0) == is_clipped == bool(made.clip_ratio)
    bound = 1 + EPSILON if ratio > 1 else 1 - EPSILON
    assert made.loss.item() == pytest.approx(-advantage * (bound if is_clipped else ratio), rel=1e-6)


def _dual_clip(ratio: float, advantage: float, c: float) -> float:
    """The objective of dual-clip PPO as its paper writes it."""
    clipped = min(ratio * advantage, min(max(ratio, 1 - EPSILON), 1 + EPSILON) * advantage)
    return max(clipped, c * advantage) if advantage < 0 else clipped


@pytest.mark.parametrize("advantage", [-2.0, -0.5, 0.0, 1.5])
@pytest.mark.parametrize("ratio", [0.1, 0.79, 1.0, 1.3, 2.9, 3.1, 50.0])
def test_delta_is_the_dual_clip(ratio: float, advantage: float) -> None:
    """TRL writes it by a bound of the ratio, PPO's and verl's code by one of the loss."""
    made, gradient = _one_token(ratio, advantage, delta=3.0)
    assert made.loss.item() == pytest.approx(-_dual_clip(ratio, advantage, 3.0), rel=1e-6)
    is_bounded = ratio > 3 and advantage < 0
    assert bool(made.clip_ratio_dual) == is_bounded
    free, free_gradient = _one_token(ratio, advantage)
    assert (gradient == free_gradient) == (not is_bounded)
    assert gradient == 0 or not is_bounded
    assert free.clip_ratio_dual == 0


def test_the_ratio_of_a_sequence_is_the_exponential_of_its_mean_log_ratio() -> None:
    """By hand: two tokens at 1.5 and 0.8; a third is padding."""
    new = torch.tensor([[1.5, 0.8, 7.0]], dtype=torch.float64).log().requires_grad_()
    old, mask = torch.zeros(1, 3, dtype=torch.float64), torch.tensor([[1, 1, 0]])
    rl = RlSection(importance_sampling_level="sequence", epsilon=0.2)
    made = policy_loss(new, old, None, torch.tensor([2.0], dtype=torch.float64), mask, rl, 0.0)
    ratio = (1.5 * 0.8) ** 0.5
    assert made.loss.item() == pytest.approx(-2 * ratio)
    (gradient,) = torch.autograd.grad(made.loss, new)
    assert gradient.tolist() == [pytest.approx([-ratio, -ratio, 0.0])]  # both move: no token is clipped by itself
    token = policy_loss(new, old, None, torch.tensor([2.0], dtype=torch.float64), mask, RlSection(), 0.0)
    assert token.loss.item() == pytest.approx(-(2 * 1.2 + 2 * 0.8) / 2)


@pytest.mark.parametrize("kl", get_args(KlEstimator))
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_on_the_policy_s_own_tokens_both_levels_have_one_gradient(loss_type: LossType, kl: str) -> None:
    """So with num_iterations 1 the level is a key that does nothing."""
    case = _case(8)
    case["old_log_probs_BR"] = case["log_probs_BR"].detach().clone()
    token, sequence = (
        _gradient(case, kl=kl, loss_type=loss_type, importance_sampling_level=level)
        for level in get_args(ImportanceLevel)
    )
    torch.testing.assert_close(token, sequence)
    token, sequence = (_gradient(_case(8), importance_sampling_level=level) for level in get_args(ImportanceLevel))
    assert not torch.allclose(token, sequence)


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
@pytest.mark.parametrize(("kl", "level"), [("k3", "token"), ("k3_corrected", "sequence"), ("k2", "token")])
def test_masked_tokens_do_not_matter(
    loss_type: LossType, filling: float, names: tuple[str, ...] | None, kl: str, level: str
) -> None:
    case = _case(4)
    options = {"loss_type": loss_type, "kl": kl, "importance_sampling_level": level}
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
    whole = _loss(case, loss_type=loss_type).loss * len(case["mask_BR"])
    for name in ("log_probs_BR", "old_log_probs_BR", "reference_log_probs_BR", "mask_BR"):
        case[name] = torch.cat([case[name], torch.zeros_like(case[name][:1])])
    case["advantages_B"] = torch.cat([case["advantages_B"], torch.ones(1)])
    torch.testing.assert_close(_loss(case, loss_type=loss_type).loss, whole / len(case["mask_BR"]))


def test_long_answers_weigh_as_much_as_short_ones() -> None:
    """The mean is taken within each rollout first (TRL's loss_type "grpo")."""
    new = torch.zeros(2, 8, requires_grad=True)
    mask = torch.tensor([[1] * 8, [1, 1] + [0] * 6])
    loss = policy_loss(new, torch.zeros(2, 8), None, torch.tensor([1.0, 1.0]), mask, RlSection(), 0.0).loss
    (gradient,) = torch.autograd.grad(loss, new)
    assert gradient.sum(1).tolist() == pytest.approx([-0.5, -0.5])
