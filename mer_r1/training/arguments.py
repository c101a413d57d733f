"""What a trainer is given: its arguments, by the recipe, and batches that name what could not be read."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mer_r1.models  # noqa: F401  before transformers, which needs torchvision to import

# isort: split
import torch
from transformers import TrainingArguments
from transformers.integrations.integration_utils import (
    INTEGRATION_TO_CALLBACK,
    get_available_reporting_integrations,
)

from mer_r1.errors import InputError, first_line
from mer_r1.recipe import Recipe
from mer_r1.training.trackers import TRACKERS


def training_arguments(recipe: Recipe, checkpoints: Path) -> TrainingArguments:
    """TrainingArguments of a recipe."""
    optim = recipe.optim
    forks = multiprocessing.get_start_method() == "fork"  # a loader's process started afresh would copy the model
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        learning_rate=optim.learning_rate,
        max_steps=optim.max_steps,
        num_train_epochs=optim.num_train_epochs,
        per_device_train_batch_size=optim.batch_size,
        per_device_eval_batch_size=optim.batch_size,
        gradient_accumulation_steps=optim.gradient_accumulation_steps,
        warmup_steps=optim.warmup_steps,
        lr_scheduler_type=optim.lr_scheduler_type,
        weight_decay=optim.weight_decay,
        max_grad_norm=optim.max_grad_norm,
        adam_beta2=optim.adam_beta2,
        bf16=optim.bf16,
        save_steps=optim.save_steps,
        save_total_limit=1,
        logging_steps=optim.logging_steps,
        eval_strategy="steps" if optim.eval_steps else "no",
        eval_steps=optim.eval_steps,
        seed=recipe.seed,
        report_to=_callbacks(optim.report_to) or "none",
        disable_tqdm=True,
        logging_nan_inf_filter=optim.not_finite == "skip",  # else a loss that is no number must be seen
        remove_unused_columns=False,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=False,
        dataloader_num_workers=recipe.data.workers if forks and not recipe.data.keep_features else 0,
        ddp_find_unused_parameters=recipe.model.train_towers,  # a batch without sound leaves its tower unused
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # several GPUs are several processes; never nn.DataParallel
    return arguments


def _callbacks(names: Iterable[str]) -> list[str]:
    """The names in optim.report_to that transformers serves; `all` are those that are installed."""
    names = set(names) - {"none"}
    if "all" in names:
        names |= set(get_available_reporting_integrations())
    return sorted(names - {"all"} - TRACKERS.keys())


def validate_reporters(names: Iterable[str]) -> None:
    """Raises InputError for a name in optim.report_to that nobody knows, or whose package is not installed."""
    for name in set(names) - {"all", "none"} - TRACKERS.keys():
        if name not in INTEGRATION_TO_CALLBACK:
            known = ", ".join(sorted(TRACKERS.keys() | INTEGRATION_TO_CALLBACK.keys()))
            raise InputError(f"optim.report_to: {name!r} is not known; choose from {known}")
        try:
            INTEGRATION_TO_CALLBACK[name]()
        except (RuntimeError, ImportError) as error:
            raise InputError(
                f"optim.report_to: {name} cannot be used ({first_line(error)}); "
                f"install it with: pip install {name}, or take it out of the recipe"
            ) from None


@dataclass(frozen=True)
class Item:
    """A dataset's value, its index, and how many unreadable ones before it it stands for."""

    value: Any
    index: int
    num_unreadable: int = 0


class ReadableItems(torch.utils.data.Dataset[Item]):
    """Items of a dataset.

    A sample that cannot be read is an item too, an InputError: one raised in a loader's process would come back as the
    text of a traceback. With `skip` the next readable sample stands for it.
    """

    def __init__(self, inner: Any, skip: bool) -> None:
        self._inner, self._skip = inner, skip

    def __len__(self) -> int:
        return len(self._inner)

    def __getitem__(self, index: int) -> Item:
        errors: list[InputError] = []
        for position in range(index, index + len(self)):
            try:
                return Item(self._inner[position % len(self)], position % len(self), len(errors))
            except InputError as error:
                errors.append(error)
                if not self._skip:
                    return Item(error, index)
        return Item(InputError(f"no sample can be read; the first: {errors[0]}"), index)


def batch_of(collate: Callable[[list[Any]], Any], items: list[Item]) -> dict[str, Any]:
    """The inputs of a step: `batch`, its samples' `indices` and the number of unreadable ones that were skipped; or the
    `error` that ends the run."""
    for item in items:
        if error := error_of(item):
            return {"error": error}
    return {
        "batch": collate([item.value for item in items]),
        "indices": tuple(item.index for item in items),
        "num_unreadable": sum(item.num_unreadable for item in items),
    }


def error_of(item: Item) -> str | None:
    """Why an item could not be read."""
    return str(item.value) if isinstance(item.value, InputError) else None


def raise_unreadable(errors: Iterable[str | None]) -> None:
    """Raise InputError for the first error of batches."""
    for error in errors:
        if error is not None:
            raise InputError(f"{error}; or set data.unreadable=skip")
