"""`mer-r1 prepare` of pictures: from the owners' folder to a sound manifest, its split and size chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mer_r1.analysis.check import check_manifest
from mer_r1.benchmarks.emotion_pictures.layouts import EMOSET_LABELS, PICTURE_SETS
from mer_r1.benchmarks.prepare import Part, prepare
from mer_r1.commands import main
from mer_r1.data.manifest import read_manifest
from mer_r1.errors import InputError
from mer_r1.media import MediaBudget
from tests.benchmarks.picture_layouts import write_emoset, write_emotion6, write_webemo

BUDGET = MediaBudget(num_frames=2, min_pixels=28 * 28, max_pixels=112 * 112)
VOTES = [[0.5, 0.1, 0, 0, 0.2, 0, 0.2], [0, 0, 0, 0.9, 0, 0.1, 0]]


def run(name: str, root: Path, out: Path, *options: str) -> int:
    return main(["prepare", name, "--root", str(root), "--out", str(out), *options])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("owners")
    write_emoset(folder)
    write_emotion6(folder, VOTES * 5)
    write_webemo(folder)
    return folder


@pytest.mark.parametrize("name", PICTURE_SETS)
def test_every_set_becomes_a_manifest_with_its_candidates(root: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / f"{name}.jsonl"
    assert run(name, root, out) == 0
    assert all(sample.candidates == PICTURE_SETS[name].candidates for sample in read_manifest(out))


@pytest.mark.parametrize("name", ["emoset", "emotion6", "webemo"])
def test_a_manifest_is_sound(root: Path, tmp_path: Path, name: str) -> None:
    assert run(name, root, tmp_path / "out.jsonl") == 0
    assert check_manifest(tmp_path / "out.jsonl", budget=BUDGET, workers=1).problems == []


def test_a_split_and_some_of_it_can_be_chosen(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, some, other = (tmp_path / f"{name}.jsonl" for name in ("whole", "some", "other"))
    assert run("emoset", root, whole, "--split", "train") == 0
    assert "EmoSet: 8 pictures in the owners' lists, 94,481 published" in capsys.readouterr().out
    assert run("emoset", root, some, "--split", "train", "--num", "3") == 0
    assert run("emoset", root, other, "--split", "train", "--num", "3", "--seed", "5") == 0
    ids = [{sample.id for sample in read_manifest(path)} for path in (whole, some, other)]
    assert [len(item) for item in ids] == [8, 3, 3]
    assert ids[1] < ids[0]
    assert ids[1] != ids[2]
    assert {sample.labels[0] for sample in read_manifest(whole)} == set(EMOSET_LABELS)


def test_what_is_missing_is_said_and_the_rest_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_webemo(tmp_path)
    (folder / "images" / "220_F_1.jpg").unlink()
    assert run("webemo-25", tmp_path, tmp_path / "out.jsonl") == 1
    assert "missing WEBEmo/test/1/220_F_1.jpg" in capsys.readouterr().out
    assert len(read_manifest(tmp_path / "out.jsonl")) == 24
    for picture in folder.rglob("*.jpg"):
        picture.unlink()
    with pytest.raises(InputError, match="no picture of WebEmo is there"):
        prepare("webemo", tmp_path, tmp_path / "none.jsonl")
    assert not (tmp_path / "none.jsonl").exists()


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("meld", {"split": "test"}, "--split and --num choose among pictures; leave them out for meld"),
    ("mer-caption", {"num": 3}, "--split and --num choose among pictures; leave them out for mer-caption"),
    ("emoset", {"num_sft": 3}, "--sft-num splits mer-caption and nothing else"),
    ("mosi", {"seed": 3}, "--seed is for mer-caption and pictures"),
    ("emoset", {"split": "dev"}, "--split dev: use one of train, val, test"),
    ("webemo", {"split": "val"}, "--split val: WebEmo has train and test"),
    ("emoset", {"num": 0}, "--num 0"),
]


@pytest.mark.parametrize(("name", "options", "message"), WRONG, ids=[message for *_, message in WRONG])
def test_options_that_do_not_go_together_are_named(
    root: Path, tmp_path: Path, name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        prepare(name, root, tmp_path / "out.jsonl", Part(**options))
