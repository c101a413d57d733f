"""Emotion wheels: five ways to sort an emotion word into a level-1 category, compiled into one table.

    surface form -> (category id in w1, ..., category id in w5), -1 where a wheel has no home for the word

`WheelSet` is made from such a table, wherever it comes from; `WheelSet.load("builtin")` compiles the project's own
wheels from `data/wheels.txt` and `data/words.txt`. Category ids count within one wheel. Each built-in wheel has the
category "neutral" last; `load("builtin", neutral=False)` leaves it out, and its words then reach no category.

Convention: words are looked up lower-cased and stripped, exactly; an unknown word adds nothing to a set; a set is per
wheel, so synonyms collapse. This is G(.) of the MER-R1 paper (Section 3) and the mapping of set-based F1.
Source: docs/wheels.md names the published taxonomy of each wheel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from mer_r1.emotion.words import normalise, read_words
from mer_r1.errors import InputError

NUM_WHEELS = 5
UNMAPPED = -1
NEUTRAL = "neutral"
SOURCES = ("builtin",)

Route = tuple[tuple[str, str | None], ...]
"""Per wheel the base word and the wheel word through which a surface form reaches its category."""


@dataclass(frozen=True)
class Way:
    """One wheel's way of a word: surface form -> base word -> wheel word -> category; None where the way ends early."""

    wheel: str
    form: str
    base: str | None
    wheel_word: str | None
    category: str | None


class WheelSet:
    """Five wheels over one vocabulary. Immutable; share it freely.

    `source` names where the tables come from, `sha256` is the hash of the compiled table (names, categories and
    mapping; not titles or routes), for signatures. `categories_of[k]` are the level-1 categories of wheel k, and a
    category's id is its place there.
    """

    def __init__(
        self,
        source: str,
        names: tuple[str, ...],
        titles: tuple[str, ...],
        categories_of: tuple[tuple[str, ...], ...],
        table: Mapping[str, tuple[int, ...]],
        routes: Mapping[str, Route] | None = None,
    ) -> None:
        """Take a compiled table: normalised surface form -> five category ids, -1 where unmapped.

        Raises InputError when the parts do not agree on the number of wheels or an id is not one of its wheel's.
        """
        if not len(names) == len(titles) == len(categories_of) == NUM_WHEELS:
            raise InputError(
                f"{source}: a wheel set has {NUM_WHEELS} wheels; give a name, title and categories for each"
            )
        sizes = [len(categories) for categories in categories_of]
        for ids in set(table.values()):
            if len(ids) != NUM_WHEELS or not all(UNMAPPED <= i < n for i, n in zip(ids, sizes, strict=True)):
                raise InputError(f"{source}: {ids} are not category ids of wheels with {sizes} categories")
        self.source = source
        self.names = names
        self.titles = titles
        self.categories_of = categories_of
        self._table = dict(table)
        self._routes = routes or {}

    @classmethod
    def load(cls, source: str = "builtin", *, neutral: bool = True) -> WheelSet:
        """The wheels of that name, compiled once a process. `neutral=False` leaves the category "neutral" out.

        Raises InputError for a name that is not one of SOURCES.
        """
        if source not in SOURCES:
            raise InputError(f"wheels {source!r} are not known; use one of: {', '.join(SOURCES)}")
        return _builtin(neutral)

    @cached_property
    def sha256(self) -> str:
        """Hex digest of the compiled table; the same for the same names, categories and mapping."""
        import json  # here, for they would be a third of the start-up time of a program that prints no signature
        from hashlib import sha256

        parts = (self.names, self.categories_of, sorted(self._table.items()))
        return sha256(json.dumps(parts, ensure_ascii=True, separators=(",", ":")).encode()).hexdigest()

    @property
    def words(self) -> tuple[str, ...]:
        """Every known surface form, in alphabetical order."""
        return tuple(sorted(self._table))

    def lookup(self, word: str) -> tuple[int, ...] | None:
        """The category id of `word` in each wheel (-1: no home there), or None for an unknown word."""
        return self._table.get(word) or self._table.get(normalise(word))

    def map_set(self, words: Iterable[str]) -> tuple[frozenset[int], ...]:
        """Per wheel the set of category ids that the words reach; unknown and unmapped words add nothing."""
        get = self._table.get
        hits = [ids for word in words if (ids := get(word) or get(normalise(word)))]
        if not hits:
            return (frozenset(),) * NUM_WHEELS
        return tuple([frozenset(column) - _NOWHERE for column in zip(*hits, strict=True)])

    def categories(self, words: Iterable[str]) -> tuple[frozenset[str], ...]:
        """The same as `map_set`, with category names."""
        sets = self.map_set(words)
        return tuple(frozenset(names[i] for i in ids) for names, ids in zip(self.categories_of, sets, strict=True))

    def words_of(self, wheel: int, category: str) -> tuple[str, ...]:
        """V(c): all surface forms that map to `category` in wheel number `wheel` (from 0), in alphabetical order.

        Raises InputError for a wheel or category that does not exist.
        """
        if not 0 <= wheel < NUM_WHEELS:
            raise InputError(f"wheel {wheel} does not exist; use 0 to {NUM_WHEELS - 1}")
        if category not in self.categories_of[wheel]:
            raise InputError(
                f"{self.names[wheel]} has no category {category!r}; use one of: {', '.join(self.categories_of[wheel])}"
            )
        return self._words_of[wheel][self.categories_of[wheel].index(category)]

    def explain(self, word: str) -> list[Way]:
        """Per wheel the category of `word` and the way there; an empty list for an unknown word."""
        form, ids = normalise(word), self.lookup(word)
        if ids is None:
            return []
        route = self._routes.get(form, ((None, None),) * NUM_WHEELS)
        return [
            Way(name, form, base, wheel_word, None if i == UNMAPPED else categories[i])
            for name, (base, wheel_word), i, categories in zip(self.names, route, ids, self.categories_of, strict=True)
        ]

    @cached_property
    def _words_of(self) -> list[list[tuple[str, ...]]]:
        lists: list[list[list[str]]] = [[[] for _ in categories] for categories in self.categories_of]
        for form in self.words:
            for wheel, i in enumerate(self._table[form]):
                if i != UNMAPPED:
                    lists[wheel][i].append(form)
        return [[tuple(forms) for forms in wheel] for wheel in lists]


