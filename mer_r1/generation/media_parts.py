"""A sample's media as content parts of a chat request: `video_url`, `image_url`, `audio_url`, as vLLM takes them.

`media_parts`: files go out as they are, as base64 in data URLs, or by path (`file://`) to a server that may read
them. The sound track of a video is a part of its own, 16 kHz mono wav, for a server does not hear a video; sound in a
file that holds pictures, or of a kind that audio libraries do not read, becomes wav as well. The first bytes of a file
decide what it is, never its name. Memory: four thirds of a file for its base64.

`taken_parts`: what a local backbone is given goes out, its frames and its waveform to the last bit, and the server is
asked to take them as they are.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mer_r1.data.sample import Clip, MediaFacts, Sample
from mer_r1.errors import InputError
from mer_r1.media import MediaBudget, decode_file, frame_rate
from mer_r1.media.budget import SHORTEST_SOUND
from mer_r1.media.formats import STILL_DEMUXERS, demuxer_of
from mer_r1.media.wav import wav_bytes

Part = dict[str, Any]
Delivery = Literal["data", "path"]
"""How a server gets the files: in the request, or by their path on a disk that it shares."""

MAX_FILE_BYTES = 64 * 2**20

# What a file is, by the demuxer of its first bytes. Sound formats that are not listed are decoded here.
_PICTURES = {
    "mov": "video/mp4",
    "matroska": "video/x-matroska",
    "avi": "video/x-msvideo",
    "flv": "video/x-flv",
    "asf": "video/x-ms-wmv",
    "mpeg": "video/mpeg",
    "mpegts": "video/mp2t",
    "gif": "image/gif",
    "png_pipe": "image/png",
    "jpeg_pipe": "image/jpeg",
    "webp_pipe": "image/webp",
    "bmp_pipe": "image/bmp",
    "tiff_pipe": "image/tiff",
    "heif": "image/heif",
}
_SOUNDS = {"wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac", "ogg": "audio/ogg"}
# For the sound track of a video: its pictures are looked at only to keep time and to see that the file is whole.
_TRACK_BUDGET = MediaBudget(num_frames=2, fps=None, max_pixels=56 * 56, min_pixels=56 * 56)


class SentMedia(NamedTuple):
    """Parts in the order of a local prompt (picture, sound), and the facts of what was decoded here for them.

    `fields` stand beside the messages in the request, and say how the server is to take the parts.
    """

    parts: list[Part]
    facts: MediaFacts | None
    fields: Mapping[str, Any] = MappingProxyType({})


def media_parts(sample: Sample, delivery: Delivery = "data", *, sound: bool = True) -> SentMedia:
    """The media of a sample; no part where it has none. `sound` False leaves all sound out.

    Raises InputError that names the file: one that is missing, of no known kind, damaged, or too large for a request;
    `video` and `image` both.
    """
    if sample.video is not None and sample.image is not None:
        raise InputError(f"sample {sample.id}: has both 'video' and 'image'; give one of the two")
    parts: list[Part] = []
    facts = None
    shown = sample.video or sample.image
    if shown is not None:
        parts.append(_picture_part(shown, delivery))
    if sound and sample.audio is not None:
        part, facts = _sound_part(sample.audio, delivery)
        parts.append(part)
    elif sound and sample.video is not None:
        clip = decode_file(sample.video, _TRACK_BUDGET)
        # The pictures were taken by the server, at times and sizes that only it knows.
        facts = replace(clip.facts, frame_times_s=(), taken_size=None)
        parts += [] if clip.waveform_N is None else [_part("audio", wav_url(clip.waveform_N))]
    return SentMedia(parts, facts)


def taken_parts(clip: Clip, budget: MediaBudget, *, sound: bool = True) -> SentMedia:
    """The media of a sample as a local model is given them, nothing lost: `clip` as it was taken under `budget`.

    The frames of a video go out in order as PNG pictures, in vLLM's form of one video that needs no sampling; a single
    frame is a picture; sound is wav. `fields` (vLLM's) keep all frames and their sizes, and give the rate at which they
    were taken. `sound` False leaves all sound out.
    """
    parts: list[Part] = []
    fields: dict[str, dict[str, Any]] = {}
    facts = clip.facts
    if clip.frames_THWC is not None:
        pictures = [_png(frame_HWC) for frame_HWC in clip.frames_THWC]
        fields["mm_processor_kwargs"] = {"do_resize": False}
        if len(pictures) == 1:
            parts.append(_part("image", _data_url("image/png", pictures[0])))
        else:
            rate = frame_rate(len(pictures), facts.video_s, budget)
            fields["mm_processor_kwargs"] |= {"fps": rate}
            fields["media_io_kwargs"] = {"video": {"num_frames": -1, "fps": rate}}
            # The name of the form says jpeg; what each picture is, its first bytes say.
            listed = b",".join(map(base64.b64encode, pictures)).decode("ascii")
            parts.append(_part("video", f"data:video/jpeg;base64,{listed}"))
    if clip.waveform_N is not None and sound:
        wave_N = np.pad(clip.waveform_N, (0, max(0, SHORTEST_SOUND - len(clip.waveform_N))))
        parts.append(_part("audio", wav_url(wave_N)))
    elif facts.audio_s is not None:
        facts = replace(facts, audio_taken_s=0.0)
    return SentMedia(parts, facts, fields)


def wav_url(waveform_N: NDArray[np.float32]) -> str:
    """A waveform at 16 kHz as the data URL of a mono wav of 32-bit floats.

    vLLM, where it decodes by PyAV, takes 16-bit samples for numbers up to 32,767.
    """
    return _data_url("audio/wav", wav_bytes(waveform_N))


def _png(frame_HWC: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(frame_HWC).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _picture_part(path: Path, delivery: Delivery) -> Part:
    demuxer = demuxer_of(path)
    if demuxer not in _PICTURES:
        raise InputError(f"{path}: holds sound and no pictures; name it as 'audio'")
    return _part("image" if demuxer in STILL_DEMUXERS else "video", _file_url(path, _PICTURES[demuxer], delivery))


def _sound_part(path: Path, delivery: Delivery) -> tuple[Part, MediaFacts | None]:
    demuxer = demuxer_of(path)
    if demuxer in _SOUNDS:
        return _part("audio", _file_url(path, _SOUNDS[demuxer], delivery)), None
    clip = decode_file(path, _TRACK_BUDGET, pictures="none")
    assert clip.waveform_N is not None, "sound that is asked for alone is there"
    return _part("audio", wav_url(clip.waveform_N)), clip.facts


def _part(medium: str, url: str) -> Part:
    return {"type": f"{medium}_url", f"{medium}_url": {"url": url}}


def _file_url(path: Path, kind: str, delivery: Delivery) -> str:
    if delivery == "path":
        return path.absolute().as_uri()
    try:
        with path.open("rb") as handle:
            data = handle.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a readable file") from None
    if len(data) > MAX_FILE_BYTES:
        raise InputError(
            f"{path}: larger than {MAX_FILE_BYTES // 2**20} MiB, too much for one request; cut it, or let the server "
            "read it by its path"
        )
    return _data_url(kind, data)


def _data_url(kind: str, data: bytes) -> str:
    return (f"data:{kind};base64,".encode() + base64.b64encode(data)).decode("ascii")
