"""A clip as it stands in a page: frames as JPEG data URIs, its sound as the outline of an SVG path."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mer_r1.data.sample import Clip, Sample
from mer_r1.errors import InputError

NUM_FRAMES = 4
MAX_SIDE = 96
JPEG_QUALITY = 82
NUM_BINS = 120


@dataclass(frozen=True)
class ClipPicture:
    """Data URIs of frames with their times in seconds, the sound's `outline` and seconds, and what went wrong."""

    frames: tuple[tuple[str, float | None], ...]
    sound: str
    sound_s: float | None
    problem: str = ""


def picture(sample: Sample) -> ClipPicture:
    """Decode a clip for the page. A file that cannot be read is a `problem`, for a page outlives its clips."""
    from mer_r1.media import MediaBudget, read_clip

    budget = MediaBudget(
        num_frames=NUM_FRAMES, fps=None, max_pixels=MAX_SIDE**2, min_pixels=48**2, size_multiple=4, max_decode_s=20
    )
    try:
        clip = read_clip(sample, budget)
    except InputError as error:
        message = str(error)
        for path in (sample.video, sample.audio, sample.image):  # by their names alone, for the page goes to others
            message = message.replace(str(path), path.name) if path else message
        return ClipPicture((), "", None, message)
    sound = "" if clip.waveform_N is None else outline(clip.waveform_N)
    return ClipPicture(_frames(clip), sound, clip.facts.audio_taken_s)


def outline(waveform_N: NDArray[np.float32], num_bins: int = NUM_BINS) -> str:
    """The path of a waveform's loudest and lowest values in equal parts of time, on a field of num_bins x 2.

    Scaled to the loudest sample, so that a faint voice is seen too; silence is a flat line. Empty for no sample.
    """
    if not len(waveform_N):
        return ""
    parts = np.array_split(waveform_N, min(num_bins, len(waveform_N)))
    loudest = max(float(np.abs(waveform_N).max()), 1e-4)
    top = [1 - float(part.max()) / loudest for part in parts]
    low = [1 - float(part.min()) / loudest for part in parts]
    step = num_bins / len(parts)
    points = [(i * step, y) for i, y in enumerate(top)] + [(i * step, y + 0.02) for i, y in enumerate(low)][::-1]
    return "M" + "L".join(f"{x:.4g} {y:.3f}" for x, y in points) + "Z"


def _frames(clip: Clip) -> tuple[tuple[str, float | None], ...]:
    if clip.frames_THWC is None:
        return ()
    times: tuple[float | None, ...] = clip.facts.frame_times_s
    times += (None,) * (len(clip.frames_THWC) - len(times))
    return tuple((jpeg_uri(frame), time) for frame, time in zip(clip.frames_THWC, times, strict=False))


def jpeg_uri(frame_HWC: NDArray[np.uint8], max_side: int | None = None) -> str:
    """A frame as a data URI, no side longer than `max_side`."""
    from PIL import Image

    buffer, image = io.BytesIO(), Image.fromarray(frame_HWC)
    if max_side is not None:
        image.thumbnail((max_side, max_side))
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
