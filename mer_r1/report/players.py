"""Where the page plays a clip from: a file beside it by its relative URL, or a copy within the page.

A file is named by a relative URL only when it is there and at most MAX_UP folders above the page's folder, so that no
path of a machine stands on the page. With a limit in bytes, files are copied into the page as long as they fit under
it, those that are asked for first before others: cards before the browser's samples. Only kinds that browsers play are
copied (EMBEDDED), by their suffix; what a file holds is not looked at, for a player runs nothing. A copy stands once:
in the player of a card, or else in a block of base64 that the browser's script reads.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from mer_r1.data.sample import Sample

MAX_UP = 2
PLAYED = ("video", "audio", "image")
EMBEDDED = {
    ".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm", ".ogv": "video/ogg",
    ".mp3": "audio/mpeg", ".m4a": "audio/mp4", ".aac": "audio/aac", ".wav": "audio/wav", ".ogg": "audio/ogg",
    ".oga": "audio/ogg", ".opus": "audio/ogg", ".flac": "audio/flac",
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".gif": "image/gif", ".webp": "image/webp",
    ".avif": "image/avif", ".bmp": "image/bmp",
}  # fmt: skip


@dataclass(frozen=True)
class Copy:
    """A file within the page: its element's id, its media type, and its bytes in base64."""

    id: str
    type: str
    base64: str

    @property
    def uri(self) -> str:
        """The file as a data URI."""
        return f"data:{self.type};base64,{self.base64}"


@dataclass(frozen=True)
class Player:
    """A medium of a card, of a kind of PLAYED: `url` None where its file is too far from the page.

    `id` names the element where it is the place of a copy; empty elsewhere.
    """

    kind: str
    url: str | None
    id: str = ""


class PageMedia:
    """The media of one page in `folder`; copies take at most `limit` bytes of files."""

    def __init__(self, folder: Path, limit: int = 0) -> None:
        self._folder = folder
        self._left = limit
        self._copies: dict[Path, Copy | None] = {}
        self._placed: set[str] = set()

    def players(self, sample: Sample) -> tuple[Player, ...]:
        """The players of a card, of every medium of the sample whose file is there."""
        found = ((kind, getattr(sample, kind)) for kind in PLAYED)
        return tuple(self._player(kind, path) for kind, path in found if path is not None and path.is_file())

    def reference(self, path: Path) -> str | None:
        """What the browser's script finds a file by: `#` and the id of a copy, or a relative URL; None: not near."""
        copy = self._copy(path)
        return f"#{copy.id}" if copy else relative_url(path, self._folder)

    def blocks(self) -> Iterator[Copy]:
        """The copies that no card holds."""
        return (copy for copy in self._copies.values() if copy and copy.id not in self._placed)

    @property
    def num_copies(self) -> int:
        """How many files are within the page."""
        return sum(copy is not None for copy in self._copies.values())

    def _player(self, kind: str, path: Path) -> Player:
        copy = self._copy(path)
        if copy is None:
            return Player(kind, relative_url(path, self._folder))
        is_first = copy.id not in self._placed
        self._placed.add(copy.id)
        return Player(kind, copy.uri, copy.id if is_first else "")

    def _copy(self, path: Path) -> Copy | None:
        if path not in self._copies:
            self._copies[path] = self._read(path)
        return self._copies[path]

    def _read(self, path: Path) -> Copy | None:
        media_type = EMBEDDED.get(path.suffix.lower())
        try:
            if media_type is None or not path.is_file() or not 0 < path.stat().st_size <= self._left:
                return None
            content = path.read_bytes()
        except OSError:  # a page stands without its clips
            return None
        self._left -= len(content)
        return Copy(f"media-{self.num_copies}", media_type, base64.b64encode(content).decode("ascii"))


def relative_url(path: Path, folder: Path) -> str | None:
    """The URL of a file relative to a page in `folder`, percent-encoded; None when it is not there or not near."""
    target, base = os.path.abspath(path), os.path.abspath(folder)
    common = os.path.commonpath([target, base])
    parts = os.path.relpath(target, base).split(os.sep)
    if common == os.path.dirname(common) or parts.count("..") > MAX_UP or not os.path.isfile(target):
        return None
    return "/".join(quote(os.fsencode(part), safe="") for part in parts)
