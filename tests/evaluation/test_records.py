"""Records: written and read by one class, files of version 0.1.0 too, and nothing of a file is lost."""

import json
from pathlib import Path
from typing import Any

import pytest

from mer_r1.errors import InputError
from mer_r1.evaluation.records import MetricsRecord, RunRecord, ScoreRecord, bounds_of, finite

TRAINED = {
    "kind": "rl", "objective": "mer_r1", "versions": {"mer_r1": "0.1.0"}, "architecture": "Thinker",
    "profile": "think_answer", "reads": "pictures", "rows": 5600, "processes": 1, "steps": 150, "status": "finished",
}  # fmt: skip


def test_a_record_is_written_as_it_was_given_and_read_as_it_was_written(tmp_path: Path) -> None:
    record = RunRecord(kind="sft", objective=None, versions={"mer_r1": "1"}, rows=3, status="running")
    record.write(tmp_path / "run.json")
    written = json.loads((tmp_path / "run.json").read_text())
    assert written == {"kind": "sft", "objective": None, "versions": {"mer_r1": "1"}, "rows": 3, "status": "running"}
    assert RunRecord.read(tmp_path / "run.json") == record
    assert RunRecord.read(tmp_path / "none.json") == RunRecord()


def test_run_json_of_the_first_version_is_read() -> None:
    record = RunRecord.from_json(TRAINED, "run.json")
    assert (record.kind, record.steps, record.status) == ("rl", 150, "finished")
    assert record.response_format == "think_answer"
    benchmark = RunRecord.from_json({"kind": "benchmark", "benchmark": "mer-unibench", "status": "done"}, "run.json")
    assert (benchmark.benchmark, benchmark.status) == ("mer-unibench", "finished")
    assert benchmark.to_json()["status"] == "finished"


def test_what_a_class_does_not_know_is_kept() -> None:
    written = RunRecord.from_json({**TRAINED, "license": "mit"}, "run.json").replace(status="running").to_json()
    assert (written["license"], written["status"]) == ("mit", "running")
    scores = {"sets": {"meld": {"slow": {"n": 3, "hit": None, "recalls": {"joy": 1}}}}, "note": ["x"]}
    assert MetricsRecord.from_json(scores, "metrics.json").to_json() == scores


@pytest.mark.parametrize("value", [None, "0.5", True, float("nan"), 10**400, [1]])
def test_what_is_no_finite_number_is_none(value: Any) -> None:
    assert finite(value) is None
    record = ScoreRecord.from_json({"n": value, "f1": value, "intervals": {"f1": [0, value]}}, "metrics.json")
    assert (record.n, record.value("f1"), record.bounds("f1"), bounds_of([value, 0])) == (None, None, None, None)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ([], "the file: "),
        ({"sets": 3}, "sets: "),
        ({"sets": {"meld": {"slow": "x"}}}, r"sets\.meld\.slow: "),
    ],
)
def test_what_is_no_object_is_named_by_file_and_field(value: Any, named: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps(value))
    with pytest.raises(InputError, match=rf"metrics\.json: {named}.*; run it again, or remove the file"):
        MetricsRecord.read(tmp_path / "metrics.json")
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(InputError, match=r"metrics\.json: cannot be read as JSON"):
        MetricsRecord.read(tmp_path / "metrics.json")
