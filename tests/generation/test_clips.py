"""Clips as they are given: folders searched, every lost path named at once, ids that match a manifest's."""

from __future__ import annotations

from pathlib import Path

import pytest

from mer_r1.errors import InputError
from mer_r1.generation.clips import clip_files, clip_ids, words_of
from tests.media.make_media import gray_frames, write_image, write_media


def test_a_folder_is_the_media_below_it_in_order(tmp_path: Path) -> None:
    for name in ("b.MP4", "a/z.wav", "a/b/c.jpg", "notes.txt", "b.srt", ".hidden/x.mp4", "a/.x.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.mp4").mkdir()
    assert clip_files([tmp_path]) == [tmp_path / name for name in ("a/b/c.jpg", "a/z.wav", "b.MP4")]
    assert clip_files([tmp_path / "notes.txt", tmp_path / "a"])[0] == tmp_path / "notes.txt"


def test_a_folder_without_media_and_lost_paths_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no media file"):
        clip_files([tmp_path])
    with pytest.raises(InputError, match=r"^a0, a1, .*, a9 and 5 more: no such files; give"):
        clip_files([f"a{number}" for number in range(15)])
    with pytest.raises(InputError, match=r"^http:/+x/a b\.mp4: no such file"):
        clip_files(["http://x/a\nb.mp4"])


def test_an_id_is_the_file_s_name_unless_two_share_it() -> None:
    files = [Path("a/x.mp4"), Path("b/y.mp4"), Path("b/x.mp4"), Path("b/y.mp4"), Path("z.tar.mp4")]
    assert clip_ids(files) == ["a/x.mp4", "y", "b/x.mp4", "y", "z.tar"]
    assert clip_ids([Path("x.mp4"), Path("x.wav")]) == ["x.mp4", "x.wav"]


def test_words_are_those_of_the_first_seconds_and_a_picture_has_none(tmp_path: Path) -> None:
    text = "1\n00:00:00,000 --> 00:00:02,000\nI won!\n\n2\n00:01:00,000 --> 00:01:01,000\nLater.\n"
    film = write_media(tmp_path / "film.mp4", frames=gray_frames(2))
    picture = write_image(tmp_path / "film.png", gray_frames(1)[0])
    assert words_of(film, 120) == (None, "")
    (tmp_path / "film.srt").write_text(text)
    assert words_of(film, 120) == ("I won! Later.", "film.srt")
    assert words_of(film, 10) == ("I won!", "film.srt")
    assert words_of(picture, 120) == (None, "")
    (tmp_path / "bad.mp4").write_text("no film")
    assert words_of(tmp_path / "bad.mp4", 10) == (None, "")
