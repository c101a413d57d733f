"""Whether a still is all there, for the formats whose decoders fill what is missing with a colour of their own.

FFmpeg hands out a picture of a jpg, tiff or run-length bmp that ends early, and of a gif (`gif.py`). The others (png,
webp, plain bmp) it refuses by itself.
"""

from __future__ import annotations

import mmap
import re
from pathlib import Path
from typing import Literal

from mer_r1.errors import InputError
from mer_r1.media.formats import FIX

_JPEG_SCAN, _JPEG_END = 0xDA, 0xD9
# In a scan a byte 0xff is followed by 0, or by the number of a restart; whatever else follows it ends the scan.
_BEHIND_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")

_BMP_RUN_LENGTHS = (1, 2)
_TIFF_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_TIFF_COMPRESSION = 259
_TIFF_JPEG = (6, 7)


def check_whole(path: Path, demuxer: str) -> None:
    """Raises InputError for a jpg, bmp or tiff that is cut short, and for a tiff that FFmpeg decodes wrongly."""
    if demuxer not in ("jpeg_pipe", "bmp_pipe", "tiff_pipe"):
        return
    missing = None
    with open(path, "rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if demuxer == "jpeg_pipe" and not _jpeg_ends(data):
            missing = "its end marker is missing"
        elif demuxer == "bmp_pipe" and _bmp_end(data) > len(data):
            missing = "its rows end early"
        elif demuxer == "tiff_pipe":
            compression = _tiff_compression(data)
            if compression is None:
                missing = "its directory ends early"
            elif compression in _TIFF_JPEG:
                raise InputError(f"{path}: is a tiff compressed as jpeg, which is not read; convert it to jpg or png")
    if missing is not None:
        raise InputError(f"{path}: the picture is not whole, {missing}; {FIX}")


def _jpeg_ends(data: mmap.mmap) -> bool:
    """Whether the markers lead to the end marker. What stands behind it (a second picture, a video) does not matter."""
    at = 2
    while (marker := data[at : at + 2]) and marker[:1] == b"\xff" and len(marker) == 2:
        if marker[1] == _JPEG_END:
            return True
        if marker[1] == 0xFF:  # a fill byte
            at += 1
            continue
        at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
        if marker[1] == _JPEG_SCAN:
            behind = _BEHIND_SCAN.search(data, at)
            at = behind.start() if behind else len(data)
    return False


def _bmp_end(data: mmap.mmap) -> int:
    """Where the rows of a bmp in run lengths end; 0 for another, whose header need not tell."""
    rows_at, compression, size = (int.from_bytes(data[at : at + 4], "little") for at in (10, 30, 34))
    return rows_at + size if compression in _BMP_RUN_LENGTHS else 0


def _tiff_compression(data: mmap.mmap) -> int | None:
    """The kind of compression of the first picture; None where its directory, or a value of it, lies behind the end."""
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], order)

    directory = number(4, 4)
    end = directory + 2 + 12 * number(directory, 2)
    if end + 4 > len(data):
        return None
    compression = 1
    for entry in range(directory + 2, end, 12):
        size = number(entry + 4, 4) * _TIFF_VALUE_BYTES.get(number(entry + 2, 2), 0)
        if size > 4 and number(entry + 8, 4) + size > len(data):
            return None
        if number(entry, 2) == _TIFF_COMPRESSION:
            compression = number(entry + 8, 2)
    return compression
