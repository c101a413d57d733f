"""`mer-r1 export-data`: what a person sees of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mer_r1.commands import main
from mer_r1.data.manifest import write_manifest
from mer_r1.data.sample import Sample
from mer_r1.exporters.export import FORMATS, HF


def test_files_rows_and_what_is_left_out_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        Sample("a", subtitle="x", labels=("sad",), reasoning="Tears."),
        Sample("b", subtitle="x", labels=("sad",)),
    ]
    write_manifest(tmp_path / "train.jsonl", rows)
    command = ["export-data", str(tmp_path / "train.jsonl"), "--to", "ms-swift", "--out", str(tmp_path / "out")]
    assert main(command) == 1
    out = capsys.readouterr().out
    assert str(tmp_path / "out" / "train.jsonl") in out
    assert f"1 rows; load them by: swift sft --dataset {tmp_path / 'out'}/train.jsonl" in out
    assert "left out: 1 rows, each without a reasoning that a slow answer can be made of (the first is 'b')" in out
    assert main([*command, "--mode", "fast", "--name", "fast"]) == 0


def test_help_names_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["export-data", "--help"])
    assert "{" + ",".join([*FORMATS, HF]) + "}" in capsys.readouterr().out
