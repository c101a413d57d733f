"""Clips as they are given: files and folders of files, found before a model is loaded; their ids and their words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from mer_r1.data.media_names import media_kind
from mer_r1.errors import InputError
from mer_r1.media.subtitles import Subtitles, find_subtitles
from mer_r1.text import printable

_MOST_NAMED = 10


def clip_files(given: Iterable[str | Path]) -> list[Path]:
    """The files that are meant, in order; a folder is the media files in it and below, by their endings and sorted.

    Raises InputError that lists every path where there is nothing, and names a folder without media.
    """
    paths = [Path(item) for item in given]
    if lost := [path for path in paths if not path.exists()]:
        named = ", ".join(printable(path, 200) for path in lost[:_MOST_NAMED])
        more = f" and {len(lost) - _MOST_NAMED} more" if len(lost) > _MOST_NAMED else ""
        what = "no such file" if len(lost) == 1 else "no such files"
        raise InputError(f"{named}{more}: {what}; give the path of a video, a sound or a picture")
    files: list[Path] = []
    for path in paths:
        found = _media_below(path) if path.is_dir() else [path]
        if not found:
            raise InputError(f"{path}: holds no media file; give one with videos, sounds or pictures (mp4, wav, …)")
        files += found
    return files


def _media_below(folder: Path) -> list[Path]:
    below = (path for path in folder.rglob("*") if media_kind(path.name))
    return sorted(
        path for path in below if path.is_file() and not any(part[0] == "." for part in path.relative_to(folder).parts)
    )


def clip_ids(files: Sequence[Path]) -> list[str]:
    """An id a file: its name without the ending, as most manifests have it; its path where two files share the name."""
    names = Counter(path.stem for path in {path.absolute() for path in files})
    return [path.stem if names[path.stem] == 1 else str(path) for path in files]


def words_of(path: Path, seconds: float) -> tuple[str | None, str]:
    """What is said in the first seconds of a clip by its subtitles, and where they came from; (None, "") without any.

    Raises InputError for a subtitle file that cannot be read.
    """
    found: Subtitles | None = None if media_kind(path.name) == "image" else find_subtitles(path)
    words = found.between(0.0, seconds) if found is not None else ""
    return (words, found.source) if found is not None and words else (None, "")
