"""What each stage needs of a manifest, counted so that the classes of rows add up to the rows of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mer_r1.analysis.check import check_manifest
from mer_r1.analysis.stages import STAGES, Needs, unscored
from mer_r1.data.sample import Sample
from mer_r1.emotion.wheel import load_wheels
from mer_r1.errors import InputError
from mer_r1.recipe import Recipe
from mer_r1.training.rows import read_rows
from tests.evaluation.scoring import write

WHEELS = load_wheels("builtin")
TEXT = {"subtitle": "x", "reasoning": "She smiles."}
ROWS: list[dict[str, Any]] = [
    {"id": "taught", **TEXT, "labels": ["happy"]},
    {"id": "bare", "subtitle": "x", "labels": ["sad"]},
    {"id": "neutral", **TEXT, "labels": ["neutral"]},
    {"id": "no labels", **TEXT},
    {"id": "sentiment", **TEXT, "valence": 0.5},
    {"id": "no clip", **TEXT, "labels": ["happy"], "video": "none.mp4"},
    {"id": "two in one", **TEXT, "labels": ["happy, sad."]},
    {"id": "mistyped", **TEXT, "lables": ["happy"]},
]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write(tmp_path / "m.jsonl", *ROWS)


def test_the_rows_of_each_stage_add_up_to_those_of_the_file(manifest: Path) -> None:
    found = check_manifest(manifest, stages=STAGES, workers=1).as_json()
    no_category = "no label reaches a category of the wheels"
    assert {stage: (counts["used"], counts["unused"]) for stage, counts in found["stages"].items()} == {
        "sft": (2, {"no reasoning": 1, "no labels": 2}),
        "rl": (2, {no_category: 1, "no labels": 2}),
        "benchmark": (3, {no_category: 1, "neither labels nor a valence": 1}),
    }
    for counts in found["stages"].values():
        assert counts["used"] + sum(counts["unused"].values()) + counts["with_problems"] == counts["rows"] == 8
        assert counts["with_problems"] == found["rows_with_problems"] == 3
    assert (found["rows"], found["rows_in_file"]) == (7, 8)


def test_a_file_that_cannot_be_read_to_its_end_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", *ROWS[:3])
    path.write_text(path.read_text() + "{\n" + path.read_text())
    found = check_manifest(path, stages=["rl"])
    assert (found.num_in_file, found.num_with_problems, found.is_whole) == (4, 1, False)


@pytest.mark.parametrize(("num", "targets"), [(4, ["slow"]), (3, ["slow", "fast"])])
def test_check_for_sft_and_training_say_the_same_sentence(num: int, targets: list[Any], tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", *ROWS[:num])
    recipe = Recipe.model_validate(
        {
            "kind": "sft",
            "model": {"source": "tiny"},
            "data": {"train": str(path)},
            "optim": {"learning_rate": 1e-3},
            "sft": {"targets": targets},
        }
    )
    with pytest.raises(InputError) as error:
        read_rows(recipe, path, None)
    assert check_manifest(path, stages=["sft"], needs=Needs(targets=tuple(targets))).problems[0] == str(error.value)


def test_rows_without_reasoning_are_ready_for_fast_targets_and_rl_but_not_for_slow_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", ROWS[1])
    found = check_manifest(path, stages=STAGES)
    assert {stage: found.is_ready(stage) for stage in STAGES} == {"sft": False, "rl": True, "benchmark": True}
    assert "1 of 1 rows have no reasoning" in found.problems[0]
    assert "sft.targets=[fast]" in found.problems[0]
    assert check_manifest(path, stages=["sft"], needs=Needs(targets=("fast",))).problems == []


def test_a_row_with_a_problem_of_its_own_leaves_no_stage_ready(tmp_path: Path) -> None:
    found = check_manifest(write(tmp_path / "m.jsonl", ROWS[0], ROWS[5]), stages=STAGES, workers=1)
    assert not any(found.is_ready(stage) for stage in STAGES)


def test_what_the_rows_alone_show_is_told_before_a_medium_is_decoded(manifest: Path) -> None:
    order: list[str] = []
    found = check_manifest(
        manifest,
        stages=["sft"],
        workers=1,
        before_media=lambda found: order.extend(found.problems),
        progress=lambda *_: order.append("decoded"),
    )
    assert order == [*found.problems[:-1], "decoded"]
    assert "none.mp4" in found.problems[-1]


def test_a_benchmark_scores_labels_of_the_wheels_candidates_valences_and_what_a_judge_scores() -> None:
    def reason(**fields: Any) -> str | None:
        return unscored(Sample("a", subtitle="x", **fields), WHEELS)

    assert reason(labels=("happy",)) is None
    assert reason(labels=("neutral",)) == "no label reaches a category of the wheels"
    assert reason(labels=("neutral",), candidates=("neutral", "happy")) is None
    assert reason(labels=("neutral",), candidates=("sad", "happy")) == "no answer among the candidates is right"
    assert reason(labels=("neutral",), valence=0.0) is None
    assert reason(labels=("neutral",), source="ER-Lab/x") is None
    assert reason() == "neither labels nor a valence"


def test_a_benchmark_without_any_gold_that_is_scored_is_a_problem(tmp_path: Path) -> None:
    (problem,) = check_manifest(write(tmp_path / "m.jsonl", ROWS[2]), stages=["benchmark"]).problems
    assert problem.endswith(
        "no row has gold that a metric reads (no label reaches a category of the wheels); correct the labels, or take "
        "other wheels"
    )
