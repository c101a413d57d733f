"""Predictions printed for a person: words with bars of confidence, categories, the reasoning."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from mer_r1.data.sample import Prediction
from mer_r1.emotion.wheel import WheelSet
from mer_r1.text import printable


def print_predictions(predictions: Sequence[Prediction]) -> None:
    """Print each prediction, a failed one with its error."""
    # The corrected protocol knows "neutral" too, whatever a later score makes of it.
    console, wheels = Console(emoji=False, highlight=False), WheelSet.load(protocol="corrected")
    for prediction in predictions:
        console.print(f"[bold]{escape(printable(prediction.id, 200))}[/bold]  [dim]{prediction.mode} thinking[/dim]")
        for word in prediction.labels:
            share = (prediction.confidence or {}).get(word)
            ways = wheels.explain(word)
            category = ways[0].category if ways else None
            bar = "" if share is None else f"{'█' * round(20 * share):<20} {share:4.0%}"
            console.print(f"  {escape(printable(word)):<16} {bar:<26} [dim]{category or 'in no wheel'}[/dim]")
        if prediction.status == "error":
            console.print(f"  [red]failed[/red]: {escape(printable(prediction.error or '', 400))}")
        elif not prediction.labels:
            console.print(f"  no emotion word ({prediction.status}): {escape(printable(prediction.raw, 200))}")
        if prediction.reasoning.strip():
            console.print(f"  [italic]{escape(printable(prediction.reasoning.strip(), 4000))}[/italic]")
        console.print()
    if any(prediction.confidence for prediction in predictions):
        console.print("[dim]Bars: probability of the word's category, mean over wheels. Categories: wheel w1.[/dim]")
