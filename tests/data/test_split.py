"""A manifest split: nothing shared between parts, nothing lost, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mer_r1.data.manifest import read_manifest, write_manifest
from mer_r1.data.sample import Sample
from mer_r1.data.split import FIELDS, Split, features_of, num_shared, read_parts, split, write_split
from mer_r1.errors import InputError

THIRDS = "train=0.6,dev=0.2,test=0.2"


def rows_of(num: int, speakers: int = 12) -> list[Sample]:
    chance = random.Random(num)
    return [
        Sample(
            id=f"s{index}",
            video=Path(f"/corpus/clips/{index // 2}.mp4"),
            labels=tuple(chance.sample(["happy", "sad", "angry", "calm"], k=chance.randint(1, 2))),
            cluster=f"speaker {chance.randrange(speakers)}",
        )
        for index in range(num)
    ]


def ids(rows: Sequence[Sample]) -> list[str]:
    return [sample.id for sample in rows]


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(num=st.integers(30, 120), seed=st.integers(0, 99), by=st.sampled_from(["id", "cluster", "video"]))
def test_every_row_is_in_one_part_in_its_order_and_no_group_in_two(num: int, seed: int, by: str) -> None:
    rows = rows_of(num)
    made = split(rows, read_parts(THIRDS), by, seed)
    assert sorted(ids([sample for part in made.parts.values() for sample in part])) == sorted(ids(rows))
    assert num_shared(made, by) == 0
    order = {sample.id: index for index, sample in enumerate(rows)}
    for part in made.parts.values():
        assert sorted(ids(part), key=order.__getitem__) == ids(part)


def test_label_shares_of_parts_are_near_those_of_all_rows() -> None:
    rows = rows_of(1000, speakers=100)
    made = split(rows, read_parts("train=0.8,test=0.2"))
    for label in ("happy", "sad", "angry", "calm"):
        of_all, *of_parts = (
            sum(label in sample.labels for sample in part) / len(part) for part in (rows, *made.parts.values())
        )
        assert max(abs(share - of_all) for share in of_parts) < 0.01


def test_the_split_follows_from_the_seed_and_not_from_the_order_of_the_rows() -> None:
    rows = rows_of(90)
    there, back = (split(order, read_parts(THIRDS)) for order in (rows, rows[::-1]))
    assert all(ids(there.parts[part]) == ids(back.parts[part])[::-1] for part in there.parts)
    assert ids(split(rows, read_parts(THIRDS), "id", 1).parts["dev"]) != ids(
        split(rows, read_parts(THIRDS), "id", 2).parts["dev"]
    )


def test_the_split_of_a_seed_is_the_same_on_every_machine_and_in_every_version() -> None:
    made = split(rows_of(40, speakers=8), read_parts("train=0.7,dev=0.15,test=0.15"))
    assert {part: sorted({sample.cluster or "" for sample in rows}) for part, rows in made.parts.items()} == {
        "train": [f"speaker {index}" for index in (0, 1, 2, 3, 5)],
        "dev": ["speaker 6", "speaker 7"],
        "test": ["speaker 4"],
    }


def test_a_split_by_videos_is_the_same_wherever_they_lie() -> None:
    rows = rows_of(40)
    moved = [replace(row, video=Path("/elsewhere") / (row.video or Path()).name) for row in rows]
    there, here = (split(place, read_parts(THIRDS), "video") for place in (rows, moved))
    assert [ids(part) for part in there.parts.values()] == [ids(part) for part in here.parts.values()]


def test_shares_may_leave_rows_out_and_counts_may_leave_the_rest() -> None:
    rows = rows_of(50)
    halves = split(rows, read_parts("a=0.25,b=0.25"), "id")
    assert [len(part) for part in (*halves.parts.values(), halves.left_out)] == [13, 12, 25]
    counted = split(rows, read_parts("sft=20,rl=rest"), "id")
    assert [len(part) for part in counted.parts.values()] == [20, 30]
    assert counted.left_out == ()


def test_shares_are_rounded_so_that_nothing_is_lost() -> None:
    assert read_parts("train=0.8,dev=0.1,test=0.1").targets(25) == {"train": 20, "dev": 3, "test": 2}
    assert read_parts("a=0.1,b=0.2,c=0.7").targets(10) == {"a": 1, "b": 2, "c": 7}


def test_a_row_without_the_field_is_a_group_of_its_own_and_counted() -> None:
    rows = [Sample(id=f"s{index}", subtitle="x", cluster="one" if index < 5 else None) for index in range(10)]
    made = split(rows, read_parts("a=0.5,b=0.5"))
    assert made.alone == 5
    assert made.groups == {"a": 1, "b": 5}


def test_rows_without_labels_are_kept_in_shares_by_the_sign_of_their_valence() -> None:
    kinds = [features_of(Sample(id="s", subtitle="x", valence=value)) for value in (-0.5, 0.0, 2.0, None)]
    assert kinds == [("(valence < 0)",), ("(valence 0)",), ("(valence > 0)",), ("(no label)",)]
    assert features_of(Sample(id="s", labels=("Happy, sad", "happy"))) == ("happy", "sad")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "names no part"),
        ("train", "give a share"),
        ("train=x", "give a share"),
        ("train=-0.5", "give a share"),
        ("train=0", "give a share"),
        ("train=0.0,b=0.5", "give a share"),
        ("train=1.5", "give a share"),
        ("../x=0.5", "names no part"),
        ("train=0.5,Train=0.2", "twice"),
        ("train=0.5,test=5", "some are shares and some are counts"),
        ("a=rest,b=rest", "only one part"),
        ("train=0.9,test=0.2", "1.1 together"),
    ],
)
def test_parts_that_cannot_be_are_named(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read_parts(text)


@pytest.mark.parametrize(
    ("parts", "by", "reason"),
    [
        ("a=11", "id", "want 11 rows together and the manifest has 10"),
        ("a=0.01,b=rest", "id", "part a would have none of 10 rows"),
        ("a=10,b=rest", "id", "part b would have none of 10 rows"),
        ("a=0.5,b=0.5", "source", "none of the 10 rows has it; split row by row with --by id"),
        ("a=0.4,b=0.3,c=0.3", "cluster", "2 groups are fewer than 3 parts"),
        ("a=0.4,b=0.3", "cluster", "2 groups are fewer than 2 parts and the rows that are left out"),
    ],
)
def test_parts_that_do_not_fit_the_rows_are_named(parts: str, by: str, reason: str) -> None:
    rows = [Sample(id=f"s{index}", subtitle="x", cluster=f"{index % 2}") for index in range(10)]
    with pytest.raises(InputError, match=reason):
        split(rows, read_parts(parts), by)


def test_media_are_found_from_where_the_parts_lie(tmp_path: Path) -> None:
    rows = [Sample(id=f"s{index}", video=tmp_path / "clips" / f"{index}.mp4", labels=("sad",)) for index in range(4)]
    paths = write_split(tmp_path / "out" / "deep", split(rows, read_parts("a=0.5,b=0.5"), "id"))
    read = [sample for path in paths.values() for sample in read_manifest(path)]
    assert {sample.id: sample.video for sample in read} == {
        sample.id: tmp_path / "out" / "deep" / "../../clips" / f"{sample.id[1:]}.mp4" for sample in rows
    }
    assert all("../../clips" in path.read_text() for path in paths.values())


def test_the_same_parts_are_written_again_and_other_content_is_left_alone(tmp_path: Path) -> None:
    made = split(rows_of(40), read_parts(THIRDS))
    before = {path: path.read_bytes() for path in write_split(tmp_path, made).values()}
    assert {path: path.read_bytes() for path in write_split(tmp_path, made).values()} == before
    write_manifest(tmp_path / "test.jsonl", rows_of(3))
    (tmp_path / "train.jsonl").unlink()
    with pytest.raises(InputError, match=r"test\.jsonl holds something else"):
        write_split(tmp_path, made)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dev.jsonl", "test.jsonl"]


def test_what_two_parts_share_is_counted() -> None:
    rows = tuple(Sample(id=f"s{index}", subtitle="x", cluster=f"{index % 3}") for index in range(5))
    made = Split("id", {"a": rows[:3], "b": rows[3:]}, {}, {}, (), 0)
    assert {field: num_shared(made, field) for field in FIELDS} == dict.fromkeys(FIELDS, 0) | {"cluster": 2}
