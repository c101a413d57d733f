"""The plot of a sweep (MER-R1 Figure 7): rewards of sampled answers over the steps, by variant, seeds as a band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mer_r1.data.files import atomic_path
from mer_r1.errors import InputError
from mer_r1.report.plots import running_mean

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe and Ito (2008)


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
        figure.legend(list(shown.values()), list(shown), loc="outside upper center", ncols=columns, frameon=False)


def plot(rows: Sequence[Mapping[str, Any]], rewards: Sequence[str], path: Path) -> None:
    """Each of `rewards` over the steps: running mean, its mean over seeds as a line and their range as a band.

    Seeds are drawn over the steps that all of them logged; a value without a logged reward is left out.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise InputError("the plot needs matplotlib; pip install 'mer-r1[report]'") from None
    figure = Figure(figsize=(4.5 * len(rewards), 3.4), layout="constrained")
    values = list(dict.fromkeys(row["value"] for row in rows))
    for axes, name in zip(figure.subplots(1, len(rewards)), rewards, strict=True):
        for colour, value in zip(COLOURS * len(values), values, strict=False):
            lines = [line for row in rows if row["value"] == value and (line := row["dynamics"][f"reward/{name}"])]
            steps, columns = _common(lines)
            if not steps:
                continue
            axes.plot(steps, [sum(column) / len(column) for column in columns], color=colour, label=value, linewidth=2)
            axes.fill_between(steps, list(map(min, columns)), list(map(max, columns)), color=colour, alpha=0.15, lw=0)
        axes.set_xlabel("step")
        axes.set_ylabel(f"{name} of sampled answers, %")
        axes.grid(color="#dddddd")
        axes.spines[["top", "right"]].set_visible(False)
    _legend(figure, len(values))
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix.removeprefix("."), dpi=150)
