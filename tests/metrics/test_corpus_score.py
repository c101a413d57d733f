"""`score`: what it counts, what it signs, and that its JSON holds no NaN."""

import json
import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from mer_r1 import __version__
from mer_r1.emotion.protocol import CORRECTED
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.metrics.corpus_score import compare, score
from tests.small_wheels import SMALL, small_wheels

GOLD = {"a": ["happy"], "b": "[angry, sad]", "c": ["neutral"], "d": None, "e": ["sad"]}
OWN = small_wheels(CORRECTED)


def test_the_report_counts_what_was_missing_unanswered_and_dropped() -> None:
    report = score(GOLD, {"a": ["Glad", "qwerty", "qwerty"], "b": "lost, angry", "c": None}, SMALL, unanswered={"b"})
    assert (report.n, report.missing_ids, report.malformed, report.unanswered) == (5, ("d", "e"), 0, 2)
    assert (report.unmapped_predictions, report.unmapped_words) == (2, {"qwerty": 1, "lost": 1})
    assert (report.unscorable_gold, report.unmapped_gold_words) == (2, {"neutral": 1})
    first = report.open_vocabulary.wheels[0]
    assert (first.n, first.precision, first.recall, first.hit) == pytest.approx((3, 2 / 3, 1 / 2, 2 / 3))


@pytest.mark.parametrize("field", ["[", ["glad", 3], ["glad", None], 3, 0.5, True, {"glad": 1}, [["glad"], "happy"]])
def test_a_field_that_stops_the_official_code_is_counted_and_the_rest_is_scored(field: object) -> None:
    holds_a_word = isinstance(field, list)
    report = score({"a": ["happy"], "b": ["sad"]}, {"a": field, "b": ["sad"]}, SMALL)
    assert (report.malformed_ids, report.missing, report.unanswered) == (("a",), 0, 0)
    assert report.open_vocabulary.wheels[0].recall == (1.0 if holds_a_word else 0.5)
    gold = score({"a": field, "b": ["sad"]}, {"a": ["sad"], "b": ["sad"]}, SMALL)
    assert gold.malformed_ids == ("a",)
    assert gold.open_vocabulary.wheels[0].n == (2 if holds_a_word else 1)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"a": ["happy", 1], "b": []}, "'a': predicted labels\\[1\\]"),
        ({"a": ["happy"]}, "gold 'b' has no prediction"),
        ({"a": ["happy"], "b": [], "z": []}, "prediction 'z' has no gold sample"),
    ],
)
def test_strict_makes_what_is_counted_an_error(said: dict[str, object], message: str) -> None:
    gold = {"a": ["happy"], "b": ["sad"]}
    assert score(gold, said, SMALL).n == 2
    with pytest.raises(InputError, match=message):
        score(gold, said, SMALL, strict=True)
    with pytest.raises(InputError, match="'a': gold labels is the text"):
        score({"a": "["}, {"a": []}, SMALL, strict=True)
    assert score(gold, {"a": ["happy"], "b": None}, SMALL, strict=True).unanswered == 1


def test_predictions_without_gold_are_counted_and_left_out_but_not_all_of_them() -> None:
    gold = {"a": ["happy"]}
    report = score(gold, {"a": ["happy"], "z": ["sad"]}, SMALL)
    assert (report.n, report.extra_predictions, report.unmapped_predictions) == (1, 1, 0)
    assert report.open_vocabulary == score(gold, gold, SMALL).open_vocabulary
    with pytest.raises(InputError, match="'z' has no gold sample, nor has any other"):
        score(gold, {"z": ["sad"]}, SMALL)


def test_the_signature_says_how_the_number_came_about() -> None:
    report = score(GOLD, {}, SMALL, name="meld", mode="slow")
    assert report.signature == (
        f"set:meld|n:3/5|wheels:small@{SMALL.sha256[:8]}|protocol:official|parser:official|mode:slow|version:{__version__}"
    )
    assert "|protocol:corrected|parser:corrected|" in score(GOLD, {}, OWN).signature


def test_the_protocol_decides_what_a_raw_string_and_an_unknown_word_are_worth() -> None:
    gold = {"a": ["happy", "sad"]}
    assert score(gold, {"a": "happy; sad."}, SMALL).open_vocabulary.recall == 0.0
    report = score(gold, {"a": "**happy** and sad.; qwerty"}, OWN)
    first = report.open_vocabulary.wheels[0]
    assert (first.recall, first.precision) == pytest.approx((1.0, 2 / 3))
    assert (report.unmapped_predictions, report.unmapped_words) == (1, {"qwerty": 1})
    assert score({"a": ["qwerty"]}, {"a": "Qwerty"}, OWN).open_vocabulary.f1 == 1.0


def test_neutral_is_scored_under_the_corrected_protocol_only() -> None:
    gold, said = {"a": ["neutral"], "b": ["happy"]}, {"a": ["happy"], "b": ["happy"]}
    official, corrected = score(gold, said), score(gold, said, protocol="corrected")
    assert (official.unscorable_gold, official.open_vocabulary.precision) == (1, 1.0)
    assert (corrected.unscorable_gold, corrected.open_vocabulary.precision) == (0, 0.5)
    assert score(gold, gold, protocol="corrected").open_vocabulary.f1 == 1.0


def test_wheels_and_protocol_must_agree() -> None:
    with pytest.raises(InputError, match="compiled for the protocol official, not corrected"):
        score(GOLD, {}, WheelSet.load(), protocol="corrected")
    with pytest.raises(InputError, match="protocol 'x' is not known; use one of: official, corrected"):
        score(GOLD, {}, protocol="x")
    assert score(GOLD, {}, WheelSet.load(protocol="corrected")).protocol == "corrected"


