"""How often the words of a corpus open with an id that another category shares.

A list of words counts a word that nobody names as much as the commonest one. Whether shared ids matter to a corpus is
seen by its own words: here every occurrence of a gold word counts once. Which ids are shared follows from all words of
a wheel, as in analysis/wheel_tokens.py, for that is what confidence is read by.

Convention: a field of labels is read as the scorer reads it, and written as `<answer>first, second</answer>`: its first
word opens as it stands, the others after a space. A word without a category in a wheel is left out of that wheel, and
one that no wheel knows is in `unknown`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from mer_r1.data.gold import Gold
from mer_r1.data.labels import read_labels
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.prompting.response import RESPONSE_FORMATS


@dataclass(frozen=True)
class GoldCount:
    """Gold words of one category or of a whole wheel, and how often they occur.

    `num_single` of the different words are one token, both as they stand and after a space. Of the `num_times`
    occurrences `num_first` stand first in their row; `num_first_shared` of these and `num_later_shared` of the others
    open with a shared id there. `num_lost` occurrences would in either place.
    """

    name: str
    num_words: int
    num_single: int
    num_times: int
    num_first: int
    num_first_shared: int
    num_later_shared: int
    num_lost: int


@dataclass(frozen=True)
class GoldOpener:
    """A shared id, its text, and the words that open with it where they are written, with their occurrences."""

    id: int
    text: str
    words: dict[str, int]


@dataclass(frozen=True)
class GoldOfWheel:
    """One wheel: its total, its categories, and the shared ids that open occurrences, the busiest first."""

    total: GoldCount
    categories: tuple[GoldCount, ...]
    shared: tuple[GoldOpener, ...]


@dataclass(frozen=True)
class GoldTokens:
    """The gold words of `num_rows` rows: all occurrences, those of words that no wheel knows, and the wheels.

    Of `num_malformed` rows the labels could not be read, or not all of them. `num_answers` rows hold a word; of these
    `glued` has the first words that share their first token with `<answer>` where the text is cut in one piece.
    """

    num_rows: int
    num_malformed: int
    num_answers: int
    num_times: int
    unknown: dict[str, int]
    glued: dict[str, int]
    by_wheel: tuple[GoldOfWheel, ...]


class _Word(NamedTuple):
    """How often a word stands first and later, its ids as it stands and after a space."""

    num_first: int
    num_later: int
    ids: list[int]
    spaced_ids: list[int]


def gold_report(tokenizer: Any, wheels: WheelSet, gold: Gold) -> GoldTokens:
    """The gold words of a corpus by wheel and category. Raises InputError where no wheel knows any of them."""
    from mer_r1.models.category_confidence import category_ids, opening_ids, shared_ids

    text_ids = partial(tokenizer.encode, add_special_tokens=False)
    fields = [read_labels(labels, wheels.protocol.parser) for labels in gold.labels.values()]
    answers = [[word for word in words if word] for words, _ in fields]
    times, firsts = (
        Counter(word for words in answers for word in words),
        Counter(words[0] for words in answers if words),
    )
    known = {
        word: _Word(firsts[word], num - firsts[word], text_ids(word), text_ids(f" {word}"))
        for word, num in times.most_common()
        if wheels.reaches(word)
    }
    if not known:
        raise InputError("no gold word that a wheel knows; give a manifest with emotion words as labels")
    opens = RESPONSE_FORMATS["think_answer"].opens
    cut_apart = text_ids(opens)
    shared_of = [shared_ids(ids) for ids in category_ids(opening_ids(tokenizer, wheels), wheels)]
    return GoldTokens(
        num_rows=len(gold.labels),
        num_malformed=sum(error is not None for _, error in fields),
        num_answers=firsts.total(),
        num_times=times.total(),
        unknown={word: num for word, num in times.most_common() if word not in known},
        glued={
            word: num
            for word, num in firsts.most_common()
            if text_ids(f"{opens}{word}") != [*cut_apart, *text_ids(word)]
        },
        by_wheel=tuple(_of_wheel(wheel, shared, known, tokenizer, wheels) for wheel, shared in enumerate(shared_of)),
    )


def _of_wheel(
    wheel: int, shared: frozenset[int], known: Mapping[str, _Word], tokenizer: Any, wheels: WheelSet
) -> GoldOfWheel:
    reached = {word: (wheels.lookup(word) or [frozenset()] * len(wheels.names))[wheel] for word in known}

    def count(name: str, words: list[str]) -> GoldCount:
        found = [known[word] for word in words]
        return GoldCount(
            name,
            num_words=len(found),
            num_single=sum(len(one.ids) == len(one.spaced_ids) == 1 for one in found),
            num_times=sum(one.num_first + one.num_later for one in found),
            num_first=sum(one.num_first for one in found),
            num_first_shared=sum(one.num_first for one in found if one.ids[0] in shared),
            num_later_shared=sum(one.num_later for one in found if one.spaced_ids[0] in shared),
            num_lost=sum(one.num_first + one.num_later for one in found if {one.ids[0], one.spaced_ids[0]} <= shared),
        )

    here = [word for word in known if reached[word]]
    openers: dict[int, Counter[str]] = {}
    for word in here:
        one = known[word]
        for ident, num in ((one.ids[0], one.num_first), (one.spaced_ids[0], one.num_later)):
            if ident in shared and num:
                openers.setdefault(ident, Counter())[word] += num
    busiest = sorted(openers.items(), key=lambda item: (-item[1].total(), item[0]))
    return GoldOfWheel(
        total=count(wheels.names[wheel], here),
        categories=tuple(
            count(name, [word for word in here if index in reached[word]])
            for index, name in enumerate(wheels.categories_of[wheel])
        ),
        shared=tuple(GoldOpener(ident, tokenizer.decode([ident]), dict(of.most_common())) for ident, of in busiest),
    )
