"""The words of a clip by time: from a subtitle file beside it, or a subtitle track inside it, and those of an interval.

FFmpeg reads the file (.srt, .vtt, .ass, .ssa) or the track (any kind that holds text) as it reads media: as data. Marks
of style and position are left out. A file's bytes are UTF-8, UTF-16 with its mark, or else cp1252.

The words of a cue are spread evenly over its time, by characters; a word belongs to the interval that holds its middle.
So intervals that follow each other have every word once. Times count from the clip's time zero.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition, Stream
from av.subtitles.stream import SubtitleStream

from mer_r1.data.characters import mended
from mer_r1.data.files import read_bytes
from mer_r1.errors import InputError
from mer_r1.media.budget import MediaBudget
from mer_r1.media.decode import clip_zero_s
from mer_r1.media.formats import open_media, packets
from mer_r1.media.lengths import Deadline, read_spans
from mer_r1.media.streams import choose_streams, films

FORMATS = {".srt": "srt", ".vtt": "webvtt", ".ass": "ass", ".ssa": "ass"}
"""Ending of a subtitle file -> FFmpeg's name of its format, the preferred one first."""
MOST_BYTES = 32 * 2**20
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
_TAG = re.compile(r"\{\\[^}]*\}")
_DRAWING = re.compile(r"\{[^}]*\\p[1-9]")
_JOINED_S = 0.05  # how close a cue follows another one whose last line it repeats


class Cue(NamedTuple):
    """What is said from `start_s` to `end_s`."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True)
class Subtitles:
    """Cues in order of time, and where they came from, for a person: a file's name or a track."""

    cues: tuple[Cue, ...]
    source: str

    def between(self, start_s: float, end_s: float) -> str:
        """The words whose middle lies in [start_s, end_s); "" where there is none."""
        return " ".join(
            word
            for cue in self.cues
            if cue.start_s < end_s and cue.end_s >= start_s
            for at_s, word in _timed_words(cue)
            if start_s <= at_s < end_s
        )


def find_subtitles(clip: Path, budget: MediaBudget | None = None) -> Subtitles | None:
    """The subtitles of a video or sound file, None where there are none.

    A file beside it comes first: its name with another ending, then one with a language between (clip.en.srt), in
    alphabetical order; then a text track inside it. Files and tracks without a cue are passed over.
    Raises InputError, naming the file, for a subtitle file that cannot be read.
    """
    for path in _beside(clip):
        found = read_subtitles(path)
        if found.cues:
            return found
    try:
        return _inside(clip, budget or MediaBudget())
    except InputError:
        return None  # what is wrong with the clip is said where it is decoded


def read_subtitles(path: Path) -> Subtitles:
    """The cues of a subtitle file. Raises InputError that names it where it cannot be read."""
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise InputError(f"{path}: is no subtitle file by its name; give one that ends in {', '.join(FORMATS)}")
    data = read_bytes(path, MOST_BYTES, fix="correct it or remove it", too_large="no subtitles are so long; remove it")
    try:
        with av.open(io.BytesIO(_as_utf_8(data)), "r", format=form) as container:
            return Subtitles(_cues(container, container.streams.subtitles[0], 0.0), path.name)
    except (FFmpegError, IndexError):
        return Subtitles((), path.name)  # its name is a subtitle's, what it holds is not


def words_in(subtitles: Subtitles | None, start_s: float, end_s: float) -> str | None:
    """The words of an interval as a sample has them: None without subtitles and where nothing is said."""
    return (subtitles.between(start_s, end_s) or None) if subtitles is not None else None


