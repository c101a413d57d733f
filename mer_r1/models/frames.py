"""The frames and the sound of a clip as processors take them, and what is alike in families that cannot hear.

Frames come sized from the media budget, so the processor only cuts them into patches. One frame is shown as a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mer_r1.data.sample import Clip, MediaFacts, Sample
from mer_r1.errors import InputError
from mer_r1.media import MediaBudget, frame_rate, video_tokens
from mer_r1.media.budget import SHORTEST_SOUND
from mer_r1.models.backbone import Backbone
from mer_r1.prompting.templates import media_chat

_AS_TAKEN: dict[str, Any] = {"do_resize": False, "do_sample_frames": False, "cap_pixels_per_frame": False}


def frame_media(clip: Clip) -> list[str]:
    """The medium of a clip's frames in a chat: an image, a video, or none."""
    if clip.frames_THWC is None:
        return []
    return ["image" if len(clip.frames_THWC) == 1 else "video"]


def frame_arguments(
    clip: Clip, budget: MediaBudget, with_rate: Callable[[int, float], dict[str, Any]]
) -> dict[str, Any]:
    """The processor's arguments for the frames of a clip; none where it has no frames.

    `with_rate` says the number of a video's frames, and their `frame_rate`, in the processor's own arguments.
    """
    if clip.frames_THWC is None:
        return {}
    frames = torch.from_numpy(clip.frames_THWC).permute(0, 3, 1, 2)
    if len(frames) == 1:
        return {"images": [frames[0]], "images_kwargs": {"do_resize": False}}
    rate = frame_rate(len(frames), clip.facts.video_s, budget)
    return {"videos": [frames], "videos_kwargs": {**_AS_TAKEN, **with_rate(len(frames), rate)}}


def taken_rate(clip: Clip, budget: MediaBudget) -> float:
    """The `frame_rate` of a clip's frames."""
    return 0.0 if clip.frames_THWC is None else frame_rate(len(clip.frames_THWC), clip.facts.video_s, budget)


def frame_tokens(clip: Clip, budget: MediaBudget, config: Any) -> dict[int, int]:
    """The id that stands for the clip's frames in a chat, and how many tokens they are; none without frames."""
    if clip.frames_THWC is None:
        return {}
    num_frames, height, width, _ = clip.frames_THWC.shape
    ident = config.image_token_id if num_frames == 1 else config.video_token_id
    return {ident: video_tokens(num_frames, width, height, budget)}


def frame_metadata(facts: MediaFacts, rate: float) -> dict[str, Any]:
    """A video as transformers and vLLM describe one: its frames' times, counted in frames of `rate` a second."""
    times_s = facts.frame_times_s
    return {"total_num_frames": len(times_s), "frames_indices": [time_s * rate for time_s in times_s], "fps": rate}


def expanded(chat_ids: Sequence[int], counts: Mapping[int, int]) -> list[int]:
    """A chat's ids, each that stands for a medium as often as the medium has tokens."""
    return [ident for one in chat_ids for ident in [one] * counts.get(one, 1)]


def seen_chat(backbone: Backbone, sample: Sample, clip: Clip, name: str) -> str:
    """The chat of a sample for a model called `name` that cannot hear, up to where the assistant's turn begins.

    Raises InputError, naming the sample, where there is nothing that it can see or read.
    """
    subtitle, candidates = backbone.texts_of(sample)
    if clip.frames_THWC is None and not (subtitle and subtitle.strip()):
        raise InputError(
            f"sample {sample.id}: no video, image or subtitle, and a {name} cannot hear; "
            "give one of them, or take a model that hears (Qwen2.5-Omni)"
        )
    return backbone.chat_text(media_chat(backbone.template, frame_media(clip), subtitle, candidates))


def sound_of(clip: Clip) -> NDArray[np.float32] | None:
    """The sound of a clip, with silence behind one that is too short for a tower; None where it has none."""
    if clip.waveform_N is None:
        return None
    return np.pad(clip.waveform_N, (0, max(0, SHORTEST_SOUND - len(clip.waveform_N))))


def unheard(clip: Clip) -> MediaFacts:
    """The facts of a clip whose sound was left out: 0 seconds of it taken."""
    return replace(clip.facts, audio_taken_s=None if clip.facts.audio_s is None else 0.0)


def kept_arrays(features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The processor's arrays as prompts keep them: floats in float16."""
    return {name: value.half() if value.is_floating_point() else value for name, value in features.items()}
