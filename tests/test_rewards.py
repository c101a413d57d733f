"""Rewards: the grader gives the gold answer 1.0, and counts as the evaluator does."""

from math import isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_r1.emotion.wheel import WheelSet
from mer_r1.metrics.open_vocabulary import set_statistics, stack, wheel_scores
from mer_r1.response import parse_response
from mer_r1.rewards import Rewards, sample_scores, score_response
from tests.small_wheels import SMALL, WORDS

BUILTIN = WheelSet.load("builtin", protocol="corrected")
SOME = st.lists(st.sampled_from((*WORDS, "lost", "qwerty")), max_size=6)


def answer(words: list[str]) -> str:
    return f"<think>I see.</think><answer>{', '.join(words)}</answer>"


@given(st.lists(st.sampled_from(BUILTIN.words), min_size=1, max_size=6))
def test_the_gold_answer_scores_one(gold: list[str]) -> None:
    assert score_response(parse_response(answer(gold)), gold, BUILTIN) == Rewards(1.0, 1.0, 1.0, 1.0)


def test_recall_and_precision_are_means_over_the_wheels_that_have_gold() -> None:
    # w1..w4: gold {joy, sadness}, predicted {joy, anger}: R 1/2, P 1/2, F 1/2; w5: gold {joy}: R 1, P 1/2, F 2/3
    rewards = score_response(parse_response(answer(["glad", "angry"])), ["happy", "sad"], SMALL)
    assert rewards.recall == pytest.approx((4 * 1 / 2 + 1) / 5)
    assert rewards.precision == pytest.approx(1 / 2)
    assert rewards.f1 == pytest.approx((4 * 1 / 2 + 2 / 3) / 5)
    # sad has no home in w5, so that wheel is left out
    rewards = score_response(parse_response(answer(["sad", "angry"])), ["sad"], SMALL)
    assert (rewards.recall, rewards.precision, rewards.f1) == pytest.approx((1, 1 / 2, 2 / 3))


@pytest.mark.parametrize(
    "text", ["", "no tags", "<think>a</think><answer></answer>", answer(["qwerty"]), "<answer>sad"]
)
def test_an_answer_without_known_words_scores_zero(text: str) -> None:
    rewards = score_response(parse_response(text), ["happy"], SMALL)
    assert (rewards.recall, rewards.precision, rewards.f1) == (0, 0, 0)


def test_the_format_is_paid_apart_from_the_words() -> None:
    assert score_response(parse_response("<answer>happy</answer>"), ["happy"], SMALL) == Rewards(1.0, 1.0, 1.0, 0.0)
    assert score_response(parse_response(answer(["sad"])), ["happy"], SMALL) == Rewards(0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("gold", [[], ["lost"], ["qwerty"]])
def test_gold_that_maps_nowhere_gives_no_reward_but_that_of_the_format(gold: list[str]) -> None:
    rewards = score_response(parse_response(answer(["happy"])), gold, SMALL)
    assert all(isnan(value) for value in (rewards.recall, rewards.precision, rewards.f1))
    assert rewards.format == 1.0


@given(SOME, SOME)
def test_the_reward_is_what_the_evaluator_says_of_a_corpus_of_one(gold: list[str], predicted: list[str]) -> None:
    counts = set_statistics(gold, predicted, SMALL)
    recall, precision, f1 = sample_scores(counts)
    wheels = [wheel for wheel in wheel_scores(stack([counts])).wheels if wheel.n]
    if not wheels:
        assert isnan(recall)
        return
    assert recall == pytest.approx(sum(wheel.recall for wheel in wheels) / len(wheels))
    assert precision == pytest.approx(sum(wheel.precision for wheel in wheels) / len(wheels))
    f1s = [0.0 if isnan(wheel.f1) else wheel.f1 for wheel in wheels]
    assert f1 == pytest.approx(sum(f1s) / len(wheels))
