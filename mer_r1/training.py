"""What the SFT and the RL trainer share: arguments, the run's metric log, and going on after a stop.

A run's folder holds recipe.yaml, run.json, metrics.jsonl, rollouts.jsonl (RL), checkpoints/ and, when finished, model/.
Logs are append-only; when a run goes on from a checkpoint, lines of later steps are cut off first, because those steps
will be done again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mer_r1.models  # noqa: F401  before transformers, which needs torchvision mended

# isort: split
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from mer_r1.errors import InputError
from mer_r1.files import append_json_line, atomic_path
from mer_r1.recipe import OptimSection

Progress = Callable[[int, int, dict[str, float]], None]  # step, all steps, latest metrics


@dataclass(frozen=True)
class RunFolder:
    """The places of one run."""

    path: Path

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def rollouts(self) -> Path:
        return self.path / "rollouts.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        return self.path / "model"


def training_arguments(optim: OptimSection, run: RunFolder, seed: int) -> TrainingArguments:
    """TrainingArguments of a recipe."""
    return TrainingArguments(
        output_dir=str(run.checkpoints),
        learning_rate=optim.learning_rate,
        max_steps=optim.max_steps,
        num_train_epochs=optim.num_train_epochs,
        per_device_train_batch_size=optim.batch_size,
        gradient_accumulation_steps=optim.gradient_accumulation_steps,
        warmup_steps=optim.warmup_steps,
        lr_scheduler_type=optim.lr_scheduler_type,
        weight_decay=optim.weight_decay,
        max_grad_norm=optim.max_grad_norm,
        adam_beta2=optim.adam_beta2,
        bf16=optim.bf16,
        activation_checkpointing=optim.gradient_checkpointing,
        save_steps=optim.save_steps,
        save_total_limit=1,
        logging_steps=optim.logging_steps,
        seed=seed,
        report_to="none",
        disable_tqdm=True,
        logging_nan_inf_filter=False,  # a loss that is no number must be seen
        remove_unused_columns=False,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=False,
    )


def last_checkpoint(run: RunFolder) -> tuple[str | None, int]:
    """(folder, step) of the newest whole checkpoint, or (None, 0); half-written ones are removed.

    trainer_state.json is what the Trainer writes last, so a checkpoint that can be read to there is whole.
    """
    newest: tuple[str | None, int] = (None, 0)
    for folder in run.checkpoints.glob("checkpoint-*"):
        try:
            step = int(json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))["global_step"])
        except (OSError, ValueError, KeyError):
            shutil.rmtree(folder)
            continue
        if step > newest[1]:
            newest = (str(folder), step)
    return newest


def keep_until(path: Path, step: int) -> None:
    """Drop the lines of `path` that belong to steps after `step`, and a last line that was cut off."""
    if not path.exists():
        return
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as out:
        for line in path.read_text(encoding="utf-8").split("\n"):
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if row["step"] <= step:
                append_json_line(out, row)


class _Report(TrainerCallback):
    """Hands every step to a progress display."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._latest = progress, dict[str, float]()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        self._latest = logs

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._progress(state.global_step, state.max_steps, self._latest)


class RunTrainer(Trainer):
    """transformers' Trainer that keeps metrics.jsonl and takes up a stopped run.

    `measured` collects numbers between two log lines; their means are logged.
    """

    def __init__(self, run: RunFolder, progress: Progress | None = None, **kwargs: Any) -> None:
        self.run = run
        self.measured: dict[str, list[float]] = {}
        super().__init__(**kwargs)
        self.remove_callback(PrinterCallback)
        if progress:
            self.add_callback(_Report(progress))

    def measure(self, values: dict[str, float]) -> None:
        """Add one step's numbers; NaN is left out of the mean."""
        for name, value in values.items():
            if value == value:
                self.measured.setdefault(name, []).append(value)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        logs = {**logs, **{name: sum(values) / len(values) for name, values in self.measured.items()}}
        self.measured.clear()
        if self.is_world_process_zero():
            self._append(self.run.metrics, [{"step": self.state.global_step, **_finite(logs)}])
        super().log(logs, start_time)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Take a checkpoint's weights. They are saved under the Hub's names, which only from_pretrained maps back."""
        model = self.model if model is None else model
        saved = type(model).from_pretrained(resume_from_checkpoint, dtype=model.dtype)
        model.load_state_dict(saved.state_dict())

    def _append(self, path: Path, rows: Iterable[dict[str, Any]]) -> None:
        with path.open("a", encoding="utf-8") as handle:
            for row in rows:
                append_json_line(handle, row)

    def train_or_go_on(self) -> None:
        """Train from the newest whole checkpoint, or from the start.

        Raises InputError where the weights end up not numbers; the checkpoints are removed, so the fix starts anew.
        """
        checkpoint, step = last_checkpoint(self.run)
        for path in (self.run.metrics, self.run.rollouts):
            keep_until(path, step)
        if checkpoint is not None and 0 < self.args.max_steps <= step:
            self._load_from_checkpoint(checkpoint)  # stopped between the last step and its model
            self.state.global_step = step
        else:
            self.train(resume_from_checkpoint=checkpoint)
        if not all(bool(parameter.isfinite().all()) for parameter in self.model.parameters()):
            shutil.rmtree(self.run.checkpoints, ignore_errors=True)
            raise InputError(
                f"{self.run.path}: training ended in weights that are not numbers; lower optim.learning_rate and "
                "run again"
            )


def _finite(logs: dict[str, Any]) -> dict[str, Any]:
    return {key: (value if value == value and abs(value) != float("inf") else None) for key, value in logs.items()}
