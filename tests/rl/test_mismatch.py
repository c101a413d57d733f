"""What a sampler's log-probabilities differ from the policy's: the numbers, the correction, and the run that stops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import isnan, log
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mer_r1.commands import main
from mer_r1.errors import InputError
from mer_r1.models.backbone import Backbone
from mer_r1.models.packing import Branch, group_pass, pack
from mer_r1.models.qwen2_5_omni import OmniBackbone
from mer_r1.models.types import Encoded, Generated, Sampling
from mer_r1.objectives import MismatchCorrection
from mer_r1.pipelines.train import train
from mer_r1.recipe import Recipe, RlSection
from mer_r1.rl.losses import policy_loss
from mer_r1.rl.mismatch import compare, total
from tests.nursery import Nursery
from tests.training.runs import lines, make_recipe
from tests.training.two_processes import DDP, launched_with

P_BR = torch.tensor([[0.42, 0.2, 0.8], [0.9, 0.1, 0.7]])
Q_BR = torch.tensor([[0.2, 0.38, 0.8], [0.1, torch.nan, 0.7]])  # the third token of the second response is padding
MASK_BR = torch.tensor([[1, 1, 1], [1, 1, 0]])
PAIRS = [(0.42, 0.2), (0.2, 0.38), (0.8, 0.8), (0.9, 0.1)]  # of the tokens that both scored


def test_the_numbers_are_those_of_the_tokens_that_both_scored() -> None:
    found, weights = compare(P_BR.log(), Q_BR.log(), MASK_BR, "none", 3.0)
    assert weights is None
    numbers = found.of_tokens()
    differences = [abs(log(p / q)) for p, q in PAIRS]
    assert found.tokens == 4
    assert numbers["sampling/sampling_logp_difference/mean"] == pytest.approx(sum(differences) / 4)
    assert numbers["sampling/sampling_logp_difference/max"] == pytest.approx(log(9))
    assert numbers["sampling/kl"] == pytest.approx(sum(p / q - 1 - log(p / q) for p, q in PAIRS) / 4)
    assert numbers["sampling/pearson"] == pytest.approx(float(torch.corrcoef(torch.tensor(PAIRS).T)[0, 1]))
    assert numbers["sampling/frac_beyond"] == 0.5  # factors of 2.1 and 9, not 1.9
    assert all(isnan(value) for value in found.of_weights().values())


WEIGHTS: dict[MismatchCorrection, list[list[float]]] = {
    "token_truncate": [[2.1, 1 / 1.9, 1.0], [3.0, 1.0, 1.0]],
    "token_mask": [[2.1, 1 / 1.9, 1.0], [0.0, 1.0, 1.0]],
    "sequence_truncate": [[2.1 / 1.9], [3.0]],
    "sequence_mask": [[2.1 / 1.9], [0.0]],
}


@pytest.mark.parametrize("correction", WEIGHTS)
def test_a_weight_is_the_ratio_up_to_the_cap(correction: MismatchCorrection) -> None:
    found, weights = compare(P_BR.log(), Q_BR.log(), MASK_BR, correction, 3.0)
    assert weights is not None
    torch.testing.assert_close(weights, torch.tensor(WEIGHTS[correction]))
    counted = weights[MASK_BR.bool()] if correction.startswith("token") else weights
    assert found.of_weights() == pytest.approx(
        {"sampling/importance_sampling_ratio/mean": float(counted.mean()), "sampling/frac_capped": 1 / counted.numel()}
    )


def test_an_id_that_the_sampler_calls_impossible_is_capped() -> None:
    sampled_BR = torch.tensor([[-torch.inf, -1.0]])
    for correction, expected in (("token_truncate", [3.0, 1.0]), ("token_mask", [0.0, 1.0]), ("sequence_mask", [0.0])):
        found, weights = compare(torch.tensor([[-1.0, -1.0]]), sampled_BR, MASK_BR[:1, :2], correction, 3.0)  # type: ignore[arg-type]
        assert weights is not None
        assert weights[0].tolist() == expected
        assert found.mean_difference == torch.inf


def test_micro_batches_together_are_one() -> None:
    """Pearson, too, which is no mean of theirs; padding of any width and content changes nothing."""
    torch.manual_seed(0)
    old_BR, mask_BR = -3 * torch.rand(12, 7), (torch.arange(7) < torch.randint(1, 8, (12, 1))).long()
    sampled_BR = (old_BR + 0.4 * torch.randn(12, 7)).masked_fill(mask_BR == 0, torch.nan)
    whole, _ = compare(old_BR, sampled_BR, mask_BR, "sequence_mask", 1.5)
    parts = [
        compare(old_BR[rows, :width], sampled_BR[rows, :width], mask_BR[rows, :width], "sequence_mask", 1.5)[0]
        for rows in (slice(0, 3), slice(3, 4), slice(4, 12))
        for width in [int(mask_BR[rows].sum(1).max())]
    ]
    together = total(parts)
    assert together == pytest.approx(whole, rel=1e-6)
    assert together.of_tokens() == pytest.approx(whole.of_tokens(), rel=1e-6)
    assert 0.1 < whole.of_weights()["sampling/frac_capped"] < 0.9
    assert together.pearson != pytest.approx(sum(part.pearson for part in parts) / 3, abs=1e-3)


def test_without_tokens_or_spread_there_is_no_correlation() -> None:
    assert isnan(compare(P_BR.log(), Q_BR.log(), 0 * MASK_BR, "none", 3.0)[0].pearson)
    same = torch.full((2, 3), -1e-9)
    assert isnan(compare(same, same, MASK_BR, "none", 3.0)[0].pearson)


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_a_weight_multiplies_what_a_token_gains_and_not_its_kl(level: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    old_BR = -torch.rand(2, 3, generator=generator)
    advantages_B, rl = torch.tensor([1.0, -2.0]), RlSection(importance_sampling_level=level, kl="k3")

    def loss(scale_B: Tensor, beta: float, correction: Tensor | None) -> Tensor:
        new_BR = (old_BR + 0.1).requires_grad_()
        made = policy_loss(new_BR, old_BR, old_BR - 0.3, scale_B, MASK_BR, rl, beta, correction=correction)
        (gradient_BR,) = torch.autograd.grad(made.loss, new_BR)
        return torch.cat([made.loss.detach()[None], gradient_BR.flatten()])

    weights_B = torch.tensor([0.5, 2.0])
    expected = loss(advantages_B * weights_B, 0.7, None)
    torch.testing.assert_close(loss(advantages_B, 0.7, weights_B[:, None]), expected)
    torch.testing.assert_close(loss(advantages_B, 0.7, weights_B[:, None].expand(2, 3)), expected)
    assert not torch.allclose(loss(advantages_B, 0.7, None), expected)


@contextmanager
def shifted_sampler(shift: float, from_call: int = 0) -> Iterator[None]:
    """Within the block answers carry log-probabilities that are `shift` x sin(id) off the policy's, from a call on."""
    real, calls = OmniBackbone.generate, 0

    def generate(self: Backbone, encoded: Encoded, num_generations: int, sampling: Sampling, **keys: Any) -> Generated:
        nonlocal calls
        calls += 1
        made = real(self, encoded, num_generations, sampling, **keys)
        branches = [Branch(row // num_generations, tuple(ids)) for row, ids in enumerate(made.rows())]
        with torch.no_grad():
            passed = group_pass(
                self, self.wrapped_model, pack(encoded.prompts, branches), encoded, sampling.temperature
            )
        moved_BR = (shift if calls > from_call else 0.0) * made.ids_BR[:, : passed.log_probs_BR.shape[1]].sin()
        return replace(made, log_probs_BR=passed.log_probs_BR + moved_BR)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OmniBackbone, "generate", generate)
        yield


SHIFT = 0.004


def _recipe(source: Path, corpus: dict[str, Path], batch_size: int, **optim: Any) -> Recipe:
    section = {"objective": "rd_ad", "num_generations": 2, "max_completion_length": 32}
    steps = {"max_steps": 2, "lr_scheduler_type": "constant", "batch_size": batch_size, "logging_steps": 1, **optim}
    return make_recipe("rl", source, corpus["train"], steps, rl=section)


def run_shifted(recipe: str, out: str) -> int:
    """The real command with a sampler that is off, less and then more than a run may be, in this process."""
    with shifted_sampler(SHIFT):
        status = main(["train", recipe, "--out", out])
    with shifted_sampler(10 * SHIFT):
        return status or int(main(["train", recipe, "--out", f"{out}-stopped"]) != 2)


def test_a_step_of_two_processes_has_the_mismatch_of_one(
    taught_folder: Path, corpus: dict[str, Path], nursery: Nursery, tmp_path: Path
) -> None:
    """Two micro-batches of one process, and one of each of two; both stop where the sampler is too far off."""
    with shifted_sampler(SHIFT):
        train(_recipe(taught_folder, corpus, 2, gradient_accumulation_steps=2), tmp_path / "one")
    (tmp_path / "two.yaml").write_text(_recipe(taught_folder, corpus, 2).as_yaml())
    arguments = (tmp_path / "two.yaml", tmp_path / "two")
    statuses = nursery.run(f"{__name__}:run_shifted", *arguments, num_processes=2, environment=launched_with(*DDP))
    assert statuses == [0, 0], nursery.printed()
    one, two = (lines(tmp_path / name / "metrics.jsonl")[:2] for name in ("one", "two"))
    for row, other in zip(one, two, strict=True):
        found = {name: value for name, value in row.items() if name.startswith("sampling/")}
        assert {name: other[name] for name in found} == pytest.approx(found, rel=1e-3)
        assert 0.4 * SHIFT < found["sampling/sampling_logp_difference/mean"] < 0.8 * SHIFT
        assert found["sampling/sampling_logp_difference/max"] == pytest.approx(SHIFT, rel=0.01)
        assert 0.9999 < found["sampling/pearson"] < 1
        assert found["sampling/kl"] == pytest.approx(SHIFT**2 / 4, rel=0.3)  # d^2 / 2, sin^2 being 1/2 on average
        assert found["sampling/importance_sampling_ratio/mean"] == pytest.approx(1, abs=32 * SHIFT)
        assert found["sampling/frac_beyond"] == found["sampling/frac_capped"] == 0


def test_a_sampler_that_leaves_the_policy_stops_the_run_before_it_learns_from_it(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path
) -> None:
    """At step 3 of 4; what was kept at step 2 goes on when the sampler is right again."""
    recipe = _recipe(taught_folder, corpus, 2, max_steps=4, save_steps=2)
    with shifted_sampler(0.0):
        train(recipe, tmp_path / "whole")
    with shifted_sampler(0.1, from_call=2), pytest.raises(InputError) as caught:
        train(recipe, tmp_path / "run")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'run'}: step 3: the sampler's log-probabilities are not the policy's: mean")
    assert "above rl.max_mismatch (0.005)" in message
    assert "\n" not in message
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["checkpoint-2"]
    with shifted_sampler(0.0):
        train(recipe, tmp_path / "run")
    assert lines(tmp_path / "run" / "rollouts.jsonl") == lines(tmp_path / "whole" / "rollouts.jsonl")


def test_what_the_policy_sampled_itself_has_no_mismatch(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path
) -> None:
    train(_recipe(taught_folder, corpus, 2, max_steps=1), tmp_path)
    assert not any(name.startswith("sampling/") for row in lines(tmp_path / "metrics.jsonl") for name in row)
