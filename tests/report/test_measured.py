"""The page's numbers: the scorer's own, errors counted apart, differences paired, a diagnosis or why there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mer_r1.analysis.paradox import diagnose
from mer_r1.data.sample import Prediction, Sample
from mer_r1.evaluation.records import RunRecord, ScoresByMode
from mer_r1.evaluation.runs import System
from mer_r1.metrics.corpus_score import score
from mer_r1.report.measured import measure, reference_of
from mer_r1.report.sets import page_sets, shown_systems
from tests.report.runs import rows_of, shown_of, systems_of
from tests.small_wheels import SMALL

GOLD = [Sample(str(n), subtitle="x", labels=("happy", "sad") if n % 2 else ("angry",)) for n in range(8)]
ONE = {str(n): ("happy", "sad angry") for n in range(8)}
OTHER = {str(n): ("sad", "happy sad" if n % 2 else "angry") for n in range(8)}


def test_scores_and_diagnosis_are_those_of_the_verbs() -> None:
    systems, sets = shown_of(GOLD, one=ONE)
    (measured,) = measure(systems, sets, SMALL)
    gold = {sample.id: sample.labels for sample in GOLD}
    alone = score(gold, {i: [*slow.split()] for i, (_, slow) in ONE.items()}, SMALL, name="t", mode="slow")
    assert measured.modes["slow"].report == alone
    assert measured.modes["slow"].value("f1") == alone.open_vocabulary.f1
    assert measured.modes["slow"].bounds("f1") == tuple(alone.intervals["f1"])
    assert measured.modes["slow"].answer_words == 2.0
    assert measured.diagnosis == diagnose(GOLD, list(rows_of(ONE).values()), SMALL, name="t")
    assert measured.problem == ""


def test_errors_and_absent_answers_are_counted_apart() -> None:
    (system,) = systems_of(GOLD, one=ONE)
    rows = dict(system.sets[0].predictions)
    del rows["0", "slow"]
    rows["1", "slow"] = Prediction("1", "slow", "", "", ("happy",), "error")
    rows["2", "slow"] = Prediction("2", "slow", "", "", (), "truncated")
    rows["x", "slow"] = Prediction("x", "slow", "", "", ("happy",), "ok")
    systems = shown_systems([replace(system, sets=(replace(system.sets[0], predictions=rows),))])
    (measured,) = measure(systems, page_sets(systems), SMALL)
    slow = measured.modes["slow"]
    assert (slow.missing, slow.failed, slow.report.unanswered, slow.extra) == (1, 1, 1, 1)
    assert measured.modes["fast"].extra == 0
    assert measured.diagnosis is not None
    assert (measured.diagnosis.n, measured.problem) == (6, "")


def failing(system: System, *ids: str, kind: str = "") -> System:
    """The same system with errors in slow mode, as a benchmark's if `kind` says so."""
    rows = dict(system.sets[0].predictions)
    rows |= {(i, "slow"): Prediction(i, "slow", "", "", (), "error") for i in ids}
    return replace(system, sets=(replace(system.sets[0], predictions=rows),), run=RunRecord(kind=kind))


def scored(system: System, **modes: dict[str, Any]) -> System:
    """The same system, of whose set a metrics.json has these scores by mode."""
    return replace(system, sets=(replace(system.sets[0], scores=ScoresByMode.from_json(modes, "metrics.json")),))


def test_an_error_is_never_scored_as_a_wrong_answer_of_any_system() -> None:
    one, other = systems_of(GOLD, one=OTHER, other=OTHER)
    systems = shown_systems([failing(one, "1", "2"), other])
    first, second = measure(systems, page_sets(systems), SMALL)
    assert [sample.id for sample in first.page_set.scored] == ["0", "3", "4", "5", "6", "7"]
    assert (first.modes["slow"].value("f1"), second.modes["slow"].value("f1")) == (1.0, 1.0)
    assert (first.modes["slow"].failed, second.modes["slow"].failed) == (2, 0)
    assert first.diagnosis is not None
    assert first.diagnosis.n == 6


def test_what_a_benchmark_has_not_asked_yet_is_left_out_too() -> None:
    (system,) = systems_of(GOLD, one={identity: OTHER[identity] for identity in ("0", "1", "2")})
    for kind, num, value in (("benchmark", 3, 1.0), ("", 8, None)):
        systems = shown_systems([failing(system, kind=kind)])
        (measured,) = measure(systems, page_sets(systems), SMALL)
        assert measured.modes["slow"].report.n == num
        assert (measured.modes["slow"].value("f1") == 1.0) == (value == 1.0)
        assert measured.modes["slow"].missing == 5


def test_what_a_judge_scores_has_no_scores_of_words() -> None:
    (system,) = systems_of(GOLD, one=OTHER)
    systems = shown_systems([replace(system, run=RunRecord(kind="benchmark", benchmark="mme-emotion"))])
    assert measure(systems, page_sets(systems), SMALL) == ()