def test_one_word_a_sample_is_basic_emotion_and_puts_hit_first() -> None:
    assert (score({"a": ["happy"], "b": "sad"}, {}, SMALL).task, score(GOLD, {}, SMALL).task) == (
        "basic",
        "open-vocabulary",
    )
    assert score({"a": ["happy"]}, {}, SMALL).headline == "hit"
    assert score({"a": ["happy"], "b": []}, {}, SMALL).task == score({}, {}, SMALL).task == "open-vocabulary"
    assert score(GOLD, {}, SMALL, task="basic").headline == "hit"
    assert score({"a": ["happy"]}, {}, SMALL, task="open-vocabulary").headline == "f1"


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


def test_the_best_constant_answers_for_hit_and_for_f1_stand_beside_the_score() -> None:
    report = score({"a": ["happy"], "b": ["glad"], "c": ["happy"], "d": ["angry"]}, {}, SMALL)
    found = {(answer.measure, answer.words): answer for answer in report.constant_baselines}
    assert set(found) == {(name, words) for name in ("hit", "f1") for words in (("happy",), ("happy", "angry"))}
    assert found["f1", ("happy",)].hit == pytest.approx(3 / 4)
    assert found["hit", ("happy", "angry")].hit == pytest.approx(1.0)
    assert {row["measure"] for row in report.to_json()["constant_baselines"]} == {"hit", "f1"}


def test_a_constant_answer_scores_what_the_report_of_it_says() -> None:
    gold = {
        str(i): words for i, words in enumerate((["happy", "odd"], ["sad"], ["odd"], ["angry", "sad"], ["at ease"]))
    }
    for wheels in (SMALL, OWN):
        for answer in score(gold, {}, wheels).constant_baselines:
            said = score(gold, {name: list(answer.words) for name in gold}, wheels).open_vocabulary
            assert (answer.precision, answer.recall, answer.hit) == pytest.approx(
                (said.precision, said.recall, said.hit)
            )


@pytest.mark.slow
def test_under_the_corrected_protocol_an_unknown_word_may_be_the_best_constant_answer() -> None:
    gold = {str(i): ["zorp", "happy"] if i % 3 else ["zorp"] for i in range(9)} | {"x": ["sad"], "y": ["lost", "sad"]}
    words = ("zorp", "happy", "sad", "lost")
    report = score(gold, {}, OWN)
    for answer in report.constant_baselines:
        tried = [
            score(gold, {name: list(said) for name in gold}, OWN).open_vocabulary
            for said in combinations(words, len(answer.words))
        ]
        best = max(0.0 if (value := getattr(said, answer.measure)) != value else value for said in tried)
        assert getattr(answer, answer.measure) == pytest.approx(best), answer
    assert report.constant_baselines[0].words == ("zorp",)
    assert score(gold, {}, SMALL).constant_baselines[0].words == ("happy",)
    assert score({"a": ["zorp"]}, {}, OWN).constant_baselines[0].f1 == 1.0


def test_a_folder_may_be_a_path_and_wrong_choices_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"format\.csv"):
        score(GOLD, {}, tmp_path)
    with pytest.raises(InputError, match="task 'bogus' is not known; use one of: auto, open-vocabulary, basic"):
        score(GOLD, {}, SMALL, task="bogus")  # type: ignore[arg-type]


def test_an_array_of_words_is_a_list_of_words() -> None:
    report = score({"a": np.array(["happy"])}, {"a": np.array(["glad", "sad"])}, SMALL)
    assert (report.malformed, report.open_vocabulary.wheels[0].precision) == (0, 0.5)


def test_clusters_are_counted_and_widen_the_interval() -> None:
    gold = {str(i): ["happy"] for i in range(40)}
    right = {str(i): ["happy" if i // 10 % 2 else "sad"] for i in range(40)}
    alone = score(gold, right, SMALL)
    clustered = score(gold, right, SMALL, clusters={str(i): f"speaker {i // 10}" for i in range(38)})
    assert alone.num_clusters is None
    assert clustered.num_clusters == 4 + 2, "a sample without a cluster is its own"
    assert clustered.intervals["recall"].low < alone.intervals["recall"].low


def test_two_systems_are_compared_on_the_same_samples() -> None:
    gold = {str(i): ["happy"] for i in range(40)}
    half = score(gold, {str(i): ["happy" if i % 2 else "sad"] for i in range(40)}, SMALL)
    differences = compare(half, score(gold, gold, SMALL))
    assert differences["recall"].delta == pytest.approx(0.5)
    assert differences["recall"].p_value < 0.01
    assert compare(half, half)["f1"].p_value == 1.0
    nothing = score({}, {}, SMALL)
    assert math.isnan(compare(nothing, nothing)["f1"].p_value), "of nothing a difference is not defined"
    with pytest.raises(ValueError, match="of different gold"):
        compare(half, score({"a": ["happy"]}, {}, SMALL))
    with pytest.raises(ValueError, match="of different gold"):
        compare(half, score({f"other {i}": ["happy"] for i in range(40)}, {}, SMALL))
    with pytest.raises(ValueError, match="of different gold"):
        compare(half, score(gold, {}, OWN))
    with pytest.raises(ValueError, match="of different gold"):
        compare(half, score({name: ["at ease"] for name in gold}, {}, SMALL))


def test_wrong_wheels_are_named() -> None:
    with pytest.raises(InputError, match="nonsense"):
        score(GOLD, {}, "nonsense")
