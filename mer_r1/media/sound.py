"""From a decoder's sound, of any layout, rate and format, to one 16 kHz mono waveform.

Shape letters: N samples.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.error import FFmpegError
from av.stream import Stream
from numpy.typing import NDArray

from mer_r1.errors import InputError
from mer_r1.media.budget import AUDIO_HZ, MediaBudget
from mer_r1.media.formats import FIX
from mer_r1.media.lengths import Span

# Outside these a header is wrong, and one block of sound could become gigabytes.
_LOWEST_HZ, _HIGHEST_HZ = 1_000, 1_000_000
_LOOSE_S = 0.05


class SoundTrack:
    """Decodes the packets of one sound stream, forgiving a few damaged ones, to 16 kHz mono float32 in [-1, 1].

    libswresample converts to 32-bit integers, for which it scales the mix of channels so that it cannot overflow:
    stereo is (left + right) / 2, and 5.1 is its usual downmix, scaled. A change of layout, rate or format in
    mid-stream is followed.

    Sound stands at its own times, counted from `zero_s` on the file's clock. Samples are joined while their times agree
    with their number within `_LOOSE_S`; a gap becomes silence, and where times overlap the later sound replaces the
    earlier, so that no error grows. `span` is the stream's, None where no packet has a time. The first `seconds` are
    taken, by default the budget's.
    """

    def __init__(
        self,
        path: Path,
        stream: AudioStream,
        budget: MediaBudget,
        span: Span | None,
        zero_s: float,
        seconds: float | None = None,
    ) -> None:
        self.stream = stream
        self._path = path
        self._zero_s = zero_s
        self._lead_s = span.start_s - zero_s if span is not None else 0.0
        self._end_s = span.end_s - zero_s if span is not None else 0.0
        self._whole_s = span.whole_end_s - zero_s if span is not None else 0.0
        self._max_samples = round((budget.max_audio_s if seconds is None else seconds) * AUDIO_HZ)
        self._resampler: av.AudioResampler | None = None
        self._setup: tuple[str, str, int] | None = None
        self._pieces: list[NDArray[np.int32]] = []
        self._num_samples = 0
        self._num_forgotten = 0
        self._gaps: list[tuple[int, int]] = []
        self._next_s = 0.0
        self._num_packets = 0
        self._num_damaged = 0
        self._heard = False
        self.seconds: float | None = None
        self.taken_s: float | None = None

    @property
    def gap_s(self) -> float:
        """Seconds of silence in place of sound that the file does not hold."""
        return self.gap_between(0, self._num_samples)

    def gap_between(self, start: int, stop: int) -> float:
        """The same within some samples, counted from time zero."""
        return sum(max(0, min(stop, end) - max(start, begin)) for begin, end in self._gaps) / AUDIO_HZ

    def holds(self, stop: int) -> bool:
        """Whether all samples before this one are decoded."""
        return self._num_samples >= stop

    def between(self, start: int, stop: int) -> NDArray[np.float32]:
        """The samples from `start` to `stop` that are there, counted from time zero; those forgotten are not."""
        pieces = []
        at = self._num_forgotten
        for piece_N in self._pieces:
            if at < stop and at + len(piece_N) > start:
                pieces.append(piece_N[max(0, start - at) : stop - at])
            at += len(piece_N)
        return _as_float(np.concatenate(pieces) if pieces else np.zeros(0, np.int32))

    def forget(self, stop: int) -> None:
        """Give back the memory of samples before `stop`."""
        num_pieces = 0
        for piece_N in self._pieces:
            if self._num_forgotten + len(piece_N) > stop:
                break
            self._num_forgotten += len(piece_N)
            num_pieces += 1
        del self._pieces[:num_pieces]

    @property
    def done(self) -> bool:
        """No more packets are needed."""
        return self._num_samples >= self._max_samples

    def read(self, packet: av.Packet[Stream]) -> None:
        """Decode the next packet; one that cannot be decoded (a tag, junk between frames) is counted."""
        self._num_packets += 1
        try:
            frames = self.stream.decode(packet)
        except FFmpegError:
            self._num_damaged += 1
            return
        for frame in frames:
            self._feed(frame)

    def finish(self) -> None:
        """No packet follows. Raises InputError where more than three packets and more than 2 % could not be decoded."""
        if self._num_damaged > max(3, 0.02 * self._num_packets):
            raise InputError(
                f"{self._path}: {self._num_damaged} of {self._num_packets} packets of its sound fail to decode; {FIX}"
            )

    def waveform(self) -> NDArray[np.float32] | None:
        """float32 N, and sets `seconds` (the whole track) and `taken_s`.

        None for a track without a single sample. Raises InputError where part of the file, and of this sound, is
        missing.
        """
        cut = self.done
        self.end()
        if not self._heard:
            return None
        whole_N = np.concatenate(self._pieces)[: self._max_samples]
        assert self.taken_s is not None, "it ended"
        self.seconds = max(self._end_s, self.taken_s) if cut else self.taken_s
        return _as_float(whole_N)

    def end(self) -> None:
        """Take what the resampler still holds, and set `taken_s`. Raises InputError as `waveform`."""
        self._flush()
        if not self._heard:
            return
        self.taken_s = min(self._num_samples, self._max_samples) / AUDIO_HZ
        if self._whole_s > self._end_s and self.taken_s < 0.9 * min(self._whole_s, self._max_samples / AUDIO_HZ) - 0.25:
            raise InputError(f"{self._path}: its sound ends at {self.taken_s:.2f} s of {self._whole_s:.2f} s; {FIX}")

    def _feed(self, frame: av.AudioFrame) -> None:
        if not _LOWEST_HZ <= frame.sample_rate <= _HIGHEST_HZ:
            raise InputError(
                f"{self._path}: its sound claims {frame.sample_rate} samples a second; "
                f"give a rate of {_LOWEST_HZ} to {_HIGHEST_HZ}"
            )
        self._move_to(self._time(frame))
        setup = (frame.format.name, frame.layout.name, frame.sample_rate)
        if setup != self._setup or self._resampler is None:
            self._flush()
            self._resampler = av.AudioResampler("s32", "mono", AUDIO_HZ)
            self._setup = setup
        self._next_s += frame.samples / frame.sample_rate
        self._heard = True
        frame.pts = None
        self._keep(self._resampler.resample(frame))

    def _time(self, frame: av.AudioFrame) -> float:
        """Seconds from the clip's start; a frame without a time follows the one before it."""
        if frame.pts is None or frame.time_base is None:
            return self._next_s if self._heard else self._lead_s
        return float(frame.pts * frame.time_base) - self._zero_s

    def _move_to(self, at_s: float) -> None:
        """Have the next sample stand at `at_s`, unless it does already."""
        if abs(at_s - self._next_s) <= _LOOSE_S:
            return
        self._flush()
        target = min(max(0, round(at_s * AUDIO_HZ)), self._max_samples)
        if target > self._num_samples:
            if self._heard:
                self._gaps.append((self._num_samples, target))
            self._pieces.append(np.zeros(target - self._num_samples, np.int32))
            self._num_samples = target
        while self._num_samples > target and self._pieces:
            piece_N = self._pieces.pop()
            self._num_samples -= len(piece_N)
            if self._num_samples < target:
                self._pieces.append(piece_N[: target - self._num_samples])
                self._num_samples = target
        self._next_s = target / AUDIO_HZ

    def _flush(self) -> None:
        if self._resampler is not None:
            self._keep(self._resampler.resample(None))
            self._resampler = None

    def _keep(self, frames: list[av.AudioFrame]) -> None:
        for frame in frames:
            piece_N = frame.to_ndarray()[0]
            self._pieces.append(piece_N)
            self._num_samples += len(piece_N)


def _as_float(samples_N: NDArray[np.int32]) -> NDArray[np.float32]:
    return samples_N.astype(np.float32) / np.float32(2.0**31)
