"""All runs together: one set is one set only where the gold is the same, and what cannot be measured is said."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mer_r1.diagnosis.paradox import compare_slow, diagnose
from mer_r1.diagnosis.runs import diagnose_runs, shared_sets
from mer_r1.errors import InputError
from mer_r1.run_folder import EvaluatedSet, System
from mer_r1.sample import Mode, Prediction, Sample
from tests.diagnosis.test_paradox import confident, said
from tests.small_wheels import SMALL

SAMPLES = tuple(Sample(str(n), subtitle="so happy", labels=("happy", "sad") if n % 2 else ("angry",)) for n in range(6))


def asked(name: str, fast: str, slow: str, samples: tuple[Sample, ...] = SAMPLES, num_slow: int = 6) -> EvaluatedSet:
    pairs: tuple[tuple[Mode, str, int], ...] = (("fast", fast, 6), ("slow", slow, num_slow))
    rows = [
        said(sample.id, mode, *text.split(), categories=confident(-0.5, -1, -2))
        for mode, text, num in pairs
        for sample in samples[:num]
    ]
    return EvaluatedSet(name, name.upper(), Path(name), samples, {(row.id, row.mode): row for row in rows})


def system(name: str, *sets: EvaluatedSet, log: tuple[dict[str, Any], ...] = ()) -> System:
    return System(name, name.title(), Path(name), {}, log, {}, "", sets)


def rows_of(each: EvaluatedSet) -> list[Prediction]:
    return list(each.predictions.values())


def test_sets_are_shared_where_name_and_gold_are_the_same() -> None:
    other = tuple(replace(sample, labels=("sad",)) for sample in SAMPLES)
    one, two = asked("meld", "happy", "sad"), asked("meld", "sad", "sad")
    sets = shared_sets(
        [system("a", one), system("b", two, asked("iemocap", "sad", "sad")), system("c", asked("meld", "", "", other))]
    )
    assert [(each.name, each.title, list(each.answers)) for each in sets] == [
        ("meld", "MELD", ["a", "b"]), ("iemocap", "IEMOCAP", ["b"]), ("meld-2", "MELD 2", ["c"])
    ]  # fmt: skip


def test_the_numbers_are_those_of_the_parts() -> None:
    one, two = asked("meld", "happy sad", "happy"), asked("meld", "happy", "happy sad angry")
    found = diagnose_runs([system("a", one), system("b", two)], SMALL).numbers
    meld = found["sets"]["meld"]
    assert found["pair"] == ["a", "b"]
    assert meld["systems"]["a"]["paradox"] == diagnose(SAMPLES, rows_of(one), SMALL, name="meld")
    assert meld["pair"] == compare_slow(SAMPLES, rows_of(one), rows_of(two), SMALL, name="meld")
    assert meld["systems"]["b"]["reliability"]["fast"]["n"] == 6
    assert meld["leak"]["n"] == 6
    assert found["notes"] == []
    json.dumps(found, allow_nan=False)


def test_cases_are_the_pairs_and_one_systems_own_where_it_stands_alone() -> None:
    pair = [system("baseline", asked("meld", "happy", "angry"), asked("more", "happy", "angry")),
            system("mer_r1", asked("meld", "happy", "happy angry"))]  # fmt: skip
    found = diagnose_runs(pair, SMALL)
    seen = {(row["set"], row["kind"], tuple(row["systems"])) for row in found.cases}
    assert ("meld", "retained", ("baseline", "mer_r1")) in seen
    assert ("more", "lost", ("baseline",)) in seen
    assert not any(name == "meld" and kind == "lost" for name, kind, _ in seen)
    first = found.cases[0]
    assert (first["id"], first["categories"]["w1"], first["categories"]["w5"]) == ("1", ["joy"], ["joy"])
    assert list(found.numbers["rules"]) == ["retained", "lost", "suppressed", "recovered", "failure"]
    assert sum(found.numbers["cases"].values()) == len(found.cases)


def test_what_cannot_be_measured_is_left_out_and_said() -> None:
    valence = tuple(replace(sample, labels=(), valence=0.5) for sample in SAMPLES)
    halted = asked("meld", "happy", "sad", num_slow=4)
    fast = EvaluatedSet(
        "iemocap", "IEMOCAP", Path("x"), SAMPLES, {k: v for k, v in halted.predictions.items() if k[1] == "fast"}
    )
    found = diagnose_runs([system("a", halted, fast, asked("mosi", "", "", valence))], SMALL).numbers
    assert list(found["sets"]) == ["meld", "iemocap"]
    assert found["sets"]["meld"]["systems"]["a"]["paradox"] is None
    assert found["sets"]["iemocap"]["systems"]["a"]["reliability"]["slow"] is None
    assert found["pair"] is None
    first, second, third = found["notes"]
    assert first.startswith('A, MELD: fast and slow are not compared: 2 of 6 clips have no slow prediction, first "4"')
    assert second.startswith("A, IEMOCAP: fast and slow are not compared: no slow predictions")
    assert third.startswith("MOSI: no gold word")


def test_dynamics_come_from_the_log_alone() -> None:
    log = ({"step": 5, "reward/recall": 0.5}, {"step": 10, "reward/recall": 0.6, "reward/precision": 0.7}, {"step": 15})
    found = diagnose_runs([system("rl", log=log)], SMALL).numbers
    assert found["dynamics"] == {
        "rl": {
            "reward/recall": {"steps": [5.0, 10.0], "values": [0.5, 0.6]},
            "reward/precision": {"steps": [10.0], "values": [0.7]},
        }
    }
    assert found["sets"] == {}
    with pytest.raises(InputError, match="nothing to diagnose"):
        diagnose_runs([system("sft", log=({"step": 1, "loss": 2.0},))], SMALL)


def test_confidences_of_other_wheels_are_named_by_file() -> None:
    one = asked("meld", "happy", "sad")
    wrong = {key: replace(row, categories={"w1": {"bliss": -1.0}}) for key, row in one.predictions.items()}
    with pytest.raises(InputError, match=r'meld.predictions.jsonl: id "0": w1 has no category "bliss"'):
        diagnose_runs([system("a", replace(one, predictions=wrong))], SMALL)
