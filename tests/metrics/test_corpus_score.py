"""`score`: what it counts, what it signs, and that its JSON holds no NaN."""

import json

import pytest

from mer_r1 import __version__
from mer_r1.errors import InputError
from mer_r1.metrics.corpus_score import compare, score
from tests.small_wheels import SMALL

GOLD = {"a": ["happy"], "b": "[angry, sad]", "c": ["neutral"], "d": None, "e": ["sad"]}


def test_the_report_counts_what_was_missing_malformed_and_dropped() -> None:
    report = score(GOLD, {"a": ["Glad", "qwerty", "qwerty"], "b": "lost, angry", "c": None}, SMALL)
    assert (report.n, report.missing, report.malformed) == (5, 2, 1)
    assert (report.unmapped_predictions, report.unmapped_words) == (2, {"qwerty": 1, "lost": 1})
    assert (report.unscorable_gold, report.unscorable_words) == (2, {"neutral": 1})
    first = report.open_vocabulary.wheels[0]
    assert (first.n, first.precision, first.recall, first.hit) == pytest.approx((3, 2 / 3, 1 / 2, 2 / 3))


def test_the_signature_says_how_the_number_came_about() -> None:
    report = score(GOLD, {}, SMALL, name="meld", mode="slow", parser="lenient")
    assert report.signature == (
        f"set:meld|n:5|wheels:small@{SMALL.sha256[:8]}|protocol:official|parser:lenient|mode:slow|version:{__version__}"
    )


def test_the_parser_decides_what_a_raw_string_is_worth() -> None:
    gold = {"a": ["happy", "sad"]}
    assert score(gold, {"a": "happy; sad."}, SMALL).open_vocabulary.recall == 0.0
    assert score(gold, {"a": "happy; sad."}, SMALL, parser="lenient").open_vocabulary.recall == 1.0


def test_values_that_are_not_defined_become_null() -> None:
    result = json.loads(json.dumps(score(GOLD, {}, SMALL).to_json(), allow_nan=False))
    assert result["open_vocabulary"]["f1"] is None
    assert result["open_vocabulary"]["recall"] == 0.0
    assert set(result["open_vocabulary"]["wheels"]) == {"w1", "w2", "w3", "w4", "w5"}
    assert result["intervals"]["hit"] == [0.0, 0.0]
    assert result["intervals"]["num_clusters"] is None
    nothing = score({"a": None}, {}, SMALL).to_json()
    assert nothing["open_vocabulary"]["recall"] is None
    assert nothing["intervals"]["recall"] == [None, None]
    assert nothing["constant_baselines"] == []


def test_the_best_constant_answers_stand_beside_the_score() -> None:
    report = score({"a": ["happy"], "b": ["glad"], "c": ["happy"], "d": ["angry"]}, {}, SMALL)
    assert [answer.words for answer in report.constant_baselines] == [("happy",), ("happy", "angry")]
    assert report.constant_baselines[0].hit == pytest.approx(3 / 4)
    assert report.constant_baselines[1].hit == pytest.approx(1.0)


def test_clusters_are_counted_and_widen_the_interval() -> None:
    gold = {str(i): ["happy"] for i in range(40)}
    right = {str(i): ["happy" if i // 10 % 2 else "sad"] for i in range(40)}
    alone = score(gold, right, SMALL)
    clustered = score(gold, right, SMALL, clusters={str(i): f"speaker {i // 10}" for i in range(39)})
    assert alone.num_clusters is None
    assert clustered.num_clusters == 5
    assert clustered.intervals["recall"].low < alone.intervals["recall"].low


def test_two_systems_are_compared_on_the_same_samples() -> None:
    gold = {str(i): ["happy"] for i in range(40)}
    half = score(gold, {str(i): ["happy" if i % 2 else "sad"] for i in range(40)}, SMALL)
    differences = compare(half, score(gold, gold, SMALL))
    assert differences["recall"].delta == pytest.approx(0.5)
    assert differences["recall"].p_value < 0.01
    assert compare(half, half)["f1"].p_value == 1.0


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(InputError, match="'z' has no gold sample"):
        score(GOLD, {"z": ["sad"]}, SMALL)
    with pytest.raises(InputError, match="parser 'x' is not known"):
        score(GOLD, {}, SMALL, parser="x")
    with pytest.raises(InputError, match="nonsense"):
        score(GOLD, {}, "nonsense")
