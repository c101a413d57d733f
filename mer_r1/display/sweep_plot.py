"""The plot of a sweep (MER-R1 Figure 7): rewards of sampled answers over the steps, by variant, seeds as a band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mer_r1.display.plots import BLACK, BLUE, GREEN, GRID, ORANGE, PINK, SKY, VERMILION, canvas, running_mean, save

COLOURS = (BLUE, VERMILION, GREEN, PINK, ORANGE, SKY, BLACK)


def _common(lines: Sequence[Sequence[tuple[int, float]]]) -> tuple[list[int], list[tuple[float, ...]]]:
    """The steps that all seeds logged, and at each the seeds' running means in percent."""
    smooth = [
        dict(zip([step for step, _ in line], running_mean([100 * number for _, number in line]), strict=True))
        for line in lines
    ]
    steps = sorted(set[int]().union(*smooth).intersection(*smooth))
    return steps, [tuple(line[step] for line in smooth) for step in steps]


def _legend(figure: Any, columns: int) -> None:
    """One entry for every value that some panel shows."""
    shown: dict[Any, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    if shown:
        figure.legend(list(shown.values()), list(shown), loc="outside upper center", ncols=columns)


def plot(rows: Sequence[Mapping[str, Any]], rewards: Sequence[str], path: Path) -> None:
    """Each of `rewards` over the steps: running mean, its mean over seeds as a line and their range as a band.

    Seeds are drawn over the steps that all of them logged; a value without a logged reward is left out.
    """
    values = list(dict.fromkeys(row["value"] for row in rows))
    with canvas("sweep", 4.5 * len(rewards), 3.4) as figure:
        for axes, name in zip(figure.subplots(1, len(rewards)), rewards, strict=True):
            for colour, value in zip(COLOURS * len(values), values, strict=False):
                lines = [line for row in rows if row["value"] == value and (line := row["dynamics"][f"reward/{name}"])]
                steps, columns = _common(lines)
                if not steps:
                    continue
                axes.plot(
                    steps, [sum(column) / len(column) for column in columns], color=colour, label=value, linewidth=2
                )
                axes.fill_between(
                    steps, list(map(min, columns)), list(map(max, columns)), color=colour, alpha=0.15, lw=0
                )
            axes.set_xlabel("step")
            axes.set_ylabel(f"{name} of sampled answers, %")
            axes.grid(color=GRID)
        _legend(figure, len(values))
        save(figure, path)
