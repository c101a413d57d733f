"""The plain mean over sets, which every benchmark's tables give."""

from __future__ import annotations

from collections.abc import Sequence


def mean_of_all(values: Sequence[float | None]) -> float | None:
    """The plain mean; None where a value is missing or there is none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
