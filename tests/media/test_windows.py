"""Windows of a long clip: each is what decoding a file cut there gives, decoded once and in bounded memory."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mer_r1.data.sample import Clip
from mer_r1.errors import InputError
from mer_r1.media import MediaBudget, decode_file
from mer_r1.media.windows import Window, read_windows, windows_of
from tests.media.make_media import gray_frames, index_of, tone, write_media

BUDGET = MediaBudget(num_frames=4, fps=2.0)
LOSSLESS: dict[str, Any] = {"video_codec": "ffv1", "pix_fmt": "bgr0", "audio_codec": "pcm_s16le", "audio_format": "s16"}
FPS, HZ = 8, 16_000


def film(path: Path, start_s: float, end_s: float, *, sound_end_s: float | None = None, fps: int = FPS) -> Path:
    """The seconds from `start_s` on of one long film: gray levels that go round, a tone that rises."""
    levels = gray_frames(14)
    frames = [levels[k % 14] for k in range(round(start_s * fps), round(end_s * fps))]
    at_s = np.arange(round(start_s * HZ), round((end_s if sound_end_s is None else sound_end_s) * HZ)) / HZ
    sound = (0.5 * np.sin(2 * np.pi * (200 + 20 * at_s) * at_s)).astype(np.float32)[None]
    return write_media(path, frames=frames, sound=sound, fps=fps, **LOSSLESS)


def same(one: Clip, other: Clip) -> bool:
    media = zip((one.frames_THWC, one.waveform_N), (other.frames_THWC, other.waveform_N), strict=True)
    equal = [a is b or (a is not None and b is not None and np.array_equal(a, b)) for a, b in media]
    return all(equal) and one.facts == other.facts


@settings(max_examples=50, deadline=None)
@given(length_s=st.floats(0.01, 500.0), window_s=st.floats(0.5, 60.0), hop=st.floats(0.05, 1.0))
def test_windows_begin_at_every_hop_and_cover_the_whole_clip(length_s: float, window_s: float, hop: float) -> None:
    found = windows_of(length_s, window_s, hop * window_s)
    assert found[0].start_s == 0
    assert found[-1].end_s == length_s
    assert all(end_s - start_s <= 1.1 * window_s + 1e-9 for start_s, end_s in found)
    for before, after in pairwise(found):
        assert after.start_s - before.start_s == pytest.approx(hop * window_s)
        assert after.start_s <= before.end_s + 1e-9 < length_s + 1e-9


def test_a_rest_that_is_hardly_anything_goes_with_the_window_before_it() -> None:
    assert windows_of(10.4, 5, 5) == (Window(0, 5), Window(5, 10.4))
    assert windows_of(10.6, 5, 5) == (Window(0, 5), Window(5, 10), Window(10, 10.6))
    assert windows_of(10, 5, 2.5) == (Window(0, 5), Window(2.5, 7.5), Window(5, 10))


@pytest.mark.parametrize(
    ("window_s", "hop_s", "message"),
    [
        (0, 1, "--window 0"),
        (float("nan"), 1, "--window nan"),
        (5, 0, "--hop 0"),
        (5, -1, "--hop -1"),
        (5, 6, "--hop 6"),
    ],
)
def test_lengths_that_cannot_be_are_named(window_s: float, hop_s: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        windows_of(10, window_s, hop_s)


def test_more_windows_than_anyone_reads_are_refused() -> None:
    with pytest.raises(InputError, match="--hop 1: cuts 1000000 s into over 20000 windows"):
        windows_of(1e6, 2, 1)


@pytest.mark.parametrize(("window_s", "hop_s"), [(2.0, 2.0), (2.0, 0.5), (1.5, 1.0), (0.5, 0.25)])
def test_a_window_is_what_a_file_that_was_cut_there_gives(tmp_path: Path, window_s: float, hop_s: float) -> None:
    whole = film(tmp_path / "whole.mkv", 0, 7)
    for window, clip in read_windows(whole, BUDGET, window_s, hop_s):
        cut = decode_file(film(tmp_path / f"{window.start_s}.mkv", *window), BUDGET)
        assert same(clip, cut), window


def test_a_frame_that_begins_when_one_is_wanted_is_taken_though_seconds_add_up_inexactly(tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.mkv", 0, 5.2, fps=20)  # frames are wanted 0.25 and 0.75 s behind each start
    for window, clip in read_windows(whole, BUDGET, 1.0, 0.7):
        cut = decode_file(film(tmp_path / f"{window.start_s}.mkv", *window, fps=20), BUDGET)
        assert np.array_equal(clip.frames_THWC, cut.frames_THWC), window  # type: ignore[arg-type]


def test_a_clip_that_is_one_window_is_decoded_as_it_always_is(tmp_path: Path) -> None:
    for path in (film(tmp_path / "a.mkv", 0, 3), write_media(tmp_path / "b.mp4", frames=gray_frames(12))):
        ((_, clip),) = read_windows(path, BUDGET, 60, 60)
        assert same(clip, decode_file(path, BUDGET))


def test_sound_is_taken_under_the_budget_from_each_window_s_start(tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.mkv", 0, 6)
    brief = replace(BUDGET, max_audio_s=0.5)
    for window, clip in read_windows(whole, brief, 2, 2):
        assert (clip.facts.audio_s, clip.facts.audio_taken_s) == (2.0, 0.5)
        cut = decode_file(film(tmp_path / f"{window.start_s}.mkv", *window), brief)
        assert np.array_equal(clip.waveform_N, cut.waveform_N)  # type: ignore[arg-type]


def test_where_pictures_or_sound_end_first_the_windows_behind_have_the_other_alone(tmp_path: Path) -> None:
    longer_sound = [clip for _, clip in read_windows(film(tmp_path / "a.mkv", 0, 3, sound_end_s=6), BUDGET, 2, 2)]
    assert [clip.facts.video_s for clip in longer_sound] == [2.0, 1.0, None]
    assert [clip.facts.audio_s for clip in longer_sound] == [2.0, 2.0, 2.0]
    longer_pictures = [clip for _, clip in read_windows(film(tmp_path / "b.mkv", 0, 6, sound_end_s=3), BUDGET, 2, 2)]
    assert [clip.facts.video_s for clip in longer_pictures] == [2.0, 2.0, 2.0]
    assert [clip.facts.audio_s for clip in longer_pictures] == [2.0, 1.0, None]


def test_a_frame_goes_on_being_shown_in_the_windows_behind_it(tmp_path: Path) -> None:
    times_ms = (0, 500, 3900, 4000)
    path = write_media(tmp_path / "slides.mkv", frames=gray_frames(4), times_ms=times_ms)
    shown = [
        [index_of(picture_HWC) for picture_HWC in clip.frames_THWC]
        for _, clip in read_windows(path, replace(BUDGET, num_frames=2), 1, 1)
        if clip.frames_THWC is not None
    ]
    assert shown == [[0, 1], [1, 1], [1, 1], [1, 1]]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["mp4", "webm", "avi", "ts"])
def test_any_container_is_cut_at_its_own_times(tmp_path: Path, suffix: str) -> None:
    codecs: dict[str, Any] = {"webm": {"video_codec": "libvpx", "audio_codec": "libopus", "audio_format": "s16"}}.get(
        suffix, {}
    )
    frames = [picture for picture in gray_frames(6) for _ in range(25)]
    path = write_media(tmp_path / f"a.{suffix}", frames=frames, fps=25, sound=tone(6, 48_000), rate=48_000, **codecs)
    found = [*read_windows(path, replace(BUDGET, num_frames=2), 1, 1)]
    middles = [index_of(clip.frames_THWC[0]) for _, clip in found if clip.frames_THWC is not None]
    assert middles[:6] == [0, 1, 2, 3, 4, 5]
    assert all(clip.facts.audio_taken_s == pytest.approx(1, abs=0.01) for _, clip in found[:5])


def test_sound_alone_has_windows_too(tmp_path: Path) -> None:
    path = write_media(tmp_path / "voice.wav", sound=tone(5, HZ), audio_codec="pcm_s16le", audio_format="s16")
    found = [*read_windows(path, BUDGET, 2, 2)]
    assert [(window.start_s, clip.facts.audio_s, clip.frames_THWC) for window, clip in found] == [
        (0, 2.0, None),
        (2, 2.0, None),
        (4, 1.0, None),
    ]


def test_a_picture_has_no_windows_and_a_wrong_file_is_named(tmp_path: Path) -> None:
    from tests.media.make_media import write_image

    picture = write_image(tmp_path / "a.png", gray_frames(1)[0])
    with pytest.raises(InputError, match=r"a\.png: is a picture"):
        next(read_windows(picture, BUDGET, 2, 2))
    with pytest.raises(InputError, match="lost: no such file"):
        next(read_windows(tmp_path / "lost", BUDGET, 2, 2))


def test_of_a_file_that_is_cut_short_the_windows_before_are_given(tmp_path: Path) -> None:
    frames = [gray_frames(14)[k % 14] for k in range(8 * FPS)]
    options = {"bf": "0", "g": "8"}
    path = write_media(tmp_path / "whole.mkv", frames=frames, fps=FPS, sound=tone(8, HZ), video_options=options)
    whole = path.read_bytes()
    (tmp_path / "short.mkv").write_bytes(whole[: len(whole) // 2])
    windows = read_windows(tmp_path / "short.mkv", BUDGET, 1, 1)
    assert [next(windows).window.start_s for _ in range(3)] == [0, 1, 2]
    with pytest.raises(InputError, match=r"short\.mkv: its (pictures end|sound ends) at"):
        list(windows)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_a_clip(tmp_path: Path) -> None:
    frames = [gray_frames(14, 64, 48)[k % 14] for k in range(200)]
    path = write_media(tmp_path / "long.mkv", frames=frames, fps=1, sound=tone(200, 8000), rate=8000)
    tracemalloc.start()
    try:
        num = sum(1 for _ in read_windows(path, BUDGET, 5, 2.5))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert num == 79
    assert peak < 4_000_000, "its sound alone is 13 MB"
