"""Cases: each kind by hand, one system's own, strength by size and confidence, and nothing that is no decision."""

import math
from pathlib import Path
from typing import Any

import pytest

from mer_r1.analysis.cases import KINDS, case_rules, find_cases, pair_of
from mer_r1.data.sample import Mode, Prediction, Sample
from mer_r1.evaluation.runs import Answers, EvaluatedSet, System
from tests.analysis.answers import confident, said
from tests.small_wheels import SMALL

CLIP_FOLDER = Path()
CLIP = Sample("a", subtitle="x", labels=("happy", "sad"))


def answers(fast: str | None, slow: str | None, identity: str = "a", **rest: Any) -> Answers:
    pairs: list[tuple[Mode, str | None]] = [("fast", fast), ("slow", slow)]
    return {(identity, mode): said(identity, mode, *text.split(), **rest) for mode, text in pairs if text is not None}


def kinds(reference: Answers, tuned: Answers | None, clip: Sample = CLIP) -> dict[str, float]:
    return {hit.kind: hit.strength for hit in find_cases([clip], reference, tuned, SMALL)}


def test_the_kinds_of_two_systems_by_hand() -> None:
    # happy is right in 5 wheels, sad in 4; angry is wrong in 5
    assert kinds(answers("happy sad", "happy"), answers("", "happy sad")) == {"retained": pytest.approx(4 / 5)}
    assert kinds(answers("happy sad", "happy"), answers("", "happy")) == {}
    assert kinds(answers("happy angry", "happy"), answers("", "happy")) == {"suppressed": 1.0}
    assert kinds(answers("happy angry", "angry"), answers("", "sad")) == {}  # the right one is lost
    assert kinds(answers("angry", "happy"), answers("", "sad angry")) == {"recovered": pytest.approx(4 / 5)}
    found = kinds(answers("angry", "angry"), answers("", "sad"))
    assert found == {"suppressed": 1.0, "recovered": pytest.approx(4 / 5)}
    assert kinds(answers("happy", "happy"), answers("", "angry")) == {"failure": pytest.approx((9 + 5) / 5)}


def test_one_system_alone_loses_where_two_retain() -> None:
    assert kinds(answers("happy sad", "happy"), None) == {"lost": pytest.approx(4 / 5)}
    assert kinds(answers("happy angry", "happy"), None) == {"suppressed": 1.0}
    assert kinds(answers("angry", "happy angry"), None) == {"recovered": 1.0}
    assert kinds(answers("angry", "angry"), None) == {"failure": pytest.approx(14 / 5)}
    assert set(case_rules("A")) == {"lost", "suppressed", "recovered", "failure"}
    assert set(case_rules("A", "B")) == {"retained", "suppressed", "recovered", "failure"}


def test_a_clip_without_gold_or_answers_is_of_no_kind() -> None:
    assert kinds(answers("happy", "sad"), None, Sample("a", subtitle="x", labels=("lost",))) == {}
    assert kinds(answers("happy", "sad"), {}) == {}
    assert kinds({}, answers("", "happy")) == {}
    assert kinds(answers("happy", "", status="error"), None) == {}


def test_an_unfinished_answer_can_only_be_a_failure() -> None:
    cut: Answers = {("a", "slow"): said("a", "slow", status="truncated")}
    assert kinds({**answers("happy", None), **cut}, None) == {"failure": pytest.approx(9 / 5)}
    assert kinds({**answers("happy", None), **cut}, answers("", "happy")) == {}


def with_confidence(row: Prediction, joy: float) -> Prediction:
    logs = confident(math.log(joy), math.log(0.05), math.log(0.05))
    return said(row.id, row.mode, *row.labels, categories_first=logs)


def test_confidence_makes_a_case_up_to_twice_as_strong_and_is_not_needed() -> None:
    reference, tuned = answers("happy", "sad"), answers("", "happy")
    plain = kinds(reference, tuned)["retained"]
    sure = dict(tuned) | {("a", "slow"): with_confidence(tuned["a", "slow"], 0.9)}
    unsure = dict(reference) | {("a", "slow"): with_confidence(reference["a", "slow"], 0.2)}
    assert kinds(reference, sure)["retained"] == plain == 1.0  # one side alone says nothing
    assert kinds(unsure, sure)["retained"] == pytest.approx(1.0 * (1 + 0.7))
    assert kinds(dict(reference) | {("a", "slow"): with_confidence(reference["a", "slow"], 0.99)}, sure)[
        "retained"
    ] == pytest.approx(1.0)


