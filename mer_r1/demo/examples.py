"""A few clips of MiniMER, made when the page starts: a face that moves, a voice and a subtitle, of nobody."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from mer_r1.data.sample import Sample
from mer_r1.emotion.wheel import WheelSet
from mer_r1.media import MediaBudget, read_clip
from mer_r1.synthetic.corpus import Plan, make_clip

NUM, SECONDS, SEED = 3, 3.0, 11
MOST_TRIED = 40
_THUMBNAIL = MediaBudget(num_frames=2, fps=None, max_pixels=112 * 112)


@dataclass(frozen=True)
class Example:
    """A clip, a picture of it and its words."""

    path: Path
    thumbnail: Path
    subtitle: str


def make_examples(folder: Path) -> tuple[Example, ...]:
    """NUM clips with a face, words and different emotions; none where FFmpeg lacks H.264 or AAC."""
    plan = Plan(MOST_TRIED, SEED, SECONDS)
    made: dict[str, Example] = {}  # by category
    wheels = WheelSet.load()
    try:
        for index in range(MOST_TRIED):
            _, sample = make_clip(plan, folder, index)
            shown = "".join(sorted(wheels.categories(sample.labels)[0]))
            if shown and shown not in made and sample.video and sample.subtitle and sample.source == "consistent":
                made[shown] = _example(sample, sample.video, folder, len(made) + 1)
            if len(made) == NUM:
                break
    except (av.FFmpegError, ValueError):  # an encoder that is not there
        return ()
    return tuple(made.values())


def _example(sample: Sample, video: Path, folder: Path, number: int) -> Example:
    from PIL import Image

    path = video.rename(folder / f"example-{number}.mp4")
    clip = read_clip(Sample("example", video=path), _THUMBNAIL)
    assert clip.frames_THWC is not None, "it was written with frames"
    thumbnail = folder / f"example-{number}.png"
    Image.fromarray(np.asarray(clip.frames_THWC[0])).save(thumbnail)
    return Example(path, thumbnail, sample.subtitle or "")
