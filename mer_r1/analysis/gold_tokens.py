"""How often the gold words of a corpus open with an id that another category shares.

A list of words counts a word that nobody names as much as the commonest one. Whether shared ids matter to a corpus is
seen by its own words: here every occurrence of a gold word counts once. Which ids are shared follows from all words of
a wheel, as in analysis/wheel_tokens.py, for that is what confidence is read by.

Convention: a field of labels is read as the scorer reads it; a word opens with its first id, as it stands or after a
space; a word without a category in a wheel is left out of that wheel, and one that no wheel knows is in `unknown`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from mer_r1.data.gold import Gold
from mer_r1.data.labels import read_labels
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError


@dataclass(frozen=True)
class GoldCount:
    """Gold words of one category or of a whole wheel, and how often they occur.

    `num_single` of the different words are one token, both as they stand and after a space. Of the occurrences
    `num_touched` open with a shared id in one of the two ways, `num_lost` in both.
    """

    name: str
    num_words: int
    num_single: int
    num_times: int
    num_touched: int
    num_lost: int


@dataclass(frozen=True)
class GoldOfWheel:
    """One wheel: its total, its categories, and how often each touched word occurs, the most frequent first."""

    total: GoldCount
    categories: tuple[GoldCount, ...]
    touched: dict[str, int]


@dataclass(frozen=True)
class GoldTokens:
    """The gold words of `num_rows` rows: all occurrences, those of words that no wheel knows, and the wheels.

    Of `num_malformed` rows the labels could not be read, or not all of them.
    """

    num_rows: int
    num_malformed: int
    num_times: int
    unknown: dict[str, int]
    by_wheel: tuple[GoldOfWheel, ...]


def gold_report(tokenizer: Any, wheels: WheelSet, gold: Gold) -> GoldTokens:
    """The gold words of a corpus by wheel and category. Raises InputError where no wheel knows any of them."""
    from mer_r1.models.category_confidence import category_ids, opening_ids, shared_ids

    text_ids = partial(tokenizer.encode, add_special_tokens=False)
    fields = [read_labels(labels, wheels.protocol.parser) for labels in gold.labels.values()]
    times = Counter(word for words, _ in fields for word in words if word)
    known = {word: num for word, num in times.most_common() if wheels.reaches(word)}
    if not known:
        raise InputError("no gold word that a wheel knows; give a manifest with emotion words as labels")
    ids_of = {word: (text_ids(word), text_ids(f" {word}")) for word in known}
    shared_of = [shared_ids(ids) for ids in category_ids(opening_ids(tokenizer, wheels), wheels)]
    return GoldTokens(
        num_rows=len(gold.labels),
        num_malformed=sum(error is not None for _, error in fields),
        num_times=times.total(),
        unknown={word: num for word, num in times.most_common() if word not in known},
        by_wheel=tuple(_of_wheel(wheel, shared, known, ids_of, wheels) for wheel, shared in enumerate(shared_of)),
    )


def _of_wheel(
    wheel: int,
    shared: frozenset[int],
    times: Mapping[str, int],
    ids_of: Mapping[str, tuple[list[int], list[int]]],
    wheels: WheelSet,
) -> GoldOfWheel:
    reached = {word: (wheels.lookup(word) or [frozenset()] * len(wheels.names))[wheel] for word in times}
    num_shared = {word: sum(ids[0] in shared for ids in ids_of[word]) for word in times}

    def count(name: str, words: list[str]) -> GoldCount:
        return GoldCount(
            name,
            num_words=len(words),
            num_single=sum(all(len(ids) == 1 for ids in ids_of[word]) for word in words),
            num_times=sum(times[word] for word in words),
            num_touched=sum(times[word] for word in words if num_shared[word]),
            num_lost=sum(times[word] for word in words if num_shared[word] == 2),
        )

    here = [word for word in times if reached[word]]
    return GoldOfWheel(
        total=count(wheels.names[wheel], here),
        categories=tuple(
            count(name, [word for word in here if index in reached[word]])
            for index, name in enumerate(wheels.categories_of[wheel])
        ),
        touched={word: times[word] for word in here if num_shared[word]},
    )
