"""Two processes end as one does: DDP, FSDP2, accumulation, a kill in the middle.

The steps of one process with batches of 4 prompts are compared with those of two processes with batches of 2, and of
one that accumulates. Processes are forked from the nursery with what `accelerate launch` would give them; a pair that
goes on after a kill is really launched.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from mer_r1.errors import InputError
from mer_r1.pipelines.train import train
from mer_r1.recipe import Recipe
from tests.nursery import Nursery
from tests.training import two_processes
from tests.training.runs import lines, run_stopped_at
from tests.training.two_processes import SPREAD, assert_alike, launched, launched_with, run_in_two

SECTIONS: dict[str, dict[str, Any]] = {
    "mer_r1": {"kind": "rl"},
    "dapo": {
        "kind": "rl",
        "model": {"train_towers": True},
        "rl": {"objective": "rd_ad", "loss_type": "dapo", "num_iterations": 2},
    },
    "gdpo": {"kind": "rl", "rl": {"objective": "gdpo"}},
    "dynamic": {
        "kind": "rl",
        "rl": {"objective": "dapo", "num_generations": 2, "dynamic_sampling": 2, "mask_truncated_completions": True},
    },
    "sft": {"kind": "sft", "sft": {"targets": ["slow", "fast"]}},
    "lora": {"kind": "rl", "model": {"lora": {"r": 4, "lora_alpha": 8}}},
    "qlora": {"kind": "rl", "model": {"lora": {"r": 4, "lora_alpha": 8}, "quantization": "nf4"}},
}
EVALUATED = {"mer_r1", "sft"}


def recipe_of(name: str, source: Path, train: Path, batch_size: int, accumulation: int = 1) -> Recipe:
    """A run of two steps of four prompts, or of three in EVALUATED, which score five samples after the second."""
    sections = SECTIONS[name]
    evaluated = name in EVALUATED
    held_out = {"eval": str(train), "eval_num": 5} if evaluated else {}
    tree = {
        "kind": sections["kind"],
        "model": {"source": str(source), **sections.get("model", {})},
        "data": {"train": str(train), "keep_features": True, "workers": 0, **held_out},
        "optim": {
            "learning_rate": 1e-4,
            "lr_scheduler_type": "constant",
            "max_steps": 3 if evaluated else 2,
            "batch_size": batch_size,
            "gradient_accumulation_steps": accumulation,
            "logging_steps": 1,
            "save_steps": 2,
            "eval_steps": 2 if evaluated else None,
        },
    }
    if sections["kind"] == "rl":
        tree["rl"] = {"num_generations": 3, "max_completion_length": 32, **sections.get("rl", {})}
    else:
        tree["sft"] = sections["sft"]
    return Recipe.model_validate(tree)


@pytest.fixture(scope="module")
def singles(taught_folder: Path, corpus: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of one process."""
    folder = tmp_path_factory.mktemp("singles")
    for name in SECTIONS:
        train(recipe_of(name, taught_folder, corpus["train"], 4), folder / name)
    return folder


