"""Upright, opaque and resized: what happens to a frame on its way."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from mer_r1.media import MediaBudget, decode_file
from mer_r1.media.orientation import still_turn
from tests.media.make_media import gray_frames, with_exif_orientation, write_image, write_media

PLAIN = MediaBudget(num_frames=2, fps=None)

# Where the bright quarter of the stored picture (its top left) is shown.
TOP_LEFT, TOP_RIGHT, BOTTOM_LEFT, BOTTOM_RIGHT = (0, 0), (0, 1), (1, 0), (1, 1)


def marked() -> NDArray[np.uint8]:
    """112 wide, 56 high, bright in the top left quarter."""
    picture_HWC = np.zeros((56, 112, 3), np.uint8)
    picture_HWC[:28, :56] = 250
    return picture_HWC


def bright_quarter(picture_HWC: NDArray[np.uint8]) -> tuple[int, int]:
    half_h, half_w = picture_HWC.shape[0] // 2, picture_HWC.shape[1] // 2
    means = picture_HWC.reshape(2, half_h, 2, half_w, 3).mean((1, 3, 4))
    assert sorted(means.flat)[2] < 20 < 200 < means.max()
    row, column = np.unravel_index(means.argmax(), (2, 2))
    return int(row), int(column)


@pytest.mark.parametrize(
    ("degrees", "quarter", "size"),
    [
        (0, TOP_LEFT, (112, 56)),
        (90, BOTTOM_LEFT, (56, 112)),
        (180, BOTTOM_RIGHT, (112, 56)),
        (270, TOP_RIGHT, (56, 112)),
    ],
)
def test_a_rotation_flag_counterclockwise_sets_frames_upright(
    tmp_path: Path, degrees: int, quarter: tuple[int, int], size: tuple[int, int]
) -> None:
    clip = decode_file(write_media(tmp_path / "phone.mp4", frames=[marked()] * 3, rotation=degrees), PLAIN)
    assert clip.frames_THWC is not None
    assert bright_quarter(clip.frames_THWC[0]) == quarter
    assert clip.facts.size == clip.facts.taken_size == size
    assert clip.frames_THWC.shape[1:3] == size[::-1]


@pytest.mark.parametrize(
    ("orientation", "quarter"),
    [
        (1, TOP_LEFT),
        (2, TOP_RIGHT),
        (3, BOTTOM_RIGHT),
        (4, BOTTOM_LEFT),
        (5, TOP_LEFT),
        (6, TOP_RIGHT),
        (7, BOTTOM_RIGHT),
        (8, BOTTOM_LEFT),
    ],
)
def test_exif_orientation_sets_photographs_upright(tmp_path: Path, orientation: int, quarter: tuple[int, int]) -> None:
    path = with_exif_orientation(write_image(tmp_path / "photo.jpg", marked()), orientation)
    clip = decode_file(path, PLAIN, pictures="image")
    assert clip.frames_THWC is not None
    assert bright_quarter(clip.frames_THWC[0]) == quarter
    assert clip.facts.size == ((112, 56) if orientation < 5 else (56, 112))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_exif_orientation_of_other_formats_is_followed_too(tmp_path: Path, suffix: str, orientation: int) -> None:
    path, exif = tmp_path / f"photo.{suffix}", Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(marked()).save(path, exif=exif)
    clip = decode_file(path, PLAIN, pictures="image")
    assert clip.frames_THWC is not None
    upright_HWC = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    assert bright_quarter(clip.frames_THWC[0]) == bright_quarter(upright_HWC)
    assert clip.facts.size == upright_HWC.shape[1::-1]


COLLECTS = """
import gc, sys
from pathlib import Path
from mer_r1.media import MediaBudget, decode_file
for _ in range(20):
    for name in sys.argv[1:]:
        decode_file(Path(name), MediaBudget())
    gc.collect()
