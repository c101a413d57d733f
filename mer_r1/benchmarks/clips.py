"""A data set's folder on disk: where it is, and the clips in it, found by name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mer_r1.benchmarks.tables import Table
from mer_r1.data.prepared import MissingFile
from mer_r1.errors import InputError
from mer_r1.text import printable


def find_folder(name: str, root: Path) -> Path | None:
    """The folder `name` under `root`, or `root` itself where that is its name; None where there is neither."""
    root = Path(os.path.abspath(root))
    if (root / name).is_dir():
        return root / name
    return root if root.name == name and root.is_dir() else None


def need_folder(name: str, root: Path, title: str, where: str) -> Path:
    """`find_folder` of the data set `title`. Raises InputError, ending in `where` to get it, for none."""
    folder = find_folder(name, root)
    if folder is None:
        raise InputError(f"{root}: no folder {name}, which {title} comes in; give the folder that holds it; {where}")
    return folder


def files_of(folder: Path) -> frozenset[str]:
    """The names in a folder, listed once: none where it cannot be read."""
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()


class Clips:
    """The media of one data set: `find` gives a clip's video and its separate sound.

    `folder` is the data set's, `video` and `audio` are folders in it. `missing` collects what was asked for and is not
    there; `num_without_sound` counts the clips without a sound file of their own. With `needs_sound` such a clip is
    missing too: its video is silent.
    """

    def __init__(self, folder: Path, video: str, audio: str, endings: tuple[str, ...], needs_sound: bool) -> None:
        self.folder = folder
        self.video, self.audio, self.endings, self.needs_sound = folder / video, folder / audio, endings, needs_sound
        self.missing: list[MissingFile] = []
        self.num_without_sound = 0
        self._videos, self._sounds = files_of(self.video), files_of(self.audio)

    def find(self, name: str) -> tuple[Path, Path | None] | None:
        """The clip's video and sound file; None where it cannot be used, which is then in `missing`."""
        video = self._file(self.video, self._videos, name, self.endings)
        sound = self._file(self.audio, self._sounds, name, (".wav",))
        if video is None:
            self._add_missing(self.video, f"{name}{self.endings[0]}", "no such file, or an empty one")
            return None
        if sound is None and self.needs_sound:
            self._add_missing(self.audio, f"{name}.wav", "no such file, or an empty one; the video has no sound")
            return None
        self.num_without_sound += sound is None
        return video, sound

    def add_missing_row(self, name: str, table: Table) -> None:
        """Note that `table` has no row for a clip."""
        self._add_missing(table.path.parent, table.path.name, f"no row for the clip {printable(name)!r}")

    def notes(self, published: int, names: Sequence[str], subtitles: Table, *tables: Table) -> Iterator[str]:
        """What is worth knowing of the clips `names` and of the owners' tables, their `subtitles` first."""
        yield from count_note(len(names), published)
        if self.num_without_sound:
            where = f"{self.folder.name}/{self.audio.name}"
            yield f"{self.num_without_sound} clips have no file in {where}: the sound of the video itself is read"
        if without := [name for name in names if name not in subtitles.cells]:
            name, first = subtitles.path.name, printable(without[0])
            yield f"{len(without)} clips have no row in {name}: they go without subtitle (first {first!r})"
        for table in (subtitles, *tables):
            if table.num_repeated:
                yield f"{table.num_repeated} rows of {table.path.name} are replaced by a later row of the same clip"
            if table.num_mended:
                yield f"{table.num_mended} rows of {table.path.name} with characters of another encoding are mended"

    def _file(self, folder: Path, files: frozenset[str], name: str, endings: Iterable[str]) -> Path | None:
        for ending in endings:
            path = folder / f"{name}{ending}"
            if path.name in files and path.is_file() and path.stat().st_size:
                return path
        return None

    def _add_missing(self, folder: Path, file: str, why: str) -> None:
        self.missing.append(MissingFile((folder / file).relative_to(self.folder.parent).as_posix(), why))


def subtitle_of(table: Table, name: str, column: str) -> str | None:
    """A clip's words; None where its row is empty or there is none."""
    return (table.cells[name][column].strip() or None) if name in table.cells else None


def count_note(num: int, published: int) -> Iterator[str]:
    """One line where a count differs from the published one."""
    if num != published:
        yield f"{num:,} clips in the owners' tables, {published:,} published"
