"""A process that has imported all that a run needs, and forks every run from there: the imports are paid for once.

    nursery.run("tests.training.test_crashes:train", recipe, out)

calls a function of a module in a process of its own. Run as a module, this file is that process.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
IMPORTED = (
    *("mer_r1.commands", "mer_r1.models.qwen2_5_omni", "mer_r1.models.qwen2_5_vl", "mer_r1.rl.trainer"),
    *("mer_r1.training.sft", "peft", "safetensors.torch", "torch.distributed.fsdp"),
)


class Nursery:
    """What the processes print goes to `log`."""

    def __init__(self, log: Path) -> None:
        self.log = log
        environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "tests.nursery", str(log)]
        self._process = subprocess.Popen(
            command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def run(
        self, function: str, *arguments: object, num_processes: int = 1, environment: Mapping[str, str] | None = None
    ) -> list[int]:
        """The status of each process, -9 of one that was killed; where one fails, the others are killed.

        `function` is MODULE:NAME and gets the arguments as text; a status that it returns is its process's. Two
        processes and more find each other as those of `torchrun` do.
        """
        assert self._process.stdin
        assert self._process.stdout
        environments = [dict(environment or {}) for _ in range(num_processes)]
        if num_processes > 1:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
            group |= {"WORLD_SIZE": str(num_processes), "LOCAL_WORLD_SIZE": str(num_processes)}
            for rank, own in enumerate(environments):
                own |= group | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        order = {"function": function, "arguments": [str(each) for each in arguments], "environments": environments}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        statuses: list[int] = json.loads(self._process.stdout.readline())
        return statuses

    def printed(self) -> str:
        """The end of what the processes have printed."""
        return self.log.read_text(errors="replace")[-6000:]

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _attend(log: Path) -> None:
    """Do what standard input asks for, a line each."""
    for name in IMPORTED:
        importlib.import_module(name)
    importlib.import_module("torch").set_num_threads(1)
    gc.freeze()
    for line in sys.stdin:
        order = json.loads(line)
        children = {_fork(order, environment, log): rank for rank, environment in enumerate(order["environments"])}
        statuses = dict.fromkeys(children.values(), 0)
        while children:
            child, status = os.wait()
            statuses[children.pop(child)] = code = os.waitstatus_to_exitcode(status)
            for other in children if code else ():
                os.kill(other, signal.SIGKILL)
        print(json.dumps([*statuses.values()]), flush=True)


def _fork(order: dict[str, Any], environment: dict[str, str], log: Path) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.environ.update(environment)
        printed = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        module, name = order["function"].split(":")
        status = getattr(importlib.import_module(module), name)(*order["arguments"]) or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _attend(Path(sys.argv[1]))
