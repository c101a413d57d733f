"""The hidden state behind a MiniMER clip, and how annotators put it into words.

A clip has one state (valence, arousal, dominance; each in [-1, 1]). No channel shows it whole: the face shows valence
clearly and dominance dimly, the voice shows arousal clearly and valence dimly, the subtitle shows dominance clearly and
valence only now and then. In a contradicting clip the face wears the opposite valence of what is spoken.

As in real data some clips miss a channel: no picture, no sound track or no subtitle.

Three annotators read every clip, each led by one channel and each with noise of their own; an annotator led by
a missing channel is left out. An annotator names the one to three words nearest to the perceived state. Gold is the
union of the readings; a reasoning text follows one annotator and ends in that annotator's words, as descriptions of
MER-Caption+ do. So reasoning commits to a reading while gold covers all of them, which decides how far fast and slow
thinking part (docs/reproduction.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Channel = Literal["face", "voice", "words"]
CHANNELS: tuple[Channel, ...] = ("face", "voice", "words")

# Word -> (valence, arousal, dominance). Our own placements, coarse on purpose; families are groups of neighbours.
WORDS: dict[str, tuple[float, float, float]] = {
    "happy": (0.8, 0.3, 0.2),
    "joyful": (0.9, 0.5, 0.3),
    "cheerful": (0.7, 0.4, 0.1),
    "delighted": (0.9, 0.6, 0.0),
    "excited": (0.7, 0.9, 0.2),
    "content": (0.6, -0.3, 0.2),
    "calm": (0.4, -0.8, 0.3),
    "peaceful": (0.6, -0.9, 0.0),
    "relaxed": (0.5, -0.6, 0.1),
    "relieved": (0.5, -0.4, -0.4),
    "grateful": (0.8, -0.1, -0.5),
    "proud": (0.7, 0.2, 0.9),
    "confident": (0.4, 0.0, 0.9),
    "triumphant": (0.8, 0.8, 0.9),
    "sad": (-0.7, -0.5, -0.3),
    "lonely": (-0.6, -0.6, -0.6),
    "disappointed": (-0.5, -0.3, -0.2),
    "hopeless": (-0.8, -0.7, -0.8),
    "hurt": (-0.8, -0.1, -0.5),
    "gloomy": (-0.5, -0.7, -0.1),
    "tired": (-0.2, -0.9, -0.3),
    "bored": (-0.3, -0.8, 0.2),
    "angry": (-0.7, 0.7, 0.7),
    "furious": (-0.9, 0.9, 0.8),
    "outraged": (-0.8, 0.8, 0.5),
    "irritated": (-0.5, 0.4, 0.5),
    "annoyed": (-0.4, 0.2, 0.4),
    "frustrated": (-0.6, 0.5, 0.2),
    "resentful": (-0.6, 0.1, 0.3),
    "disgusted": (-0.8, 0.1, 0.6),
    "revolted": (-0.9, 0.4, 0.5),
    "contemptuous": (-0.6, -0.3, 0.9),
    "scared": (-0.7, 0.7, -0.7),
    "terrified": (-0.9, 0.9, -0.9),
    "panicked": (-0.8, 0.9, -0.6),
    "anxious": (-0.4, 0.5, -0.6),
    "nervous": (-0.3, 0.6, -0.5),
    "worried": (-0.4, 0.3, -0.4),
    "tense": (-0.3, 0.5, -0.1),
    "surprised": (0.1, 0.8, -0.2),
    "amazed": (0.4, 0.8, -0.3),
    "astonished": (0.2, 0.9, 0.0),
    "startled": (-0.1, 0.9, -0.5),
    "shocked": (-0.2, 0.9, -0.3),
    "ashamed": (-0.6, 0.1, -0.8),
    "guilty": (-0.5, 0.0, -0.7),
    "embarrassed": (-0.3, 0.2, -0.8),
}
_POINTS = np.array(list(WORDS.values()))

CONTRADICTING_SHARE = 0.2
MISSING_SHARE = 0.07  # of each channel
STATE_NOISE = 0.10
READING_NOISE = 0.16
DIM_NOISE = 0.45


@dataclass(frozen=True)
class State:
    """Valence, arousal, dominance, each in [-1, 1]."""

    valence: float
    arousal: float
    dominance: float


@dataclass(frozen=True)
class Scene:
    """What each channel of one clip shows, and what the annotators made of it.

    `wording` is the valence the subtitle speaks out: -1, 0 (silent about it) or 1. `readings` holds each annotator's
    words by leading channel; `gold` their union (1 to 4 words); `leader` the channel the reasoning text follows.
    `missing` is the channel that the clip does not have.
    """

    state: State
    face: State
    voice: State
    wording: int
    contradicting: bool
    readings: dict[Channel, tuple[str, ...]]
    gold: tuple[str, ...]
    leader: Channel
    missing: Channel | None = None


def _clip(values: np.ndarray) -> State:
    valence, arousal, dominance = np.clip(values, -1.0, 1.0)
    return State(float(valence), float(arousal), float(dominance))


def _nearest(perceived: np.ndarray, num_words: int) -> tuple[str, ...]:
    distances = np.linalg.norm(_POINTS - perceived, axis=1)
    names = list(WORDS)
    order = np.argsort(distances, kind="stable")[:num_words]
    keep = [index for rank, index in enumerate(order) if rank == 0 or distances[index] < distances[order[0]] + 0.35]
    return tuple(names[index] for index in keep)


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw one clip's state, its channels and its three readings."""
    point = _POINTS[rng.integers(len(_POINTS))]
    true = np.clip(point + rng.normal(0.0, STATE_NOISE, 3), -1.0, 1.0)
    contradicting = bool(abs(true[0]) > 0.35 and rng.random() < CONTRADICTING_SHARE / 0.85)
    face = true + rng.normal(0.0, (0.08, DIM_NOISE, DIM_NOISE))
    voice = true + rng.normal(0.0, (DIM_NOISE, 0.08, DIM_NOISE))
    if contradicting:
        face[0] = -true[0] + rng.normal(0.0, 0.08)
    spoken = contradicting or (abs(true[0]) > 0.35 and rng.random() < 0.35)
    missing = CHANNELS[int(rng.integers(3))] if rng.random() < 3 * MISSING_SHARE else None
    leaders = tuple(channel for channel in CHANNELS if channel != missing)
    readings: dict[Channel, tuple[str, ...]] = {}
    for channel in leaders:
        perceived = true.copy()
        if channel == "face":
            perceived[0] = face[0]
        perceived += rng.normal(0.0, READING_NOISE, 3)
        readings[channel] = _nearest(perceived, int(rng.choice((1, 2, 3), p=(0.5, 0.35, 0.15))))
    gold = tuple(dict.fromkeys(word for words in readings.values() for word in words))
    if len(gold) > 4:  # every annotator's first word stays, the rest as far as there is room
        first = tuple(dict.fromkeys(words[0] for words in readings.values()))
        gold = (*first, *(word for word in gold if word not in first))[:4]
    for channel, words in readings.items():
        readings[channel] = tuple(word for word in words if word in gold)
    return Scene(
        state=_clip(true),
        face=_clip(face),
        voice=_clip(voice),
        wording=int(np.sign(true[0])) if spoken else 0,
        contradicting=contradicting and missing in (None, "voice"),
        readings=readings,
        gold=gold,
        leader=leaders[int(rng.integers(len(leaders)))],
        missing=missing,
    )
