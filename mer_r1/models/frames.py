"""The frames of a clip as a Qwen2.5 processor takes them.

They come sized from the media budget, so the processor only cuts them into patches. One frame is shown as a picture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mer_r1.data.sample import Clip
from mer_r1.media import MediaBudget, frame_rate

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
