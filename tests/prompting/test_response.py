"""Responses: statuses, the strict form, labels and their spans; any text at all is parsed, in linear time."""

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_r1.data.labels import PARSERS, corrected_labels, names_gold, official_labels, read_labels, split_labels
from mer_r1.prompting.response import (
    FALLBACK_ANSWER,
    RESPONSE_FORMATS,
    fell_back,
    initial_labels,
    is_well_formed,
    parse_response,
)
from tests.linear import processor_time

PIECES = st.sampled_from(
    [
        f"<answer>{FALLBACK_ANSWER}</answer>",
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "happy",
        "Sad.",
        ", ",
        "；",
        "\n",
        " ",
        "1. ",
        "**",
        "İ",
        "\ud800",
    ]
) | st.sampled_from(["and", " AND ", "/", "(", "[", "'", '"', "Σ", "\u200b", "2"])
STEPS = st.sampled_from(["<step1>", "</step1>", "<step2>", "</step2>", "<step3>", "</step3>", "\\boxed{", "{", "}"])
ANY_TEXT = st.text() | st.lists(PIECES | STEPS | st.text(max_size=5), max_size=20).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(max_size=3), values, max_size=3),
    max_leaves=8,
)

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
    for name, response_format in RESPONSE_FORMATS.items():
        text = response_format.prefill("fast") + "happy, at ease" + response_format.stop
        response = parse_response(text, name)
        assert (response.labels, response.status) == (("happy", "at ease"), "ok")
        assert text.count(response_format.stop) == response_format.stops("fast") == 1
        assert name == response_format.name
    assert is_well_formed(RESPONSE_FORMATS["think_answer"].fast_prefill + "happy</answer>")


TWICE = [
    # text, labels, labels of the first answer, status, strictly well formed
    ("<answer>sad</answer><think>a</think><answer>happy</answer>", ("happy",), ("sad",), "ok", True),
    ("\n<answer>Sad, calm</answer> <think>a</think>\n<answer>sad</answer>\n", ("sad",), ("sad", "calm"), "ok", True),
    ("<answer>sad</answer><think></think><answer>happy</answer>", ("happy",), ("sad",), "ok", True),
    (f"<answer>{FALLBACK_ANSWER}</answer><think>a</think><answer>happy</answer>", ("happy",), (), "ok", True),
    (f"<answer>sad</answer><think>a</think><answer>{FALLBACK_ANSWER}</answer>", (), ("sad",), "no_answer", False),
    (f"<answer>{FALLBACK_ANSWER}</answer>", (), None, "no_answer", False),
    ("<answer>happy</answer>", ("happy",), None, "ok", False),
    ("<answer>happy</answer><think>a sm", ("happy",), None, "truncated", False),
    ("<answer>sad</answer><think>a</think><answer>hap", ("sad",), None, "truncated", False),
    ("<answer></answer><think>a</think><answer>happy</answer>", ("happy",), (), "ok", False),
    ("<answer>sad</answer><think>a</think><answer>..</answer>", (), ("sad",), "no_answer", False),
    ("<think>a</think><answer>happy</answer>", ("happy",), None, "ok", False),
    ("<answer>sad</answer><answer>happy</answer><think>a</think>", ("happy",), ("sad",), "ok", False),
    ("<answer>sad</answer>so<think>a</think><answer>happy</answer>", ("happy",), ("sad",), "ok", False),
    (
        "<answer>sad</answer><think>no <answer>calm</answer></think><answer>happy</answer>",
        ("happy",),
        ("sad",),
        "ok",
        False,
    ),
]


@pytest.mark.parametrize(("text", "labels", "initial", "status", "strict"), TWICE, ids=[case[0][:60] for case in TWICE])
def test_an_answer_before_and_after_thinking_is_taken_apart(
    text: str, labels: tuple[str, ...], initial: tuple[str, ...] | None, status: str, strict: bool
) -> None:
    response = parse_response(text, "answer_think_answer")
    assert (response.labels, initial_labels(response), response.status) == (labels, initial, status)
    assert response.well_formed is strict
    assert fell_back(response) == (initial is not None and text.startswith(f"<answer>{FALLBACK_ANSWER}"))


def test_a_slow_text_ends_after_as_many_stops_as_its_profile_says() -> None:
    for name, strict in (
        ("think_answer", "<think>a</think><answer>sad</answer>"),
        ("answer_think_answer", TWICE[0][0]),
        ("set_steps", "<step1>a</step1><step2>b</step2><step3>c</step3>\\boxed{sad}"),
    ):
        response_format = RESPONSE_FORMATS[name]
        assert is_well_formed(strict, name)
        assert strict.count(response_format.stop) == response_format.stops("slow") == response_format.num_stops
        assert response_format.prefill("slow") == ""


def test_the_fallback_is_the_profiles_and_holds_one_word_that_is_none() -> None:
    assert {name: response_format.fallback for name, response_format in RESPONSE_FORMATS.items()} == {
        "answer_only": None,
        "think_answer": None,
        "answer_think_answer": FALLBACK_ANSWER,
        "set_steps": None,
    }
    assert len(split_labels(FALLBACK_ANSWER)) == 1


