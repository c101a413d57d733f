"""Seconds, frames and pixels -> what a model is shown, and what that costs in tokens.

Shape letters: T frames, H x W pixels of a frame, N sound samples.

    usable seconds   d = min(duration, max_video_s)
    frames           T = num_frames, or with `fps` the multiple of frames_multiple nearest to d * fps, at least one
                     multiple, at most num_frames
    time of frame k  t_k = (k + 1/2) d / T, the centre of the k-th of T equal parts, k = 0 .. T-1
    video tokens     ceil(T / frames_multiple) * H / size_multiple * W / size_multiple
    sound tokens     ceil(audio_tokens_per_s * seconds)

The defaults are those of Qwen2.5-Omni (spatial patch 14 merged 2 x 2, temporal patch 2, 40 ms of sound a token);
`size_multiple`, `frames_multiple` and `audio_tokens_per_s` carry another model's factors. No third-party import.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mer_r1.errors import InputError

AUDIO_HZ = 16_000  # rate of the waveform that a `Clip` promises
SHORTEST_SOUND = 1600  # samples that a shorter sound is padded to: a tower still makes two tokens of them


@dataclass(frozen=True)
class MediaBudget:
    """How much of a clip is taken, and how far decoding may go before a file is refused.

    What a model is shown
    * num_frames: the most frames of a clip, a multiple of frames_multiple.
    * fps: frames wanted per second of video; None takes num_frames from every video, however long.
    * min_pixels, max_pixels: bounds of width x height of a taken frame.
    * size_multiple: what both sides of a taken frame are multiples of.
    * frames_multiple: what the number of frames of a video is a multiple of.
    * audio_tokens_per_s: the most tokens that a model makes of a second of sound.
    * max_video_s, max_audio_s: the seconds of a clip that are used, counted from its start; the rest is not decoded.

    Safety, for files of unknown origin
    * max_source_pixels: the largest frame that is decoded.
    * max_decoded_frames: the most frames decoded to find the wanted ones.
    * max_decode_s: wall-clock seconds for one file.

    Raises InputError for a value that cannot be met.
    """

    num_frames: int = 32
    fps: float | None = 2.0
    max_pixels: int = 256 * 28 * 28
    min_pixels: int = 4 * 28 * 28
    size_multiple: int = 28
    frames_multiple: int = 2
    audio_tokens_per_s: int = 25
    max_video_s: float = 120.0
    max_audio_s: float = 120.0
    max_source_pixels: int = 64_000_000
    max_decoded_frames: int = 30_000
    max_decode_s: float = 120.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name not in ("fps", "min_pixels") and not (math.isfinite(value) and value > 0):
                raise InputError(f"media budget: {name} is {value}; give a number above 0")
        if self.fps is not None and not (math.isfinite(self.fps) and self.fps > 0):
            raise InputError(f"media budget: fps is {self.fps}; give a number above 0, or null for num_frames always")
        if self.num_frames % self.frames_multiple:
            raise InputError(
                f"media budget: num_frames is {self.num_frames}; give a multiple of frames_multiple "
                f"({self.frames_multiple})"
            )
        if self.max_pixels < self.size_multiple**2:
            raise InputError(
                f"media budget: max_pixels is {self.max_pixels}; the smallest frame has {self.size_multiple**2} "
                f"pixels ({self.size_multiple} x {self.size_multiple})"
            )
        if not 0 <= self.min_pixels <= self.max_pixels:
            raise InputError(f"media budget: min_pixels is {self.min_pixels}; give 0 to max_pixels ({self.max_pixels})")


# What the tiny backbone is shown of a clip: 8 tokens of video and 25 of sound.
TINY_BUDGET = MediaBudget(num_frames=4, fps=None, max_pixels=56 * 56, min_pixels=56 * 56, max_audio_s=1.0)


def usable_seconds(duration_s: float, budget: MediaBudget) -> float:
    """Seconds of a video that frames are taken from: its first `max_video_s`."""
    return min(duration_s, budget.max_video_s)


def frame_count(duration_s: float, budget: MediaBudget) -> int:
    """T, the number of frames taken from a video of `duration_s` seconds: a positive multiple of frames_multiple."""
    if budget.fps is None:
        return budget.num_frames
    multiples = math.floor(usable_seconds(duration_s, budget) * budget.fps / budget.frames_multiple + 0.5)
    return min(max(multiples, 1) * budget.frames_multiple, budget.num_frames)


def frame_times(duration_s: float, budget: MediaBudget) -> tuple[float, ...]:
    """The T wanted times in seconds from the clip's start: the centres of T equal parts of its usable seconds."""
    num_frames = frame_count(duration_s, budget)
    part_s = usable_seconds(duration_s, budget) / num_frames
    return tuple((k + 0.5) * part_s for k in range(num_frames))


def frame_rate(num_frames: int, duration_s: float | None, budget: MediaBudget) -> float:
    """How many of a video's frames were taken a second, less a millionth; 2 where its length is not known.

    It sets how far the frames' time positions lie apart. At 25 pictures a second many of these are whole numbers, which
    a model's float32 takes for the whole number below as often as not, and an engine's float64 does not. With the
    millionth both give the whole number.
    """
    return num_frames / usable_seconds(duration_s, budget) * (1 - 1e-6) if duration_s else 2.0


def target_size(width: int, height: int, budget: MediaBudget) -> tuple[int, int]:
    """(width, height) at which a frame of `width` x `height` pixels is taken.

    Both sides are multiples of size_multiple, at least one. They are the multiples nearest to the source's sides where
    that area lies in [min_pixels, max_pixels]; otherwise both sides are scaled by one factor to reach the bound, then
    rounded down to fit under max_pixels or up to reach min_pixels. max_pixels always holds. min_pixels gives way where
    no size can do both, and an aspect ratio too long for the budget is shortened.
    """
    assert min(width, height) > 0, "a frame has a positive size"
    step = budget.size_multiple

    def sides(scale: float, rounding: float) -> tuple[int, int]:
        return (
            max(step, math.floor(width * scale / step + rounding) * step),
            max(step, math.floor(height * scale / step + rounding) * step),
        )

    nearest = sides(1.0, 0.5)
    area = nearest[0] * nearest[1]
    if area < budget.min_pixels:
        # 1 - 1e-9 rounds up and leaves an exact multiple as it is.
        nearest = sides(math.sqrt(budget.min_pixels / (width * height)), 1 - 1e-9)
        area = nearest[0] * nearest[1]
    if area <= budget.max_pixels:
        return nearest
    wide, high = sides(math.sqrt(budget.max_pixels / (width * height)), 0.0)
    longest = budget.max_pixels // (step * min(wide, high)) * step
    return min(wide, longest), min(high, longest)


def video_tokens(num_frames: int, width: int, height: int, budget: MediaBudget) -> int:
    """Tokens of `num_frames` taken frames of `width` x `height` pixels; a single image counts as one pair of frames."""
    temporal = math.ceil(num_frames / budget.frames_multiple)
    return temporal * (width // budget.size_multiple) * (height // budget.size_multiple)


def audio_tokens(seconds: float, budget: MediaBudget) -> int:
    """Tokens of `seconds` of sound, rounded up. A model may give one fewer for a part of a token."""
    return math.ceil(budget.audio_tokens_per_s * seconds - 1e-9)


def most_tokens(budget: MediaBudget) -> int:
    """The most media tokens that one clip can cost under this budget: what a run has to have room for."""
    cells = budget.max_pixels // budget.size_multiple**2
    return budget.num_frames // budget.frames_multiple * cells + audio_tokens(budget.max_audio_s, budget)
