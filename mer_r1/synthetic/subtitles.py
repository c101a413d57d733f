"""Subtitles and reasoning texts of MiniMER, from a scene.

A subtitle always tells who is in control (dominance) and now and then, by a second clause, whether things are good or
bad (valence). A reasoning text names what is visible, audible and spoken, then the channel that it follows, and ends in
that annotator's words. In the form of structured emotional thinking (`set_target`) what is perceived is step 1, what it
does to a person step 2, its valence and arousal step 3; the last two are those of the words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mer_r1.synthetic.set_text import appraisal, level, set_text
from mer_r1.synthetic.state import WORDS, Scene

_MOUTHS = (
    "a broad smile",
    "a small smile",
    "a straight mouth",
    "a slightly drooping mouth",
    "a deeply drooping mouth",
)
_PITCHES = ("very loud and fast", "lively", "even", "low and slow", "faint and very slow")
_CONTROL = {
    1: ("I decided it myself.", "I told them how it goes.", "This time I set the terms.", "They listened to me."),
    0: ("That is how it went today.", "We talked for a while.", "It happened on the way home.", "So that was the day."),
    -1: (
        "I could not do anything.",
        "It was not in my hands.",
        "I do not know what to say.",
        "They did it without me.",
    ),
}
_VERDICT = {
    1: ("It is wonderful news.", "Everything turned out well.", "I got what I wished for."),
    0: ("",),
    -1: ("It is awful news.", "Everything went wrong.", "I lost what I cared for."),
}


def subtitle(scene: Scene, rng: np.random.Generator) -> str | None:
    """The spoken words of a clip, None where they are missing."""
    control = _CONTROL[level(scene.state.dominance)]
    verdict = _VERDICT[scene.wording]
    text = f"{control[rng.integers(len(control))]} {verdict[rng.integers(len(verdict))]}".strip()
    return None if scene.missing == "words" else text


def _grade(value: float, phrases: Sequence[str]) -> str:
    """One of five phrases, from the one for the highest values to the one for the lowest."""
    return phrases[sum(value <= edge for edge in (0.65, 0.25, -0.25, -0.65))]


def _perceived(scene: Scene) -> str:
    """What is visible, audible and spoken."""
    brows = {1: "lowered brows", 0: "level brows", -1: "raised inner brows"}[level(scene.face.dominance)]
    steadiness = "with a tremor" if scene.voice.dominance < -0.33 else "and steady"
    control = {1: "in control", 0: "matter-of-fact", -1: "helpless"}[level(scene.state.dominance)]
    verdict = {1: " about good news", 0: "", -1: " about bad news"}[scene.wording]
    seen = f"The face shows {_grade(scene.face.valence, _MOUTHS)} and {brows}."
    heard = f"The voice is {_grade(scene.voice.arousal, _PITCHES)} {steadiness}."
    spoken = f"The words sound {control}{verdict}."
    return " ".join(
        (
            "No face is seen." if scene.missing == "face" else seen,
            "No voice is heard." if scene.missing == "voice" else heard,
            "No words are given." if scene.missing == "words" else spoken,
        )
    )


def _followed(scene: Scene) -> str:
    return f"The {scene.leader} {'decide' if scene.leader == 'words' else 'decides'}."


def reasoning(scene: Scene) -> str:
    """What is visible, audible and spoken, and which of them the conclusion follows."""
    return f"{_perceived(scene)} {_followed(scene)}"


def slow_target(scene: Scene) -> str:
    """The annotated slow answer: reasoning, then the words of the annotator it follows."""
    return f"<think>{reasoning(scene)}</think><answer>{', '.join(scene.readings[scene.leader])}</answer>"


def set_target(scene: Scene) -> str:
    """The same answer in three steps and a box."""
    words = scene.readings[scene.leader]
    valence, arousal, dominance = np.mean([WORDS[word] for word in words], axis=0).tolist()
    well = {1: "well", 0: "neither well nor ill", -1: "ill"}[level(valence)]
    power = {1: "strong", 0: "neither strong nor weak", -1: "weak"}[level(dominance)]
    reaction = f"{_followed(scene)} One feels {well} and {power}."
    return set_text(_perceived(scene), reaction, appraisal(valence, arousal), ", ".join(words))


TARGETS: dict[str, Callable[[Scene], str]] = {"think_answer": slow_target, "set_steps": set_target}
