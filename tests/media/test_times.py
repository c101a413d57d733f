"""Frames and sound stand at the times of what is decoded, whatever a container says of its length or its start."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from mer_r1.data.sample import Clip, Sample
from mer_r1.errors import InputError
from mer_r1.media import MediaBudget, decode_file, frame_times
from mer_r1.media.decode import GAPS
from mer_r1.media.validate import MediaRow, inspect_row
from tests.media.make_media import gray_frames, index_of, tone, write_media
from tests.media.remux import NOT_CODED, PACKED, chunks_of, remux, with_edits, write_chunks

FOUR = MediaBudget(num_frames=4, fps=None)
FRAME_S = 0.125


def indices(clip: Clip) -> list[int]:
    assert clip.frames_THWC is not None
    return [index_of(picture_HWC) for picture_HWC in clip.frames_THWC]


def beeps(seconds: float, rate: int) -> NDArray[np.float32]:
    """(1, N): 60 ms of a tone at every half second."""
    sound = tone(seconds, rate, hz=1000)
    sound[:, np.arange(sound.shape[1]) % (rate // 2) > 0.06 * rate] = 0.0
    return sound


def heard_at(clip: Clip) -> list[float]:
    """When the beeps of a clip begin, in seconds."""
    assert clip.waveform_N is not None
    found: list[float] = []
    for at in np.flatnonzero(np.abs(clip.waveform_N) > 0.25) / 16_000:
        if not found or at > found[-1] + 0.2:
            found.append(float(at))
    return found


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A clip of 1.5 s, 12 frames that are stored out of order, sound with beeps, by the suffix it is meant for."""
    folder = tmp_path_factory.mktemp("sources")

    def source(suffix: str) -> Path:
        suffix = {"mkv": "mp4"}.get(suffix, suffix)  # whose packets have decoding times, which a muxer asks for
        path = folder / f"source.{suffix}"
        if path.exists():
            return path
        codecs = {"webm": ("libvpx", "libopus", "s16"), "mpg": ("mpeg2video", "mp2", "s16")}
        video_codec, audio_codec, audio_format = codecs.get(suffix, ("libx264", "aac", "fltp"))
        repeats = 3 if suffix == "mpg" else 1  # which has no 8 frames a second
        return write_media(
            path,
            frames=[frame for frame in gray_frames(12) for _ in range(repeats)],
            fps=8 * repeats,
            sound=beeps(1.5, 48_000),
            rate=48_000,
            video_codec=video_codec,
            audio_codec=audio_codec,
            audio_format=audio_format,
        )

    return source


def test_the_source_has_reordered_frames(sources: Callable[[str], Path]) -> None:
    with av.open(sources("mp4")) as container:
        stamps = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
    assert stamps != sorted(stamps)


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
@pytest.mark.parametrize("late_s", [0.35, 2.0, 5.0])
def test_pictures_that_start_after_the_sound_wait_for_their_time(
    tmp_path: Path, sources: Callable[[str], Path], suffix: str, late_s: float
) -> None:
    path = remux(sources(suffix), tmp_path / f"late.{suffix}", video_s=late_s)
    clip = decode_file(path, FOUR)
    assert clip.facts.video_s == pytest.approx(late_s + 1.5, abs=0.03)
    shown = [max(0, int((t - late_s) / FRAME_S)) for t in frame_times(late_s + 1.5, FOUR)]
    assert indices(clip) == shown
    assert heard_at(clip) == pytest.approx([0.0, 0.5, 1.0], abs=0.06)


FRAGMENTS = {"movflags": "frag_keyframe+default_base_moof+delay_moov"}
LONG_AGO_S = 2.0**33 / 90_000


