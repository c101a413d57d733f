"""`mer-r1 train --dry-run` on the screen."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mer_r1.display.estimate import print_plan
from mer_r1.recipe import Recipe
from mer_r1.training.gpus import find_card
from mer_r1.training.plan import Place, plan
from tests.evaluation.scoring import write
from tests.training.test_estimate import recipe_of


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)


def shown(
    capsys: pytest.CaptureFixture[str], recipe: Recipe, place: Place, *, rows: int | None = 800
) -> dict[str, str]:
    """The summary by label, each line made whole again."""
    print_plan(plan(recipe, place, rows), "mer-r1 train x")
    text = capsys.readouterr().out
    assert all(len(line) <= 80 or len(line.split()) == 1 for line in text.splitlines()), "but for a long path, alone"
    return dict(re.findall(r"^(\w+) +(.*)$", re.sub(r"\n +", " ", text), re.MULTILINE))


def test_a_summary_has_ten_subjects_and_the_command(
    capsys: pytest.CaptureFixture[str], corpus: dict[str, Path]
) -> None:
    data = {"train": str(corpus["train"])}
    lines = shown(capsys, recipe_of(data=data), Place(num_gpus=4), rows=None)
    assert list(lines) == ["Model", "Trains", "Data", "Clips", "Prompt", "Steps", "Memory", "Time", "Start"]
    assert lines["Model"] == "Qwen/Qwen2.5-Omni-7B: 8.93 billion parameters"
    assert lines["Trains"] == "7.62 billion parameters, all but the towers (full training)"
    assert "8 of 8 rows" in lines["Data"]
    assert "about 1.0 s each" in lines["Clips"]
    assert lines["Steps"] == "2 = 8 rows x 1 epoch / 4 a step (4 GPUs x 1)"
    assert re.fullmatch(r"[\d.]+ of 80 GiB of each h100: fits", lines["Memory"])
    assert re.match(r"about [\d.]+ s, [\d.]+ s a step on 4 x h100", lines["Time"])
    assert lines["Start"] == "mer-r1 train x"


def test_a_model_with_experts_is_said_to_have_them(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, recipe_of("Qwen/Qwen3-Omni-30B-A3B-Instruct"), Place())
    assert lines["Model"] == (
        "Qwen/Qwen3-Omni-30B-A3B-Instruct: 31.72 billion parameters, of which a token uses 4.54 billion; experts have "
        "28.99 billion, 54.0 GiB in bfloat16"
    )


def test_what_learns_is_said_of_adapters_and_towers(capsys: pytest.CaptureFixture[str]) -> None:
    lora: dict[str, Any] = {"source": "Qwen/Qwen2.5-Omni-7B", "lora": {"r": 8}}
    assert (
        "20.19 million parameters of new adapters (LoRA, r = 8)"
        in shown(capsys, recipe_of(model=lora), Place())["Trains"]
    )
    held = shown(capsys, recipe_of(model={**lora, "quantization": "nf4"}), Place())["Trains"]
    assert held.endswith("; the model stays as it is, its layers held in nf4")
    towers = {"source": "tiny", "train_towers": True}
    assert "1.39 million parameters, towers too" in shown(capsys, recipe_of(model=towers), Place())["Trains"]


def test_rows_that_are_left_out_are_counted_with_the_reason(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    labels = (["happy"], ["neutral"], ["sad"])
    rows = ({"id": f"{n}", "video": f"{n}.mp4", "labels": ls} for n, ls in enumerate(labels))
    write(tmp_path / "m.jsonl", *rows)
    data = {"train": "m.jsonl"}  # a path is not broken into lines, and that of the folder may be longer than one
    lines = shown(capsys, recipe_of("tiny", data=data), Place(), rows=None)
    assert "2 of 3 rows, 1 dropped (no label reaches a category of the wheels: 1 (neutral 1))" in lines["Data"]
    assert "2 files are missing, the first" in lines["Clips"]
    kept = recipe_of("tiny", data=data | {"uncountable": "keep"})
    assert "3 of 3 rows, 1 kept with advantage 0" in shown(capsys, kept, Place(), rows=None)["Data"]


def test_steps_say_what_they_are_made_of(capsys: pytest.CaptureFixture[str]) -> None:
    optim = {"learning_rate": 1e-3, "batch_size": 2, "gradient_accumulation_steps": 4, "num_train_epochs": 3}
    sft = recipe_of("tiny", kind="sft", optim=optim, sft={"targets": ["slow", "fast"]})
    assert shown(capsys, sft, Place())["Steps"] == (
        "600 = 800 rows x 2 targets x 3 epochs / 8 a step (1 GPU x 2 x 4 accumulated)"
    )
    twice = recipe_of("tiny", rl={"num_iterations": 2}, optim={"learning_rate": 1e-3})
    assert "800 rows x 2 steps on the same answers x 1 epoch" in shown(capsys, twice, Place())["Steps"]
    capped = recipe_of("tiny", optim={"learning_rate": 1e-3, "max_steps": 7})
    assert shown(capsys, capped, Place())["Steps"] == "7 (optim.max_steps), 1 a step (1 GPU x 1)"


def test_what_does_not_fit_and_what_is_not_known_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, recipe_of(), Place(find_card(None, 24), 8))
    assert re.fullmatch(
        r"[\d.]+ of 24 GiB of each GPU of 24 GB: does not fit; 32 GPUs hold it|.*model.lora.*", lines["Memory"]
    )
    assert "not known for a GPU given by its memory alone" in lines["Time"]
    lines = shown(capsys, recipe_of("runs/mine"), Place())
    assert "runs/mine is not here" in lines["Model"]
    assert lines["Cost"] == "not known, because the size of the model is not"


def test_the_long_form_is_a_recipe_whose_comments_are_the_summary_and_its_parts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = recipe_of()
    print_plan(plan(recipe, Place(), 800), "mer-r1 train x", verbose=True)
    text = capsys.readouterr().out
    assert Recipe.model_validate(yaml.safe_load(text)) == recipe
    whole = re.sub(r"\n# {10}", " ", text)
    costs = plan(recipe, Place(), 800).estimate.costs
    assert costs is not None
    assert costs.seconds is not None
    for label, total, slack in (
        ("GiB", sum(costs.memory.values()) / 2**30, 0.3),
        ("Seconds", sum(costs.seconds.values()), 0.15),
    ):
        found = re.search(rf"^# {label} +(.*)$", whole, re.MULTILINE)
        assert found, whole
        parts = [float(part.rpartition(" ")[2]) for part in found[1].split(" + ")]
        assert sum(parts) == pytest.approx(total, abs=slack)
