"""A long clip, window by window: what `read_clip` would give of each piece of it, in bounded memory.

    windows          [0, w), [h, h + w), [2h, 2h + w), …   for a window of w seconds and a hop of h, until one reaches
                     the clip's end, where it is cut off; a rest under w / 10 goes with the window before it
    clip's length    from time zero to the end of the pictures or of the sound, whichever is later
    of a window      frames at `frame_times` of its own length, sound from its start on, both under the budget

A window is given what decoding a file that was cut there gives, wherever a file can be cut: at a key frame, between
samples. The file is decoded once, whatever the windows overlap: pictures and sound by a pass of their own, each as far
as the next window needs, so that tracks which lie apart in the file need no memory. Only what open windows need is
kept. `max_decode_s` and `max_decoded_frames` hold for each window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer

from mer_r1.data.sample import Clip, MediaFacts
from mer_r1.errors import InputError
from mer_r1.media.budget import AUDIO_HZ, MediaBudget, frame_times
from mer_r1.media.decode import clip_zero_s
from mer_r1.media.formats import FIX, HEIF, STILL_DEMUXERS, demuxer_of, open_media
from mer_r1.media.lengths import Deadline, Span, by_place, read_spans, timed_packets
from mer_r1.media.pictures import Picture, PictureTaker, VideoTrack
from mer_r1.media.sound import SoundTrack
from mer_r1.media.streams import choose_streams, films
from mer_r1.media.whole import check_whole

MOST_WINDOWS = 20_000
_ROUNDING_S = 1e-7


class Window(NamedTuple):
    """A piece of a clip, in seconds from the clip's time zero."""

    start_s: float
    end_s: float


class ClipWindow(NamedTuple):
    """A window and what is shown of it. Times in its clip's facts count from the window's start."""

    window: Window
    clip: Clip


def windows_of(length_s: float, window_s: float, hop_s: float) -> tuple[Window, ...]:
    """The windows of a clip. Raises InputError for lengths that are not above 0, and for too many windows."""
    for name, value in (("window", window_s), ("hop", hop_s)):
        if not 0 < value < float("inf"):
            raise InputError(f"--{name} {value:g}: give a number of seconds above 0")
    if hop_s > window_s:
        raise InputError(f"--hop {hop_s:g}: give at most the window's {window_s:g} s, or what lies between is not seen")
    if length_s / hop_s > MOST_WINDOWS:
        raise InputError(f"--hop {hop_s:g}: cuts {length_s:.0f} s into over {MOST_WINDOWS} windows; give a longer one")
    found: list[Window] = []
    while True:
        start_s = len(found) * hop_s
        end_s = start_s + window_s
        if length_s - end_s < window_s / 10:
            return (*found, Window(start_s, length_s))
        found.append(Window(start_s, end_s))


def require_timed(path: Path) -> str:
    """FFmpeg's name of the demuxer of a video or sound file, by its first bytes.

    Raises InputError that names the file for a picture, and as `demuxer_of`.
    """
    demuxer = demuxer_of(path)
    if demuxer in (HEIF, *STILL_DEMUXERS):
        raise InputError(f"{path}: is a picture; windows are for video and sound, leave --window out")
    return demuxer


class _Plan(NamedTuple):
    """A file's windows, and the seconds at which its pictures and its sound end, None for one that it has not got."""

    windows: tuple[Window, ...]
    zero_s: float
    spans: dict[int, Span]
    shown_s: float | None
    heard_s: float | None
    notices: tuple[str, ...]


def read_windows(
    path: Path, budget: MediaBudget, window_s: float, hop_s: float, *, pictures: bool = True
) -> Iterator[ClipWindow]:
    """The windows of a video or sound file, in order of time, as soon as each is decoded.

    Without `pictures` they are those of its sound alone, counted from the same time zero; none where it has no sound.
    Raises InputError that names the file for one that cannot be used, for a picture, and in the middle where a part
    that follows is damaged or missing; for lengths as `windows_of`.
    """
    path = Path(path)
    windows_of(0.0, window_s, hop_s)  # wrong lengths are named before a file is read
    check_whole(path, require_timed(path))
    plan = _plan(path, budget, window_s, hop_s)
    if not pictures:
        if plan.heard_s is None:
            return
        plan = plan._replace(shown_s=None, windows=windows_of(plan.heard_s, window_s, hop_s))
    with ExitStack() as stack:
        seen = voice = None
        if plan.shown_s is not None:
            seen = _Pictures(path, stack.enter_context(open_media(path, budget)), budget, plan)
        if plan.heard_s is not None:
            voice = _Voice(path, stack.enter_context(open_media(path, budget)), budget, plan)
        codecs = " + ".join(track.codec for track in (seen, voice) if track is not None)
        facts = MediaFacts(decoder=f"PyAV {av.__version__}, {codecs}", notices=plan.notices)
        for number, window in enumerate(plan.windows):
            clip, deadline = Clip(None, None, facts), Deadline(path, budget)
            if seen is not None:
                clip = seen.shown_in(number, clip, deadline)
            if voice is not None:
                clip = voice.heard_in(number, clip, deadline)
            codecs = " + ".join(track.codec for track in (seen, voice) if track is not None)
            yield ClipWindow(
                window, replace(clip, facts=replace(clip.facts, decoder=f"PyAV {av.__version__}, {codecs}"))
            )


