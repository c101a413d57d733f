"""When the streams of a file are presented, by the times of its packets: one pass that reads and decodes nothing.

A length that a container declares decides nothing. It may be the time at which a track ends (Matroska), a span of
decoding times (mp4), or wrong. It is asked only where a file is cut short by its own structure: then it says how much
is missing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import av
from av.container import InputContainer
from av.stream import Stream

from mer_r1.errors import InputError
from mer_r1.media.budget import MediaBudget
from mer_r1.media.cut_short import is_cut_short
from mer_r1.media.formats import open_media, packets

_USUAL_FRAME_S = 0.04
# How far decoding times run back where a clock starts anew. In formats that may be joined as they are, it may also
# run ahead of all streams: a gap in one of them does not.
_BACK_S, _AHEAD_S = 1.0, 10.0


class Span(NamedTuple):
    """Seconds of one stream on the file's own clock: its packets are presented from `start_s` to `end_s`.

    `whole_end_s` is later only where part of the file is missing: the stream's end in a whole one.
    """

    start_s: float
    end_s: float
    whole_end_s: float


class Deadline:
    """The end of the wall-clock seconds that one file may take."""

    def __init__(self, path: Path, budget: MediaBudget) -> None:
        self._path, self._limit_s = path, budget.max_decode_s
        self._until = time.monotonic() + budget.max_decode_s

    def check(self) -> None:
        """Raises InputError once the time is over."""
        if time.monotonic() > self._until:
            raise InputError(
                f"{self._path}: takes longer than {self._limit_s:g} s to decode; shorten it, or re-encode it smaller"
            )


def by_place(container: InputContainer) -> bool:
    """Whether packets have a place in the file and no time of presentation: avi. A place without a packet counts."""
    return container.format.name == "avi"


def read_spans(path: Path, budget: MediaBudget, indexes: Collection[int], deadline: Deadline) -> dict[int, Span]:
    """The spans of some streams of a file, by stream index; a stream without a timed packet has none."""
    with open_media(path, budget) as container:
        streams = [container.streams[index] for index in indexes]
        clocks = {stream.index: _Clock(container, stream) for stream in streams}
        last = None
        for packet in timed_packets(container, streams):
            clocks[packet.stream.index].read(packet)
            last = packet if packet.size else last
            deadline.check()
        cut_short = is_cut_short(path, container, last)
        return {index: clock.span(cut_short=cut_short) for index, clock in clocks.items() if clock.num_timed}


def timed_packets(container: InputContainer, streams: Sequence[Stream]) -> Iterator[av.Packet[Stream]]:
    """The packets of some streams in the file's order, on one clock.

    In recordings that were joined end to end the clock starts anew. A stream whose decoding times run back, or in
    mpeg-ts and -ps ahead of all the file's pictures and sound, continues where the file had got to, and the others are
    moved by as much when they jump in their turn.
    """
    is_program_stream = container.format.name == "mpeg"
    may_run_ahead = is_program_stream or container.format.name == "mpegts"
    wanted = {stream.index for stream in streams}
    read: Sequence[Stream] = [*container.streams.video, *container.streams.audio] if may_run_ahead else streams
    base_s = {stream.index: float(stream.time_base or 0) for stream in read}
    decoded_s = dict.fromkeys(base_s, -math.inf)
    num_starts = dict.fromkeys(base_s, 0)
    moved_s, end_s = [0.0], -math.inf
    for packet in packets(container, read):
        index = packet.stream.index
        if packet.dts is not None and base_s[index]:
            at_s = packet.dts * base_s[index]
            shown_s = at_s if packet.pts is None else packet.pts * base_s[index]
            if is_program_stream and abs(shown_s - at_s) > _AHEAD_S:
                packet.pts, shown_s = packet.dts, at_s  # FFmpeg gives a packet at the joint one time of either clock
            by_s = moved_s[num_starts[index]]
            runs_ahead = may_run_ahead and -math.inf < end_s < at_s + by_s - _AHEAD_S
            runs_back = at_s + by_s < decoded_s[index] - _BACK_S
            if (runs_back or runs_ahead) and not packet.is_discard:
                num_starts[index] += 1
                if num_starts[index] == len(moved_s):
                    moved_s.append(end_s - shown_s)
                by_s = moved_s[num_starts[index]]
            if by_s:
                ticks = round(by_s / base_s[index])
                packet.dts += ticks
                packet.pts = None if packet.pts is None else packet.pts + ticks
            if not packet.is_discard:  # by an edit list, whose pieces overlap in decoding times
                decoded_s[index] = at_s + by_s
            end_s = max(end_s, shown_s + by_s + (packet.duration or 0) * base_s[index])
        if index in wanted:
            yield packet


class _Clock:
    """The times of one stream's packets as they are read: the first, the last two, and how long the last one lasts."""

    def __init__(self, container: InputContainer, stream: Stream) -> None:
        self._container, self._stream = container, stream
        self._base_s = float(stream.time_base or 0)
        self._by_place = by_place(container)
        self.num_timed = 0
        self._first = self._last = self._last_length = 0
        self._last_but_one: int | None = None
        self._reordered = False

    def read(self, packet: av.Packet[Stream]) -> None:
        """The next packet. One that an edit list leaves out has no time."""
        stamp = packet.dts if self._by_place or packet.pts is None else packet.pts
        if stamp is None or packet.is_discard:
            return
        if not self.num_timed:
            self._first = self._last = stamp
            self._last_length = packet.duration or 0
        elif stamp > self._last:
            self._last_but_one, self._last = self._last, stamp
            self._last_length = packet.duration or 0
        elif stamp < self._last:
            self._reordered = True
            self._first = min(self._first, stamp)
            self._last_but_one = stamp if self._last_but_one is None else max(self._last_but_one, stamp)
        self.num_timed += 1

    def span(self, *, cut_short: bool) -> Span:
        """What has been read. `cut_short`: part of the file is missing, so that its declared end counts too."""
        start_s, last_s = self._first * self._base_s, self._last * self._base_s
        length_s = self._last_length * self._base_s
        between_s = (self._last - self._last_but_one) * self._base_s if self._last_but_one is not None else 0.0
        if self._reordered and self._container.format.name == "mov":
            # The duration of an mp4's packet leads to the next decoding time, which is another frame's.
            rest_s = start_s + (self._stream.duration or 0) * self._base_s - last_s
            length_s = min(between_s, rest_s if rest_s > 0 else length_s or between_s)
        end_s = last_s + (length_s or between_s or _USUAL_FRAME_S)
        return Span(start_s, end_s, max(end_s, self._declared_end_s()) if cut_short else end_s)

    def _declared_end_s(self) -> float:
        """The stream's end in a whole file, as its container states it; -inf where it does not."""
        start_s, entries = self._first * self._base_s, self._stream.index_entries
        match self._container.format.name:
            case "avi":  # whose length FFmpeg shortens by what is missing
                return self._stream.frames * self._base_s
            case "mov" if not self._stream.frames:  # fragments: what the last header that was read lists
                return entries[len(entries) - 1].timestamp * self._base_s if len(entries) else -math.inf
            case "mov" | "flac":
                return start_s + (self._stream.duration or 0) * self._base_s
            case "matroska" | "flv":
                return (self._container.duration or 0) * 1e-6
        return -math.inf
