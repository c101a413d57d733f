"""Two processes of a run: forked from the nursery or launched by accelerate, and how alike what they leave has to be.

The last functions are what the processes do.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mer_r1.pipelines.train import train
from mer_r1.recipe import Recipe, read_recipe
from tests.nursery import Nursery
from tests.training.runs import lines

LAUNCH = ("accelerate.commands.launch", "--num_processes", "2", "--num_machines", "1", "--dynamo_backend", "no")
DDP = ["--multi_gpu"]  # without a GPU: gloo
SPREAD = (
    "--use_fsdp --fsdp_version 2 --fsdp_state_dict_type FULL_STATE_DICT --fsdp_auto_wrap_policy TRANSFORMER_BASED_WRAP "
    "--fsdp_reshard_after_forward false"
)


def free_port() -> str:
    """Accelerate's own, 29500, may be another run's."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def launched(nursery: Nursery, *arguments: str) -> str:
    """What `mer-r1 train`, in a process of its own, prints that launches two processes."""
    before = len(nursery.log.read_bytes())
    assert nursery.run(f"{__name__}:launch_two", *arguments) == [0], nursery.printed()
    return nursery.log.read_bytes()[before:].decode()


def launched_with(*options: str) -> dict[str, str]:
    """The environment that `accelerate launch` gives two processes."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    arguments = launch_command_parser().parse_args(
        [*LAUNCH[1:], "--main_process_port", free_port(), *options, "script.py"]
    )
    environment: dict[str, str] = prepare_multi_gpu_env(_validate_launch_command(arguments)[0])
    return environment


def run_in_two(
    nursery: Nursery, folder: Path, environment: Mapping[str, str] | None = None, function: str = "run_all"
) -> None:
    """What a function of this file does with the recipes of a folder, in two processes; under DDP where not said."""
    environment = launched_with(*DDP) if environment is None else environment
    statuses = nursery.run(f"{__name__}:{function}", folder, num_processes=2, environment=environment)
    assert statuses == [0, 0], nursery.printed()


def assert_alike(out: Path, other: Path) -> None:
    """Weights within 1e-4; the same rollouts in any order; a log of the same lines and nearly the same numbers."""
    from safetensors.torch import load_file

    (file,) = (path.name for path in (out / "model").glob("*model.safetensors"))
    weights, others = load_file(out / "model" / file), load_file(other / "model" / file)
    assert weights.keys() == others.keys()
    assert max(float((weights[name] - others[name]).abs().max()) for name in weights) < 1e-4
    logs, other_logs = lines(out / "metrics.jsonl"), lines(other / "metrics.jsonl")
    assert [row.keys() for row in logs] == [row.keys() for row in other_logs]
    for row, other_row in zip(logs, other_logs, strict=True):
        for name in row:
            assert other_row[name] == pytest.approx(row[name], rel=2e-2, abs=2e-3), name
    if (out / "rollouts.jsonl").exists():
        rollouts, other_rollouts = by_text(out / "rollouts.jsonl"), by_text(other / "rollouts.jsonl")
        assert rollouts.keys() == other_rollouts.keys()
        for key, advantages in rollouts.items():
            assert other_rollouts[key] == pytest.approx(advantages, abs=1e-2), key


def by_text(path: Path) -> dict[tuple[int, str, str], list[float]]:
    """Advantages by step, sample and text."""
    found: dict[tuple[int, str, str], list[float]] = {}
    for row in lines(path):
        found.setdefault((row["step"], row["id"], row["text"]), []).append(row["advantage"])
    return found


def _fsdp_without_gpus() -> None:
    """accelerate offers FSDP to processes with GPUs alone; nothing in it needs one."""
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType

    real = AcceleratorState.__init__

    def init(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        real(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin
            if self._mixed_precision != "no":
                fsdp_plugin.set_mixed_precision(self._mixed_precision)
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    AcceleratorState.__init__ = init


class _Stopped(Exception):
    pass


def _recipes_of(folder: Path) -> Iterator[tuple[Recipe, Path]]:
    for path in sorted(folder.glob("*.yaml")):
        yield read_recipe(str(path)), folder / path.stem


def run_all(folder: str) -> None:
    """All recipes of a folder in this process, each into a folder of its name."""
    _fsdp_without_gpus()
    for recipe, out in _recipes_of(Path(folder)):
        train(recipe, out)


def stop_at_checkpoints(folder: str) -> None:
    """The same, but each until it has written a checkpoint."""
    from mer_r1.models import packing
    from mer_r1.training.trainer import RunTrainer

    packing._CHUNK = 4000  # the head's chunks are computed again for the gradient, when weights may have gone
    real = RunTrainer._save_checkpoint

    def save_and_stop(self: Any, *args: Any) -> None:
        real(self, *args)
        raise _Stopped

    RunTrainer._save_checkpoint = save_and_stop  # type: ignore[method-assign]
    _fsdp_without_gpus()
    for recipe, out in _recipes_of(Path(folder)):
        with pytest.raises(_Stopped):
            train(recipe, out)


def launch_two(*arguments: str) -> int:
    from mer_r1.commands import main

    return main(["train", *arguments, "--launch", "2"])


def train_to_a_checkpoint_and_die(recipe: str, out: str) -> int:
    """The real command in this process; the first of two dies when it has written a checkpoint."""
    from mer_r1.commands import main
    from mer_r1.training.trainer import RunTrainer

    real = RunTrainer._save_checkpoint

    def save_and_die(self: Any, *args: Any) -> None:
        real(self, *args)
        if os.environ["RANK"] == "0":
            os.kill(os.getpid(), signal.SIGKILL)

    RunTrainer._save_checkpoint = save_and_die  # type: ignore[method-assign]
    return main(["train", recipe, "--out", out])
