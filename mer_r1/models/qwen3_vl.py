"""Qwen3-VL: it sees video or a picture and reads the subtitle; it cannot hear.

What its tower makes of a picture is added behind the language model's first layers too (deepstack). Every pair of a
video's frames stands in the prompt behind the time at which it was taken, written out, and is a picture of its own to
M-RoPE:

    <0.5 seconds><|vision_start|> … <|vision_end|><1.5 seconds><|vision_start|> … <|vision_end|>

Text continues after each from its largest position + 1, as transformers counts and as an answer continues.

In the models with experts (30B-A3B, 235B-A22B) a router chooses some of them for every token. The official checkpoint
holds them transposed, and so do the folders written here; transformers reads them either way, vLLM so alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from mer_r1.data.sample import Clip, Sample
from mer_r1.media import MediaBudget
from mer_r1.models.backbone import Backbone
from mer_r1.models.checkpoint import MEDIA_FIX, read_parts, settings_of
from mer_r1.models.frames import frame_arguments, frame_metadata, kept_arrays, seen_chat, taken_rate, unheard
from mer_r1.models.types import ChatPrompt, Prompt

_NAME = "Qwen3-VL"


@dataclass
class Qwen3VLBackbone(Backbone):
    """A dense Qwen3-VL of any size."""

    reads = "pictures and subtitle"

    model_class: ClassVar[str] = "Qwen3VLForConditionalGeneration"
    """Of transformers."""

    @classmethod
    def load(
        cls, source: str, budget: MediaBudget | None = None, prompt_style: str | None = None, weights: bool = True
    ) -> Self:
        """Load a Qwen3-VL from a folder or a Hub id, with the settings saved beside it or the given ones.

        Without `weights` its model is on the meta device, enough to make prompts and to read answers.

        Raises InputError for a folder that is no whole checkpoint of this kind, and for a Hub id that cannot be loaded.
        """
        shown_as = settings_of(source, budget, prompt_style, "qwen3_vl")
        import transformers

        fix = MEDIA_FIX.format("Qwen/Qwen3-VL-4B-Instruct")
        classes = getattr(transformers, cls.model_class), transformers.Qwen3VLProcessor
        return cls(*read_parts(source, _NAME, fix, *classes, "auto", weights), *shown_as)

    def placeholder_ids(self) -> Sequence[int]:
        return self.model.config.image_token_id, self.model.config.video_token_id

    def towers(self) -> Sequence[Any]:
        return (self.model.get_encoder("image"),)

    def prepare(self, sample: Sample, clip: Clip) -> Prompt:
        """One sample as ids, positions and the processor's arrays; floats are kept in float16.

        Raises InputError, naming the sample, where there is nothing that this model can see or read.
        """
        arguments = frame_arguments(
            clip, self.budget, lambda _, rate: {"video_metadata": [frame_metadata(clip.facts, rate)]}
        )
        features = self.processor(text=seen_chat(self, sample, clip, _NAME), return_tensors="pt", **arguments)
        ids, mask, kinds = (features.pop(name) for name in ("input_ids", "attention_mask", "mm_token_type_ids"))
        features.pop("video_metadata", None)
        grids = {name: value for name, value in features.items() if name.endswith("_grid_thw")}
        positions, _ = self.model.model.get_rope_index(ids, kinds, attention_mask=mask, **grids)
        return Prompt(sample.id, ids[0], positions[:, 0], kept_arrays(features), unheard(clip))

    def chat_prompt(self, sample: Sample, clip: Clip) -> ChatPrompt:
        """One sample as the chat's ids and its frames. Raises InputError as `prepare` does."""
        text = seen_chat(self, sample, clip, _NAME)
        ids, read = self.text_ids(text), self.text_ids(self._expanded(text, clip))
        rate = taken_rate(clip, self.budget)
        return ChatPrompt(sample.id, ids, read, unheard(clip), clip.frames_THWC, rate)

    def chat_text(self, chat: Sequence[Mapping[str, Any]]) -> str:
        """The text of a chat, a video's placeholder bare.

        The template puts it between the marks of a picture. The authors' processor replaced these with it; that of
        transformers 5.10 and later leaves them around the whole video, where the checkpoints never saw them.
        """
        processor = self.processor
        marked = f"{processor.vision_start_token}{processor.video_token}{processor.vision_end_token}"
        return super().chat_text(chat).replace(marked, processor.video_token)

    def media_span(self, ids_T: Tensor, placeholders: Sequence[int]) -> slice:
        """As every backbone's; of a video with the times and marks around its frames."""
        span = super().media_span(ids_T, placeholders)
        if ids_T[span.start] != self.model.config.video_token_id:
            return span
        before_time = ids_T[: span.start] == self.text_ids("<0.5 seconds>")[0]
        return slice(int(before_time.nonzero()[-1]), span.stop + 1)

    def _expanded(self, text: str, clip: Clip) -> str:
        """The text of a chat with what the processor puts in the place of a picture or a video."""
        if clip.frames_THWC is None:
            return text
        processor, side = self.processor, self.model.config.vision_config.patch_size
        num_frames, height, width, _ = clip.frames_THWC.shape
        grid_13 = torch.tensor([[math.ceil(num_frames / 2), height // side, width // side]])
        if num_frames == 1:
            return text.replace(processor.image_token, processor.replace_image_token({"image_grid_thw": grid_13}, 0))
        from transformers.video_utils import VideoMetadata

        about = VideoMetadata(**frame_metadata(clip.facts, taken_rate(clip, self.budget)))
        shown = {"video_grid_thw": grid_13, "video_metadata": [about]}
        return text.replace(processor.video_token, processor.replace_video_token(shown, 0))


@dataclass
class Qwen3VLMoeBackbone(Qwen3VLBackbone):
    """A Qwen3-VL with experts."""

    model_class = "Qwen3VLMoeForConditionalGeneration"

    def official_weights(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """The weights as the official checkpoint holds them: a layer's experts transposed."""
        for name, weight in weights:
            yield name, weight.transpose(1, 2).contiguous() if ".experts." in name else weight

    def _save_weights(self, folder: Path, weights: dict[str, Tensor]) -> None:
        official = dict(self.official_weights(weights.items()))
        self.model.save_pretrained(folder, state_dict=official, save_original_format=False)


load_qwen3_vl, load_qwen3_vl_moe = Qwen3VLBackbone.load, Qwen3VLMoeBackbone.load
