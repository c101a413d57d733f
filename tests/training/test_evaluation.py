"""Scoring while training, where numbers are sent, and what a person sees of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mer_r1.commands import main
from mer_r1.data.manifest import read_manifest
from mer_r1.errors import InputError
from mer_r1.models.features import read_prompts
from mer_r1.models.qwen2_5_omni import load_omni
from mer_r1.pipelines.train import train
from mer_r1.recipe import Recipe
from mer_r1.training.sft import SftExamples, collate, sft_loss
from tests.training.runs import lines, make_recipe

NUM = 3


def recipe_of(
    kind: str, source: Path, corpus: dict[str, Path], evaluates: bool = True, dropout: float = 0.0, **optim: Any
) -> Recipe:
    """Four steps; with `evaluates`, three samples are scored after the second and the last, in batches of two."""
    sections = {"rl": {"num_generations": 2, "max_completion_length": 32}} if kind == "rl" else {}
    settings = {"max_steps": 4, "logging_steps": 3, **optim}
    tree = make_recipe(kind, source, corpus["train"], settings, **sections).model_dump(mode="json")
    if evaluates:
        tree["data"] |= {"eval": str(corpus["train"]), "eval_num": NUM}
        tree["optim"] |= {"eval_steps": 2}
    if dropout:
        tree["model"] |= {"lora": {"r": 4, "lora_dropout": dropout}}
    return Recipe.model_validate(tree)


def scored(out: Path) -> list[dict[str, Any]]:
    return [row for row in lines(out / "metrics.jsonl") if any(name.startswith("eval/") for name in row)]


def test_the_loss_logged_is_that_of_the_model_on_the_held_out_samples(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path
) -> None:
    """Of all their ids together, in whatever batches they came."""
    model = train(recipe_of("sft", taught_folder, corpus), tmp_path)
    rows = scored(tmp_path)
    assert [row["step"] for row in rows] == [2, 4]
    assert rows[1]["eval/loss"] < rows[0]["eval/loss"]
    backbone = load_omni(str(model))
    samples = read_manifest(corpus["train"])[:NUM]
    examples = SftExamples.of(backbone, samples, read_prompts(backbone, samples), ("slow",))
    with torch.no_grad():
        expected = sft_loss(backbone, backbone.model, collate(backbone, [examples[index] for index in range(NUM)]))
    assert rows[1]["eval/loss"] == pytest.approx(float(expected), rel=1e-5)


def test_the_rewards_logged_are_those_of_greedy_answers(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path
) -> None:
    from mer_r1.emotion.wheel import WheelSet
    from mer_r1.metrics.rewards import score_response
    from mer_r1.models.types import Sampling
    from mer_r1.prompting.response import parse_response

    model = train(recipe_of("rl", taught_folder, corpus), tmp_path)
    rows = scored(tmp_path)
    assert [row["step"] for row in rows] == [2, 4]
    backbone, wheels = load_omni(str(model)), WheelSet.load()
    samples = read_manifest(corpus["train"])[:NUM]
    expected: dict[str, list[float]] = {"recall": [], "precision": [], "f1": []}
    for sample, prompt in zip(samples, read_prompts(backbone, samples), strict=True):
        encoded = backbone.encode(backbone.collate([prompt]))
        made = backbone.generate(encoded, 1, Sampling(32, temperature=0.0))
        text = backbone.decode(made.ids_BR[0][made.mask_BR[0].bool()].tolist())
        score = score_response(parse_response(text), sample.labels, wheels)
        for name, values in expected.items():
            values.append(getattr(score, name))
    for name, values in expected.items():
        assert rows[1][f"eval/{name}"] == pytest.approx(sum(values) / NUM)


@pytest.mark.parametrize(("kind", "dropout"), [("rl", 0.0), ("sft", 0.2)])
def test_training_is_as_if_nothing_had_been_scored(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path, kind: str, dropout: float
) -> None:
    """Weights, rollouts and all other lines of the log; also where dropout draws."""
    for name, evaluates in (("with", True), ("without", False)):
        train(recipe_of(kind, taught_folder, corpus, evaluates, dropout), tmp_path / name)
    (weights,) = (path.name for path in (tmp_path / "with" / "model").glob("*.safetensors"))
    assert (tmp_path / "with" / "model" / weights).read_bytes() == (
        tmp_path / "without" / "model" / weights
    ).read_bytes()
    rows = [row for row in lines(tmp_path / "with" / "metrics.jsonl") if row not in scored(tmp_path / "with")]
    assert rows == lines(tmp_path / "without" / "metrics.jsonl")
    if kind == "rl":
        assert lines(tmp_path / "with" / "rollouts.jsonl") == lines(tmp_path / "without" / "rollouts.jsonl")


@pytest.mark.parametrize("unreadable", ["stop", "skip"])
def test_a_held_out_clip_that_cannot_be_read_is_named_or_left_out_and_counted(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path, unreadable: str
) -> None:
    clip = tmp_path / "broken.mp4"
    clip.write_bytes(b"no clip")
    samples = read_manifest(corpus["train"])
    held_out = tmp_path / "eval.jsonl"
    held_out.write_text(
        f'{{"id": "a", "video": "broken.mp4", "labels": ["sad"], "reasoning": "r"}}\n'
        f'{{"id": "b", "subtitle": "{samples[0].subtitle or "I see."}", "labels": ["sad"], "reasoning": "r"}}\n'
    )
    tree = recipe_of("sft", taught_folder, corpus).model_dump(mode="json")
    tree["data"] |= {"eval": str(held_out), "eval_num": None, "keep_features": False, "unreadable": unreadable}
    recipe = Recipe.model_validate(tree)
    if unreadable == "stop":
        with pytest.raises(InputError, match=r"broken\.mp4.*set data\.unreadable=skip"):
            train(recipe, tmp_path / "run")
    else:
        train(recipe, tmp_path / "run")
        assert [row["eval/unreadable"] for row in scored(tmp_path / "run")] == [1, 1]


@pytest.mark.parametrize(
    ("name", "message"),
    [("dvclive", r"optim\.report_to: dvclive cannot be used .*pip install dvclive"),
     ("tensorbored", r"optim\.report_to: 'tensorbored' is not known; choose from .*tensorboard")],
)  # fmt: skip
def test_a_reporter_that_is_not_there_is_named(
    tiny_folder: Path, corpus: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    from transformers.integrations import integration_utils

    monkeypatch.setattr(integration_utils, "is_dvclive_available", lambda: False)
    with pytest.raises(InputError, match=message):
        train(recipe_of("sft", tiny_folder, corpus, report_to=(name,)), tmp_path)


@pytest.mark.slow
def test_a_reporter_that_is_there_gets_every_line(
    tiny_folder: Path, corpus: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import TrainerCallback
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    seen = list[dict[str, float]]()

    class Reporter(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
            seen.append(logs)

    monkeypatch.setitem(INTEGRATION_TO_CALLBACK, "mlflow", Reporter)
    train(recipe_of("sft", tiny_folder, corpus, report_to=("mlflow",)), tmp_path)
    written = lines(tmp_path / "metrics.jsonl")
    assert len(seen) == len(written) == 4
    for row, logs in zip(written, seen, strict=True):
        assert {name: logs[name] for name in row if name != "step"} == {n: v for n, v in row.items() if n != "step"}


@pytest.mark.parametrize("kind", ["rl", "sft"])
def test_the_first_process_shows_how_far_it_is_and_the_others_are_silent(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], kind: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "200")
    recipe = recipe_of(kind, taught_folder, corpus, logging_steps=1)
    (tmp_path / "recipe.yaml").write_text(recipe.as_yaml())
    command = ["train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run")]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "4/4" in printed
    assert "loss 0." in printed or "loss -0." in printed or "loss" in printed
    assert f"Model: {tmp_path / 'run' / 'model'}" in printed
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(command) == 0
    assert capsys.readouterr().out == ""


def test_a_trainer_that_cannot_evaluate_cannot_be_made() -> None:
    from mer_r1.training.trainer import RunTrainer

    class Unfinished(RunTrainer):
        pass

    with pytest.raises(TypeError, match="evaluate_batch"):
        Unfinished()  # type: ignore[call-arg]
