"""Folders of runs that version 0.1.0 wrote, shortened to a few rows, are read, shown, diagnosed, kept and resumed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mer_r1.commands import main
from mer_r1.evaluation.runs import read_runs, shared_sets
from mer_r1.recipe import read_recipe

OLD = Path(__file__).parent / "version_0_1_0"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy that a test may write into."""
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def test_a_quickstart_is_read_with_its_logs_under_the_names_of_today() -> None:
    systems = {system.name: system for system in read_runs([OLD / "quickstart"])}
    assert list(systems) == ["sft", "baseline", "mer_r1"]
    trained = systems["mer_r1"]
    assert (trained.run.kind, trained.run.status, trained.run.steps) == ("rl", "finished", 150)
    assert trained.run.response_format == "think_answer"
    for key in ("frac_reward_zero_std", "clip_ratio", "clip_ratio_low", "clip_ratio_high"):
        steps, values = trained.series(key)
        assert (steps, len(values)) == ([5.0, 10.0, 15.0], 3)
    slow = trained.sets[0].scores.slow
    assert slow is not None
    assert slow.value("f1") == pytest.approx(0.7797, abs=0.1)
    assert slow.bounds("f1") is not None
    assert [list(item.answers) for item in shared_sets(list(systems.values()))] == [["sft", "baseline", "mer_r1"]]


def test_a_benchmark_that_was_done_is_finished_and_has_its_numbers() -> None:
    words, pictures = read_runs([OLD / "mer-unibench", OLD / "emotion-pictures"])
    assert (words.run.status, pictures.run.status) == ("finished", "finished")
    assert [item.name for item in words.sets] == ["ovmerdplus", "meld", "mosi"]
    fast, slow = words.sets[0].scores.fast, pictures.sets[0].scores.slow
    assert fast is not None
    assert slow is not None
    assert (fast.measure, fast.value("f1"), fast.n, fast.failed) == ("f1", None, 4, 0)
    assert (slow.measure, slow.value("accuracy")) == ("accuracy", 1.0)


@pytest.mark.slow
def test_the_page_shows_all_of_it(old: Path) -> None:
    pytest.importorskip("matplotlib")
    runs = [old / "quickstart", old / "mer-unibench", old / "emotion-pictures"]
    for run in runs:
        assert main(["report", str(run)]) == 0
    quickstart, words, pictures = ((run / "report.html").read_text(encoding="utf-8") for run in runs)
    for shown in ("MER-R1 quickstart", "Groups without signal", "5600 training clips", "What each medium is worth"):
        assert shown in quickstart
    assert "A group of rollouts" in quickstart
    assert '<p class="reasoning">' in quickstart
    for shown in ("OV-MERD+", "MELD", "WAF"):
        assert shown in words
    assert "Emotion6" in pictures
    assert main(["report", *map(str, runs), "--out", str(old / "all.html")]) == 0


@pytest.mark.slow
def test_the_diagnosis_measures_it(old: Path) -> None:
    pytest.importorskip("matplotlib")
    assert main(["diagnose", str(old / "quickstart"), "--out", str(old / "out")]) == 0
    found = json.loads((old / "out" / "diagnosis.json").read_text())
    assert found["pair"] == ["baseline", "mer_r1"]
    measured = found["sets"]["test"]["systems"]["mer_r1"]
    assert measured["paradox"]["n"] == 3
    assert measured["paradox"]["slow"]["num_with_confidence"] == 3
    assert measured["paradox"]["slow"]["num_with_confidence_first"] == 0
    assert measured["reliability"]["slow"] is None
    assert "MER-R1, test: 6 answers have the mean over words alone" in " ".join(found["notes"])
    assert found["dynamics"]["mer_r1"]["reward/recall"]["steps"] == [5.0, 10.0, 15.0]


def test_a_finished_training_is_kept(old: Path) -> None:
    pytest.importorskip("torch")
    from mer_r1.pipelines.train import train

    folder = old / "quickstart" / "mer_r1"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert train(read_recipe(str(folder / "recipe.yaml")), folder) == folder / "model"
    assert {path: path.read_bytes() for path in before} == before


def test_a_finished_training_is_kept_whose_recipe_lacks_a_key_that_has_come_since(old: Path) -> None:
    pytest.importorskip("torch")
    from mer_r1.pipelines.train import train

    saved = old / "quickstart" / "mer_r1" / "recipe.yaml"
    lines = saved.read_text().splitlines(keepends=True)
    saved.write_text("".join(line for line in lines if line.strip() != "lambda_rer: 0.1"))
    assert len(saved.read_text().splitlines()) == len(lines) - 1
    assert train(read_recipe(str(saved)), saved.parent) == saved.parent / "model"


def test_a_model_s_settings_are_taken(old: Path, tiny_folder: Path) -> None:
    from mer_r1.models.loading import load_backbone

    model = Path(shutil.copytree(tiny_folder, old / "model"))
    shutil.copy(old / "quickstart" / "mer_r1" / "model" / "mer_r1.json", model)
    backbone = load_backbone(str(model))
    assert backbone.prompt_style == "brief"
    assert (backbone.budget.num_frames, backbone.budget.max_pixels, backbone.budget.max_audio_s) == (4, 3136, 1.0)
