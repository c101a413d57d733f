"""A mixture of experts in training: whole or with adapters, spread over processes, rewarded, and loaded again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mer_r1.models.loading import load_backbone
from mer_r1.models.sampler import policy_weights
from mer_r1.pipelines.train import train
from mer_r1.recipe import Recipe
from tests.nursery import Nursery
from tests.training.runs import lines, run_stopped_at
from tests.training.two_processes import SPREAD, assert_alike, launched_with, run_in_two

pytestmark = pytest.mark.slow
ADAPTERS = {"lora": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "experts"]}}


def recipe_of(kind: str, source: Path, manifest: Path, batch_size: int, model: dict[str, Any], **rl: Any) -> Recipe:
    """Two steps, a checkpoint after each."""
    return Recipe.model_validate(
        {
            "kind": kind,
            "model": {"source": str(source), **model},
            "data": {"train": str(manifest), "keep_features": True, "workers": 0},
            "optim": {
                "learning_rate": 1e-4,
                "lr_scheduler_type": "constant",
                "max_steps": 2,
                "batch_size": batch_size,
                "logging_steps": 1,
                "save_steps": 1,
                "gradient_checkpointing": bool(model),
            },
            **({"rl": rl} if rl else {}),
        }
    )


def test_experts_spread_over_two_processes_end_as_whole_ones(
    omni3_folder: Path, corpus: dict[str, Path], nursery: Nursery, tmp_path: Path
) -> None:
    """FSDP2: all weights, and adapters of rank 4 on attention and experts."""
    kinds: dict[str, dict[str, Any]] = {"whole": {}, "adapters": ADAPTERS}
    folder = tmp_path / "spread"
    folder.mkdir()
    for name, model in kinds.items():
        recipe = recipe_of("sft", omni3_folder, corpus["train"], 2, model)
        (folder / f"{name}.yaml").write_text(recipe.as_yaml())
    run_in_two(nursery, folder, launched_with(*SPREAD.split()))
    before = load_file(omni3_folder / "model.safetensors")
    for name, model in kinds.items():
        train(recipe_of("sft", omni3_folder, corpus["train"], 4, model), tmp_path / name)
        assert_alike(tmp_path / name, folder / name)
        after = dict(policy_weights(load_backbone(str(folder / name / "model"))))
        moved = {key for key, value in before.items() if not torch.equal(after[key], value)}
        experts = {key for key in before if ".experts." in key}
        assert experts <= moved
        assert any(".gate.weight" in key for key in moved) == (name == "whole")


def test_adapters_of_experts_are_rewarded_and_merge_into_their_base(
    omni3_folder: Path, corpus: dict[str, Path], tmp_path: Path
) -> None:
    rl = {"objective": "mer_r1", "num_generations": 3, "max_completion_length": 16, "beta": 0.04}
    train(recipe_of("rl", omni3_folder, corpus["train"], 2, ADAPTERS, **rl), tmp_path)
    first, *_ = lines(tmp_path / "metrics.jsonl")
    assert first["kl"] == pytest.approx(0.0, abs=1e-6)  # of the policy with its adapters switched off
    assert len(lines(tmp_path / "rollouts.jsonl")) == 2 * 2 * 3
    adapter = load_file(tmp_path / "model" / "adapter_model.safetensors")
    assert {".mlp.experts." in name for name in adapter} == {True, False}
    assert not [name for name in adapter if "visual" in name or "audio_tower" in name]
    assert load_backbone(str(tmp_path / "model")).reads == "pictures, sound and subtitle"


@pytest.mark.parametrize("model", [{}, ADAPTERS], ids=["whole", "adapters"])
def test_a_stopped_run_ends_as_an_unstopped_one(
    omni3_folder: Path, corpus: dict[str, Path], tmp_path: Path, model: dict[str, Any]
) -> None:
    recipe = recipe_of("sft", omni3_folder, corpus["train"], 2, model)
    train(recipe, tmp_path / "whole")
    run_stopped_at(recipe, tmp_path / "stopped", 1)
    train(recipe, tmp_path / "stopped")
    (file,) = (tmp_path / "whole" / "model").glob("*model.safetensors")
    assert (tmp_path / "stopped" / "model" / file.name).read_bytes() == file.read_bytes()
    assert lines(tmp_path / "stopped" / "metrics.jsonl") == lines(tmp_path / "whole" / "metrics.jsonl")
