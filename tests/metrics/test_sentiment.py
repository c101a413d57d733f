"""WAF: parity with the official code, the rules of both protocols, and the lexicon's stated rule."""

import json
from collections.abc import Sequence
from math import isnan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_r1 import __version__
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.metrics.sentiment import (
    SENTIMENTS,
    VALENCE,
    _word_valence,
    compare_sentiment,
    lexicon_sentiment,
    lexicon_sha256,
    sentiment_score,
)
from tests.golden import load_golden

TOLERANCE = 1e-12
BOTH = st.tuples(
    st.floats(-3, 3) | st.just(0.0), st.sampled_from([*SENTIMENTS, "mixed", "Positive", "", None])
)  # a valence, and the answer if there is one
PROTOCOLS = st.sampled_from(["official", "corrected"])


def test_every_official_corpus_gives_the_official_waf_and_accuracy() -> None:
    compared, stopped = 0, set()
    for corpus in load_golden()["waf_corpora"]:
        report = sentiment_score(corpus["gt"], corpus["pred"], backend="predictions")
        out = corpus["out"]
        if "error" in out:
            assert report.n == 0 or report.missing, corpus["name"]
            stopped.add(out["error"])
            continue
        assert abs(report.waf - out["waf"]) <= TOLERANCE, corpus["name"]
        assert abs(report.accuracy - out["acc"]) <= TOLERANCE, corpus["name"]
        compared += 1
    assert compared >= 29
    assert stopped == {"IndexError", "KeyError"}


def test_neutral_invalid_and_missing_answers_count_as_negative_and_valence_zero_is_left_out() -> None:
    gold = {"a": -1.0, "b": -0.1, "c": 2.0, "d": 0.5, "e": 0.0, "f": -1.0}
    answers = {"a": "neutral", "b": "Positive", "c": "positive", "d": "positive.", "e": "mixed"}
    report = sentiment_score(gold, answers, backend="predictions")
    assert (report.n, report.zero_gold, report.invalid, report.missing) == (5, 1, 2, 1)
    assert report.accuracy == 4 / 5  # only d is wrong
    assert report.waf == pytest.approx(2 / 5 * (2 / 3) + 3 / 5 * (6 / 7))
    assert report.constants == pytest.approx({"positive": 2 / 5 * (4 / 7), "negative": 3 / 5 * (6 / 8)})


def test_corrected_has_three_classes_and_no_gold_makes_an_invalid_or_missing_answer_right() -> None:
    gold = {"a": -1.0, "b": -0.1, "c": 2.0, "d": 0.5, "e": 0.0, "f": -0.0, "g": -3.0, "h": 0.0}
    answers = {"a": "negative", "b": "Positive", "c": "positive", "d": "neutral", "e": "neutral", "f": "mixed"}
    report = sentiment_score(gold, answers | {"h": "positive"}, backend="predictions", protocol="corrected")
    assert (report.n, report.zero_gold, report.invalid, report.missing) == (8, 3, 2, 1)
    assert report.accuracy == 3 / 8  # a, c, e
    f1 = {"positive": 2 / (2 + 2), "negative": 2 / (3 + 1), "neutral": 2 / (3 + 2)}  # 2TP / (gold + answered)
    assert report.waf == pytest.approx(2 / 8 * f1["positive"] + 3 / 8 * f1["negative"] + 3 / 8 * f1["neutral"])
    constants = {"positive": 2 / 8 * 4 / 10, "negative": 3 / 8 * 6 / 11, "neutral": 3 / 8 * 6 / 11}
    assert report.constants == pytest.approx(constants)
    assert report.protocol == report.to_json()["protocol"] == "corrected"


def test_answers_that_officially_pass_for_negative_are_wrong_under_corrected() -> None:
    gold = {str(number): -1.0 for number in range(4)}
    answers = {"0": "negative", "1": "neutral", "2": "Negative"}
    assert sentiment_score(gold, answers, backend="x").accuracy == 1.0
    assert sentiment_score(gold, answers, backend="x", protocol="corrected").accuracy == 1 / 4


def waf_by_hand(pairs: Sequence[tuple[str, str | None]]) -> float:
    """scikit-learn's f1_score(average="weighted") of three labels, counted pair by pair."""
    total = 0.0
    for name in SENTIMENTS:
        hits = sum(gold == name == answer for gold, answer in pairs)
        support = sum(gold == name for gold, _ in pairs)
        wrong = sum((gold == name) != (answer == name) for gold, answer in pairs)
        total += support * (2 * hits / (2 * hits + wrong) if hits else 0.0)
    return total / len(pairs)


