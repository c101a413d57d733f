"""The repeated pass that the packed one must equal, what both read, and what passes a model's parts meanwhile.

Every branch stands alone in a row behind its own copy of the prompt, media included, and the towers run for each.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mer_r1.models.backbone import Backbone, chosen_log_probs, pad_right
from mer_r1.models.category_confidence import AnchorConfidence, CategoryTokens
from mer_r1.models.gemma4 import Gemma4Backbone
from mer_r1.models.packing import Branch, GroupPass, group_pass, pack
from mer_r1.models.types import Encoded, Prompt
from tests.media_samples import clip_of, make_clip, prompt_of
from tests.tolerance import float32_tolerance

HEAD_TOLERANCE = float32_tolerance(1000)
"""Of a float64 model: its head is float32, and takes a softmax over somewhat less than 1000 ids."""


def prompts_of(backbone: Backbone, num: int) -> list[Prompt]:
    """Prompts of different lengths; with video and sound where the backbone has towers."""
    both = prompt_of(backbone, clip_of("both", seed=1), "It is awful news, all of it, and nobody said a word.")
    longer = prompt_of(backbone, make_clip(8, 2.6, seed=7), "I could not do anything.")
    prompts = [both, prompt_of(backbone, make_clip(0, 0.0), "No!"), longer][:num]
    assert len({len(prompt.input_ids_T) for prompt in prompts}) == num
    return prompts


class Case(NamedTuple):
    """Prompts and the branches behind them."""

    prompts: list[Prompt]
    slow: list[Branch]
    fast: list[Branch]

    @property
    def rows(self) -> list[list[int]]:
        return [list(branch.ids) for branch in self.slow]


def make_case(prompts: Sequence[Prompt], group: int, seed: int = 0) -> Case:
    """Answers of 1 to 12 ids, a group of them for each prompt, and two fast branches a prompt, all with anchors."""
    generator = torch.Generator().manual_seed(seed)

    def ids(num: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, 400, (num,), generator=generator).tolist())

    lengths = torch.randint(1, 13, (len(prompts) * group,), generator=generator).tolist()
    lengths[0] = 12
    lengths[-1] = 1
    rows = [ids(length) for length in lengths]
    slow = [Branch(i // group, row, (0, len(row) - 1), (row[0], row[-1])) for i, row in enumerate(rows)]
    slow[-1] = replace(slow[-1], indices=(), targets=())  # an answer without a word to calibrate
    heads = [ids(4 + i % 3) for i in range(2 * len(prompts))]
    fast = [Branch(i // 2, head, (2, len(head)), (head[2], 9)) for i, head in enumerate(heads)]
    return Case(list(prompts), slow, fast)


def copy_of(backbone: Backbone, dtype: torch.dtype = torch.float64) -> Any:
    """The backbone with a model of its own; its experts by plain products, as grouped ones are not made in float64.

    Nor is the attention of Gemma's audio tower, which stays as it is.
    """
    made: Any = replace(backbone, model=copy.deepcopy(backbone.model).to(dtype), wrapped_model=None)
    made.model.config.get_text_config()._experts_implementation = "eager"
    if isinstance(backbone, Gemma4Backbone):
        made.model.model.audio_tower.float()
        made.model.model.embed_audio.float()
    return made


def repeated_logits(backbone: Backbone, prompts: Sequence[Prompt], branches: Sequence[Branch]) -> Tensor:
    """Logits (B, R + 1, V), with those that follow a row's last id: one row a branch, its own prompt before it."""
    rows = [[*branch.ids, 7] for branch in branches]
    ids, mask = pad_right(rows, 0, backbone.device)
    batch = backbone.collate([prompts[branch.prompt] for branch in branches])
    return backbone.response_logits(backbone.model, backbone.full_inputs(batch, ids, mask), ids.shape[1])


def repeated(backbone: Backbone, case: Case, temperature: float = 1.0) -> Tensor:
    """log p (B, R) of the answers' ids, 0 on padding."""
    ids, mask = pad_right(case.rows, 0, backbone.device)
    logits = repeated_logits(backbone, case.prompts, case.slow)[:, :-1] / temperature
    return torch.where(mask.bool(), chosen_log_probs(logits, ids), 0.0)


def packed_pass(
    backbone: Backbone,
    case: Case,
    encoded: Encoded | None = None,
    temperature: float = 1.0,
    tokens: CategoryTokens | None = None,
) -> GroupPass:
    prompts = backbone.collate(case.prompts).to(backbone.device)
    return group_pass(backbone, backbone.model, pack(prompts, case.slow, case.fast), encoded, temperature, tokens)


def gradients_of(backbone: Backbone, log_probs_BR: Tensor) -> dict[str, Tensor]:
    """Of a sum of all log-probabilities, each with a weight of its own, by every parameter that learns."""
    backbone.model.zero_grad(set_to_none=True)
    weights = torch.randn(log_probs_BR.shape, generator=torch.Generator().manual_seed(3))
    (log_probs_BR * weights).sum().backward()  # type: ignore[no-untyped-call]
    return {name: p.grad for name, p in backbone.model.named_parameters() if p.grad is not None}


def same_gradients(ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float = HEAD_TOLERANCE) -> None:
    """Relative to each parameter's own gradient."""
    assert ours.keys() == theirs.keys()
    assert len(ours) > 30
    for name, value in theirs.items():
        if "audio_tower" in name and name.endswith("k_proj.bias"):
            continue  # alike at all keys: a softmax without positions does not see it
        assert float(value.norm()) > 0, name
        assert float((ours[name] - value).norm() / value.norm()) < tolerance, name


def same_confidences(made: Sequence[AnchorConfidence], expected: Sequence[AnchorConfidence]) -> None:
    assert len(made) == len(expected)
    for one, other in zip(made, expected, strict=True):
        torch.testing.assert_close(one.category_AC, other.category_AC, atol=HEAD_TOLERANCE, rtol=0, equal_nan=True)
        torch.testing.assert_close(one.word_A, other.word_A, atol=HEAD_TOLERANCE, rtol=0)


@torch.no_grad()
def repeated_confidences(backbone: Backbone, case: Case, tokens: CategoryTokens) -> list[AnchorConfidence]:
    """Of every branch with indices, read from the repeated pass."""
    branches = [branch for branch in (*case.slow, *case.fast) if branch.indices]
    log_probs = repeated_logits(backbone, case.prompts, branches).log_softmax(-1)
    return [
        tokens.confidence(log_probs[row, list(branch.indices)], torch.tensor(branch.targets))
        for row, branch in enumerate(branches)
    ]


class Calls:
    """Counts what the parts of a model are given: runs of the towers, places that a layer and the last norm read."""

    def __init__(self, backbone: Backbone) -> None:
        self.towers: list[int] = []
        self.read: list[int] = []
        self.layers: list[int] = []
        language = backbone.language_model
        self._handles = [tower.register_forward_hook(self._count("towers")) for tower in backbone.towers()]
        self._handles += [layer.register_forward_hook(self._count("layers")) for layer in language.layers]
        self._handles.append(language.norm.register_forward_hook(self._count("read")))

    def _count(self, name: str) -> Any:
        def hook(_: Any, args: Any, *__: Any) -> None:
            getattr(self, name).append(args[0].shape[:-1].numel() if args else 1)

        return hook

    def __enter__(self) -> Calls:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
