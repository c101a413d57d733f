"""The rewards as other trainers call them: the numbers of the scorer, None where they do not apply, clear errors."""

from __future__ import annotations

from math import isnan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_r1 import rewards
from mer_r1.emotion.protocol import CORRECTED
from mer_r1.errors import InputError
from mer_r1.metrics.corpus_score import score
from mer_r1.metrics.rewards import score_response
from mer_r1.objectives import TEXT_REWARDS
from mer_r1.prompting.response import parse_response
from mer_r1.rewards import make_rewards
from tests.small_wheels import SMALL, WORDS, small_wheels

WORD_LISTS = st.lists(st.sampled_from((*WORDS, "lost", "qwerty")), max_size=4)
BODIES = WORD_LISTS.map(", ".join)
TEXTS = st.one_of(BODIES.map("<think>I see.</think><answer>{}</answer>".format), BODIES, st.text(max_size=20))
FIVE = [rewards.recall, rewards.precision, rewards.f1, rewards.format, rewards.accuracy]


def answer(words: str) -> str:
    return f"<think>I see.</think><answer>{words}</answer>"


def one(name: str, completion: Any, **columns: Any) -> float | None:
    """The reward of one completion over the small wheels."""
    (reward,) = make_rewards([name], wheels=SMALL)
    (value,) = reward([completion], **{key: [column] for key, column in columns.items()})
    return value


@given(st.lists(st.tuples(TEXTS, WORD_LISTS), max_size=4), st.sampled_from(TEXT_REWARDS))
def test_each_reward_is_the_scorers_number_or_none_where_that_is_nan(
    rows: list[tuple[str, list[str]]], name: str
) -> None:
    (reward,) = make_rewards([name], wheels=SMALL)
    values = reward([text for text, _ in rows], labels=[gold for _, gold in rows])
    for (text, gold), value in zip(rows, values, strict=True):
        expected = getattr(score_response(parse_response(text), gold, SMALL), name)
        if value is None:
            assert isnan(expected) or (name == "accuracy" and not gold)
        else:
            assert value == expected


def test_one_sample_has_the_recall_and_precision_of_the_metric() -> None:
    gold, said = ["happy", "sad"], "glad, angry"
    report = score({"1": gold}, {"1": said}, SMALL).open_vocabulary
    assert one("recall", answer(said), labels=gold) == pytest.approx(report.recall)
    assert one("precision", answer(said), labels=gold) == pytest.approx(report.precision)


def test_the_functions_of_the_module_have_the_names_that_trainers_log() -> None:
    names = ["recall", "precision", "f1", "format", "accuracy"]
    assert [reward.__name__ for reward in FIVE] == [reward.__name__ for reward in make_rewards()] == names
    assert [reward([answer("happy")], labels=[["happy"]]) for reward in FIVE] == [[1.0]] * 5


@pytest.mark.parametrize(
    "chat",
    [
        [{"role": "assistant", "content": answer("happy")}],
        [{"role": "assistant", "content": "sad"}, {"role": "assistant", "content": answer("happy")}],
        [{"role": "assistant", "content": [{"type": "text", "text": answer("happy")}, {"type": "image"}]}],
    ],
)
def test_the_last_message_of_a_chat_is_the_answer(chat: Any) -> None:
    assert one("f1", chat, labels=["happy"]) == 1.0


@pytest.mark.parametrize("silent", [[], [{"role": "assistant", "content": None}], ""])
def test_a_completion_without_text_scores_zero(silent: Any) -> None:
    assert one("recall", silent, labels=["happy"]) == one("format", silent, labels=["happy"]) == 0.0


def test_gold_may_be_a_text_and_is_read_as_the_protocol_reads_it() -> None:
    assert one("recall", answer("happy, sad"), labels="happy, sad") == 1.0
    (recall,) = make_rewards(["recall"], wheels=small_wheels(CORRECTED))
    assert recall([answer("happy, sad")], labels=["happy and sad."]) == [1.0]


def test_gold_that_reaches_no_category_has_no_reward_but_a_format() -> None:
    for gold in (["lost"], ["qwerty"], [], None, ""):
        assert [one(name, answer("happy"), labels=gold) for name in ("recall", "precision", "f1")] == [None] * 3
        assert one("format", answer("happy"), labels=gold) == 1.0
    assert one("format", answer("happy")) == 1.0, "no column of labels is needed"


def test_accuracy_does_not_apply_where_no_candidate_is_gold() -> None:
    assert one("accuracy", answer("joy"), labels=["joy"], candidates=["joy", "fear"]) == 1.0
    assert one("accuracy", answer("joy, fear"), labels=["joy"], candidates=["joy", "fear"]) == 0.0
    assert one("accuracy", answer("joy"), labels=["joy"], candidates=["anger", "fear"]) is None
    assert one("accuracy", answer("joy"), labels=["joy"], candidates=None) == 1.0
    assert one("accuracy", answer("joy"), labels=[]) is None


def test_a_response_format_and_a_length_penalty_can_be_chosen() -> None:
    (in_box,) = make_rewards(["f1"], wheels=SMALL, response_format="set_steps")
    assert in_box(["\\boxed{happy}", answer("happy")], labels=[["happy"]] * 2) == [1.0, 0.0]
    (penalised,) = make_rewards(["f1"], wheels=SMALL, length_penalty="inverse")
    assert penalised([answer("happy, glad")], labels=[["happy"]]) == [0.5]
    first, last = make_rewards(["initial_f1", "f1"], wheels=SMALL, response_format="answer_think_answer")
    text = "<answer>sad</answer><think>No.</think><answer>happy</answer>"
    assert (first([text], labels=[["happy"]]), last([text], labels=[["happy"]])) == ([0.0], [1.0])


def test_columns_of_the_trainer_and_of_the_data_set_are_ignored() -> None:
    columns = {"prompts": ["?"], "completion_ids": [[1]], "trainer_state": None, "source": ["a"]}
    assert rewards.recall([answer("happy")], labels=[["happy"]], **columns) == [1.0]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "reward recall: the data set has no column `labels`; name"),
        ({"labels": "happy"}, "column `labels`: a text for 2 completions; give a list"),
        ({"labels": [["happy"]]}, "column `labels`: 1 values for 2 completions; give a list"),
        ({"labels": [["happy"], ["sad"]], "candidates": [[]] * 3}, "column `candidates`: 3 values for 2 completions"),
        ({"labels": [["happy"], 3]}, "reward recall: row 1 of the batch: labels is a number, not a text or a list"),
        ({"labels": [["happy"], [3]]}, r"reward recall: row 1 of the batch: labels\[0\] is a number, not a text"),
    ],
)
def test_a_wrong_column_is_an_error_of_one_line(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        rewards.recall([answer("happy")] * 2, **columns)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["recal"]}, "reward 'recal' is not known; use one of: recall, "),
        ({"response_format": "prose"}, "response format 'prose' is not known; use one of: think_answer, "),
        ({"length_penalty": "square"}, "length penalty 'square' is not known; use one of: none, "),
        ({"wheels": "round"}, "wheels 'round' are not known"),
        ({"protocol": "mine"}, "protocol 'mine' is not known"),
    ],
)
def test_an_unknown_name_is_an_error_before_anything_is_trained(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_rewards(**options)