@pytest.mark.parametrize(
    ("suffix", "start_s", "options"),
    [
        ("mkv", 5.0, {}),
        ("mkv", 7200.0, {}),
        ("webm", 5.0, {}),
        ("mp4", 8.32, FRAGMENTS),
        ("mov", 8.32, FRAGMENTS),
        ("mp4", 0.4, FRAGMENTS),
        ("flv", 5.0, {}),
        ("ts", 5.0, {}),
        ("ts", 20_000.0, {}),
        ("ts", LONG_AGO_S - 0.7, {}),  # the 33 bits of a time are over in the middle
    ],
)
def test_a_piece_that_starts_later_than_zero_is_a_clip_of_its_own(
    tmp_path: Path, sources: Callable[[str], Path], suffix: str, start_s: float, options: dict[str, str]
) -> None:
    path = remux(sources(suffix), tmp_path / f"piece.{suffix}", video_s=start_s, sound_s=start_s, options=options)
    clip = decode_file(path, FOUR)
    assert clip.facts.video_s == pytest.approx(1.5, abs=0.03)
    assert indices(clip) == [1, 4, 7, 10]
    assert clip.facts.audio_s == pytest.approx(1.5, abs=0.08)
    assert heard_at(clip) == pytest.approx([0.0, 0.5, 1.0], abs=0.06)
    assert decode_file(path, FOUR, pictures="image").facts.frame_times_s == (0.0,)


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "webm", "ts"])
def test_a_gap_in_the_sound_is_silence_of_its_length(
    tmp_path: Path, sources: Callable[[str], Path], suffix: str
) -> None:
    path = remux(sources(suffix), tmp_path / f"muted.{suffix}", without_s=(0.4, 0.9))
    clip = decode_file(path, FOUR)
    assert indices(clip) == [1, 4, 7, 10]
    assert heard_at(clip) == pytest.approx([0.0, 1.0], abs=0.04)
    assert clip.waveform_N is not None
    assert np.abs(clip.waveform_N[8000:14_000]).max() < 1e-3
    assert clip.facts.audio_s == clip.facts.audio_taken_s == pytest.approx(1.5, abs=0.08)
    assert clip.facts.audio_gap_s == pytest.approx(0.5, abs=0.06)
    remarks = inspect_row(MediaRow(1, Sample("a", video=path)), FOUR).remarks
    assert GAPS in remarks


def test_a_gap_in_a_file_of_sound_alone_is_silence(tmp_path: Path) -> None:
    sound = np.roll(beeps(3.0, 48_000), 12_000)  # from 0.25 s on: an ogg tells times once a second, at its pages
    source = write_media(tmp_path / "a.ogg", sound=sound, rate=48_000, audio_codec="libopus", audio_format="s16")
    clip = decode_file(remux(source, tmp_path / "b.ogg", without_s=(1.01, 1.9)), FOUR, pictures="none")
    assert heard_at(clip) == pytest.approx([0.25, 0.75, 2.25, 2.75], abs=0.03)
    assert clip.facts.audio_s == pytest.approx(3.0, abs=0.03)


def test_sound_without_gaps_has_none(clip_mp4: Path) -> None:
    assert decode_file(clip_mp4, FOUR).facts.audio_gap_s == 0.0
    assert decode_file(clip_mp4, FOUR, sound=False).facts.audio_gap_s is None
    assert (
        "sound with gaps, which silence fills"
        not in inspect_row(MediaRow(1, Sample("a", video=clip_mp4)), FOUR).remarks
    )


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
@pytest.mark.parametrize("pace", [0.8, 0.97, 1.03])
def test_sound_whose_times_disagree_with_its_samples_does_not_drift(tmp_path: Path, suffix: str, pace: float) -> None:
    """Recorders that drop or repeat sound stamp their packets closer together, or further apart, than they last."""
    sound = tone(6.0, 48_000, hz=1000)
    sound[:, : 5 * 48_000] = 0.0
    source = write_media(tmp_path / "a.mp4", frames=gray_frames(12), sound=sound, rate=48_000)
    clip = decode_file(remux(source, tmp_path / f"b.{suffix}", pace=pace), FOUR)
    assert heard_at(clip)[0] == pytest.approx(5.0 * pace, abs=0.08)
    assert clip.facts.audio_s == pytest.approx(6.0 * pace, abs=0.1)


