"""`mer-r1 prepare`: from the owners' folder to a manifest that `check` finds sound."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mer_r1.analysis.check import check_manifest
from mer_r1.benchmarks.mer_unibench.layouts import SETS
from mer_r1.benchmarks.prepare import Part, prepare
from mer_r1.commands import main
from mer_r1.data.manifest import read_manifest
from mer_r1.errors import InputError
from mer_r1.media import MediaBudget
from tests.benchmarks.layouts import copy_clip, write_layout

BUDGET = MediaBudget(num_frames=2, min_pixels=28 * 28, max_pixels=112 * 112)


def run(name: str, root: Path, out: Path, *options: str) -> int:
    return main(["prepare", name, "--root", str(root), "--out", str(out), *options])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    for name in (*SETS, "mer-caption"):
        write_layout(name, folder, 3)
    return folder


@pytest.mark.slow
def test_all_nine_are_prepared_and_sound(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("mer-unibench", root, tmp_path) == 0
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(SETS)
    assert "MELD: 3 clips in the owners' tables, 2,610 published" in capsys.readouterr().out
    for name in SETS:
        manifest = tmp_path / f"{name}.jsonl"
        assert len(read_manifest(manifest)) == 3
        assert check_manifest(manifest, budget=BUDGET, workers=1).problems == []


def test_mer_caption_is_cut_into_two_sound_manifests(root: Path, tmp_path: Path) -> None:
    assert run("mer-caption", root, tmp_path, "--sft-num", "1", "--seed", "3") == 0
    parts = {part: read_manifest(tmp_path / f"{part}.jsonl") for part in ("sft", "rl")}
    assert [len(rows) for rows in parts.values()] == [1, 2]
    assert len({sample.id for rows in parts.values() for sample in rows}) == 3
    assert all(sample.reasoning for sample in parts["sft"])
    for part in parts:
        assert check_manifest(tmp_path / f"{part}.jsonl", budget=BUDGET, workers=1).problems == []


def test_what_is_missing_is_listed_and_the_rest_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_layout("mosi", tmp_path, 25)
    for clip in (folder / "subvideo").iterdir():
        if not clip.stem.endswith("_7"):
            clip.unlink()
    out, missing = tmp_path / "mosi.jsonl", tmp_path / "missing.txt"
    assert run("mosi", tmp_path, out, "--missing", str(missing)) == 1
    printed = capsys.readouterr().out
    assert printed.count("missing cmumosi-process/subvideo/") == 20
    assert "missing 4 more; --missing FILE" in printed
    assert "to be had: " in printed
    assert len(missing.read_text(encoding="utf-8").splitlines()) == 24
    assert [sample.id for sample in read_manifest(out)] == ["03bSnISJMiM_7"]


def test_a_set_that_is_absent_is_named_and_the_others_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_layout("sims", tmp_path / "data", 1)
    assert run("mer-unibench", tmp_path / "data", tmp_path / "out") == 1
    printed = capsys.readouterr().out
    assert printed.count("not there, no folder") == 8
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["sims.jsonl"]


def test_a_manifest_of_an_earlier_time_is_named_and_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = tmp_path / "data", tmp_path / "out"
    for name in ("sims", "mosi", "meld"):
        write_layout(name, root, 1)
    assert run("mer-unibench", root, out) == 1
    assert "of an earlier time" not in capsys.readouterr().out
    earlier = {name: (out / f"{name}.jsonl").read_bytes() for name in ("mosi", "meld")}
    (root / "meld-process").rename(root / "moved")
    for clip in (root / "cmumosi-process" / "subvideo").iterdir():
        clip.unlink()
    assert run("mer-unibench", root, out) == 1
    printed = capsys.readouterr().out
    for title, name in (("CMU-MOSI", "mosi"), ("MELD", "meld")):
        assert f"{title}: {out / name}.jsonl is of an earlier time and was left as it is" in printed
        assert (out / f"{name}.jsonl").read_bytes() == earlier[name]
    assert printed.count("of an earlier time") == 2


def test_the_list_of_missing_files_takes_no_manifests_place(root: Path, tmp_path: Path) -> None:
    places = [("meld", tmp_path / "a.jsonl", tmp_path / "b" / ".." / "a.jsonl"),
              ("mer-unibench", tmp_path / "out", tmp_path / "out" / "meld.jsonl")]  # fmt: skip
    for name, out, missing in places:
        with pytest.raises(InputError, match=r"--missing .* would take the place of a manifest"):
            prepare(name, root, out, missing=missing)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_kind_is_not_replaced(root: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("# Notes\n")
    with pytest.raises(InputError, match=r"--out .*notes.md is there and is not JSON lines"):
        prepare("meld", root, notes)
    with pytest.raises(InputError, match=r"--missing .*notes.md is there and is not a list of missing files"):
        prepare("meld", root, tmp_path / "meld.jsonl", missing=notes)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("notes.md", "# Notes\n")]


def test_nothing_is_written_where_nothing_was_found(tmp_path: Path) -> None:
    root, out = tmp_path / "data", tmp_path / "out"
    folder = write_layout("meld", root, 1)
    (folder / "subvideo" / "test_dia0_utt0.mp4").unlink()
    with pytest.raises(
        InputError, match=r"no clip of MELD is there \(the first is meld-process/subvideo/test_dia0_utt0"
    ):
        prepare("meld", root, out)
    with pytest.raises(InputError, match="no clip of MELD"):
        prepare("mer-unibench", root, out)
    with pytest.raises(InputError, match="none of the folders ovmerdplus-process"):
        prepare("mer-unibench", tmp_path, out)
    assert not out.exists()


def test_a_wrong_request_is_one_line(root: Path, tmp_path: Path) -> None:
    requests: list[tuple[str, Path, dict[str, Any]]] = [
        ("meldd", root, {}),
        ("meld", tmp_path / "none", {}),
        ("meld", root, {"seed": 1}),
        ("meld", root, {"num_sft": 2}),
        ("mer-caption", root, {"num_sft": 0}),
        ("mer-caption", root, {}),
    ]
    for name, where, options in requests:
        with pytest.raises(InputError) as caught:
            prepare(name, where, tmp_path / "out", Part(**options))
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_place_to_write_of_the_wrong_kind_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine", encoding="utf-8")
    for name, out, said in (("meld", tmp_path, "is a folder"), ("mer-unibench", file, "is a file")):
        with pytest.raises(InputError, match=said):
            prepare(name, tmp_path, out)
    assert file.read_text(encoding="utf-8") == "mine"


def test_mme_emotion_is_prepared_by_its_own_module(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    question = {"video_id": "MIntRec/a.mp4", "label": "Praise", "label_set": ["Praise", "Thank"]}
    (tmp_path / "IR.json").write_text(json.dumps([question, question | {"video_id": "MIntRec/b.mp4"}]), "utf-8")
    copy_clip(tmp_path / "MIntRec" / "a.mp4")
    out = tmp_path / "mme.jsonl"
    assert run("mme-emotion", tmp_path, out) == 1
    assert "missing MIntRec/b.mp4" in capsys.readouterr().out
    assert [sample.candidates for sample in read_manifest(out)] == [("Praise", "Thank")]
