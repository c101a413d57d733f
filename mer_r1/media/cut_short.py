"""Whether part of a file is missing, by the file's own structure. A declared length says nothing here."""

from __future__ import annotations

import os
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Stream

_HEAD_BYTES = 4096
_SEGMENT = b"\x18\x53\x80\x67"
_FLV_TAGS = (b"\x08", b"\x09", b"\x12")


def is_cut_short(path: Path, container: InputContainer, last: av.Packet[Stream] | None) -> bool:
    """Whether the last packet that could be read is incomplete, or the structure leads beyond the end of the file."""
    if last is not None and last.is_corrupt:
        return True
    match container.format.name:
        case "flac":  # its demuxer does not tell, and its packets stand alone
            return last is not None and not _decodes(last)
        case "mov":
            return any(_index_end(stream) > path.stat().st_size for stream in container.streams)
        case "matroska":
            return _segment_end(path) > path.stat().st_size
        case "avi":
            return _riff_end(path) > path.stat().st_size
        case "flv":
            return not _ends_with_a_tag(path)
    return False


def _decodes(packet: av.Packet[Stream]) -> bool:
    try:
        packet.decode()
    except FFmpegError:
        return False
    return True


def _index_end(stream: Stream) -> int:
    """Where the last packet that an mp4's tables list ends, in bytes."""
    entries = stream.index_entries
    return entries[len(entries) - 1].pos + entries[len(entries) - 1].size if len(entries) else 0


def _segment_end(path: Path) -> int:
    """Where a Matroska file says that it ends, in bytes; 0 where it does not say, as in one that was streamed."""
    with path.open("rb") as handle:
        head = handle.read(_HEAD_BYTES)
    at = head.find(_SEGMENT) + len(_SEGMENT)
    length = 9 - head[at : at + 1].ljust(1, b"\1")[0].bit_length()
    size = int.from_bytes(head[at : at + length], "big") - (1 << 7 * length)
    return 0 if at < len(_SEGMENT) or size == (1 << 7 * length) - 1 else at + length + size


def _riff_end(path: Path) -> int:
    with path.open("rb") as handle:
        return 8 + int.from_bytes(handle.read(8)[4:], "little")


def _ends_with_a_tag(path: Path) -> bool:
    """Whether the last four bytes of an flv lead back to the start of a tag."""
    with path.open("rb") as handle:
        end = handle.seek(-4, os.SEEK_END)
        start = end - int.from_bytes(handle.read(4), "big")
        if start < 0:
            return False
        handle.seek(start)
        return handle.read(1) in _FLV_TAGS