_NOWHERE = frozenset((UNMAPPED,))
_DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class WheelHead:
    """One section of wheels.txt: a wheel's name, title, source, and its categories with their wheel words."""

    name: str
    title: str
    source: str
    wheel_words: dict[str, tuple[str, ...]]

    @property
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
            raise InputError(f"{name}:{number}: {', '.join(sorted(twice))} stands twice in {names[-1][0]}; keep one")
        wheel_words[-1][category] = words
    heads = zip(names, wheel_words, strict=True)
    return tuple(WheelHead(*head, {**categories, NEUTRAL: (NEUTRAL,)}) for head, categories in heads)


@cache
def _builtin(neutral: bool) -> WheelSet:
    heads = builtin_heads()
    places = [head.category_of for head in heads]
    categories_of = tuple(tuple(c for c in head.wheel_words if neutral or c != NEUTRAL) for head in heads)
    ids_of = [
        {word: names.index(category) if category in names else UNMAPPED for word, category in place.items()}
        for place, names in zip(places, categories_of, strict=True)
    ]
    table: dict[str, tuple[int, ...]] = {}
    routes: dict[str, Route] = {}
    for word in read_words((_DATA / "words.txt").read_text(encoding="utf-8"), "words.txt", NUM_WHEELS):
        for head, place, wheel_word in zip(heads, places, word.wheel_words, strict=True):
            if wheel_word is not None and wheel_word not in place:
                raise InputError(f"words.txt:{word.line}: {wheel_word!r} is not a word of {head.name}; see wheels.txt")
        cells = zip(ids_of, word.wheel_words, strict=True)
        ids = tuple(UNMAPPED if w is None else wheel_ids[w] for wheel_ids, w in cells)
        table.update(dict.fromkeys(word.forms, ids))
        routes.update(dict.fromkeys(word.forms, tuple((word.base, w) for w in word.wheel_words)))
    return WheelSet(
        source="builtin",
        names=tuple(head.name for head in heads),
        titles=tuple(head.title for head in heads),
        categories_of=categories_of,
        table=table,
        routes=routes,
    )
