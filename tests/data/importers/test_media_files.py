"""Where the media of a foreign table are: by paths and by names, never out of the folder that was given."""

from __future__ import annotations

from pathlib import Path

import pytest

from mer_r1.errors import InputError
from tests.data.importers.tables import media, prepared, samples, write


def table(tmp_path: Path, *cells: str, column: str = "video", name: str = "t.csv") -> Path:
    rows = [f"c{number},{cell},joy\n" for number, cell in enumerate(cells)]
    return write(tmp_path / name, f"id,{column},label\n{''.join(rows)}")


def test_paths_are_relative_to_the_folder_of_media_or_of_the_table(tmp_path: Path) -> None:
    media(tmp_path, "clips/a.mp4", "other/b.mp4")
    found = samples(table(tmp_path, "a.mp4", "other/b.mp4", "clips\\a.mp4"), tmp_path / "clips")
    assert [sample.video for sample in found] == [
        tmp_path / "clips/a.mp4", tmp_path / "other/b.mp4", tmp_path / "clips/a.mp4",
    ]  # fmt: skip
    (tmp_path / "tables").mkdir()
    assert samples(table(tmp_path / "tables", "../clips/a.mp4"), tmp_path / "clips")[0].id == "c0"
    assert samples(table(tmp_path, "clips/a.mp4"))[0].video == tmp_path / "clips/a.mp4"


def test_names_find_one_video_one_sound_and_a_picture_where_there_is_no_video(tmp_path: Path) -> None:
    root = media(tmp_path / "m", "v/a.MP4", "s/a.wav", "p/a.jpg", "p/b.jpg", "v/notes.txt", "v/c.d.mp4", ".trash/a.mp4")
    path = write(tmp_path / "t.csv", "id,label\na,joy\nb,joy\nc.d,joy\n")
    first, second, third = samples(path, root)
    assert (first.video, first.audio, first.image) == (root / "v/a.MP4", root / "s/a.wav", None)
    assert (second.video, second.image) == (None, root / "p/b.jpg")
    assert third.video == root / "v/c.d.mp4"


def test_a_name_that_two_files_have_is_an_error_and_folders_in_an_id_decide(tmp_path: Path) -> None:
    root = media(tmp_path / "m", "train/0001.mp4", "test/0001.mp4")
    with pytest.raises(InputError, match=r"t\.csv:2: '0001' may be test/0001\.mp4 and train/0001\.mp4; give --media"):
        samples(write(tmp_path / "t.csv", "id,label\n0001,joy\n"), root)
    path = write(tmp_path / "t.csv", "part,clip,label\ntest,0001,joy\ndev,0001,joy\n")
    imported = prepared(path, root, id="{part}/{clip}").imported
    assert [sample.video for sample in imported.samples] == [root / "test/0001.mp4"]
    assert len(imported.missing) == 1  # not taken from another folder


@pytest.mark.parametrize("cell", ["../../secret.mp4", "/etc/secret.mp4", "C:\\secret.mp4", "clips/../../secret.mp4"])
def test_a_path_that_leads_out_is_never_followed(tmp_path: Path, cell: str) -> None:
    root = media(tmp_path / "x" / "m", "clips/a.mp4")
    media(tmp_path, "secret.mp4")
    path = write(root / "t.csv", f"id,video,label\n1,{cell},joy\n2,clips/a.mp4,joy\n")
    imported = prepared(path, root).imported
    assert [sample.id for sample in imported.samples] == ["2"]
    assert "leads out of" in imported.missing[0].why
    assert "t.csv:2" in imported.missing[0].path


def test_of_a_path_of_another_machine_the_file_of_its_name_is_taken_and_told(tmp_path: Path) -> None:
    root = media(tmp_path / "m", "x/a.mp4", "y/a.mp4")
    imported = prepared(table(tmp_path, "/home/alice/set/y/a.mp4"), root).imported
    assert imported.samples[0].video == root / "y/a.mp4"
    assert "1 paths lead out of" in imported.notes[0]
    root = media(tmp_path / "n", "x/a.mp4")
    with pytest.raises(InputError, match="the only file of this name there is taken for"):
        prepared(table(tmp_path, "/home/train/a.mp4", "/home/test/a.mp4"), root)


def test_another_ending_is_found_and_told(tmp_path: Path) -> None:
    root = media(tmp_path / "m", "a.mp4")
    imported = prepared(table(tmp_path, "a.avi"), root).imported
    assert imported.samples[0].video == root / "a.mp4"
    assert imported.notes == ("1 files have another ending than in the table (a.avi)",)


def test_a_url_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"t\.csv:2: video is a URL"):
        prepared(table(tmp_path, "https://example.org/a.mp4"), tmp_path)


def test_what_is_missing_is_listed_with_both_sides_and_none_at_all_is_an_error(tmp_path: Path) -> None:
    root = media(tmp_path / "m", "Clip-1.mp4", "empty.mp4")
    (root / "empty.mp4").write_bytes(b"")
    path = write(tmp_path / "t.csv", "id,label\nclip_1,joy\n")
    with pytest.raises(InputError, match=r"none of 1 rows .*t\.csv:2: clip_1: no such file below .*Clip-1\.mp4"):
        prepared(path, root)
    path = write(tmp_path / "t.csv", "id,label\nclip-1,joy\nempty,joy\n")
    imported = prepared(path, root).imported
    assert (len(imported.samples), imported.missing[0].why) == (1, "the file is empty")


def test_links_in_the_folder_are_followed_once(tmp_path: Path) -> None:
    root, far = tmp_path / "m", media(tmp_path / "far", "a.mp4")
    root.mkdir()
    (root / "clips").symlink_to(far)
    (far / "loop").symlink_to(far)
    assert samples(write(tmp_path / "t.csv", "id,label\na,joy\n"), root)[0].video == root / "clips/a.mp4"
