"""top_k, top_p and min_p against transformers' warpers, one by one and together."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GenerationConfig, GenerationMixin

from mer_r1.models.decoding import draw, limited_probabilities
from mer_r1.models.types import Sampling

B, V = 6, 40
LIMITS: list[dict[str, Any]] = [
    {"top_k": 1},
    {"top_k": 7},
    {"top_k": V + 5},
    {"top_p": 0.3},
    {"top_p": 0.9},
    {"min_p": 0.05},
    {"min_p": 1.0},
    {"top_k": 10, "top_p": 0.8},
    {"top_k": 10, "top_p": 0.8, "min_p": 0.2},
    {"top_p": 0.95, "min_p": 0.1},
]


def _logits(seed: int) -> Tensor:
    logits = 3 * torch.randn(B, V, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    logits[:, ::9] = -torch.inf  # ids that may not be drawn
    return logits


def _theirs(logits_BV: Tensor, temperature: float, limits: dict[str, Any]) -> Tensor:
    """What transformers' own generation loop would draw from: its warpers, in its order."""
    config = GenerationConfig(do_sample=True, temperature=temperature, **{"top_k": 0, **limits})
    warpers = GenerationMixin()._get_logits_processor(config, logits_processor=None, device="cpu")
    scores: Tensor = warpers(torch.zeros(B, 1, dtype=torch.long), logits_BV)
    return scores.softmax(-1)


@pytest.mark.parametrize("limits", LIMITS, ids=str)
@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.6])
def test_limits_leave_what_transformers_leaves(limits: dict[str, Any], temperature: float) -> None:
    for seed in range(4):
        logits = _logits(seed)
        made = limited_probabilities(logits, Sampling(1, temperature, **limits))
        torch.testing.assert_close(made / made.sum(-1, keepdim=True), _theirs(logits, temperature, limits))


def test_ids_as_likely_as_the_last_of_the_top_k_stay() -> None:
    logits = torch.tensor([[2.0, 1.0, 1.0, 0.0]], dtype=torch.float64).expand(B, -1)
    made = limited_probabilities(logits, Sampling(1, top_k=2))
    assert (made[0] > 0).tolist() == [True, True, True, False]
    torch.testing.assert_close(made / made.sum(-1, keepdim=True), _theirs(logits, 1.0, {"top_k": 2}))


def test_what_a_limit_forbids_is_never_drawn_and_the_rest_keeps_its_shares() -> None:
    logits = torch.tensor([0.1, 0.5, 0.15, 0.25]).log().expand(3000, -1)
    places = (torch.arange(3000, dtype=torch.float64) + 0.5) / 3000
    for sampling in (Sampling(1, top_k=2), Sampling(1, min_p=0.4)):
        shares = torch.bincount(draw(logits, sampling, places), minlength=4) / 3000
        assert shares.tolist() == pytest.approx([0, 2 / 3, 0, 1 / 3], abs=1e-3)