def test_a_difference_is_against_the_baseline_wherever_it_stands() -> None:
    systems, sets = shown_of(GOLD, sft=ONE, baseline=ONE, mer_r1=OTHER)
    reference = reference_of(systems, sets)
    assert reference is not None
    assert reference.title == "baseline"
    by_name = {item.system.title: item for item in measure(systems, sets, SMALL)}
    assert by_name["baseline"].modes["slow"].delta is None
    same, better = by_name["sft"].modes["slow"].delta, by_name["mer_r1"].modes["slow"].delta
    assert same is not None
    assert better is not None
    assert (same["f1"].delta, same["f1"].low, same["f1"].high) == (0, 0, 0)
    values = [by_name[name].modes["slow"].value("f1") or 0 for name in ("mer_r1", "baseline")]
    assert better["f1"].delta == pytest.approx(values[0] - values[1])
    assert better["f1"].low > 0


def test_a_system_alone_has_no_reference() -> None:
    systems, sets = shown_of(GOLD, one=ONE)
    assert reference_of(systems, sets) is None
    assert measure(systems, sets, SMALL)[0].modes["fast"].delta is None


def test_waf_is_read_from_the_benchmark_where_gold_has_valences_alone() -> None:
    samples = [Sample("1", subtitle="x", valence=1.0)]
    (system,) = systems_of(samples, one={"1": (None, "happy")})
    systems = shown_systems([scored(system, slow={"n": 1, "waf": 0.75, "intervals": {"waf": [0.5, 1.0]}})])
    (measured,) = measure(systems, page_sets(systems), SMALL)
    slow = measured.modes["slow"]
    assert slow.headline == "waf"
    assert (slow.value("waf"), slow.bounds("waf"), slow.value("f1")) == (0.75, (0.5, 1.0), None)


@pytest.mark.parametrize(
    ("num", "protocol", "problem"),
    [
        (3, "official", ""),  # without the clip of valence 0
        (4, "corrected", ""),
        (4, "official", "metrics.json has it of 4 clips, here are 3"),
        (5, "corrected", "metrics.json has it of 5 clips, here are 4"),
        (None, "official", "metrics.json has it of unknown clips, here are 3"),
    ],
)
def test_a_waf_of_other_clips_than_those_scored_is_left_out_and_said(
    num: int | None, protocol: str, problem: str
) -> None:
    samples = [Sample(str(n), subtitle="x", valence=float(n)) for n in range(5)]
    (system,) = systems_of(samples, one={sample.id: (None, "happy") for sample in samples})
    reported = {"n": num, "waf": 0.75, "signature": f"set:t|n:{num}|protocol:{protocol}|judge:someone"}
    system = failing(scored(system, slow=reported), "4")
    systems = shown_systems([system])
    (measured,) = measure(systems, page_sets(systems), SMALL)
    assert len(measured.page_set.scored) == 4
    slow = measured.modes["slow"]
    assert (slow.value("waf"), slow.reported_problem) == (None if problem else 0.75, problem)
    assert slow.reported_signature.endswith("judge:someone")


def accuracy_of(num: int | None) -> dict[str, Any]:
    return {"measure": "accuracy", "n": num, "accuracy": 0.75, "intervals": {"accuracy": [0.5, 1.0]}}


def test_accuracy_is_read_from_the_benchmark_that_measures_it() -> None:
    (system,) = systems_of(GOLD, one=ONE)
    systems = shown_systems([scored(system, fast=accuracy_of(8))])
    fast = measure(systems, page_sets(systems), SMALL)[0].modes["fast"]
    assert (fast.headline, fast.value("accuracy"), fast.bounds("accuracy")) == ("accuracy", 0.75, (0.5, 1.0))
    assert (fast.value("waf"), fast.bounds("waf")) == (None, None)
    assert fast.value("f1") == fast.report.open_vocabulary.f1


@pytest.mark.parametrize(("num", "said"), [(7, ""), (8, "8"), (None, "unknown")])
def test_an_accuracy_of_other_pictures_than_those_scored_is_left_out_and_said(num: int | None, said: str) -> None:
    (system,) = systems_of(GOLD, one=ONE)
    systems = shown_systems([failing(scored(system, fast=accuracy_of(num)), "3")])
    fast = measure(systems, page_sets(systems), SMALL)[0].modes["fast"]
    assert fast.headline == "accuracy"
    assert (fast.value("accuracy"), fast.bounds("accuracy")) == ((None, None) if said else (0.75, (0.5, 1.0)))
    assert fast.reported_problem == (f"metrics.json has it of {said} clips, here are 7" if said else "")


def test_a_set_has_one_headline_whichever_system_a_benchmark_asked() -> None:
    plain, asked = systems_of(GOLD, plain=ONE, asked=OTHER)
    systems = shown_systems([plain, scored(asked, fast=accuracy_of(8))])
    modes = {item.system.title: item.modes for item in measure(systems, page_sets(systems), SMALL)}
    found = {(name, mode): score for name, of_modes in modes.items() for mode, score in of_modes.items()}
    assert {score.headline for score in found.values()} == {"accuracy"}
    assert [key for key, score in found.items() if score.value("accuracy") is not None] == [("asked", "fast")]
