"""Media files -> frames, waveform and facts (`read_clip`), under a budget of seconds, frames and pixels."""

from mer_r1.media.budget import (
    TINY_BUDGET,
    MediaBudget,
    audio_tokens,
    frame_count,
    frame_rate,
    frame_times,
    most_tokens,
    target_size,
    usable_seconds,
    video_tokens,
)
from mer_r1.media.decode import decode_file, holds_sound_alone, read_clip

__all__ = [
    "TINY_BUDGET",
    "MediaBudget",
    "audio_tokens",
    "decode_file",
    "frame_count",
    "frame_rate",
    "frame_times",
    "holds_sound_alone",
    "most_tokens",
    "read_clip",
    "target_size",
    "usable_seconds",
    "video_tokens",
]
