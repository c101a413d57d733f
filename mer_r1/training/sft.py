"""Cold start: supervised fine-tuning on annotated answers, loss on the response only.

What a sample's target is stands in prompting/targets.py. The loss is the mean negative log-likelihood over the response
tokens of an optimiser step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mer_r1.data.sample import Sample
from mer_r1.models.backbone import Backbone, chosen_log_probs, pad_right
from mer_r1.models.types import Prompt, PromptBatch
from mer_r1.prompting.targets import target_text
from mer_r1.recipe import TargetKind
from mer_r1.training.trainer import RunTrainer


@dataclass(frozen=True)
class Target:
    """What one training example answers: `given` is context without loss, `learned` carries it. Ids."""

    given: tuple[int, ...]
    learned: tuple[int, ...]


def make_target(backbone: Backbone, sample: Sample, kind: TargetKind) -> Target:
    """Ids of a sample's target. Raises InputError as `target_text` does."""
    text = target_text(sample, kind, backbone.response_format)
    given, learned = (
        [token for piece in pieces for token in backbone.text_ids(piece)] for pieces in (text.given, text.learned)
    )
    ends = (int(backbone.tokenizer.eos_token_id),) if text.ends else ()
    return Target(tuple(given), (*learned, *ends))


@dataclass(frozen=True)
class SftExample:
    """One prompt and one target."""

    prompt: Prompt
    target: Target


class SftExamples(torch.utils.data.Dataset[SftExample]):
    """Targets with their prompts; of N prompts, target i belongs to prompt i modulo N."""

    def __init__(self, prompts: Sequence[Prompt], targets: Sequence[Target]) -> None:
        self._prompts, self._targets = prompts, targets

    @classmethod
    def of(
        cls, backbone: Backbone, samples: Sequence[Sample], prompts: Sequence[Prompt], kinds: Sequence[TargetKind]
    ) -> SftExamples:
        """Every sample once per kind of `kinds`."""
        return cls(prompts, [make_target(backbone, sample, kind) for kind in kinds for sample in samples])

    def __len__(self) -> int:
        return len(self._targets)

    def __getitem__(self, index: int) -> SftExample:
        return SftExample(self._prompts[index % len(self._prompts)], self._targets[index])


@dataclass(frozen=True)
class SftBatch:
    """Prompts, responses (given + learned ids, padded right) and the mask of the ids that carry loss."""

    prompts: PromptBatch
    response_ids_BR: Tensor
    response_mask_BR: Tensor
    learned_BR: Tensor


def collate(backbone: Backbone, examples: Sequence[SftExample]) -> SftBatch:
    """Pad a list of examples to a batch, on the CPU."""
    fill = int(backbone.tokenizer.pad_token_id)
    ids, mask = pad_right([(*e.target.given, *e.target.learned) for e in examples], fill, torch.device("cpu"))
    given = torch.tensor([len(e.target.given) for e in examples])
    learned = mask * (torch.arange(mask.shape[1]) >= given[:, None])
    return SftBatch(backbone.collate([e.prompt for e in examples]), ids, mask, learned)


def negative_log_likelihood(backbone: Backbone, model: Any, batch: SftBatch) -> Tensor:
    """-log p of the learned ids of every example of a batch, summed: (B,)."""
    ids, mask, learned = (
        values.to(backbone.device) for values in (batch.response_ids_BR, batch.response_mask_BR, batch.learned_BR)
    )
    inputs = backbone.full_inputs(batch.prompts, ids, mask)
    log_probs = chosen_log_probs(backbone.response_logits(model, inputs, ids.shape[1]), ids)
    return -(log_probs * learned).masked_fill(learned == 0, 0.0).sum(1)


def sft_loss(backbone: Backbone, model: Any, batch: SftBatch, num_tokens: float | None = None) -> Tensor:
    """Negative log-likelihood of the learned ids of a batch over `num_tokens`, by default their number: the mean."""
    total = negative_log_likelihood(backbone, model, batch).sum()
    return total / (float(batch.learned_BR.sum()) if num_tokens is None else num_tokens)


class SftTrainer(RunTrainer):
    """The run's trainer with the loss above. The mean runs over all learned ids of an optimiser step."""

    def __init__(self, backbone: Backbone, **kwargs: Any) -> None:
        self.backbone = backbone
        super().__init__(model=backbone.wrapped_model, collate=partial(collate, backbone), **kwargs)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], Any]:
        samples, _ = super().get_batch_samples(*args, **kwargs)
        tokens = self._from_all([sum(int(inputs["batch"].learned_BR.sum()) for inputs in samples)])
        self._tokens_a_batch = sum(tokens) / (len(samples) * len(tokens)) if samples else None
        return samples, None

    def compute_loss(self, model: Any, inputs: dict[str, SftBatch], *args: Any, **kwargs: Any) -> Tensor:
        return sft_loss(self.backbone, model, inputs["batch"], self._tokens_a_batch)

    def evaluate_batch(self, inputs: dict[str, SftBatch]) -> list[tuple[dict[str, float], float]]:
        """The mean loss of every example, which counts as many ids as it has: together the mean over all ids."""
        batch = inputs["batch"]
        totals = negative_log_likelihood(self.backbone, self.backbone.wrapped_model, batch).tolist()
        sizes = batch.learned_BR.sum(1).tolist()
        return [({"loss": total / size}, size) for total, size in zip(totals, sizes, strict=True)]
