"""`mer-r1 wheels show WORD ...`: where emotion words stand in the five wheels, and the way there.

Prints one block a word: per wheel the category and "form > base word > wheel word". An unknown word gets near
spellings.
"""

from __future__ import annotations

from difflib import get_close_matches

from mer_r1.emotion.wheel import Way, WheelSet


def show(words: list[str], source: str = "builtin") -> int:
    """Print a table of the words; 0 when at least one is known, else 1. Raises InputError for an unknown source."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    wheels = WheelSet.load(source)
    table = Table(title=f"Wheels {wheels.source}, sha256 {wheels.sha256[:12]}", title_justify="left")
    for head in ("word", "wheel", "category", "way"):
        table.add_column(head)
    unknown: list[str] = []
    for word in words:
        ways = wheels.explain(word)
        if not ways:
            unknown.append(word)
        for place, way in enumerate(ways):
            shown = escape(word) if place == 0 else ""
            table.add_row(shown, way.wheel, escape(way.category or "-"), escape(way_text(way)))
        if ways:
            table.add_section()
    console = Console(emoji=False)
    if len(unknown) < len(words):
        console.print(table)
        for name, title in zip(wheels.names, wheels.titles, strict=True):
            console.print(f"{name}: {title}", markup=False, highlight=False)
    for word in unknown:
        near = get_close_matches(word.lower().strip(), wheels.words, n=3, cutoff=0.75)
        hint = f"; near: {', '.join(near)}" if near else ""
        console.print(f"{word!r} is not in the wheels{hint}", markup=False, highlight=False)
    return 1 if len(unknown) == len(words) else 0


def way_text(way: Way) -> str:
    """The way without steps that repeat the one before: "angrily > angry > anger"."""
    steps = [step for step in (way.form, way.base, way.wheel_word) if step is not None]
    text = " > ".join(step for place, step in enumerate(steps) if place == 0 or step != steps[place - 1])
    return text if way.category else f"{text} > no home in this wheel"
