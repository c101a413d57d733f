"""A waveform as the bytes of a WAV file."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from mer_r1.media.budget import AUDIO_HZ


def wav_bytes(waveform_N: NDArray[np.float32]) -> bytes:
    """A waveform at 16 kHz as a mono WAV file of 32-bit floats: integers would round."""
    data = waveform_N.astype("<f4").tobytes()
    head = struct.pack("<4sI4s", b"RIFF", 50 + len(data), b"WAVE")
    form = struct.pack("<4sIHHIIHHH", b"fmt ", 18, 3, 1, AUDIO_HZ, 4 * AUDIO_HZ, 4, 32, 0)  # 3: IEEE floats
    about = struct.pack("<4sII4sI", b"fact", 4, len(waveform_N), b"data", len(data))
    return head + form + about + data
