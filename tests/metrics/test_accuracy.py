"""Accuracy: one gold label alone is right, what is not parsed is wrong and shown, and every count adds up."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_r1.data.labels import names_gold
from mer_r1.data.sample import Sample
from mer_r1.metrics.accuracy import NONE, OTHER, gold_error, mean_accuracy, score_accuracy

CANDIDATES = ("joy", "fear", "sadness")


def samples(*labels: str, clusters: str = "") -> list[Sample]:
    """One sample a label; the letters of `clusters` name what they belong to."""
    return [
        Sample(str(n), subtitle="x", labels=(label,), candidates=CANDIDATES, cluster=clusters[n] if clusters else None)
        for n, label in enumerate(labels)
    ]


GOLD = samples("joy", "joy", "fear", "sadness", "sadness")
SAID = {"0": ("joy",), "1": ("fear",), "2": ("joy", "fear"), "3": (), "4": ("gloom",)}


def test_each_kind_of_answer_is_counted_in_its_place() -> None:
    report = score_accuracy(GOLD, SAID, name="x", mode="slow")
    assert (report.n, report.accuracy, report.unparsed, report.other) == (5, 0.2, 1, 2)
    assert report.confusion == {
        "joy": {"joy": 1, "fear": 1, "sadness": 0, OTHER: 0, NONE: 0},
        "fear": {"joy": 0, "fear": 0, "sadness": 0, OTHER: 1, NONE: 0},
        "sadness": {"joy": 0, "fear": 0, "sadness": 0, OTHER: 1, NONE: 1},
    }
    assert {label: (item.n, item.recall) for label, item in report.recalls.items()} == {
        "joy": (2, 0.5),
        "fear": (1, 0),
        "sadness": (2, 0),
    }
    assert report.balanced == pytest.approx(1 / 6)
    assert (report.constant_label, report.constant) == ("joy", 0.4)
    assert report.signature.startswith("set:x|n:5|parser:one-label|mode:slow|version:")


def test_gold_scores_one_and_a_missing_answer_is_wrong() -> None:
    whole = score_accuracy(GOLD, {sample.id: sample.labels for sample in GOLD}, name="x", mode="fast")
    assert (whole.accuracy, whole.balanced, whole.interval) == (1, 1, (1, 1))
    nothing = score_accuracy(GOLD, {}, name="x", mode="fast")
    assert (nothing.accuracy, nothing.unparsed) == (0, 5)


def test_any_of_several_gold_labels_is_right_and_stands_in_its_own_row() -> None:
    gold = [Sample("0", subtitle="x", labels=("joy", "fear"), candidates=CANDIDATES)]
    report = score_accuracy(gold, {"0": ("fear",)}, name="x", mode="slow")
    assert report.accuracy == 1
    assert report.confusion["fear"]["fear"] == 1


def test_labels_are_compared_in_normal_form() -> None:
    gold = [Sample("0", subtitle="x", labels=("Joy",), candidates=("Joy", "Fear"))]
    report = score_accuracy(gold, {"0": (" JOY.",)}, name="x", mode="slow")
    assert (report.accuracy, report.confusion) == (1, {"joy": {"joy": 1, "fear": 0, OTHER: 0, NONE: 0}})


@given(st.lists(st.tuples(st.sampled_from(CANDIDATES), st.lists(st.sampled_from((*CANDIDATES, "gloom"))))))
def test_the_confusion_adds_up_and_agrees_with_the_reward(rows: list[tuple[str, list[str]]]) -> None:
    gold = samples(*(label for label, _ in rows))
    said = {str(n): words for n, (_, words) in enumerate(rows)}
    if not gold:
        with pytest.raises(ValueError, match="gold label"):
            score_accuracy(gold, said, name="x", mode="slow")
        return
    report = score_accuracy(gold, said, name="x", mode="slow")
    assert sum(sum(row.values()) for row in report.confusion.values()) == len(gold)
    diagonal = sum(row.get(label, 0) for label, row in report.confusion.items())
    assert diagonal == sum(names_gold(said[sample.id], sample.labels) for sample in gold)
    assert report.accuracy == pytest.approx(diagonal / len(gold))
    assert len(gold) == 1 or report.interval.low <= report.accuracy <= report.interval.high  # of one there is none


def test_samples_of_a_cluster_are_drawn_together() -> None:
    labels = ["joy"] * 40
    said = {str(n): ("joy",) if n < 20 else ("fear",) for n in range(40)}
    alone = score_accuracy(samples(*labels), said, name="x", mode="slow").interval
    two = score_accuracy(samples(*labels, clusters="a" * 20 + "b" * 20), said, name="x", mode="slow").interval
    assert (two.low, two.high) == (0, 1)
    assert 0.3 < alone.low < 0.5 < alone.high < 0.7


def test_a_mean_weighs_sets_alike_and_keeps_their_clusters_apart() -> None:
    few = score_accuracy(samples("joy", "joy"), {"0": ("joy",), "1": ("joy",)}, name="a", mode="slow")
    many = score_accuracy(samples(*["fear"] * 30), {}, name="b", mode="slow")
    value, interval = mean_accuracy([few, many])
    assert value == 0.5
    assert (interval.low, interval.high) == (0.5, 0.5)
    half = score_accuracy(samples(*["joy"] * 50), {str(n): ("joy",) for n in range(25)}, name="c", mode="slow")
    value, interval = mean_accuracy([half, half])
    assert value == 0.5
    assert mean_accuracy([half]) == (0.5, half.interval)
    assert half.interval.low < interval.low < 0.5 < interval.high < half.interval.high, "two sets are surer than one"
    with pytest.raises(ValueError, match="no set"):
        mean_accuracy([])


def test_a_cluster_of_one_set_is_not_that_of_another() -> None:
    gold = samples(*["joy"] * 8, clusters="aabbccdd")
    said = {str(n): ("joy",) for n in range(4)}
    one, two = (score_accuracy(gold, said, name=name, mode="slow") for name in "ab")
    assert one.interval.low == 0, "four clusters may all be wrong ones"
    assert mean_accuracy([one, two])[1].low > 0, "eight hardly ever are"


def test_a_report_is_json_without_numbers_that_are_none() -> None:
    reported = score_accuracy(samples("joy", "fear"), {"0": ("joy",)}, name="x", mode="slow").as_json()
    assert reported["intervals"]["level"] == 0.95
    assert reported["recalls"]["fear"]["recall"] == 0
    uneven = score_accuracy(GOLD, SAID, name="x", mode="slow").as_json()
    assert (uneven["accuracy"], uneven["balanced"]) == (0.2, pytest.approx(1 / 6))
    assert all(math.isfinite(bound) for bound in reported["intervals"]["accuracy"])
    assert set(reported) >= {"n", "accuracy", "unparsed", "confusion", "constant", "signature"}
    assert "right" not in reported


@pytest.mark.parametrize(
    ("sample", "fault"),
    [
        (Sample("a", labels=("Joy!",), candidates=("joy", "fear")), None),
        (Sample("a", candidates=("joy",)), "has no labels"),
        (Sample("a", labels=("joy",)), "has no candidates"),
        (Sample("a", labels=("joy",), candidates=("fear",)), "has the label 'joy' outside its candidates"),
        (
            Sample("a", labels=("fear",), candidates=("joy/happiness", "fear")),
            "has the label 'joy/happiness', which is not read as one word",
        ),
    ],
)
def test_gold_that_no_answer_can_name_is_a_fault(sample: Sample, fault: str | None) -> None:
    assert gold_error(sample) == fault
