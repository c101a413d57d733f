"""The media files below a folder, and which of them a cell of a foreign table means.

A path in a table is data. It is taken where it leads to a file below the media folder, or below the table's own folder;
one that leads elsewhere ("../..", an absolute path of another machine) is never followed: the file of that name below
the media folder is taken where there is exactly one, by the most folders of its path that agree, and no other path may
mean the same. A name without an ending means the files of that name: one video, one sound, and a picture where there is
no video.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path, PurePosixPath

from mer_r1.data.media_names import media_kind
from mer_r1.errors import InputError
from mer_r1.text import printable

KINDS = ("video", "audio", "image")


class NotFound(Exception):
    """A medium is not there; the text says why."""


@dataclass
class MediaFiles:
    """Where media are looked for: below `root`, and for paths also below `beside`, the folder of the table.

    `renamed` collects the names of which the file has another ending.
    """

    root: Path
    beside: Path
    searched: bool = True
    renamed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """The files are listed once."""
        self._by_name: defaultdict[str, list[Path]] = defaultdict(list)
        self._by_stem: defaultdict[str, list[Path]] = defaultdict(list)
        self._taken_for: dict[Path, str] = {}
        self._allowed = tuple(Path(os.path.abspath(folder)) for folder in (self.root, self.beside))
        self.example: str | None = None
        for path in _files_below(self.root) if self.searched else ():
            self._by_name[path.name.casefold()].append(path)
            self._by_stem[path.stem.casefold()].append(path)
            self.example = self.example or path.relative_to(self.root).as_posix()

    def find(self, text: str, kind: str, where: str) -> Path:
        """The file that a cell means. Raises NotFound, and InputError where several are meant or it is a URL."""
        if "://" in text or text.startswith("data:"):
            raise InputError(f"{where}: {kind} is a URL ({printable(text)!r}); download it and give the file's path")
        name = text.replace("\\", "/")
        for folder in self._allowed:
            path = Path(os.path.normpath(folder / name))
            if any(path.is_relative_to(allowed) for allowed in self._allowed) and os.path.isfile(path):
                return _with_bytes(path)
        wanted = PurePosixPath(name)
        leads_out = wanted.is_absolute() or ".." in wanted.parts or name[1:3] == ":/"
        found = self._below(wanted, kind, where, leads_out)
        if found is None:
            raise NotFound(self._why(text, leads_out))
        if leads_out and self._taken_for.setdefault(found, name) != name:
            first = self._taken_for[found]
            raise InputError(
                f"{where}: {printable(text, 120)!r} leads out of {self.root}, and the only file of this name there is "
                f"taken for {printable(first, 120)!r}; give --media the folder that holds both, or correct the paths"
            )
        return _with_bytes(found)

    @property
    def elsewhere(self) -> dict[str, Path]:
        """The paths that lead out of the folders, and the file below that was taken for each."""
        return {text: path for path, text in self._taken_for.items()}

    def of_id(self, identity: str, where: str) -> dict[str, Path]:
        """The media whose files are named by an id, by kind; a picture only where there is no video."""
        wanted = PurePosixPath(identity.replace("\\", "/"))
        wanted = wanted.with_suffix("") if media_kind(identity) else wanted
        found = {kind: path for kind in KINDS if (path := self._below(wanted, kind, where, False)) is not None}
        if "video" in found:
            found.pop("image", None)
        if not found:
            raise NotFound(self._why(identity, leads_out=False))
        return {kind: _with_bytes(path) for kind, path in found.items()}

    def _below(self, wanted: PurePosixPath, kind: str, where: str, leads_out: bool) -> Path | None:
        """The file below the folder that has this name, with or without its ending, or the same with another ending."""
        has_ending = media_kind(wanted.name) is not None
        listed = self._by_name if has_ending else self._by_stem
        found = self._fitting(listed[wanted.name.casefold()], wanted, kind, leads_out)
        if not found and has_ending:
            found = self._fitting(self._by_stem[wanted.stem.casefold()], wanted, kind, leads_out)
            self.renamed += [str(wanted)] if found else []
        if len(found) > 1:
            shown = " and ".join(printable(path.relative_to(self.root).as_posix(), 100) for path in sorted(found)[:2])
            raise InputError(
                f"{where}: {printable(wanted)!r} may be {shown}; give --media the folder of one of them, or a column "
                f"of paths (--{kind} COL)"
            )
        return found[0] if found else None

    def _fitting(self, paths: list[Path], wanted: PurePosixPath, kind: str, leads_out: bool) -> list[Path]:
        """Of files of a name those that fit best: all folders that a name has must agree, of a path from elsewhere
        the last ones."""
        ranked: defaultdict[tuple[int, bool], list[Path]] = defaultdict(list)
        folders = [part for part in wanted.parent.parts if part != "/"]
        for path in paths:
            agree = _num_alike(path.parent.parts, folders)
            if media_kind(path.name) == kind and (leads_out or agree == len(folders)):
                ranked[agree, wanted.name in (path.name, path.stem)].append(path)
        return ranked[max(ranked)] if ranked else []

    def _why(self, text: str, leads_out: bool) -> str:
        if leads_out:
            below = ", and no file of this name is below" if self.searched else ""
            return f"leads out of {self.root}{below}; give --media the folder that holds it"
        if not self.searched:
            return "no such file beside the table; give the folder of the media: --media DIR"
        nearest = f" (there is {printable(self.example)})" if self.example else ", nor any media file"
        return f"no such file below {self.root}{nearest}"


def _num_alike(parts: Sequence[str], others: Sequence[str]) -> int:
    """How many folders of two paths are the same, from the last one on."""
    pairs = zip(reversed(parts), reversed(others), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0].casefold() == pair[1].casefold(), pairs))


def _with_bytes(path: Path) -> Path:
    if not path.stat().st_size:
        raise NotFound("the file is empty")
    return path


def _files_below(root: Path) -> Iterator[Path]:
    """The media files below a folder, in the order of their names; hidden ones are passed over, links are followed."""
    seen: set[str] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        if real in seen:
            continue
        seen.add(real)
        yield from (Path(folder, name) for name in sorted(names) if not name.startswith(".") and media_kind(name))
