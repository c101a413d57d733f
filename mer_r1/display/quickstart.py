"""The closing table of a quickstart: each system, fast and slow, beside the best constant answer."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from mer_r1.display.score import print_wheels
from mer_r1.evaluation.records import MetricsRecord, ScoreRecord
from mer_r1.text import percent

SYSTEMS = ("sft", "baseline", "mer_r1")
MEDIA = ("video", "sound", "subtitle")
TITLES = {"sft": "after SFT", "baseline": "Baseline (F1 reward)", "mer_r1": "MER-R1"}


def print_metrics(metrics: MetricsRecord, console: Console) -> None:
    """Print what metrics.json holds."""
    table = Table(title="Held-out MiniMER clips of people not met in training", title_justify="left")
    for column in ("system", "thinking", "recall", "precision", "F1"):
        table.add_column(column, justify="left" if column in ("system", "thinking") else "right")
    for name, system in (metrics.systems or {}).items():
        for mode, scores in (("fast", system.fast), ("slow", system.slow)):
            table.add_row(TITLES[name] if mode == "fast" else "", mode, *_cells(scores), end_section=mode == "slow")
    if metrics.constant is not None:
        table.add_row(f"always “{', '.join(metrics.constant.words)}”", "-", *_cells(metrics.constant))
    console.print(table)
    print_wheels(metrics.signature, console)
    console.print(f"[dim]{metrics.signature}[/dim]")
    if without := metrics.without:
        drops = ", ".join(f"no {medium} {percent(without[medium].f1, 1)}" for medium in MEDIA)
        whole = without["nothing"]
        console.print(f"MER-R1 slow F1 on {whole.n} clips: all media {percent(whole.f1, 1)}, {drops}")


def _cells(scores: ScoreRecord | None) -> list[str]:
    return [percent(scores.value(measure) if scores else None, 1) for measure in ("recall", "precision", "f1")]
