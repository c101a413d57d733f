"""Subtitles and reasoning texts of MiniMER, from a scene.

A subtitle always tells who is in control (dominance) and now and then, by a second clause, whether things are good or
bad (valence). A reasoning text names what is visible, what is audible and what is said, says which channel it follows,
and ends in that annotator's words.
"""

from __future__ import annotations

import numpy as np

from mer_r1.synthetic.state import Scene

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


def level(value: float, edge: float = 0.33) -> int:
    """-1, 0 or 1: below -edge, between, above edge."""
    return int(value > edge) - int(value < -edge)


def subtitle(scene: Scene, rng: np.random.Generator) -> str | None:
    """The spoken words of a clip, None where they are missing."""
    control = _CONTROL[level(scene.state.dominance)]
    verdict = _VERDICT[scene.wording]
    text = f"{control[rng.integers(len(control))]} {verdict[rng.integers(len(verdict))]}".strip()
    return None if scene.missing == "words" else text


def _mouth(valence: float) -> str:
    if valence > 0.65:
        return "a broad smile"
    if valence > 0.25:
        return "a small smile"
    if valence > -0.25:
        return "a straight mouth"
    return "a slightly drooping mouth" if valence > -0.65 else "a deeply drooping mouth"


def _pitch(arousal: float) -> str:
    if arousal > 0.65:
        return "very loud and fast"
    if arousal > 0.25:
        return "lively"
    if arousal > -0.25:
        return "even"
    return "low and slow" if arousal > -0.65 else "faint and very slow"


def reasoning(scene: Scene) -> str:
    """What is visible, audible and said, and which of them the conclusion follows."""
    brows = {1: "lowered brows", 0: "level brows", -1: "raised inner brows"}[level(scene.face.dominance)]
    steadiness = "with a tremor" if scene.voice.dominance < -0.33 else "and steady"
    control = {1: "in control", 0: "matter-of-fact", -1: "helpless"}[level(scene.state.dominance)]
    verdict = {1: " about good news", 0: "", -1: " about bad news"}[scene.wording]
    seen = f"The face shows {_mouth(scene.face.valence)} and {brows}."
    heard = f"The voice is {_pitch(scene.voice.arousal)} {steadiness}."
    said = f"The words sound {control}{verdict}."
    return " ".join(
        (
            "No face is seen." if scene.missing == "face" else seen,
            "No voice is heard." if scene.missing == "voice" else heard,
            "No words are given." if scene.missing == "words" else said,
            f"The {scene.leader} {'decide' if scene.leader == 'words' else 'decides'}.",
        )
    )


def slow_target(scene: Scene) -> str:
    """The annotated slow answer: reasoning, then the words of the annotator it follows."""
    return f"<think>{reasoning(scene)}</think><answer>{', '.join(scene.readings[scene.leader])}</answer>"
