"""PyTorch's threads on a CPU: how many there are and how they wait, chosen before torch is loaded.

PyTorch's threads are OpenMP's (libgomp), and meet at the end of every operation. By default those that come first spin.
Beside another program they then take the core from the one that they wait for; a small model's operations are over
before a second thread helps, so decoding suffers most. Hence

    any model       threads that wait sleep             OMP_WAIT_POLICY=PASSIVE
    a small model   one thread                          OMP_NUM_THREADS=1

`perf/busy.py` measures both. What the user has set stands, and so does what torchrun and accelerate set. Only speed
depends on it, and the rounding of sums, which is another with another number of threads.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
NUMBER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
SMALL_BYTES = 32 * 2**20  # the tiny models have 6 MB; at 80 MB (perf/vs_trl.py) a second thread pays


def choose_threads(model: str | None = None) -> None:
    """Set in the environment what suits work with this model: a run, a checkpoint's folder, or a model's name.

    Does nothing once torch is loaded, which reads the environment when it is.
    """
    if "torch" in sys.modules:
        return
    _set_default(WAITING, "PASSIVE")
    if model is not None and _is_small(model):
        _set_default(NUMBER, "1")


def _set_default(names: Sequence[str], value: str) -> None:
    """Set the first of these variables where none is set."""
    if not any(name in os.environ for name in names):
        os.environ[names[0]] = value


def _is_small(model: str) -> bool:
    """Whether this is one of the models that a run builds itself, or a folder with few weights. An adapter has none."""
    from mer_r1.recipe import TINY

    weights = [path for folder in (Path(model), Path(model) / "model") for path in folder.glob("model*.safetensors")]
    return model in TINY or 0 < sum(path.stat().st_size for path in weights) < SMALL_BYTES
