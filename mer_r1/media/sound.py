"""From a decoder's sound, of any layout, rate and format, to one 16 kHz mono waveform.

Shape letters: N samples.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Stream
from numpy.typing import NDArray

from mer_r1.errors import InputError
from mer_r1.media.budget import AUDIO_HZ, MediaBudget
from mer_r1.media.formats import FIX
from mer_r1.media.lengths import declared_seconds

# Outside these a header is wrong, and one block of sound could become gigabytes.
_LOWEST_HZ, _HIGHEST_HZ = 1_000, 1_000_000


class SoundTrack:
    """Decodes the packets of one sound stream, forgiving a few damaged ones, to 16 kHz mono float32 in [-1, 1].

    libswresample converts to 32-bit integers, for which it scales the mix of channels so that it cannot overflow:
    stereo is (left + right) / 2, and 5.1 is its usual downmix, scaled. A change of layout, rate or format in
    mid-stream is followed. `lead_s` is silence put before the sound.
    """

    def __init__(self, path: Path, stream: AudioStream, budget: MediaBudget, lead_s: float) -> None:
        self.stream = stream
        self._path = path
        self._budget = budget
        self._max_samples = round(budget.max_audio_s * AUDIO_HZ)
        self._lead = min(round(lead_s * AUDIO_HZ), self._max_samples)
        self._resampler: av.AudioResampler | None = None
        self._setup: tuple[str, str, int] | None = None
        self._pieces: list[NDArray[np.int32]] = []
        self._num_samples = 0
        self._num_packets = 0
        self._num_damaged = 0
        self.seconds: float | None = None
        self.taken_s: float | None = None

    @property
    def done(self) -> bool:
        """No more packets are needed."""
        return self._lead + self._num_samples >= self._max_samples

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

    def waveform(self, container: InputContainer) -> NDArray[np.float32] | None:
        """float32 N, and sets `seconds` (the whole track) and `taken_s`.

        None for a track without a single sample. Raises InputError where the track ends before its declared length.
        """
        cut = self.done
        self._flush()
        if not self._num_samples:
            return None
        whole_N = np.concatenate([np.zeros(self._lead, np.int32), *self._pieces])[: self._max_samples]
        declared_s = declared_seconds(container, self.stream)
        self.taken_s = len(whole_N) / AUDIO_HZ
        wanted_s = min(declared_s or 0.0, self._budget.max_audio_s)
        if self.taken_s < 0.9 * wanted_s - 0.25:
            raise InputError(f"{self._path}: its sound ends at {self.taken_s:.2f} s of {declared_s:.2f} s; {FIX}")
        whole_s = declared_s or (container.duration or 0) * 1e-6
        self.seconds = max(whole_s, self.taken_s) if cut else self.taken_s
        return whole_N.astype(np.float32) / np.float32(2.0**31)

    def _feed(self, frame: av.AudioFrame) -> None:
        setup = (frame.format.name, frame.layout.name, frame.sample_rate)
        if setup != self._setup:
            if not _LOWEST_HZ <= frame.sample_rate <= _HIGHEST_HZ:
                raise InputError(
                    f"{self._path}: its sound claims {frame.sample_rate} samples a second; "
                    f"give a rate of {_LOWEST_HZ} to {_HIGHEST_HZ}"
                )
            self._flush()
            self._resampler = av.AudioResampler("s32", "mono", AUDIO_HZ)
            self._setup = setup
        assert self._resampler is not None
        frame.pts = None
        self._keep(self._resampler.resample(frame))

    def _flush(self) -> None:
        if self._resampler is not None:
            self._keep(self._resampler.resample(None))
            self._resampler = None

    def _keep(self, frames: list[av.AudioFrame]) -> None:
        for frame in frames:
            piece_N = frame.to_ndarray()[0]
            self._pieces.append(piece_N)
            self._num_samples += len(piece_N)
