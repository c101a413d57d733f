"""Hundreds of damaged headers and lying files in one process under a limit of memory: a clip or one InputError each.

The process ends at the first crash and at the first other exception, and says at the end how much memory it ever held.
"""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mer_r1.media import MediaBudget, decode_file
from tests.media.make_heif import coded, grid, irot, write_heif
from tests.media.make_media import gray_frames, png_declaring, tone, with_declared_seconds, write_image, write_media

pytestmark = pytest.mark.slow

HEAD = 4096
WORDS = (bytes(4), b"\0\0\0\1", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff")

DECODES = """
import json, resource, sys
from pathlib import Path
from mer_r1.errors import InputError
from mer_r1.media import MediaBudget, decode_file
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
outcomes = {}
for path in map(Path, sys.stdin.read().splitlines()):
    try:
        pictures = "none" if path.suffix == ".wav" else "video"
        clip = decode_file(path, MediaBudget(num_frames=4, fps=None), pictures=pictures)
        outcome = "a clip"
        assert clip.frames_THWC is not None or clip.waveform_N is not None
        assert len(clip.waveform_N if clip.waveform_N is not None else ()) <= 120 * 16_000
    except InputError as error:
        outcome = str(error)
        assert outcome.startswith(f"{path}: "), outcome
        assert outcome.isprintable(), outcome
    outcomes[path.name] = outcome
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({"outcomes": outcomes, "peak_mb": int(status["VmHWM"].split()[0]) // 1024}))
"""


def decoded(paths: list[Path]) -> dict[str, Any]:
    """What a process of its own makes of files: the outcome by name, and the most memory it held."""
    done = subprocess.run(
        [sys.executable, "-c", DECODES], input="\n".join(map(str, paths)), env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr == ""  # FFmpeg prints nothing either
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def damaged(data: bytes, draws: random.Random) -> bytes:
    """One to sixteen changes in the first `HEAD` bytes: a bit, a byte, or a word that sizes and counts trip over."""
    changed = bytearray(data)
    for _ in range(draws.choice((1, 1, 2, 4, 16))):
        at = draws.randrange(min(len(changed), HEAD))
        kind = draws.random()
        if kind < 0.5:
            changed[at] ^= 1 << draws.randrange(8)
        elif kind < 0.75:
            changed[at] = draws.choice((0, 1, 127, 128, 255))
        else:
            changed[at : at + 4] = draws.choice(WORDS)
    return bytes(changed)


@pytest.mark.parametrize(
    ("name", "num", "options"),
    [
        ("index first.mp4", 200, {"movflags": "faststart"}),
        ("fragments.mp4", 100, {"movflags": "frag_keyframe+empty_moov"}),
        ("a.mkv", 60, {}),
        ("a.avi", 60, {}),
    ],
)
def test_damaged_headers_give_a_clip_or_one_error_in_bounded_memory(
    tmp_path: Path, name: str, num: int, options: dict[str, str]
) -> None:
    frames, sound = gray_frames(6, 64, 64), tone(0.75, 16_000)
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    whole = write_media(tmp_path / name, frames=frames, sound=sound, video_codec=codec, options=options).read_bytes()
    draws, paths = random.Random(name), []
    for k in range(num):
        paths.append(tmp_path / f"{k}.mp4")
        paths[-1].write_bytes(damaged(whole, draws))
    found = decoded(paths)
    outcomes = list(found["outcomes"].values())
    assert len(outcomes) == num
    assert 0.1 * num < outcomes.count("a clip") < 0.99 * num  # some damage is harmless, some is not
    assert found["peak_mb"] < 250


@pytest.mark.parametrize("name", ["tiles.heic", "alpha.avif", "moving.webp", "moving.gif", "a.tif", "a.jpg"])
def test_damaged_photographs_give_a_picture_or_one_error_in_bounded_memory(tmp_path: Path, name: str) -> None:
    rng, path = np.random.default_rng(0), tmp_path / name
    pictures = [rng.integers(0, 255, (64, 64, 3 + name.startswith("alpha")), dtype=np.uint8) for _ in range(4)]
    if name.endswith("heic"):
        write_heif(
            path, [*(coded(tmp_path, picture_HWC) for picture_HWC in pictures), grid(2, 2, 120, 100, irot(1))], 5
        )
    else:
        others = [Image.fromarray(picture_HWC) for picture_HWC in pictures[1:]]
        Image.fromarray(pictures[0]).save(path, save_all=name.startswith("moving"), append_images=others)
    whole, draws, paths = path.read_bytes(), random.Random(name), []
    for k in range(80):
        paths.append(tmp_path / f"{k}.mp4")
        paths[-1].write_bytes(damaged(whole, draws))
    found = decoded([path, *paths])
    outcomes = list(found["outcomes"].values())
    assert outcomes[0] == "a clip"
    assert outcomes.count("a clip") < 80
    assert found["peak_mb"] < 250


def with_size(path: Path, side: int) -> Path:
    """Have an mp4's track and sample headers claim a picture of side x side."""
    data = bytearray(path.read_bytes())
    at = data.index(b"avc1") + 4
    struct.pack_into(">HH", data, at + 24, side, side)
    at = data.index(b"tkhd") + 4
    struct.pack_into(">HxxHxx", data, at + 76, side, side)
    path.write_bytes(bytes(data))
    return path


def atom(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def with_table(path: Path, kind: bytes, offset: int, *values: int) -> Path:
    """Overwrite 32-bit numbers of an mp4's first table of a kind."""
    data = bytearray(path.read_bytes())
    struct.pack_into(f">{len(values)}I", data, data.index(kind) + 4 + offset, *values)
    path.write_bytes(bytes(data))
    return path


def test_lying_and_foreign_files_are_refused_or_taken_as_what_they_are(tmp_path: Path) -> None:
    def mp4(name: str) -> Path:
        return write_media(tmp_path / name, frames=gray_frames(6, 64, 64), sound=tone(0.75, 16_000))

    real, wave = mp4("real.mp4").read_bytes(), tmp_path / "hours.wav"
    write_media(wave, sound=tone(0.5, 16_000), audio_codec="pcm_s16le", audio_format="s16")
    data = bytearray(wave.read_bytes())
    struct.pack_into("<I", data, data.index(b"data") + 4, 0xFFFFFFF0)
    wave.write_bytes(bytes(data))
    reference = atom(b"rdrf", b"\0\0\0\0url \0\0\0\x09real.mp4\0")
    files = {
        "refused": {
            "empty.mp4": b"",
            "text.mp4": b"I am no film.\n" * 400,
            "zip.mp4": b"PK\x03\x04" + bytes(500),
            "zeros.mp4": bytes(5000),
            "head.mp4": real[:48],
            "cut.mp4": real[: len(real) // 2],
            "playlist.mp4": b"#EXTM3U\n#EXTINF:1,\nreal.mp4\n#EXT-X-ENDLIST\n",
            "list.mkv": b"ffconcat version 1.0\nfile real.mp4\n",
            "reference.mp4": atom(b"moov", atom(b"rmra", atom(b"rmda", reference))),
            "endless.mp4": b"\0\0\0\x08free" * 200_000,
            "wide.mp4": b"\0\0\0\x10ftypisom" + bytes(4) + struct.pack(">I4sQ", 1, b"moov", 1 << 62) + bytes(40),
        },
        "a clip": {"picture.mp4": write_image(tmp_path / "a.png", gray_frames(1)[0]).read_bytes(), "film.png": real},
    }  # fmt: skip
    for kind in files.values():
        for name, content in kind.items():
            (tmp_path / name).write_bytes(content)
    refused = [
        *(tmp_path / name for name in files["refused"]),
        with_table(mp4("frames.mp4"), b"stsz", 4, 1, 10**9),
        *(png_declaring(tmp_path / f"{side}.png", side, side) for side in (100_000, 50_000)),
        tmp_path / "no such.mp4",
        tmp_path,
    ]
    taken = [
        wave,  # its sound ends where the file does, as in one that was streamed
        with_size(mp4("large.mp4"), 65_535),
        with_table(mp4("times.mp4"), b"stts", 4, 1, 10**9, 1),
        with_declared_seconds(mp4("ages.mp4"), 10**8),
    ]
    found = decoded([*refused, *taken, *(tmp_path / name for name in files["a clip"])])
    outcomes = found["outcomes"]
    wrong = [path.name for path in refused if outcomes[path.name] == "a clip"]
    assert wrong == []
    assert {outcomes[name] for name in [*files["a clip"], *(path.name for path in taken)]} == {"a clip"}
    assert "is not a media file that is read" in outcomes["playlist.mp4"]
    assert found["peak_mb"] < 250


def test_a_stream_that_appears_late_in_the_file_is_passed_over(tmp_path: Path) -> None:
    """Of mpeg-ts: a packet that carries another stream's number. What was there at the opening is the clip."""
    path = write_media(tmp_path / "a.ts", frames=gray_frames(12, 64, 64), sound=tone(1.5, 16_000), video_codec="mpeg4")
    data = bytearray(path.read_bytes())
    starts = [at for at in range(0, len(data), 188) if data[at + 1] & 0x40 and data[at + 2] == 1]
    data[starts[-1] + 2] = 3
    path.write_bytes(bytes(data))
    clip = decode_file(path, MediaBudget(num_frames=4, fps=None))
    assert clip.frames_THWC is not None
    assert clip.waveform_N is not None
    assert 1.2 < len(clip.waveform_N) / 16_000 < 1.6