@pytest.fixture(scope="module")
def ddp(
    taught_folder: Path, corpus: dict[str, Path], nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The runs of two processes under DDP, one after the other."""
    folder = tmp_path_factory.mktemp("ddp")
    for name in SECTIONS:
        (folder / f"{name}.yaml").write_text(recipe_of(name, taught_folder, corpus["train"], 2).as_yaml())
    run_in_two(nursery, folder)
    return folder


@pytest.mark.parametrize("name", SECTIONS)
def test_two_processes_end_as_one(singles: Path, ddp: Path, name: str) -> None:
    assert json.loads((ddp / name / "run.json").read_text())["processes"] == 2
    assert json.loads((singles / name / "run.json").read_text())["processes"] == 1
    assert_alike(singles / name, ddp / name)
    steps = [row["step"] for row in lines(ddp / name / "metrics.jsonl")]
    assert steps == ([1, 2, 2, 3, 3, 3] if name in EVALUATED else [1, 2, 2])  # each written once
    replaced = [row["replaced_prompts"] for row in lines(ddp / name / "metrics.jsonl") if "replaced_prompts" in row]
    assert bool(replaced) == (name == "dynamic")


@pytest.mark.parametrize("name", ["mer_r1", "dapo", "gdpo", "dynamic", "sft"])
def test_accumulated_micro_batches_end_as_one_batch(
    singles: Path, taught_folder: Path, corpus: dict[str, Path], tmp_path: Path, name: str
) -> None:
    train(recipe_of(name, taught_folder, corpus["train"], 2, accumulation=2), tmp_path)
    assert_alike(singles / name, tmp_path)


def test_the_runs_compared_are_runs_that_learn(singles: Path, taught_folder: Path) -> None:
    """By more than the tolerance; frozen towers stay, learning ones move."""
    from safetensors.torch import load_file

    before = load_file(taught_folder / "model" / "model.safetensors")
    for name in SECTIONS.keys() - {"lora", "qlora"}:
        after = load_file(singles / name / "model" / "model.safetensors")
        moved = {key: float((after[key] - before[key]).abs().max()) for key in before}
        assert max(moved.values()) > 1.5e-4
        towers = [
            change for key, change in moved.items() if key.startswith(("thinker.visual.", "thinker.audio_tower."))
        ]
        assert len(towers) > 20
        assert (max(towers) > 1.5e-4) == (name == "dapo")
        assert (max(towers) == 0) == (name != "dapo")


@pytest.fixture(scope="module")
def untied(taught_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The taught model with a head of its own, as the 7B model has one."""
    import torch

    from mer_r1.models.qwen2_5_omni import load_omni

    backbone = load_omni(str(taught_folder / "model"))
    model = backbone.model
    model.lm_head.weight = torch.nn.Parameter(model.get_input_embeddings().weight.detach().clone())
    model.config.tie_word_embeddings = model.config.text_config.tie_word_embeddings = False
    folder = tmp_path_factory.mktemp("untied")
    model.save_pretrained(folder)
    backbone.save(folder)
    return folder


def test_a_model_spread_over_two_processes_ends_as_a_whole_one_even_after_a_stop(
    singles: Path, untied: Path, taught_folder: Path, corpus: dict[str, Path], nursery: Nursery, tmp_path: Path
) -> None:
    """FSDP2: RL with a head of its own, SFT with a tied one; each is stopped at its checkpoint and taken up again."""
    import torch
    from transformers import Qwen2_5OmniThinkerForConditionalGeneration

    folder = tmp_path / "fsdp"
    folder.mkdir()
    for name, source in (("mer_r1", untied), ("sft", taught_folder)):
        (folder / f"{name}.yaml").write_text(recipe_of(name, source, corpus["train"], 2).as_yaml())
    spread = launched_with(*SPREAD.split())
    run_in_two(nursery, folder, spread, "stop_at_checkpoints")
    run_in_two(nursery, folder, spread)
    whole = {"mer_r1": train(recipe_of("mer_r1", untied, corpus["train"], 4), tmp_path / "one").parent}
    for name in ("mer_r1", "sft"):
        assert_alike(whole.get(name, singles / name), folder / name)
        loaded = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(folder / name / "model")
        head, words = loaded.get_output_embeddings().weight, loaded.get_input_embeddings().weight
        assert torch.equal(head, words) == (name == "sft")


def test_a_spread_model_in_bfloat16_keeps_its_log_probabilities_exact(
    untied: Path, corpus: dict[str, Path], nursery: Nursery, tmp_path: Path
) -> None:
    """FSDP2's own policy would round what the forward gives: the policy's loss, and its KL from the reference."""
    recipe = recipe_of("gdpo", untied, corpus["train"], 2)
    optim = recipe.optim.model_copy(update={"bf16": True, "gradient_checkpointing": True, "max_steps": 1})
    (tmp_path / "run.yaml").write_text(recipe.model_copy(update={"optim": optim}).as_yaml())
    run_in_two(nursery, tmp_path, launched_with(*SPREAD.split(), "--mixed_precision", "bf16"))
    first = lines(tmp_path / "run" / "metrics.jsonl")[0]
    assert 0 < first["grad_norm"] < 100
    assert abs(first["kl"]) < 0.05


def test_the_reference_of_a_spread_model_is_its_first_policy(
    taught_folder: Path, corpus: dict[str, Path], nursery: Nursery, tmp_path: Path
) -> None:
    """Every process has loaded its weights, also where transformers would leave that to the first one."""
    recipe = recipe_of("gdpo", taught_folder, corpus["train"], 2)
    optim = recipe.optim.model_copy(update={"max_steps": 1})
    (tmp_path / "run.yaml").write_text(recipe.model_copy(update={"optim": optim}).as_yaml())
    run_in_two(nursery, tmp_path, launched_with(*SPREAD.split()))
    assert lines(tmp_path / "run" / "metrics.jsonl")[0]["kl"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("version", "reshard", "fits"), [(2, False, True), (2, True, False), (1, False, False)])
def test_sharding_that_sampling_cannot_take_is_refused(version: int, reshard: bool, fits: bool) -> None:
    """Two processes whose answers differ in length would wait for each other's weights in vain."""
    from mer_r1.rl.trainer import GrpoTrainer

    trainer = MagicMock()
    trainer._towers_learn = False
    trainer.accelerator.state.fsdp_plugin.fsdp_version = version
    trainer.accelerator.state.fsdp_plugin.reshard_after_forward = reshard
    if fits:
        GrpoTrainer._validate_sharding(trainer)
    else:
        with pytest.raises(InputError, match="fsdp_reshard_after_forward: false"):
            GrpoTrainer._validate_sharding(trainer)


@pytest.mark.parametrize("name", sorted(EVALUATED))
def test_a_run_of_one_process_goes_on_with_two_where_a_step_takes_as_many_samples(
    singles: Path, taught_folder: Path, corpus: dict[str, Path], nursery: Nursery, tmp_path: Path, name: str
) -> None:
    run_stopped_at(recipe_of(name, taught_folder, corpus["train"], 4), tmp_path / name, 3)
    (tmp_path / f"{name}.yaml").write_text(recipe_of(name, taught_folder, corpus["train"], 2).as_yaml())
    run_in_two(nursery, tmp_path)
    assert json.loads((tmp_path / name / "run.json").read_text())["processes"] == 2
    assert_alike(singles / name, tmp_path / name)


def test_two_killed_processes_resume_to_the_same_end(
    ddp: Path, taught_folder: Path, corpus: dict[str, Path], nursery: Nursery, tmp_path: Path
) -> None:
    """The real command; one of the two speaks."""
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "run"
    recipe.write_text(recipe_of("mer_r1", taught_folder, corpus["train"], 2).as_yaml())
    assert nursery.run(f"{two_processes.__name__}:train_to_a_checkpoint_and_die", recipe, out, num_processes=2)[0] == -9
    assert (out / "checkpoints" / "checkpoint-2" / "trainer_state.json").exists()
    assert not (out / "model").exists()
    printed = launched(nursery, str(recipe), "--out", str(out))
    assert printed.count("Model: ") == printed.count("3/3") == 1
    assert (out / "model" / "model.safetensors").read_bytes() == (
        ddp / "mer_r1" / "model" / "model.safetensors"
    ).read_bytes()
    assert lines(out / "rollouts.jsonl") == lines(ddp / "mer_r1" / "rollouts.jsonl")
    assert lines(out / "metrics.jsonl") == lines(ddp / "mer_r1" / "metrics.jsonl")
