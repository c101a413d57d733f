"""The loop of all benchmarks: one rule for failed answers, for changed samples, for folders of older runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from mer_r1.data.manifest import read_manifest
from mer_r1.data.prepared import PreparedSet
from mer_r1.data.sample import Mode, Prediction, Sample
from mer_r1.errors import InputError
from mer_r1.evaluation.records import MetricsRecord, ScoreRecord, ScoresByMode
from mer_r1.evaluation.suite import AnsweredRun, FoundSets, Outcome, Request, run_benchmark
from mer_r1.generation import failed

SAMPLES = tuple(
    Sample(str(n), subtitle=f"line {n}", labels=("happy",), candidates=("happy", "sad"), valence=0.5) for n in range(4)
)


@dataclass(frozen=True)
class Lines:
    """One set, of which the share of right answers is the score; `faulty` fail in slow mode."""

    samples: tuple[Sample, ...] = SAMPLES
    faulty: frozenset[str] = frozenset()

    name = "lines"
    title = "Lines"

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"model": "scripted"}

    def find_sets(self, request: Request) -> FoundSets:
        return FoundSets({"one": PreparedSet("one", "One", self.samples[: request.limit])})

    def generators(self, request: Request, sets: Sequence[str]) -> Mapping[str, Lines]:
        return dict.fromkeys(sets, self)

    def generate(self, samples: Sequence[Sample], mode: Mode) -> Iterator[Prediction]:
        for sample in samples:
            fine = Prediction(sample.id, mode, "happy", "", ("happy",), "ok")
            is_faulty = mode == "slow" and sample.id in self.faulty
            yield failed(sample.id, mode, InputError("timed out")) if is_faulty else fine

    def score(self, run: AnsweredRun) -> Outcome:
        item = run.sets["one"]
        if not item.samples:
            return Outcome(run, MetricsRecord())
        scores: dict[Mode, ScoreRecord] = {}
        for mode, answers in item.answers.items():
            assert set(answers) == {sample.id for sample in item.samples}
            right = [answers[sample.id].labels == sample.labels for sample in item.samples]
            n, failed = len(right), len(item.failed[mode])
            scores[mode] = ScoreRecord(measure="accuracy", accuracy=sum(right) / n, n=n, failed=failed)
        return Outcome(run, MetricsRecord(sets={"one": ScoresByMode.of(scores)}))


def ran(benchmark: Lines, out: Path, **options: Any) -> Outcome:
    outcome = run_benchmark(benchmark, Request("m", Path(), out, **options))
    assert outcome is not None
    return outcome


def numbers(outcome: Outcome) -> list[tuple[int, float, int]]:
    """n, accuracy and errors of both modes, as metrics.json has them."""
    scores = json.loads((outcome.run.out / "metrics.json").read_text())["sets"]["one"]
    return [(scores[mode]["n"], scores[mode]["accuracy"], scores[mode]["failed"]) for mode in ("fast", "slow")]


def test_a_failed_answer_is_in_no_number_and_ends_with_status_1(tmp_path: Path) -> None:
    outcome = ran(Lines(faulty=frozenset("2")), tmp_path)
    assert numbers(outcome) == [(3, 1, 0), (3, 1, 1)]
    assert (outcome.exit_status, json.loads((tmp_path / "metrics.json").read_text())["complete"]) == (1, False)
    assert "1 of 8 answers failed, such as 2 (slow): timed out" in outcome.problems[0]
    assert (ran(Lines(), tmp_path).exit_status, numbers(outcome)) == (0, [(4, 1, 0), (4, 1, 0)])


def test_as_empty_a_failed_answer_is_wrong_and_the_status_is_still_1(tmp_path: Path) -> None:
    outcome = ran(Lines(faulty=frozenset("2")), tmp_path, failed="as-empty")
    assert numbers(outcome) == [(4, 1, 0), (4, 0.75, 1)]
    assert outcome.exit_status == 1
    assert json.loads((tmp_path / "run.json").read_text())["settings"]["failed_answers"] == "as-empty"
    assert json.loads((tmp_path / "metrics.json").read_text())["failed_answers"] == "as-empty"


@pytest.mark.parametrize(
    "changes",
    [{"labels": ("sad",)}, {"valence": -0.5}, {"candidates": ("happy", "angry")}],
)
def test_a_sample_with_other_gold_or_candidates_does_not_enter_a_folder(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    ran(Lines(), tmp_path, limit=2)
    before = (tmp_path / "one" / "manifest.jsonl").read_bytes()
    changed = (SAMPLES[0], replace(SAMPLES[1], **changes), *SAMPLES[2:])
    with pytest.raises(InputError, match=r"manifest\.jsonl: 1 has another label or label set now; give another --out"):
        ran(Lines(changed), tmp_path)
    assert (tmp_path / "one" / "manifest.jsonl").read_bytes() == before
    ran(Lines(), tmp_path)
    assert [sample.id for sample in read_manifest(tmp_path / "one" / "manifest.jsonl")] == ["0", "1", "2", "3"]


def test_a_folder_of_0_1_0_is_resumed_and_ends_as_finished(tmp_path: Path) -> None:
    ran(Lines(), tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["status"] == "finished"
    (tmp_path / "run.json").write_text(json.dumps(record | {"status": "done"}))
    assert ran(Lines(), tmp_path).exit_status == 0
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "finished"


def test_a_run_that_scores_nothing_names_the_first_failure_and_stays_unfinished(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"4 of 8 answers failed.*; --mode fast or slow scores a mode that was"):
        ran(Lines(faulty=frozenset("0123")), tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "running"
    assert not (tmp_path / "metrics.json").exists()


def test_every_process_generates_and_the_first_one_alone_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert run_benchmark(Lines(), Request("m", Path(), tmp_path)) is None
    assert not list(tmp_path.glob("*.json"))
    monkeypatch.setenv("RANK", "0")
    told: list[tuple[str, int, int]] = []
    outcome = run_benchmark(Lines(), Request("m", Path(), tmp_path), progress=lambda *item: told.append(item))
    assert outcome is not None
    assert numbers(outcome) == [(4, 1, 0), (4, 1, 0)]
    assert [done for _, done, _ in told] == [1, 2, 3, 4], "half of the answers were there"
    assert {(title, total) for title, _, total in told} == {("One", 4)}
