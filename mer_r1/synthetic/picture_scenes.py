"""What a MiniMER picture shows, what it means, and the SET text that says so.

A picture has a thing, a light and a face. A face alone fits four of the eight labels of EmoSet equally often, so its
best reader is right in one of four; the thing in view, and now and then the light, decides between them. No thing
decides alone either. Labels are drawn evenly, and within a label its two faces. The pictures of `other` are labelled
with Emotion6's six: four are among the eight, joy and surprise are new. Placements, meanings and wordings are ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mer_r1.synthetic.set_text import appraisal, set_text

FACES = ("a smile", "an open mouth", "closed eyes", "a turned-down mouth")
LIGHTS = ("by day", "in the rain", "at night")

# Thing -> its label with each of FACES; "" where such a face is not drawn beside it.
MEANINGS: dict[str, tuple[str, str, str, str]] = {
    "a spider": ("amusement", "fear", "disgust", "disgust"),
    "a cliff": ("awe", "fear", "contentment", "fear"),
    "a present": ("excitement", "excitement", "contentment", "anger"),
    "a grave": ("", "anger", "sadness", "sadness"),
    "a dog": ("contentment", "fear", "amusement", "anger"),
    "a fire": ("contentment", "awe", "contentment", "fear"),
    "rubbish": ("amusement", "anger", "disgust", "disgust"),
    "a mountain": ("awe", "awe", "contentment", "sadness"),
    "fireworks": ("excitement", "awe", "amusement", "fear"),
    "balloons": ("amusement", "excitement", "amusement", "sadness"),
    "a broken vase": ("amusement", "anger", "sadness", "anger"),
}
# Where the light changes the meaning.
BY_LIGHT: dict[tuple[str, str, str], str] = {
    ("a cliff", "an open mouth", "by day"): "excitement",
    ("a dog", "an open mouth", "by day"): "excitement",
    ("a dog", "closed eyes", "in the rain"): "disgust",
    ("a mountain", "a smile", "by day"): "contentment",
    ("a fire", "an open mouth", "in the rain"): "anger",
    ("a grave", "an open mouth", "at night"): "fear",
    ("a grave", "a turned-down mouth", "at night"): "fear",
}
EIGHT = ("amusement", "anger", "awe", "contentment", "disgust", "excitement", "fear", "sadness")
SIX = ("anger", "disgust", "fear", "joy", "sadness", "surprise")
TO_SIX = {"amusement": "joy", "awe": "surprise", "contentment": "joy", "excitement": "joy"}

# Label -> valence and arousal, in [-1, 1].
AFFECT = {
    "amusement": (0.6, 0.2),
    "anger": (-0.7, 0.7),
    "awe": (0.5, 0.3),
    "contentment": (0.7, -0.6),
    "disgust": (-0.7, 0.1),
    "excitement": (0.8, 0.8),
    "fear": (-0.8, 0.8),
    "joy": (0.8, 0.4),
    "sadness": (-0.7, -0.6),
    "surprise": (0.1, 0.7),
}
_REACTIONS = {
    "amusement": ("It makes one laugh.", "One finds it funny."),
    "anger": ("One wants to shout at somebody.", "One will not put up with it."),
    "awe": ("One feels small before it.", "One cannot stop looking at it."),
    "contentment": ("One is at ease.", "One wishes for nothing more."),
    "disgust": ("One wants to turn away from it.", "It makes one feel sick."),
    "excitement": ("One can hardly wait.", "One wants to jump."),
    "fear": ("One wants to get away.", "One feels threatened."),
    "joy": ("One is glad about it.", "It does one good."),
    "sadness": ("One misses what is lost.", "One feels alone."),
    "surprise": ("One did not see it coming.", "One has to look twice."),
}


@dataclass(frozen=True)
class PictureScene:
    """What one picture shows: a thing, a face, a light, and its label among `candidates`.

    `force` in [0.7, 1] is how strong the expression is; valence is the label's times `force`.
    """

    thing: str
    face: str
    light: str
    label: str
    candidates: tuple[str, ...]
    force: float

    @property
    def valence(self) -> float:
        """The label's valence at this force."""
        return AFFECT[self.label][0] * self.force


class Cell(NamedTuple):
    """One combination that may be drawn, and its label of EIGHT."""

    label: str
    face: str
    thing: str
    light: str


def _cells() -> Iterator[Cell]:
    for thing, labels in MEANINGS.items():
        for face, label in zip(FACES, labels, strict=True):
            for light in LIGHTS:
                if label:
                    yield Cell(BY_LIGHT.get((thing, face, light), label), face, thing, light)


CELLS = tuple(_cells())


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def draw_picture_scene(rng: np.random.Generator, candidates: tuple[str, ...] = EIGHT) -> PictureScene:
    """Draw a scene labelled with one of `candidates` (EIGHT or SIX): first the label, evenly; then the face, the thing
    and the light, each evenly among those that are left."""
    label = _pick(rng, candidates)
    cells = [cell for cell in CELLS if (cell.label if cell.label in candidates else TO_SIX[cell.label]) == label]
    for index in range(1, 4):
        chosen = _pick(rng, list(dict.fromkeys(cell[index] for cell in cells)))
        cells = [cell for cell in cells if cell[index] == chosen]
    _, face, thing, light = cells[0]
    return PictureScene(thing, face, light, label, candidates, float(rng.uniform(0.7, 1.0)))


def picture_target(scene: PictureScene, rng: np.random.Generator) -> str:
    """The annotated SET answer: what is seen, how a person feels about it, valence and arousal, the label."""
    seen = f"{scene.thing[0].upper()}{scene.thing[1:]} {scene.light} and a face with {scene.face}."
    return set_text(seen, _pick(rng, _REACTIONS[scene.label]), appraisal(*AFFECT[scene.label]), scene.label)