def test_a_gap_of_ages_is_no_longer_than_what_is_taken(tmp_path: Path) -> None:
    source = write_media(tmp_path / "a.mkv", sound=beeps(1.0, 48_000), rate=48_000)
    path = remux(source, tmp_path / "b.mkv", jump=(0.5, 1e9))
    clip = decode_file(path, MediaBudget(max_audio_s=2.0), pictures="none")
    assert clip.waveform_N is not None
    assert len(clip.waveform_N) == 32_000
    assert clip.facts.audio_s == pytest.approx(1e9, rel=0.01)


@pytest.mark.parametrize("suffix", ["ts", "mpg"])
@pytest.mark.parametrize(
    "starts_s", [(30.0, 0.0), (0.0, 30.0), (500.0, 0.0), (0.0, 500.0), (LONG_AGO_S - 20.0, 0.0), (500.0, 70.0)]
)
def test_recordings_that_were_joined_end_to_end_follow_each_other(
    tmp_path: Path, sources: Callable[[str], Path], suffix: str, starts_s: tuple[float, float]
) -> None:
    source = sources(suffix)
    pieces = [remux(source, tmp_path / f"{s}.{suffix}", video_s=s, sound_s=s).read_bytes() for s in starts_s]
    both = tmp_path / f"both.{suffix}"
    both.write_bytes(b"".join(pieces))
    clip = decode_file(both, MediaBudget(num_frames=8, fps=None))
    assert clip.facts.video_s == pytest.approx(3.0, abs=0.15)
    assert indices(clip) == [1, 4, 7, 10, 1, 4, 7, 10]
    assert heard_at(clip) == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0, 2.5], abs=0.12)
    assert decode_file(both, FOUR, pictures="none").facts.audio_s == pytest.approx(3.0, abs=0.15)


@pytest.mark.slow
def test_a_long_gap_in_the_sound_of_a_transport_stream_is_no_new_start(tmp_path: Path) -> None:
    source = write_media(
        tmp_path / "a.ts", frames=[*gray_frames(14)] * 9, sound=beeps(15.0, 48_000), rate=48_000, fps=8
    )
    path = remux(source, tmp_path / "b.ts", without_s=(2.4, 14.4))
    for pictures in ("video", "none"):
        clip = decode_file(path, FOUR, pictures=pictures)
        assert clip.facts.audio_gap_s == pytest.approx(12.0, abs=0.1)


@pytest.mark.parametrize("edits", [((2500, 0), (2500, 3500)), ((2000, 0), (2000, 0)), ((1500, 4000), (1500, 2000))])
def test_the_pieces_of_an_edit_list_follow_each_other(tmp_path: Path, edits: tuple[tuple[int, int], ...]) -> None:
    """The packets that a piece needs from before its start, and those behind its end, have decoding times too."""
    path = write_media(
        tmp_path / "a.mp4", frames=gray_frames(12) * 4, video_options={"g": "16", "bf": "2", "sc_threshold": "0"}
    )
    budget = MediaBudget(num_frames=20, fps=None)
    clip = decode_file(with_edits(path, *edits), budget)
    length_s = sum(lasts for lasts, _ in edits) / 1000
    assert clip.facts.video_s == pytest.approx(length_s, abs=0.01)
    right = []
    for t in frame_times(length_s, budget):
        (first_ms, first_start), (_, second_start) = edits
        played_s = t + first_start / 1000 if t < first_ms / 1000 else t - first_ms / 1000 + second_start / 1000
        right.append(int(played_s * 8) % 12)
    assert indices(clip) == right


