"""The words that two wheel sets map differently, wheel by wheel."""

from __future__ import annotations

from dataclasses import dataclass

from mer_r1.emotion.wheel import WheelSet


@dataclass(frozen=True)
class WheelDifference:
    """The categories of a word in one wheel of two sources, in the wheel's order; none where it reaches none."""

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
