"""How long a track is, as the container states it where that can be trusted, else by reading its packets once."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import NamedTuple

from av.container import InputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from mer_r1.errors import InputError
from mer_r1.media.budget import MediaBudget
from mer_r1.media.formats import FIX, open_media, packets

# Demuxers whose streams carry a length of their own. Of the others FFmpeg may hand on a guess from the bit rate, or the
# length of the longest stream.
_EXACT = frozenset({"mov", "avi", "gif", "wav", "flac"})
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_SINGLE_FRAME_S = 0.04


def declared_seconds(container: InputContainer, stream: Stream) -> float | None:
    """The stream's own length in seconds as its container states it; None where that is absent, or only a guess."""
    if container.format.name in _EXACT and stream.duration and stream.time_base and stream.duration > 0:
        return float(stream.duration * stream.time_base)
    tag = _CLOCK.match(stream.metadata.get("DURATION", "")) if container.format.name == "matroska" else None
    if tag is None:
        return None
    seconds = int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
    return seconds if seconds > 0 else None


def video_seconds(path: Path, container: InputContainer, stream: VideoStream, budget: MediaBudget) -> float:
    """Length of a video stream in seconds: as declared, else found by a second opening that reads the packets once.

    An mp4 with reordered frames is read too: it declares the span of decoding times, which with a variable frame rate
    is not the span of what is shown. Where packets are missing the declared length is taken.
    Raises InputError where no packet carries a time, or where the packets end well before the length of the file that
    its header states.
    """
    declared = declared_seconds(container, stream)
    if declared is not None and not (container.format.name == "mov" and stream.codec_context.has_b_frames):
        return declared
    whole = container.duration * 1e-6 if container.duration and container.duration > 0 else 0.0
    with open_media(path, budget) as again:
        found = _scan(again, stream.index, budget)
    if found is None:
        raise InputError(f"{path}: holds no picture that can be decoded; {FIX}")
    if not found.complete:
        return max(found.seconds, declared or whole)
    if declared is not None:
        return found.seconds if found.num_packets >= stream.frames else declared
    if found.last_s < 0.9 * whole - 1.0:
        raise InputError(f"{path}: its packets end at {found.last_s:.2f} s of the {whole:.2f} s it declares; {FIX}")
    return found.seconds


class _Scan(NamedTuple):
    """Seconds and packets of one stream, the last second of any stream, and whether the file's end was reached."""

    seconds: float
    num_packets: int
    last_s: float
    complete: bool


def _scan(container: InputContainer, index: int, budget: MediaBudget) -> _Scan | None:
    """What the packets say of stream `index`, up to `max_video_s` of it; None where none of them has a time."""
    start_s, end_s, last_s, previous_s = math.inf, -math.inf, -math.inf, math.inf
    num_packets = 0
    base_s = {stream.index: float(stream.time_base or 0) for stream in container.streams}
    for packet in packets(container):
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is None or packet.is_discard:
            continue
        track = packet.stream_index
        at_s, length_s = stamp * base_s[track], (packet.duration or 0) * base_s[track]
        if track == index:
            num_packets += 1
            start_s, end_s = min(start_s, at_s), max(end_s, at_s + (length_s or max(0.0, at_s - previous_s)))
            previous_s = at_s
            if end_s - start_s > budget.max_video_s or num_packets > budget.max_decoded_frames:
                return _Scan(end_s - start_s, num_packets, end_s, complete=False)
        last_s = max(last_s, at_s + length_s)
    return _Scan(end_s - start_s or _SINGLE_FRAME_S, num_packets, max(end_s, last_s), True) if num_packets else None
