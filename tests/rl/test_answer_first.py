"""VideoAuto-R1's form and rewards through SFT, RL and prediction: an answer, the reasoning, an answer again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from mer_r1.data.manifest import read_manifest
from mer_r1.data.sample import Mode
from mer_r1.errors import InputError
from mer_r1.generation.local import LocalGenerator
from mer_r1.models.loading import load_backbone
from mer_r1.pipelines.train import train
from mer_r1.prompting.response import parse_response
from tests.training.runs import lines, make_recipe


@pytest.fixture(scope="module")
def taught_first(taught_folder: Path, brief: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The taught tiny Thinker taught to answer first."""
    optim = {"learning_rate": 3e-3, "max_steps": 18, "batch_size": 16, "warmup_steps": 2, "adam_beta2": 0.98}
    recipe = make_recipe("sft", taught_folder, brief, optim, sft={"targets": ["slow", "fast"]})
    model = recipe.model.model_copy(update={"prompt_style": "brief_first"})
    return train(recipe.model_copy(update={"model": model}), tmp_path_factory.mktemp("first") / "run").parent


def test_it_learns_to_answer_twice_and_is_paid_for_both(
    taught_first: Path, corpus: dict[str, Path], tmp_path: Path
) -> None:
    rl = {"objective": "videoauto_r1", "num_generations": 2, "max_completion_length": 80, "temperature": 0.5}
    train(make_recipe("rl", taught_first, corpus["train"], {"max_steps": 2, "batch_size": 4}, rl=rl), tmp_path)
    rows = lines(tmp_path / "rollouts.jsonl")
    whole = [row for row in rows if parse_response(row["text"], "answer_think_answer").well_formed]
    assert len(whole) > len(rows) / 2
    assert all(row["text"].startswith("<answer>") and row["text"].count("</answer>") == 2 for row in whole)
    assert all(row["rewards"]["initial_f1"] is not None and row["rewards"]["fallback"] == 0 for row in whole)
    assert all(row["rewards"]["format"] == 1 for row in whole)
    assert any(row["advantage"] for row in rows)


def test_fast_is_the_first_answer_and_slow_the_last(taught_first: Path, corpus: dict[str, Path]) -> None:
    backbone = load_backbone(str(taught_first / "model"))
    assert backbone.prompt_style == "brief_first"
    samples = read_manifest(corpus["train"])[:4]
    generator, modes = LocalGenerator(backbone, max_new_tokens=80), get_args(Mode)
    fast, slow = ([*generator.generate(samples, mode)] for mode in modes)
    for at_once, reasoned in zip(fast, slow, strict=True):
        assert at_once.raw.count("<answer>") == at_once.raw.count("</answer>") == 1
        assert at_once.reasoning == ""
        if reasoned.status == "ok":
            assert reasoned.raw.startswith(at_once.raw)  # the same words, then the reasoning
            assert reasoned.labels == parse_response(reasoned.raw, "answer_think_answer").labels
    assert any(prediction.status == "ok" and prediction.confidence for prediction in slow)


def test_the_objective_needs_a_prompt_that_asks_for_a_first_answer(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path
) -> None:
    recipe = make_recipe("rl", taught_folder, corpus["train"], {"max_steps": 1}, rl={"objective": "videoauto_r1"})
    with pytest.raises(InputError, match="full_first"):
        train(recipe, tmp_path)


def test_a_prompt_style_that_does_not_exist_is_refused(taught_first: Path, corpus: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="prompt template"):
        load_backbone(str(taught_first / "model"), prompt_style="brief_last")
    assert replace(load_backbone(str(taught_first / "model")), prompt_style="full_first").response_format.num_stops == 2
