"""What a HEIF photograph (heic, avif) is made of: its tiles, its transparency, and how it is turned.

FFmpeg hands out every coded item of such a file as a stream of its own and says nothing of how they belong together.
That stands in the `meta` box, of which this reads what a photograph needs (ISO/IEC 23008-12):

    pitm        the item that is the photograph
    iinf        each item's kind: coded (hvc1, av01), or a grid of other items
    iref        dimg: the tiles of a grid, row by row; auxl: what an auxiliary picture (transparency) belongs to
    iprp        properties (ipco) and which item has which (ipma): ispe size, clap crop, irot turn, imir mirror
    iloc, idat  where an item's bytes are: those of a grid hold its rows, columns and size
"""

from __future__ import annotations

import mmap
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mer_r1.errors import InputError
from mer_r1.media.formats import FIX
from mer_r1.media.orientation import Turn, mirrored, quarter_turned
from mer_r1.text import printable

CONVERT = "convert it to jpg or png"

# Far over what a photograph of thousands of tiles needs; they bound what a file can make this hold.
_MOST_META_BYTES, _MOST_TABLE_BYTES = 16 << 20, 1 << 19
_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", b"urn:mpeg:hevc:2015:auxid:1\0")
_HARMLESS = frozenset({b"hvcC", b"av1C", b"ispe", b"pixi", b"colr", b"auxC", b"pasp", b"irot", b"imir", b"clap"})


class Grid(NamedTuple):
    """A picture of width x height pixels as coded items, row by row; what overhangs at the right and below is cut."""

    width: int
    height: int
    columns: int
    items: tuple[int, ...]


class Photo(NamedTuple):
    """A photograph: its colours, its transparency where it has one, and what is done with them, in this order."""

    colour: Grid
    alpha: Grid | None
    crop: tuple[slice, slice]  # rows, columns
    turn: Turn


@dataclass
class _Meta:
    primary: int = 0
    kinds: dict[int, bytes] = field(default_factory=dict)
    tiles: dict[int, tuple[int, ...]] = field(default_factory=dict)
    helpers: defaultdict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    properties: defaultdict[int, list[tuple[bytes, bytes, bool]]] = field(default_factory=lambda: defaultdict(list))
    places: dict[int, list[tuple[bool, int, int]]] = field(default_factory=dict)  # in idat, offset, length
    idat: bytes = b""


