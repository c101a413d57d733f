"""Responses: statuses, the strict form, labels and their spans; any text at all is parsed, in linear time."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_r1.response import (
    PROFILES,
    is_well_formed,
    lenient_labels,
    official_labels,
    parse_response,
    split_labels,
)

PIECES = st.sampled_from(
    ["<think>", "</think>", "<answer>", "</answer>", "happy", "Sad.", ", ", "；", "\n", " ", "1. ", "**", "İ", "\ud800"]
)
ANY_TEXT = st.text() | st.lists(PIECES | st.text(max_size=5), max_size=20).map("".join)

CASES = [
    # text, answers, labels, status, strictly well formed
    ("<think>a smile</think><answer>happy, sad</answer>", ("happy, sad",), ("happy", "sad"), "ok", True),
    ("\n<think>a\nb</think>\n\n<answer>Happy</answer>\n", ("Happy",), ("happy",), "ok", True),
    ("<think></think><answer>happy</answer>", ("happy",), ("happy",), "ok", True),
    ("Sure: <think>a</think><answer>happy</answer>", ("happy",), ("happy",), "ok", False),
    ("<think>a</think> so <answer>happy</answer>", ("happy",), ("happy",), "ok", False),
    ("<think>a</think><answer>happy</answer> indeed", ("happy",), ("happy",), "ok", False),
    ("<answer>happy</answer>", ("happy",), ("happy",), "ok", False),
    ("<answer>sad</answer><think>a</think>", ("sad",), ("sad",), "ok", False),
    ("<think>a</think><answer>sad</answer><answer>happy</answer>", ("sad", "happy"), ("happy",), "ok", False),
    ("<think>a</think><think>b</think><answer>happy</answer>", ("happy",), ("happy",), "ok", False),
    ("<think>a</think><answer>sad<answer>happy</answer>", ("happy",), ("happy",), "ok", False),
    ("<think>write <answer>sad</answer></think><answer>happy</answer>", ("happy",), ("happy",), "ok", False),
    ("<think>write <answer>sad</answer></think>", (), (), "no_answer", False),
    ("<think>a</think><answer> </answer>", (" ",), (), "no_answer", False),
    ("<think>a</think><answer>, ...</answer>", (", ...",), (), "no_answer", False),
    ("<think>a</think>", (), (), "no_answer", False),
    ("happy, sad", (), (), "no_answer", False),
    ("", (), (), "no_answer", False),
    ("<think>a sm", (), (), "truncated", False),
    ("<think>a</think><answer>happy, sa", (), (), "truncated", False),
    ("<think>a <answer>happy</answer>", ("happy",), ("happy",), "truncated", False),
    ("<Think>a</Think><Answer>happy</Answer>", (), (), "no_answer", False),
]


@pytest.mark.parametrize(("text", "answers", "labels", "status", "strict"), CASES, ids=[case[0][:60] for case in CASES])
def test_a_text_is_taken_apart(
    text: str, answers: tuple[str, ...], labels: tuple[str, ...], status: str, strict: bool
) -> None:
    response = parse_response(text)
    assert (response.answers, response.labels, response.status) == (answers, labels, status)
    assert response.well_formed is strict
    assert is_well_formed(text) is strict


def test_the_reasoning_is_what_stands_in_think() -> None:
    assert parse_response("<think> a smile\n</think><answer>happy</answer>").reasoning == "a smile"
    assert parse_response("<think>a smile <answer>happy</answer>").reasoning == "a smile"
    assert parse_response("<think>a smi").reasoning == "a smi"
    assert parse_response("<answer>happy</answer>").reasoning == ""


def test_prefill_answer_and_stop_make_a_well_formed_text() -> None:
    for name, profile in PROFILES.items():
        response = parse_response(profile.fast_prefill + "happy, at ease" + profile.stop, name)
        assert response.labels == ("happy", "at ease")
        assert response.well_formed
        assert name == profile.name


LABELS = [
    ("happy, sad", ("happy", "sad")),
    ("Happy;SAD；calm，tense、shy\nproud", ("happy", "sad", "calm", "tense", "shy", "proud")),
    ("sad, happy, sad, Sad.", ("sad", "happy")),
    ("happy.", ("happy",)),
    ("**happy**, `sad`, _calm_", ("happy", "sad", "calm")),
    ("[happy, sad]", ("happy", "sad")),
    ("['happy', \"sad\"]", ("happy", "sad")),
    ("- happy\n* sad\n1. calm\n2) shy", ("happy", "sad", "calm", "shy")),
    ("at   ease", ("at ease",)),
    ("self-conscious, don’t care", ("self-conscious", "don’t care")),
    ("happy\u200b,\ufeffsad", ("happy", "sad")),
    ("高兴，难过。", ("高兴", "难过")),
    (" , ,, ...", ()),
]


@pytest.mark.parametrize(("answer", "labels"), LABELS, ids=[repr(answer) for answer, _ in LABELS])
def test_an_answer_is_split_into_words(answer: str, labels: tuple[str, ...]) -> None:
    assert split_labels(answer) == labels


@given(ANY_TEXT)
def test_any_text_is_parsed_and_its_spans_agree_with_its_labels(text: str) -> None:
    response = parse_response(text)
    spans = PROFILES["think_answer"].spans(text)
    assert tuple(dict.fromkeys(word for _, _, word in spans)) == response.labels
    edges = [edge for start, end, _ in spans for edge in (start, end)]
    assert edges == sorted(edges)
    for start, end, word in spans:
        assert start < end
        assert " ".join(text[start:end].lower().split()) == word
    assert response.status == "ok" or not response.well_formed
    assert all(answer in text for answer in response.answers)


@given(ANY_TEXT)
def test_labels_written_out_are_the_same_labels(text: str) -> None:
    labels = split_labels(text)
    assert split_labels(", ".join(labels)) == labels
    assert all(word == word.strip() and word for word in labels)


@pytest.mark.parametrize(
    "text",
    [
        "<think>" * 150_000,
        "<answer>" * 125_000 + "</answer>",
        "<think><answer>" * 66_000 + "</think>",
        "<answer>" + "*" * 500_000 + "x" + "*" * 500_000 + "</answer>",
        "<answer>" + "1" * 1_000_000 + "</answer>",
        "<answer>" + "1. *" * 250_000 + "</answer>",
        "<answer>" + " " * 1_000_000 + "</answer>",
        "<answer>" + "a," * 500_000 + "</answer>",
    ],
    ids=lambda text: text[:24],
)
def test_a_hostile_megabyte_is_parsed_in_linear_time(text: str) -> None:
    start = time.process_time()
    parse_response(text)
    PROFILES["think_answer"].spans(text)
    assert time.process_time() - start < 10  # quadratic time would be hours


def test_the_official_parser_reads_a_field_as_the_official_code_does() -> None:
    assert official_labels("['Happy', \"sad\"]") == ("happy", "sad")
    assert official_labels("happy, sad.") == ("happy", "sad.")
    assert official_labels("happy; sad") == ("happy; sad",)
    assert official_labels("[[happy, sad]]") == ("[happy", "sad]")
    assert official_labels(["Happy, sad ", "calm"]) == ("happy, sad", "calm")
    assert official_labels("[") == official_labels("") == official_labels(None) == ()


def test_the_lenient_parser_splits_items_of_a_list_too() -> None:
    assert lenient_labels(["Happy, sad.", "calm"]) == ("happy", "sad", "calm")
    assert lenient_labels("happy; sad.") == ("happy", "sad")
    assert lenient_labels(None) == ()
