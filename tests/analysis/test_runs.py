"""All runs together: one set is one set only where the gold is the same, and what cannot be measured is said."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mer_r1.analysis.paradox import compare_slow, diagnose
from mer_r1.analysis.runs import diagnose_runs
from mer_r1.data.sample import MODES, Mode, Prediction, Sample
from mer_r1.errors import InputError
from mer_r1.evaluation.records import ScoreRecord, ScoresByMode
from mer_r1.evaluation.runs import EvaluatedSet, System, shared_sets
from tests.analysis.answers import at_both, confident, said
from tests.small_wheels import SMALL

SAMPLES = tuple(Sample(str(n), subtitle="so happy", labels=("happy", "sad") if n % 2 else ("angry",)) for n in range(6))


def asked(name: str, fast: str, slow: str, samples: tuple[Sample, ...] = SAMPLES, num_slow: int = 6) -> EvaluatedSet:
    pairs: tuple[tuple[Mode, str, int], ...] = (("fast", fast, 6), ("slow", slow, num_slow))
    rows = [
        said(sample.id, mode, *text.split(), **at_both(confident(-0.5, -1, -2)))
        for mode, text, num in pairs
        for sample in samples[:num]
    ]
    return EvaluatedSet(name, name.upper(), Path(name), samples, {(row.id, row.mode): row for row in rows})


def system(name: str, *sets: EvaluatedSet, log: tuple[dict[str, Any], ...] = ()) -> System:
    return System(name, name.title(), Path(name), sets, log)


def rows_of(each: EvaluatedSet) -> list[Prediction]:
    return list(each.predictions.values())


def test_sets_are_shared_where_name_and_gold_are_the_same() -> None:
    other = tuple(replace(sample, labels=("sad",)) for sample in SAMPLES)
    one, two = asked("meld", "happy", "sad"), asked("meld", "sad", "sad")
    sets = shared_sets(
        [system("a", one), system("b", two, asked("iemocap", "sad", "sad")), system("c", asked("meld", "", "", other))]
    )
    assert [(item.name, item.title, list(item.answers)) for item in sets] == [
        ("meld", "MELD", ["a", "b"]), ("iemocap", "IEMOCAP", ["b"]), ("meld-2", "MELD (2)", ["c"])
    ]  # fmt: skip


def test_the_numbers_are_those_of_the_parts() -> None:
    one, two = asked("meld", "happy sad", "happy"), asked("meld", "happy", "happy sad angry")
    found = diagnose_runs([system("a", one), system("b", two)], SMALL).to_json()
    meld = found["sets"]["meld"]
    assert found["pair"] == ["a", "b"]
    assert meld["systems"]["a"]["paradox"] == diagnose(SAMPLES, rows_of(one), SMALL, name="meld").to_json()
    assert meld["pair"] == compare_slow(SAMPLES, rows_of(one), rows_of(two), SMALL, name="meld").to_json()
    assert meld["systems"]["b"]["reliability"]["fast"]["n"] == 6
    assert meld["leak"]["n"] == 6
    assert found["notes"] == []
    json.dumps(found, allow_nan=False)


def test_cases_are_the_pairs_and_one_systems_own_where_it_stands_alone() -> None:
    pair = [system("baseline", asked("meld", "happy", "angry"), asked("more", "happy", "angry")),
            system("mer_r1", asked("meld", "happy", "happy angry"))]  # fmt: skip
    found = diagnose_runs(pair, SMALL)
    seen = {(row.set, row.kind, tuple(row.systems)) for row in found.cases}
    assert ("meld", "retained", ("baseline", "mer_r1")) in seen
    assert ("more", "lost", ("baseline",)) in seen
    assert not any(name == "meld" and kind == "lost" for name, kind, _ in seen)
    first = found.cases[0]
    assert (first.id, first.categories["w1"], first.categories["w5"]) == ("1", ["joy"], ["joy"])
    assert list(found.to_json()["rules"]) == ["retained", "lost", "suppressed", "recovered", "failure"]
    assert sum(found.to_json()["cases"].values()) == len(found.cases)


def test_what_cannot_be_measured_is_left_out_and_said() -> None:
    bare = tuple(replace(sample, labels=()) for sample in SAMPLES)
    halted = asked("meld", "happy", "sad", num_slow=4)
    fast = EvaluatedSet(
        "iemocap", "IEMOCAP", Path("x"), SAMPLES, {k: v for k, v in halted.predictions.items() if k[1] == "fast"}
    )
    found = diagnose_runs([system("a", halted, fast, asked("bare", "", "", bare))], SMALL).to_json()
    assert list(found["sets"]) == ["meld", "iemocap"]
    assert found["sets"]["meld"]["systems"]["a"]["paradox"]["n"] == 4
    assert found["sets"]["meld"]["failed"] == {"a": 2}
    assert found["sets"]["iemocap"]["systems"]["a"]["paradox"] is None
    assert found["sets"]["iemocap"]["systems"]["a"]["reliability"]["slow"] is None
    assert found["pair"] is None
    first, second, third = found["notes"]
    assert first == "A, MELD: 2 failed answers; their clips are in no number here"
    assert second.startswith("A, IEMOCAP: fast and slow are not compared: no slow predictions")
    assert third.startswith("BARE: no gold word")


def test_sets_of_sentiment_have_the_gap_in_waf_by_the_sentiments_that_were_kept() -> None:
    valences = (1.0, -1.0, 2.0, -0.5, 0.0, 1.0)
    samples = tuple(replace(of, labels=(), valence=to) for of, to in zip(SAMPLES, valences, strict=True))
    right = {sample.id: "positive" if (sample.valence or 0) > 0 else "negative" for sample in samples}
    read = asked("mosi", "happy", "sad", samples)
    kept = {(name, mode): right[name] if mode == "slow" else "positive" for name in right for mode in MODES}
    record = ScoreRecord(signature="set:mosi|n:6|judge:qwen@12ab|version:0")
    judged = replace(read, sentiments=kept, scores=ScoresByMode.of({"fast": record, "slow": record}))
    found = diagnose_runs([system("a", judged), system("b", read)], SMALL)
    assert found.sets["mosi"].systems == {}
    first, second = found.sets["mosi"].sentiment.values()
    assert (first.n, first.judge, first.slow) == (5, "qwen@12ab", 1.0)  # valence 0 is left out
    assert first.fast == pytest.approx(3 / 5 * 0.75)
    assert first.delta.value == pytest.approx(3 / 5 * 0.75 - 1)
    assert first.delta.bounds is not None
    assert second.judge == "lexicon"
    assert [second.fast, second.slow] == pytest.approx([3 / 5 * 0.75, 2 / 5 * 4 / 7])
    assert found.sets["mosi"].gaps == {"a": {"waf": first.delta}, "b": {"waf": second.delta}}
    assert found.to_json()["sets"]["mosi"]["sentiment"]["a"]["delta"]["value"] == first.delta.value
    assert found.notes == ("MOSI: Sentiment by the built-in lexicon: these WAF are not MER-UniBench's.",)
    halted = replace(read, predictions={key: row for key, row in read.predictions.items() if key[1] == "fast"})
    assert diagnose_runs([system("a", halted)], SMALL).sets["mosi"].sentiment == {}


def test_dynamics_come_from_the_log_alone() -> None:
    log = ({"step": 5, "reward/recall": 0.5}, {"step": 10, "reward/recall": 0.6, "reward/precision": 0.7}, {"step": 15})
    found = diagnose_runs([system("rl", log=log)], SMALL).to_json()
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
    for field in ("categories", "categories_first"):
        strange: dict[str, Any] = {field: {"w1": {"bliss": -1.0}}}
        wrong = {key: replace(row, **strange) for key, row in one.predictions.items()}
        with pytest.raises(InputError, match=r'meld.predictions.jsonl: id "0": w1 has no category "bliss"'):
            diagnose_runs([system("a", replace(one, predictions=wrong))], SMALL)


def test_answers_without_confidences_at_the_first_word_are_counted() -> None:
    """As 0.1.0 wrote them: the mean alone is compared, and there is no calibration."""
    one = asked("meld", "happy", "sad")
    old = {key: replace(row, categories_first=None) for key, row in one.predictions.items()}
    found = diagnose_runs([system("a", replace(one, predictions=old))], SMALL)
    numbers = found.sets["meld"].systems["a"]
    assert numbers.paradox is not None
    assert (numbers.paradox.fast.num_with_confidence, numbers.paradox.fast.num_with_confidence_first) == (6, 0)
    assert numbers.paradox.fast.margin is not None
    assert numbers.paradox.fast.margin_first is numbers.paradox.delta["margin_first"].value is None
    assert numbers.reliability == {"fast": None, "slow": None}
    (note,) = found.notes
    assert note.startswith("A, MELD: 12 answers have the mean over words alone")


def failing(each: EvaluatedSet, mode: Mode, *ids: str) -> EvaluatedSet:
    """The same set, where the answers about these clips failed in this mode."""
    errors = {(name, mode): said(name, mode, status="error", error="time-out") for name in ids}
    return replace(each, predictions={**each.predictions, **errors})


def test_a_clip_with_a_failed_answer_is_in_no_gap_of_either_mode_and_that_is_said() -> None:
    one = failing(asked("meld", "happy sad", "happy sad"), "slow", "0", "2", "4")
    found = diagnose_runs([system("a", one)], SMALL).to_json()
    kept = SAMPLES[1::2]
    measured = found["sets"]["meld"]["systems"]["a"]["paradox"]
    assert measured == diagnose(kept, [row for row in rows_of(one) if int(row.id) % 2], SMALL, name="meld").to_json()
    assert (measured["n"], measured["fast"]["missing"], measured["slow"]["missing"]) == (3, 0, 0)
    assert {row["value"] for row in measured["delta"].values()} == {0.0}
    assert found["notes"] == ["A, MELD: 3 failed answers; their clips are in no number here"]


def test_a_clip_that_failed_for_one_system_is_in_no_number_of_the_others() -> None:
    one = failing(failing(asked("meld", "happy", "happy"), "slow", "0"), "fast", "5")
    two = failing(asked("meld", "happy", "happy sad"), "slow", "1")
    found = diagnose_runs([system("a", one), system("b", two)], SMALL)
    kept = [sample for sample in SAMPLES if sample.id not in "015"]
    first, second = ([row for row in rows_of(item) if row.id not in "015"] for item in (one, two))
    of_set = found.sets["meld"]
    assert of_set.pair == compare_slow(kept, first, second, SMALL, name="meld")
    assert of_set.systems["b"].paradox == diagnose(kept, second, SMALL, name="meld")
    assert of_set.failed == {"a": 2, "b": 1}


def test_where_every_answer_failed_nothing_is_compared() -> None:
    one = failing(asked("meld", "happy", "happy"), "slow", *"012345")
    found = diagnose_runs([system("a", one), system("b", asked("meld", "sad", "sad"))], SMALL)
    assert [item.paradox for item in found.sets["meld"].systems.values()] == [None, None]
    assert found.sets["meld"].pair is None
    assert "MELD: no clip was answered by every system in every mode; ask again" in found.notes


def test_sets_have_names_and_titles_of_their_own_whatever_they_are_called() -> None:
    sads = [tuple(replace(sample, labels=("sad",) * k) for sample in SAMPLES) for k in (1, 2)]
    sets = [asked("run", "", ""), asked("run", "", "", sads[0]), asked("run-2", "", "", sads[1])]
    found = shared_sets([system("a", *sets), system("b", replace(sets[1], name="x", title="RUN"))])
    assert [item.name for item in found] == ["run", "run-2", "run-2-2", "x"]
    assert [item.title for item in found] == ["RUN", "RUN (2)", "RUN-2", "RUN (3)"]


def test_one_clip_alone_is_measured_without_an_interval(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from rich.console import Console

    from mer_r1.display.diagnosis import print_diagnosis, print_runs
    from mer_r1.display.diagnosis_plots import _reliability

    one = asked("meld", "happy", "sad", SAMPLES[:1])
    found = diagnose_runs([system("a", one), system("b", one)], SMALL)
    measured = found.sets["meld"].systems["a"]
    assert measured.paradox is not None
    assert measured.reliability["slow"] is not None
    ece = measured.reliability["slow"].every.ece
    assert measured.paradox.delta["f1"].low is ece.low is None
    assert ece.value is not None
    assert ece.value > 0
    with (tmp_path / "said").open("w") as file:
        print_runs(found, Console(file=file, width=200), 3)
        print_diagnosis(measured.paradox, Console(file=file, width=200))
    printed = (tmp_path / "said").read_text()
    assert not any(mark in printed for mark in ("nan", "[n/a", "None"))
    assert _reliability(found, tmp_path / "reliability")
    json.dumps(found.to_json(), allow_nan=False)
