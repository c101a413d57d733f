"""WAF: parity with the official code, its two-class rule, and the lexicon's stated rule."""

import json
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
    lexicon_sentiment,
    lexicon_sha256,
    sentiment_score,
)
from tests.golden import load_golden

TOLERANCE = 1e-12
BOTH = st.tuples(st.floats(-3, 3), st.sampled_from([*SENTIMENTS, "mixed", "Positive", ""]))


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


def test_where_no_sample_is_left_nothing_is_defined_and_the_json_holds_null() -> None:
    report = sentiment_score({"a": 0.0}, {"a": "positive"}, backend="predictions")
    assert report.n == 0
    result = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert result["waf"] is None
    assert result["accuracy"] is None
    assert result["intervals"]["waf"] == [None, None]


@given(st.lists(BOTH, min_size=1, max_size=30))
def test_waf_lies_between_zero_and_one_and_a_perfect_answer_reaches_one(rows: list[tuple[float, str]]) -> None:
    gold = {str(number): valence for number, (valence, _) in enumerate(rows)}
    report = sentiment_score(gold, {str(n): word for n, (_, word) in enumerate(rows)}, backend="x")
    right = {name: "positive" if valence > 0 else "neutral" for name, valence in gold.items()}
    if report.n:
        assert 0 <= report.waf <= 1
        assert sentiment_score(gold, right, backend="x").waf == pytest.approx(1.0)


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


def test_the_signature_names_the_backend_and_never_calls_it_official() -> None:
    report = sentiment_score({"a": 1.0}, {}, backend="lexicon", judge="lexicon@01234567", name="mosi", mode="slow")
    assert report.signature == f"set:mosi|n:1|protocol:waf|mode:slow|judge:lexicon@01234567|version:{__version__}"
    assert sentiment_score({"a": 1.0}, {}, backend="lexicon").signature.count("judge:lexicon|") == 1


@pytest.mark.parametrize(
    ("gold", "answers", "message"),
    [({"a": 1.0}, {"b": "positive"}, "'b' has no gold"), ({"a": float("nan")}, {}, "'a' is not finite")],
)
def test_what_cannot_be_scored_is_refused(gold: dict[str, float], answers: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sentiment_score(gold, answers, backend="x")


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
    one_category_each = ((1,), (-1,), (1,), (-1,), (0,))
    assert _word_valence((0, 0, 0, 0, 0), one_category_each) == 0
    assert _word_valence((0, 0, 0, -1, 0), one_category_each) == 1
    assert _word_valence((-1, 0, -1, -1, -1), one_category_each) == -1
    assert _word_valence((-1,) * 5, one_category_each) == 0


def test_every_category_of_the_builtin_wheels_has_one_valence() -> None:
    wheels = WheelSet.load("builtin")
    for name, categories in zip(wheels.names, wheels.categories_of, strict=True):
        placed = [category for names in VALENCE[name].values() for category in names]
        assert sorted([*placed, "neutral"]) == sorted(categories)
    assert lexicon_sha256() == wheels.sha256
