"""How a stored frame has to be turned to stand upright: a video's rotation flag, a photograph's EXIF orientation."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple, cast

import av
import numpy as np
from av.sidedata.sidedata import SideData

_EXIF_BYTES = 1 << 17
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


def jpeg_turn(path: Path) -> Turn:
    """From the EXIF block of a jpg; upright where there is none or it cannot be read. FFmpeg hands on no mirroring."""
    with open(path, "rb") as handle:
        data = handle.read(_EXIF_BYTES)
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] not in (b"\xda", b""):
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            return _BY_EXIF.get(_tiff_orientation(data[at + 10 : at + 2 + length]), Turn())
        at += 2 + max(length, 2)
    return Turn()


def _tiff_orientation(tiff: bytes) -> int:
    """The orientation tag of the first directory, 1 (upright) where it is absent."""
    order: Literal["little", "big"] = "little" if tiff[:2] == b"II" else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], order)

    directory = number(4, 4)
    for entry in range(directory + 2, directory + 2 + 12 * number(directory, 2), 12):
        if number(entry, 2) == _ORIENTATION_TAG:
            return number(entry + 8, 2)
    return 1