MATCHES = [
    (("joy",), ("joy",), True),
    ((" Joy.",), ("JOY",), True),
    (("joy",), ("sadness", "Joy"), True),
    (("joy", "joy"), ("joy",), True),
    (("joy", "sadness"), ("joy", "sadness"), False),
    (("joyful",), ("joy",), False),
    ((), ("joy",), False),
    (("joy",), (), False),
]


@pytest.mark.parametrize(("labels", "gold", "right"), MATCHES)
def test_an_answer_is_right_when_it_is_one_word_and_that_a_gold_label(
    labels: tuple[str, ...], gold: tuple[str, ...], right: bool
) -> None:
    assert names_gold(labels, gold) is right


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
    ("happy, sad, and angry", ("happy", "sad", "angry")),
    ("happy AND sad\tand\u3000calm", ("happy", "sad", "calm")),
    ("sad,and,angry;and/calm", ("sad", "angry", "calm")),
    ("and", ()),
    ("and and And", ()),
    ("brand new, andante, band, and-or", ("brand new", "andante", "band", "and-or")),
    ("(and happy), sad and.", ("happy", "sad")),
    ("(and), brand., **wand**", ("brand", "wand")),
    ("- and happy, 1. and **sad**", ("happy", "sad")),
    ("happy/sad / calm", ("happy", "sad", "calm")),
    ("1、高兴\n2、难过", ("高兴", "难过")),
    ("1. happy\n2.", ("happy",)),
    ("24/7, 3 wishes", ("3 wishes",)),
]


@pytest.mark.parametrize(("answer", "labels"), LABELS, ids=[repr(answer) for answer, _ in LABELS])
def test_an_answer_is_split_into_words(answer: str, labels: tuple[str, ...]) -> None:
    assert split_labels(answer) == labels


@pytest.mark.parametrize("response_format", sorted(RESPONSE_FORMATS))
@given(ANY_TEXT)
def test_any_text_is_parsed_and_its_spans_agree_with_its_labels(response_format: str, text: str) -> None:
    response = parse_response(text, response_format)
    spans = RESPONSE_FORMATS[response_format].spans(text)
    assert tuple(dict.fromkeys(word for _, _, word in spans)) == response.labels
    edges = [edge for start, end, _ in spans for edge in (start, end)]
    assert edges == sorted(edges)
    for start, end, word in spans:
        assert start < end
        assert " ".join(text[start:end].lower().split()) == word
    assert response.status == "ok" or not response.well_formed
    assert all(answer in text for answer in response.answers)


def test_a_span_is_the_word_as_written() -> None:
    text = "<answer>and Happy</answer><answer>Sadly,  Sad, 1. at  EASE and 'Calm'.</answer>"
    spans = RESPONSE_FORMATS["think_answer"].spans(text)
    assert [text[start:end] for start, end, _ in spans] == ["Sadly", "Sad", "at  EASE", "Calm"]
    assert [start for start, _, _ in spans] == [text.index(written) for written in ("Sadly", "Sad,", "at  ", "Calm")]
    assert [word for _, _, word in spans] == ["sadly", "sad", "at ease", "calm"]


@given(ANY_TEXT)
def test_the_labels_of_a_text_are_those_of_the_same_text_in_an_answer(text: str) -> None:
    answer = text.replace("<", "")
    assert split_labels(answer) == parse_response(f"<answer>{answer}</answer>").labels


@given(ANY_TEXT)
def test_labels_written_out_are_the_same_labels(text: str) -> None:
    labels = tuple(word for word in split_labels(text) if not re.search(r"[\d%]", word))  # "0" and "%" are one score
    for glue in (", ", "; ", "/", " and ", "\n"):
        assert split_labels(glue.join(labels)) == labels
    assert all(word == word.strip() and word for word in labels)


@given(ANY_TEXT)
def test_corrected_labels_do_not_look_at_the_case(text: str) -> None:
    assert corrected_labels(text.lower()) == corrected_labels(text)
    plain = text.encode("ascii", "ignore").decode()
    assert corrected_labels(plain.upper()) == corrected_labels(plain) == corrected_labels(plain.swapcase())


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "<think>" * 15_000,
        "<answer>" * 12_500 + "</answer>",
        "<answer>a</answer>" * 6_000 + "<think>",
        "<think><answer>" * 6_600 + "</think>",
        "<answer>" + "*" * 50_000 + "x" + "*" * 50_000 + "</answer>",
        "<answer>" + "1" * 100_000 + "</answer>",
        "<answer>" + "1. *" * 25_000 + "</answer>",
        "<answer>" + " " * 100_000 + "</answer>",
        "<answer>" + "a," * 50_000 + "</answer>",
        "<answer>" + "a" * 100_000 + "</answer>",
        "<answer>" + "and " * 25_000 + "</answer>",
        "<answer>" + "*and " * 20_000 + "</answer>",
        "<answer>happy" + " and." * 20_000 + "</answer>",
        "<answer>" + "x and." * 17_000 + "</answer>",
        "<answer>" + "[" * 100_000 + "</answer>",
        "<answer>" + "/" * 100_000 + "</answer>",
        "<answer>" + "\u200b" * 100_000 + "x" + "\u200b" * 100_000 + "</answer>",
        "<answer>" + "，、；" * 33_000 + "</answer>",
        "<answer>" + "x " * 50_000 + "</answer>",
    ],
    ids=lambda text: text[:24],
)
def test_a_long_hostile_text_is_parsed_in_linear_time(text: str) -> None:
    answer = text.removeprefix("<answer>").removesuffix("</answer>")
    with processor_time(5):
        parse_response(text)
        RESPONSE_FORMATS["think_answer"].spans(text)
        for parse in PARSERS.values():
            parse(answer)


