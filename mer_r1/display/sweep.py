"""The table of a sweep: per variant and number the mean, lowest and highest over the seeds, in percent.

Two kinds of test set. Free words: precision and recall averaged over the data and F1 from these. Labels chosen from a
sample's candidates: accuracy, which is hard (one label, and the right one). `other` is the leading number, F1 or
accuracy, on the other test set. `sampled` is the mean reward of the last third of the logged steps, `rise` what it is
above the first third's: a reflective reward that rises without accuracy is being played.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from mer_r1.data.sample import Mode
from mer_r1.display.numbers import MISSING, percent

MODES: tuple[Mode, ...] = ("slow", "fast")


@dataclass(frozen=True)
class Measures:
    """What is shown of one kind of test set: greedy numbers, the leading one last, rewards read, columns, two plots."""

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


def _columns(result: Mapping[str, Any], measures: Measures) -> list[str]:
    other = [f"{mode}/other" for mode in MODES if result["other"]]
    return [*(f"{mode}/{key}" for mode in MODES for key in measures.greedy), *other, *measures.columns]


def _cells(numbers: Mapping[str, Mapping[str, float]], columns: Sequence[str], with_range: bool = True) -> list[str]:
    texts = []
    for name in columns:
        mean, low, high = (percent(numbers.get(name, {}).get(part), 1) for part in ("mean", "low", "high"))
        texts.append(f"{mean} ({low}–{high})" if with_range and mean != MISSING else mean)
    return texts


def _header(name: str) -> str:
    return name.replace("/", " ").replace("f1", "F1")


def markdown(result: Mapping[str, Any], measures: Measures) -> str:
    """The table for a document: percent, mean (lowest–highest) over the seeds."""
    seeds = sorted({row["seed"] for row in result["runs"]})
    columns = _columns(result, measures)
    lines = [
        f"| {result['key']} | {' | '.join(map(_header, columns))} |",
        f"|---|{'---|' * len(columns)}",
        *(f"| {value} | {' | '.join(_cells(numbers, columns))} |" for value, numbers in result["summary"].items()),
        "",
        f"Percent, mean (lowest–highest) over seeds {', '.join(map(str, seeds))}; {result['n']} samples of "
        f"{result['test']}; `{result['signature']}`.",
        *(f"Other: {other['n']} samples of {other['test']}; `{other['signature']}`." for other in result["other"]),
    ]
    return "\n".join(lines) + "\n"


def show(result: Mapping[str, Any], measures: Measures, console: Console) -> None:
    """Print the table; on a narrow screen without ranges, which then stand in the file alone."""
    is_wide = console.width >= 150
    shown = "mean (lowest–highest)" if is_wide else "mean"
    table = Table(title=f"{result['key']}: percent, {shown} over seeds", title_justify="left")
    table.add_column(str(result["key"]).replace(".", ".\n"))
    columns = _columns(result, measures)
    for name in columns:
        table.add_column(_header(name).replace(" ", "\n"), justify="right")
    for value, numbers in result["summary"].items():
        table.add_row(value, *_cells(numbers, columns, is_wide))
    console.print(table)
    console.print(f"[dim]{result['signature']}[/dim]")
