"""Names of media files: what an ending says that a file holds; when it is opened its bytes decide."""

from __future__ import annotations

from pathlib import PurePosixPath

_ENDINGS = {
    "video": "mp4 m4v mov mkv webm avi flv wmv asf mpg mpeg ts mts m2ts 3gp 3g2 ogv gif",
    "audio": "wav mp3 flac m4a aac ogg oga opus aif aiff caf amr",
    "image": "jpg jpeg png webp bmp tif tiff heic heif avif",
}
KIND_BY_ENDING = {f".{ending}": kind for kind, endings in _ENDINGS.items() for ending in endings.split()}


def media_kind(name: str) -> str | None:
    """ "video", "audio" or "image" by the ending of a file's name; None for another."""
    return KIND_BY_ENDING.get(PurePosixPath(name.replace("\\", "/")).suffix.lower())