@pytest.mark.slow
def test_slides_with_reordered_frames_keep_their_place_beside_the_sound(tmp_path: Path) -> None:
    frames = gray_frames(4)
    path = write_media(
        tmp_path / "a.ts",
        frames=frames,
        times_ms=[0, 6000, 12_000, 18_000],
        video_options={"bf": "2", "b_strategy": "0"},
        sound=beeps(19.0, 48_000),
        rate=48_000,
    )
    clip = decode_file(path, FOUR)
    assert clip.facts.video_s == pytest.approx(24.0, abs=0.1)
    assert indices(clip) == [0, 1, 2, 3]
    assert heard_at(clip)[:3] == pytest.approx([0.0, 0.5, 1.0], abs=0.06)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_a_variable_frame_rate_with_reordered_frames_keeps_its_length(tmp_path: Path, suffix: str) -> None:
    places = [k for k in range(200) if k % 40 < 8 or k % 7 == 0 or k > 196]
    frames = [gray_frames(12)[place * 12 // 200] for place in places]
    path = write_media(tmp_path / f"vfr.{suffix}", frames=frames, places=places, fps=25)
    budget = MediaBudget(num_frames=8, fps=None)
    clip = decode_file(path, budget)
    assert clip.facts.video_s == pytest.approx(8.0, abs=0.1)
    right = [
        max(place for place in places if place / 25 <= t) / 25 for t in frame_times(clip.facts.video_s or 0, budget)
    ]
    assert clip.facts.frame_times_s == pytest.approx(right, abs=0.001)


@pytest.mark.parametrize("suffix", ["mkv", "flv", "avi"])
def test_a_declared_length_alone_changes_nothing(tmp_path: Path, suffix: str) -> None:
    codec = "flv" if suffix == "flv" else "mpeg4"
    path = write_media(tmp_path / f"a.{suffix}", frames=gray_frames(12), video_codec=codec)
    data = bytearray(path.read_bytes())
    if suffix == "avi":
        struct.pack_into("<I", data, data.index(b"strh") + 8 + 32, 10**9)
    else:
        at = data.index(b"\x44\x89\x88") + 3 if suffix == "mkv" else data.index(b"duration") + 9
        assert struct.unpack_from(">d", data, at)[0] in (1.5, 1500.0)
        struct.pack_into(">d", data, at, 1e8)
        data = data.replace(b"00:00:01.5", b"99:00:01.5")
    path.write_bytes(bytes(data))
    clip = decode_file(path, FOUR)
    assert clip.facts.video_s == pytest.approx(1.5, abs=0.01)
    assert indices(clip) == [1, 4, 7, 10]


def test_a_fragment_behind_its_header_is_a_clip_of_its_own(tmp_path: Path) -> None:
    """As HLS and DASH send them: the boxes of the header, then those of a later piece."""
    source = write_media(
        tmp_path / "a.mp4",
        frames=gray_frames(12) * 2,
        sound=beeps(3.0, 48_000),
        rate=48_000,
        video_options={"g": "12", "keyint_min": "12", "sc_threshold": "0"},
    )
    path = remux(source, tmp_path / "b.mp4", options=FRAGMENTS)
    data = path.read_bytes()
    second = data.index(b"moof", data.index(b"moof") + 4) - 4
    path.write_bytes(data[: data.index(b"moof") - 4] + data[second:])
    clip = decode_file(path, FOUR)
    assert clip.facts.video_s is not None
    lead_s = clip.facts.video_s - 1.5  # its sound was cut a little before its first picture
    assert 0.1 < lead_s < 0.3
    assert indices(clip) == [max(0, int((t - lead_s) / FRAME_S)) for t in frame_times(clip.facts.video_s, FOUR)]
    assert heard_at(clip) == pytest.approx([lead_s, lead_s + 0.5, lead_s + 1.0], abs=0.06)


def test_a_fragmented_mp4_cut_short_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (96, 96, 3), dtype=np.uint8) for _ in range(24)]
    path = write_media(tmp_path / "a.mp4", frames=frames, options=FRAGMENTS)
    assert decode_file(path, FOUR).facts.video_s == pytest.approx(3.0, abs=0.01)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"cannot be decoded after|pictures end at"):
        decode_file(path, FOUR)


def test_the_length_of_a_vbr_mp3_without_a_header_is_that_of_all_of_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sound = rng.uniform(-0.5, 0.5, (1, 16_000 * 12)).astype(np.float32)
    sound[:, 16_000 * 6 :] *= 1e-4  # half of it needs many bits, half of it few
    path = write_media(tmp_path / "a.mp3", sound=sound, audio_codec="libmp3lame", options={"write_xing": "0"},
                       audio_options={"flags": "+qscale", "global_quality": "236"})  # fmt: skip
    facts = decode_file(path, MediaBudget(max_audio_s=2.0), pictures="none").facts
    assert facts.audio_s == pytest.approx(12.0, abs=0.15)
    assert facts.audio_taken_s == 2.0


