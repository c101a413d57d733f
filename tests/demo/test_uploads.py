"""Uploads lie in one folder, are removed when nobody uses them any more, and are all gone at the end."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from mer_r1.demo import uploads as module
from mer_r1.demo.uploads import KEPT_S, Uploads, require_length, uploads_folder
from mer_r1.media import MediaBudget
from tests.media.make_media import gray_frames, tone, write_media


def test_a_file_is_removed_when_it_was_not_used_for_long_and_kept_ones_stay(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path)
    old, used, kept = tmp_path / "h1" / "old.mp4", tmp_path / "h2" / "used.mp4", uploads.kept / "example.mp4"
    for path in (old, used, kept):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (0, 0))
    uploads.touch(used)
    uploads.sweep()
    assert not old.exists()
    assert used.exists()
    assert kept.exists()
    uploads.sweep(time.time() + KEPT_S + 10)
    assert not used.parent.exists()
    assert not old.parent.exists()


def test_a_file_elsewhere_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    uploads, other = Uploads(tmp_path / "in"), tmp_path / "other.mp4"
    other.write_bytes(b"x")
    os.utime(other, (0, 0))
    (tmp_path / "in" / "link").symlink_to(other)
    for path in (other, tmp_path / "in" / "link", tmp_path / "in" / ".." / "other.mp4"):
        uploads.touch(path)
    assert other.stat().st_mtime == 0


def test_a_full_folder_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads = Uploads(tmp_path)
    (tmp_path / "clip").write_bytes(b"x" * 2000)
    assert not uploads.is_full()
    monkeypatch.setattr(module, "MAX_TOTAL_MB", 0.001)
    assert uploads.is_full()


def test_a_folder_that_is_removed_meanwhile_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads, scan = Uploads(tmp_path), os.scandir
    for name in ("gone", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "clip").write_bytes(b"x")
        os.utime(tmp_path / name / "clip", (0, 0))

    def scandir(path: str | Path) -> Any:
        if Path(path).name == "gone":
            raise FileNotFoundError(path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    uploads.sweep()
    assert not uploads.is_full()
    assert not (tmp_path / "there" / "clip").exists()


def test_the_folder_is_gone_at_the_end() -> None:
    with uploads_folder() as uploads:
        (uploads.folder / "clip.mp4").write_bytes(b"x")
        assert uploads.folder.stat().st_mode & 0o077 == 0
    assert not uploads.folder.exists()


def test_the_length_of_a_clip_is_that_of_its_packets(tmp_path: Path) -> None:
    film = write_media(tmp_path / "film.mp4", frames=gray_frames(4), sound=tone(0.5, 16_000))
    assert 0.3 < require_length(film, MediaBudget()) < 1.0
