"""One step of the trainer's own code on one prompt, timed part by part, for two scripts: calibration and reflection."""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import mer_r1.models  # noqa: F401  before transformers, which needs the fix for torchvision

# isort: split
import torch

from mer_r1.recipe import Recipe
from mer_r1.rl.trainer import GrpoTrainer

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
NEVER = 2**30  # stop texts that no row ever writes
PARTS = ("rollouts", "learning", "optimiser")

Step = Callable[[], tuple[float, float, float]]
"""Does one step; seconds of PARTS."""


def add_options(parser: argparse.ArgumentParser, rounds: int) -> None:
    """The options that both scripts have."""
    parser.add_argument("--answer", type=int, default=128, help="answer length C")
    parser.add_argument("--group", type=int, default=4, help="group size K")
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")


def settings(options: argparse.Namespace, length: str) -> dict[str, Any]:
    """What a result begins with: the machine and the options; `length` names the prompt's."""
    names = (length, "answer", "group", "hidden", "layers", "threads", "clock", "rounds")
    return {
        "machine": platform.machine(),
        "torch": torch.__version__,
        **{name: vars(options)[name] for name in names},
    }


def recipe_of(objective: str, options: argparse.Namespace) -> Recipe:
    """A recipe whose learning rate moves no weight far, without a KL term."""
    return Recipe.model_validate(
        {
            "kind": "rl",
            "model": {"source": "in memory"},
            "data": {"train": "in memory", "workers": 0},
            "optim": {"learning_rate": 1e-12, "max_steps": 1, "lr_scheduler_type": "constant"},
            "rl": {
                "objective": objective,
                "num_generations": options.group,
                "max_completion_length": options.answer,
                "beta": 0.0,
            },
        }
    )


def step_of(trainer: GrpoTrainer, clock_name: str) -> Step:
    """One step on the first row of the trainer's data."""
    trainer.create_optimizer()
    inputs, clock = trainer.data_collator([trainer.train_dataset[0]]), CLOCKS[clock_name]

    def step() -> tuple[float, float, float]:
        times = [clock()]
        (rolled,), _ = trainer.get_batch_samples(iter([inputs]), 1, trainer.args.device)
        times.append(clock())
        trainer.compute_loss(trainer.model, rolled).backward()  # type: ignore[no-untyped-call]
        times.append(clock())
        torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), trainer.args.max_grad_norm)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        times.append(clock())
        return times[1] - times[0], times[2] - times[1], times[3] - times[2]

    return step


def timed(sides: dict[str, Step], rounds: int) -> dict[str, list[tuple[float, float, float]]]:
    """Seconds of a step's parts in every round; who goes first changes from round to round."""
    names = list(sides)
    seconds: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(sides[name]())
    return seconds


def medians(seconds: dict[str, list[tuple[float, float, float]]]) -> dict[str, float]:
    """The median seconds of a whole step, by side."""
    return {side: round(median(map(sum, rows)), 4) for side, rows in seconds.items()}


def response_ids(begin: Sequence[int], filler: Sequence[int], end: Sequence[int], length: int) -> tuple[int, ...]:
    """`begin`, as much of `filler` as makes `length` ids, `end`. Raises ValueError for a length without room."""
    room = length - len(begin) - len(end)
    if room < 1:
        raise ValueError(f"--answer {length}: give at least {len(begin) + len(end) + 1}")
    ids = (*begin, *filler[:room], *end)
    assert len(ids) == length
    return ids
