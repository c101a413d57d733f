"""Rewards: the grader gives the gold answer 1.0, and counts as the evaluator does."""

from math import isnan, log

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mer_r1.emotion.wheel import WheelSet
from mer_r1.metrics.open_vocabulary import set_statistics, stack, wheel_scores
from mer_r1.metrics.rewards import sample_scores, score_response
from mer_r1.objectives import LengthPenalty, Rewards
from mer_r1.prompting.response import FALLBACK_ANSWER, parse_response
from tests.small_wheels import SMALL, WORDS

BUILTIN = WheelSet.load("builtin", protocol="corrected")
SOME = st.lists(st.sampled_from((*WORDS, "lost", "qwerty")), max_size=6)


PENALTIES: tuple[LengthPenalty, ...] = ("none", "inverse", "ratio", "log")


def answer(words: list[str]) -> str:
    return f"<think>I see.</think><answer>{', '.join(words)}</answer>"


def answer_twice(first: str, last: str) -> str:
    return f"<answer>{first}</answer><think>I see.</think><answer>{last}</answer>"


def main_four(rewards: Rewards) -> tuple[float, ...]:
    return rewards.recall, rewards.precision, rewards.f1, rewards.format


def scored_twice(first: str, last: str, gold: list[str], length_penalty: LengthPenalty = "none") -> Rewards:
    response = parse_response(answer_twice(first, last), "answer_think_answer")
    return score_response(response, gold, SMALL, length_penalty=length_penalty)


@given(st.lists(st.sampled_from(BUILTIN.words), min_size=1, max_size=6), st.sampled_from(PENALTIES))
@example(["sad", "happy", "confidence"], "inverse")
def test_the_gold_answer_scores_one(gold: list[str], penalty: LengthPenalty) -> None:
    rewards = score_response(parse_response(answer(gold)), gold, BUILTIN, length_penalty=penalty)
    assert main_four(rewards) == (1.0, 1.0, 1.0, 1.0)
    both = parse_response(answer_twice(", ".join(gold), ", ".join(gold)), "answer_think_answer")
    rewards = score_response(both, gold, BUILTIN, length_penalty=penalty)
    assert (*main_four(rewards), rewards.initial_f1, rewards.fallback) == (1.0, 1.0, 1.0, 1.0, 1.0, 0.0)


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
    for text, expected in (("<answer>happy</answer>", (1.0, 1.0, 1.0, 0.0)), (answer(["sad"]), (0.0, 0.0, 0.0, 1.0))):
        assert main_four(score_response(parse_response(text), ["happy"], SMALL)) == expected
    silent = "<answer>happy</answer><think> </think><answer>happy</answer>"
    assert score_response(parse_response(silent, "answer_think_answer"), ["happy"], SMALL).format == 0.0


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


SET = "<step1>A dog.</step1><step2>It warms.</step2><step3>Pleasant.</step3>\\boxed{%s}"


def test_accuracy_is_the_hard_match_that_the_evaluator_takes() -> None:
    for said, right in (("Happy", 1.0), ("happy, sad", 0.0), ("glad", 0.0), ("", 0.0)):
        rewards = score_response(parse_response(SET % said, "set_steps"), ["happy"], SMALL)
        assert (rewards.accuracy, rewards.format) == (right, float(said != ""))
    assert score_response(parse_response(answer(["happy"])), ["happy"], SMALL).accuracy == 1.0


def test_the_format_is_paid_for_the_form_that_the_profile_asks_for() -> None:
    assert score_response(parse_response(answer(["happy"]), "set_steps"), ["happy"], SMALL).format == 0.0
    assert score_response(parse_response(SET % "happy"), ["happy"], SMALL).format == 0.0
    unreasoned = score_response(parse_response("\\boxed{happy}", "set_steps"), ["happy"], SMALL)
    assert (unreasoned.accuracy, unreasoned.format) == (1.0, 0.0)


def test_the_first_answer_is_scored_by_itself() -> None:
    rewards = scored_twice("glad, sad", "angry", ["happy"])
    # w1..w4: {joy, sadness} against {joy}: 2/3; w5 knows no sadness: 1
    assert (rewards.initial_f1, rewards.f1) == pytest.approx(((4 * 2 / 3 + 1) / 5, 0.0))
    assert rewards.fallback == 0.0


def test_without_a_first_answer_its_rewards_do_not_apply() -> None:
    for text in (answer(["happy"]), "<answer>happy</answer>", ""):
        rewards = score_response(parse_response(text), ["happy"], SMALL)
        assert isnan(rewards.initial_f1)
        assert isnan(rewards.fallback)


@pytest.mark.parametrize(
    ("first", "last", "paid"),
    [
        (FALLBACK_ANSWER, "happy", True),
        (f" {FALLBACK_ANSWER.upper()}\n", "happy", True),
        (FALLBACK_ANSWER, "sad", False),
        (FALLBACK_ANSWER, "happy, sad, angry", False),  # F1 is 8/15
        (FALLBACK_ANSWER, "happy, sad", True),  # F1 is (4 x 2/3 + 1) / 5 = 0.73
        ("happy", "happy", False),
        (f"happy, {FALLBACK_ANSWER}", "happy", False),
    ],
)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_falling_back_is_paid_when_the_last_answer_is_right(
    first: str, last: str, paid: bool, penalty: LengthPenalty
) -> None:
    assert scored_twice(first, last, ["happy"], penalty).fallback == float(paid)


def test_the_fallback_names_no_emotion_and_keeps_the_format() -> None:
    rewards = scored_twice(FALLBACK_ANSWER, "happy", ["happy"])
    assert (rewards.initial_f1, rewards.f1, rewards.format) == (0.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("num_answered", "factors"),
    [
        (1, (1.0, 1.0, 1.0)),
        (2, (1.0, 1.0, 1.0)),
        (3, (1 / 2, 2 / 3, log(3) / log(4))),
        (4, (1 / 3, 2 / 4, log(3) / log(5))),
    ],
)
def test_a_penalty_multiplies_the_f1_reward_alone_where_the_answer_has_more_words_than_the_gold(
    num_answered: int, factors: tuple[float, ...]
) -> None:
    words = ["happy", "sad", "glad", "at ease"][:num_answered]
    response, gold = parse_response(answer([*words, *words])), ["happy", "sad", "happy"]  # repeats do not count
    plain = score_response(response, gold, SMALL)
    for penalty, factor in zip(PENALTIES, (1.0, *factors), strict=True):
        made = score_response(response, gold, SMALL, length_penalty=penalty)
        assert main_four(made) == pytest.approx((plain.recall, plain.precision, plain.f1 * factor, plain.format))


def test_words_are_counted_as_an_answer_is_parsed() -> None:
    """An item of a gold list may hold two words by the answer's parser; its own text is no longer than itself."""
    gold = ["happy, sad", "angry"]
    response = parse_response(answer(["happy", "sad", "angry"]))
    f1s = {score_response(response, gold, SMALL, length_penalty=penalty).f1 for penalty in PENALTIES}
    assert len(f1s) == 1
