"""Which gold can be counted follows from what the objective pays."""

import pytest

from mer_r1.data.sample import Sample
from mer_r1.emotion.wheel import WheelSet
from mer_r1.metrics.countable import NO_ANSWER, NO_CATEGORY, NO_LABELS, uncountable
from mer_r1.objectives import OBJECTIVES

WHEELS = WheelSet.load("builtin")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gold_must_reach_a_wheel_only_where_wheels_are_paid(objective: str) -> None:
    strange, listed = Sample("a", labels=("zzz",)), Sample("b", labels=("zzz",), candidates=("zzz", "yyy"))
    pays_categories = objective not in ("accuracy", "emo_r3")
    assert uncountable(strange, WHEELS, objective) == (NO_CATEGORY if objective != "accuracy" else None)
    assert uncountable(listed, WHEELS, objective) == (NO_CATEGORY if pays_categories else None)
    assert uncountable(Sample("c"), WHEELS, objective) == NO_LABELS
    assert uncountable(Sample("d", labels=("zzz", "happy")), WHEELS, objective) is None


@pytest.mark.parametrize("objective", ["accuracy", "emo_r3", "mer_r1_rer"])
@pytest.mark.parametrize("candidates", [("sad", "angry"), ("happy, glad", "happy")])
def test_one_right_label_must_be_among_the_candidates(objective: str, candidates: tuple[str, ...]) -> None:
    sample = Sample("a", labels=("happy",), candidates=candidates)
    assert uncountable(sample, WHEELS, objective) == NO_ANSWER
    assert uncountable(sample, WHEELS, "mer_r1") is None


def test_the_protocol_decides_what_is_counted() -> None:
    """The corrected one knows neutral, and takes an unknown word for a category of its own."""
    for label in ("neutral", "expressionless"):
        assert uncountable(Sample("a", labels=(label,)), WHEELS, "mer_r1") == NO_CATEGORY
        assert uncountable(Sample("a", labels=(label,)), WheelSet.load(protocol="corrected"), "mer_r1") is None
