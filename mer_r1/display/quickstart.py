"""The closing table of a quickstart: each system, fast and slow, beside the best constant answer."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from mer_r1.display.numbers import percent

SYSTEMS = ("sft", "baseline", "mer_r1")
MEDIA = ("video", "sound", "subtitle")
TITLES = {"sft": "after SFT", "baseline": "Baseline (F1 reward)", "mer_r1": "MER-R1"}


def print_metrics(metrics: dict[str, Any], console: Console) -> None:
    """Print what metrics.json holds."""
    table = Table(title="Held-out MiniMER clips of people not met in training", title_justify="left")
    for column in ("system", "thinking", "recall", "precision", "F1"):
        table.add_column(column, justify="left" if column in ("system", "thinking") else "right")
    for name, system in metrics["systems"].items():
        for mode in ("fast", "slow"):
            numbers = system[mode]
            cells = (percent(numbers[key], 1) for key in ("recall", "precision", "f1"))
            table.add_row(TITLES[name] if mode == "fast" else "", mode, *cells, end_section=mode == "slow")
    constant = metrics["constant"]
    table.add_row(
        f"always “{', '.join(constant['words'])}”",
        "-",
        *(percent(constant[key], 1) for key in ("recall", "precision", "f1")),
    )
    console.print(table)
    console.print(f"[dim]{metrics['signature']}[/dim]")
    without = metrics["without"]
    drops = ", ".join(f"no {medium} {percent(without[medium]['f1'], 1)}" for medium in MEDIA)
    whole = percent(without["nothing"]["f1"], 1)
    console.print(f"MER-R1 slow F1 on {without['nothing']['n']} clips: all media {whole}, {drops}")
