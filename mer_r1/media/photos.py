"""Photographs that no stream of FFmpeg holds whole: HEIF (heic, avif), and an animated webp, of which the first frame.

Each becomes one frame for `PictureTaker`, with the turn that sets it upright.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple, cast

import av
import numpy as np
import PIL
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from mer_r1.errors import InputError
from mer_r1.media.budget import MediaBudget
from mer_r1.media.formats import FIX, HEIF, open_media, packets
from mer_r1.media.heif import CONVERT, Grid, read_photo
from mer_r1.media.lengths import Deadline
from mer_r1.media.orientation import Turn, still_turn

Pixels = NDArray[np.uint8]

_WEBP_ANIMATION_FLAG = 0x02


class Photograph(NamedTuple):
    """One opened photograph: its stored frame, how it is turned, and what decoded it."""

    frame: av.VideoFrame
    turn: Turn
    decoder: str


def open_photograph(path: Path, demuxer: str, budget: MediaBudget, deadline: Deadline) -> Photograph | None:
    """The photograph of a file; None where the file is one that FFmpeg reads whole.

    Raises InputError for a photograph that is damaged, too large, or of a kind that is not read.
    """
    if demuxer == HEIF:
        return _heif(path, budget, deadline)
    if demuxer == "webp_pipe":
        with open(path, "rb") as handle:
            head = handle.read(30)
        if head[12:16] == b"VP8X" and head[20] & _WEBP_ANIMATION_FLAG:
            width, height = (1 + int.from_bytes(head[at : at + 3], "little") for at in (24, 27))
            _check_size(path, width, height, budget)
            return _animated_webp(path)
    return None


def _check_size(path: Path, width: int, height: int, budget: MediaBudget) -> None:
    if not 0 < width * height <= budget.max_source_pixels:
        raise InputError(
            f"{path}: the picture is {width} x {height} pixels, more than {budget.max_source_pixels} in all; shrink it"
        )


def _animated_webp(path: Path) -> Photograph:
    try:
        with Image.open(path, formats=("WEBP",)) as image:
            rgba_HWC = np.asarray(image.convert("RGBA"))
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError):
        raise InputError(f"{path}: its first frame cannot be decoded; {FIX}") from None
    return Photograph(
        av.VideoFrame.from_ndarray(rgba_HWC, format="rgba"),
        still_turn(path, "webp_pipe"),
        f"Pillow {PIL.__version__}, webp",
    )


def _heif(path: Path, budget: MediaBudget, deadline: Deadline) -> Photograph:
    photo = read_photo(path)
    pixels_HWC = _empty(path, photo.colour, 3 if photo.alpha is None else 4, budget)
    canvases = [_Canvas(path, photo.colour, pixels_HWC[..., :3])]
    if photo.alpha is not None:
        canvases.append(_Canvas(path, photo.alpha, _empty(path, photo.alpha, 1, budget)))
    with open_media(path, budget) as container:
        codec = _fill(path, container, canvases, budget, deadline)
    if photo.alpha is not None:
        alpha = av.VideoFrame.from_ndarray(canvases[1].pixels_HWC[..., 0], format="gray")
        pixels_HWC[..., 3] = alpha.reformat(photo.colour.width, photo.colour.height).to_ndarray()
    kept_HWC = np.ascontiguousarray(pixels_HWC[photo.crop])
    frame = av.VideoFrame.from_ndarray(kept_HWC, format="rgb24" if photo.alpha is None else "rgba")
    return Photograph(frame, photo.turn, f"PyAV {av.__version__}, {codec}")


def _empty(path: Path, grid: Grid, channels: int, budget: MediaBudget) -> Pixels:
    _check_size(path, grid.width, grid.height, budget)
    return np.empty((grid.height, grid.width, channels), np.uint8)


class _Canvas:
    """A grid's picture while its tiles come in: uint8 H x W x 3, of transparency H x W x 1."""

    def __init__(self, path: Path, grid: Grid, pixels_HWC: Pixels) -> None:
        self.pixels_HWC = pixels_HWC
        self.cells: defaultdict[int, list[int]] = defaultdict(list)
        for cell, item in enumerate(grid.items):
            self.cells[item].append(cell)
        self._path = path
        self._grid = grid
        self._tile_shape: tuple[int, ...] | None = None

    def place(self, item: int, tile_HWC: Pixels) -> None:
        """Put a tile where it belongs. Raises InputError where the tiles do not fit each other or the picture."""
        grid, (height, width) = self._grid, tile_HWC.shape[:2]
        self._tile_shape = self._tile_shape or tile_HWC.shape
        rows = len(grid.items) // grid.columns
        if tile_HWC.shape != self._tile_shape or width * grid.columns < grid.width or height * rows < grid.height:
            raise InputError(f"{self._path}: its tiles do not make up its {grid.width} x {grid.height} pixels; {FIX}")
        for cell in self.cells.pop(item):
            top, left = cell // grid.columns * height, cell % grid.columns * width
            part_HWC = self.pixels_HWC[top : top + height, left : left + width]
            height_kept, width_kept, channels = part_HWC.shape
            part_HWC[:] = tile_HWC[:height_kept, :width_kept, :channels]


def _fill(
    path: Path, container: InputContainer, canvases: list[_Canvas], budget: MediaBudget, deadline: Deadline
) -> str:
    """Decode the coded items of all canvases in one pass; the name of their codec.

    Raises InputError where one is missing, damaged, or in a codec that cannot be decoded.
    """
    streams = [stream for stream in container.streams.video if any(stream.id in canvas.cells for canvas in canvases)]
    for stream in streams:
        # PyAV's types say that there always is a codec context; a codec that this FFmpeg cannot decode leaves it None.
        if getattr(stream, "codec_context", None) is None:
            raise InputError(f"{path}: is a HEIF photo in a codec that cannot be decoded here; {CONVERT}")
        stream.codec_context.options = {"max_pixels": str(budget.max_source_pixels), "err_detect": "explode"}
        stream.codec_context.thread_count = 1
    reformatter = VideoReformatter()
    for packet in packets(container, streams):
        for frame in cast(VideoStream, packet.stream).decode(packet):
            if frame.is_corrupt:
                raise InputError(f"{path}: the picture is damaged; {FIX}")
            tile_HWC = cast(Pixels, reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray())
            for canvas in canvases:
                if packet.stream.id in canvas.cells:
                    canvas.place(packet.stream.id, tile_HWC)
        deadline.check()
    if any(canvas.cells for canvas in canvases):
        raise InputError(f"{path}: the picture is not whole, some of its tiles are missing or cannot be decoded; {FIX}")
    return streams[0].codec_context.name
