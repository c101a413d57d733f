"""Which process this is, as launchers say it before torch is imported.

torchrun and accelerate set RANK, WORLD_SIZE and LOCAL_RANK; mpirun sets PMI_* (MPICH, Intel MPI), OMPI_COMM_WORLD_*
(Open MPI) or MV2_COMM_WORLD_* (MVAPICH2). The first variable that is set decides.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

LAUNCHED = "MER_R1_LAUNCHED"
"""Set in the processes that `mer-r1 train --launch` has started."""

_RANK = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
_WORLD_SIZE = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
_LOCAL_RANK = ("LOCAL_RANK", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK")


def rank_and_world_size() -> tuple[int, int]:
    """(rank of this process from 0, number of processes); (0, 1) without a launcher."""
    world_size = _first(_WORLD_SIZE, 1)
    return (_first(_RANK, 0), world_size) if world_size > 1 else (0, 1)


def is_first_process() -> bool:
    """Whether this is the only process or the first of several."""
    return rank_and_world_size()[0] == 0


def local_rank() -> int:
    """The rank of this process on its machine, from 0."""
    return _first(_LOCAL_RANK, 0)


def _first(names: Sequence[str], default: int) -> int:
    return int(next((value for name in names if (value := os.environ.get(name))), default))


def report_error(message: str) -> bool:
    """Leave an error's line for the command that launched this process, which prints it once; False without one.

    The file is that of torch's elastic agent, in its form.
    """
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path is None or LAUNCHED not in os.environ:
        return False
    Path(path).write_text(json.dumps({"message": message, "timestamp": int(time.time())}), encoding="utf-8")
    return True
