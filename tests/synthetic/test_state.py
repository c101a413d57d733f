"""Scenes without media: the words, the gold, what contradicts, and that no channel tells it all."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mer_r1.emotion.wheel import WheelSet
from mer_r1.synthetic.state import CHANNELS, WORDS, Scene, State, draw_scene

NUM = 2000
POINTS = np.array(list(WORDS.values()))


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(np.random.default_rng([5, index])) for index in range(NUM)]


def test_at_least_forty_words_in_six_categories_and_all_five_wheels_know_each() -> None:
    wheels = WheelSet.load()
    assert len(WORDS) >= 40
    assert len(wheels.categories(WORDS)[0]) >= 6
    homeless = [word for word in WORDS if not all(wheels.map_set([word]))]
    assert homeless == []


@pytest.mark.slow
def test_gold_is_one_to_four_distinct_words_of_the_vocabulary(scenes: list[Scene]) -> None:
    lengths = {len(scene.gold) for scene in scenes}
    assert lengths == {1, 2, 3, 4}
    for scene in scenes:
        assert set(scene.gold) <= set(WORDS)
        assert len(set(scene.gold)) == len(scene.gold)
    assert {word for scene in scenes for word in scene.gold} == set(WORDS)


def test_every_reading_keeps_a_word_and_gold_holds_the_readings_and_nothing_else(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert all(scene.readings.values())
        assert {word for words in scene.readings.values() for word in words} == set(scene.gold)
        assert set(scene.readings) == set(CHANNELS) - {scene.missing}
        assert scene.leader in scene.readings


def test_the_same_seed_draws_the_same_scene() -> None:
    first, again, other = (draw_scene(np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_a_fifth_of_the_clips_contradict_a_smile_over_sad_words_or_a_long_face_over_good_ones(
    scenes: list[Scene],
) -> None:
    contradicting = [scene for scene in scenes if scene.contradicting]
    assert 0.1 < len(contradicting) / NUM < 0.25
    for scene in contradicting:
        assert scene.missing in (None, "voice")
        assert scene.face.valence * scene.state.valence < 0
        assert scene.face.valence * scene.wording < 0
    assert {scene.wording for scene in contradicting} == {-1, 1}


def test_in_the_other_clips_what_is_said_agrees_with_the_state(scenes: list[Scene]) -> None:
    spoken = [scene for scene in scenes if scene.wording]
    assert all(scene.wording * scene.state.valence > 0 for scene in spoken)
    assert 0.2 < len(spoken) / NUM < 0.7


def test_each_channel_is_missing_now_and_then(scenes: list[Scene]) -> None:
    for channel in CHANNELS:
        assert 0.04 < sum(scene.missing == channel for scene in scenes) / NUM < 0.1


def numbers(state: State) -> list[float]:
    return [state.valence, state.arousal, state.dominance]


def shows(scene: Scene) -> dict[str, list[float]]:
    """What the channels give away, as numbers. The subtitle's control clause has three kinds."""
    control = float(scene.state.dominance > 0.33) - float(scene.state.dominance < -0.33)
    return {
        "face": numbers(scene.face),
        "voice": numbers(scene.voice),
        "words": [control, float(scene.wording)],
    }


def hit_rate(scenes: list[Scene], channels: tuple[str, ...]) -> float:
    """How often a guess from the channels names a gold category of the first wheel.

    State by least squares (with squares and products of what is shown) on the first half, then the nearest word.
    """
    shown = np.array([[value for channel in channels for value in shows(scene)[channel]] for scene in scenes])
    pairs = [shown[:, i] * shown[:, j] for i in range(shown.shape[1]) for j in range(i, shown.shape[1])]
    features: NDArray[np.float64] = np.column_stack([np.ones(len(shown)), shown, *pairs])
    states = np.array([numbers(scene.state) for scene in scenes])
    half = len(scenes) // 2
    weights = np.linalg.lstsq(features[:half], states[:half], rcond=None)[0]
    guesses = features[half:] @ weights
    wheels = WheelSet.load()
    category = [next(iter(wheels.categories([word])[0])) for word in WORDS]
    hits = 0
    for scene, guess in zip(scenes[half:], guesses, strict=True):
        nearest = int(np.argmin(np.linalg.norm(POINTS - guess, axis=1)))
        hits += category[nearest] in wheels.categories(scene.gold)[0]
    return hits / (len(scenes) - half)


@pytest.mark.slow
def test_no_single_channel_suffices(scenes: list[Scene]) -> None:
    whole = [scene for scene in scenes if scene.missing is None]
    rates = {channel: hit_rate(whole, (channel,)) for channel in CHANNELS}
    together = hit_rate(whole, CHANNELS)
    assert together > 0.6
    assert max(rates.values()) < together - 0.1, rates
    for left_out in CHANNELS:
        pair = tuple(channel for channel in CHANNELS if channel != left_out)
        assert hit_rate(whole, pair) < together - 0.015, left_out