def read_photo(path: Path) -> Photo:
    """The photograph of a HEIF file. Raises InputError for a broken file, and for a kind that is not read."""
    with open(path, "rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return _photo(path, data, _read_meta(data))
        except InputError:
            raise
        except (struct.error, ArithmeticError, LookupError, StopIteration, ValueError):
            raise InputError(f"{path}: its description of the photograph cannot be read; {FIX}") from None


def _photo(path: Path, data: mmap.mmap, meta: _Meta) -> Photo:
    colour = _grid(path, data, meta, meta.primary)
    rows, columns, turn = slice(0, colour.height), slice(0, colour.width), Turn()
    turned = False
    for kind, body, essential in meta.properties[meta.primary]:
        if kind == b"clap" and not turned:
            columns = _cut(colour.width, *struct.unpack_from(">IIxxxxxxxxiI", body))
            rows = _cut(colour.height, *struct.unpack_from(">IIxxxxxxxxiI", body, 8))
        elif kind == b"irot":
            turn, turned = quarter_turned(turn, body[0] & 3), True
        elif kind == b"imir":
            turn, turned = mirrored(turn, left_right=bool(body[0] & 1)), True
        elif essential and (kind == b"clap" or kind not in _HARMLESS):
            raise InputError(f"{path}: is a HEIF photo with '{_word(kind)}', which is not read; {CONVERT}")
    alpha = None
    for item in meta.helpers[meta.primary]:
        if any(kind == b"auxC" and body[4:].startswith(_ALPHA) for kind, body, _ in meta.properties[item]):
            alpha = _grid(path, data, meta, item)
    return Photo(colour, alpha, (rows, columns), turn)


def _cut(side: int, length: int, per: int, offset: int, offset_per: int) -> slice:
    """The part of a side that a clean aperture keeps: `length` / `per` pixels, its centre moved by the offset."""
    kept = length / per
    begin = max(0, round((side - kept) / 2 + offset / offset_per))
    end = min(side, begin + round(kept))
    if begin >= end:
        raise ValueError("nothing is kept")
    return slice(begin, end)


def _grid(path: Path, data: mmap.mmap, meta: _Meta, item: int) -> Grid:
    kind = meta.kinds[item]
    if kind in (b"iovl", b"iden", b"tmap"):
        raise InputError(f"{path}: is a HEIF photo of kind '{_word(kind)}', which is not read; {CONVERT}")
    if kind != b"grid":
        size = next(body for name, body, _ in meta.properties[item] if name == b"ispe")
        width, height = struct.unpack_from(">II", size, 4)
        grid = Grid(width, height, 1, (item,))
    else:
        ((in_idat, at, _),) = meta.places[item]
        body = (meta.idat if in_idat else data)[at : at + 12]
        rows, columns = body[2] + 1, body[3] + 1
        width, height = struct.unpack_from(">II" if body[1] & 1 else ">HH", body, 4)
        grid = Grid(width, height, columns, meta.tiles[item])
        if len(grid.items) != rows * columns:
            raise ValueError("a grid with missing tiles")
    for part in grid.items:
        if any(not in_idat and at + length > len(data) for in_idat, at, length in meta.places[part]):
            raise InputError(f"{path}: the picture is not whole; {FIX}")
    return grid


def _word(kind: bytes) -> str:
    return printable(kind.decode("latin-1"))


def _boxes(data: bytes | mmap.mmap, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each box of a stretch, and where its body begins and ends."""
    while at + 8 <= end:
        length, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        length = length or end - at
        if not head <= length <= end - at:
            raise ValueError("a box that ends behind its parent")
        yield kind, at + head, at + length
        at += length


def _read_meta(data: mmap.mmap) -> _Meta:
    at, end = next((at, end) for kind, at, end in _boxes(data, 0, len(data)) if kind == b"meta")
    if end - at > _MOST_META_BYTES:
        raise ValueError("a description larger than any photograph's")
    body, meta = data[at:end], _Meta()
    readers = {b"iinf": _read_kinds, b"iref": _read_references, b"iprp": _read_properties, b"iloc": _read_places}
    for kind, at, end in _boxes(body, 4, len(body)):
        box = body[at:end]
        if kind in (b"iinf", b"iref", b"iloc") and len(box) > _MOST_TABLE_BYTES:
            raise ValueError("a table larger than any photograph's")
        if kind == b"pitm":
            meta.primary = _Numbers(box, 4).next(4 if box[0] else 2)
        elif kind == b"idat":
            meta.idat = box
        elif kind in readers:
            readers[kind](box, meta)
    return meta


class _Numbers:
    """Unsigned big-endian numbers of a box, one after the other. Raises IndexError behind its end."""

    def __init__(self, box: bytes, at: int) -> None:
        self._box = box
        self.at = at

    def next(self, size: int) -> int:
        if self.at + size > len(self._box):
            raise IndexError("a box ends early")
        self.at += size
        return int.from_bytes(self._box[self.at - size : self.at])


def _read_kinds(box: bytes, meta: _Meta) -> None:
    for kind, at, end in _boxes(box, 8 if box[0] else 6, len(box)):
        if kind == b"infe" and box[at] >= 2:
            numbers = _Numbers(box[:end], at + 4)
            item = numbers.next(2 if box[at] == 2 else 4)
            meta.kinds[item] = box[numbers.at + 2 : numbers.at + 6]


def _read_references(box: bytes, meta: _Meta) -> None:
    size = 4 if box[0] else 2
    for kind, at, end in _boxes(box, 4, len(box)):
        numbers = _Numbers(box[:end], at)
        item = numbers.next(size)
        targets = tuple(numbers.next(size) for _ in range(numbers.next(2)))
        if kind == b"dimg":
            meta.tiles[item] = targets
        elif kind == b"auxl":
            for target in targets:
                meta.helpers[target].append(item)


def _read_properties(box: bytes, meta: _Meta) -> None:
    known: list[tuple[bytes, bytes]] = []
    for kind, at, end in _boxes(box, 0, len(box)):
        if kind == b"ipco":
            known = [(name, box[start:stop]) for name, start, stop in _boxes(box, at, end)]
        elif kind == b"ipma":
            if end - at > _MOST_TABLE_BYTES:
                raise ValueError("a table larger than any photograph's")
            numbers = _Numbers(box[:end], at + 4)
            size = 2 if box[at + 3] & 1 else 1
            for _ in range(numbers.next(4)):
                item = numbers.next(4 if box[at] else 2)
                for _ in range(numbers.next(1)):
                    index = numbers.next(size)
                    essential = 1 << 8 * size - 1
                    if index & ~essential:
                        meta.properties[item].append((*known[(index & ~essential) - 1], bool(index & essential)))


def _read_places(box: bytes, meta: _Meta) -> None:
    version, numbers = box[0], _Numbers(box, 6)
    offset_bytes, length_bytes, base_bytes, index_bytes = box[4] >> 4, box[4] & 15, box[5] >> 4, box[5] & 15
    for _ in range(numbers.next(4 if version == 2 else 2)):
        item = numbers.next(4 if version == 2 else 2)
        method = numbers.next(2) & 15 if version else 0
        numbers.next(2)  # the number of a file: always this one
        base = numbers.next(base_bytes)
        places = []
        num_places = numbers.next(2)
        if num_places > 1 and not offset_bytes + length_bytes:
            raise ValueError("many pieces at no place")
        for _ in range(num_places):
            if version:
                numbers.next(index_bytes)
            offset = base + numbers.next(offset_bytes)
            places.append((method == 1, offset, numbers.next(length_bytes)))
        meta.places[item] = places
