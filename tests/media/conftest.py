"""Clips that several tests read."""

from pathlib import Path

import numpy as np
import pytest

from tests.media.make_media import gray_frames, tone, write_media


@pytest.fixture(scope="package")
def clip_mp4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.5 s: 12 gray frames of 96 x 96 at 8 a second, a 440 Hz tone."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_media(path, frames=gray_frames(12), sound=tone(1.5, 16_000))


@pytest.fixture(scope="package")
def noise_mp4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.5 s of noise pictures with the index in front, so that a file cut short still opens."""
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (96, 96, 3), dtype=np.uint8) for _ in range(12)]
    path = tmp_path_factory.mktemp("noise") / "noise.mp4"
    return write_media(path, frames=frames, sound=tone(1.5, 16_000), options={"movflags": "faststart"})