"""


@pytest.mark.slow
def test_a_colour_profile_of_a_png_crashes_nothing(tmp_path: Path) -> None:
    """PyAV 18 frees the profile's name twice where it is asked for what a frame carries; also of a png in a film."""
    path, film = tmp_path / "photo.png", tmp_path / "film.mov"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(marked()).save(path, icc_profile=profile)
    with av.open(film, "w") as container:
        stream = container.add_stream("png", rate=2)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 112, 56, "rgb24"
        for k in range(3):
            packet = av.Packet(path.read_bytes())
            packet.stream, packet.time_base, packet.pts, packet.dts = stream, Fraction(1, 2), k, k
            container.mux(packet)
    done = subprocess.run([sys.executable, "-c", COLLECTS, path, film], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_exif_orientation_that_does_not_exist_is_upright(tmp_path: Path, orientation: int) -> None:
    path = with_exif_orientation(write_image(tmp_path / "photo.jpg", marked()), orientation)
    assert still_turn(path, "jpeg_pipe") == (False, False, False)


def test_exif_in_either_byte_order_and_cut_short(tmp_path: Path) -> None:
    path = with_exif_orientation(write_image(tmp_path / "photo.jpg", marked()), 6)
    data = path.read_bytes()
    little = data[12:38]
    big = b"MM\0*\0\0\0\x08" + b"\0\x01" + b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0" + bytes(4)
    assert len(big) == len(little)
    path.write_bytes(data.replace(little, big))
    assert still_turn(path, "jpeg_pipe") == (True, True, False)
    path.write_bytes(data[:20])
    assert still_turn(path, "jpeg_pipe") == (False, False, False)


def test_alpha_lies_over_white_and_no_hidden_colour_leaks(tmp_path: Path) -> None:
    rgba_HWC = np.zeros((112, 112, 4), np.uint8)
    rgba_HWC[..., 0] = 255  # red everywhere, also where it is hidden
    rgba_HWC[:, 56:, 3] = 255
    path = write_image(tmp_path / "sticker.png", rgba_HWC, pixels="rgba")
    clip = decode_file(path, MediaBudget(max_pixels=56 * 56), pictures="image")
    assert clip.frames_THWC is not None
    picture_HWC = clip.frames_THWC[0].astype(int)
    assert picture_HWC.shape == (56, 56, 3)
    assert (picture_HWC[:, :24] == 255).all()
    assert (picture_HWC[:, 32:] == [255, 0, 0]).all()


def test_half_transparent_is_the_mean_with_white(tmp_path: Path) -> None:
    rgba_HWC = np.zeros((300, 56, 4), np.uint8)  # more rows than are blended at a time
    rgba_HWC[..., 3] = 128
    clip = decode_file(write_image(tmp_path / "veil.png", rgba_HWC, pixels="rgba"), PLAIN, pictures="image")
    assert clip.frames_THWC is not None
    assert (clip.frames_THWC == 127).all()


@pytest.mark.parametrize(("pixels", "dtype", "value"), [("gray", np.uint8, 77), ("gray16be", np.uint16, 77 * 257)])
def test_gray_images_become_equal_colours(tmp_path: Path, pixels: str, dtype: type, value: int) -> None:
    path = write_image(tmp_path / "gray.png", np.full((56, 84), value, dtype), pixels=pixels)
    clip = decode_file(path, PLAIN, pictures="image")
    assert clip.frames_THWC is not None
    assert np.abs(clip.frames_THWC.astype(int) - 77).max() <= 1


@pytest.mark.parametrize(("width", "height"), [(97, 53), (33, 71), (1, 1), (641, 3)])
def test_odd_sizes_are_taken_at_whole_multiples(tmp_path: Path, width: int, height: int) -> None:
    frames = gray_frames(3, width, height)
    clip = decode_file(write_media(tmp_path / "odd.mkv", frames=frames, video_codec="ffv1", pix_fmt="yuv444p"), PLAIN)
    assert clip.frames_THWC is not None
    assert clip.facts.size == (width, height)
    assert clip.frames_THWC.shape[1] % 28 == clip.frames_THWC.shape[2] % 28 == 0
    assert clip.frames_THWC.shape[2:0:-1] == clip.facts.taken_size


def test_pixels_that_are_not_square_widen_the_frame(tmp_path: Path) -> None:
    path = write_media(tmp_path / "wide.mp4", frames=gray_frames(3, 56, 56), aspect=Fraction(2))
    assert decode_file(path, PLAIN).facts.size == (112, 56)


def test_a_large_frame_is_shrunk_smoothly_not_by_leaving_pixels_out(tmp_path: Path) -> None:
    stripes_HWC = np.zeros((560, 560, 3), np.uint8)
    stripes_HWC[:, ::2] = 255
    path = write_image(tmp_path / "stripes.png", stripes_HWC)
    clip = decode_file(path, MediaBudget(max_pixels=56 * 56, min_pixels=0), pictures="image")
    assert clip.frames_THWC is not None
    assert np.abs(clip.frames_THWC.astype(int) - 127).max() < 20
