"""Compiled wheels: one table, surface form -> the categories it reaches in w1, ..., w5, packed into one integer.

A category is one bit; wheel 0 has the lowest bits. builtin.py and official.py compile their tables to this, wheel.py
looks words up in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mer_r1.emotion.protocol import OFFICIAL, Protocol
from mer_r1.errors import InputError

NUM_WHEELS = 5
NEUTRAL = "neutral"

Route = tuple[tuple[str | None, str | None], ...]
"""Per wheel the base word and the wheel word through which a surface form reaches its category."""


@dataclass(frozen=True)
class CompiledWheels:
    """Five wheels compiled for a protocol. `table`: normalised surface form -> its categories as `pack` packs them.

    `source` names the tables. `routes` returns the route of every form; it is called on the first `explain`.

    Raises InputError when the parts do not agree on the number of wheels, or a packed value has a bit of no category.
    """

    source: str
    names: tuple[str, ...]
    titles: tuple[str, ...]
    categories_of: tuple[tuple[str, ...], ...]
    table: Mapping[str, int]
    protocol: Protocol = OFFICIAL
    routes: Callable[[], Mapping[str, Route]] | None = None

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.titles) == len(self.categories_of) == NUM_WHEELS:
            raise InputError(
                f"{self.source}: a wheel set has {NUM_WHEELS} wheels; give a name, title and categories for each"
            )
        num_bits = sum(len(categories) for categories in self.categories_of)
        for packed in set(self.table.values()):
            if not 0 <= packed < 1 << num_bits:
                raise InputError(
                    f"{self.source}: {packed} does not pack categories of wheels with {num_bits} categories"
                )


def pack(ids: Iterable[Iterable[int]], categories_of: Sequence[Sequence[str]]) -> int:
    """Category ids per wheel as one integer, wheel 0 in the lowest bits. Raises ValueError for an id outside its wheel.

    >>> bin(pack([{0}, {1, 2}], [("joy", "anger"), ("joy", "anger", "fear")]))
    '0b11001'
    """
    packed = 0
    for reached, names, shift in zip(ids, categories_of, shifts(categories_of), strict=True):
        for i in reached:
            if not 0 <= i < len(names):
                raise ValueError(f"category id {i} in a wheel of {len(names)} categories; count from 0")
            packed |= 1 << shift + i
    return packed


def shifts(categories_of: Sequence[Sequence[str]]) -> tuple[int, ...]:
    """The bit at which each wheel begins."""
    return tuple(sum(len(names) for names in categories_of[:wheel]) for wheel in range(len(categories_of)))
