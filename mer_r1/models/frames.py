"""The frames of a clip as a Qwen2.5 processor takes them.

They come sized from the media budget, so the processor only cuts them into patches. One frame is shown as a picture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mer_r1.data.sample import Clip

_AS_TAKEN: dict[str, Any] = {"do_resize": False, "do_sample_frames": False, "cap_pixels_per_frame": False}


def frame_media(clip: Clip) -> list[str]:
    """The medium of a clip's frames in a chat: an image, a video, or none."""
    if clip.frames_THWC is None:
        return []
    return ["image" if len(clip.frames_THWC) == 1 else "video"]


def frame_arguments(
    clip: Clip, max_video_s: float, with_rate: Callable[[int, float], dict[str, Any]]
) -> dict[str, Any]:
    """The processor's arguments for the frames of a clip; none where it has no frames.

    `with_rate` says the number of a video's frames, and how many a second were taken, in the processor's own arguments.
    The rate sets how far the frames' time positions lie apart; it is 2 where the clip's length is not known.
    """
    if clip.frames_THWC is None:
        return {}
    frames = torch.from_numpy(clip.frames_THWC).permute(0, 3, 1, 2)
    if len(frames) == 1:
        return {"images": [frames[0]], "images_kwargs": {"do_resize": False}}
    seconds = clip.facts.video_s
    rate = len(frames) / min(seconds, max_video_s) if seconds else 2.0
    return {"videos": [frames], "videos_kwargs": {**_AS_TAKEN, **with_rate(len(frames), rate)}}
