"""Which of several tracks is taken, and what is said of a track that cannot be decoded."""

from pathlib import Path

import pytest

from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from mer_r1.media import MediaBudget, decode_file, read_clip
from mer_r1.media.validate import MediaRow, inspect_row
from tests.media.make_media import peak_hz, tone, with_unknown_codec, write_media, write_tracks

AAC = (b"mp4a", b"esds")  # the codec of an mp4's sound is named twice
FOUR = MediaBudget(num_frames=4, fps=None)
SOUND_PASSED_OVER = "files whose main audio track cannot be decoded (another track is taken)"
VIDEO_PASSED_OVER = "files whose main video track cannot be decoded (another track is taken)"


@pytest.mark.parametrize("default", [0, 1])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_of_two_tracks_the_preferred_one_is_taken(tmp_path: Path, suffix: str, default: int) -> None:
    clip = decode_file(write_tracks(tmp_path / f"a.{suffix}", (440, 880), default=default), FOUR)
    assert clip.waveform_N is not None
    assert peak_hz(clip.waveform_N) == pytest.approx((440, 880)[default], abs=2)
    assert clip.facts.size == ((96, 96), (64, 64))[default]
    assert clip.facts.notices == ()


@pytest.mark.parametrize("unknown", [0, 1])
@pytest.mark.parametrize(("suffix", "codec"), [("mp4", AAC), ("mkv", (b"A_AAC",))])
def test_a_sound_track_that_cannot_be_decoded_gives_way_to_one_that_can(
    tmp_path: Path, suffix: str, codec: tuple[bytes, ...], unknown: int
) -> None:
    path = write_tracks(tmp_path / f"a.{suffix}", (440, 880), default=unknown)
    clip = read_clip(Sample("a", video=with_unknown_codec(path, codec, (unknown,))), FOUR)
    assert clip.waveform_N is not None
    assert peak_hz(clip.waveform_N) == pytest.approx((880, 440)[unknown], abs=2)
    assert clip.facts.notices == (SOUND_PASSED_OVER,)
    assert SOUND_PASSED_OVER in inspect_row(MediaRow(1, Sample("a", video=path)), FOUR).remarks
    assert decode_file(path, FOUR, pictures="none").facts.notices == (SOUND_PASSED_OVER,)


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", (b"avc1", b"avcC")), ("mkv", (b"V_MPEG4/ISO/AVC",))])
def test_pictures_that_cannot_be_decoded_give_way_too(tmp_path: Path, suffix: str, codec: tuple[bytes, ...]) -> None:
    path = write_tracks(tmp_path / f"a.{suffix}", (440, 880), default=0)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"isomiso2avc1mp41", b"isomiso2iso2mp41"))  # the brands name the codec too
    clip = decode_file(with_unknown_codec(path, codec, (0,)), FOUR)
    assert clip.facts.size == (64, 64)
    assert clip.facts.notices == (VIDEO_PASSED_OVER,)


def test_of_those_that_can_be_decoded_one_for_all_listeners_is_taken(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.mkv", (440, 880, 1320), default=0, described=1)
    clip = decode_file(with_unknown_codec(path, (b"A_AAC",), (0,)), FOUR)
    assert clip.waveform_N is not None
    assert peak_hz(clip.waveform_N) == pytest.approx(1320, abs=2)


def test_an_unknown_track_beside_the_preferred_one_is_no_news(tmp_path: Path) -> None:
    path = with_unknown_codec(write_tracks(tmp_path / "a.mp4", (440, 880), default=0), AAC, (1,))
    assert decode_file(path, FOUR).facts.notices == ()


def test_where_no_track_can_be_decoded_the_file_is_refused(tmp_path: Path) -> None:
    two = with_unknown_codec(write_tracks(tmp_path / "two.mp4", (440, 880), default=0), AAC, (0, 1))
    one = with_unknown_codec(write_media(tmp_path / "one.mp4", sound=tone(1.5, 16_000)), AAC, (0,))
    with pytest.raises(
        InputError, match=r"two.mp4: all its 2 audio tracks are in codecs that cannot be decoded here; co"
    ):
        decode_file(two, FOUR)
    with pytest.raises(
        InputError, match=r"one.mp4: its audio is in a codec that cannot be decoded here; convert it to"
    ):
        decode_file(one, FOUR, pictures="none")
    assert decode_file(two, FOUR, sound=False).facts.size == (96, 96)