@given(st.lists(BOTH, min_size=1, max_size=30))
def test_corrected_is_the_weighted_f1_counted_pair_by_pair(rows: list[tuple[float, str | None]]) -> None:
    gold = {str(number): valence for number, (valence, _) in enumerate(rows)}
    answers = {str(number): word for number, (_, word) in enumerate(rows) if word is not None}
    report = sentiment_score(gold, answers, backend="x", protocol="corrected")
    names = ["positive" if valence > 0 else "negative" if valence < 0 else "neutral" for valence, _ in rows]
    pairs = list(zip(names, [word for _, word in rows], strict=True))
    assert report.waf == pytest.approx(waf_by_hand(pairs), abs=1e-12)
    assert report.accuracy == pytest.approx(sum(gold == word for gold, word in pairs) / len(pairs), abs=1e-12)
    assert report.n == len(rows)
    assert report.missing == sum(word is None for _, word in rows)
    assert report.invalid == sum(word is not None and word not in SENTIMENTS for _, word in rows)


def test_where_no_sample_is_left_nothing_is_defined_and_the_json_holds_null() -> None:
    report = sentiment_score({"a": 0.0}, {"a": "positive"}, backend="predictions")
    assert report.n == 0
    result = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert result["waf"] is None
    assert result["accuracy"] is None
    assert result["intervals"]["waf"] == [None, None]
    assert sentiment_score({}, {}, backend="predictions", protocol="corrected").to_json()["waf"] is None


@given(st.lists(BOTH, min_size=1, max_size=30), PROTOCOLS)
def test_waf_lies_between_zero_and_one_and_a_perfect_answer_reaches_one(
    rows: list[tuple[float, str | None]], protocol: str
) -> None:
    gold = {str(number): valence for number, (valence, _) in enumerate(rows)}
    answers = {str(number): word for number, (_, word) in enumerate(rows) if word is not None}
    report = sentiment_score(gold, answers, backend="x", protocol=protocol)
    right = {name: "positive" if v > 0 else "negative" if v < 0 else "neutral" for name, v in gold.items()}
    if report.n:
        assert 0 <= report.waf <= 1
        assert sentiment_score(gold, right, backend="x", protocol=protocol).waf == pytest.approx(1.0)


