"""Cold start: supervised fine-tuning on annotated answers, loss on the response only.

A slow target is the annotated reasoning and its answer; a fast target is the profile's prefill, which carries no loss,
and the gold words. The loss is the mean negative log-likelihood over the response tokens of a device batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mer_r1.errors import InputError
from mer_r1.models.backbone import Backbone, Prompt, PromptBatch, chosen_log_probs, pad_right
from mer_r1.response import PROFILES, is_well_formed
from mer_r1.sample import Mode, Sample
from mer_r1.training import RunTrainer

PROFILE = PROFILES["think_answer"]


@dataclass(frozen=True)
class Target:
    """What one training example answers: `given` is context without loss, `learned` carries it. Ids."""

    given: tuple[int, ...]
    learned: tuple[int, ...]


def slow_text(sample: Sample) -> str:
    """The slow target of a sample: its `reasoning` as it stands when it is a whole response, else with the gold words.

    A reasoning that is a whole response commits to its annotator's own words; a plain one is followed by the labels.
    """
    reasoning = (sample.reasoning or "").strip()
    if is_well_formed(reasoning):
        return reasoning
    return f"<think>{reasoning}</think><answer>{', '.join(sample.labels)}</answer>"


def make_target(backbone: Backbone, sample: Sample, mode: Mode) -> Target:
    """Ids of a sample's target. Cut at the answer tag, so that the first word never shares a token with it.

    Raises InputError for a sample without labels, and in slow mode for one without reasoning.
    """
    if not sample.labels:
        raise InputError(f"sample {sample.id!r}: has no labels to learn from; add `labels` or leave the row out")
    if mode == "fast":
        answer = f"{', '.join(sample.labels)}</answer>"
        return Target(tuple(backbone.text_ids(PROFILE.fast_prefill)), (*backbone.text_ids(answer), _eos(backbone)))
    if not (sample.reasoning or "").strip():
        raise InputError(
            f"sample {sample.id!r}: has no reasoning for a slow target; add `reasoning`, or train fast only"
        )
    text = slow_text(sample)
    if not is_well_formed(text):
        raise InputError(
            f"sample {sample.id!r}: its reasoning and labels make no well-formed answer; take tags out of `reasoning`, "
            "or make it a whole <think>…</think><answer>…</answer>"
        )
    head, tag, answer = text.rpartition("<answer>")
    return Target((), (*backbone.text_ids(head + tag), *backbone.text_ids(answer), _eos(backbone)))


def _eos(backbone: Backbone) -> int:
    return int(backbone.tokenizer.eos_token_id)


@dataclass(frozen=True)
class SftExample:
    """One prompt and one target."""

    prompt: Prompt
    target: Target


class SftExamples(torch.utils.data.Dataset[SftExample]):
    """Every sample once per mode of `modes`."""

    def __init__(
        self, backbone: Backbone, samples: Sequence[Sample], prompts: Sequence[Prompt], modes: Sequence[Mode]
    ) -> None:
        self._prompts = prompts
        self._targets = [make_target(backbone, sample, mode) for mode in modes for sample in samples]

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
    """Pad a list of examples to a batch on the model's device."""
    fill = int(backbone.tokenizer.pad_token_id)
    ids, mask = pad_right([(*e.target.given, *e.target.learned) for e in examples], fill, backbone.device)
    given = torch.tensor([len(e.target.given) for e in examples], device=mask.device)
    learned = mask * (torch.arange(mask.shape[1], device=mask.device) >= given[:, None])
    return SftBatch(backbone.collate([e.prompt for e in examples]), ids, mask, learned)


def sft_loss(backbone: Backbone, model: Any, batch: SftBatch) -> Tensor:
    """Mean negative log-likelihood of the learned ids of a batch."""
    inputs = backbone.full_inputs(batch.prompts, batch.response_ids_BR, batch.response_mask_BR)
    logits = backbone.response_logits(model, inputs, batch.response_ids_BR.shape[1])
    log_probs = chosen_log_probs(logits, batch.response_ids_BR)
    total = -(log_probs * batch.learned_BR).masked_fill(batch.learned_BR == 0, 0.0).sum()
    return total / batch.learned_BR.sum()


class SftTrainer(RunTrainer):
    """The run's trainer with the loss above."""

    def __init__(self, backbone: Backbone, **kwargs: Any) -> None:
        self.backbone = backbone
        super().__init__(
            model=backbone.model, data_collator=lambda examples: {"batch": collate(backbone, examples)}, **kwargs
        )
        self.model_accepts_loss_kwargs = False  # the loss is a mean over this batch's own tokens

    def compute_loss(self, model: Any, inputs: dict[str, SftBatch], *args: Any, **kwargs: Any) -> Tensor:
        return sft_loss(self.backbone, model, inputs["batch"])
