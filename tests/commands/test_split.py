"""`mer-r1 split`: what a person sees of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mer_r1.commands import main
from mer_r1.data.manifest import read_manifest, write_manifest
from mer_r1.data.sample import Sample
from mer_r1.data.split import FIELDS


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rows = [
        Sample(id=f"s{index}", subtitle="x", labels=("sad" if index % 3 else "happy",), cluster=str(index // 4) or None)
        for index in range(80)
    ]
    write_manifest(tmp_path / "all.jsonl", [*rows, Sample(id="alone", subtitle="x", labels=("sad",))])
    return tmp_path / "all.jsonl"


def test_parts_labels_and_the_largest_deviation_are_printed(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["split", str(manifest)]) == 0
    out = capsys.readouterr().out
    for part in ("train", "dev", "test"):
        assert read_manifest(manifest.with_suffix("") / f"{part}.jsonl")
        assert str(manifest.with_suffix("") / f"{part}.jsonl") in out
    assert "81 rows" in out
    assert "clusters" in out
    assert "largest deviation: " in out
    assert "rows without cluster: 1, each a group of its own" in out
    assert "more than one part" not in out


def test_speakers_in_several_parts_are_told(manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["split", str(manifest), "--by", "id", "--parts", "a=40,b=20", "--out", str(tmp_path / "parts")]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "clusters stand in more than one part; --by cluster keeps each in one" in out
    assert "left out: 21 rows" in out


def test_a_folder_that_is_a_file_is_one_line(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["split", str(manifest), "--out", str(manifest)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    plain = manifest.rename(manifest.with_name("rows"))
    assert main(["split", str(plain)]) == 2
    assert "give the folder for the parts with --out" in capsys.readouterr().err


def test_help_names_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["split", "--help"])
    assert "{" + ",".join(FIELDS) + "}" in capsys.readouterr().out
