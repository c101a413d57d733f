"""Synthesised voices: a person's voice and a state in, 16 kHz mono out.

Arousal raises pitch, loudness and tempo and shortens pauses; low dominance adds a tremor of 7 Hz; valence brightens the
timbre and turns the end of the pitch contour up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mer_r1.synthetic.state import State

RATE_HZ = 16_000


@dataclass(frozen=True)
class Voice:
    """What stays the same over one person's clips: base pitch in Hz, tempo in syllables per second, breathiness."""

    pitch_hz: float
    tempo: float
    breath: float


def draw_voice(rng: np.random.Generator) -> Voice:
    """Draw a person's voice."""
    return Voice(float(rng.uniform(110, 220)), float(rng.uniform(3.2, 4.2)), float(rng.uniform(0.01, 0.03)))


def speak(voice: Voice, shown: State, seconds: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """A voiced babble of `seconds`, float32 in [-1, 1], shape (seconds * 16,000,)."""
    count = round(seconds * RATE_HZ)
    time_s = np.arange(count) / RATE_HZ
    progress = time_s / seconds
    tempo = voice.tempo * (1.0 + 0.55 * shown.arousal)
    syllable = tempo * time_s + rng.uniform(0, 1)
    voiced = np.clip(np.sin(np.pi * (syllable % 1.0)), 0.0, 1.0) ** 0.7
    pauses = 0.5 - 0.45 * shown.arousal  # share of syllables left out
    spoken = rng.random(int(syllable[-1]) + 2) >= pauses * 0.6
    spoken[rng.integers(len(spoken) - 1)] = True
    envelope = voiced * spoken[syllable.astype(int)]

    contour = (
        1.0 + 0.12 * shown.valence * (progress - 0.5) + 0.10 * max(0.0, shown.arousal) * np.sin(2 * np.pi * syllable)
    )
    tremor = 0.10 * max(0.0, -shown.dominance) * np.sin(2 * np.pi * 7.0 * time_s)
    pitch_hz = voice.pitch_hz * 2.0 ** (0.55 * shown.arousal) * (contour + tremor)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    brightness = 0.55 + 0.12 * shown.valence + 0.15 * shown.arousal
    sound = np.zeros(count)
    for harmonic in range(1, 8):
        sound += brightness ** (harmonic - 1) * np.sin(harmonic * phase)
    shake = 1.0 - 0.5 * max(0.0, -shown.dominance) * (0.5 + 0.5 * np.sin(2 * np.pi * 7.0 * time_s))
    loudness = 0.16 * 2.0 ** (1.3 * shown.arousal)
    wave = loudness * envelope * shake * sound / 2.2 + voice.breath * 0.3 * rng.normal(0.0, 1.0, count)
    return np.asarray(np.clip(wave, -1.0, 1.0), dtype=np.float32)


def loudness_per_frame(wave: NDArray[np.float32], num_frames: int) -> NDArray[np.float64]:
    """Root mean square of each of `num_frames` equal parts, scaled so that the loudest is 1."""
    parts = np.array_split(wave.astype(np.float64), num_frames)
    power = np.sqrt(np.array([np.mean(part**2) for part in parts]))
    return np.asarray(power / max(float(power.max()), 1e-6))
