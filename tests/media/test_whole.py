"""A picture is whole or refused: cut short, without its end, or damaged within, in every still format and in gifs."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from mer_r1.media import MediaBudget, decode_file
from mer_r1.media.gif import frame_is_whole, holds_frame
from mer_r1.media.validate import MediaRow, inspect_row
from tests.media.make_media import write_media

BUDGET = MediaBudget(num_frames=8, fps=None, size_multiple=2, min_pixels=0)


def scene() -> Image.Image:
    """160 x 120, with detail everywhere."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)).resize(
        (160, 120), Image.Resampling.BICUBIC
    )
    return Image.fromarray(np.asarray(coarse) // 2 + rng.integers(0, 60, (120, 160, 3), dtype=np.uint8))


def exif() -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = 3
    return block


STILLS: dict[str, Callable[[Path], None]] = {
    "a.jpg": lambda path: scene().save(path),
    "exif.jpg": lambda path: scene().save(path, exif=exif()),
    "progressive.jpg": lambda path: scene().save(path, progressive=True),
    "restarts.jpg": lambda path: scene().save(path, restart_marker_rows=1),
    "gray.jpg": lambda path: scene().convert("L").save(path),
    "cmyk.jpg": lambda path: scene().convert("CMYK").save(path),
    "a.png": lambda path: scene().save(path),
    "palette.png": lambda path: scene().quantize(64).save(path, transparency=3),
    "16 bit.png": lambda path: Image.fromarray(np.asarray(scene().convert("L")).astype(np.uint16) * 257).save(path),
    "a.gif": lambda path: scene().quantize(64).save(path),
    "transparent.gif": lambda path: scene().quantize(64).save(path, transparency=3),
    "a.webp": lambda path: scene().save(path),
    "lossless.webp": lambda path: scene().save(path, lossless=True),
    "a.bmp": lambda path: scene().save(path),
    "palette.bmp": lambda path: scene().quantize(64).save(path),
    "a.tif": lambda path: scene().save(path),
    "lzw.tif": lambda path: scene().save(path, compression="tiff_lzw"),
    "deflate.tif": lambda path: scene().save(path, compression="tiff_adobe_deflate"),
    "packbits.tif": lambda path: scene().save(path, compression="packbits"),
    "a.avif": lambda path: scene().save(path),
}


def taken(path: Path) -> NDArray[np.uint8]:
    frames_THWC = decode_file(path, BUDGET, pictures="image", sound=False).frames_THWC
    assert frames_THWC is not None
    picture_HWC: NDArray[np.uint8] = frames_THWC[0]
    return picture_HWC


def refused(path: Path) -> str | None:
    """The line that refuses a file, None where it is taken."""
    try:
        taken(path)
    except InputError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017
        return str(error)
    return None


@pytest.mark.parametrize("name", STILLS)
def test_a_still_is_taken_whole_and_refused_wherever_it_is_cut(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    STILLS[name](path)
    data, whole = path.read_bytes(), taken(path)
    mean = np.asarray(scene().convert("L" if "gray" in name or "16" in name else "RGB")).mean()
    assert whole.mean() == pytest.approx(mean, abs=6)
    gif = name.endswith("gif")
    behind = 3 if gif else 1  # of a gif the trailer, the end of its blocks and the last code hold no pixel
    for cut in [behind, 4, 8, 16, 50, 200] + [len(data) * k // 10 for k in range(1, 10)]:
        path.write_bytes(data[:-cut])
        if refused(path) is None:
            assert gif
            assert cut <= 8
            assert (taken(path) == whole).all()


def test_a_picture_that_is_not_whole_is_a_problem_of_its_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    scene().save(path)
    path.write_bytes(path.read_bytes()[:-500])
    report = inspect_row(MediaRow(7, Sample("a", image=path)), BUDGET)
    assert report.error == (
        f"{path}: the picture is not whole, its end marker is missing; the file is damaged or cut short: fetch or "
        "export it again"
    )


def test_a_jpg_may_be_followed_by_anything_and_hold_a_small_one(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    scene().save(path)
    data, whole = path.read_bytes(), taken(path)
    thumbnail = b"\xff\xe1" + (2 + len(data)).to_bytes(2) + data if len(data) < 65_000 else b""
    for more in (b"\0" * 100, data, b"\x47" * 2000):
        path.write_bytes(data + more)
        assert (taken(path) == whole).all()
    path.write_bytes(data[:2] + thumbnail + data[2:])
    assert (taken(path) == whole).all()
    path.write_bytes(data[:2] + thumbnail + data[2:-2])  # the small one's end is not the end
    assert "its end marker is missing" in str(refused(path))


@pytest.mark.parametrize("name", ["a.jpg", "restarts.jpg", "progressive.jpg", "gray.jpg", "a.gif", "a.png"])
def test_a_piece_that_is_missing_or_overwritten_is_refused(tmp_path: Path, name: str) -> None:
    path, rng = tmp_path / name, np.random.default_rng(0)
    STILLS[name](path)
    data = path.read_bytes()
    refusals = 0
    for _ in range(20):
        at = int(rng.integers(len(data) // 3, len(data) * 4 // 5))
        path.write_bytes(data[:at] + data[at + 300 :])
        refusals += refused(path) is not None
        path.write_bytes(data[:at] + rng.bytes(300) + data[at + 300 :])
        refusals += refused(path) is not None
    assert refusals >= 32


def animated(path: Path) -> bytes:
    """Five frames of 0.1 s, each all of one gray but for a little noise."""
    rng = np.random.default_rng(0)
    frames = [Image.fromarray((rng.integers(0, 8, (120, 160)) + 40 * k).astype(np.uint8)) for k in range(1, 6)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    return path.read_bytes()


def test_a_gif_cut_within_a_frame_is_refused_where_that_frame_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    data = animated(path)
    whole_THWC = decode_file(path, BUDGET).frames_THWC
    assert whole_THWC is not None
    for kept in (len(data) - 60, len(data) * 2 // 3, len(data) // 2):
        path.write_bytes(data[:kept])
        with pytest.raises(InputError, match=r"the picture at 0\.\d\d s is damaged"):
            decode_file(path, BUDGET)
        assert (taken(path) == whole_THWC[0]).all()  # the first frame is there
    path.write_bytes(data[:-60])
    early = decode_file(path, MediaBudget(num_frames=4, fps=None, max_video_s=0.4, size_multiple=2, min_pixels=0))
    assert early.frames_THWC is not None
    assert early.frames_THWC.mean((1, 2, 3)) == pytest.approx([43.5, 83.5, 123.5, 163.5], abs=2)  # all but the cut one
    path.write_bytes(data[:-1])  # the trailer alone
    without_THWC = decode_file(path, BUDGET).frames_THWC
    assert without_THWC is not None
    assert np.array_equal(without_THWC, whole_THWC)


@pytest.mark.parametrize("suffix", ["avi", "mov"])
def test_a_film_of_jpgs_cut_within_one_is_refused_where_that_one_is_wanted(tmp_path: Path, suffix: str) -> None:
    path, rng = tmp_path / f"a.{suffix}", np.random.default_rng(0)
    frames = [rng.integers(0, 255, (96, 96, 3), dtype=np.uint8) for _ in range(8)]
    write_media(path, frames=frames, video_codec="mjpeg", pix_fmt="yuvj420p", options={"movflags": "faststart"})
    data = path.read_bytes()
    index_bytes = len(data) - data.rindex(b"idx1") if suffix == "avi" else 0
    path.write_bytes(data[: -index_bytes - 2000])
    with pytest.raises(InputError, match=r"the picture at 0\.88 s is damaged"):
        decode_file(path, BUDGET)
    early = decode_file(path, MediaBudget(num_frames=4, fps=None, max_video_s=0.75))
    assert early.facts.frame_times_s == pytest.approx((0.0, 0.25, 0.375, 0.625), abs=0.13)


def test_pixels_of_a_gif_frame_are_counted_by_a_decoder_within_bounds(tmp_path: Path) -> None:
    data = animated(tmp_path / "a.gif")
    first = data[: data.index(b"\x21\xf9", 800)]
    assert frame_is_whole(first, 160 * 120)
    assert not frame_is_whole(first, 160 * 120 - 1)
    assert not frame_is_whole(first[:-40], 160 * 120)
    for kept in range(0, 900, 7):
        assert not frame_is_whole(first[:kept], 160 * 120)
    assert holds_frame(first[:100])
    assert not holds_frame(first[:20])
    assert not holds_frame(b"\x21\xfe\x02hi\0\x3b")
    assert not holds_frame(b"\x21\xfe\x02hi")
    odd = bytearray(first)
    odd[first.index(b"\x2c\0\0\0\0") + 10] = 255  # a size of codes that does not exist
    assert not frame_is_whole(bytes(odd), 160 * 120)


def test_a_gif_may_hold_remarks_and_be_followed_by_anything(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    data = animated(path)
    whole_THWC = decode_file(path, BUDGET).frames_THWC
    assert whole_THWC is not None
    remark, first = b"\x21\xfe\x05hello\0", data.index(b"\x21\xf9")
    before = data[:first] + remark + data[first:]
    for changed in (before, data[:-1] + remark + b"\x3b", data[:-1] + remark, data + bytes(500)):
        path.write_bytes(changed)
        clip = decode_file(path, BUDGET)
        assert clip.facts.video_s == pytest.approx(0.5)
        assert clip.frames_THWC is not None
        assert np.array_equal(clip.frames_THWC, whole_THWC)


def test_a_bmp_in_run_lengths_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    rows = b"".join(bytes((32, 5 * y, 32, 255 - 5 * y)) + b"\0\0" for y in range(48)) + b"\0\1"
    colours = b"".join(bytes((k, k, k, 0)) for k in range(256))
    start = 54 + len(colours)
    header = b"BM" + struct.pack(
        "<IIIIiiHHIIIIII", start + len(rows), 0, start, 40, 64, 48, 1, 8, 1, len(rows), 0, 0, 0, 0
    )
    path = tmp_path / "a.bmp"
    path.write_bytes(header + colours + rows)
    assert taken(path)[-1, :32].mean() == pytest.approx(0, abs=8)
    for cut in (1, 20, 100):
        path.write_bytes((header + colours + rows)[:-cut])
        assert "the picture is not whole, its rows end early" in str(refused(path))


def test_a_tiff_in_jpeg_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    scene().save(path, compression="jpeg")
    assert "is a tiff compressed as jpeg, which is not read; convert it to jpg or png" in str(refused(path))
