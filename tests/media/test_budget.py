"""Budget arithmetic: times, sizes and tokens."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mer_r1.errors import InputError
from mer_r1.media import (
    MediaBudget,
    audio_tokens,
    frame_count,
    frame_rate,
    frame_times,
    most_tokens,
    target_size,
    video_tokens,
)

SIDES = st.integers(1, 20_000)


def test_frame_times_are_the_centres_of_equal_parts() -> None:
    budget = MediaBudget(num_frames=4, fps=None)
    assert frame_times(8.0, budget) == (1.0, 3.0, 5.0, 7.0)


def test_frame_times_stay_within_the_usable_seconds() -> None:
    assert frame_times(1e9, MediaBudget(num_frames=2, fps=None, max_video_s=10)) == (2.5, 7.5)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.1, 2), (1.0, 2), (1.49, 2), (1.5, 4), (2.0, 4), (3.0, 6), (7.9, 8), (1000.0, 8)]
)
def test_fps_gives_the_nearest_multiple_within_one_and_num_frames(seconds: float, expected: int) -> None:
    assert frame_count(seconds, MediaBudget(num_frames=8, fps=2.0)) == expected


@given(st.floats(0.01, 1e7), st.integers(1, 40), st.one_of(st.none(), st.floats(0.1, 60)))
def test_times_are_a_multiple_ascending_and_inside(seconds: float, pairs: int, fps: float | None) -> None:
    times = frame_times(seconds, MediaBudget(num_frames=2 * pairs, fps=fps))
    assert len(times) % 2 == 0
    assert 2 <= len(times) <= 2 * pairs
    assert list(times) == sorted(times)
    assert 0 < times[0] < times[-1] < min(seconds, 120)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((96, 96), (84, 84)),  # nearest multiples
        ((98, 126), (112, 140)),  # halves round up
        ((448, 448), (448, 448)),  # an exact fit stays
        ((1920, 1080), (588, 336)),  # shrunk under 448 x 448 in area
        ((10, 10), (56, 56)),  # grown to min_pixels
        ((60, 10), (140, 28)),  # grown keeping its shape, as far as whole multiples allow
        ((20_000, 1), (7168, 28)),  # too long for the budget: shortened
    ],
)
def test_target_size_of_known_cases(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert target_size(*size, MediaBudget()) == expected


@given(SIDES, SIDES, st.integers(1, 2000), st.sampled_from([14, 28, 32]))
def test_target_size_is_whole_multiples_within_max_pixels(width: int, height: int, cells: int, step: int) -> None:
    budget = MediaBudget(max_pixels=cells * step * step, min_pixels=0, size_multiple=step)
    wide, high = target_size(width, height, budget)
    assert wide % step == 0
    assert high % step == 0
    assert min(wide, high) >= step
    assert wide * high <= budget.max_pixels


@given(SIDES, SIDES)
def test_target_size_reaches_min_pixels_where_the_bounds_leave_room(width: int, height: int) -> None:
    assume(max(width, height) <= 20 * min(width, height))
    budget = MediaBudget(min_pixels=40 * 784, max_pixels=400 * 784)
    wide, high = target_size(width, height, budget)
    assert wide * high >= budget.min_pixels


@given(st.integers(200, 4000), st.integers(200, 4000))
def test_target_size_keeps_the_aspect_within_a_multiple(width: int, height: int) -> None:
    assume(max(width, height) <= 3 * min(width, height))
    wide, high = target_size(width, height, MediaBudget(max_pixels=900 * 784))
    assert math.isclose(wide / high, width / height, rel_tol=0.2)


@given(SIDES, SIDES)
def test_a_taken_size_is_taken_again_unchanged(width: int, height: int) -> None:
    budget = MediaBudget()
    once = target_size(width, height, budget)
    assert target_size(*once, budget) == once


def test_tokens_of_known_cases() -> None:
    budget = MediaBudget()
    assert video_tokens(8, 84, 56, budget) == 4 * 3 * 2
    assert video_tokens(1, 28, 28, budget) == 1
    assert audio_tokens(1.5, MediaBudget()) == 38
    assert audio_tokens(2.0, MediaBudget()) == 50
    assert audio_tokens(0.0, MediaBudget()) == 0
    assert audio_tokens(1.5, MediaBudget(audio_tokens_per_s=13)) == 20


@given(st.floats(0.01, 1000), SIDES, SIDES)
def test_no_clip_costs_more_than_most_tokens(seconds: float, width: int, height: int) -> None:
    budget = MediaBudget()
    video = video_tokens(frame_count(seconds, budget), *target_size(width, height, budget), budget)
    assert video + audio_tokens(min(seconds, budget.max_audio_s), budget) <= most_tokens(budget)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_frames", 7),
        ("num_frames", 0),
        ("fps", 0.0),
        ("fps", math.nan),
        ("max_pixels", 783),
        ("min_pixels", 10**9),
        ("min_pixels", -1),
        ("size_multiple", 0),
        ("max_video_s", math.inf),
        ("max_audio_s", -1.0),
        ("max_decode_s", math.nan),
    ],
)
def test_a_budget_that_cannot_be_met_is_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(InputError, match=field):
        MediaBudget(**{field: value})  # type: ignore[arg-type]


def test_the_rate_is_that_of_the_frames_that_were_taken() -> None:
    budget = MediaBudget(num_frames=8, fps=None, max_video_s=10.0)
    rates = [frame_rate(8, seconds, budget) for seconds in (4.0, 10.0, 60.0)]
    assert rates == pytest.approx([2.0, 0.8, 0.8], rel=2e-6)
    assert frame_rate(2, None, budget) == frame_rate(2, 0.0, budget) == 2.0


def test_times_of_frames_are_the_same_positions_in_float32_and_in_float64() -> None:
    """A model counts them in float32, an engine in float64, both at 25 a second and down to whole numbers."""
    for budget in (MediaBudget(), MediaBudget(num_frames=8, fps=None)):
        for num_pictures in range(20, 1500):
            num_frames = frame_count(num_pictures / 25, budget)
            step_s = np.float32(2 / frame_rate(num_frames, num_pictures / 25, budget))
            grid = np.arange(num_frames // 2)
            model = (grid.astype(np.float32) * step_s * np.float32(25)).astype(int)
            engine = (grid * (float(step_s) * 25)).astype(int)
            assert model.tolist() == engine.tolist(), num_pictures
