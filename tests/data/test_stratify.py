"""Groups dealt into parts: whole groups, sizes and label shares as wanted, whatever the order of the groups."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mer_r1.data.stratify import CHANGED, Group, stratify


@st.composite
def deals(draw: st.DrawFn) -> tuple[list[Group], list[int]]:
    sizes = draw(st.lists(st.integers(1, 30), min_size=3, max_size=25))
    labels = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 30), max_size=4)
    groups = [
        Group(size, {name: min(num, size) for name, num in draw(labels).items()}, str(index).encode())
        for index, size in enumerate(sizes)
    ]
    total = sum(sizes)
    first = draw(st.integers(1, total - 2))
    second = draw(st.integers(1, total - first - 1))
    return groups, [first, second, total - first - second]


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(deal=deals(), order=st.randoms(use_true_random=False))
def test_no_part_is_empty_and_the_order_of_the_groups_changes_nothing(
    deal: tuple[list[Group], list[int]], order: random.Random
) -> None:
    groups, targets = deal
    parts = stratify(groups, targets)
    assert set(parts) == {0, 1, 2}
    mixed = order.sample(range(len(groups)), len(groups))
    assert stratify([groups[index] for index in mixed], targets) == [parts[index] for index in mixed]


@pytest.mark.parametrize("num", [60, CHANGED + 60])
def test_single_rows_fill_every_part_to_the_row_and_label_shares_to_one_row(num: int) -> None:
    names = random.Random(0).choices("abcd", (8, 4, 2, 1), k=num)
    targets = [num * 4 // 6, num // 6, num - num * 4 // 6 - num // 6]
    parts = stratify([Group(1, {name: 1}, str(index).encode()) for index, name in enumerate(names)], targets)
    assert [parts.count(part) for part in range(3)] == targets
    total = Counter(names)
    for part, target in enumerate(targets):
        here = Counter(name for name, at in zip(names, parts, strict=True) if at == part)
        assert all(abs(here[name] - total[name] * target / num) <= 1 for name in total)


@pytest.mark.parametrize("num", [40, 80, CHANGED + 60])
def test_single_rows_fill_every_part_to_the_row_though_labels_are_many_and_rare(num: int) -> None:
    chance = random.Random(1)
    rows = [{str(chance.randrange(num)): 1, str(chance.randrange(num)): 1} for _ in range(num)]
    groups = [Group(1, row, str(index).encode()) for index, row in enumerate(rows)]
    targets = [num // 2, num // 4, num // 4]
    parts = stratify(groups, targets)
    assert [parts.count(part) for part in range(3)] == targets


def test_speakers_of_every_size_come_within_a_hundredth_of_the_sizes_wanted() -> None:
    sizes = [random.Random(1).randint(5, 60) for _ in range(40)]
    total = sum(sizes)
    targets = [total - 2 * (total // 10), total // 10, total // 10]
    parts = stratify([Group(size, {}, str(index).encode()) for index, size in enumerate(sizes)], targets)
    for part, target in enumerate(targets):
        assert abs(sum(size for size, at in zip(sizes, parts, strict=True) if at == part) - target) <= 0.01 * total


def test_speakers_change_places_until_the_labels_fit() -> None:
    # Four speakers show joy alone and four sadness alone: only two of each give every part its half.
    groups = [Group(10, {"joy" if index < 4 else "sadness": 10}, b"%d" % index) for index in range(8)]
    parts = stratify(groups, [40, 40])
    assert [sum(parts[:4]), sum(parts[4:])] == [2, 2]
