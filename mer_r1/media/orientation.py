"""How a stored frame has to be turned to stand upright: a video's rotation flag, a photograph's EXIF orientation."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Literal, NamedTuple, cast

import av
import numpy as np
from av.sidedata.sidedata import SideData

_EXIF_NAME = b"Exif\0\0"
_ORIENTATION_TAG = 0x0112


class Turn(NamedTuple):
    """Swap the axes first, then mirror left to right, then mirror top to bottom."""

    swap: bool = False
    flip_x: bool = False
    flip_y: bool = False


_BY_EXIF = {
    1: Turn(),
    2: Turn(flip_x=True),
    3: Turn(flip_x=True, flip_y=True),
    4: Turn(flip_y=True),
    5: Turn(swap=True),
    6: Turn(swap=True, flip_x=True),
    7: Turn(swap=True, flip_x=True, flip_y=True),
    8: Turn(swap=True, flip_y=True),
}
_BY_QUARTERS = {0: _BY_EXIF[1], 1: _BY_EXIF[8], 2: _BY_EXIF[3], 3: _BY_EXIF[6]}


def quarter_turned(turn: Turn, quarters: int) -> Turn:
    """`turn`, and then quarter turns counterclockwise."""
    for _ in range(quarters):
        turn = Turn(not turn.swap, turn.flip_y, not turn.flip_x)
    return turn


def mirrored(turn: Turn, *, left_right: bool) -> Turn:
    """`turn`, and then left and right, or top and bottom, exchanged."""
    return turn._replace(flip_x=not turn.flip_x) if left_right else turn._replace(flip_y=not turn.flip_y)


def frame_turn(frame: av.VideoFrame) -> Turn:
    """From the frame's display matrix, which maps a stored (x, y), y downwards, to (a x + c y, b x + d y).

    Angles between quarter turns take the nearest one.
    """
    try:
        data = cast(SideData | None, frame.side_data.get("DISPLAYMATRIX"))
    except ValueError:
        # PyAV 18 cannot list the side data of a frame that carries a kind it does not know (EXIF is one).
        return _BY_QUARTERS[round(frame.rotation / 90) % 4]
    if data is None:
        return Turn()
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Turn(False, a < 0, d < 0)
    return Turn(True, c < 0, b < 0)


def still_turn(path: Path, demuxer: str) -> Turn:
    """From the EXIF block of a jpg, png, webp or tiff; upright where there is none or it cannot be read.

    The frame is not asked: FFmpeg hands on no mirroring, and PyAV 18 frees the name of a png's colour profile twice.
    """
    with open(path, "rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        tiff: bytes | mmap.mmap
        if demuxer == "jpeg_pipe":
            tiff = _jpeg_exif(data)
        elif demuxer == "png_pipe":
            tiff = _chunk(data, b"eXIf", 8, "big")
        elif demuxer == "webp_pipe":
            tiff = _chunk(data, b"EXIF", 12, "little").removeprefix(_EXIF_NAME)
        else:
            tiff = data if demuxer == "tiff_pipe" else b""
        return _BY_EXIF.get(_tiff_orientation(tiff), Turn())


def _jpeg_exif(data: mmap.mmap) -> bytes:
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] not in (b"\xda", b""):
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xE1 and data[at + 4 : at + 10] == _EXIF_NAME:
            return data[at + 10 : at + 2 + length]
        at += 2 + max(length, 2)
    return b""


def _chunk(data: mmap.mmap, name: bytes, at: int, order: Literal["little", "big"]) -> bytes:
    """The body of a png's chunk (length, name, body, sum), or of a webp's (name, length, body, to an even place)."""
    while at + 8 <= len(data):
        length_at, name_at = (at, at + 4) if order == "big" else (at + 4, at)
        length = int.from_bytes(data[length_at : length_at + 4], order)
        if data[name_at : name_at + 4] == name:
            return data[at + 8 : at + 8 + length]
        at += 8 + length + (4 if order == "big" else length % 2)
    return b""


def _tiff_orientation(tiff: bytes | mmap.mmap) -> int:
    """The orientation tag of the first directory, 1 (upright) where it is absent."""
    order: Literal["little", "big"] = "little" if tiff[:2] == b"II" else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], order)

    directory = number(4, 4)
    for entry in range(directory + 2, directory + 2 + 12 * number(directory, 2), 12):
        if number(entry, 2) == _ORIENTATION_TAG:
            return number(entry + 8, 2)
    return 1
