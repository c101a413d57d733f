"""The media files of samples at a glance, before anything is decoded: which are missing, and how long clips are.

Every file is looked up. Lengths are those that containers declare, of NUM_MEASURED clips evenly spaced over the
samples: enough for a sum in words, not for a number (`mer-r1 check` measures every clip).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from mer_r1.media.budget import MediaBudget
from mer_r1.media.formats import open_media
from mer_r1.media.validate import media_of

NUM_MEASURED = 32


@dataclass(frozen=True)
class Survey:
    """`missing` files in the samples' order; how many samples have pictures or sound that last, and the declared
    seconds of some of these."""

    missing: tuple[Path, ...]
    num_clips: int
    seconds: tuple[float, ...]

    @property
    def mean_s(self) -> float | None:
        """Seconds of a clip; None where none declares its length."""
        return sum(self.seconds) / len(self.seconds) if self.seconds else None


def survey(samples: Sequence[Sample]) -> Survey:
    """What is at hand for `samples`. A clip that cannot be opened has no length here: `mer-r1 check` says why."""
    files = dict.fromkeys(path for sample in samples for path in media_of(sample))
    missing = tuple(path for path in files if not path.exists())
    clips = [path for sample in samples if (path := sample.video or sample.audio)]
    every = max(1, len(clips) // NUM_MEASURED)
    declared = (_declared_s(path) for path in clips[::every][:NUM_MEASURED])
    return Survey(missing, len(clips), tuple(seconds for seconds in declared if seconds))


def _declared_s(path: Path) -> float | None:
    with suppress(InputError), open_media(path, MediaBudget()) as container:
        return container.duration / 1e6 if container.duration else None
    return None
