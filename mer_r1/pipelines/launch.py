"""`mer-r1 train --launch N`: the processes of a run, started by accelerate with the configuration its recipe needs.

    fsdp2-1x8.yaml   full training on GPUs: weights, gradients and moments are spread over all of them
    ddp-1x8.yaml     adapters, towers that learn, and processes on a CPU: each holds the whole model

Both come with the package (mer_r1/recipes/accelerate); numbers of processes and machines are the caller's. The
processes run this interpreter. An error of one ends them all; its message comes back in the file that torch's agent
gives every process, so that it is printed once and not by each.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from mer_r1.distributed import LAUNCHED, rank_and_world_size
from mer_r1.errors import InputError
from mer_r1.recipe import Recipe

GPUS_A_NODE = 8
MAIN_PORT = 29500


@dataclass(frozen=True)
class Launch:
    """`num_processes` on each of `num_nodes` machines, of which this is `node_rank`; they meet at the first one's
    address and port."""

    num_processes: int
    num_nodes: int = 1
    node_rank: int | None = None
    main_address: str | None = None
    main_port: int | None = None

    def __post_init__(self) -> None:
        """Raises InputError for numbers that cannot be, and for what several machines need and lack."""
        for name, value in (("--launch", self.num_processes), ("--nodes", self.num_nodes)):
            if value < 1:
                raise InputError(f"{name} {value}: give a number above 0")
        rank, is_alone = self.node_rank, self.num_nodes == 1
        if is_alone and self.main_address is not None:
            raise InputError("--main-address goes with --nodes above 1; leave it out on one machine")
        if not is_alone and self.main_address is None:
            raise InputError(f"--nodes {self.num_nodes}: give the address of the first machine, --main-address HOST")
        if not is_alone and rank is None:
            raise InputError(f"--nodes {self.num_nodes}: say which of them this is, --node-rank 0 on the first")
        if rank is not None and not 0 <= rank < self.num_nodes:
            raise InputError(f"--node-rank {rank}: there are {self.num_nodes} nodes; give 0 to {self.num_nodes - 1}")


def configuration(recipe: Recipe, *, on_gpus: bool = True) -> str:
    """The name of accelerate's configuration for a recipe's run."""
    is_whole = recipe.model.lora is not None or recipe.model.train_towers or not on_gpus
    return "ddp-1x8.yaml" if is_whole else "fsdp2-1x8.yaml"


def launch(recipe: Recipe, arguments: Sequence[str], how: Launch) -> int:
    """Run `mer-r1 ARGUMENTS` in the processes of `how` and return their exit status.

    Raises InputError where a process ended with one, for more processes than GPUs, and within another launcher;
    KeyboardInterrupt where Ctrl-C stopped them.
    """
    if rank_and_world_size()[1] > 1:
        raise InputError("--launch: a launcher has started this process already; leave --launch out")
    import mer_r1.models  # noqa: F401  torchvision is mended before accelerate imports it

    # isort: split
    import torch
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    num_gpus = torch.cuda.device_count()
    if 0 < num_gpus < how.num_processes:
        raise InputError(f"--launch {how.num_processes}: this machine has {num_gpus} GPUs; launch one process a GPU")
    options = _accelerate_options(recipe, how, on_gpus=num_gpus > 0)
    for name in logging.root.manager.loggerDict:
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what failed says so itself
    os.environ[LAUNCHED] = "1"
    try:
        launch_command(launch_command_parser().parse_args([*options, "--module", "mer_r1", *arguments]))
    except ChildFailedError as error:
        return _status(error, how)
    except SignalException as stopped:
        if stopped.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        return 128 + stopped.sigval
    finally:
        del os.environ[LAUNCHED]
    return 0


def _accelerate_options(recipe: Recipe, how: Launch, *, on_gpus: bool) -> list[str]:
    config = resources.files("mer_r1.recipes") / "accelerate" / configuration(recipe, on_gpus=on_gpus)
    options: dict[str, object] = {
        "config_file": config,
        "mixed_precision": "bf16" if recipe.optim.bf16 else "no",
        "num_processes": how.num_processes * how.num_nodes,
        "num_machines": how.num_nodes,
        "main_process_port": (how.main_port or MAIN_PORT) if how.num_nodes > 1 else how.main_port or 0,  # 0: a free one
    }
    if how.num_nodes > 1:
        options |= {"machine_rank": how.node_rank, "main_process_ip": how.main_address}
    return [text for name, value in options.items() for text in (f"--{name}", str(value))]


def _status(error: Exception, how: Launch) -> int:
    """The exit status of the process that failed first. Raises InputError with its message, where it left one."""
    failures: Any = error.failures  # type: ignore[attr-defined]
    for failure in failures.values():
        if Path(failure.error_file).is_file():
            raise InputError(failure.message) from None
    rank, failure = error.get_first_failure()  # type: ignore[attr-defined]
    if failure.exitcode < 0:
        name = signal.Signals(-failure.exitcode).name
        advice = "; the machine may be out of memory" if name == "SIGKILL" else ""
        of_all = f"process {rank} of {how.num_processes * how.num_nodes}"
        print(f"mer-r1: {of_all} was ended by {name}{advice}; the same command resumes", file=sys.stderr)
        return 128 - int(failure.exitcode)
    return int(failure.exitcode)