def test_the_interval_holds_the_score_and_clusters_widen_it() -> None:
    generator = np.random.default_rng(0)
    gold = {str(n): float(1 if n // 20 % 2 else -1) for n in range(400)}
    answers = {name: "positive" if generator.random() < 0.7 else "negative" for name in gold}
    plain = sentiment_score(gold, answers, backend="x")
    clustered = sentiment_score(gold, answers, backend="x", clusters={name: str(int(name) // 20) for name in gold})
    assert plain.waf == clustered.waf
    widths = [report.intervals["waf"].high - report.intervals["waf"].low for report in (plain, clustered)]
    assert plain.intervals["waf"].low < plain.waf < plain.intervals["waf"].high
    assert 0 < widths[0] < widths[1]


@pytest.mark.parametrize("protocol", ["official", "corrected"])
def test_a_constant_scores_what_answering_it_scores(protocol: str) -> None:
    gold = {"a": 1.0, "b": -1.0, "c": -2.0, "d": 0.0}
    constants = sentiment_score(gold, {}, backend="x", protocol=protocol).constants
    assert list(constants) == list(SENTIMENTS[: 2 if protocol == "official" else 3])
    for word, waf in constants.items():
        assert sentiment_score(gold, dict.fromkeys(gold, word), backend="x", protocol=protocol).waf == waf


@pytest.mark.parametrize("protocol", ["official", "corrected"])
def test_two_systems_are_compared_on_the_same_draws(protocol: str) -> None:
    gold = {str(n): float(n % 3 - 1) for n in range(300)}
    right = {name: "positive" if v > 0 else "negative" if v < 0 else "neutral" for name, v in gold.items()}
    worse = {name: "mixed" if int(name) % 5 == 0 else word for name, word in right.items()}
    clusters = {name: str(int(name) // 3) for name in gold}
    first = sentiment_score(gold, worse, backend="x", protocol=protocol, clusters=clusters)
    second = sentiment_score(gold, right, backend="x", protocol=protocol, clusters=clusters)
    differences = compare_sentiment(first, second)
    assert set(differences) == {"waf", "accuracy"}
    assert differences["waf"].delta == pytest.approx(1.0 - first.waf)
    assert differences["accuracy"].delta == pytest.approx(1.0 - first.accuracy)
    assert 0 < differences["waf"].low < differences["waf"].delta < differences["waf"].high
    assert compare_sentiment(first, first)["waf"].p_value == 1.0
    one = dict.fromkeys(gold, "one")  # a single cluster: every draw is the whole, which is no interval
    alone = [sentiment_score(gold, a, backend="x", protocol=protocol, clusters=one) for a in (worse, right)]
    assert compare_sentiment(*alone)["waf"].delta == pytest.approx(differences["waf"].delta)
    assert isnan(compare_sentiment(*alone)["waf"].low)
    assert alone[0].to_json()["intervals"]["waf"] == [None, None]


def test_systems_of_different_gold_or_protocols_are_not_compared() -> None:
    first = sentiment_score({"a": 1.0}, {}, backend="x")
    for other in ({"a": -1.0}, {"a": 1.0, "b": 1.0}):
        with pytest.raises(ValueError, match="different gold"):
            compare_sentiment(first, sentiment_score(other, {}, backend="x"))
    with pytest.raises(ValueError, match="protocols"):
        compare_sentiment(first, sentiment_score({"a": 1.0}, {}, backend="x", protocol="corrected"))


def test_the_signature_names_the_protocol_and_the_backend() -> None:
    report = sentiment_score({"a": 1.0}, {}, backend="lexicon", judge="lexicon@01234567", name="mosi", mode="slow")
    assert report.signature == f"set:mosi|n:1|protocol:official|mode:slow|judge:lexicon@01234567|version:{__version__}"
    corrected = sentiment_score({"a": 1.0, "b": 0.0}, {}, backend="lexicon", protocol="corrected")
    assert corrected.signature == f"set:gold|n:2|protocol:corrected|judge:lexicon|version:{__version__}"


@pytest.mark.parametrize(
    ("gold", "answers", "protocol", "message"),
    [
        ({"a": 1.0}, {"b": "positive"}, "official", "'b' has no gold"),
        ({"a": float("nan")}, {}, "corrected", "'a' is not finite"),
        ({"a": 1.0}, {}, "waf", "protocol 'waf' is not known"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    gold: dict[str, float], answers: dict[str, Any], protocol: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        sentiment_score(gold, answers, backend="x", protocol=protocol)


LEXICON = [
    ("happy", "positive"),
    ("Relieved ", "positive"),
    ("worried", "negative"),
    ("disgust", "negative"),
    ("surprised", "neutral"),  # w3 puts it under "powerful"; the four others do not
    ("curious", "neutral"),  # two wheels for positive, two for neutral
    ("neutral", "neutral"),
    ("qwerty", "neutral"),
    ("happy, calm, sad", "positive"),
    ("happy, sad", "neutral"),
    ("happy, happy, sad", "neutral"),
    ("happy, HAPPY , sad", "neutral"),
    ("surprised, angry", "negative"),
    ("sad, qwerty, zxcvb", "negative"),
    ("", "neutral"),
]


@pytest.mark.parametrize(("words", "sentiment"), LEXICON)
def test_words_take_the_side_that_most_of_them_are_on(words: str, sentiment: str) -> None:
    assert lexicon_sentiment(words.split(",")) == sentiment


def test_a_word_whose_wheels_do_not_agree_on_one_lead_is_neutral() -> None:
    valence_of = ((1, 0), (-1, 0), (1, 0), (-1, 0), (0, 1))
    assert _word_valence([{0}, {0}, {0}, {0}, {0}], valence_of) == 0
    assert _word_valence([{0}, {0}, {0}, set(), {0}], valence_of) == 1
    assert _word_valence([set(), {0}, set(), set(), set()], valence_of) == -1
    assert _word_valence([set()] * 5, valence_of) == 0


def test_every_category_that_a_word_reaches_in_a_wheel_has_a_vote() -> None:
    valence_of = ((1, -1, 0), (-1, 1), (0,), (0,), (0,))
    assert _word_valence([{0, 2}, {0}, set(), set(), set()], valence_of) == 0
    assert _word_valence([{0, 1}, {0}, set(), set(), set()], valence_of) == -1
    assert _word_valence([{0, 2}, {1}, set(), set(), set()], valence_of) == 1


def test_every_category_of_the_builtin_wheels_has_one_valence() -> None:
    wheels = WheelSet.load("builtin", protocol="corrected")
    for name, categories in zip(wheels.names, wheels.categories_of, strict=True):
        placed = [category for names in VALENCE[name].values() for category in names]
        assert sorted([*placed, "neutral"]) == sorted(categories)
    assert lexicon_sha256() == wheels.sha256
