"""Media that the tests make for themselves: gray frames that carry their index, and sine tones."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from numpy.typing import NDArray

GRAY_STEP = 16
MILLI = Fraction(1, 1000)


def gray_of(index: int) -> int:
    """The gray level of frame `index` (up to 14), away from the ends so that limited range keeps it."""
    return 16 + GRAY_STEP * index


def index_of(picture_HWC: NDArray[np.uint8]) -> int:
    """Which frame a decoded picture was."""
    return round((float(picture_HWC.mean()) - 16) / GRAY_STEP)


def gray_frames(num_frames: int, width: int = 96, height: int = 96) -> list[NDArray[np.uint8]]:
    return [np.full((height, width, 3), gray_of(k), np.uint8) for k in range(num_frames)]


def tone(seconds: float, rate: int, hz: float = 440.0, channels: int = 1) -> NDArray[np.float32]:
    """float32 (channels, N): the same sine of amplitude 0.5 in every channel."""
    wave_N = 0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)
    return np.tile(wave_N.astype(np.float32), (channels, 1))


def peak_hz(waveform_N: NDArray[np.float32], rate: int = 16_000) -> float:
    """Frequency of the strongest line of a waveform's spectrum."""
    return float(np.argmax(np.abs(np.fft.rfft(waveform_N)))) * rate / len(waveform_N)


def write_media(
    path: Path,
    *,
    frames: Sequence[NDArray[np.uint8]] = (),
    times_ms: Sequence[int] | None = None,
    places: Sequence[int] | None = None,
    video_codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    pixels: str = "rgb24",
    fps: int = 8,
    rotation: int | None = None,
    aspect: Fraction | None = None,
    sound: NDArray[np.float32] | None = None,
    audio_codec: str = "aac",
    audio_format: str = "fltp",
    rate: int = 16_000,
    layout: str = "mono",
    sound_from_ms: int = 0,
    options: dict[str, str] | None = None,
    video_options: dict[str, str] | None = None,
    audio_options: dict[str, str] | None = None,
) -> Path:
    """Encode `frames` (H x W x 3, or as `pixels` says) and `sound` (channels, N) into `path`, the format by its suffix.

    `times_ms` gives every frame its own time (variable frame rate), `places` its own place among those at `fps`;
    otherwise frames follow at `fps`.
    """
    with av.open(path, "w", options=options or {}) as container:
        video = audio = None
        if len(frames):
            video = container.add_stream(video_codec, rate=1000 if times_ms else fps, options=video_options or {})
            assert isinstance(video, VideoStream)
            video.height, video.width = frames[0].shape[:2]
            video.pix_fmt = pix_fmt
            if times_ms:
                video.codec_context.time_base = MILLI
            if aspect is not None:
                video.codec_context.sample_aspect_ratio = aspect
            if rotation is not None:
                video.set_display_rotation(rotation)
        if sound is not None:
            audio = container.add_stream(audio_codec, rate=rate, layout=layout, options=audio_options or {})
            assert isinstance(audio, AudioStream)
        if isinstance(video, VideoStream):
            stamps = times_ms or places or range(len(frames))
            _mux_frames(container, video, frames, pixels, stamps, MILLI if times_ms else Fraction(1, fps))
        if isinstance(audio, AudioStream) and sound is not None:
            _mux_sound(container, audio, sound, audio_format, sound_from_ms)
    return path


def _mux_frames(
    container: OutputContainer,
    stream: VideoStream,
    frames: Sequence[NDArray[np.uint8]],
    pixels: str,
    stamps: Sequence[int],
    time_base: Fraction,
) -> None:
    for stamp, pixels_HWC in zip(stamps, frames, strict=True):
        frame = av.VideoFrame.from_ndarray(pixels_HWC, format=pixels)
        frame.pts, frame.time_base = stamp, time_base
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def _mux_sound(
    container: OutputContainer, stream: AudioStream, sound: NDArray[np.float32], audio_format: str, from_ms: int
) -> None:
    if not sound.size:
        return
    rate, layout = stream.rate, stream.layout.name
    block = av.AudioFrame.from_ndarray(sound, format="fltp", layout=layout)
    block.sample_rate, block.time_base, block.pts = rate, Fraction(1, rate), from_ms * rate // 1000
    resampler = av.AudioResampler(audio_format, layout, rate)
    for piece in [*resampler.resample(block), *resampler.resample(None)]:
        container.mux(stream.encode(piece))
    container.mux(stream.encode())


def write_tracks(path: Path, hz: tuple[float, ...], *, default: int, described: int | None = None) -> Path:
    """1.5 s of gray frames in two video tracks of 96 x 96 and 64 x 64, and tracks of sound with a tone each.

    `default` is the track of each kind that is marked as the preferred one, `described` a track of sound that is marked
    as made for those who do not see.
    """
    with av.open(path, "w") as container:
        videos, sounds = [], []
        for k, side in enumerate((96, 64)):
            video = container.add_stream("libx264", rate=8)
            assert isinstance(video, VideoStream)
            video.width = video.height = side
            video.pix_fmt = "yuv420p"
            video.disposition = Disposition.default if k == default else Disposition(0)
            videos.append(video)
        for k in range(len(hz)):
            sound = container.add_stream("aac", rate=16_000, layout="mono")
            assert isinstance(sound, AudioStream)
            sound.disposition = Disposition.default if k == default else Disposition(0)
            if k == described:
                sound.disposition = Disposition.visual_impaired
            sounds.append(sound)
        for video in videos:
            _mux_frames(
                container, video, gray_frames(12, video.width, video.height), "rgb24", range(12), Fraction(1, 8)
            )
        for sound, tone_hz in zip(sounds, hz, strict=True):
            _mux_sound(container, sound, tone(1.5, 16_000, tone_hz), "fltp", 0)
    return path


