"""Marks on words and answers: by category in each wheel, with repeats once and unknown words said as such."""

from __future__ import annotations

import pytest

from mer_r1.data.sample import Prediction
from mer_r1.emotion.compiled import CompiledWheels, pack
from mer_r1.emotion.protocol import CORRECTED, OFFICIAL
from mer_r1.emotion.wheel import WheelSet
from mer_r1.report.verdicts import Verdicts
from tests.small_wheels import SMALL, small_wheels

VERDICTS = Verdicts(small_wheels(CORRECTED))


def test_a_word_is_right_wrong_or_not_judged() -> None:
    words = VERDICTS.of_words(("glad", "angry", "lost", "qwerty", "glad"), ("happy",), {"glad": 0.5})
    assert [(word.verdict, word.why) for word in words] == [
        ("right", "right"), ("wrong", "wrong"), ("unknown", "not judged"), ("unknown", "not judged")
    ]  # fmt: skip
    assert words[0].confidence == 0.5
    assert VERDICTS.characters(("glad", "angry", "lost"), VERDICTS.mapped(("happy",))) == "rwu"


def test_a_word_is_partly_right_in_the_wheels_that_know_both() -> None:
    joy, mostly_anger = ((0,),) * 5, ((0,), (1,), (1,), (1,), ())
    table = {"x": pack(joy, SMALL.categories_of), "y": pack(mostly_anger, SMALL.categories_of)}
    verdicts = Verdicts(WheelSet(CompiledWheels(SMALL.source, SMALL.names, SMALL.titles, SMALL.categories_of, table)))
    assert [(word.verdict, word.why) for word in verdicts.of_words(("y",), ("x",), None)] == [
        ("partly", "1 of 4 wheels")
    ]


def test_missed_words_are_those_that_no_wheel_reaches() -> None:
    assert VERDICTS.missed(("glad",), ("happy", "sad", "lost")) == ["sad"]


@pytest.mark.parametrize(
    ("gold", "said", "state"),
    [
        ("happy", "glad", "r"),
        ("happy sad", "sad happy happy", "r"),
        ("happy", "glad angry", "p"),  # something wrong
        ("happy sad", "glad", "p"),  # something missing
        ("happy", "glad qwerty", "p"),  # a word that no wheel knows
        ("happy", "angry", "w"),
        ("qwerty", "qwerty", "r"),
        ("happy", "", "-"),
        ("", "happy", "n"),
        ("", "", "-"),
    ],
)
def test_an_answer_is_right_when_it_reaches_exactly_the_gold_categories(gold: str, said: str, state: str) -> None:
    row = Prediction("a", "slow", "", "", tuple(said.split()), "ok")
    assert VERDICTS.state(row, VERDICTS.words(row.labels), VERDICTS.mapped(gold.split())) == state


@pytest.mark.parametrize(
    ("gold", "said", "state"),
    [
        ("happy", "glad qwerty", "r"),  # a word that no wheel knows is dropped
        ("happy qwerty", "glad", "r"),
        ("qwerty", "happy", "n"),  # no gold is left
        ("happy", "angry", "w"),
    ],
)
def test_by_the_official_protocol_what_no_wheel_knows_is_dropped(gold: str, said: str, state: str) -> None:
    row = Prediction("a", "slow", "", "", tuple(said.split()), "ok")
    verdicts = Verdicts(small_wheels(OFFICIAL))
    assert verdicts.state(row, verdicts.words(row.labels), verdicts.mapped(gold.split())) == state


def test_an_error_and_an_absent_row_have_no_state() -> None:
    row = Prediction("a", "slow", "", "", ("happy",), "error")
    assert VERDICTS.state(row, ("happy",), VERDICTS.mapped(("happy",))) == "-"
    assert VERDICTS.state(None, (), VERDICTS.mapped(("happy",))) == "-"
