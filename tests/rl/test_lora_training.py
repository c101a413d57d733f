"""Runs with adapters: they alone learn, the base is the reference, a stop leaves no trace, the result can be used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mer_r1.commands import main
from mer_r1.data.sample import Sample
from mer_r1.generation.predict import predict
from mer_r1.models.backbone import Backbone, chosen_log_probs
from mer_r1.models.loading import load_backbone
from mer_r1.models.qwen2_5_omni import OmniBackbone, load_omni
from mer_r1.models.types import Prompt
from mer_r1.pipelines import train as pipeline
from mer_r1.pipelines.train import train
from mer_r1.recipe import Recipe
from mer_r1.rl import losses, rollouts, trainer
from mer_r1.rl import step as rl_step
from mer_r1.rl.trainer import GrpoTrainer
from mer_r1.training.trainer import RunTrainer
from tests.tolerance import logit_tolerance
from tests.training.runs import lines, make_recipe, run_stopped_at


def recipe_of(kind: str, source: Path, corpus: dict[str, Path], dropout: float = 0.0, **optim: Any) -> Recipe:
    """Three steps with adapters of rank 4."""
    sections = {"rl": {"num_generations": 3, "max_completion_length": 32}} if kind == "rl" else {}
    tree = make_recipe(
        kind, source, corpus["train"], {"max_steps": 3, "learning_rate": 5e-3, **optim}, **sections
    ).model_dump(mode="json")
    tree["model"]["lora"] = {"r": 4, "lora_alpha": 8, "lora_dropout": dropout}
    return Recipe.model_validate(tree)


class Watch:
    """Keeps a run's trainer, its base weights before and after, and what the first loss was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.losses: list[tuple[Any, ...]] = []
        self.drawn: list[Tensor] = []
        self.kl: list[float] = []
        real, make, real_trainer = losses.policy_loss, rollouts.make_rollouts, pipeline._trainer

        def policy_loss(*args: Any, **kwargs: Any) -> Any:
            self.losses.append(args)
            loss = real(*args, **kwargs)
            self.kl.append(float(loss.kl))
            return loss

        def make_rollouts(*args: Any) -> Any:
            made = make(*args)
            self.drawn += [batch.generated.ids_BR for batch in made]
            return made

        def keep_trainer(*args: Any) -> Any:
            self.trainer = real_trainer(*args)
            self.before = self._base()
            return self.trainer

        monkeypatch.setattr(rl_step, "policy_loss", policy_loss)
        monkeypatch.setattr(trainer, "make_rollouts", make_rollouts)
        monkeypatch.setattr(pipeline, "_trainer", keep_trainer)

    def _base(self) -> dict[str, Tensor]:
        """The weights that are no adapter's."""
        weights = self.trainer.model.state_dict()
        return {name: value.clone() for name, value in weights.items() if "lora_" not in name}

    def assert_only_adapters_learned(self) -> None:
        after = self._base()
        assert len(after) > 60
        assert all(torch.equal(self.before[name], value) for name, value in after.items())
        learned = [value for name, value in self.trainer.model.state_dict().items() if "lora_B" in name]
        assert len(learned) > 10
        assert all(float(value.abs().max()) > 1e-3 for value in learned)


