"""The paper's Propositions 1-3 on sampled groups, as a table and a plot; rl/theory.py measures them.

Source: MER-R1 Section 4.2, Appendix A.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from mer_r1.display.plots import BLUE, GREEN, GRID, INK, MUTED, ORANGE, canvas, save
from mer_r1.rl.theory import SPREADS, Measured
from mer_r1.text import number, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHADE = "#f0f2f5"
DUAL, RECALL, PRECISION = BLUE, ORANGE, GREEN  # as in the report
SPREAD_COLOURS = ("#9ecae1", "#4292c6", "#08306b")
NUM_SHOWN = 1500


def print_theory(result: Mapping[str, Any], console: Console) -> None:
    """The propositions for people."""
    title = f"{result['num_groups']} groups a row: errors of Prop. 3 and 2, share on tau's side (1)"
    table = Table(title=title, title_justify="left")
    for head in ("groups", "counted", "3: largest", "with EPS", "2: median", "95 %", "1: share"):
        table.add_column(head, justify="left" if head == "groups" else "right", no_wrap=True)
    for name, numbers in result["families"].items():
        if not numbers["groups"]:
            table.add_row(name, "0")
            continue
        third, second = numbers["prop3"], numbers["prop2"]
        table.add_row(
            name,
            str(numbers["groups"]),
            f"{third['max_error']:.0e}",
            f"{third['max_error_eps']:.0e}",
            number(second["median_error"], 3),
            number(second["error_95"], 3),
            f"{percent(numbers['prop1']['agree'], 1)} %",
        )
    console.print(table)
    for name, numbers in result["families"].items():
        if numbers["groups"]:
            console.print(_sides(name, numbers["prop1"]["cells"]))
    console.print(
        "Prop. 3 is exact; EPS is what the trainer adds to a standard deviation. Prop. 1 and 2 take F1 for linear: "
        "near tau = 1 the side is random, and a wide spread makes it fail further out.",
        highlight=False,
    )


def _sides(name: str, cells: list[dict[str, Any]]) -> Table:
    """Of one family the share of groups on tau's side, by distance from the border and by spread."""
    table = Table(title=f"{name}: F1 advantage on the side that tau names, % (groups)", title_justify="left")
    table.add_column("|ln tau|")
    spreads = len(SPREADS) - 1
    for cell in cells[:spreads]:
        table.add_column(f"spread {_range(cell['spread'])}", justify="right")
    for first in range(0, len(cells), spreads):
        row = cells[first : first + spreads]
        shares = [f"{percent(cell['agree'], 0)} ({cell['groups']})" if cell["groups"] else "–" for cell in row]
        table.add_row(_range(row[0]["distance"]), *shares)
    return table


def _range(edges: list[float | None]) -> str:
    low, high = edges
    return f"{low:g} and more" if high is None else f"{low:g} – {high:g}"


def draw(measured: Measured, path: Path) -> None:
    """The plot of one family of groups. Raises InputError where matplotlib is missing."""
    with canvas("theory", 10.2, 4.4) as figure:
        left, right = figure.subplots(1, 2)
        _draw_correlations(left, measured)
        _draw_lean(right, measured)
        save(figure, path)


def _draw_correlations(axes: Axes, measured: Measured) -> None:
    """Correlation of each reward with both advantages against rho, and the curve of Proposition 3."""
    shown = slice(0, NUM_SHOWN)
    rho = measured.rho_N[shown]
    for column, (colour, name) in enumerate(((RECALL, "recall"), (PRECISION, "precision"))):
        axes.scatter(
            rho,
            measured.f1_N2[shown, column],
            s=7,
            color=colour,
            alpha=0.35,
            linewidths=0,
            label=f"{name} with A of F1",
        )
    line = np.linspace(-1, 1, 400)
    axes.plot(line, np.sqrt((1 + line) / 2), color=INK, linewidth=1.2, label="√((1 + ρ) / 2)")
    axes.scatter(rho, measured.dual_N2[shown, 0], s=9, color=DUAL, linewidths=0, label="both with A dual", zorder=3)
    axes.set(
        xlim=(-1.02, 1.02),
        ylim=(min(-0.05, float(measured.f1_N2[shown].min()) - 0.05), 1.03),
        xlabel="ρ, correlation of recall and precision in the group",
        ylabel="correlation of a reward with the advantage",
        title="Dual: both rewards on one curve",
    )
    axes.set_xticks([-1, -0.5, 0, 0.5, 1])
    axes.grid(color=GRID)
    axes.legend(loc="lower right", markerscale=2)


def _draw_lean(axes: Axes, measured: Measured) -> None:
    """The lean of the F1 advantage against ln tau, by spread; the shaded quarters are against Proposition 1."""
    shown = slice(0, NUM_SHOWN)
    distance, lean, spread = np.log(measured.tau_N[shown]), measured.lean_N[shown], measured.spread_N[shown]
    across, up = 1.05 * float(np.abs(distance).max()), 1.05 * float(np.abs(lean).max())
    for x in (-across, 0.0):
        axes.fill_between([x, x + across], 0, up if x < 0 else -up, color=SHADE, linewidth=0, zorder=0)
    axes.axhline(0, color=DUAL, linewidth=1.6, label="dual: no lean")
    for index, colour in enumerate(SPREAD_COLOURS):
        low, high = SPREADS[index : index + 2]
        inside = (spread >= low) & (spread < high)
        label = f"spread {low:g} – {high:g}" if high < np.inf else f"spread above {low:g}"
        axes.scatter(
            distance[inside], lean[inside], s=9, color=colour, alpha=0.7, linewidths=0, label=label, zorder=5 - index
        )
    for x, y, words in ((-0.97, 0.95, "against τ"), (0.97, -0.95, "against τ")):
        axes.annotate(
            words, (x * across, y * up), color=MUTED, fontsize=9, ha="left" if x < 0 else "right", va="center"
        )
    axes.set(
        xlim=(-across, across),
        ylim=(-up, up),
        xlabel="ln τ",
        ylabel="corr(recall, A) − corr(precision, A)",
        title="F1: leans to the side that τ names, not always",
    )
    axes.grid(color=GRID)
    axes.legend(loc="lower left", markerscale=2)
