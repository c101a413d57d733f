"""How many cores there are, and how PyTorch's threads wait on a CPU, chosen before torch is loaded.

PyTorch's threads are OpenMP's (libgomp), and meet at the end of every operation. Those that come first spin, 300,000
rounds by default, before they sleep. Beside another program they then take the core from the one that they wait for,
and a step takes three times as long. Hence they spin less:

    GOMP_SPINCOUNT=1000

Quiet, a step is 3 to 5 % slower for it, where threads that sleep at once (OMP_WAIT_POLICY=PASSIVE) cost 13 to 18 %;
beside a busy program it takes half the time of the default (`perf/busy.py`, perf/RESULTS.md). One thread alone is no
better: it is slower by half when quiet. What the user has set stands. Only speed depends on it.
"""

from __future__ import annotations

import os
import sys

WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")
SPINS = "1000"
MOST_WORKERS = 8


def num_cores() -> int:
    """The cores that this process may use: where the system tells, those that `taskset` or a job's cpuset leave it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def num_workers() -> int:
    """How many processes make or decode clips where nothing else is asked for: one a core, and at most MOST_WORKERS."""
    return min(num_cores(), MOST_WORKERS)


def choose_threads() -> None:
    """Set in the environment how threads wait, where the user has not.

    Does nothing once torch is loaded, which reads the environment when it is.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in WAITING):
        os.environ["GOMP_SPINCOUNT"] = SPINS
