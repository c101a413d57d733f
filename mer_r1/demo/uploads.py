"""What a visitor hands in: how much of it is taken, where it lies, and when it is removed.

Everything lies in one folder of the server's own, which Gradio may serve and nothing else. A file is removed KEPT_S
seconds after it was last used, and the folder when the server ends.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mer_r1.errors import InputError
from mer_r1.media import MediaBudget
from mer_r1.media.formats import open_media
from mer_r1.media.lengths import Deadline, read_spans
from mer_r1.text import printable

MAX_UPLOAD_MB = 200
MAX_TOTAL_MB = 4096
MAX_CLIP_S = 900.0
MAX_WORDS = 4000
KEPT_S = 1800.0
SWEEP_S = 30.0


class Uploads:
    """The folder of all uploads; files under `kept` stay until the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept = folder / "kept"
        self.kept.mkdir()

    def sweep(self, now: float | None = None) -> None:
        """Remove what was not used for KEPT_S seconds, and folders that are left empty."""
        oldest = (time.time() if now is None else now) - KEPT_S
        for path in sorted(self._below(), reverse=True):
            if path == self.kept or self.kept in path.parents:
                continue
            try:
                if path.lstat().st_mtime < oldest:
                    path.rmdir() if path.is_dir() else path.unlink()
            except OSError:  # removed meanwhile, or a folder with files in it
                continue

    def is_full(self) -> bool:
        """Whether all files together take more than MAX_TOTAL_MB."""
        total = 0
        for path in self._below():
            with suppress(OSError):
                total += path.lstat().st_size
        return total > MAX_TOTAL_MB * 2**20

    def _below(self) -> Iterator[Path]:
        """Everything in the folder; unlike `rglob`, `walk` passes over a folder that is removed meanwhile."""
        for folder, folders, files in os.walk(self.folder):
            yield from (Path(folder, name) for name in (*folders, *files))

    def touch(self, path: Path) -> None:
        """Begin the time of a file anew."""
        if self.holds(path):
            path.touch()

    def holds(self, path: Path) -> bool:
        """Whether this is a file in the folder, wherever its links lead."""
        return path.is_file() and path.resolve().is_relative_to(self.folder.resolve())


@contextmanager
def uploads_folder() -> Iterator[Uploads]:
    """A new folder for the time of the block, swept in a thread of its own and removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="mer-r1-demo-"))
    uploads, ended = Uploads(folder), threading.Event()

    def sweep() -> None:
        while not ended.wait(SWEEP_S):
            uploads.sweep()

    thread = threading.Thread(target=sweep, name="sweeping uploads", daemon=True)
    thread.start()
    try:
        yield uploads
    finally:
        ended.set()
        thread.join()
        shutil.rmtree(folder, ignore_errors=True)


def require_length(path: Path, budget: MediaBudget) -> float:
    """The seconds of a clip, 0 for a picture. Raises InputError for one that is too long or cannot be read."""
    with open_media(path, budget) as container:
        indexes = [stream.index for stream in container.streams if stream.type in ("video", "audio")]
    spans = read_spans(path, budget, indexes, Deadline(path, budget)) if indexes else {}
    seconds = max((span.end_s for span in spans.values()), default=0.0) - min(
        (span.start_s for span in spans.values()), default=0.0
    )
    if seconds > MAX_CLIP_S:
        raise InputError(
            f"{printable(path.name)}: lasts {seconds / 60:.0f} minutes; give a clip of at most {MAX_CLIP_S / 60:.0f}"
        )
    return seconds
