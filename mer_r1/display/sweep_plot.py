"""The plot of a sweep (MER-R1 Figure 7): rewards of sampled answers over the steps, by variant, seeds as a band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mer_r1.display.plots import BLACK, BLUE, GREEN, GRID, ORANGE, PINK, SKY, VERMILION, canvas, running_mean, save

COLOURS = (BLUE, VERMILION, GREEN, PINK, ORANGE, SKY, BLACK)


def plot(rows: Sequence[Mapping[str, Any]], rewards: Sequence[str], path: Path) -> None:
    """Each of `rewards` over the steps: running mean, its mean over seeds as a line and their range as a band.

    Seeds are drawn over the steps that all of them logged; a value without a logged reward is left out.
    """
    values = list(dict.fromkeys(row["value"] for row in rows))
    shown: dict[str, Any] = {}  # the line of every value that some panel shows
    with canvas("sweep", 4.5 * len(rewards), 3.4) as figure:
        for axes, name in zip(figure.subplots(1, len(rewards)), rewards, strict=True):
            for colour, value in zip(COLOURS * len(values), values, strict=False):
                seeds: list[dict[int, float]] = []
                for row in rows:
                    if row["value"] == value and (line := row["dynamics"][f"reward/{name}"]):
                        steps, rewards_of = zip(*line, strict=True)
                        seeds.append(dict(zip(steps, running_mean([100 * x for x in rewards_of]), strict=True)))
                common = sorted(set[int]().union(*seeds).intersection(*seeds))
                if not common:
                    continue
                columns = [[seed[step] for seed in seeds] for step in common]
                mean = [sum(column) / len(column) for column in columns]
                shown.setdefault(value, axes.plot(common, mean, color=colour, label=value, linewidth=2)[0])
                low, high = list(map(min, columns)), list(map(max, columns))
                axes.fill_between(common, low, high, color=colour, alpha=0.15, lw=0)
            axes.set_xlabel("step")
            axes.set_ylabel(f"{name} of sampled answers, %")
            axes.grid(color=GRID)
        if shown:
            figure.legend(list(shown.values()), list(shown), loc="outside upper center", ncols=len(values))
        save(figure, path)
