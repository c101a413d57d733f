"""What the channels show can be measured: mouth by valence, brows by dominance, energy and pitch by arousal."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from mer_r1.synthetic.faces import SIZE, Looks, draw_face, draw_frame, draw_looks
from mer_r1.synthetic.state import State
from mer_r1.synthetic.voices import RATE_HZ, draw_voice, loudness_per_frame, speak

PEOPLE = range(12)
LEVELS = (-0.9, -0.3, 0.3, 0.9)


def face(looks: Looks, valence: float = 0.0, arousal: float = -0.7, dominance: float = 0.0) -> NDArray[np.float64]:
    return np.asarray(draw_frame(looks, State(valence, arousal, dominance), (0.0, 0.0), 0.0, 0.3), dtype=np.float64)


def people() -> list[Looks]:
    return [draw_looks(np.random.default_rng([1, person])) for person in PEOPLE]


def corners_above_middle(image: NDArray[np.float64], looks: Looks) -> float:
    """Pixels by which the mouth, all that is not skin under the nose, lies higher at its ends than in its middle."""
    top, left = SIZE * 63 // 100, SIZE // 2 - 20
    mouth = np.abs(image - np.array(looks.skin)).sum(-1)[top : SIZE * 9 // 10, left : left + 40] > 60
    rows, columns = np.nonzero(mouth)
    reach = np.abs(columns - columns.mean())
    return float(rows[reach < 4].mean() - rows[reach > reach.max() - 4].mean())


def test_the_mouth_curves_up_with_valence() -> None:
    curves = np.array([[corners_above_middle(face(looks, value), looks) for value in LEVELS] for looks in people()])
    assert (np.diff(curves, axis=1) > 0).all()
    assert (curves[:, 0] < 0).all()
    assert (curves[:, -1] > 0).all()


def test_valence_changes_the_lower_face_alone_and_dominance_the_upper() -> None:
    for looks in people():
        by_valence = np.abs(face(looks, valence=0.8) - face(looks, valence=-0.8)).sum(axis=(1, 2))
        by_dominance = np.abs(face(looks, dominance=0.8) - face(looks, dominance=-0.8)).sum(axis=(1, 2))
        assert by_valence.sum() > 2000
        assert by_valence[: SIZE // 2].sum() == 0
        assert by_dominance.sum() > 2000
        assert by_dominance[: SIZE // 2].sum() > 0.8 * by_dominance.sum()


def test_the_inner_brows_go_down_with_dominance() -> None:
    """Against the skin of a person with dark hair the brows are the dark above the eyes."""
    dark = [looks for looks in people() if sum(looks.hair) < 0.6 * sum(looks.skin) and sum(looks.skin) > 400]
    assert len(dark) >= 3
    for looks in dark:
        heights = [inner_brow(face(looks, dominance=value), looks) for value in LEVELS]
        assert heights == sorted(heights), looks
        assert heights[-1] - heights[0] > 4


def inner_brow(image: NDArray[np.float64], looks: Looks) -> float:
    """Mean row of the hair-coloured pixels between the eyes and the hairline, near the nose."""
    like_hair = np.abs(image - np.array(looks.hair)).sum(-1) < 60
    centre = SIZE // 2
    window = like_hair[SIZE // 5 : SIZE // 2, centre - 12 : centre + 12]
    rows = np.nonzero(window)[0]
    return float(rows.mean())


def sound(arousal: float, person: int, valence: float = 0.0, dominance: float = 0.0) -> NDArray[np.float64]:
    voice = draw_voice(np.random.default_rng([2, person]))
    rng = np.random.default_rng([3, person])
    return speak(voice, State(valence, arousal, dominance), 2.0, rng).astype(np.float64)


def energy(wave: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(wave**2)))


def pitch_hz(wave: NDArray[np.float64]) -> float:
    """The strongest frequency of a voice's range."""
    spectrum = np.abs(np.fft.rfft(wave))
    hz = np.fft.rfftfreq(len(wave), 1 / RATE_HZ)
    return float(hz[np.argmax(np.where((hz > 50) & (hz < 450), spectrum, 0.0))])


@pytest.mark.parametrize(("measure", "factor"), [(energy, 4.0), (pitch_hz, 1.5)], ids=["energy", "pitch"])
def test_energy_and_pitch_rise_with_arousal(measure: Callable[[NDArray[np.float64]], float], factor: float) -> None:
    values = np.array([[measure(sound(arousal, person)) for arousal in LEVELS] for person in PEOPLE])
    means = values.mean(axis=0)
    assert (np.diff(means) > 0).all(), means
    assert means[-1] > factor * means[0]
    assert (values[:, -1] > values[:, 0]).all()


def test_a_voice_is_a_waveform_in_range_of_the_asked_length() -> None:
    wave = speak(draw_voice(np.random.default_rng(0)), State(1.0, 1.0, -1.0), 1.5, np.random.default_rng(1))
    assert wave.dtype == np.float32
    assert wave.shape == (24_000,)
    assert np.abs(wave).max() <= 1.0


def test_loudness_per_frame_is_one_in_the_loudest_part_and_silence_stays_silent() -> None:
    wave = np.concatenate([np.zeros(100), np.full(100, 0.5), np.full(100, 0.25)]).astype(np.float32)
    assert loudness_per_frame(wave, 3).tolist() == [0.0, 1.0, 0.5]
    assert loudness_per_frame(np.zeros(300, np.float32), 3).tolist() == [0.0, 0.0, 0.0]


def test_frames_are_bytes_of_the_size_move_and_depend_on_the_seed_alone() -> None:
    looks, shown, loudness = people()[0], State(0.5, 0.5, 0.0), np.ones(6)
    frames, again = (draw_face(looks, shown, 6, loudness, np.random.default_rng(7)) for _ in range(2))
    assert frames.shape == (6, SIZE, SIZE, 3)
    assert frames.dtype == np.uint8
    assert np.array_equal(frames, again)
    assert len({frame.tobytes() for frame in frames}) == 6
    other = draw_face(looks, shown, 6, loudness, np.random.default_rng(8))
    assert not np.array_equal(frames, other)


def test_two_people_look_and_sound_different() -> None:
    assert len({face(looks).tobytes() for looks in people()}) == len(PEOPLE)
    assert len({draw_voice(np.random.default_rng([2, person])) for person in PEOPLE}) == len(PEOPLE)
