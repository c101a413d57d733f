"""Whether a picture is all there, for the formats whose decoders fill what is missing with a colour of their own.

FFmpeg hands out a picture of a jpg, gif or tiff that ends early. The others (png, webp, bmp) it refuses by itself.
"""

from __future__ import annotations

import mmap
import re
from pathlib import Path
from typing import Literal

from PIL import Image

from mer_r1.errors import InputError
from mer_r1.media.formats import FIX, demuxer_of

_JPEG_SCAN, _JPEG_END = 0xDA, 0xD9
# In a scan a byte 0xff is followed by 0, or by the number of a restart; whatever else follows it ends the scan.
_BEHIND_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")

_TIFF_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_TIFF_COMPRESSION = 259
_TIFF_JPEG = (6, 7)


def check_whole(path: Path) -> None:
    """Raises InputError for a jpg or tiff that is cut short, and for a tiff that FFmpeg decodes wrongly."""
    demuxer = demuxer_of(path)
    if demuxer not in ("jpeg_pipe", "tiff_pipe"):
        return
    with open(path, "rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if demuxer == "jpeg_pipe" and not _jpeg_ends(data):
            raise InputError(f"{path}: the picture is not whole, its end marker is missing; {FIX}")
        if demuxer == "tiff_pipe":
            compression = _tiff_compression(data)
            if compression is None:
                raise InputError(f"{path}: the picture is not whole, its directory ends early; {FIX}")
            if compression in _TIFF_JPEG:
                raise InputError(f"{path}: is a tiff compressed as jpeg, which is not read; convert it to jpg or png")


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


def gif_frame_is_whole(packet: bytes, max_pixels: int) -> bool:
    """Whether a packet of a gif holds every pixel of its frame. Decoded once more, by a decoder that tells."""
    at = 0
    if packet[:4] == b"GIF8":
        at = 13 + _colour_bytes(packet[10:11])
    while packet[at : at + 1] == b"\x21":  # an extension: blocks, each behind its length, up to one of length 0
        at += 2
        while length := int.from_bytes(packet[at : at + 1]):
            at += 1 + length
        at += 1
    frame = packet[at : at + 10]
    if frame[:1] != b"\x2c" or len(frame) < 10:
        return False
    width, height = int.from_bytes(frame[5:7], "little"), int.from_bytes(frame[7:9], "little")
    at += 10 + _colour_bytes(frame[9:])
    if not 0 < width * height <= max_pixels or at >= len(packet):
        return False
    code_bits, interlaced, opaque = packet[at], frame[9] >> 6 & 1, -1
    try:
        Image.frombytes("P", (width, height), packet[at + 1 :], "gif", code_bits, interlaced, opaque)
    except (ValueError, OSError):
        return False
    return True


def _colour_bytes(flags: bytes) -> int:
    """Bytes of the table of colours that the flags of a gif, or of one of its frames, announce."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0
