"""Photographs in tiles (heic, avif) are joined, turned and cut; an animated webp is its first frame."""

import random
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from mer_r1.media import MediaBudget, decode_file, read_clip
from mer_r1.media.heif import read_photo
from tests.media.make_heif import ALPHA, AV1, HEVC, Item, box, clap, coded, full_box, grid, imir, irot, ispe, write_heif

EXACT = MediaBudget(size_multiple=2, frames_multiple=1, min_pixels=0)
CODECS = pytest.mark.parametrize("codec", [HEVC, AV1])


def photo(path: Path) -> NDArray[np.int64]:
    """The picture that a file gives, H x W x 3."""
    clip = read_clip(Sample("a", image=path), EXACT)
    assert clip.frames_THWC is not None
    assert clip.facts.size == clip.frames_THWC.shape[2:0:-1]
    picture_HWC: NDArray[np.int64] = clip.frames_THWC[0].astype(np.int64)
    return picture_HWC


def gradient(width: int, height: int) -> NDArray[np.uint8]:
    """Red grows to the right, green downwards; blue is bright in the top left quarter."""
    picture_HWC = np.zeros((height, width, 3), np.uint8)
    picture_HWC[..., 0] = np.linspace(20, 220, width)
    picture_HWC[..., 1] = np.linspace(20, 220, height)[:, None]
    picture_HWC[: height // 2, : width // 2, 2] = 200
    return picture_HWC


def tiled(folder: Path, picture_HWC: NDArray[np.uint8], side: int, codec: bytes, *properties: bytes) -> Path:
    """The picture as tiles of side x side; those at the right and below overhang it."""
    height, width = picture_HWC.shape[:2]
    rows, columns = -(-height // side), -(-width // side)
    padded = np.pad(picture_HWC, ((0, rows * side - height), (0, columns * side - width), (0, 0)), mode="edge")
    items = []
    for row in range(rows):
        for column in range(columns):
            top, left = row * side, column * side
            items.append(coded(folder, np.ascontiguousarray(padded[top : top + side, left : left + side]), codec))
    items.append(grid(rows, columns, width, height, *properties))
    return write_heif(folder / "a.heic", items, len(items))


@CODECS
@pytest.mark.parametrize(("width", "height"), [(192, 128), (150, 110)])
def test_tiles_are_joined_and_what_overhangs_is_cut(tmp_path: Path, codec: bytes, width: int, height: int) -> None:
    picture_HWC = gradient(width, height)
    assert np.abs(photo(tiled(tmp_path, picture_HWC, 64, codec)) - picture_HWC).mean() < 3


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_a_photograph_is_turned_and_then_mirrored(tmp_path: Path, quarters: int, axis: int | None) -> None:
    picture_HWC = gradient(192, 128)
    mirror = [] if axis is None else [imir(axis)]
    want_HWC = np.rot90(picture_HWC, quarters)  # counterclockwise
    if axis is not None:
        want_HWC = np.flip(want_HWC, axis)
    assert np.abs(photo(tiled(tmp_path, picture_HWC, 64, HEVC, irot(quarters), *mirror)) - want_HWC).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_avif_is_turned_as_its_own_library_turns_it(tmp_path: Path, orientation: int) -> None:
    path, exif = tmp_path / "a.avif", Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(gradient(96, 64)).save(path, quality=95, subsampling="4:4:4", exif=exif)
    upright_HWC = np.asarray(ImageOps.exif_transpose(Image.open(path))).astype(np.int64)
    assert np.abs(photo(path) - upright_HWC).mean() < 3


def test_a_clean_aperture_is_cut_out_before_the_turn(tmp_path: Path) -> None:
    picture_HWC = gradient(192, 128)
    path = tiled(tmp_path, picture_HWC, 64, HEVC, clap(100, 60, 20, -8), irot(1))
    want_HWC = np.rot90(picture_HWC[30:90, 56:156], 1)
    assert np.abs(photo(path) - want_HWC).mean() < 3


@CODECS
def test_the_primary_item_is_the_photograph_not_the_first_or_the_largest(tmp_path: Path, codec: bytes) -> None:
    others = [coded(tmp_path, np.full((side, side, 3), 250, np.uint8), codec) for side in (64, 256)]
    mine = coded(tmp_path, gradient(96, 64), codec)
    path = write_heif(tmp_path / "a.heic", [*others, mine], 3)
    assert np.abs(photo(path) - gradient(96, 64)).mean() < 3


@pytest.mark.parametrize("key", ["video", "image"])
@pytest.mark.parametrize("suffix", ["heic", "avif"])
def test_a_photograph_is_one_frame_under_either_key(tmp_path: Path, key: str, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "avif":
        Image.fromarray(gradient(96, 64)).save(path)
    else:
        tiled(tmp_path, gradient(96, 64), 64, HEVC)
    clip = read_clip(Sample("a", **{key: path}), MediaBudget())  # type: ignore[arg-type]
    assert clip.facts.frame_times_s == (0.0,)
    assert clip.facts.video_s is None
    assert clip.waveform_N is None


@pytest.mark.parametrize("alpha_side", [96, 48])
def test_transparency_of_a_photograph_lies_over_white(tmp_path: Path, alpha_side: int) -> None:
    red, veil = np.zeros((64, 96, 3), np.uint8), np.zeros((64 * alpha_side // 96, alpha_side, 3), np.uint8)
    red[..., 0] = 200
    veil[:, alpha_side // 2 :] = 255
    alpha = coded(tmp_path, veil, AV1)
    alpha.properties += (full_box(b"auxC", ALPHA),)
    alpha.helps = 1
    picture_HWC = photo(write_heif(tmp_path / "a.avif", [coded(tmp_path, red, AV1), alpha], 1))
    assert picture_HWC[:, :40].min() > 245
    assert np.abs(picture_HWC[:, 56:] - (200, 0, 0)).max() < 12


def test_avif_with_transparency_as_its_own_library_writes_it(tmp_path: Path) -> None:
    rgba_HWC = np.dstack([gradient(96, 64), np.full((64, 96), 255, np.uint8)])
    rgba_HWC[:, :48, 3] = 0
    Image.fromarray(rgba_HWC).save(tmp_path / "a.avif", quality=95, subsampling="4:4:4")
    picture_HWC = photo(tmp_path / "a.avif")
    assert picture_HWC[:, :44].min() > 245
    assert np.abs(picture_HWC[:, 52:] - rgba_HWC[:, 52:, :3]).mean() < 3


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        decode_file(path, EXACT)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message


@CODECS
def test_a_photograph_cut_short_anywhere_is_refused(tmp_path: Path, codec: bytes) -> None:
    path = tiled(tmp_path, gradient(192, 128), 64, codec)
    data = path.read_bytes()
    for kept in [len(data) - cut for cut in (1, 2, 20)] + [len(data) * k // 10 for k in range(1, 10)]:
        path.write_bytes(data[:kept])
        refusal(path)


def test_what_is_not_read_is_refused_by_name(tmp_path: Path) -> None:
    tile = coded(tmp_path, gradient(96, 64))

    def refused(*items: Item) -> str:
        return refusal(write_heif(tmp_path / "a.heic", [tile, *items], 1 + len(items)))

    for kind in (b"iovl", b"iden"):
        item = Item(kind, bytes(16), (ispe(96, 64),), tiles=(1,))
        assert f"is a HEIF photo of kind '{kind.decode()}', which is not read; convert it to jpg or png" in refused(
            item
        )
    odd = Item(tile.kind, tile.body, (*tile.properties, box(b"zzzz", b"1")), essential=True)
    assert "is a HEIF photo with 'zzzz', which is not read; convert it to jpg or png" in refused(odd)
    late = Item(tile.kind, tile.body, (*tile.properties, irot(1), clap(20, 20, 0, 0)), essential=True)
    assert "is a HEIF photo with 'clap', which is not read" in refused(late)
    assert "cannot be decoded" in refused(Item(b"zzzz", tile.body, tile.properties))


def test_tiles_that_do_not_make_up_the_picture_are_refused(tmp_path: Path) -> None:
    tiles = [coded(tmp_path, gradient(64, 64)) for _ in range(2)]
    assert "do not make up its 200 x 64 pixels" in refusal(
        write_heif(tmp_path / "a.heic", [*tiles, grid(1, 2, 200, 64)], 3)
    )
    unlike = [tiles[0], coded(tmp_path, gradient(96, 64))]
    assert "do not make up its 128 x 64 pixels" in refusal(
        write_heif(tmp_path / "a.heic", [*unlike, grid(1, 2, 128, 64)], 3)
    )
    few = grid(1, 2, 128, 64)
    few.tiles = (1,)
    assert "its description of the photograph cannot be read" in refusal(
        write_heif(tmp_path / "a.heic", [*tiles, few], 3)
    )


def test_a_size_over_the_limit_costs_nothing(tmp_path: Path) -> None:
    path = tiled(tmp_path, gradient(192, 128), 64, HEVC)
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack(">BBBBHH", 0, 0, 1, 2, 192, 128), b"\0\0\1\2\xff\xff\xff\xff"))
    assert "the picture is 65535 x 65535 pixels, more than 64000000 in all; shrink it" in refusal(path)


def test_a_table_of_pieces_without_bytes_is_refused_at_once(tmp_path: Path) -> None:
    path = write_heif(tmp_path / "a.heic", [coded(tmp_path, gradient(64, 64))], 1)
    data = path.read_bytes()
    at = data.index(b"iloc") + 8
    entries = struct.pack(">HHHH", 1, 0, 0, 0xFFFF) * 2
    path.write_bytes(data[:at] + b"\0\0" + struct.pack(">H", 0xFFFF) + entries[: len(data[at + 4 :])] + data[at + 20 :])
    assert "its description of the photograph cannot be read" in refusal(path)


@pytest.mark.slow
def test_any_damage_to_the_description_gives_a_picture_or_one_input_error(tmp_path: Path) -> None:
    path = tiled(tmp_path, gradient(128, 64), 64, AV1, irot(1))
    whole = path.read_bytes()
    size, draws, outcomes = whole.index(b"mdat"), random.Random(0), []
    words = (b"\0", b"\x7f", b"\xff\xff\xff\xff", b"\0\0\0\1")
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(draws.choice((1, 1, 4))):
            at, word = draws.randrange(32, size), draws.choice((*words, draws.randbytes(4)))
            data[at : at + len(word)] = word
        path.write_bytes(data)
        try:
            decode_file(path, EXACT)
        except InputError as error:
            outcomes.append(str(error))
    assert 30 < len(outcomes) < 270
    assert all(outcome.startswith(f"{path}: ") for outcome in outcomes)


def test_an_animated_webp_is_its_first_frame(tmp_path: Path) -> None:
    path, exif = tmp_path / "a.webp", Image.Exif()
    exif[0x0112] = 6
    rgba_HWC = np.dstack([gradient(96, 64), np.full((64, 96), 255, np.uint8)])
    rgba_HWC[:20, :, 3] = 0
    first = Image.fromarray(rgba_HWC)
    others = [Image.fromarray(rgba_HWC[::-1].copy())] * 2
    first.save(path, save_all=True, append_images=others, duration=100, lossless=True, exif=exif)
    want_HWC = gradient(96, 64)
    want_HWC[:20] = 255
    assert np.abs(photo(path) - np.rot90(want_HWC, 3)).max() <= 1
    data = path.read_bytes()
    for kept in (len(data) - 1, len(data) // 2, 40):
        path.write_bytes(data[:kept])
        refusal(path)


def test_a_film_with_a_photograph_in_it_is_a_film(tmp_path: Path) -> None:
    path = tmp_path / "a.avif"
    frames = [Image.fromarray(np.full((64, 96, 3), level, np.uint8)) for level in (40, 120, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    clip = decode_file(path, MediaBudget(num_frames=3, frames_multiple=1, fps=None))
    assert clip.frames_THWC is not None
    assert clip.frames_THWC.mean((1, 2, 3)) == pytest.approx([40, 120, 200], abs=4)


def test_the_description_is_read_as_it_stands(tmp_path: Path) -> None:
    found = read_photo(tiled(tmp_path, gradient(150, 110), 64, HEVC, irot(3)))
    assert found.colour == (150, 110, 3, (1, 2, 3, 4, 5, 6))
    assert found.alpha is None
    assert found.turn == (True, True, False)