def _beside(clip: Path) -> list[Path]:
    """Subtitle files of a clip's name, in order of preference."""
    endings = list(FORMATS)
    found = []
    try:
        others = [path for path in clip.parent.iterdir() if path.suffix.lower() in FORMATS]
    except OSError:
        return []
    for path in others:
        ending = endings.index(path.suffix.lower())
        if path.stem == clip.stem:
            found.append((0, ending, path))
        elif path.stem.startswith(f"{clip.stem}.") and _LANGUAGE.fullmatch(path.stem[len(clip.stem) + 1 :]):
            found.append((1, ending, path))
    return [path for *_, path in sorted(found, key=lambda item: (item[0], item[2].stem, item[1])) if path.is_file()]


def _inside(clip: Path, budget: MediaBudget) -> Subtitles | None:
    with open_media(clip, budget) as container:
        tracks = [stream for stream in container.streams.subtitles if _is_text(stream)]
        if not tracks:
            return None
        video = bool(films(container))
        if not video and not container.streams.audio:
            return None
        shown, heard, _ = choose_streams(clip, container, budget, video=video, sound=True)
        timed = [stream.index for stream in (shown, heard) if stream is not None]
        zero_s = clip_zero_s(read_spans(clip, budget, timed, Deadline(clip, budget)), shown, heard) or 0.0
        best = max(tracks, key=_rank)
        language = best.metadata.get("language", "und")
        named = f"subtitle track {tracks.index(best) + 1} of {clip.name}"
        cues = _cues(container, best, zero_s)
        return Subtitles(cues, named if language == "und" else f"{named} ({language})") if cues else None


def _is_text(stream: Stream) -> bool:
    # PyAV's types say that there always is a codec context; a codec that this FFmpeg cannot decode leaves it None.
    context = getattr(stream, "codec_context", None)
    return context is not None and bool(context.codec.text_sub)


def _rank(stream: Stream) -> tuple[bool, bool, bool, int]:
    special = Disposition.comment | Disposition.hearing_impaired
    flags = stream.disposition
    return (not flags & Disposition.forced, not flags & special, bool(flags & Disposition.default), -stream.index)


def _cues(container: InputContainer, stream: SubtitleStream, zero_s: float) -> tuple[Cue, ...]:
    base_s = float(stream.time_base or 0)
    found = []
    for packet in packets(container, [stream]):
        if packet.pts is None or not packet.size:
            continue
        try:
            events = stream.decode(packet)
        except FFmpegError:
            continue  # a damaged cue; those around it stand alone
        start_s = packet.pts * base_s - zero_s
        end_s = start_s + (packet.duration or 0) * base_s
        for event in events:
            text = _text(getattr(event, "dialogue", b"").decode("utf-8", "replace"))
            if text:
                found.append(Cue(start_s, end_s, text))
    return tuple(_without_repeats(sorted(found)))


def _text(dialogue: str) -> str:
    """The lines of an event without its marks."""
    if _DRAWING.search(dialogue):
        return ""
    plain = html.unescape(_TAG.sub("", dialogue)).replace("\\h", " ").replace("\\N", "\n").replace("\\n", "\n")
    lines = (" ".join(line.split()) for line in mended(plain).splitlines())
    return "\n".join(line for line in lines if line)


def _without_repeats(cues: Iterable[Cue]) -> Iterator[Cue]:
    """Cues on one line, and without the line that rolling captions show again from the cue before."""
    last, last_end_s = "", float("-inf")
    for cue in cues:
        lines = cue.text.split("\n")
        fresh = lines[1:] if lines[0] == last and cue.start_s <= last_end_s + _JOINED_S else lines
        last, last_end_s = lines[-1], cue.end_s
        if fresh:
            yield Cue(cue.start_s, cue.end_s, " ".join(fresh))


def _timed_words(cue: Cue) -> Iterator[tuple[float, str]]:
    """The words of a cue and the time of the middle of each."""
    for found in re.finditer(r"\S+", cue.text):
        middle = (found.start() + found.end()) / 2 / len(cue.text)
        yield cue.start_s + middle * (cue.end_s - cue.start_s), found.group()


def _as_utf_8(data: bytes) -> bytes:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace").encode()
    try:
        return data.decode("utf-8-sig").encode()
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace").encode()
