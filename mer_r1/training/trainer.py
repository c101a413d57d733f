"""What the SFT and the RL trainer share: the run's metric log, evaluation, checkpoints, and resuming from one.

run_folder.py has the layout of a run's folder. A checkpoint also holds what was measured since the last line of
metrics.jsonl, so that a resumed run writes the lines of an uninterrupted one.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import mer_r1.models  # noqa: F401  before transformers, which needs torchvision to import

# isort: split
import torch
from accelerate.utils import gather_object
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback

from mer_r1.data.files import append_json_line, write_text
from mer_r1.errors import InputError
from mer_r1.models.backbone import Backbone
from mer_r1.models.lora import language_model_layers
from mer_r1.models.transformers_compat import enable_checkpointing
from mer_r1.recipe import Recipe
from mer_r1.training.arguments import ReadableItems, batch_of, raise_unreadable, training_arguments
from mer_r1.training.run_folder import RunFolder, keep_until, last_checkpoint
from mer_r1.training.trackers import Tracker

_PENDING = "between_logs.json"
Progress = Callable[[int, int, dict[str, float]], None]  # step, all steps, latest metrics


Totals = dict[str, tuple[float, float]]  # by name a weighted sum and its weight


class _Hooks(TrainerCallback):
    """Gives a resumed trainer what was measured before it was stopped, and hands every step to a progress display."""

    def __init__(self, resume: Callable[[], None], progress: Progress | None) -> None:
        self._resume, self._progress, self._latest = resume, progress, dict[str, float]()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._resume()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        self._latest = logs

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._progress:
            self._progress(state.global_step, state.max_steps, self._latest)


class RunTrainer(Trainer, ABC):
    """transformers' Trainer that writes metrics.jsonl, evaluates by `evaluate_batch` and resumes a stopped run.

    A trainer of a kind gives `backbone`, `evaluate_batch` and transformers' `compute_loss`. Between two log lines
    `measured` collects numbers, whose weighted means over steps and processes are logged, and `counted` collects
    events, which are summed. `steps_a_batch` optimiser steps use the same samples.
    """

    backbone: Backbone
    steps_a_batch = 1
    control: Any
    _tr_loss: Any
    _total_loss_scalar: float
    _globalstep_last_logged: int

    def __init__(
        self,
        run: RunFolder,
        recipe: Recipe,
        collate: Callable[[list[Any]], Any],
        train_dataset: Any,
        eval_dataset: Any = None,
        progress: Progress | None = None,
        trackers: Sequence[Tracker] = (),
        **kwargs: Any,
    ) -> None:
        self.run, self._not_finite, self._trackers = run, recipe.optim.not_finite, trackers
        self.measured: Totals = {}
        self.counted: dict[str, float] = {}
        self._checkpoint: str | None = None
        self._logged_step = 0
        skip = recipe.data.unreadable == "skip"
        super().__init__(
            args=training_arguments(recipe, run.checkpoints),
            data_collator=partial(batch_of, collate),
            train_dataset=ReadableItems(train_dataset, skip),
            eval_dataset=None if eval_dataset is None else ReadableItems(eval_dataset, skip),
            **kwargs,
        )
        if recipe.optim.gradient_checkpointing:
            enable_checkpointing(self.model)
        if self.is_fsdp_enabled:
            if recipe.model.quantization:
                raise InputError(
                    "model.quantization: quantised weights are not spread over processes; start it without FSDP "
                    "(--launch does), or remove it"
                )
            _set_sharding(self.accelerator.state.fsdp_plugin, self.model)
        self.model_accepts_loss_kwargs = False  # losses here are scaled for a step's micro-batches by themselves
        self.remove_callback(PrinterCallback)
        self.add_callback(_Hooks(self._resume, progress if self.is_world_process_zero() else None))

    def measure(self, values: dict[str, float], weight: float = 1.0) -> None:
        """Add numbers of a micro-batch with their weight in the mean; NaN is left out of it."""
        _add(self.measured, values, weight)

    def count(self, name: str, events: int = 1) -> None:
        """Add events of this process."""
        self.counted[name] = self.counted.get(name, 0) + events

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        logs = dict(logs)
        if "loss" in logs or "train_loss" in logs:
            pending = self._pending()
            counted = pending["counted"]
            if "loss" in logs and counted.get("skipped_steps", 0) == self.state.global_step - self._logged_step:
                logs["loss"] = float("nan")  # no step of these had one
            if "train_loss" in logs:  # of the whole run, also of what was done before a stop
                logs["train_loss"] = self._total_loss_scalar / max(self.state.global_step, 1)
            self._logged_step = self.state.global_step
            logs = {**logs, **_means(pending["measured"]), **counted}
            self.measured, self.counted = {}, {}
        if self.is_world_process_zero():
            finite = {name: value if isfinite(value) else None for name, value in logs.items()}
            self._append(self.run.metrics, [{"step": self.state.global_step, **finite}])
            for tracker in self._trackers:
                tracker.log(
                    {name: value for name, value in finite.items() if value is not None}, self.state.global_step
                )
        super().log(logs, start_time)

    def _pending(self) -> dict[str, Any]:
        """What all processes measured and counted since the last log line, and the losses that are not in one yet."""
        measured: Totals = {}
        counted: dict[str, float] = {}
        losses = []
        local = (self.measured, self.counted, float(self._tr_loss))
        for local_measured, local_counted, loss in self._from_all([local]):
            for name, (total, weight) in local_measured.items():
                before = measured.get(name, (0.0, 0.0))
                measured[name] = (before[0] + total, before[1] + weight)
            for name, events in local_counted.items():
                counted[name] = counted.get(name, 0) + events
            losses.append(loss)
        return {
            "measured": measured,
            "counted": counted,
            "loss": sum(losses) / len(losses),
            "logged_loss": self._total_loss_scalar,
            "logged_step": self._globalstep_last_logged,
        }

    def _resume(self) -> None:
        """Take the numbers that a checkpoint holds."""
        self._logged_step = self._globalstep_last_logged
        if self._checkpoint is None:
            return
        kept = json.loads((Path(self._checkpoint) / _PENDING).read_text(encoding="utf-8"))
        self._tr_loss.fill_(kept["loss"])
        self._total_loss_scalar = kept["logged_loss"]
        self._globalstep_last_logged = self._logged_step = kept["logged_step"]
        if self.is_world_process_zero():
            self.measured = {name: (total, weight) for name, (total, weight) in kept["measured"].items()}
            self.counted = kept["counted"]

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], Any]:
        """A step's micro-batches. Raises InputError for a sample that cannot be read."""
        samples, num_items = super().get_batch_samples(*args, **kwargs)
        raise_unreadable(self._from_all([inputs.get("error") for inputs in samples]))  # all processes end together
        num_unreadable = sum(inputs["num_unreadable"] for inputs in samples)
        if num_unreadable and self.state.global_step % self.steps_a_batch == 0:
            self.count("unreadable", num_unreadable)
        return samples, num_items

    def _from_all(self, values: list[Any]) -> list[Any]:
        """The values of all processes, in their order."""
        return gather_object(values) if self.args.world_size > 1 else values

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """The gradient's norm. One that is no number never reaches the weights: the step is dropped, or the run ends.

        Raises InputError where the recipe says stop.
        """
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        if isfinite(float(norm)):
            return norm
        if self._not_finite == "stop":
            raise InputError(
                f"{self.run.path}: step {self.state.global_step + 1}: the gradient is not a number; lower "
                "optim.learning_rate, or set optim.not_finite=skip; the last checkpoint is whole"
            )
        model.zero_grad()
        if self.is_world_process_zero():
            self.count("skipped_steps")
        return norm

    @abstractmethod
    def evaluate_batch(self, inputs: Any) -> list[tuple[dict[str, float], float]]:
        """Numbers of every sample of an evaluation batch, and its weight in their means."""

    @torch.no_grad()
    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Means over the evaluation samples that can be read, logged under eval/. Training is not changed by it.

        Raises InputError for a sample that cannot be read, where the recipe says stop.
        """
        self.model.eval()
        rows: dict[int, tuple[dict[str, float], float]] = {}  # by index: a last batch is filled up with others
        with torch.random.fork_rng(devices=[]):  # the loader draws a seed
            for inputs in self.get_eval_dataloader():
                raise_unreadable([inputs.get("error")])
                rows |= zip(inputs["indices"], self.evaluate_batch(inputs), strict=True)
        self.model.train()
        rows = {index: row for part in self._from_all([rows]) for index, row in part.items()}
        totals: Totals = {}
        for index in sorted(rows):
            _add(totals, *rows[index])
        means = {f"eval/{name}": mean for name, mean in _means(totals).items()}
        if left_out := len(self.eval_dataset) - len(rows):
            means["eval/unreadable"] = float(left_out)
        self.log(means)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, means)
        return means

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Take a checkpoint's weights. They have the official names, which only from_pretrained maps back."""
        model = self.model if model is None else model
        if self.is_fsdp_enabled or not (Path(resume_from_checkpoint) / "config.json").exists():  # sharded, an adapter
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        saved = type(model).from_pretrained(resume_from_checkpoint, dtype=model.dtype)
        model.load_state_dict(saved.state_dict())

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        self._validate_weights()
        pending = self._pending()
        if self.is_world_process_zero():
            folder = self.run.checkpoints / f"checkpoint-{self.state.global_step}"
            write_text(folder / _PENDING, json.dumps(pending))
        super()._save_checkpoint(*args, **kwargs)

    def _save_rng_state(self, *args: Any, **kwargs: Any) -> None:
        super()._save_rng_state(*args, **kwargs)
        self.accelerator.wait_for_everyone()  # trainer_state.json, which comes next, says that all have written theirs

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        if self.args.should_save:
            self.backbone.save_checkpoint(Path(output_dir or self.args.output_dir), state_dict)

    def _run_epoch(self, **kwargs: Any) -> None:
        if self.state.global_step < self.state.max_steps:  # else it was stopped between its last step and its model
            super()._run_epoch(**kwargs)

    def _validate_weights(self) -> None:
        """Raises InputError rather than save weights that are not numbers."""
        if not all(bool(parameter.isfinite().all()) for parameter in self.model.parameters()):
            raise InputError(
                f"{self.run.path}: after step {self.state.global_step} the weights are not numbers; lower "
                "optim.learning_rate and run again; the last checkpoint is whole"
            )

    def _append(self, path: Path, rows: Iterable[dict[str, Any]]) -> None:
        with path.open("a", encoding="utf-8") as handle:
            for row in rows:
                append_json_line(handle, row)

    def train_or_resume(self) -> None:
        """Train from the newest whole checkpoint, or from the start.

        Raises InputError where weights or gradients end up not numbers, and for a checkpoint that is sharded otherwise.
        """
        with self.args.main_process_first(local=False):  # the first of all tidies up, the others find it done
            checkpoint, step = last_checkpoint(self.run)
            for path in (self.run.metrics, self.run.rollouts):
                keep_until(path, step)
        if checkpoint and any(Path(checkpoint).glob("pytorch_model_fsdp*")) != bool(self.is_fsdp_enabled):
            raise InputError(
                f"{checkpoint}: was written {'without' if self.is_fsdp_enabled else 'under'} FSDP; start the run as "
                "before (accelerate's --config_file), or give another --out"
            )
        self._checkpoint = checkpoint
        self.train(resume_from_checkpoint=checkpoint)
        self._validate_weights()

    def save_whole_model(self, folder: Path) -> None:
        """Write the model or its adapter to `folder`, ready to load; all processes call this, the first one writes."""
        if self.is_fsdp_enabled:
            self.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
        self.save_model(str(folder))


def _set_sharding(plugin: Any, model: Any) -> None:
    """What FSDP wraps and in which precision it sums, where accelerate's settings leave it open."""
    if plugin.transformer_cls_names_to_wrap is None:
        # Never the towers' layers: a process whose batch has no sound would not gather them with the others.
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        plugin.transformer_cls_names_to_wrap = [type(base.get_submodule(language_model_layers(base))[0]).__name__]
    policy: Any = getattr(plugin, "mixed_precision_policy", None)
    if hasattr(policy, "output_dtype"):  # FSDP2 would round log-probabilities and summed gradients to bfloat16
        plugin.mixed_precision_policy = replace(policy, output_dtype=None, reduce_dtype=torch.float32)


def _add(totals: Totals, values: dict[str, float], weight: float) -> None:
    """Add values with their weight; NaN is left out."""
    for name, value in values.items():
        if value == value and weight:
            total, weights = totals.get(name, (0.0, 0.0))
            totals[name] = (total + weight * value, weights + weight)


def _means(totals: Totals) -> dict[str, float]:
    return {name: total / weight for name, (total, weight) in totals.items()}
