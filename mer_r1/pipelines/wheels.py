"""`mer-r1 wheels show`, `compare` and `download`: where words stand, where two sources differ, the published tables.

`show` prints one block a word: per wheel the category and "form > base word > wheel word". An unknown word gets near
spellings. `compare` lists the words that two sources map differently. `download` fetches the published tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path

from mer_r1.emotion.wheel import Way, WheelSet
from mer_r1.emotion.words import normalise
from mer_r1.errors import InputError


@dataclass(frozen=True)
class WheelDifference:
    """The categories of a word in one wheel of two sources, in the wheel's order; none where it has no home."""

    wheel: str
    a: tuple[str, ...]
    b: tuple[str, ...]


@dataclass(frozen=True)
class WordDifference:
    """A word that two sources map differently: whether each knows it, and the wheels in which they differ."""

    word: str
    in_a: bool
    in_b: bool
    wheels: tuple[WheelDifference, ...]


@dataclass(frozen=True)
class Comparison:
    """All words in which two wheel sets differ, alphabetically.

    `wheels` are their names in the first set. `by_name[k]` tells whether wheel k has the same categories in both; where
    it has not, a word differs only when one set gives it a category and the other none. A word that one set alone knows
    is always listed.
    """

    wheels: tuple[str, ...]
    by_name: tuple[bool, ...]
    num_words: tuple[int, int]
    num_shared: int
    words: tuple[WordDifference, ...]

    @property
    def num_differing(self) -> dict[str, int]:
        """Wheel -> how many words differ in it."""
        return {
            name: sum(any(item.wheel == name for item in word.wheels) for word in self.words) for name in self.wheels
        }


def compare(a: WheelSet, b: WheelSet) -> Comparison:
    """The words that two wheel sets map differently, wheel by wheel."""
    by_name = tuple(set(one) == set(other) for one, other in zip(a.categories_of, b.categories_of, strict=True))
    known_a, known_b = set(a.words), set(b.words)
    words: list[WordDifference] = []
    for word in sorted(known_a | known_b):
        pairs = zip(a.categories([word]), b.categories([word]), strict=True)
        differing = tuple(
            WheelDifference(a.names[k], _in_order(one, a.categories_of[k]), _in_order(other, b.categories_of[k]))
            for k, (one, other) in enumerate(pairs)
            if (one != other if by_name[k] else bool(one) != bool(other))
        )
        if differing or (word in known_a) != (word in known_b):
            words.append(WordDifference(word, word in known_a, word in known_b, differing))
    return Comparison(a.names, by_name, (len(known_a), len(known_b)), len(known_a & known_b), tuple(words))


def _in_order(names: frozenset[str], categories: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(category for category in categories if category in names)


def show(words: Sequence[str], source: str = "builtin", protocol: str = "official", level: int = 1) -> int:
    """Print a table of the words; 0 when at least one is known, else 1. Raises InputError for an unknown source."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    wheels = WheelSet.load(source, protocol=protocol, level=level)
    title = f"Wheels {wheels.source}, level {level}, protocol {protocol}, sha256 {wheels.sha256[:12]}"
    table = Table(title=escape(title), title_justify="left")
    for head in ("word", "wheel", "category", "way"):
        table.add_column(head)
    unknown: list[str] = []
    for word in words:
        ways = wheels.explain(word)
        if not ways:
            unknown.append(word)
        for index, way in enumerate(ways):
            shown = escape(word) if index == 0 else ""
            table.add_row(shown, way.wheel, escape(way.category or "-"), escape(way_text(way)))
        if ways:
            table.add_section()
    console = Console(emoji=False)
    if len(unknown) < len(words):
        console.print(table)
        for name, head in zip(wheels.names, wheels.titles, strict=True):
            console.print(f"{name}: {head}", markup=False, highlight=False)
    for word in unknown:
        near = get_close_matches(normalise(word), wheels.words, n=3, cutoff=0.75)
        hint = f"; near: {', '.join(near)}" if near else ""
        console.print(f"{word!r} is not in the wheels{hint}", markup=False, highlight=False)
    return 1 if len(unknown) == len(words) else 0


def way_text(way: Way) -> str:
    """The way without steps that repeat the one before: "angrily > angry > anger"."""
    steps = [step for step in (way.form, way.base, way.wheel_word) if step is not None]
    text = " > ".join(step for index, step in enumerate(steps) if index == 0 or step != steps[index - 1])
    return text if way.category else f"{text} > no home in this wheel"


def show_comparison(
    source_a: str,
    source_b: str,
    *,
    protocol: str = "official",
    level: int = 1,
    limit: int = 50,
    out: Path | None = None,
) -> int:
    """Print the first `limit` words that two sources map differently, and counts; write all of them to `out`; 0.

    Raises InputError for an unknown source and a limit below 0.
    """
    from rich.console import Console

    from mer_r1.data.files import write_json
    from mer_r1.metrics.signature import wheels_part

    if limit < 0:
        raise InputError(f"--limit {limit} is below 0; give the number of words to print")
    a, b = (WheelSet.load(source, protocol=protocol, level=level) for source in (source_a, source_b))
    found = compare(a, b)
    names = tuple(wheels_part(item.source, item.sha256) for item in (a, b))
    if out is not None:
        head = {"a": names[0], "b": names[1], "protocol": protocol, "level": level}
        write_json(out, head | asdict(found) | {"num_differing": found.num_differing})
    console = Console(emoji=False, markup=False, highlight=False)
    if found.words and limit:
        console.print(_comparison_table(found, names, limit))
    if len(found.words) > limit:
        rest = "" if out is not None else "; --limit prints more, --json writes all"
        console.print(f"... and {len(found.words) - limit:,} more words{rest}", soft_wrap=True)
    for line in summary(found, names):
        console.print(line, soft_wrap=True)
    return 0


def _comparison_table(found: Comparison, names: tuple[str, ...], limit: int) -> object:
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    for head in ("word", "wheel", *names):
        table.add_column(escape(head))
    for word in found.words[:limit]:
        table.add_section()
        if not word.wheels:
            table.add_row(escape(word.word), "", *(_cell((), known) for known in (word.in_a, word.in_b)))
        for index, item in enumerate(word.wheels):
            cells = (_cell(item.a, word.in_a), _cell(item.b, word.in_b))
            table.add_row(escape(word.word) if index == 0 else "", item.wheel, *map(escape, cells))
    return table


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


def download(names: Sequence[str], folder: Path | None = None) -> int:
    """Fetch the published tables ("official", "mer2026"; none named: both), one printed line a file; 0.

    Raises InputError for an unknown name and for a file that cannot be had.
    """
    from mer_r1.emotion.download import download as fetch
    from mer_r1.emotion.official import PINNED

    for file in fetch([*names] or [*PINNED], folder):
        print(f"{file.path}: {file.how}")
    return 0
