"""Files as recorders and packagers write them: the packets of a given file at other times, or left out, or repacked."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import av
from av.packet import Packet
from av.stream import Stream

NOT_CODED = b"\0\0\1\xb6\x51\x3f"  # an mpeg4 picture "as before", for a clock of eight ticks a second
PACKED = b"\0\0\1\xb2DivX503b1393p\0"


def remux(
    source: Path,
    target: Path,
    *,
    video_s: float = 0.0,
    sound_s: float = 0.0,
    without_s: tuple[float, float] = (0.0, 0.0),
    pace: float = 1.0,
    jump: tuple[float, float] = (math.inf, 0.0),
    options: dict[str, str] | None = None,
) -> Path:
    """Copy the packets of `source`, pictures moved by `video_s` and sound by `sound_s` seconds.

    Of the sound, packets from `without_s[0]` to `without_s[1]` are left out, all times are multiplied by `pace`, and
    those from `jump[0]` on are moved by `jump[1]`.
    """
    with av.open(source) as given, av.open(target, "w", options=options or {}) as made:
        streams = {stream.index: made.add_stream_from_template(stream) for stream in given.streams}
        for packet in given.demux():
            if packet.pts is None or packet.dts is None:
                continue  # what flushes a decoder
            at_s, moved_s = float(packet.pts * packet.time_base), video_s
            if packet.stream.type == "audio":
                if without_s[0] <= at_s < without_s[1]:
                    continue
                moved_s = sound_s + (pace - 1.0) * at_s + (jump[1] if at_s >= jump[0] else 0.0)
            ticks = round(moved_s / packet.time_base)
            packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
            packet.stream = streams[packet.stream.index]
            made.mux(packet)
    return target


def with_edits(path: Path, *edits: tuple[int, int]) -> Path:
    """Have the single track of an mp4, whose index stands last, play these pieces: (lasts ms, starts at ms)."""
    data = path.read_bytes()
    scale_at = data.index(b"mdhd") + 16
    ticks_a_second = int.from_bytes(data[scale_at : scale_at + 4])
    at = data.index(b"elst")
    end = at - 4 + int.from_bytes(data[at - 4 : at])
    first = int.from_bytes(data[at + 16 : at + 20])
    entries = [struct.pack(">III", lasts, first + start * ticks_a_second // 1000, 1 << 16) for lasts, start in edits]
    made = bytearray(data[: at + 8] + struct.pack(">I", len(entries)) + b"".join(entries) + data[end:])
    for kind in (b"moov", b"trak", b"edts", b"elst"):
        size_at = data.index(kind) - 4
        size = int.from_bytes(data[size_at : size_at + 4])
        made[size_at : size_at + 4] = struct.pack(">I", size + len(made) - len(data))
    path.write_bytes(made)
    return path


def chunks_of(path: Path) -> list[bytes]:
    """The video packets of a file, in its order."""
    with av.open(path) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def write_chunks(path: Path, source: Path, chunks: list[bytes]) -> Path:
    """An avi whose video is these chunks, one a place; the stream's kind is that of `source`."""
    with av.open(source) as given, av.open(path, "w") as made:
        stream: Stream = made.add_stream_from_template(given.streams.video[0])
        time_base = given.streams.video[0].time_base
        assert time_base is not None
        for place, chunk in enumerate(chunks):
            packet: Packet[Stream] = Packet(chunk)
            packet.pts = packet.dts = place
            packet.time_base = time_base
            packet.is_keyframe = place == 0
            packet.stream = stream
            made.mux(packet)
    return path
