"""One run, four commands, one number: benchmark, score, diagnose and the page count the same answers."""

import json
from pathlib import Path
from typing import Any

import pytest

from mer_r1.analysis.runs import diagnose_runs
from mer_r1.benchmarks.mer_unibench.benchmark import MerUniBench
from mer_r1.data.manifest import read_manifest
from mer_r1.data.predictions import read_predictions
from mer_r1.data.prepared import PreparedSet
from mer_r1.data.sample import Mode
from mer_r1.emotion.wheel import WheelSet
from mer_r1.evaluation.compare import compare_files
from mer_r1.evaluation.runs import read_runs
from mer_r1.evaluation.score import Settings, score_file
from mer_r1.evaluation.suite import AnsweredRun, AnsweredSet, Request
from mer_r1.report.measured import measure
from mer_r1.report.sets import page_sets, shown_systems
from tests.evaluation.scoring import write

MODES: tuple[Mode, ...] = ("fast", "slow")
NAME = "ovmerdplus"
GOLD = ("happy", "sad", "angry", "happy", "sad", "afraid")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A benchmark's run of one set: c1 failed in slow, c4 in fast, c5 is cut off and c3 has no label."""

    def row(mode: str, n: int, label: str, **more: Any) -> dict[str, Any]:
        return {"id": f"c{n}", "mode": mode, "labels": [label], "status": "ok", **more}

    fast = [row("fast", n, "sad") for n in range(6)]
    slow = [row("slow", n, label) for n, label in enumerate(GOLD)]
    fast[4] |= {"labels": [], "status": "error"}
    slow[1] |= {"labels": [], "status": "error"}
    slow[5] |= {"labels": [], "status": "truncated"}
    slow[3] |= {"labels": [], "status": "no_answer"}
    (tmp_path / NAME).mkdir()
    rows = [{"id": f"c{n}", "subtitle": "x", "labels": [label]} for n, label in enumerate(GOLD)]
    write(tmp_path / NAME / "manifest.jsonl", *rows)
    write(tmp_path / NAME / "predictions.jsonl", *fast, *slow)
    (tmp_path / "run.json").write_text(json.dumps({"kind": "benchmark", "benchmark": "mer-unibench", "model": "m"}))
    return tmp_path


def test_benchmark_score_diagnose_and_the_page_give_one_number(folder: Path) -> None:
    gold, pred, wheels = folder / NAME / "manifest.jsonl", folder / NAME / "predictions.jsonl", WheelSet.load()
    scored = score_file(gold, pred)
    samples = tuple(read_manifest(gold))
    rows = {mode: {row.id: row for row in read_predictions(pred) if row.mode == mode} for mode in MODES}
    item = AnsweredSet.count(PreparedSet(NAME, NAME, samples), folder / NAME, rows, "left-out")
    run = AnsweredRun(Request("m", folder), folder, {NAME: item}, lambda *_: None)
    metrics = MerUniBench().score(run).metrics
    systems = read_runs([folder])
    diagnosed = diagnose_runs(systems, wheels).sets[NAME]
    paradox = diagnosed.systems[systems[0].name].paradox
    shown = shown_systems(systems)
    (page,) = measure(shown, page_sets(shown), wheels)
    assert metrics is not None
    assert paradox is not None
    compared = compare_files(gold, [pred, pred])
    for mode in MODES:
        words, record, report = scored.words[mode], metrics.sets[NAME].of_mode(mode), page.modes[mode].report
        level = paradox.fast if mode == "fast" else paradox.slow
        assert record is not None
        assert words.n == record.n == report.n == paradox.n == 4
        assert scored.modes[mode].failed == record.failed == page.modes[mode].failed == 1
        recalls = [words.open_vocabulary.recall, record.recall, level.recall, report.open_vocabulary.recall]
        assert recalls == [words.open_vocabulary.recall] * 4
        first, second = (row.reports for row in compared.rows if row.mode == mode)
        assert first.to_json() == second.to_json() == scored.modes[mode].to_json()
    assert scored.words["slow"].open_vocabulary.recall == 1 / 2  # c0 and c2 of c0, c2, c3, c5
    assert diagnosed.failed == {systems[0].name: 2}
    assert scored.exit_status == compared.exit_status == 1


def test_one_mode_alone_is_over_its_own_answers(folder: Path) -> None:
    gold, pred = folder / NAME / "manifest.jsonl", folder / NAME / "predictions.jsonl"
    slow = score_file(gold, pred, Settings(mode="slow")).words["slow"]
    assert (slow.n, slow.unanswered) == (5, 2)
