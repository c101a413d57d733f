"""Runs with adapters on weights in few bits: they learn, go on after a stop, and answer; what cannot be is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from mer_r1.generation.make import Engine, make_model_generator
from mer_r1.generation.predict import predict
from mer_r1.models.quantization import quantization_of
from mer_r1.pipelines.train import train
from mer_r1.recipe import Quantization, Recipe, read_recipe
from mer_r1.rl.trainer import GrpoTrainer
from tests.rl.test_lora_training import Watch, recipe_of
from tests.training.runs import lines, run_stopped_at

pytest.importorskip("bitsandbytes")
BITS = get_args(Quantization)
SAID = Sample("x", subtitle="I am so glad.")


def quantised(kind: str, bits: str, source: Path, corpus: dict[str, Path], **optim: Any) -> Recipe:
    """Three steps with adapters of rank 4 on weights in few bits."""
    tree = recipe_of(kind, source, corpus, **optim).model_dump(mode="json")
    tree["model"]["quantization"] = bits
    return Recipe.model_validate(tree)


@pytest.mark.parametrize(("kind", "bits"), [("rl", "nf4"), ("sft", "int8")])
def test_only_adapters_learn_and_a_stopped_run_ends_as_an_unstopped_one(
    kind: str, bits: str, taught_folder: Path, corpus: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first step's KL against the base is nothing, and no copy of the base is made."""
    recipe = quantised(kind, bits, taught_folder, corpus, save_steps=2)
    watch = Watch(monkeypatch)
    train(recipe, tmp_path / "whole")
    watch.assert_only_adapters_learned()
    assert quantization_of(watch.trainer.backbone.model) == bits
    if isinstance(watch.trainer, GrpoTrainer):
        assert watch.trainer.reference is None
        assert watch.kl[0] == pytest.approx(0, abs=1e-9)
        assert min(watch.kl[1:]) > 1e-6
    monkeypatch.undo()
    run_stopped_at(recipe, tmp_path / "resumed", 3)
    train(recipe, tmp_path / "resumed")
    files = [tmp_path / name / "model" / "adapter_model.safetensors" for name in ("whole", "resumed")]
    assert files[0].read_bytes() == files[1].read_bytes()
    for name in ("metrics.jsonl", *(["rollouts.jsonl"] if kind == "rl" else [])):
        assert lines(tmp_path / "whole" / name) == lines(tmp_path / "resumed" / name)


def test_a_run_in_bfloat16_learns_and_answers_as_it_was_trained(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With few bits the adapter is beside them, as in training; the settings say so, and others are refused."""
    watch = Watch(monkeypatch)
    recipe = quantised("rl", "nf4", taught_folder, corpus, bf16=True, gradient_checkpointing=True, max_steps=2)
    run = train(recipe, tmp_path / "run").parent
    assert "bitsandbytes" in json.loads((run / "run.json").read_text())["versions"]
    first, second = lines(run / "metrics.jsonl")[:2]
    assert first["kl"] == pytest.approx(0, abs=1e-6)
    assert 0 < second["grad_norm"] < 100
    backbone = watch.trainer.backbone
    assert {p.dtype for p in backbone.model.parameters() if p.is_floating_point() and not p.requires_grad} == {
        torch.bfloat16
    }
    generator = make_model_generator(str(run), Engine(quantization="nf4"), 16)
    assert generator.settings["model"]["quantization"] == "nf4"
    (row,) = generator.generate([SAID], "slow")
    assert row == predict(SAID, model=str(run), mode="slow", max_new_tokens=16, engine=Engine(quantization="nf4"))[0]
    assert row.status != "error"


def test_what_cannot_be_is_refused_when_the_recipe_is_read() -> None:
    with pytest.raises(InputError, match=r"model\.quantization: weights of so few bits do not learn.*give model\.lora"):
        read_recipe("minimer-rl", ["model.quantization=nf4"])
    with pytest.raises(InputError, match=r"rl\.sampler: vllm is given whole weights at every step"):
        read_recipe("minimer-rl", ["model.lora={r: 4}", "model.quantization=int8", "rl.sampler=vllm"])
    with pytest.raises(InputError, match=r"model\.quantization: .*'nf4' or 'int8'.*found 'int4'"):
        read_recipe("minimer-rl", ["model.lora={r: 4}", "model.quantization=int4"])


def test_a_checkpoint_that_is_quantised_already_is_no_source(
    tiny_folder: Path, corpus: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mer_r1.models import loading

    real = loading.load_backbone

    def stored(*arguments: Any, **options: Any) -> Any:
        backbone = real(*arguments, **options)
        backbone.model.is_quantized = True
        return backbone

    monkeypatch.setattr(loading, "load_backbone", stored)
    with pytest.raises(InputError, match=r"model\.source: .* holds quantised weights, and training takes whole ones"):
        train(quantised("sft", "nf4", tiny_folder, corpus), tmp_path)


def test_quantised_weights_are_not_spread(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import Trainer

    real = Trainer.__init__

    def spread(self: Any, *arguments: Any, **options: Any) -> None:
        real(self, *arguments, **options)
        self.is_fsdp_enabled = True

    monkeypatch.setattr(Trainer, "__init__", spread)
    with pytest.raises(InputError, match=r"model\.quantization: quantised weights are not spread over processes"):
        train(quantised("sft", "nf4", taught_folder, corpus), tmp_path)
