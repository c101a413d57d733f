"""The picture sets: labels and candidates are the owners', what has no single label is counted, nothing is guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mer_r1.benchmarks.emotion_pictures.layouts import (
    EMOSET_LABELS,
    EMOTION6_LABELS,
    PICTURE_SETS,
    WEBEMO_LEVELS,
    first_by_hash,
    read_pictures,
)
from mer_r1.data.manifest import read_manifest, write_manifest
from mer_r1.errors import InputError
from tests.benchmarks.picture_layouts import (
    HEADS,
    copy_picture,
    write_emoset,
    write_emotion6,
    write_list,
    write_webemo,
)

JOY = [0.1, 0, 0, 0.6, 0, 0.1, 0.2]


def refusal(name: str, root: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_pictures(name, root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_label_sets_are_those_of_the_papers_sets() -> None:
    assert {name: len(data.candidates) for name, data in PICTURE_SETS.items()} == {
        "emoset": 8,
        "emotion6": 6,
        "emotion6-folders": 6,
        "webemo": 6,
        "webemo-25": 25,
        "webemo-2": 2,
    }
    assert sum(PICTURE_SETS["emoset"].num.values()) == 118_102
    assert sum(PICTURE_SETS["emotion6"].num.values()) == 1_980
    assert sum(PICTURE_SETS["webemo"].num.values()) == 267_441
    assert all(name == data.name for name, data in PICTURE_SETS.items())


@pytest.mark.parametrize("with_ids", [False, True])
def test_emoset_is_read_split_by_split_in_both_forms_of_its_lists(tmp_path: Path, with_ids: bool) -> None:
    folder = write_emoset(tmp_path, with_ids=with_ids)
    test, train = (read_pictures("emoset", tmp_path, split) for split in ("test", "train"))
    assert test.notes == ("16 pictures in the owners' lists, 17,716 published",)
    assert [sample.labels for sample in test.samples[:9]] == [(label,) for label in (*EMOSET_LABELS, "amusement")]
    first = test.samples[0]
    assert (first.id, first.source, first.candidates) == ("amusement_test00000", "emoset", EMOSET_LABELS)
    assert first.image == folder / "image" / "amusement" / "amusement_test00000.jpg"
    assert not {sample.id for sample in train.samples} & {sample.id for sample in test.samples}
    assert read_pictures("emoset", folder) == test
    write_manifest(tmp_path / "emoset.jsonl", test.samples)
    assert read_manifest(tmp_path / "emoset.jsonl") == list(test.samples)


def test_emotion6_takes_the_largest_of_six_and_counts_neutral_and_ties(tmp_path: Path) -> None:
    rows = [
        JOY,
        [0, 0, 0.2, 0, 0.5, 0, 0.3],
        [0.2, 0, 0, 0, 0, 0, 0.8],
        [0, 0.4, 0.4, 0, 0, 0, 0.2],
        [0, 0, 0, 0, 0.5, 0, 0.5],
    ]
    write_emotion6(tmp_path, rows * 6)
    parts = [read_pictures("emotion6", tmp_path, split) for split in ("train", "test")]
    labels = {sample.id: sample.labels for part in parts for sample in part.samples}
    assert labels == {f"{EMOTION6_LABELS[n % 6]}/{n}": (("joy",), ("sadness",))[n % 5] for n in range(30) if n % 5 < 2}
    assert parts[1].notes[0] == "9 pictures in the owners' lists, 594 published"
    counted: dict[str, int] = {}
    for note in (note for part in parts for note in part.notes[1:]):
        num, _, reason = note.partition(" ")
        counted[reason] = counted.get(reason, 0) + int(num)
    assert counted == {
        "pictures are left out: neutral has the most votes": 6,
        "pictures are left out: two emotions have the most votes": 12,
    }
    assert all(sample.candidates == EMOTION6_LABELS for part in parts for sample in part.samples)


def test_emotion6_by_folders_keeps_every_picture_in_the_same_split(tmp_path: Path) -> None:
    write_emotion6(tmp_path, [JOY, [0, 0, 0, 0, 0, 0, 1]] * 10)
    votes, folders = (read_pictures(name, tmp_path) for name in ("emotion6", "emotion6-folders"))
    assert len(folders.samples) == 6
    assert {sample.id for sample in votes.samples} < {sample.id for sample in folders.samples}
    assert all(sample.labels == (sample.id.partition("/")[0],) for sample in folders.samples)


def test_the_split_of_emotion6_follows_from_seed_and_name_alone(tmp_path: Path) -> None:
    folder = write_emotion6(tmp_path, [JOY] * 40)
    table = folder / "ground_truth.txt"
    before = {sample.id for sample in read_pictures("emotion6", tmp_path).samples}
    head, *lines = table.read_text().splitlines()
    table.write_text("\n".join([head, *reversed(lines)]))
    assert {sample.id for sample in read_pictures("emotion6", tmp_path).samples} == before
    assert len(before) == 12
    assert {sample.id for sample in read_pictures("emotion6", tmp_path, seed=1).samples} != before
    train = {sample.id for sample in read_pictures("emotion6", tmp_path, "train").samples}
    assert (len(train), train & before) == (28, set())


def test_webemo_is_read_by_each_level_of_its_hierarchy(tmp_path: Path) -> None:
    write_webemo(tmp_path)
    six, fine, two = (read_pictures(name, tmp_path) for name in ("webemo", "webemo-25", "webemo-2"))
    assert (len(six.samples), len(fine.samples), len(two.samples)) == (24, 25, 25)
    assert "1 pictures are left out: confusion is in none of the six labels" in six.notes
    assert six.samples[0].candidates == ("anger", "fear", "joy", "love", "sadness", "surprise")
    assert two.samples[0].candidates == ("negative", "positive")
    by_class = {sample.id.partition("/")[0]: sample.labels[0] for sample in six.samples}
    assert (by_class["disgust"], by_class["sympathy"], by_class["zest"]) == ("anger", "sadness", "joy")
    assert [sample.labels for sample in fine.samples] == [(names[0],) for names in WEBEMO_LEVELS]
    assert [sample.image is not None for sample in fine.samples] == [True] * 25


def test_the_same_address_under_two_classes_is_two_samples(tmp_path: Path) -> None:
    folder = write_webemo(tmp_path, 2)
    (folder / "test25.txt").write_text("https://a.example/220_F_1.jpg 1\nhttps://a.example/220_F_1.jpg 24\n")
    assert [sample.id for sample in read_pictures("webemo-25", tmp_path).samples] == [
        "cheerfulness/220_F_1",
        "zest/220_F_1",
    ]


def test_a_picture_that_is_not_there_is_listed_and_some_can_be_chosen_of_the_others(tmp_path: Path) -> None:
    folder = write_emoset(tmp_path)
    (folder / "image" / "fear" / "fear_test00006.jpg").unlink()
    (folder / "image" / "awe" / "awe_test00002.jpg").write_bytes(b"")
    prepared = read_pictures("emoset", tmp_path)
    assert [file.path for file in prepared.missing] == [
        "EmoSet-118K/image/awe/awe_test00002.jpg",
        "EmoSet-118K/image/fear/fear_test00006.jpg",
    ]
    some = read_pictures("emoset", tmp_path, num=5)
    ids = [sample.id for sample in prepared.samples]
    assert set(first_by_hash(ids, 5, 0)) == {sample.id for sample in some.samples}
    assert [sample.id for sample in some.samples] == [item for item in ids if item in first_by_hash(ids, 5, 0)]
    assert read_pictures("emoset", tmp_path, num=5, seed=1).samples != some.samples
    assert len(read_pictures("emoset", tmp_path, num=99).samples) == 14


@pytest.mark.parametrize("image", ["../x.jpg", "/etc/passwd", "image//x.jpg", "a\\b.jpg", "nul\0l", ""])
def test_a_picture_in_a_list_leads_nowhere_else(tmp_path: Path, image: str) -> None:
    write_list(tmp_path / "EmoSet-118K" / "test.json", [["fear", image, "annotation"]])
    assert "test.json: row 0: the picture" in refusal("emoset", tmp_path)


ERRORS: list[tuple[str, str, str, str]] = [
    ("emoset", "EmoSet-118K/test.json", "[", "cannot be read as JSON"),
    ("emoset", "EmoSet-118K/test.json", "{}", "no rows, or no list"),
    ("emoset", "EmoSet-118K/test.json", '[["fear", 3, "x"]]', "row 0 must be a list of label, picture"),
    ("emoset", "EmoSet-118K/test.json", '[["joy", "a.jpg", "x"]]', "label 'joy'; the labels are amusement"),
    ("emotion6", "Emotion6/ground_truth.txt", "a\tb\n", "ten columns"),
    ("emotion6", "Emotion6/ground_truth.txt", "\t".join(HEADS) + "\nx/1.jpg\t1\n", "txt:2: 2 cells"),
    ("emotion6", "Emotion6/ground_truth.txt", "\t".join(HEADS) + "\nx/1.jpg" + "\t?" * 9, "txt:2: a vote is no number"),
    ("emotion6", "Emotion6/ground_truth.txt", "\t".join(HEADS) + "\nx/1.jpg" + "\tnan" * 9, "txt:2: a vote is below 0"),
    (
        "emotion6-folders",
        "Emotion6/ground_truth.txt",
        "\t".join(HEADS) + ("\n7.jpg" + "\t1" * 9 + "\n8.jpg" + "\t1" * 9),
        "none of the folders",
    ),
    ("emotion6", "Emotion6/ground_truth.txt", "\t".join(HEADS), "txt: no rows"),
    ("webemo", "WEBEmo/test25.txt", "https://a.example/a.jpg 25\n", "txt:1: an address and a number from 0 to 24"),
    ("webemo", "WEBEmo/test25.txt", "https://a.example/a.jpg\n", "txt:1: an address and a number from 0 to 24"),
    ("webemo", "WEBEmo/test25.txt", "\n", "no rows"),
    ("webemo", "WEBEmo/test25.txt", "https://a.example/.. 3\n", "leads to another folder"),
]


@pytest.mark.parametrize(("name", "file", "text", "message"), ERRORS, ids=[item[3] for item in ERRORS])
def test_a_list_that_is_not_the_owners_is_named(tmp_path: Path, name: str, file: str, text: str, message: str) -> None:
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).write_text(text, encoding="utf-8")
    assert message in refusal(name, tmp_path)


def test_votes_in_another_order_are_refused(tmp_path: Path) -> None:
    write_emotion6(tmp_path, [JOY], heads=[*HEADS[:3], HEADS[4], HEADS[3], *HEADS[5:]])
    assert "ten columns" in refusal("emotion6", tmp_path)


def test_a_folder_or_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "no folder EmoSet-118K" in refusal("emoset", tmp_path)
    (tmp_path / "EmoSet-118K").mkdir()
    assert "test.json: no such file" in refusal("emoset", tmp_path)
    write_emotion6(tmp_path, [JOY])
    with pytest.raises(InputError, match="--split val: Emotion6 has train and test"):
        read_pictures("emotion6", tmp_path, "val")
    with pytest.raises(InputError, match="--num 0"):
        read_pictures("emotion6", tmp_path, num=0)


def test_two_addresses_that_end_alike_are_two_pictures_and_neither_takes_the_place_of_the_other(tmp_path: Path) -> None:
    folder = write_webemo(tmp_path, 1)
    copy_picture(folder / "images" / "photo.jpg")
    lines = ["https://a.example/photo.jpg 0", "https://b.example/photo.jpg 3", "https://c.example/photo.jpg 3"]
    (folder / "test25.txt").write_text("\n".join([*lines, "https://d.example/220_F_0.jpg 0"]) + "\n")
    read = read_pictures("webemo-25", tmp_path)
    assert [sample.id.partition("/")[2] for sample in read.samples] == ["220_F_0"]
    assert "2 pictures are left out: several addresses of a class end in their name" in read.notes


def test_a_picture_that_is_listed_twice_is_an_error(tmp_path: Path) -> None:
    folder = write_emotion6(tmp_path, [[1.0, 0, 0, 0, 0, 0, 0]] * 3)
    path = folder / "ground_truth.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[-1]]) + "\n")
    with pytest.raises(InputError, match="is there twice"):
        read_pictures("emotion6", tmp_path)
    path.write_text("\n".join(lines[1:]) + "\n")
    with pytest.raises(InputError, match=r"ground_truth\.txt"):
        read_pictures("emotion6", tmp_path)
