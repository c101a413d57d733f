"""RL whose rollouts an engine draws: what it trains, a stop in the middle, two processes, and what is refused before.

The runs of this process share the session's engine, which has the tiny Thinker's configuration.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from mer_r1.errors import InputError
from mer_r1.models.qwen2_5_omni import OmniBackbone
from mer_r1.models.sampler import policy_weights
from mer_r1.models.vllm_engine import EngineOptions
from mer_r1.models.vllm_sampler import VllmSampler, counted
from mer_r1.pipelines.train import train
from mer_r1.recipe import Recipe
from tests.nursery import Nursery
from tests.training.runs import lines, make_recipe, run_stopped_at, weights
from tests.training.two_processes import SPREAD, assert_alike, launched_with, run_in_two

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "lora": {"model": {"lora": {"r": 4, "lora_alpha": 8}}},
    "twice": {"rl": {"num_iterations": 2, "objective": "mer_r1"}},
    "replaced": {"rl": {"objective": "dapo", "dynamic_sampling": 2}},
    "evaluated": {"eval": {"eval": True}},
}


def recipe_of(name: str, source: Path, manifest: Path, batch_size: int = 2, sampler: str = "vllm") -> Recipe:
    """Four steps, a checkpoint after the second."""
    parts = KINDS[name]
    recipe = make_recipe(
        "rl",
        source,
        manifest,
        {
            "max_steps": 4,
            "save_steps": 2,
            "lr_scheduler_type": "constant",
            "learning_rate": 1e-4,
            "batch_size": batch_size,
        },
        rl={"num_generations": 3, "max_completion_length": 48, "sampler": sampler, **parts.get("rl", {})},
    )
    tree = recipe.model_dump(mode="json", exclude_unset=True)
    tree["model"] |= parts.get("model", {})
    if "eval" in parts:
        tree["data"] |= {"eval": str(manifest), "eval_num": 3}
        tree["optim"]["eval_steps"] = 2
    return Recipe.model_validate(tree)


@pytest.fixture
def shared(vllm_sampler: VllmSampler, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run of this process gets the session's engine."""
    monkeypatch.setattr("mer_r1.models.vllm_sampler.open_engine", lambda folder, options: vllm_sampler.llm)
    monkeypatch.setattr(VllmSampler, "close", lambda self: None)


@pytest.mark.vllm
@pytest.mark.parametrize("name", ["plain", "lora", "twice", "replaced", "evaluated"])
def test_the_engine_draws_what_the_policy_scores(
    name: str, taught_folder: Path, corpus: dict[str, Path], shared: None, tmp_path: Path
) -> None:
    train(recipe_of(name, taught_folder, corpus["train"]), tmp_path)
    rows = lines(tmp_path / "metrics.jsonl")
    sampled = [row for row in rows if "sampling/pearson" in row]
    assert len(sampled) == (2 if name == "twice" else 4)
    for row in sampled:
        assert row["sampling/weights_equal"] == 1
        assert row["sampling/pearson"] > 0.9999
        assert row["sampling/sampling_logp_difference/mean"] < 1e-4
    assert sum("eval/recall" in row for row in rows) == (2 if name == "evaluated" else 0)
    assert (tmp_path / "model").is_dir()


@pytest.mark.vllm
def test_a_stopped_run_goes_on_exactly(
    taught_folder: Path, corpus: dict[str, Path], shared: None, tmp_path: Path
) -> None:
    recipe = recipe_of("plain", taught_folder, corpus["train"])
    train(recipe, tmp_path / "whole")
    run_stopped_at(recipe, tmp_path / "stopped", 3)
    train(recipe, tmp_path / "stopped")
    assert weights(tmp_path / "stopped") == weights(tmp_path / "whole")
    assert lines(tmp_path / "stopped" / "metrics.jsonl") == lines(tmp_path / "whole" / "metrics.jsonl")
    rollouts = [(tmp_path / name / "rollouts.jsonl").read_text() for name in ("whole", "stopped")]
    assert rollouts[0] == rollouts[1]


