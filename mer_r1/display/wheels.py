"""Words in the wheels, and what two sources map differently, printed for a person.

A word is one block: per wheel the category and the way "form > base word > wheel word". An unknown word gets near
spellings.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mer_r1.emotion.compare import Comparison
from mer_r1.emotion.wheel import Way, WheelSet
from mer_r1.emotion.words import normalise


def print_words(words: Sequence[str], wheels: WheelSet, title: str) -> None:
    """Print a table of the words that the wheels know, and a line for each other one."""
    table = Table("word", "wheel", "category", "way", title=escape(title), title_justify="left")
    unknown: list[str] = []
    for word in words:
        ways = wheels.explain(word)
        if not ways:
            unknown.append(word)
            continue
        for index, way in enumerate(ways):
            shown = escape(word) if index == 0 else ""
            table.add_row(shown, wheels.short_names[index], escape(way.category or "-"), escape(way_text(way)))
        table.add_section()
    console = Console(emoji=False, highlight=False)
    if table.row_count:
        console.print(table)
        for name, short, head in zip(wheels.names, wheels.short_names, wheels.titles, strict=True):
            console.print(f"{short}: {head}" + (f" ({name} in files)" if name != short else ""), markup=False)
    for word in unknown:
        near = get_close_matches(normalise(word), wheels.words, n=3, cutoff=0.75)
        hint = f"; near: {', '.join(near)}" if near else ""
        console.print(f"{word!r} is not in the wheels{hint}", markup=False)


def way_text(way: Way) -> str:
    """The way without steps that repeat the one before: "angrily > angry > anger"."""
    steps = [step for step in (way.form, way.base, way.wheel_word) if step is not None]
    text = " > ".join(step for index, step in enumerate(steps) if index == 0 or step != steps[index - 1])
    return text if way.category else f"{text} > no category in this wheel"


def print_comparison(found: Comparison, names: tuple[str, str], limit: int, *, rest: str = "") -> None:
    """Print the first `limit` words that differ, and the counts. `names` are those of the two sources.

    `rest` says where the words are that are not printed.
    """
    console = Console(emoji=False, markup=False, highlight=False)
    if found.words and limit:
        table = Table("word", "wheel", *map(escape, names))
        for word in found.words[:limit]:
            table.add_section()
            if not word.wheels:
                table.add_row(escape(word.word), "", *(_cell((), known) for known in (word.in_a, word.in_b)))
            for index, item in enumerate(word.wheels):
                cells = (_cell(item.a, word.in_a), _cell(item.b, word.in_b))
                table.add_row(escape(word.word) if index == 0 else "", item.wheel, *map(escape, cells))
        console.print(table)
    if len(found.words) > limit:
        console.print(f"... and {len(found.words) - limit:,} more words{rest}", soft_wrap=True)
    for line in summary(found, names):
        console.print(line, soft_wrap=True)


def _cell(categories: tuple[str, ...], known: bool) -> str:
    return " + ".join(categories) or ("-" if known else "unknown")


def summary(found: Comparison, names: Sequence[str]) -> list[str]:
    """The counts of a comparison in words; `names` are those of the two sources."""
    lines: list[str] = []
    if unlike := ", ".join(name for name, same in zip(found.wheels, found.by_name, strict=True) if not same):
        lines.append(
            f"{unlike}: the two have other category names, so only whether a word reaches a category is compared"
        )
    shared = sum(word.in_a and word.in_b for word in found.words)
    counts = ", ".join(f"{name} {num:,}" for name, num in found.num_differing.items())
    lines.append(f"words that differ: {len(found.words):,} ({counts}), {shared:,} of them known to both")
    for name, num in zip(names, found.num_words, strict=True):
        lines.append(f"{name}: {num:,} words, {num - found.num_shared:,} unknown to the other")
    return lines
