"""A limit for what has to take time in proportion to its input's length."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def processor_time(limit_s: float) -> Iterator[None]:
    """Fail what takes more seconds of the processor than this, however busy the machine is.

    A pattern that goes quadratic takes 1 to 20 ns by the square of the length: 10 s and more for 100,000 characters.
    """

    def stop(signum: int, frame: object) -> None:
        pytest.fail(f"takes more than {limit_s} s of the processor")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
