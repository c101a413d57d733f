"""Gemma 4 E2B and E4B: small dense models that see pictures and video, hear and read.

A frame of a video stands in the prompt behind the minute and second at which it was taken, up to 70 tokens of 48 x 48
pixels each; a second of sound is 25 tokens. Positions count the ids, and a picture is attended to as words are.

    00:00 <|image> … <image|> 00:01 <|image> … <image|>

Most layers look back a window of 512 ids, the later ones read the keys and values of earlier ones, every layer is given
an embedding of the ids of its own, and logits are softly capped: what the packed pass and decoding do with that is in
group_attention.py, packing.py and backbone.py. The larger models (26B-A4B, 31B) attend within a picture in both
directions, which no prompt shared by answers is read by here, so they are refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mer_r1.data.sample import Clip, Sample
from mer_r1.errors import InputError
from mer_r1.media import MediaBudget
from mer_r1.media.budget import AUDIO_HZ
from mer_r1.models.backbone import Backbone
from mer_r1.models.checkpoint import MEDIA_FIX, read_parts, settings_of
from mer_r1.models.frames import frame_media, frame_metadata, kept_arrays, sound_of, taken_rate
from mer_r1.models.types import ChatPrompt, Prompt
from mer_r1.prompting.templates import media_chat

_FRAME_TOKENS = (70, 140, 280, 560, 1120)
"""What the processor pads a frame to, one of them. No more is kept than the frames have."""
_ARRAYS = (
    "pixel_values",
    "image_position_ids",
    "pixel_values_videos",
    "video_position_ids",
    "num_frames_per_video",
    "input_features",
    "input_features_mask",
)
"""What of the processor's output the model takes beside the ids."""
_IS_TIME = re.compile(r"[\d: ]+\Z")


@dataclass
class Gemma4Backbone(Backbone):
    """A Gemma 4 with causal attention."""

    reads = "pictures, sound and subtitle"
    has_engine = False

    @property
    def num_position_axes(self) -> int:
        return 1

    def placeholder_ids(self) -> Sequence[int]:
        config = self.model.config
        return config.audio_token_id, config.image_token_id, config.video_token_id

    def towers(self) -> Sequence[Any]:
        model = self.model.model
        return model.vision_tower, model.embed_vision, model.audio_tower, model.embed_audio

    def prepare(self, sample: Sample, clip: Clip) -> Prompt:
        """One sample as ids, positions and the processor's arrays; floats are kept in float16."""
        arguments: dict[str, Any] = {}
        if clip.frames_THWC is not None:
            frames = torch.from_numpy(clip.frames_THWC).permute(0, 3, 1, 2)
            cells = frames[0, 0].numel() // self.budget.size_multiple**2
            room = next(tokens for tokens in _FRAME_TOKENS if tokens >= cells)
            as_taken = {"do_resize": False, "max_soft_tokens": room}
            if len(frames) == 1:
                arguments = {"images": [frames[0]], "images_kwargs": as_taken}
            else:
                timed = {"do_sample_frames": False, "video_metadata": [frame_metadata(clip.facts, rate=1.0)]}
                arguments = {"videos": [frames], "videos_kwargs": as_taken | timed}
        if (wave := sound_of(clip)) is not None:
            arguments |= {"audio": [wave], "audio_kwargs": {"truncation": False, "sampling_rate": AUDIO_HZ}}
        text = self._chat(sample, clip)
        features = self.processor(text=text, add_special_tokens=False, return_tensors="pt", **arguments)
        arrays = _frames_cut({name: value for name, value in features.items() if name in _ARRAYS})
        ids_T = features["input_ids"][0]
        return Prompt(sample.id, ids_T, torch.arange(len(ids_T)).expand(3, -1), kept_arrays(arrays), clip.facts)

    def chat_prompt(self, sample: Sample, clip: Clip) -> ChatPrompt:
        """One sample as the chat's ids and its media."""
        text, wave = self._chat(sample, clip), sound_of(clip)
        read = self.prepare(sample, clip).input_ids_T.tolist()
        rate = taken_rate(clip, self.budget)
        return ChatPrompt(sample.id, self.text_ids(text), read, clip.facts, clip.frames_THWC, rate, wave)

    def media_span(self, ids_T: Tensor, placeholders: Sequence[int]) -> slice:
        """As every backbone's, with the marks around media and the times of a video's frames."""
        span = super().media_span(ids_T, placeholders)
        start = span.start - 1
        if ids_T[span.start] == self.model.config.video_token_id:
            while _IS_TIME.match(self.decode([int(ids_T[start - 1])])):
                start -= 1
        return slice(start, span.stop + 1)

    def _chat(self, sample: Sample, clip: Clip) -> str:
        media = [*frame_media(clip), *(["audio"] if clip.waveform_N is not None else [])]
        return self.chat_text(media_chat(self.template, media, *self.texts_of(sample)))


def _frames_cut(arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    """The arrays without the patches that pad every frame."""
    for pixels, places in (("pixel_values", "image_position_ids"), ("pixel_values_videos", "video_position_ids")):
        if places in arrays:
            most = int((arrays[places] != -1).all(-1).sum(-1).max())
            arrays |= {name: arrays[name][:, :most].contiguous() for name in (pixels, places)}
    return arrays


def load_gemma4(
    source: str, budget: MediaBudget | None = None, prompt_style: str | None = None, weights: bool = True
) -> Gemma4Backbone:
    """Load a Gemma 4 from a folder or a Hub id, with the settings saved beside it or the given ones.

    Without `weights` its model is on the meta device, enough to make prompts and to read answers. The end of an answer
    is the end of the model's turn, by which the checkpoints were trained to end; their tokenizer names another.

    Raises InputError for a folder that is no whole checkpoint of this kind, a Hub id that cannot be loaded, a model
    that attends within pictures in both directions or cannot hear, and an earlier transformers.
    """
    shown_as = settings_of(source, budget, prompt_style, "gemma4")
    import transformers

    version = transformers.__version__
    if tuple(int(part) for part in version.split(".")[:2]) < (5, 23):  # the model's own forward loses videos there
        raise InputError(f"{source}: a Gemma 4 needs transformers 5.23, here is {version}; pip install -U transformers")
    fix = MEDIA_FIX.format("google/gemma-4-E4B-it")
    classes = transformers.Gemma4ForConditionalGeneration, transformers.Gemma4Processor
    model, processor = read_parts(source, "Gemma 4", fix, *classes, "auto", weights)
    if model.config.text_config.use_bidirectional_attention or model.config.audio_config is None:
        raise InputError(
            f"{source}: a Gemma 4 that attends within a picture in both directions and cannot hear; take E2B or E4B"
        )
    processor.tokenizer.eos_token = getattr(processor.tokenizer, "eot_token", processor.tokenizer.eos_token)
    return Gemma4Backbone(model, processor, *shown_as)
