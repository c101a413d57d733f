"""Qwen2.5-VL, EMO-R3's backbone: it sees video or a picture and reads the subtitle; it cannot hear.

Positions are M-RoPE's, a video's time axis counted from the rate at which its frames were taken; text continues after
it from its largest position on any axis + 1, as the model was trained (huggingface/transformers, pull request 35569).
The sound of a clip is left out, and the facts of a prompt say so: 0 seconds taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mer_r1.data.sample import Clip, Sample
from mer_r1.media import MediaBudget
from mer_r1.models.backbone import Backbone
from mer_r1.models.checkpoint import MEDIA_FIX, read_parts, settings_of
from mer_r1.models.frames import (
    expanded,
    frame_arguments,
    frame_tokens,
    kept_arrays,
    seen_chat,
    taken_rate,
    unheard,
)
from mer_r1.models.types import ChatPrompt, Prompt

_NAME = "Qwen2.5-VL"


@dataclass
class VisionBackbone(Backbone):
    """A Qwen2.5-VL of any size."""

    reads = "pictures and subtitle"

    def placeholder_ids(self) -> Sequence[int]:
        return self.model.config.image_token_id, self.model.config.video_token_id

    def towers(self) -> Sequence[Any]:
        return (self.model.get_encoder("image"),)

    def prepare(self, sample: Sample, clip: Clip) -> Prompt:
        """One sample as ids, positions and the processor's arrays; floats are kept in float16.

        Raises InputError, naming the sample, where there is nothing that this model can see or read.
        """
        arguments = frame_arguments(clip, self.budget, _metadata)
        features = self.processor(text=seen_chat(self, sample, clip, _NAME), return_tensors="pt", **arguments)
        ids, mask, kinds = (features.pop(name) for name in ("input_ids", "attention_mask", "mm_token_type_ids"))
        seconds = features.pop("second_per_grid_ts", None)
        grids = {name: value for name, value in features.items() if name.endswith("_grid_thw")}
        positions, _ = self.model.model.get_rope_index(
            ids, kinds, second_per_grid_ts=seconds, attention_mask=mask, **grids
        )
        placed_3T = _text_after_media(positions[:, 0], kinds[0])
        return Prompt(sample.id, ids[0], placed_3T, kept_arrays(features), unheard(clip))

    def chat_prompt(self, sample: Sample, clip: Clip) -> ChatPrompt:
        """One sample as the chat's ids and its frames. Raises InputError as `prepare` does."""
        ids = self.text_ids(seen_chat(self, sample, clip, _NAME))
        read = expanded(ids, frame_tokens(clip, self.budget, self.model.config))
        rate = taken_rate(clip, self.budget)
        return ChatPrompt(sample.id, ids, read, unheard(clip), clip.frames_THWC, rate)


def _metadata(num_frames: int, rate: float) -> dict[str, Any]:
    about = {"total_num_frames": num_frames, "frames_indices": list(range(num_frames)), "fps": rate}
    return {"video_metadata": [about]}


def _text_after_media(positions_3T: Tensor, kinds_T: Tensor) -> Tensor:
    """Positions whose text continues from the largest of the video before it, + 1.

    transformers 5.3 and later count from the video's larger side instead, which puts text amid a long video's time and
    agrees neither with the checkpoints nor with an answer that starts after all that the prompt holds.
    """
    if not kinds_T.any():
        return positions_3T
    end = int(kinds_T.nonzero()[-1]) + 1
    late = positions_3T[:, :end].max() + 1 - positions_3T[0, end]
    return torch.cat([positions_3T[:, :end], positions_3T[:, end:] + late], dim=1)


def load_vision(
    source: str, budget: MediaBudget | None = None, prompt_style: str | None = None, weights: bool = True
) -> VisionBackbone:
    """Load a Qwen2.5-VL from a folder or a Hub id, with the settings saved beside it or the given ones.

    Without `weights` its model is on the meta device, enough to make prompts and to read answers.

    Raises InputError for a folder that is no whole checkpoint of this kind, and for a Hub id that cannot be loaded.
    """
    shown_as = settings_of(source, budget, prompt_style)
    import transformers

    fix = MEDIA_FIX.format("Qwen/Qwen2.5-VL-3B-Instruct")
    classes = transformers.Qwen2_5_VLForConditionalGeneration, transformers.Qwen2_5_VLProcessor
    return VisionBackbone(*read_parts(source, _NAME, fix, *classes, "auto", weights), *shown_as)
