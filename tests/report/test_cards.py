"""Headline cards: a system's fast and slow numbers together, the mean over several sets, the best constant answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mer_r1.data.sample import Sample
from mer_r1.report.cards import headline_cards
from mer_r1.report.measured import measure
from mer_r1.report.sets import page_sets, shown_systems
from mer_r1.report.tables import set_table, sets_matrix
from tests.report.runs import systems_of
from tests.small_wheels import SMALL

GOLD = [Sample(str(n), subtitle="x", labels=("happy", "sad")) for n in range(8)]
ANSWERS = {str(n): ("happy sad", "angry") for n in range(8)}


def cards_of(
    num_sets: int, **answers: Mapping[str, tuple[str | None, str | None]]
) -> list[tuple[str, str, list[tuple[str, float | None]]]]:
    own = [
        replace(item, sets=tuple(replace(item.sets[0], name=f"s{n}", title=f"s{n}") for n in range(num_sets)))
        for item in systems_of(GOLD, **answers)
    ]
    systems = shown_systems(own)
    sets = page_sets(systems)
    found = measure(systems, sets, SMALL)
    tables = [set_table(item, [m for m in found if m.page_set is item], SMALL) for item in sets]
    cards = headline_cards(tables, sets_matrix(systems, sets, found))
    return [(card.title, card.what, [(item.heading, item.value) for item in card.numbers]) for card in cards]


def test_a_card_has_both_modes_also_where_one_is_not_defined_and_the_last_card_the_best_constant_answer() -> None:
    assert cards_of(1, one=ANSWERS) == [
        ("one", "F1, percent", [("fast", 1.0), ("slow", None)]),
        ("Best constant answer", "F1, percent", [("happy, sad", 1.0)]),
    ]


def test_on_several_sets_a_card_is_of_their_mean() -> None:
    assert cards_of(2, one=ANSWERS) == [("one", "mean of 2 sets, percent", [("fast", 1.0), ("slow", None)])]


def test_a_mode_that_was_not_asked_has_no_number() -> None:
    asked = {identity: (fast, None) for identity, (fast, _) in ANSWERS.items()}
    assert cards_of(1, one=asked)[0] == ("one", "F1, percent", [("fast", 1.0)])
