"""MER-Caption+: every clip once, in SFT or in RL, by seed and name alone."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from mer_r1.benchmarks.mer_caption import read_caption, split
from mer_r1.data.prepared import PreparedSet
from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from tests.benchmarks.layouts import write_layout, write_table


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    write_layout("mer-caption", folder, 6)
    return folder


def ids(prepared: PreparedSet) -> list[str]:
    return [sample.id for sample in prepared.samples]


def named(*names: str) -> PreparedSet:
    return PreparedSet("mer-caption", "MER-Caption+", tuple(Sample(name, subtitle="well") for name in names))


def test_a_clip_has_words_description_and_english_subtitle(root: Path) -> None:
    prepared = read_caption(root)
    assert len(prepared.samples) == 6
    assert prepared.samples[0].labels == ("happy", "excited")
    assert prepared.samples[3].labels == ("neutral",)
    assert prepared.samples[2].reasoning == "In clip 2, the voice rises, then the face falls."
    assert prepared.samples[2].subtitle == 'Well, "fine"\nthen 2'
    assert prepared.notes == ("6 clips in the owners' tables, 31,327 published",)


def test_every_clip_stands_in_one_part(root: Path) -> None:
    whole = read_caption(root)
    parts = split(whole, num_sft=2)
    assert len(ids(parts["sft"])) == 2
    assert sorted(ids(parts["sft"]) + ids(parts["rl"])) == ids(whole)


def test_the_split_follows_from_seed_and_names_alone() -> None:
    names = [f"clip_{number}" for number in range(200)]
    first, again = split(named(*names), 50), split(named(*reversed(names)), 50)
    assert set(ids(first["sft"])) == set(ids(again["sft"]))
    assert set(ids(split(named(*names), 50, seed=1)["sft"])) != set(ids(first["sft"]))
    gone = ids(first["sft"])[0]
    less = split(named(*[name for name in names if name != gone]), 50)
    assert len(set(ids(less["sft"])) & set(ids(first["sft"]))) == 49
    assert ids(split(named("a", "b", "c", "d", "e"), 2)["sft"]) == ["a", "d"]  # and never changes


def test_the_order_of_the_tables_changes_nothing(root: Path, tmp_path: Path) -> None:
    before = split(read_caption(root), 3)
    folder = write_layout("mer-caption", tmp_path, 6)
    path = folder / "track2_train_mercaptionplus.csv"
    with path.open(encoding="utf-8-sig", newline="") as handle:
        head, *rows = list(csv.reader(handle))
    write_table(path, head, rows[::-1])
    after = split(read_caption(tmp_path), 3)
    assert {part: ids(item) for part, item in after.items()} == {part: ids(item) for part, item in before.items()}


def test_a_part_may_not_be_empty() -> None:
    for num in (0, 2, 5000, -1):
        with pytest.raises(InputError, match="--sft-num"):
            split(named("a", "b"), num)


def test_a_clip_without_description_is_missing(tmp_path: Path) -> None:
    folder = write_layout("mer-caption", tmp_path, 2)
    write_table(folder / "track3_train_mercaptionplus.csv", ["name", "reason"], [["samplenew3_00000001", "A smile."]])
    prepared = read_caption(tmp_path)
    assert ids(prepared) == ["samplenew3_00000001"]
    assert prepared.missing[0].path == "mer2025-dataset/track3_train_mercaptionplus.csv"
    assert "MERChallenge/MER2025" in prepared.where


@pytest.mark.parametrize("named", ["mer2026-dataset", "mer2025-dataset"])
def test_mer2026s_copy_has_the_labels_without_the_descriptions(named: str, tmp_path: Path) -> None:
    folder = write_layout("mer-caption", tmp_path, 4)
    (folder / "track3_train_mercaptionplus.csv").unlink()
    folder.rename(tmp_path / named)
    for root in (tmp_path, tmp_path / named):
        prepared = read_caption(root)
        assert len(prepared.samples) == 4
        assert {sample.reasoning for sample in prepared.samples} == {None}
        assert prepared.samples[0].labels == ("happy", "excited")
        assert prepared.missing == ()
        assert f"no track3_train_mercaptionplus.csv in {named}" in prepared.notes[-1]
        assert "none of the 4 clips has a reasoning" in prepared.notes[-1]
        assert "sft.targets=[fast]" in prepared.notes[-1]


def test_of_both_copies_the_one_with_descriptions_is_read(root: Path, tmp_path: Path) -> None:
    folder = write_layout("mer-caption", tmp_path, 2)
    folder.rename(tmp_path / "mer2026-dataset")
    write_layout("mer-caption", tmp_path, 3)
    assert len(read_caption(tmp_path).samples) == 3


def test_text_of_another_encoding_is_mended_and_counted(tmp_path: Path) -> None:
    folder = write_layout("mer-caption", tmp_path, 2)
    rows = [["samplenew3_00000000", "A \x93smile\x94\x85"], ["samplenew3_00000001", "None."]]
    write_table(folder / "track3_train_mercaptionplus.csv", ["name", "reason"], rows)
    prepared = read_caption(tmp_path)
    assert prepared.samples[0].reasoning == "A “smile”…"
    assert prepared.notes[-1] == (
        "1 rows of track3_train_mercaptionplus.csv with characters of another encoding are mended"
    )
