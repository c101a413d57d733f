"""MiniMER's pictures as files: PNG with known emotions, and their manifests.

Picture i depends only on (seed, i), so the same seed gives the same pictures whatever the number of processes. The
pictures of `other`, for tests out of domain, are drawn in another style and labelled from another set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mer_r1.data.files import atomic_path
from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from mer_r1.synthetic.parts import write_parts
from mer_r1.synthetic.picture_drawing import draw_picture
from mer_r1.synthetic.picture_scenes import EIGHT, SIX, draw_picture_scene, picture_target

SPLITS = ("train", "val", "test", "other")
_PICTURE, _TEXT = 3, 4  # independent random streams of one seed, apart from the clips'


@dataclass(frozen=True)
class PicturePlan:
    """What a set of pictures is made from; kept in corpus.json. Of ten pictures 6 train, 1 val, 2 test, 1 other."""

    num: int
    seed: int

    def split_of(self, index: int) -> str:
        """The split of picture `index`."""
        return {6: "val", 7: "test", 8: "test", 9: "other"}.get(index % 10, "train")


def make_picture(plan: PicturePlan, folder: Path, index: int) -> tuple[str, Sample]:
    """Make picture `index`: writes its file and returns (split, sample)."""
    split = plan.split_of(index)
    rng = np.random.default_rng([plan.seed, _PICTURE, index])
    scene = draw_picture_scene(rng, SIX if split == "other" else EIGHT)
    reasoning = picture_target(scene, rng)
    drawn = draw_picture(scene, rng, "sketched" if split == "other" else "painted")
    path = folder / "pictures" / f"{index:06d}.png"
    with atomic_path(path) as temporary:
        drawn.image.save(temporary, format="png")
    return split, Sample(
        id=f"minimer-picture-{plan.seed}-{index:06d}",
        image=path,
        labels=(scene.label,),
        valence=round(scene.valence, 4),
        reasoning=reasoning,
        source="sketched" if split == "other" else "painted",
        candidates=scene.candidates,
    )


def write_pictures(
    plan: PicturePlan, folder: Path, workers: int = 1, progress: Callable[[int], None] | None = None
) -> dict[str, Path]:
    """Make the pictures and return their manifests by split, as `write_parts` does.

    Raises InputError for fewer than 10 pictures, and when the folder holds pictures of another plan.
    """
    if plan.num < 10:
        raise InputError(f"--num {plan.num}: pictures need at least 10, so that every split has one")
    facts = {"corpus": "MiniMER pictures", "num": plan.num, "seed": plan.seed}
    return write_parts(partial(make_picture, plan, folder), SPLITS, folder, facts, workers, progress)


def picture_texts(num: int = 3000, seed: int = 0) -> Iterator[str]:
    """Answers like the pictures', of none of them, and the labels to choose from: for the tiny tokenizer."""
    for index in range(num):
        rng = np.random.default_rng([seed, _TEXT, index])
        scene = draw_picture_scene(rng, EIGHT if index % 10 else SIX)
        yield "\n".join((picture_target(scene, rng), ", ".join(scene.candidates)))
