"""Media that lie in a table, as `datasets` writes them: {"bytes", "path"}, a list of such, or plain bytes.

`features` is the description of columns that `datasets` keeps in Parquet files and folders: it names classes, and which
columns are media. The bytes are looked at once, for the ending of their file, and read again when they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from mer_r1.data.importers.table import Embedded
from mer_r1.data.media_names import KIND_BY_ENDING

_STARTS = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG", ".png"),
    (b"GIF8", ".gif"),
    (b"BM", ".bmp"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
    (b"\x1a\x45\xdf\xa3", ".webm"),
    (b"fLaC", ".flac"),
    (b"OggS", ".ogg"),
    (b"ID3", ".mp3"),
    (b"\xff\xfb", ".mp3"),
    (b"\xff\xf3", ".mp3"),
    (b"\xff\xf2", ".mp3"),
)
_RIFF = {b"WAVE": ".wav", b"AVI ": ".avi", b"WEBP": ".webp"}
_BRANDS = {b"M4A ": ".m4a", b"qt  ": ".mov", b"heic": ".heic", b"mif1": ".heic", b"avif": ".avif"}
_OF_KIND = {"video": ".mp4", "audio": ".wav", "image": ".jpg"}
_MEDIA_TYPES = {"Image": "image", "Audio": "audio", "Video": "video"}


def class_names(features: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Column -> the names of its classes, of those that have any, in a list or not."""
    leaves = {column: _leaf(feature) for column, feature in features.items()}
    return {
        column: tuple(leaf.get("names") or ()) for column, leaf in leaves.items() if leaf.get("_type") == "ClassLabel"
    }


def media_columns(features: Mapping[str, Any]) -> dict[str, str]:
    """Column -> the kind of its media, of those that hold any."""
    kinds = {column: _MEDIA_TYPES.get(_leaf(feature).get("_type", "")) for column, feature in features.items()}
    return {column: kind for column, kind in kinds.items() if kind}


def _leaf(feature: Any) -> dict[str, Any]:
    """What a feature holds, without the lists around it."""
    while isinstance(feature, list | dict):
        inner = feature[0] if isinstance(feature, list) and feature else None
        inner = feature.get("feature") if isinstance(feature, dict) else inner
        if inner is None:
            return feature if isinstance(feature, dict) else {}
        feature = inner
    return {}


def media_cell(value: Any, kind: str | None, read: Callable[[], Any]) -> Any:
    """A cell with its media as `Embedded`, or as the path of a file where there are no bytes.

    `read` gives the same value again. What is no medium is returned as it is.
    """
    if isinstance(value, list):
        return [media_cell(item, kind, partial(_item, read, index)) for index, item in enumerate(value)]
    if isinstance(value, bytes | bytearray):
        return _embedded(bytes(value), "", kind, read)
    if isinstance(value, dict) and "bytes" in value and value.keys() <= {"bytes", "path", "sampling_rate"}:
        if value["bytes"]:
            return _embedded(value["bytes"], value.get("path") or "", kind, partial(_item, read, "bytes"))
        return value.get("path")
    return value


def _item(read: Callable[[], Any], key: Any) -> Any:
    return read()[key]


def _embedded(data: bytes, name: str, kind: str | None, read: Callable[[], Any]) -> Embedded:
    ending = PurePosixPath(name.replace("\\", "/")).suffix.lower()
    if ending not in KIND_BY_ENDING:
        ending = _ending_of(data[:16]) or (_OF_KIND[kind] if kind else "")
    return Embedded(kind or KIND_BY_ENDING.get(ending, ""), ending, name, lambda: bytes(read()))


def _ending_of(head: bytes) -> str | None:
    """The ending for a file that begins so."""
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], ".mp4")
    return next((ending for start, ending in _STARTS if head.startswith(start)), None)