def test_hits_come_by_kind_the_strongest_first_and_name_their_categories() -> None:
    clips = [Sample(name, subtitle="x", labels=("happy", "sad")) for name in "abcd"]
    rows: Answers = {}
    for name, fast, slow in (
        ("a", "sad", "happy"),
        ("b", "happy", "sad"),
        ("c", "angry", "angry"),
        ("d", "happy", "sad"),
    ):
        rows |= answers(fast, slow, name)
    hits = find_cases(clips, rows, None, SMALL)
    assert [(hit.kind, hit.id) for hit in hits] == [("lost", "b"), ("lost", "d"), ("lost", "a"), ("failure", "c")]
    assert [KINDS.index(hit.kind) for hit in hits] == sorted(KINDS.index(hit.kind) for hit in hits)
    assert SMALL.unpack(hits[2].packed) == SMALL.map_set(["sad"])
    assert SMALL.unpack(hits[3].packed) == SMALL.map_set(["happy", "sad"])  # what a failure missed


def system(name: str, has_set: bool = True) -> System:
    sets = (EvaluatedSet("test", "test", CLIP_FOLDER, (CLIP,), {}),) if has_set else ()
    return System(name, name, CLIP_FOLDER, sets)


def test_the_pair_is_baseline_and_mer_r1_or_the_last_two_that_were_asked() -> None:
    def names(*systems: System) -> list[str]:
        return [item.name for item in pair_of(systems) or ()]

    assert names(system("mer_r1"), system("sft"), system("baseline")) == ["baseline", "mer_r1"]
    assert names(system("a"), system("b"), system("c"), system("d", has_set=False)) == ["b", "c"]
    assert names(system("a"), system("b", has_set=False)) == []


def sure(row: Prediction, joy: float, anger: float, sadness: float) -> dict[tuple[str, Mode], Prediction]:
    """The answer with its confidences in every wheel."""
    logs = confident(math.log(joy), math.log(anger), math.log(sadness))
    return {(row.id, row.mode): said(row.id, row.mode, *row.labels, categories_first=logs)}


def with_all(row: Answers, fast: tuple[float, ...], slow: tuple[float, ...]) -> Answers:
    return sure(row["a", "fast"], *fast) | sure(row["a", "slow"], *slow)


HIGH, LOW = (0.9, 0.05, 0.05), (0.2, 0.1, 0.7)
JOYFUL = Sample("a", subtitle="x", labels=("happy",))


def test_what_is_lost_is_stronger_the_surer_fast_was_of_it_and_the_less_sure_slow() -> None:
    rows = answers("happy", "sad")
    assert kinds(with_all(rows, HIGH, LOW), None, JOYFUL)["lost"] == pytest.approx(1 + 0.7)
    assert kinds(with_all(rows, LOW, HIGH), None, JOYFUL)["lost"] == pytest.approx(1)


def test_what_is_suppressed_is_stronger_the_surer_the_reference_was_of_it() -> None:
    rows, angry = answers("happy angry", "happy"), (0.05, 0.8, 0.15)
    assert kinds(with_all(rows, angry, HIGH), None, JOYFUL)["suppressed"] == pytest.approx(1 + 0.75)
    assert kinds(with_all(rows, HIGH, angry), None, JOYFUL)["suppressed"] == pytest.approx(1)


def test_what_is_recovered_is_stronger_the_surer_the_tuned_answer_is_of_it() -> None:
    rows = answers("angry", "happy angry")
    assert kinds(with_all(rows, LOW, HIGH), None, JOYFUL)["recovered"] == pytest.approx(1 + 0.7)
    assert kinds(with_all(rows, HIGH, LOW), None, JOYFUL)["recovered"] == pytest.approx(1)


def test_a_failure_is_stronger_the_surer_it_is_of_the_wrong_and_the_less_of_the_right() -> None:
    rows = answers("happy", "angry")
    assert kinds(with_all(rows, HIGH, (0.1, 0.8, 0.1)), None, JOYFUL)["failure"] == pytest.approx(2 * (1 + 0.7))
    assert kinds(with_all(rows, HIGH, (0.8, 0.1, 0.1)), None, JOYFUL)["failure"] == pytest.approx(2)
