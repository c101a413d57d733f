"""Confidence on gold and hard negatives: Definitions 1 and 2 by hand, and what is not defined."""

import numpy as np
import pytest

from mer_r1.metrics.confidence import (
    Retained,
    category_mask,
    confidence,
    confidence_means,
    fast_minus_slow,
    retained_hits,
)

NAN, INF = float("nan"), float("inf")


def test_gold_mean_top_three_others_and_their_margin() -> None:
    values = np.array([[-1.0, -2.0, -3.0, -4.0, -9.0, -8.0]])
    found = confidence(values, category_mask([{0, 3}], 6))
    assert found.gold_N.tolist() == [-2.5]
    assert found.negative_N.tolist() == [pytest.approx((-2 - 3 - 8) / 3)]
    assert found.margin_N.tolist() == [pytest.approx(-2.5 + 13 / 3)]


def test_hard_negatives_are_chosen_for_each_mode_apart() -> None:
    gold = category_mask([{0}], 5)
    fast = confidence(np.array([[-1.0, -2.0, -3.0, -4.0, -5.0]]), gold)
    slow = confidence(np.array([[-1.5, -5.0, -4.0, -3.0, -2.0]]), gold)
    delta = fast_minus_slow(fast, slow)
    assert delta.gold_N.tolist() == [0.5]
    assert delta.negative_N.tolist() == [0.0]
    assert delta.margin_N.tolist() == [0.5]


def test_fewer_than_three_others_are_all_taken_and_none_is_not_defined() -> None:
    values = np.array([[-1.0, -2.0, -4.0], [-1.0, -2.0, -4.0], [-1.0, -2.0, -4.0]])
    found = confidence(values, category_mask([{0}, {0, 1, 2}, set()], 3))
    np.testing.assert_array_equal(found.gold_N, [-1.0, -7 / 3, NAN])
    np.testing.assert_array_equal(found.negative_N, [-3.0, NAN, -7 / 3])
    np.testing.assert_array_equal(found.margin_N, [2.0, NAN, NAN])


def test_a_category_without_words_is_not_there() -> None:
    found = confidence(np.array([[NAN, -1.0, -2.0, NAN, -6.0]]), category_mask([{0, 1}], 5))
    assert found.gold_N.tolist() == [-1.0]
    assert found.negative_N.tolist() == [-4.0]


def test_no_probability_at_all_is_minus_infinity_and_still_counts() -> None:
    found = confidence(np.array([[-1.0, -INF, -2.0]]), category_mask([{0}], 3))
    assert found.negative_N.tolist() == [-INF]
    assert found.margin_N.tolist() == [INF]
    both = confidence(np.array([[-INF, -INF]]), category_mask([{0}], 2))
    assert np.isnan(both.margin_N).all()


def test_means_leave_out_what_is_not_defined_and_say_how_many_count() -> None:
    found = confidence(np.array([[-1.0, -2.0], [-3.0, -5.0], [-1.0, -1.0]]), category_mask([{0}, {0}, set()], 2))
    means = confidence_means(found)
    assert (means.gold, means.margin) == (-2.0, 1.5)
    assert means.negative == pytest.approx(-8 / 3)
    assert (means.num_gold, means.num_margin) == (2, 2)
    nothing = confidence_means(confidence(np.zeros((0, 2)), category_mask([], 2)))
    assert np.isnan([nothing.gold, nothing.negative, nothing.margin]).all()


def test_the_retained_rate_is_pooled_over_samples() -> None:
    gold = category_mask([{0, 1}, {2}, {0}], 3)
    fast = category_mask([{0, 1, 2}, {2}, {1}], 3)
    slow = category_mask([{0, 2}, {2}, {0}], 3)
    assert retained_hits(gold, fast, slow) == Retained(3, 2, 2 / 3)
    nothing = retained_hits(gold, category_mask([set()] * 3, 3), slow)
    assert (nothing.num_fast_hits, nothing.num_kept) == (0, 0)
    assert np.isnan(nothing.rate)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="category id 3"):
        category_mask([{3}], 3)
    with pytest.raises(ValueError, match="differ"):
        confidence(np.zeros((2, 3)), category_mask([set()], 3))
    with pytest.raises(ValueError, match="num_negatives"):
        confidence(np.zeros((1, 3)), category_mask([set()], 3), 0)
