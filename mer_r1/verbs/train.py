"""`mer-r1 train`: a recipe in, a run's folder out; the same command goes on with a stopped run."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mer_r1 import __version__
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.files import atomic_folder, disk_full_named, write_json, write_text
from mer_r1.manifest import read_manifest
from mer_r1.media import TINY_BUDGET, MediaBudget
from mer_r1.recipe import ModelSection, Recipe
from mer_r1.sample import Sample

if TYPE_CHECKING:
    from mer_r1.models.omni import OmniBackbone
    from mer_r1.training import Progress

_BUDGET_KEYS = ("num_frames", "fps", "max_pixels", "min_pixels", "max_audio_s")
_VERSIONED = ("torch", "transformers", "accelerate", "av", "numpy")


def run(recipe: Recipe, out: Path, progress: Progress | None = None, prepared: Progress | None = None) -> Path:
    """Train as the recipe says and return the folder of the finished model, `out`/model.

    A finished run of the same recipe is kept as it is. Raises InputError where `out` holds another recipe's run.
    """
    resolved = _as_yaml(recipe)
    if _is_finished(out, resolved):
        return out / "model"
    samples = _samples(recipe)
    from mer_r1.training import RunFolder, training_arguments

    backbone = load_backbone(recipe.model, out)
    backbone.model.float()  # small steps vanish in bfloat16 weights; optim.bf16 computes in it by autocast
    backbone.set_towers_trainable(recipe.model.train_towers)
    from mer_r1.models.features import read_prompts

    count = len(samples)
    with disk_full_named(recipe.data.train.parent):
        prompts = read_prompts(
            backbone,
            samples,
            recipe.data.train.parent / "features" if recipe.data.keep_features else None,
            recipe.data.workers,
            (lambda done: prepared(done, count, {})) if prepared else None,
        )
    folder = RunFolder(out)
    arguments: dict[str, Any] = {
        "run": folder,
        "progress": progress,
        "args": training_arguments(recipe.optim, folder, recipe.seed),
    }
    trainer = _trainer(recipe, backbone, samples, prompts, arguments)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "recipe.yaml", resolved)
    facts = _facts(recipe)
    write_json(out / "run.json", {**facts, "status": "running"})
    with disk_full_named(out):
        trainer.train_or_go_on()
        _write_model(trainer, backbone, folder.model)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    write_json(out / "run.json", {**facts, "status": "finished", "steps": trainer.state.global_step})
    return folder.model


def _trainer(
    recipe: Recipe, backbone: OmniBackbone, samples: list[Sample], prompts: Sequence[Any], arguments: dict[str, Any]
) -> Any:
    if recipe.kind == "sft":
        from mer_r1.sft import SftExamples, SftTrainer

        examples = SftExamples(backbone, samples, prompts, recipe.sft.targets)
        return SftTrainer(backbone, train_dataset=examples, **arguments)
    from mer_r1.rl.trainer import GrpoTrainer, RlPrompts

    wheels = WheelSet.load(recipe.rl.wheels, protocol=recipe.rl.protocol)
    return GrpoTrainer(backbone, recipe.rl, wheels, train_dataset=RlPrompts(samples, prompts, wheels), **arguments)


def load_backbone(model: ModelSection, out: Path) -> OmniBackbone:
    """The recipe's model, with its media keys laid over the checkpoint's; "tiny" is built into `out`/tiny."""
    from mer_r1.models.omni import load_omni
    from mer_r1.models.tiny import write_tiny

    source = model.source
    if source == "tiny":
        from mer_r1.synthetic.corpus import minimer_texts

        if not (out / "tiny" / "config.json").exists():
            write_tiny(out / "tiny", minimer_texts())
        source = str(out / "tiny")
    elif (Path(source) / "model" / "config.json").exists():
        source = str(Path(source) / "model")
    backbone = load_omni(source, prompt_style=model.prompt_style)
    backbone.budget = replace(backbone.budget, **_changes(model))
    return backbone


def _samples(recipe: Recipe) -> list[Sample]:
    samples = read_manifest(recipe.data.train)
    if recipe.data.num:
        samples = samples[: recipe.data.num]
    if not samples:
        raise InputError(f"{recipe.data.train}: has no rows; a run needs at least one")
    return samples


def _write_model(trainer: Any, backbone: OmniBackbone, folder: Path) -> None:
    with atomic_folder(folder) as temporary:
        trainer.save_model(str(temporary))
        (temporary / "training_args.bin").unlink(missing_ok=True)  # a pickle; recipe.yaml says the same
        backbone.save(temporary)


def _as_yaml(recipe: Recipe) -> str:
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)


def _is_finished(out: Path, resolved: str) -> bool:
    saved = out / "recipe.yaml"
    if not saved.exists():
        return False
    if saved.read_text(encoding="utf-8") != resolved:
        if not (out / "model").exists() and not any((out / "checkpoints").glob("checkpoint-*")):
            return False  # it ended before anything was learned that could be lost
        raise InputError(f"{out}: holds a run of another recipe; give another --out, or remove the folder")
    return (out / "model" / "config.json").exists()


def _facts(recipe: Recipe) -> dict[str, Any]:
    versions = {"mer_r1": __version__, "python": platform.python_version()}
    for name in _VERSIONED:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "kind": recipe.kind,
        "objective": recipe.rl.objective if recipe.kind == "rl" else None,
        "versions": versions,
    }


def run_shown(recipe: Recipe, out: Path) -> int:
    """Train with a bar for a person; 0 when done."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console()
    columns = (
        TextColumn("{task.description:<14}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as bars:
        reading = bars.add_task("Reading clips", total=None, note="", visible=recipe.data.keep_features)
        steps = bars.add_task("Training", total=None, note="")

        def prepared(done: int, total: int, _: dict[str, float]) -> None:
            bars.update(reading, completed=done, total=total)

        def stepped(step: int, total: int, logs: dict[str, float]) -> None:
            shown = ("loss", "reward/recall", "reward/precision", "kl")
            note = "  ".join(f"{key.removeprefix('reward/')} {logs[key]:.3f}" for key in shown if key in logs)
            bars.update(steps, completed=step, total=total, note=note)

        model = run(recipe, out, stepped, prepared)
    console.print(f"Model: {model}\nMetrics: {out / 'metrics.jsonl'}", highlight=False)
    return 0


def dry_run(recipe: Recipe) -> int:
    """Print the resolved recipe and the most media tokens that a clip can cost under its budget; 0."""
    from mer_r1.media import most_tokens

    budget = replace(_saved_budget(recipe.model.source), **_changes(recipe.model))
    print(f"{_as_yaml(recipe)}# media tokens of a clip: at most {most_tokens(budget)}")
    return 0


def _saved_budget(source: str) -> MediaBudget:
    """The budget that a model brings along."""
    if source == "tiny":
        return TINY_BUDGET
    for settings in (Path(source) / "model" / "mer_r1.json", Path(source) / "mer_r1.json"):
        if settings.is_file():
            from mer_r1.models.omni import read_settings

            return read_settings(settings)[0]
    return MediaBudget()


def _changes(model: ModelSection) -> dict[str, Any]:
    """The media keys that a recipe sets."""
    return {key: getattr(model, key) for key in _BUDGET_KEYS if getattr(model, key) is not None}
