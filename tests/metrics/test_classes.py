"""Closed sets: scikit-learn's numbers, what one class is, what is wrong and what is left out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from mer_r1 import __version__
from mer_r1.errors import InputError
from mer_r1.metrics.classes import (
    MEASURES,
    NO_ANSWER,
    NO_CLASS,
    answered_class,
    compare_classes,
    measures,
    score_classes,
)

TRUTH = ("happy", "happy", "happy", "happy", "sad", "sad", "sad", "angry", "angry", "neutral")
ANSWERS = ("happy", "happy", "sad", "neutral", "sad", "angry", "other", "angry", "fear", "neutral")
GOLD = {str(n): [label] for n, label in enumerate(TRUTH)}
PREDICTED = {str(n): [label] for n, label in enumerate(ANSWERS)}


def test_the_numbers_are_those_of_scikit_learn() -> None:
    """Version 1.9.1: accuracy_score, and recall_score and f1_score with the labels of the gold and zero_division=0."""
    report = score_classes(GOLD, PREDICTED)
    assert report.measures == pytest.approx(
        {"accuracy": 0.5, "uar": 0.5833333333333334, "weighted_f1": 0.5533333333333333, "macro_f1": 0.5583333333333332},
        abs=1e-12,
    )
    rows = {name: (item.n, item.precision, item.recall, item.f1) for name, item in report.classes.items()}
    assert rows == {
        "angry": (2, 0.5, 0.5, 0.5),
        "happy": (4, 1.0, 0.5, pytest.approx(2 / 3)),
        "neutral": (1, 0.5, 1.0, pytest.approx(2 / 3)),
        "sad": (3, 0.5, pytest.approx(1 / 3), pytest.approx(0.4)),
    }
    assert report.confusion["sad"] == {"angry": 1, "happy": 0, "neutral": 0, "sad": 1, NO_CLASS: 1, NO_ANSWER: 0}
    assert (report.constant_label, report.constant["accuracy"], report.constant["uar"]) == ("happy", 0.4, 0.25)
    assert report.signature == f"set:gold|n:10|parser:first-label|version:{__version__}"


def test_candidates_are_classes_without_gold_and_in_no_mean() -> None:
    plain, known = score_classes(GOLD, PREDICTED), score_classes(GOLD, PREDICTED, candidates=["Fear", "happy", "bored"])
    assert known.measures == plain.measures
    assert list(known.confusion["angry"]) == ["fear", "happy", "bored", "angry", "neutral", "sad", NO_CLASS, NO_ANSWER]
    assert (known.confusion["angry"]["fear"], plain.confusion["angry"][NO_CLASS]) == (1, 1)
    assert list(known.classes) == ["happy", "angry", "neutral", "sad"]


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("Happy.", "happy"),
        (["**Sad**"], "sad"),
        (["sad", "happy"], "sad"),
        ("sad, happy", "sad"),
        (["", "happy"], "happy"),
        (["joy/surprise"], "joy/surprise"),
        ("very  happy", "very happy"),
        (["joy / surprise"], "joy"),
        ("3", "3"),
        ([], None),
        (None, None),
        ("", None),
        (7, None),
    ],
)
def test_an_answer_is_its_first_label(answer: Any, read: str | None) -> None:
    assert answered_class(answer, ("happy", "sad", "joy/surprise", "3")) == read


def test_gold_without_a_label_is_left_out_and_stands_in_n() -> None:
    gold: dict[str, Any] = GOLD | {"x": [], "y": None, "z": ""}
    report = score_classes(gold, PREDICTED)
    assert (report.counted, report.whole, report.measures["accuracy"]) == (10, 13, 0.5)
    assert "|n:10/13|" in report.signature
    with pytest.raises(InputError, match="no gold row has a label"):
        score_classes({"x": []}, {"x": ["happy"]})


@pytest.mark.parametrize("field", [["happy", "sad"], "happy, sad", ["happy", 3], 3])
def test_gold_of_several_labels_or_of_none_that_is_a_text_is_an_error(field: Any) -> None:
    with pytest.raises(InputError, match="'x': "):
        score_classes({"x": field}, {"x": ["happy"]})


def test_a_missing_answer_is_wrong_and_counted() -> None:
    report = score_classes(GOLD, {key: value for key, value in PREDICTED.items() if key != "0"} | {"1": []})
    assert (report.missing, report.answered(NO_ANSWER), report.measures["accuracy"]) == (1, 2, 0.3)


def test_an_interval_holds_its_measure_and_clusters_widen_it() -> None:
    gold: dict[str, Any] = {f"{copy}-{key}": value for copy in range(20) for key, value in GOLD.items()}
    answers = {f"{copy}-{key}": value for copy in range(20) for key, value in PREDICTED.items()}
    plain = score_classes(gold, answers)
    for name in MEASURES:
        low, high = plain.intervals[name]
        assert low < plain.measures[name] < high
    whole = score_classes(gold, answers, clusters={key: key.partition("-")[2] for key in gold})
    assert np.ptp(whole.intervals["accuracy"]) > np.ptp(plain.intervals["accuracy"])


def test_two_systems_are_compared_on_one_gold_alone() -> None:
    first, second = score_classes(GOLD, PREDICTED), score_classes(GOLD, GOLD)
    found = compare_classes(first, second)
    assert found["accuracy"].delta == pytest.approx(0.5)
    assert compare_classes(second, first)["uar"].delta == pytest.approx(-found["uar"].delta)
    with pytest.raises(ValueError, match="of different gold"):
        compare_classes(first, score_classes(GOLD | {"0": ["sad"]}, PREDICTED))


def test_classes_that_were_not_drawn_are_in_no_mean_of_a_resample() -> None:
    """One sample of the first class alone, which was right; then no sample at all."""
    drawn = np.array([[1.0, 0, 1, 0, 1, 0], [0.0] * 6])
    assert measures(drawn)[0].tolist() == [1.0] * 4
    assert all(math.isnan(value) for value in measures(drawn)[1])


def test_json_values_hold_the_matrix_and_no_nan() -> None:
    report = score_classes(GOLD, PREDICTED).to_json()
    assert (report["task"], report["n"], report["counted"], report["no_class"]) == ("classes", 10, 10, 2)
    assert report["confusion"]["angry"][NO_CLASS] == 1
    assert report["classes"]["happy"] == {"n": 4, "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3)}
