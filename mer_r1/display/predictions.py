"""Predictions printed for a person: words with bars of confidence, categories, the reasoning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape

from mer_r1.data.sample import Prediction
from mer_r1.emotion.wheel import WheelSet
from mer_r1.text import printable


def print_predictions(
    predictions: Sequence[Prediction],
    titles: Mapping[str, str] | None = None,
    words_from: Mapping[str, str] | None = None,
    shown: Sequence[int] = (0,),
) -> None:
    """Print each prediction, a failed one with its error.

    By id, `titles` are printed in the place of the ids, and `words_from` says where a clip's words were found. `shown`
    are the numbers of the wheels whose categories are printed.
    """
    # The corrected protocol knows "neutral" too, whatever a later score makes of it.
    console, wheels = Console(emoji=False, highlight=False), WheelSet.load(protocol="corrected")
    for prediction in predictions:
        title = (titles or {}).get(prediction.id, prediction.id)
        console.print(
            f"[bold]{escape(printable(title, 200))}[/bold]  [dim]{prediction.mode} thinking[/dim]", soft_wrap=True
        )
        if origin := (words_from or {}).get(prediction.id):
            console.print(f"  [dim]words from {escape(printable(origin, 200))}[/dim]", soft_wrap=True)
        for word in prediction.labels:
            share = (prediction.confidence or {}).get(word)
            bar = "" if share is None else f"{'█' * round(20 * share):<20} {share:4.0%}"
            reached = escape(_categories(word, wheels, shown))
            console.print(f"  {escape(printable(word)):<16} {bar:<26} [dim]{reached}[/dim]", soft_wrap=True)
        if prediction.status == "error":
            console.print(f"  [red]failed[/red]: {escape(printable(prediction.error or '', 400))}")
        elif not prediction.labels:
            console.print(f"  no emotion word ({prediction.status}): {escape(printable(prediction.raw, 200))}")
        if prediction.reasoning.strip():
            console.print(f"  [italic]{escape(printable(prediction.reasoning.strip(), 4000))}[/italic]")
        console.print()
    if any(prediction.confidence for prediction in predictions):
        console.print(f"[dim]{CONFIDENCE_NOTE} {wheels_note(wheels, shown)}[/dim]", soft_wrap=True)


CONFIDENCE_NOTE = "Percent: probability of the word's category, mean over wheels."


def wheels_note(wheels: WheelSet, shown: Sequence[int]) -> str:
    """Whose categories are printed, and how to see the others."""
    names = ", ".join(wheels.short_names[number] for number in shown)
    return f"Categories: {names}." if len(shown) > 1 else f"Categories: {names} (others: --wheel NAME, or all)."


def _categories(word: str, wheels: WheelSet, shown: Sequence[int]) -> str:
    ways = wheels.explain(word)
    if not ways:
        return "in no wheel"
    if len(shown) == 1:
        return ways[shown[0]].category or f"not in {wheels.short_names[shown[0]]}"
    return ", ".join(f"{wheels.short_names[number]} {ways[number].category or '–'}" for number in shown)
