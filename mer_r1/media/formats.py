"""Opening a media file as data: its first bytes choose the demuxer, and FFmpeg follows no reference.

FFmpeg picks a demuxer by file name and content, and some demuxers read other files or the network (playlists, concat
scripts, `%d` image patterns). Here the bytes choose from a fixed list of self-contained formats, the name says nothing,
the path is opened as `file:` and no other protocol is allowed.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Stream

from mer_r1.errors import InputError
from mer_r1.media import gif
from mer_r1.media.budget import MediaBudget

KINDS = "mp4, mov, mkv, webm, avi, gif, wav, mp3, flac, m4a, ogg, jpg, png, webp, heic, avif"
FIX = "the file is damaged or cut short: fetch or export it again"
HEIF = "heif"
STILL_DEMUXERS = frozenset({"png_pipe", "jpeg_pipe", "webp_pipe", "bmp_pipe", "tiff_pipe", HEIF})

_HEAD_BYTES = 16
# A packet of mpeg-ts begins with 0x47. A camcorder puts four bytes of time before it, a broadcast 16 of repair behind.
_TS_PACKET_BYTES = (188, 192, 204)
_TS_PACKETS = 5
_BY_START: dict[bytes, str] = {
    b"\x1a\x45\xdf\xa3": "matroska",
    b"GIF87a": "gif",
    b"GIF89a": "gif",
    b"\x89PNG\r\n\x1a\n": "png_pipe",
    b"\xff\xd8\xff": "jpeg_pipe",
    b"fLaC": "flac",
    b"OggS": "ogg",
    b"FLV\x01": "flv",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "asf",
    b"\x00\x00\x01\xba": "mpeg",
    b"II*\x00": "tiff_pipe",
    b"MM\x00*": "tiff_pipe",
    b"caff": "caf",
    b"#!AMR": "amr",
}
_BY_RIFF_TYPE = {b"WAVE": "wav", b"AVI ": "avi", b"WEBP": "webp_pipe", b"AIFF": "aiff", b"AIFC": "aiff"}
_MOV_ATOMS = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})


def demuxer_of(path: Path) -> str:
    """FFmpeg's name of the demuxer for the file's first bytes, and "heif" for a photograph that its "mov" reads.

    Raises InputError for a missing, empty or unreadable file, one that is not a regular file, and bytes of no format
    that is read.
    """
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{path}: is a directory; give the path of one media file")
        if not stat.S_ISREG(mode):
            raise InputError(f"{path}: is not a regular file; copy the media into a file")
        with open(path, "rb") as handle:
            head = handle.read(_HEAD_BYTES)
            if head[:3] == b"ID3" and len(head) >= 10:
                tag_bytes = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
                handle.seek(10 + tag_bytes)
                behind = handle.read(_HEAD_BYTES)
                return "flac" if behind[:4] == b"fLaC" else "aac" if _sync_word(behind) == "aac" else "mp3"
            demuxer = _demuxer_of_head(head)
            if demuxer == "mov":
                atoms = _atoms(handle)
                if atoms is None:
                    raise InputError(f"{path}: its index lists more frames than the file has bytes; {FIX}")
                if b"meta" in atoms and b"moov" not in atoms:
                    return HEIF
            if demuxer is None and _is_transport_stream(handle):
                demuxer = "mpegts"
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; correct the path (a manifest's paths are relative to it)") from None
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if not head:
        raise InputError(f"{path}: is empty; fetch or export the file again")
    if demuxer is None:
        raise InputError(f"{path}: is not a media file that is read; give one of {KINDS}")
    return demuxer


def _demuxer_of_head(head: bytes) -> str | None:
    for start, demuxer in _BY_START.items():
        if head.startswith(start):
            return demuxer
    if head[:4] in (b"RIFF", b"RF64", b"RIFX", b"FORM"):
        return _BY_RIFF_TYPE.get(head[8:12])
    if head[4:8] in _MOV_ATOMS:
        return "mov"
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":
        return "bmp_pipe"
    return _sync_word(head)


def _is_transport_stream(handle: BinaryIO) -> bool:
    """Whether packets of mpeg-ts follow each other, the first of them whole or not."""
    for size in _TS_PACKET_BYTES:
        handle.seek(0)
        begin = handle.read(_TS_PACKETS * size)
        if len(begin) == _TS_PACKETS * size and any(set(begin[at::size]) == {0x47} for at in range(size)):
            return True
    return False


def _atoms(handle: BinaryIO) -> frozenset[bytes] | None:
    """The kinds of an mp4's outermost atoms; None where its tables list more samples than the file has bytes.

    FFmpeg builds the whole list when it opens the file, so that a header of one kilobyte could cost gigabytes.
    """
    size = os.fstat(handle.fileno()).st_size
    at = 0
    kinds = set()
    for _ in range(100_000):
        handle.seek(at)
        length, kind, wide = struct.unpack(">I4sQ", handle.read(16).ljust(16, b"\0"))
        kinds.add(kind)
        if kind in (b"moov", b"moof"):
            handle.seek(at)
            # Never more than there is: `read` makes room for all it is asked for.
            body = handle.read(min(size, length if length > 1 else wide if length == 1 else size))
            for table, skip in ((b"stsz", 12), (b"trun", 8)):
                for found in re.finditer(table, body):
                    count = body[found.start() + skip : found.start() + skip + 4]
                    if int.from_bytes(count, "big") > size:
                        return None
        if length == 1:
            length = wide
        at += length
        if length < 8 or at >= size:
            return frozenset(kinds)
    return None


def _sync_word(head: bytes) -> str | None:
    """mp3 and raw AAC have no magic, only eleven or twelve set bits and a layer field, which is 0 in AAC alone."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    if head[1] & 0xF6 == 0xF0:
        return "aac"
    return "mp3" if head[1] & 0x06 and head[2] & 0xF0 != 0xF0 else None


@contextmanager
def open_media(path: Path, budget: MediaBudget) -> Iterator[InputContainer]:
    """The file opened for reading, its streams known and no picture larger than `max_source_pixels` decodable.

    FFmpeg errors inside the block become an InputError that names the file. Raises what `demuxer_of` raises.
    """
    demuxer = demuxer_of(path)
    options = {"protocol_whitelist": "file", "max_pixels": str(budget.max_source_pixels)}
    try:
        name = "mov" if demuxer == HEIF else demuxer
        with av.open(f"file:{path}", format=name, options=options, metadata_errors="replace") as container:
            yield container
    except FFmpegError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{path}: cannot be read as {demuxer} ({reason}); {FIX}") from None
    except MemoryError:
        raise InputError(f"{path}: needs more memory than there is; {FIX}") from None


def packets(container: InputContainer, streams: Sequence[Stream] = ()) -> Iterator[av.Packet[Stream]]:
    """The packets of some streams, or of all, in the file's order, and an empty one to flush each decoder.

    Packets of a gif that hold no frame are left out.
    """
    is_gif = container.format.name == "gif"
    try:
        for packet in container.demux(*streams):
            if not (is_gif and packet.size) or gif.holds_frame(bytes(packet)):
                yield packet
    except IndexError:
        # PyAV ends like this on a stream that appeared after the opening (mpeg-ts), when all others are flushed.
        return
