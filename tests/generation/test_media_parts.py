"""Media as content parts: what stands for which file, and what cannot be sent."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from mer_r1.generation import media_parts as module
from mer_r1.generation.media_parts import SentMedia, media_parts, wav_url
from tests.generation.server import bytes_of, wave_of
from tests.media.make_media import gray_frames, peak_hz, tone, write_image, write_media


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="module")
def film(folder: Path) -> Path:
    return write_media(folder / "film.mp4", frames=gray_frames(4), sound=tone(0.5, 16_000))


@pytest.fixture(scope="module")
def picture(folder: Path) -> Path:
    return write_image(folder / "face.png", gray_frames(1)[0])


@pytest.fixture(scope="module")
def voice(folder: Path) -> Path:
    return write_media(folder / "voice.wav", sound=tone(0.3, 8_000), rate=8_000, audio_codec="pcm_s16le")


def parts(sample: Sample, **options: Any) -> dict[str, str]:
    """Kind of part -> its address, in order."""
    return {part["type"]: part[part["type"]]["url"] for part in media_parts(sample, **options).parts}


def test_a_film_has_a_part_for_its_pictures_and_one_for_its_sound(film: Path) -> None:
    sent = parts(Sample("a", video=film))
    assert list(sent) == ["video_url", "audio_url"]
    assert bytes_of(sent["video_url"]) == ("video/mp4", film.read_bytes())
    rate, samples_N = wave_of(sent["audio_url"])
    assert rate == 16_000
    assert peak_hz(samples_N.astype(np.float32)) == pytest.approx(440, abs=3)


def test_a_film_without_sound_or_for_a_model_that_hears_none_has_one_part(folder: Path, film: Path) -> None:
    silent = write_media(folder / "silent.mp4", frames=gray_frames(2))
    assert list(parts(Sample("a", video=silent))) == ["video_url"]
    assert list(parts(Sample("a", video=film, audio=film), sound=False)) == ["video_url"]


def test_sound_that_starts_late_goes_out_with_the_silence_before_it(folder: Path) -> None:
    late = write_media(folder / "late.mkv", frames=gray_frames(10), sound=tone(0.5, 16_000), sound_from_ms=500)
    sent = parts(Sample("a", video=late))
    assert sent["video_url"].startswith("data:video/x-matroska;")
    samples_N = wave_of(sent["audio_url"])[1]
    assert np.abs(samples_N[:6_000]).max() < 0.01 < 0.3 < np.abs(samples_N[9_000:]).max()


def test_a_photograph_of_a_phone_goes_out_as_an_image(folder: Path) -> None:
    photo = folder / "a.avif"
    Image.new("RGB", (64, 64)).save(photo)
    assert bytes_of(parts(Sample("a", video=photo))["image_url"]) == ("image/heif", photo.read_bytes())


def test_pictures_are_told_by_their_bytes_and_not_by_their_name(folder: Path, picture: Path) -> None:
    renamed = folder / "face.mp4"
    renamed.write_bytes(picture.read_bytes())
    for sample in (Sample("a", image=picture), Sample("a", video=picture), Sample("a", video=renamed)):
        assert bytes_of(parts(sample)["image_url"]) == ("image/png", picture.read_bytes())
        assert len(parts(sample)) == 1


def test_a_voice_of_its_own_takes_the_place_of_the_films(film: Path, voice: Path) -> None:
    sent = parts(Sample("a", video=film, audio=voice))
    assert list(sent) == ["video_url", "audio_url"]
    assert bytes_of(sent["audio_url"]) == ("audio/wav", voice.read_bytes())
    assert list(parts(Sample("a", audio=voice))) == ["audio_url"]


def test_sound_in_a_film_or_in_a_phones_format_becomes_wav(folder: Path, film: Path) -> None:
    phone = write_media(folder / "phone.m4a", sound=tone(0.3, 16_000))
    for path in (phone, film):
        made = media_parts(Sample("a", audio=path))
        assert [part["type"] for part in made.parts] == ["audio_url"]
        assert wave_of(made.parts[0]["audio_url"]["url"])[0] == 16_000
        assert made.facts is not None
        assert made.facts.audio_s is not None


def test_words_alone_have_no_part() -> None:
    assert media_parts(Sample("a", subtitle="words")) == SentMedia([], None)


def test_by_path_only_addresses_go_out_and_the_sound_of_a_film(folder: Path) -> None:
    film = write_media(folder / "a b%.mp4", frames=gray_frames(2), sound=tone(0.2, 16_000))
    sent = parts(Sample("a", video=film), delivery="path")
    assert sent["video_url"] == f"file://{film.parent}/a%20b%25.mp4"
    assert wave_of(sent["audio_url"])[0] == 16_000


def test_a_wav_keeps_the_waveform_to_the_last_bit() -> None:
    wave_N = np.random.default_rng(0).uniform(-1, 1, 1999).astype(np.float32)
    url = wav_url(wave_N)
    assert np.array_equal(wave_of(url)[1], wave_N)
    with av.open(io.BytesIO(bytes_of(url)[1]), "r") as container:
        read = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    assert np.array_equal(np.concatenate(read), wave_N)


def test_what_cannot_be_sent_is_one_line_that_names_the_file(
    tmp_path: Path, film: Path, picture: Path, voice: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    junk = tmp_path / "junk.mp4"
    junk.write_bytes(b"not a film at all")
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(film.read_bytes()[:900])
    cases = [
        (Sample("a", video=tmp_path / "none.mp4"), "none.mp4: no such file"),
        (Sample("a", video=junk), "junk.mp4: is not a media file"),
        (Sample("a", video=damaged), "damaged.mp4"),
        (Sample("a", audio=tmp_path), "is a directory"),
        (Sample("a", video=voice), "voice.wav: holds sound and no pictures"),
        (Sample("a", audio=picture), "face.png: holds no sound"),
        (Sample("a", video=film, image=picture), "both"),
    ]
    for sample, message in cases:
        with pytest.raises(InputError, match=message) as caught:
            media_parts(sample)
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(module, "MAX_FILE_BYTES", film.stat().st_size - 1)
    with pytest.raises(InputError, match=r"film\.mp4: larger than .* too much for one request"):
        media_parts(Sample("a", video=film))
    monkeypatch.setattr(module, "MAX_FILE_BYTES", film.stat().st_size)
    assert parts(Sample("a", video=film))
