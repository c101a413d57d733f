"""HEIF photographs (heic, avif) that the tests make for themselves, box by box."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.media.make_media import write_media

HEVC, AV1 = b"hvc1", b"av01"
ALPHA = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0"


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


def full_box(kind: bytes, *parts: bytes, version: int = 0) -> bytes:
    return box(kind, bytes((version, 0, 0, 0)), *parts)


def ispe(width: int, height: int) -> bytes:
    return full_box(b"ispe", struct.pack(">II", width, height))


def irot(quarters: int) -> bytes:
    return box(b"irot", bytes((quarters,)))


def imir(axis: int) -> bytes:
    return box(b"imir", bytes((axis,)))


def clap(width: int, height: int, right: int, down: int) -> bytes:
    """Keep width x height pixels, the middle of them `right` and `down` half pixels off the picture's."""
    return box(b"clap", struct.pack(">IIIIiIiI", width, 1, height, 1, right, 2, down, 2))


@dataclass
class Item:
    """One item; items are numbered from 1 in their order. A body of a grid stands in `idat`."""

    kind: bytes
    body: bytes
    properties: tuple[bytes, ...] = ()
    tiles: tuple[int, ...] = ()
    helps: int = 0
    essential: bool = False


def coded(folder: Path, picture_HWC: NDArray[np.uint8], codec: bytes = HEVC) -> Item:
    """A picture as a coded item."""
    if codec == AV1:
        path, config = folder / "tile.avif", b"av1C"
        Image.fromarray(picture_HWC).save(path, quality=95, subsampling="4:4:4")
    else:
        path, config = folder / "tile.mp4", b"hvcC"
        options = {"x265-params": "log-level=none:keyint=1:bframes=0", "crf": "8"}
        write_media(path, frames=[picture_HWC], video_codec="libx265", pix_fmt="yuv444p", video_options=options)
    data = path.read_bytes()
    at = data.index(config) - 4
    setup = data[at : at + int.from_bytes(data[at : at + 4])]
    at = data.index(b"mdat") - 4
    body = data[at + 8 : at + int.from_bytes(data[at : at + 4])]
    height, width = picture_HWC.shape[:2]
    return Item(codec, body, (setup, ispe(width, height)))


def grid(rows: int, columns: int, width: int, height: int, *properties: bytes) -> Item:
    """A grid of the first rows x columns items."""
    body = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)
    return Item(b"grid", body, (ispe(width, height), *properties), tiles=tuple(range(1, 1 + rows * columns)))


def write_heif(path: Path, items: list[Item], primary: int) -> Path:
    """A file of these items; `primary` is the number of the photograph."""
    kinds: list[bytes] = []
    references: list[bytes] = []
    entries: list[bytes] = []
    known: list[bytes] = []
    for number, item in enumerate(items, 1):
        kinds.append(full_box(b"infe", struct.pack(">HH", number, 0), item.kind, b"\0", version=2))
        for name, targets in ((b"dimg", item.tiles), (b"auxl", (item.helps,) if item.helps else ())):
            if targets:
                references.append(box(name, struct.pack(f">HH{len(targets)}H", number, len(targets), *targets)))
        links = bytes(0x80 * item.essential | len(known) + k + 1 for k in range(len(item.properties)))
        entries.append(struct.pack(">HB", number, len(links)) + links)
        known += item.properties
    properties = box(
        b"iprp",
        box(b"ipco", *known),
        full_box(b"ipma", struct.pack(">I", len(entries)), *entries),
    )
    inside = b"".join(item.body for item in items if item.tiles)
    outside = b"".join(item.body for item in items if not item.tiles)

    def meta(start: int) -> bytes:
        places, in_idat, in_mdat = [], 0, start
        for number, item in enumerate(items, 1):
            at = in_idat if item.tiles else in_mdat
            places.append(struct.pack(">HHHHII", number, bool(item.tiles), 0, 1, at, len(item.body)))
            if item.tiles:
                in_idat += len(item.body)
            else:
                in_mdat += len(item.body)
        return full_box(
            b"meta",
            full_box(b"hdlr", bytes(4), b"pict", bytes(13)),
            full_box(b"pitm", struct.pack(">H", primary)),
            full_box(b"iinf", struct.pack(">H", len(kinds)), *kinds),
            full_box(b"iref", *references),
            properties,
            box(b"idat", inside),
            full_box(b"iloc", b"\x44\0", struct.pack(">H", len(places)), *places, version=1),
        )

    head = box(b"ftyp", b"mif1", bytes(4), b"mif1heicavifmiaf")
    start = len(head) + len(meta(0)) + 8
    path.write_bytes(head + meta(start) + box(b"mdat", outside))
    return path