@pytest.mark.vllm
def test_two_processes_that_share_a_model_learn_as_one(
    taught_folder: Path, corpus: dict[str, Path], shared: None, nursery: Nursery, tmp_path: Path
) -> None:
    """FSDP2; each has an engine of its own, which holds the whole policy."""
    name, folder = "plain", tmp_path / "two"
    train(recipe_of(name, taught_folder, corpus["train"], batch_size=4), tmp_path / "one")
    folder.mkdir()
    (folder / "run.yaml").write_text(recipe_of(name, taught_folder, corpus["train"], batch_size=2).as_yaml())
    run_in_two(nursery, folder, launched_with(*SPREAD.split()))
    assert_alike(folder / "run", tmp_path / "one")


class Engine:
    """Stands for an engine on a GPU that may sleep: the calls it gets, in order."""

    def __init__(self, weights: Callable[[], Counter[str]]) -> None:
        self.calls: list[str] = []
        self.llm_engine, self._weights = self, weights

    def collective_rpc(self, name: str, kwargs: dict[str, Any]) -> None:
        self.calls.append(name)
        for _ in kwargs["weights_iterator"]:
            pass

    def apply_model(self, function: Any) -> list[Counter[str]]:
        return [self._weights()]

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **given: self.calls.append(" ".join([name, *map(str, args), *map(str, given.values())]))


def test_an_engine_sleeps_while_the_policy_learns(fresh_tiny: OmniBackbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights wake first, its cache when they are in; nothing it kept of the old ones is read again."""
    held = Counter[str]()
    list(counted(policy_weights(fresh_tiny), torch.float32, held))
    engine = Engine(lambda: held)
    monkeypatch.setattr("mer_r1.models.vllm_sampler.open_engine", lambda folder, options: engine)
    sampler = VllmSampler(fresh_tiny, EngineOptions(max_model_len=64, sleep=True))
    monkeypatch.setattr(sampler, "_sleeps", True)  # without a GPU it never does
    sampler.update(policy_weights(fresh_tiny))
    sampler.rest()
    resets = ["reset_prefix_cache", "reset_mm_cache", "reset_encoder_cache"]
    assert engine.calls == ["wake_up ['weights']", "reload_weights", "wake_up ['kv_cache']", *resets, "sleep 2"]


def test_without_vllm_a_run_ends_before_it_begins(
    tiny_folder: Path, corpus: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"^rl\.sampler: vLLM is not installed; .*; or set rl\.sampler=local$"):
        train(recipe_of("plain", tiny_folder, corpus["train"]), tmp_path / "run")
    assert not [*(tmp_path / "run").glob("*")]


def test_the_engine_is_closed_whatever_fails_behind_it(
    tiny_folder: Path, corpus: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*args: object) -> None:
        raise InputError("a clip")

    engine = Mock()
    monkeypatch.setattr("mer_r1.pipelines.train._engine", lambda *args: engine)
    monkeypatch.setattr("mer_r1.models.vllm_engine.require_vllm", lambda: None)
    monkeypatch.setattr("mer_r1.pipelines.train._prompts", unreadable)
    with pytest.raises(InputError, match=r"^a clip$"):
        train(recipe_of("plain", tiny_folder, corpus["train"]), tmp_path / "run")
    engine.close.assert_called_once_with()


def test_without_memory_a_run_ends_before_clips_are_read(
    tiny_folder: Path, corpus: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path, options: EngineOptions) -> None:
        raise InputError("not enough memory for vLLM's engine")

    monkeypatch.setattr("mer_r1.models.vllm_sampler.open_engine", full)
    monkeypatch.setattr("mer_r1.models.vllm_engine.require_vllm", lambda: None)
    monkeypatch.setattr("mer_r1.pipelines.train._prompts", lambda *args: pytest.fail("clips are read"))
    with pytest.raises(InputError, match=r"^not enough memory for vLLM's engine$"):
        train(recipe_of("plain", tiny_folder, corpus["train"]), tmp_path / "run")