def _plan(path: Path, budget: MediaBudget, window_s: float, hop_s: float) -> _Plan:
    with open_media(path, budget) as container:
        video = bool(films(container))
        shown, heard, notices = choose_streams(path, container, budget, video=video, sound=True)
        spans = read_spans(path, budget, [s.index for s in (shown, heard) if s is not None], Deadline(path, budget))
        zero_s = clip_zero_s(spans, shown, heard)
        if zero_s is None:
            raise InputError(f"{path}: holds nothing that has a time; {FIX}")
        ends = [
            None if stream is None or stream.index not in spans else spans[stream.index].whole_end_s - zero_s
            for stream in (shown, heard)
        ]
        length_s = max(end for end in ends if end is not None)
        return _Plan(windows_of(length_s, window_s, hop_s), zero_s, spans, ends[0], ends[1], notices)


class _Pictures:
    """The pictures of the windows, by one pass over the video."""

    def __init__(self, path: Path, container: InputContainer, budget: MediaBudget, plan: _Plan) -> None:
        assert plan.shown_s is not None, "it has pictures"
        streams = choose_streams(path, container, budget, video=True, sound=plan.heard_s is not None)
        assert streams.video is not None, "it has pictures"
        self._lengths_s = [max(0.0, min(end_s, plan.shown_s) - start_s) for start_s, end_s in plan.windows]
        self._starts_s = [window.start_s for window in plan.windows]
        # What is shown at a time is the frame that begins there; the sum of two times may be a bit too small for it.
        times_s = [
            (start_s + at_s + _ROUNDING_S, number)
            for number, (start_s, length_s) in enumerate(zip(self._starts_s, self._lengths_s, strict=True))
            for at_s in (frame_times(length_s, budget) if length_s else ())
        ]
        times_s.sort()
        self._wanted_by = deque(number for _, number in times_s)
        self._num_wanted = [0] * len(plan.windows)
        for _, number in times_s:
            self._num_wanted[number] += 1
        self._taken: list[list[tuple[float, Picture]]] = [[] for _ in plan.windows]
        per_window = replace(budget, max_decoded_frames=budget.max_decoded_frames * len(plan.windows))
        self._taker = PictureTaker(
            path, tuple(at_s for at_s, _ in times_s), per_window, streams.video.sample_aspect_ratio
        )
        self._track = VideoTrack(
            path,
            streams.video,
            self._taker,
            per_window,
            zero_s=plan.zero_s,
            seconds=plan.shown_s,
            by_place=by_place(container),
        )
        self.codec = streams.video.codec_context.name
        self._packets = timed_packets(
            container, [stream for stream in (streams.video, streams.sound) if stream is not None]
        )

    def shown_in(self, number: int, clip: Clip, deadline: Deadline) -> Clip:
        """The clip with what is shown in a window, which must be asked for in order."""
        while len(self._taken[number]) < self._num_wanted[number] and not self._taker.done:
            packet = next(self._packets, None)
            if packet is None:
                self._track.finish()  # takes all that is left
            elif packet.stream.index == self._track.stream.index:
                self._track.read(packet)
            for picture in self._taker.drain():
                self._taken[self._wanted_by.popleft()].append(picture)
            deadline.check()
        taken, self._taken[number] = self._taken[number], []
        if not taken:
            return clip
        facts = replace(
            clip.facts,
            frame_times_s=tuple(round(shown_s - self._starts_s[number], 6) for shown_s, _ in taken),
            video_s=self._lengths_s[number],
            size=self._taker.source_size,
            taken_size=self._taker.taken_size,
        )
        return Clip(np.stack([picture_HWC for _, picture_HWC in taken]), clip.waveform_N, facts)


class _Voice:
    """The sound of the windows, by one pass over the sound."""

    def __init__(self, path: Path, container: InputContainer, budget: MediaBudget, plan: _Plan) -> None:
        assert plan.heard_s is not None, "it has sound"
        streams = choose_streams(path, container, budget, video=plan.shown_s is not None, sound=True)
        assert streams.sound is not None, "it has sound"
        self._windows, self._max_audio_s = plan.windows, budget.max_audio_s
        span = plan.spans[streams.sound.index]
        self._track = SoundTrack(path, streams.sound, budget, span, plan.zero_s, seconds=plan.windows[-1].end_s)
        self._ended = False
        self.codec = streams.sound.codec_context.name
        self._packets = timed_packets(
            container, [stream for stream in (streams.video, streams.sound) if stream is not None]
        )

    def heard_in(self, number: int, clip: Clip, deadline: Deadline) -> Clip:
        """The clip with what is heard in a window, which must be asked for in order."""
        window = self._windows[number]
        start, end = round(window.start_s * AUDIO_HZ), round(window.end_s * AUDIO_HZ)
        stop = min(end, start + round(self._max_audio_s * AUDIO_HZ))
        while not self._ended and not self._track.holds(stop):
            packet = next(self._packets, None)
            if packet is None:
                self._track.finish()
                self._track.end()
                self._ended = True
            elif packet.stream.index == self._track.stream.index:
                self._track.read(packet)
            deadline.check()
        waveform_N = self._track.between(start, stop)
        self._track.forget(self._next_start(number))
        if not len(waveform_N):
            return clip
        taken_s = len(waveform_N) / AUDIO_HZ
        facts = replace(
            clip.facts,
            audio_s=taken_s if start + len(waveform_N) < stop else (end - start) / AUDIO_HZ,
            audio_taken_s=taken_s,
            audio_gap_s=self._track.gap_between(start, stop),
        )
        return Clip(clip.frames_THWC, waveform_N, facts)

    def _next_start(self, number: int) -> int:
        later: Sequence[Window] = self._windows[number + 1 : number + 2]
        return round(later[0].start_s * AUDIO_HZ) if later else 0
