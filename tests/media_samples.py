"""Clips and answers that the tests of the models show to the tiny Thinker, and what it makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mer_r1.data.sample import Clip, MediaFacts, Sample
from mer_r1.models import backbone as backbone_module
from mer_r1.models.backbone import Backbone, chosen_log_probs, pad_right
from mer_r1.models.types import Prompt

ANSWERS = (
    "<think>The face shows a small smile.</think><answer>happy, calm</answer>",
    "<think></think><answer>sad</answer>",
    "<answer>angry, annoyed, furious</answer>",
)
KINDS = ("video", "sound", "both", "subtitle", "picture", "picture and sound")


def make_clip(num_frames: int = 4, seconds: float = 1.0, seed: int = 0) -> Clip:
    """Noise frames of 56 x 56, three a second, and noise sound at 16 kHz; 0 leaves the medium out."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 255, (num_frames, 56, 56, 3), dtype=np.uint8) if num_frames else None
    wave = rng.uniform(-0.5, 0.5, round(seconds * 16_000)).astype(np.float32) if seconds else None
    return Clip(frames, wave, MediaFacts(frame_times_s=tuple(k / 3 for k in range(num_frames))))


def clip_of(kind: str, seed: int = 0) -> Clip:
    """A clip that has the media of one of KINDS."""
    num_frames = {"video": 4, "both": 4, "picture": 1, "picture and sound": 1}.get(kind, 0)
    return make_clip(num_frames, 1.0 if "sound" in kind or kind == "both" else 0.0, seed)


def sized_for(backbone: Backbone, clip: Clip) -> Clip:
    """A clip whose frames are whole cells of the backbone: two high and wide, where the given ones are not."""
    cell, frames = backbone.budget.size_multiple, clip.frames_THWC
    if frames is None or frames.shape[1] % cell == frames.shape[2] % cell == 0:
        return clip
    return replace(clip, frames_THWC=np.resize(frames, (len(frames), 2 * cell, 2 * cell, 3)))


def prompt_of(backbone: Backbone, clip: Clip, subtitle: str | None = "We talked for a while.") -> Prompt:
    """The prompt of a clip that is sized for the backbone."""
    return backbone.prepare(Sample("clip", subtitle=subtitle), sized_for(backbone, clip))


def prompts_of_all_kinds(backbone: Backbone) -> list[Prompt]:
    """One prompt of every one of KINDS, and two more of other lengths."""
    kinds = [prompt_of(backbone, clip_of(kind, seed)) for seed, kind in enumerate(KINDS)]
    longer = prompt_of(backbone, make_clip(8, 2.6, seed=7), "I could not do anything. It is awful news.")
    return [*kinds, longer, prompt_of(backbone, make_clip(2, 0.3, seed=8), None)]


def control_ids(tokenizer: Any) -> set[int]:
    """Ids of the tokens that a tokenizer's file declares special: the chat's frame and the media's placeholders."""
    return {ident for ident, token in tokenizer.added_tokens_decoder.items() if token.special}


def respond(backbone: Backbone, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """(ids, mask) of answers, (B, R)."""
    return pad_right([backbone.text_ids(text) for text in texts], backbone.tokenizer.pad_token_id, backbone.device)


@torch.no_grad()
def answer_logits(backbone: Backbone, prompts: Sequence[Prompt], texts: Sequence[str]) -> Tensor:
    """Logits (B, R, V) of each prompt's answer by the plain pass: one row each, towers run for it."""
    ids, mask = respond(backbone, texts)
    inputs = backbone.full_inputs(backbone.collate(prompts), ids, mask)
    return backbone.response_logits(backbone.model, inputs, ids.shape[1])


def answer_log_probs(backbone: Backbone, prompts: Sequence[Prompt], texts: Sequence[str]) -> Tensor:
    """log p (B, R) of the answers' ids, 0 on padding."""
    ids, mask = respond(backbone, texts)
    return chosen_log_probs(answer_logits(backbone, prompts, texts), ids).masked_fill(mask == 0, 0.0)


@torch.no_grad()
def official_logits(backbone: Backbone, prompts: Sequence[Prompt], texts: Sequence[str]) -> Tensor:
    """Logits (B, R, V) of the official Thinker, which places the media and makes the positions by itself."""
    ids, mask = respond(backbone, texts)
    batch = backbone.collate(prompts)
    result = backbone.model(
        input_ids=torch.cat([batch.input_ids_PT, ids], dim=1),
        attention_mask=torch.cat([batch.mask_PT, mask], dim=1),
        **{name: value.float() if value.is_floating_point() else value for name, value in batch.media.items()},
    )
    logits: Tensor = result.logits[:, batch.input_ids_PT.shape[1] - 1 : -1]
    return logits


@contextmanager
def saying(rows: Sequence[Sequence[int]]) -> Iterator[None]:
    """Within the block `generate` draws these ids, one list a row; a list that has ended gives its last id again."""
    step = 0

    def write(logits_BV: Tensor, *_: Any) -> Tensor:
        nonlocal step
        wanted = torch.tensor([row[min(step, len(row) - 1)] for row in rows], device=logits_BV.device)
        step += 1
        return wanted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbone_module, "draw", write)
        yield
