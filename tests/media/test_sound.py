"""Any layout, rate and format becomes one 16 kHz mono waveform."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mer_r1.errors import InputError
from mer_r1.media import MediaBudget, decode_file
from tests.media.make_media import gray_frames, peak_hz, tone, write_media

CHANNELS = {"mono": 1, "stereo": 2, "5.1": 6}
PLAIN = MediaBudget()


def heard(path: Path, budget: MediaBudget = PLAIN) -> NDArray[np.float32]:
    clip = decode_file(path, budget, pictures="none")
    assert clip.waveform_N is not None
    return clip.waveform_N


@pytest.mark.parametrize("layout", CHANNELS)
@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_a_tone_keeps_pitch_loudness_and_length_at_any_rate_and_layout(tmp_path: Path, layout: str, rate: int) -> None:
    sound = tone(1.0, rate, channels=CHANNELS[layout])
    path = write_media(
        tmp_path / "a.wav", sound=sound, audio_codec="pcm_s16le", audio_format="s16", rate=rate, layout=layout
    )
    waveform_N = heard(path)
    assert len(waveform_N) == pytest.approx(16_000, abs=2)
    assert peak_hz(waveform_N) == pytest.approx(440, abs=1.5)
    assert np.abs(waveform_N[1000:-1000]).max() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("name", "codec", "audio_format", "rate"),
    [
        ("a.wav", "pcm_f32le", "flt", 44_100),
        ("a.wav", "pcm_u8", "u8", 16_000),
        ("a.wav", "pcm_s24le", "s32", 48_000),
        ("a.mp3", "libmp3lame", "fltp", 44_100),
        ("a.flac", "flac", "s16", 48_000),
        ("a.m4a", "aac", "fltp", 48_000),
        ("a.aac", "aac", "fltp", 44_100),
        ("a.ogg", "libopus", "s16", 48_000),
        ("a.aiff", "pcm_s16be", "s16", 16_000),
    ],
)
def test_every_sound_format_keeps_the_tone(tmp_path: Path, name: str, codec: str, audio_format: str, rate: int) -> None:
    path = write_media(tmp_path / name, sound=tone(1.0, rate), audio_codec=codec, audio_format=audio_format, rate=rate)
    clip = decode_file(path, PLAIN, pictures="none")
    assert clip.waveform_N is not None
    assert peak_hz(clip.waveform_N) == pytest.approx(440, abs=2)
    assert len(clip.waveform_N) == pytest.approx(16_000, abs=2100)  # a codec's own padding
    assert clip.facts.audio_s == clip.facts.audio_taken_s == len(clip.waveform_N) / 16_000


def test_stereo_is_the_mean_of_its_channels(tmp_path: Path) -> None:
    sound = np.concatenate([tone(1.0, 16_000), np.zeros((1, 16_000), np.float32)])
    path = write_media(tmp_path / "a.wav", sound=sound, audio_codec="pcm_s16le", audio_format="s16", layout="stereo")
    np.testing.assert_allclose(heard(path), sound.mean(0), atol=1e-3)


def test_mono_at_the_wanted_rate_passes_unchanged(tmp_path: Path) -> None:
    sound = tone(0.5, 16_000)
    path = write_media(tmp_path / "a.wav", sound=sound, audio_codec="pcm_f32le", audio_format="flt")
    np.testing.assert_allclose(heard(path), sound[0], atol=1e-6)


def test_sound_beyond_full_scale_is_held_at_one(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.wav", sound=tone(0.5, 16_000) * 6, audio_codec="pcm_f32le", audio_format="flt")
    assert np.abs(heard(path)).max() == 1.0


def test_sound_is_cut_at_max_audio_s_and_the_facts_keep_its_length(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.wav", sound=tone(3.0, 16_000), audio_codec="pcm_s16le", audio_format="s16")
    clip = decode_file(path, MediaBudget(max_audio_s=1.25), pictures="none")
    assert clip.waveform_N is not None
    assert len(clip.waveform_N) == 20_000
    assert (clip.facts.audio_s, clip.facts.audio_taken_s) == (3.0, 1.25)


def test_a_sound_track_without_a_sample_is_refused_as_audio_and_normal_in_a_video(tmp_path: Path) -> None:
    empty = np.zeros((1, 0), np.float32)
    path = write_media(tmp_path / "a.avi", frames=gray_frames(4), sound=empty, audio_codec="pcm_s16le")
    with pytest.raises(InputError, match=r"a\.avi: its sound track is empty"):
        decode_file(path, PLAIN, pictures="none")
    clip = decode_file(path, PLAIN)
    assert clip.frames_THWC is not None
    assert clip.waveform_N is None


def test_a_flac_cut_short_is_refused(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.flac", sound=tone(3.0, 16_000), audio_codec="flac", audio_format="s16")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"a\.flac: its sound ends at .* of 3\.00 s"):
        heard(path)


def test_a_sound_of_noise_packets_is_refused(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp3", sound=tone(3.0, 16_000), audio_codec="libmp3lame")
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for at in range(2000, len(data) - 40, 40):
        data[at : at + 20] = rng.bytes(20)
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"a\.mp3"):
        heard(path)
