"""Which frame is shown when, in every container; facts; what each field of a sample gives."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from mer_r1.data.sample import Clip, MediaFacts, Sample
from mer_r1.errors import InputError
from mer_r1.media import MediaBudget, decode_file, frame_times, read_clip
from mer_r1.media.pictures import Picture, PictureTaker
from tests.media.make_media import (
    gray_frames,
    index_of,
    peak_hz,
    tone,
    with_edit_list,
    write_image,
    write_media,
    write_mp3_with_cover,
)

FOUR = MediaBudget(num_frames=4, fps=None)


def indices(clip: Clip) -> list[int]:
    assert clip.frames_THWC is not None
    return [index_of(picture_HWC) for picture_HWC in clip.frames_THWC]


OPUS = {"audio_codec": "libopus", "audio_format": "s16", "rate": 48_000, "sound": tone(1.5, 48_000)}
CONTAINERS: dict[str, dict[str, Any]] = {
    "clip.mp4": {},
    "clip.mov": {},
    "clip.mkv": {},
    "hevc.mp4": {"video_codec": "libx265", "video_options": {"x265-params": "log-level=none"}},
    "clip.webm": {"video_codec": "libvpx-vp9", **OPUS},
    "live.webm": {"video_codec": "libvpx", "options": {"live": "1"}, **OPUS},
    "clip.avi": {"audio_codec": "pcm_s16le", "audio_format": "s16"},
    "clip.ts": {},
    "clip.flv": {"video_codec": "flv"},
    "mpeg4.mp4": {"video_codec": "mpeg4"},
    "ten_bit.mkv": {"pix_fmt": "yuv420p10le"},
    "gray.mkv": {"video_codec": "ffv1", "pix_fmt": "gray"},
    "full_chroma.mkv": {"pix_fmt": "yuv444p"},
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_the_frames_at_the_wanted_times_and_the_sound_come_out_of_every_container(tmp_path: Path, name: str) -> None:
    how = {"sound": tone(1.5, 16_000), **CONTAINERS[name]}
    clip = read_clip(Sample("a", video=write_media(tmp_path / name, frames=gray_frames(12), **how)), FOUR)
    assert indices(clip) == [1, 4, 7, 10]  # of 12 at 8 a second, at 0.1875, 0.5625, 0.9375, 1.3125 s
    assert clip.facts.frame_times_s == pytest.approx((0.125, 0.5, 0.875, 1.25), abs=0.002)
    assert clip.facts.video_s == pytest.approx(1.5, abs=0.01)
    assert clip.waveform_N is not None
    assert clip.waveform_N.dtype == np.float32
    assert peak_hz(clip.waveform_N) == pytest.approx(440, abs=2)
    assert len(clip.waveform_N) / 16_000 == pytest.approx(1.5, abs=0.11)


def test_a_gif_is_a_video_without_sound(tmp_path: Path) -> None:
    frames = [picture[..., 0] for picture in gray_frames(12)]
    path = write_media(tmp_path / "a.gif", frames=frames, pixels="gray", video_codec="gif", pix_fmt="gray")
    clip = read_clip(Sample("a", video=path), FOUR)
    assert indices(clip) == [1, 4, 7, 10]
    assert clip.waveform_N is None
    assert clip.facts.audio_s is None


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_variable_frame_rate_takes_what_is_shown_at_each_time(tmp_path: Path, suffix: str) -> None:
    times_ms = [0, 100, 150, 1000, 1900]
    path = write_media(tmp_path / f"vfr.{suffix}", frames=gray_frames(5), times_ms=times_ms)
    budget = MediaBudget(num_frames=16, fps=None)
    clip = read_clip(Sample("a", video=path), budget)
    assert clip.facts.video_s == pytest.approx(1.92, abs=0.04)
    wanted = frame_times(clip.facts.video_s or 0.0, budget)
    assert indices(clip) == [max(k for k in range(5) if times_ms[k] <= 1000 * t) for t in wanted]


def test_every_frame_can_be_taken(clip_mp4: Path) -> None:
    clip = decode_file(clip_mp4, MediaBudget(num_frames=12, fps=None))
    assert indices(clip) == list(range(12))


def test_a_frame_is_shown_from_its_own_time_on(clip_mp4: Path) -> None:
    assert indices(decode_file(clip_mp4, MediaBudget(num_frames=6, fps=None))) == [1, 3, 5, 7, 9, 11]


def test_max_video_s_takes_frames_from_the_start_alone(clip_mp4: Path) -> None:
    clip = decode_file(clip_mp4, MediaBudget(num_frames=4, fps=None, max_video_s=0.5))
    assert indices(clip) == [0, 1, 2, 3]
    assert clip.facts.video_s == pytest.approx(1.5)


def test_a_clip_of_one_frame_is_one_multiple_of_it(tmp_path: Path) -> None:
    clip = decode_file(
        write_media(tmp_path / "one.mp4", frames=gray_frames(4)[3:]), MediaBudget(num_frames=8, fps=None)
    )
    assert indices(clip) == [3, 3]
    assert clip.facts.frame_times_s == (0.0, 0.0)


def test_more_frames_than_the_video_has_repeats_them_in_place(tmp_path: Path) -> None:
    clip = decode_file(write_media(tmp_path / "two.mp4", frames=gray_frames(2)), FOUR)
    assert indices(clip) == [0, 0, 1, 1]


def test_an_mp4_trimmed_by_its_edit_list_shows_what_is_left(tmp_path: Path) -> None:
    path = with_edit_list(write_media(tmp_path / "trim.mp4", frames=gray_frames(12)), skip_s=0.625, seconds=0.875)
    clip = decode_file(path, FOUR)
    assert clip.facts.video_s == 0.875
    assert indices(clip) == [5, 7, 9, 11]


def test_times_that_run_backwards_are_held(clip_mp4: Path) -> None:
    with av.open(clip_mp4) as container:
        frames = list(container.decode(video=0))
    taker = PictureTaker(clip_mp4, (0.1, 0.4, 0.6, 0.7), FOUR)
    for frame, time_s in zip(frames, (0.0, 0.5, 0.3, 0.65, 0.9), strict=False):
        taker.feed(frame, time_s)
    assert taker.shown_s == [0.0, 0.0, 0.5, 0.65]
    assert [index_of(picture_HWC) for picture_HWC in taker.pictures] == [0, 0, 2, 3]


def test_cover_art_is_no_picture(tmp_path: Path) -> None:
    path = write_mp3_with_cover(tmp_path / "song.mp3", tone(0.5, 16_000))
    with pytest.raises(InputError, match="holds sound and no pictures"):
        decode_file(path, FOUR)
    assert decode_file(path, FOUR, pictures="none").waveform_N is not None


def test_sound_that_starts_late_is_led_by_silence(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mkv", frames=gray_frames(12), sound=tone(0.8, 16_000), sound_from_ms=700)
    clip = decode_file(path, FOUR)
    assert clip.waveform_N is not None
    assert np.abs(clip.waveform_N[:10_000]).max() == 0
    assert np.abs(clip.waveform_N[12_000:20_000]).max() > 0.4
    assert indices(clip) == [1, 4, 7, 10]


def test_facts_say_what_was_taken(clip_mp4: Path) -> None:
    facts = read_clip(Sample("a", video=clip_mp4), MediaBudget(num_frames=2, fps=None, max_audio_s=1.0)).facts
    assert facts.frame_times_s == (0.375, 1.125)
    assert (facts.size, facts.taken_size) == ((96, 96), (84, 84))
    assert facts.video_s == 1.5
    assert facts.audio_taken_s == 1.0
    assert facts.audio_s == pytest.approx(1.55, abs=0.06)
    assert facts.decoder == f"PyAV {av.__version__}, h264 + aac"


def test_frames_and_waveform_have_the_promised_form(clip_mp4: Path) -> None:
    clip = decode_file(clip_mp4, FOUR)
    assert clip.frames_THWC is not None
    assert clip.waveform_N is not None
    assert clip.frames_THWC.shape == (4, 84, 84, 3)
    assert clip.frames_THWC.dtype == np.uint8
    assert clip.frames_THWC.flags.c_contiguous
    assert clip.waveform_N.ndim == 1
    assert np.abs(clip.waveform_N).max() <= 1.0


def test_reading_twice_gives_the_same_bytes(clip_mp4: Path) -> None:
    one, two = (decode_file(clip_mp4, FOUR) for _ in range(2))
    np.testing.assert_array_equal(one.frames_THWC, two.frames_THWC)
    np.testing.assert_array_equal(one.waveform_N, two.waveform_N)
    assert one.facts == two.facts


def test_a_sound_file_of_its_own_replaces_the_videos_track(clip_mp4: Path, tmp_path: Path) -> None:
    voice = write_media(
        tmp_path / "v.wav", sound=tone(0.5, 16_000, hz=1000), audio_codec="pcm_s16le", audio_format="s16"
    )
    clip = read_clip(Sample("a", video=clip_mp4, audio=voice), FOUR)
    assert clip.waveform_N is not None
    assert peak_hz(clip.waveform_N) == pytest.approx(1000, abs=3)
    assert indices(clip) == [1, 4, 7, 10]
    assert (clip.facts.audio_s, clip.facts.video_s) == (0.5, 1.5)
    assert clip.facts.decoder == f"PyAV {av.__version__}, h264 + pcm_s16le"


def test_a_video_named_as_audio_gives_its_sound(clip_mp4: Path) -> None:
    clip = read_clip(Sample("a", audio=clip_mp4), FOUR)
    assert clip.frames_THWC is None
    assert clip.waveform_N is not None
    assert clip.facts.size is None


def test_a_sound_file_named_as_video_is_told_where_it_belongs(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.m4a", sound=tone(0.5, 16_000))
    with pytest.raises(InputError, match=r"a\.m4a: holds sound and no pictures; name it as 'audio'"):
        read_clip(Sample("a", video=path), FOUR)


def test_a_silent_video_named_as_audio_is_refused_and_as_video_is_normal(tmp_path: Path) -> None:
    path = write_media(tmp_path / "mute.mp4", frames=gray_frames(3))
    with pytest.raises(InputError, match=r"mute\.mp4: holds no sound"):
        read_clip(Sample("a", audio=path), FOUR)
    assert read_clip(Sample("a", video=path), FOUR).waveform_N is None


def test_an_image_gives_one_frame_and_keeps_the_voice(tmp_path: Path, clip_mp4: Path) -> None:
    image = write_image(tmp_path / "face.png", np.full((70, 90, 3), 80, np.uint8))
    clip = read_clip(Sample("a", image=image, audio=clip_mp4), FOUR)
    assert clip.frames_THWC is not None
    assert clip.frames_THWC.shape == (1, 84, 84, 3)
    assert (clip.frames_THWC == 80).all()
    assert clip.facts.video_s is None
    assert clip.facts.frame_times_s == (0.0,)
    assert clip.waveform_N is not None


def test_a_still_named_as_video_is_one_frame_and_a_video_named_as_image_its_first(
    tmp_path: Path, clip_mp4: Path
) -> None:
    still = write_image(tmp_path / "face.jpg", np.full((56, 56, 3), 80, np.uint8))
    assert read_clip(Sample("a", video=still), FOUR).frames_THWC.shape == (1, 56, 56, 3)  # type: ignore[union-attr]
    assert indices(read_clip(Sample("a", image=clip_mp4), FOUR)) == [0]


def test_a_subtitle_alone_is_an_empty_clip() -> None:
    assert read_clip(Sample("a", subtitle="hello"), FOUR) == Clip(None, None, MediaFacts())


def test_video_and_image_together_are_refused(clip_mp4: Path) -> None:
    with pytest.raises(InputError, match="sample s7: has both"):
        read_clip(Sample("s7", video=clip_mp4, image=clip_mp4), FOUR)


def test_only_wanted_frames_are_converted_and_none_is_decoded_behind_the_last(
    clip_mp4: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed, converted = [], []
    feed, convert = PictureTaker.feed, PictureTaker._picture

    def counted_feed(self: PictureTaker, frame: av.VideoFrame, time_s: float, **flags: bool) -> None:
        fed.append(time_s)
        feed(self, frame, time_s, **flags)

    def counted_convert(self: PictureTaker, frame: av.VideoFrame) -> Picture:
        converted.append(frame)
        return convert(self, frame)

    monkeypatch.setattr(PictureTaker, "feed", counted_feed)
    monkeypatch.setattr(PictureTaker, "_picture", counted_convert)
    assert indices(read_clip(Sample("a", video=clip_mp4), FOUR)) == [1, 4, 7, 10]
    assert (len(fed), len(converted)) == (12, 4)
    fed.clear()
    assert indices(read_clip(Sample("a", video=clip_mp4), MediaBudget(num_frames=2, fps=None, max_video_s=0.5))) == [
        1,
        3,
    ]
    assert len(fed) == 5  # the one behind the last wanted frame shows how long that one lasts
