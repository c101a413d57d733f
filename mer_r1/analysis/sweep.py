"""The numbers of a sweep: per variant and number the mean, lowest and highest over the seeds.

Two kinds of test set. Free words: precision and recall averaged over the data and F1 from these. Labels chosen from a
sample's candidates: accuracy, which is hard (one label, and the right one). `other` is the leading number, F1 or
accuracy, on the other test set. `sampled` is the mean reward of the last third of the logged steps, `rise` what it is
above the first third's: a reflective reward that rises without accuracy is being gamed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mer_r1.data.sample import Mode

MODES: tuple[Mode, ...] = ("slow", "fast")


@dataclass(frozen=True)
class Measures:
    """What is measured on one kind of test set.

    `greedy` numbers of greedy answers, the leading one last; `rewards` read from the log; `columns` of the table beside
    the greedy ones; the two rewards that are `plotted`.
    """

    greedy: tuple[str, ...]
    rewards: tuple[str, ...]
    columns: tuple[str, ...]
    plotted: tuple[str, str]


WORDS = Measures(
    greedy=("recall", "precision", "f1"),
    rewards=("recall", "precision", "format"),
    columns=("sampled/recall", "sampled/precision"),
    plotted=("recall", "precision"),
)
LABELS = Measures(
    greedy=("accuracy",),
    rewards=("accuracy", "reflection", "coherence", "consistency", "format"),
    columns=("sampled/accuracy", "rise/accuracy", "sampled/reflection", "rise/reflection"),
    plotted=("accuracy", "reflection"),
)


def thirds(values: Sequence[tuple[int, float]]) -> tuple[float, float] | None:
    """Means of the first and of the last third of (step, value) rows, None without rows."""
    if not values:
        return None
    size = max(1, len(values) // 3)
    return _mean([value for _, value in values[:size]]), _mean([value for _, value in values[-size:]])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Per value and number (mode/metric, mode/other, kind/reward) its mean, lowest and highest over the seeds."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        numbers = {f"{mode}/{key}": value for mode in MODES for key, value in row["greedy"][mode].items()}
        numbers |= {f"{mode}/other": value for mode, value in row["other"].items()}
        numbers |= {f"{kind}/{name}": value for kind in ("sampled", "rise") for name, value in row[kind].items()}
        for name, value in numbers.items():
            if value is not None:
                found.setdefault(row["value"], {}).setdefault(name, []).append(value)
    return {
        value: {
            name: {"mean": _mean(column), "low": min(column), "high": max(column)} for name, column in numbers.items()
        }
        for value, numbers in found.items()
    }
