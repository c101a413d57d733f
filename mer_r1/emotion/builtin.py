"""The five built-in wheels of this project, compiled from `data/wheels.txt` and `data/words.txt`.

Each wheel follows a published taxonomy (docs/wheels.md), has one level, and gives a word one category or none. The
category "neutral" is every wheel's last, and is left out where the protocol does not score it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from mer_r1.emotion.compiled import NEUTRAL, NUM_WHEELS, CompiledWheels, Route, pack
from mer_r1.emotion.protocol import Protocol
from mer_r1.emotion.words import BaseWord, read_words
from mer_r1.errors import InputError

_DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class WheelHead:
    """One section of wheels.txt: a wheel's name, title, source, and its categories with their wheel words."""

    name: str
    title: str
    source: str
    wheel_words: dict[str, tuple[str, ...]]

    @cached_property
    def category_of(self) -> dict[str, str]:
        """Wheel word -> level-1 category."""
        return {word: category for category, words in self.wheel_words.items() for word in words}


@cache
def builtin_heads() -> tuple[WheelHead, ...]:
    """The five wheels of data/wheels.txt, each with "neutral" as its last category."""
    return read_heads((_DATA / "wheels.txt").read_text(encoding="utf-8"), "wheels.txt")


def read_heads(text: str, name: str) -> tuple[WheelHead, ...]:
    """Parse a wheels file (format at its head) and add "neutral" to each wheel. `name` is the file's name for messages.

    Raises InputError, naming the line, for a line of neither form or a wheel word with two categories in one wheel.
    """
    names: list[tuple[str, str, str]] = []
    wheel_words: list[dict[str, tuple[str, ...]]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            wheel, _, rest = line[1:].partition("]")
            title, _, source = rest.partition("|")
            names.append((wheel, title.strip(), source.strip()))
            wheel_words.append({})
            continue
        category, colon, cells = line.partition(":")
        words = tuple(cell.strip() for cell in cells.split(","))
        if not (names and colon and all(words)):
            raise InputError(f"{name}:{number}: write '[name] title | source' or 'category: wheel word, wheel word'")
        seen = {word for others in wheel_words[-1].values() for word in others}
        if twice := (seen & set(words)) | {word for word in words if words.count(word) > 1}:
            raise InputError(f"{name}:{number}: {', '.join(sorted(twice))} occurs twice in {names[-1][0]}; keep one")
        wheel_words[-1][category] = words
    heads = zip(names, wheel_words, strict=True)
    return tuple(WheelHead(*head, {**categories, NEUTRAL: (NEUTRAL,)}) for head, categories in heads)


def builtin_wheels(protocol: Protocol) -> CompiledWheels:
    """The built-in wheels compiled for a protocol."""
    heads = builtin_heads()
    categories_of = tuple(tuple(c for c in head.wheel_words if protocol.neutral or c != NEUTRAL) for head in heads)
    packed_of: dict[tuple[str | None, ...], int] = {}  # words come in groups that share their wheel words
    table: dict[str, int] = {}
    routes: dict[str, Route] = {}
    for word in read_words((_DATA / "words.txt").read_text(encoding="utf-8"), "words.txt", NUM_WHEELS):
        if word.wheel_words not in packed_of:
            packed_of[word.wheel_words] = pack(_ids(word, heads, categories_of), categories_of)
        table.update(dict.fromkeys(word.forms, packed_of[word.wheel_words]))
        routes.update(dict.fromkeys(word.forms, tuple((word.base, w) for w in word.wheel_words)))
    return CompiledWheels(
        source="builtin",
        names=tuple(head.name for head in heads),
        titles=tuple(head.title for head in heads),
        categories_of=categories_of,
        table=table,
        protocol=protocol,
        routes=lambda: routes,
    )


def _ids(
    word: BaseWord, heads: Sequence[WheelHead], categories_of: Sequence[tuple[str, ...]]
) -> Iterator[tuple[int, ...]]:
    """Per wheel the one category id of a word, or none."""
    for head, wheel_word, names in zip(heads, word.wheel_words, categories_of, strict=True):
        category = None if wheel_word is None else head.category_of.get(wheel_word)
        if wheel_word is not None and category is None:
            raise InputError(f"words.txt:{word.line}: {wheel_word!r} is not a word of {head.name}; see wheels.txt")
        yield (names.index(category),) if category in names else ()