@pytest.mark.slow
@pytest.mark.parametrize("piece", ["<answer>", "<answer>a</answer>", "<answer>a</answer><think>", "<think></think>"])
def test_many_tags_are_parsed_in_linear_time_by_every_profile(piece: str) -> None:
    with processor_time(5):
        for name in RESPONSE_FORMATS:
            parse_response(piece * (100_000 // len(piece)), name)


def test_the_official_parser_reads_a_field_as_the_official_code_does() -> None:
    assert official_labels("['Happy', \"sad\"]") == ("happy", "sad")
    assert official_labels("happy, sad.") == ("happy", "sad.")
    assert official_labels("happy; sad") == ("happy; sad",)
    assert official_labels("[[happy, sad]]") == ("[happy", "sad]")
    assert official_labels(["Happy, sad ", "calm"]) == ("happy, sad", "calm")
    assert official_labels("ΑΣ'Β, 'ΑΣ") == ("ας", "β", "ας")  # a letter's lower case depends on its own word only
    assert official_labels("[") == official_labels("") == official_labels(None) == ()


def test_the_corrected_parser_splits_items_of_a_list_too() -> None:
    assert corrected_labels(["Happy, sad.", "calm"]) == ("happy", "sad", "calm")
    assert corrected_labels(["and happy", "sad and", "and", ""]) == ("happy", "sad")
    assert corrected_labels("happy; sad.") == ("happy", "sad")
    assert corrected_labels(None) == ()


FIELDS: list[tuple[object, tuple[str, ...], tuple[str, ...], str | None]] = [
    ("Happy, sad.", ("happy", "sad."), ("happy", "sad"), None),
    (["Happy, sad", "calm"], ("happy, sad", "calm"), ("happy", "sad", "calm"), None),
    (("Happy", "calm "), ("happy", "calm"), ("happy", "calm"), None),
    ([], (), (), None),
    ("", (), (), None),
    (None, (), (), None),
    (math.nan, (), (), None),
    ("[", (), (), 'labels is the text "[" alone'),
    (["sad", 1, "calm", None], ("sad", "calm"), ("sad", "calm"), "labels[1] is a number, not a text"),
    ([None], (), (), "labels[0] is null, not a text"),
    ([math.nan], (), (), "labels[0] is a number, not a text"),
    ([["sad"]], (), (), "labels[0] is a list, not a text"),
    (["sad", b"calm"], ("sad",), ("sad",), "labels[1] is of type bytes, not a text"),
    (1, (), (), "labels is a number, not a text or a list of texts"),
    (math.inf, (), (), "labels is a number, not a text or a list of texts"),
    (True, (), (), "labels is true or false, not a text or a list of texts"),
    ({"sad": 1}, (), (), "labels is an object, not a text or a list of texts"),
    (b"sad", (), (), "labels is of type bytes, not a text or a list of texts"),
]


@pytest.mark.parametrize(("field", "official", "corrected", "error"), FIELDS, ids=[repr(case[0]) for case in FIELDS])
def test_a_field_of_any_kind_has_words_and_maybe_an_error(
    field: object, official: tuple[str, ...], corrected: tuple[str, ...], error: str | None
) -> None:
    assert read_labels(field, "official") == (official, error)
    assert read_labels(field, "corrected") == (corrected, error)


@given(JSON, st.sampled_from(sorted(PARSERS)))
def test_no_value_of_a_field_stops_the_reader(field: Any, parser: str) -> None:
    words, error = read_labels(field, parser)
    assert all(isinstance(word, str) for word in words)
    sound = field is None or isinstance(field, str) or (isinstance(field, float) and math.isnan(field))
    sound = sound or (isinstance(field, list) and all(isinstance(item, str) for item in field))
    assert (error is None) == (sound and field != "[")
    if error is None and not isinstance(field, float):
        assert words == PARSERS[parser](field)


@given(ANY_TEXT)
def test_the_official_parser_is_the_official_rule_written_out(text: str) -> None:
    inner = text.removeprefix("[")
    inner = inner[:-1] if inner.endswith("]") else inner
    words: list[str] = [""]
    for character in inner:
        words[-1] += "" if character in "'\"," else character
        words += [""] if character in "'\"," else []
    assert official_labels(text) == tuple(word.strip().lower() for word in words if word.strip())
