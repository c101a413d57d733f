"""Where the page plays a clip from: a near file by its relative URL, a copy while it fits, and nothing else."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from mer_r1.data.sample import Sample
from mer_r1.report.players import Copy, PageMedia, Player, relative_url


def test_a_medium_is_named_only_where_it_is_there_and_near(tmp_path: Path) -> None:
    page = tmp_path / "x" / "one" / "two" / "three"
    near, far = tmp_path / "x" / "one" / 'ü &#?".mp4', tmp_path / "x" / "far.mp4"
    page.mkdir(parents=True)
    near.touch()
    far.touch()
    (page / "javascript:alert(1)").touch()
    assert relative_url(near, page) == "../../%C3%BC%20%26%23%3F%22.mp4"
    assert relative_url(far, page) is None
    assert relative_url(page / "gone.mp4", page) is None
    assert relative_url(page, page) is None
    assert relative_url(page / "javascript:alert(1)", page) == "javascript%3Aalert%281%29"
    assert relative_url(near, Path("/")) is None
    assert relative_url(Path("/etc/hostname"), Path("/tmp")) is None


def files(folder: Path, **sizes: int) -> dict[str, Path]:
    folder.mkdir()
    found = {}
    for name, size in sizes.items():
        found[name] = folder / name.replace("_", ".")
        found[name].write_bytes(b"x" * size)
    return found


def test_without_a_limit_nothing_is_copied(tmp_path: Path) -> None:
    found = files(tmp_path / "clips", a_mp4=10, b_wav=10)
    media = PageMedia(tmp_path)
    sample = Sample("a", video=found["a_mp4"], audio=found["b_wav"], image=tmp_path / "gone.png")
    assert media.players(sample) == (Player("video", "clips/a.mp4"), Player("audio", "clips/b.wav"))
    assert media.reference(found["a_mp4"]) == "clips/a.mp4"
    assert (list(media.blocks()), media.num_copies) == ([], 0)


def test_a_file_that_is_too_far_has_a_player_that_says_so(tmp_path: Path) -> None:
    found = files(tmp_path / "clips", a_mp4=10)
    folder = tmp_path / "one" / "two" / "three"
    assert PageMedia(folder).players(Sample("a", video=found["a_mp4"])) == (Player("video", None),)
    assert PageMedia(folder, 10).players(Sample("a", video=found["a_mp4"]))[0].url is not None


def test_files_are_copied_while_they_fit_and_stand_once(tmp_path: Path) -> None:
    found = files(tmp_path / "clips", a_mp4=40, b_mp4=50, c_mp4=20)
    media = PageMedia(tmp_path, limit=70)
    uri = "data:video/mp4;base64," + base64.b64encode(b"x" * 40).decode()
    assert media.players(Sample("a", video=found["a_mp4"])) == (Player("video", uri, "media-0"),)
    assert media.players(Sample("again", video=found["a_mp4"])) == (Player("video", uri),)
    assert media.reference(found["a_mp4"]) == "#media-0"
    assert media.reference(found["b_mp4"]) == "clips/b.mp4"  # it does not fit
    assert media.reference(found["c_mp4"]) == "#media-1"
    assert list(media.blocks()) == [Copy("media-1", "video/mp4", base64.b64encode(b"x" * 20).decode())]
    assert media.num_copies == 2


@pytest.mark.parametrize("name", ["a_mkv", "a_svg", "a_html", "a"])
def test_what_browsers_do_not_play_is_not_copied(tmp_path: Path, name: str) -> None:
    found = files(tmp_path / "clips", **{name: 10})
    media = PageMedia(tmp_path, limit=100)
    assert media.players(Sample("a", video=found[name]))[0].url == f"clips/{name.replace('_', '.')}"
    assert media.num_copies == 0


def test_an_empty_file_and_one_that_went_away_are_not_copied(tmp_path: Path) -> None:
    found = files(tmp_path / "clips", a_mp4=0)
    media = PageMedia(tmp_path, limit=100)
    assert media.reference(found["a_mp4"]) == "clips/a.mp4"
    assert media.reference(tmp_path / "gone.mp4") is None
