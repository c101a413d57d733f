"""The headline: a card a system with its fast and its slow number side by side, and one of the best constant answer.

On one set the number is its headline measure with its interval, on several the plain mean over all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mer_r1.data.sample import MODES
from mer_r1.evaluation.records import Bounds
from mer_r1.report.score_plots import NAMES
from mer_r1.report.sets import ShownSystem
from mer_r1.report.tables import Matrix, SetTable


@dataclass(frozen=True)
class CardNumber:
    """A fraction (None: not defined) under its heading: a mode, or the words of a constant answer."""

    heading: str
    value: float | None
    bounds: Bounds


@dataclass(frozen=True)
class Card:
    """Whose numbers (None: of the same words always), what they are, and the numbers."""

    title: str
    system: ShownSystem | None
    what: str
    numbers: tuple[CardNumber, ...]


def headline_cards(tables: Sequence[SetTable], matrix: Matrix | None) -> tuple[Card, ...]:
    """The cards, systems in order; without any number there is none."""
    found = _of_matrix(matrix) if matrix else _of_table(tables[0]) if tables else ()
    return tuple(card for card in found if any(item.value is not None for item in card.numbers))


def _of_table(table: SetTable) -> Iterator[Card]:
    what = f"{NAMES[table.headline]}, percent"
    for system in {row.system.index: row.system for row in table.rows}.values():
        scores = {row.mode: row.score for row in table.rows if row.system is system}
        numbers = (
            CardNumber(mode, scores[mode].value(table.headline), scores[mode].bounds(table.headline))
            for mode in MODES
            if mode in scores
        )
        yield Card(system.title, system, what, tuple(numbers))
    if table.constant is not None:
        value = getattr(table.constant, table.headline)
        yield Card("Best constant answer", None, what, (CardNumber(", ".join(table.constant.words), value, None),))


def _of_matrix(matrix: Matrix) -> Iterator[Card]:
    what = f"mean of {len(matrix.sets)} sets, percent"
    for system in {row.system.index: row.system for row in matrix.rows}.values():
        numbers = (CardNumber(row.mode, row.mean, None) for row in matrix.rows if row.system is system)
        yield Card(system.title, system, what, tuple(numbers))