def test_in_rl_only_adapters_learn_and_the_base_is_the_reference(
    taught_folder: Path,
    corpus: dict[str, Path],
    samples: list[Sample],
    prompts: Sequence[Prompt],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No second copy of the model is made; step for step the reference says what the base alone says."""
    watch = Watch(monkeypatch)
    train(recipe_of("rl", taught_folder, corpus), tmp_path)
    watch.assert_only_adapters_learned()
    assert isinstance(watch.trainer, GrpoTrainer)
    assert watch.trainer.reference is None
    assert watch.kl[0] == 0
    assert min(watch.kl[1:]) > 1e-6
    base = load_omni(str(taught_folder / "model"))
    known = dict(zip([sample.id for sample in samples], prompts, strict=True))
    for step in (0, 2):
        ids = [row["id"] for row in lines(tmp_path / "rollouts.jsonl") if row["step"] == step + 1]
        _, _, reference, _, mask = watch.losses[step][:5]
        expected = log_probs(base, [known[ident] for ident in ids], watch.drawn[step])
        real = mask.bool()
        torch.testing.assert_close(reference[real], expected[:, : mask.shape[1]][real], atol=2e-4, rtol=0)


def log_probs(backbone: Backbone, prompts: Sequence[Prompt], ids: Tensor) -> Tensor:
    with torch.no_grad():
        inputs = backbone.full_inputs(backbone.collate(prompts), ids, torch.ones_like(ids))
        return chosen_log_probs(backbone.response_logits(backbone.model, inputs, ids.shape[1]), ids)


@pytest.mark.slow
def test_in_sft_only_adapters_learn(
    tiny_folder: Path, corpus: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(monkeypatch)
    train(recipe_of("sft", tiny_folder, corpus), tmp_path)
    watch.assert_only_adapters_learned()
    logged = [row["loss"] for row in lines(tmp_path / "metrics.jsonl") if "loss" in row]
    assert logged[-1] < logged[0]


@pytest.mark.parametrize("kind", ["rl", "sft"])
def test_a_stopped_run_ends_as_an_unstopped_one(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    """With dropout, whose draws go on where they were. What torch drew before the run does not matter."""
    recipe = recipe_of(kind, taught_folder, corpus, dropout=0.1, max_steps=3, save_steps=2)
    train(recipe, tmp_path / "whole")
    torch.rand(3)
    run_stopped_at(recipe, tmp_path / "resumed", 3)
    assert not list((tmp_path / "resumed" / "checkpoints").glob("*/model.safetensors"))
    torch.rand(2)
    train(recipe, tmp_path / "resumed")
    files = [tmp_path / name / "model" / "adapter_model.safetensors" for name in ("whole", "resumed")]
    assert files[0].read_bytes() == files[1].read_bytes()
    for name in ("metrics.jsonl", *(["rollouts.jsonl"] if kind == "rl" else [])):
        assert lines(tmp_path / "whole" / name) == lines(tmp_path / "resumed" / name)


def test_an_adapter_run_is_merged_and_predicts_as_the_model_that_was_trained(
    taught_folder: Path,
    corpus: dict[str, Path],
    prompts: Sequence[Prompt],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch = Watch(monkeypatch)
    out = tmp_path / "run"
    model = train(recipe_of("sft", taught_folder, corpus, max_steps=4), out)
    assert (model / "adapter_model.safetensors").is_file()
    assert not list(model.glob("model*.safetensors"))
    assert not list(model.glob("*.bin"))
    assert "PEFT" in (model / "README.md").read_text() or "adapter" in (model / "README.md").read_text()
    assert main(["merge", str(out), "--out", str(tmp_path / "merged")]) == 0
    merged = load_backbone(str(tmp_path / "merged"))
    trained: OmniBackbone = watch.trainer.backbone
    trained.wrapped_model.eval()
    ids = torch.tensor([[5, 6, 7]] * 2)
    wanted = log_probs(trained, prompts[:2], ids)
    torch.testing.assert_close(
        log_probs(merged, prompts[:2], ids), wanted, atol=logit_tolerance(merged.model, wanted), rtol=0
    )
    base = load_omni(str(taught_folder / "model"))
    assert float((log_probs(base, prompts[:2], ids) - wanted).abs().max()) > 1e-2

    said = Sample("x", subtitle="I am so glad.")
    of_adapter, of_merged = (
        predict(said, model=source, mode="slow", max_new_tokens=24) for source in (out, tmp_path / "merged")
    )
    assert of_adapter == of_merged
    assert of_merged[0].raw


@pytest.mark.parametrize("kind", ["rl", "sft"])
def test_adapters_learn_in_bfloat16_from_a_kl_of_nothing(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    model = train(recipe_of(kind, taught_folder, corpus, bf16=True, max_steps=2, gradient_checkpointing=True), tmp_path)
    weights = load_file(model / "adapter_model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert all(float(value.abs().max()) > 1e-4 for name, value in weights.items() if "lora_B" in name)
    first, second = lines(tmp_path / "metrics.jsonl")[:2]
    assert 0 < first["grad_norm"] < 100
    assert 0 < second["grad_norm"] < 100
    if kind == "rl":
        assert first["kl"] == 0 < second["kl"] < 0.1


def test_a_whole_model_in_bfloat16_begins_at_its_reference(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path
) -> None:
    """The copy that is the reference computes in the precision of the policy."""
    tree = recipe_of("rl", taught_folder, corpus, bf16=True, max_steps=1).model_dump(mode="json")
    tree["model"]["lora"] = None
    train(Recipe.model_validate(tree), tmp_path)
    assert lines(tmp_path / "metrics.jsonl")[0]["kl"] == 0


def test_checkpoints_of_adapters_ask_nothing_of_the_hub(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft.utils import save_and_load

    def ask(*_: Any, **__: Any) -> bool:
        raise AssertionError("asked the Hub")

    monkeypatch.setattr(save_and_load, "check_file_exists_on_hf_hub", ask)
    seen = list[str]()
    real = RunTrainer._save_checkpoint

    def see(self: Any, *args: Any) -> None:
        self.model.peft_config["default"].base_model_name_or_path = "someone/some-model"
        real(self, *args)
        seen.extend(path.name for path in self.run.checkpoints.glob("*/*"))

    monkeypatch.setattr(RunTrainer, "_save_checkpoint", see)
    train(recipe_of("sft", taught_folder, corpus, max_steps=1), tmp_path)
    assert "adapter_model.safetensors" in seen
    assert "README.md" not in seen
