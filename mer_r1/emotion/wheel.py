"""Emotion wheels: five ways to sort an emotion word into a category.

`WheelSet.load` compiles this project's wheels ("builtin", see builtin.py), those of MER-UniBench ("official"), the
same with its authors' later correction ("mer2026"), or any folder with tables of that kind (official.py). Category ids
count within one wheel.

Convention: words are looked up lower-cased and stripped, exactly; an unknown word reaches nothing; a set is per wheel,
so synonyms collapse. This is G(.) of the MER-R1 paper (Section 3) and the mapping of set-based F1. A word reaches at
most one category of a wheel, except words with equal votes under the protocol "corrected" (protocol.py). The category
"neutral", last in each wheel that has it, exists under "corrected" only.
Source: docs/wheels.md for the built-in wheels, docs/scoring.md for the protocols.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from hashlib import sha256
from os import PathLike, fspath

from mer_r1.emotion.builtin import builtin_wheels
from mer_r1.emotion.compiled import NUM_WHEELS, CompiledWheels, Route, shifts
from mer_r1.emotion.official import Source, compiled_tables, read_source, validate_level
from mer_r1.emotion.protocol import Protocol, protocol_of
from mer_r1.emotion.words import normalise
from mer_r1.errors import InputError

NUM_COUNTS_KEPT = 65_536
BUILTIN_NAMES = {"w1": "Ekman", "w2": "Shaver", "w3": "Willcox", "w4": "Plutchik", "w5": "Geneva"}
"""Names of the built-in wheels as people read them; files, signatures and JSON keep w1 to w5."""

MappedWords = tuple[int, tuple[str, ...]]
"""The categories that words reach, packed, and the normalised words that reach none, in order."""


@dataclass(frozen=True)
class Way:
    """One wheel's way of a word: surface form -> base word -> wheel word -> category; None where the way ends early.

    A word with equal votes for several categories names them all, in the wheel's order, joined by " + ".
    """

    wheel: str
    form: str
    base: str | None
    wheel_word: str | None
    category: str | None


class WheelSet:
    """Five wheels over one vocabulary. Immutable; share it freely.

    `source` names where the tables come from, `protocol` what they were compiled for, `sha256` is the hash of the
    compiled table (names, categories and mapping; not titles or routes), for signatures. `categories_of[k]` are the
    categories of wheel k, and a category's id is its index there.
    """

    def __init__(self, compiled: CompiledWheels) -> None:
        self.source = compiled.source
        self.protocol = compiled.protocol
        self.names = compiled.names
        self.titles = compiled.titles
        self.categories_of = compiled.categories_of
        self._table = dict(compiled.table)
        self._routes = compiled.routes
        self._shifts = shifts(self.categories_of)
        masks = [(1 << len(names)) - 1 << shift for names, shift in zip(self.categories_of, self._shifts, strict=True)]
        self.count = lru_cache(maxsize=NUM_COUNTS_KEPT)(_counter(masks))
        """Packed categories -> the number of them in each wheel."""

    @classmethod
    def load(cls, source: str = "builtin", *, protocol: str = "official", level: int = 1) -> WheelSet:
        """The wheels of that name or folder, compiled for a protocol and kept for the life of the process.

        `level` 2 takes the middle ring of the official wheels; the built-in ones have one level.

        Raises InputError for an unknown source, protocol or level, and for tables that cannot be read.
        """
        if source == "builtin":
            if level != 1:
                raise InputError("the built-in wheels have level 1 only; take the wheels official or mer2026")
            return _of_builtin(protocol_of(protocol))
        validate_level(level)
        return _of_tables(read_source(source), protocol_of(protocol), level)

    @cached_property
    def sha256(self) -> str:
        """Hex digest of the compiled table; the same for the same names, categories and mapping."""
        parts = (self.names, self.categories_of, sorted(self._table.items()))
        return sha256(json.dumps(parts, ensure_ascii=True, separators=(",", ":")).encode()).hexdigest()

    @property
    def short_names(self) -> tuple[str, ...]:
        """What the wheels are called where they are printed: the built-in ones after whom they follow, else `names`."""
        return tuple(BUILTIN_NAMES[name] for name in self.names) if self.source == "builtin" else self.names

    def chosen(self, name: str) -> tuple[int, ...]:
        """The number of a wheel, from 0, by its short name or its name in files, in any case of letters; "all": all.

        Raises InputError that lists the names for another one.
        """
        wanted = name.strip().lower()
        if wanted == "all":
            return tuple(range(NUM_WHEELS))
        for known in (self.short_names, self.names):
            for number, one in enumerate(known):
                if one.lower() == wanted:
                    return (number,)
        raise InputError(f"wheel {name!r} is not known; use one of: {', '.join(self.short_names)}, all")

    @property
    def words(self) -> tuple[str, ...]:
        """Every known surface form, in alphabetical order."""
        return tuple(sorted(self._table))

    def lookup(self, word: str) -> tuple[frozenset[int], ...] | None:
        """The category ids that `word` reaches in each wheel, or None for an unknown word."""
        packed = self._table.get(normalise(word))
        return None if packed is None else self.unpack(packed)

    def reaches(self, word: str) -> bool:
        """Whether a word has a category in any wheel."""
        return bool(self._table.get(normalise(word)))

    def map_words(self, words: Iterable[str]) -> MappedWords:
        """All categories that the words reach, packed, and those of the words that reach none; "" is no word."""
        get = self._table.get
        packed = 0
        unmapped: list[str] = []
        for word in words:
            found = get(word)
            if not found:
                form = normalise(word)
                found = get(form)
                if not found:
                    if form:
                        unmapped.append(form)
                    continue
            packed |= found
        return packed, tuple(unmapped)

    def unpack(self, packed: int) -> tuple[frozenset[int], ...]:
        """Packed categories as a set of category ids per wheel."""
        return tuple(
            frozenset(i for i in range(len(names)) if packed >> shift + i & 1)
            for names, shift in zip(self.categories_of, self._shifts, strict=True)
        )

    def map_set(self, words: Iterable[str]) -> tuple[frozenset[int], ...]:
        """Per wheel the set of category ids that the words reach; unknown and unmapped words add nothing."""
        return self.unpack(self.map_words(words)[0])

    def categories(self, words: Iterable[str]) -> tuple[frozenset[str], ...]:
        """The same as `map_set`, with category names."""
        sets = self.map_set(words)
        return tuple(frozenset(names[i] for i in ids) for names, ids in zip(self.categories_of, sets, strict=True))

    def words_of(self, wheel: int, category: str) -> tuple[str, ...]:
        """V(c): all surface forms that reach `category` in wheel number `wheel` (from 0), in alphabetical order.

        Raises InputError for a wheel or category that does not exist.
        """
        if not 0 <= wheel < NUM_WHEELS:
            raise InputError(f"wheel {wheel} does not exist; use 0 to {NUM_WHEELS - 1}")
        if category not in self.categories_of[wheel]:
            raise InputError(
                f"{self.names[wheel]} has no category {category!r}; use one of: {', '.join(self.categories_of[wheel])}"
            )
        return self._words_of[self._shifts[wheel] + self.categories_of[wheel].index(category)]

    def explain(self, word: str) -> list[Way]:
        """Per wheel the category of `word` and the way there; an empty list for an unknown word."""
        form, ids = normalise(word), self.lookup(word)
        if ids is None:
            return []
        route = self._all_routes.get(form, ((None, None),) * NUM_WHEELS)
        return [
            Way(name, form, base, wheel_word, " + ".join(categories[i] for i in sorted(reached)) or None)
            for name, (base, wheel_word), reached, categories in zip(
                self.names, route, ids, self.categories_of, strict=True
            )
        ]

    @cached_property
    def _all_routes(self) -> Mapping[str, Route]:
        return {} if self._routes is None else self._routes()

    @cached_property
    def _words_of(self) -> list[tuple[str, ...]]:
        """Of each bit the words that have it."""
        lists: list[list[str]] = [[] for names in self.categories_of for _ in names]
        for form in self.words:
            packed = self._table[form]
            for bit, words in enumerate(lists):
                if packed >> bit & 1:
                    words.append(form)
        return [tuple(words) for words in lists]


def load_wheels(wheels: str | PathLike[str] | WheelSet, protocol: str | None = None) -> WheelSet:
    """The wheels of that name or folder for a protocol ("official" by default), or those given.

    Raises InputError as `WheelSet.load` does, and for given wheels of another protocol.
    """
    if isinstance(wheels, str | PathLike):
        return WheelSet.load(fspath(wheels), protocol=protocol or "official")
    if protocol is not None and protocol_of(protocol) != wheels.protocol:
        raise InputError(
            f"the wheels {wheels.source} were compiled for the protocol {wheels.protocol.name}, not {protocol}; load "
            f"them with protocol={protocol!r}"
        )
    return wheels


@cache
def _of_builtin(protocol: Protocol) -> WheelSet:
    return WheelSet(builtin_wheels(protocol))


@lru_cache(maxsize=16)
def _of_tables(source: Source, protocol: Protocol, level: int) -> WheelSet:
    return WheelSet(compiled_tables(source, protocol, level))


def _counter(masks: Sequence[int]) -> Callable[[int], tuple[int, ...]]:
    a, b, c, d, e = masks  # written out, for a loop takes twice as long

    def count(packed: int) -> tuple[int, ...]:
        return (
            (packed & a).bit_count(),
            (packed & b).bit_count(),
            (packed & c).bit_count(),
            (packed & d).bit_count(),
            (packed & e).bit_count(),
        )

    return count
