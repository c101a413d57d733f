"""Set measures: worked by hand, and the rules that the official code keeps."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_r1.emotion.protocol import CORRECTED
from mer_r1.metrics.open_vocabulary import (
    SetStatistics,
    bootstrap_measures,
    measures,
    set_statistics,
    stack,
    terms,
    wheel_scores,
)
from tests.small_wheels import SMALL, WORDS, small_wheels

SETS = st.lists(st.frozensets(st.integers(0, 5), max_size=4), min_size=5, max_size=5)
CORPUS = st.lists(st.tuples(SETS, SETS), min_size=1, max_size=8)


def counts_of(gold: list[frozenset[int]], predicted: list[frozenset[int]]) -> SetStatistics:
    """The counts of two sides given as sets of category ids."""
    overlap = tuple(len(g & p) for g, p in zip(gold, predicted, strict=True))
    return SetStatistics(overlap, tuple(map(len, gold)), tuple(map(len, predicted)))


def test_counts_are_of_categories_not_of_words() -> None:
    assert set_statistics(["happy", "sad"], ["glad", "happy", "angry", "qwerty"], SMALL) == SetStatistics(
        overlap=(1, 1, 1, 1, 1), num_gold=(2, 2, 2, 2, 1), num_predicted=(2, 2, 2, 2, 2)
    )


def test_f1_is_taken_of_the_corpus_means() -> None:
    counts = [
        set_statistics(["happy"], ["happy", "angry"], SMALL),  # P 1/2, R 1
        set_statistics(["happy", "angry"], ["happy"], SMALL),  # P 1, R 1/2
        set_statistics(["angry"], [], SMALL),  # P 0, R 0
    ]
    score = wheel_scores(stack(counts))
    assert [wheel.n for wheel in score.wheels] == [3] * 5
    assert (score.precision, score.recall, score.f1, score.hit) == pytest.approx((1 / 2, 1 / 2, 1 / 2, 2 / 3))
    mean_of_samples = (2 / 3 + 2 / 3 + 0) / 3
    assert score.f1 != pytest.approx(mean_of_samples)


def test_a_sample_leaves_only_the_wheels_where_its_gold_is_empty() -> None:
    score = wheel_scores(stack([set_statistics(["sad"], ["sad"], SMALL), set_statistics(["happy"], ["sad"], SMALL)]))
    assert [wheel.n for wheel in score.wheels] == [2, 2, 2, 2, 1]
    assert [wheel.recall for wheel in score.wheels] == [0.5, 0.5, 0.5, 0.5, 0.0]


def test_hit_counts_categories_and_may_exceed_one() -> None:
    score = wheel_scores(stack([set_statistics(["happy", "angry"], ["happy", "angry"], SMALL)]))
    assert score.hit == 2.0
    assert score.recall == 1.0


def test_nothing_right_is_zero_but_its_f1_is_not_defined() -> None:
    score = wheel_scores(stack([set_statistics(["happy"], ["angry"], SMALL)]))
    assert (score.precision, score.recall, score.hit) == (0.0, 0.0, 0.0)
    assert math.isnan(score.f1)
    assert bootstrap_measures(terms(stack([set_statistics(["happy"], ["angry"], SMALL)])).reshape(1, -1))[0, 2] == 0.0


def test_one_wheel_without_gold_makes_the_mean_undefined_and_an_empty_corpus_all() -> None:
    score = wheel_scores(stack([set_statistics(["sad"], ["sad"], SMALL)]))
    assert score.wheels[0].f1 == 1.0
    assert math.isnan(score.f1)
    assert score.wheels[4].n == 0
    empty = wheel_scores(stack([]))
    assert [wheel.n for wheel in empty.wheels] == [0] * 5
    assert math.isnan(empty.precision)


def test_an_unknown_word_is_dropped_or_a_category_of_its_own_by_the_protocol() -> None:
    gold, said = ["happy", "lost", "blue-ish"], ["happy", "BLUE-ISH ", "blue-ish", "qwerty"]
    assert set_statistics(gold, said, SMALL) == SetStatistics((1,) * 5, (1,) * 5, (1,) * 5)
    counted = set_statistics(gold, said, small_wheels(CORRECTED))
    assert counted == SetStatistics(overlap=(2,) * 5, num_gold=(3,) * 5, num_predicted=(3,) * 5)
    assert set_statistics(["happy"], ["happy"], small_wheels(CORRECTED)) == SetStatistics((1,) * 5, (1,) * 5, (1,) * 5)


@given(CORPUS)
def test_arrays_agree_with_the_definition_written_as_loops(corpus: list[tuple[list[frozenset[int]], ...]]) -> None:
    score = wheel_scores(stack([counts_of(gold, predicted) for gold, predicted in corpus]))
    for k, wheel in enumerate(score.wheels):
        pairs = [(gold[k], predicted[k]) for gold, predicted in corpus if gold[k]]
        assert wheel.n == len(pairs)
        if not pairs:
            assert math.isnan(wheel.precision)
            continue
        precision = sum(len(g & p) / len(p) if p else 0.0 for g, p in pairs) / len(pairs)
        recall = sum(len(g & p) / len(g) for g, p in pairs) / len(pairs)
        assert wheel.precision == pytest.approx(precision, abs=1e-12)
        assert wheel.recall == pytest.approx(recall, abs=1e-12)
        assert wheel.hit == pytest.approx(sum(len(g & p) for g, p in pairs) / len(pairs), abs=1e-12)
        if precision + recall:
            assert wheel.f1 == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-12)


@given(CORPUS, st.permutations(range(6)))
def test_names_of_categories_and_order_of_samples_do_not_matter(
    corpus: list[tuple[list[frozenset[int]], ...]], renamed: list[int]
) -> None:
    def rename(sets: list[frozenset[int]]) -> list[frozenset[int]]:
        return [frozenset(renamed[i] for i in ids) for ids in sets]

    first = terms(stack([counts_of(g, p) for g, p in corpus])).sum(axis=0)
    second = terms(stack([counts_of(rename(g), rename(p)) for g, p in reversed(corpus)])).sum(axis=0)
    np.testing.assert_allclose(measures(first[None]), measures(second[None]), rtol=1e-12)


@given(st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=4), min_size=1, max_size=6))
def test_the_gold_answers_score_one_in_every_wheel_that_counts(golds: list[list[str]]) -> None:
    score = wheel_scores(stack([set_statistics(gold, gold, SMALL) for gold in golds]))
    for wheel in score.wheels:
        if wheel.n:
            assert (wheel.precision, wheel.recall, wheel.f1) == (1.0, 1.0, 1.0)