def with_unknown_codec(path: Path, names: tuple[bytes, ...], which: tuple[int, ...]) -> Path:
    """Have some of a file's tracks (0 is the first) claim a codec that nobody knows, wherever one of `names` stands."""
    data = path.read_bytes()
    for name in names:
        pieces = data.split(name)
        data = pieces[0]
        for k, piece in enumerate(pieces[1:]):
            data += (name[:2].ljust(len(name), b"z") if k in which else name) + piece
    path.write_bytes(data)
    return path


def write_image(path: Path, pixels_HWC: NDArray[np.uint8], *, pixels: str = "rgb24") -> Path:
    """A jpg or png of `pixels_HWC`, by the encoder alone: no pattern is read into the name."""
    jpg = path.suffix == ".jpg"
    codec = av.CodecContext.create("mjpeg" if jpg else "png", "w")
    assert isinstance(codec, av.VideoCodecContext)
    codec.height, codec.width = pixels_HWC.shape[:2]
    codec.pix_fmt = "yuvj444p" if jpg else pixels
    codec.time_base = Fraction(1, 1)
    frame = av.VideoFrame.from_ndarray(pixels_HWC, format=pixels)
    frame.pts = 0
    if jpg:
        frame = frame.reformat(format="yuvj444p")
    path.write_bytes(b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)]))
    return path


def with_exif_orientation(path: Path, orientation: int) -> Path:
    """Put an EXIF block with this orientation (1 to 8) behind a jpg's first marker, or behind a png's header."""
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    body = b"Exif\0\0" + tiff
    data = path.read_bytes()
    if path.suffix == ".png":
        path.write_bytes(data[:33] + _png_chunk(b"eXIf", tiff) + data[33:])
        return path
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:])
    return path


def png_declaring(path: Path, width: int, height: int) -> Path:
    """A tiny png whose header claims any size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = _png_chunk(b"IHDR", header) + _png_chunk(b"IDAT", zlib.compress(bytes(1000))) + _png_chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def write_mp3_with_cover(path: Path, sound: NDArray[np.float32]) -> Path:
    """An mp3 with a picture in its tag, which FFmpeg lists as a video stream."""
    with av.open(path, "w") as container:
        audio = container.add_stream("libmp3lame", rate=16_000, layout="mono")
        cover = container.add_stream("png", rate=1)
        assert isinstance(audio, AudioStream)
        assert isinstance(cover, VideoStream)
        cover.width = cover.height = 56
        cover.pix_fmt = "rgb24"
        cover.disposition = Disposition.attached_pic
        _mux_frames(container, cover, gray_frames(1, 56, 56), "rgb24", [0], Fraction(1))
        _mux_sound(container, audio, sound, "fltp", 0)
    return path


def with_packets_of(path: Path, before: int, behind: int) -> Path:
    """An mpeg-ts with bytes before each packet (a camcorder's time of arrival), or behind it (a broadcast's repair)."""
    data = path.read_bytes()
    pieces = []
    for at in range(0, len(data), 188):
        pieces += [(at // 188).to_bytes(before, "big") if before else b"", data[at : at + 188], bytes(behind)]
    path.write_bytes(b"".join(pieces))
    return path


def with_edit_list(path: Path, skip_s: float, seconds: float) -> Path:
    """Have an mp4's first edit list start `skip_s` later and last `seconds`."""
    with av.open(path) as container:
        time_base = container.streams.video[0].time_base
    assert time_base is not None
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 12
    (start,) = struct.unpack_from(">i", data, at + 4)
    struct.pack_into(">Ii", data, at, round(1000 * seconds), start + round(skip_s / time_base))
    path.write_bytes(bytes(data))
    return path


def with_declared_seconds(path: Path, seconds: int) -> Path:
    """Overwrite every duration in an mp4's headers (mvhd, tkhd, mdhd, edit lists) with `seconds`."""
    data = bytearray(path.read_bytes())

    def scale_at(kind: bytes) -> int:
        at = data.index(kind) + 4
        return int(struct.unpack_from(">I", data, at + 12)[0])

    movie_scale = scale_at(b"mvhd")
    for kind, offset, scale in ((b"mvhd", 16, None), (b"mdhd", 16, None), (b"tkhd", 20, movie_scale)):
        at = data.find(kind)
        while at >= 0:
            own = scale or struct.unpack_from(">I", data, at + 4 + 12)[0]
            struct.pack_into(">I", data, at + 4 + offset, min(seconds * own, 0xFFFFFFFE))
            at = data.find(kind, at + 4)
    at = data.find(b"elst")
    while at >= 0:
        struct.pack_into(">I", data, at + 12, min(seconds * movie_scale, 0xFFFFFFFE))
        at = data.find(b"elst", at + 4)
    path.write_bytes(bytes(data))
    return path
