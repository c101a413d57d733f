"""Confidence on gold and hard negatives: Definitions 1 and 2 by hand, and what is not defined."""

import numpy as np
import pytest
from numpy.typing import NDArray

from mer_r1.metrics.confidence import confidence_margin

NAN, INF = float("nan"), float("inf")


def category_mask(sets: list[set[int]], num_categories: int) -> NDArray[np.bool_]:
    """Sets of category ids -> (N, C)."""
    return np.array([[category in ids for category in range(num_categories)] for ids in sets])


def test_gold_mean_top_three_others_and_their_margin() -> None:
    values = np.array([[-1.0, -2.0, -3.0, -4.0, -9.0, -8.0]])
    found = confidence_margin(values, category_mask([{0, 3}], 6))
    assert found.gold_N.tolist() == [-2.5]
    assert found.negative_N.tolist() == [pytest.approx((-2 - 3 - 8) / 3)]
    assert found.margin_N.tolist() == [pytest.approx(-2.5 + 13 / 3)]


def test_hard_negatives_are_chosen_for_each_mode_apart() -> None:
    gold = category_mask([{0}], 5)
    fast = confidence_margin(np.array([[-1.0, -2.0, -3.0, -4.0, -5.0]]), gold)
    slow = confidence_margin(np.array([[-1.5, -5.0, -4.0, -3.0, -2.0]]), gold)
    assert (fast.gold_N.tolist(), slow.gold_N.tolist()) == ([-1.0], [-1.5])
    assert (fast.negative_N.tolist(), slow.negative_N.tolist()) == ([-3.0], [-3.0])
    assert (fast.margin_N.tolist(), slow.margin_N.tolist()) == ([2.0], [1.5])


def test_fewer_than_three_others_are_all_taken_and_none_is_not_defined() -> None:
    values = np.array([[-1.0, -2.0, -4.0], [-1.0, -2.0, -4.0], [-1.0, -2.0, -4.0]])
    found = confidence_margin(values, category_mask([{0}, {0, 1, 2}, set()], 3))
    np.testing.assert_array_equal(found.gold_N, [-1.0, -7 / 3, NAN])
    np.testing.assert_array_equal(found.negative_N, [-3.0, NAN, -7 / 3])
    np.testing.assert_array_equal(found.margin_N, [2.0, NAN, NAN])


def test_a_category_without_words_is_not_there() -> None:
    found = confidence_margin(np.array([[NAN, -1.0, -2.0, NAN, -6.0]]), category_mask([{0, 1}], 5))
    assert found.gold_N.tolist() == [-1.0]
    assert found.negative_N.tolist() == [-4.0]


def test_no_probability_at_all_is_minus_infinity_and_still_counts() -> None:
    found = confidence_margin(np.array([[-1.0, -INF, -2.0]]), category_mask([{0}], 3))
    assert found.negative_N.tolist() == [-INF]
    assert found.margin_N.tolist() == [INF]
    both = confidence_margin(np.array([[-INF, -INF]]), category_mask([{0}], 2))
    assert np.isnan(both.margin_N).all()


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="differ"):
        confidence_margin(np.zeros((2, 3)), category_mask([set()], 3))
    with pytest.raises(ValueError, match="num_negatives"):
        confidence_margin(np.zeros((1, 3)), category_mask([set()], 3), 0)
