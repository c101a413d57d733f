"""Which streams of a file are its pictures and its sound: of several, the preferred one that can be decoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from mer_r1.errors import InputError
from mer_r1.media.budget import MediaBudget

# Made for a few of the audience, beside the track that is made for all.
_SPECIAL = Disposition.comment | Disposition.hearing_impaired | Disposition.visual_impaired

AnyStream = TypeVar("AnyStream", VideoStream, AudioStream)


class Streams(NamedTuple):
    """The streams that are taken, None where there is none, and what was passed over for them."""

    video: VideoStream | None
    sound: AudioStream | None
    notices: tuple[str, ...]


def choose_streams(path: Path, container: InputContainer, budget: MediaBudget, *, video: bool, sound: bool) -> Streams:
    """The streams to take of what is asked for.

    Raises InputError for pictures that are not there or too large, for sound that is asked for alone and is not there,
    and where no stream of a kind that is there can be decoded.
    """
    notices: list[str] = []
    shown = heard = None
    if video:
        candidates = films(container)
        if not candidates:
            others = (
                "sound and no pictures; name it as 'audio'" if container.streams.audio else "no pictures; give another"
            )
            raise InputError(f"{path}: holds {others}")
        shown = _choose(path, candidates, container.streams.best("video"), notices)
        if shown.width * shown.height > budget.max_source_pixels:
            raise InputError(
                f"{path}: its frames are {shown.width} x {shown.height} pixels, more than {budget.max_source_pixels} "
                "in all; shrink it"
            )
    if sound and container.streams.audio:
        heard = _choose(path, container.streams.audio, container.streams.best("audio"), notices)
    elif sound and not video:
        raise InputError(f"{path}: holds no sound; give a file with a sound track, or leave 'audio' out")
    return Streams(shown, heard, tuple(notices))


def films(container: InputContainer) -> list[VideoStream]:
    """The file's pictures, cover art set aside."""
    return [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]


def _choose(path: Path, streams: Sequence[AnyStream], best: Stream | None, notices: list[str]) -> AnyStream:
    """FFmpeg's best stream where it can be decoded, else the best of those that can."""
    # PyAV's types say that there always is a codec context; a codec that this FFmpeg cannot decode leaves it None.
    decodable = [stream for stream in streams if getattr(stream, "codec_context", None) is not None]
    kind = streams[0].type
    if not decodable:
        tracks = (
            f"its {kind} is in a codec" if len(streams) == 1 else f"all its {len(streams)} {kind} tracks are in codecs"
        )
        raise InputError(f"{path}: {tracks} that cannot be decoded here; convert it to H.264, AAC")
    for stream in decodable:
        if stream == best:
            return stream
    if best in streams:
        notices.append(f"files whose main {kind} track cannot be decoded (another track is taken)")
    return max(decodable, key=_rank)


def _rank(stream: Stream) -> tuple[bool, bool, int, int]:
    return (
        not stream.disposition & _SPECIAL,
        bool(stream.disposition & Disposition.default),
        stream.codec_context.bit_rate or 0,
        -stream.index,
    )
