"""The sound of films as files of their own, as our models hear it: beside the pictures, not within them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from mer_r1.data.files import atomic_path
from mer_r1.data.sample import Sample
from mer_r1.media import MediaBudget, decode_file
from mer_r1.media.wav import wav_bytes

FOLDER = "sound"
# Pictures are looked at only to keep time, and to see that the file is whole.
_BUDGET = MediaBudget(num_frames=2, fps=None, max_pixels=56 * 56, min_pixels=56 * 56)


def with_sounds(samples: Sequence[Sample], folder: Path) -> list[Sample]:
    """The samples with `audio` for every video that has a sound track: 16 kHz mono, `folder`/sound/NAME-HASH.wav.

    A sample that has `audio`, a video without a track, and one that is not there stay as they are. A file that is there
    already is kept. Raises InputError for a video that cannot be decoded.
    """
    made: list[Sample] = []
    for sample in samples:
        if sample.video is None or sample.audio is not None or not sample.video.is_file():
            made.append(sample)
            continue
        mark = sha256(str(sample.video).encode("utf-8", "surrogateescape")).hexdigest()[:8]
        path = folder / FOLDER / f"{sample.video.stem}-{mark}.wav"
        if not path.exists():
            waveform_N = decode_file(sample.video, _BUDGET).waveform_N
            if waveform_N is None:
                made.append(sample)
                continue
            with atomic_path(path) as temporary:
                temporary.write_bytes(wav_bytes(waveform_N))
        made.append(replace(sample, audio=path))
    return made