# --- avi, which stores places and no times -------------------------------------------------------------------------


def test_reordered_frames_of_an_avi_stand_at_their_own_time(tmp_path: Path) -> None:
    for name, codec, options in (("a.avi", "mpeg4", {"bf": "2"}), ("b.avi", "libx264", {"bf": "3"})):
        path = write_media(tmp_path / name, frames=gray_frames(12), video_codec=codec, video_options=options)
        clip = decode_file(path, MediaBudget(num_frames=12, fps=None))
        assert indices(clip) == list(range(12))
        assert clip.facts.frame_times_s == pytest.approx([k * FRAME_S for k in range(12)])


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
@pytest.mark.parametrize("num_b", [0, 1, 2])
@pytest.mark.parametrize("places", [[0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 16], list(range(0, 48, 4))])
def test_a_place_without_a_picture_holds_its_time(tmp_path: Path, codec: str, num_b: int, places: list[int]) -> None:
    """Recorders leave out what does not change: an empty chunk stands for the frame before it."""
    path = write_media(
        tmp_path / "a.avi",
        frames=gray_frames(12),
        places=places,
        video_codec=codec,
        video_options={"bf": str(num_b)},
    )
    seconds, budget = (places[-1] + 1) * FRAME_S, MediaBudget(num_frames=2 * (places[-1] + 1), fps=None)
    clip = decode_file(path, budget)
    assert clip.facts.video_s == pytest.approx(seconds)
    right = [max(k for k in range(12) if places[k] <= t / FRAME_S) for t in frame_times(seconds, budget)]
    assert indices(clip) == right


def test_pictures_that_are_not_coded_hold_their_time(tmp_path: Path) -> None:
    source = write_media(tmp_path / "a.avi", frames=gray_frames(12), video_codec="mpeg4")
    coded = chunks_of(source)
    path = write_chunks(tmp_path / "b.avi", source, [*coded[:4], NOT_CODED, NOT_CODED, *coded[4:], NOT_CODED])
    clip = decode_file(path, MediaBudget(num_frames=30, fps=None))
    assert indices(clip) == [k for k in (0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 8, 9, 10, 11, 11) for _ in range(2)]


def test_pictures_that_are_packed_two_in_a_chunk_stand_at_their_own_time(tmp_path: Path) -> None:
    """A chunk holds a picture and the one shown before it; an empty picture in the next chunk keeps the count."""
    source = write_media(tmp_path / "a.avi", frames=gray_frames(13), video_codec="mpeg4", video_options={"bf": "1"})
    first, *rest = chunks_of(source)
    assert len(rest) == 12
    packed = [first.replace(b"\0\0\1\xb6", PACKED + b"\0\0\1\xb6", 1)]
    for ahead, shown in zip(rest[::2], rest[1::2], strict=True):
        packed += [ahead + shown, NOT_CODED]
    clip = decode_file(write_chunks(tmp_path / "b.avi", source, packed), MediaBudget(num_frames=26, fps=None))
    assert indices(clip) == [k for k in range(13) for _ in range(2)]


@pytest.mark.parametrize("codec", ["mpeg4", "flv", "wmv2"])
def test_pictures_that_stand_on_what_came_before_the_file_are_not_shown(tmp_path: Path, codec: str) -> None:
    frames, options = gray_frames(12), {"g": "6", "sc_threshold": "1000000000"}
    source = write_media(tmp_path / "a.avi", frames=frames, video_codec=codec, video_options=options)
    clip = decode_file(
        write_chunks(tmp_path / "b.avi", source, chunks_of(source)[2:]), MediaBudget(num_frames=10, fps=None)
    )
    assert indices(clip) == [6, 6, 6, 6, 6, 7, 8, 9, 10, 11]
    with pytest.raises(InputError, match="no picture that can be decoded"):
        decode_file(write_chunks(tmp_path / "c.avi", source, chunks_of(source)[2:6]), FOUR)
