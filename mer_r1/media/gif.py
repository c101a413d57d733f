"""The packets of a gif: whether one holds a frame, and whether that frame is whole.

FFmpeg hands out a frame of a gif that ends early, and counts the remarks behind the last frame as one more.
"""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image

_EXTENSION, _FRAME = b"\x21", b"\x2c"


class _Frame(NamedTuple):
    """Size of a frame, whether its rows are interlaced, and where its pixels begin: at the size of their first code."""

    width: int
    height: int
    interlaced: int
    at: int


def holds_frame(packet: bytes) -> bool:
    """Whether a packet holds a frame, whole or not; without one it holds remarks or the end of the file."""
    return _frame(packet) is not None


def frame_is_whole(packet: bytes, max_pixels: int) -> bool:
    """Whether every pixel of a packet's frame is there. Decoded once more, by a decoder that tells."""
    frame = _frame(packet)
    if frame is None or not 0 < frame.width * frame.height <= max_pixels or frame.at >= len(packet):
        return False
    code_bits, opaque = packet[frame.at], -1
    size, pixels = (frame.width, frame.height), packet[frame.at + 1 :]
    try:
        Image.frombytes("P", size, pixels, "gif", code_bits, frame.interlaced, opaque)
    except (ValueError, OSError):
        return False
    return True


def _frame(packet: bytes) -> _Frame | None:
    at = 13 + _colour_bytes(packet[10:11]) if packet[:4] == b"GIF8" else 0
    while packet[at : at + 1] == _EXTENSION:  # blocks, each behind its length, up to one of length 0
        at += 2
        while length := int.from_bytes(packet[at : at + 1]):
            at += 1 + length
        at += 1
    head = packet[at : at + 10]
    if head[:1] != _FRAME:
        return None
    width, height = int.from_bytes(head[5:7], "little"), int.from_bytes(head[7:9], "little")
    flags = head[9:]
    return _Frame(width, height, flags[0] >> 6 & 1 if flags else 0, at + 10 + _colour_bytes(flags))


def _colour_bytes(flags: bytes) -> int:
    """Bytes of the table of colours that the flags of a gif, or of one of its frames, announce."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0
