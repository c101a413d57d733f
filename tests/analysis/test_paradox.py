"""The paradox: the scorer's numbers, the paper's definitions by hand, and a sentence no stronger than its intervals."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from mer_r1.analysis.paradox import VERDICTS, finding, halves, paradox_shows
from mer_r1.analysis.paradox import compare_slow as measure_slow
from mer_r1.analysis.paradox import diagnose as measure
from mer_r1.analysis.tables import Estimate
from mer_r1.data.gold import Gold as Truth
from mer_r1.data.sample import Mode, Prediction, Sample
from mer_r1.errors import InputError
from mer_r1.metrics.corpus_score import compare, score
from tests.analysis.answers import ANSWERS, GOLD, Gold, confident, said
from tests.small_wheels import SMALL


def diagnose(gold: Any, *arguments: Any) -> dict[str, Any]:
    truth = Truth(gold, {}, {}, {}) if isinstance(gold, dict) else gold
    return measure(truth, *arguments).to_json()


def compare_slow(*arguments: Any, **options: Any) -> dict[str, Any]:
    return measure_slow(*arguments, **options).to_json()


def both(fast: Sequence[Sequence[str]], slow: Sequence[Sequence[str]]) -> tuple[Gold, list[Prediction]]:
    """A gold of happy, sad in every clip, and the answers of the two modes."""
    gold: Gold = {str(n): ("happy", "sad") for n in range(len(fast))}
    pairs: list[tuple[Mode, Sequence[Sequence[str]]]] = [("fast", fast), ("slow", slow)]
    return gold, [said(str(n), mode, *words) for mode, rows in pairs for n, words in enumerate(rows)]


def test_each_mode_has_the_scorers_own_numbers() -> None:
    result = diagnose(GOLD, ANSWERS, SMALL)
    for mode in ("fast", "slow"):
        words = {row.id: row.labels for row in ANSWERS if row.mode == mode}
        measured = score(GOLD, words, SMALL).open_vocabulary
        assert [result[mode][key] for key in ("recall", "precision", "f1", "hit")] == [
            measured.recall, measured.precision, measured.f1, measured.hit
        ]  # fmt: skip
    for key in ("recall", "precision", "f1"):
        assert result["delta"][key]["value"] == pytest.approx(result["fast"][key] - result["slow"][key])


def test_categories_words_and_retained_hits_by_hand() -> None:
    result = diagnose(GOLD, ANSWERS, SMALL)
    # w1..w4: fast 3 + 1 categories, slow 1 + 2; w5, where sad has no home: fast 2 + 1, slow 1 + 1; over 2 clips
    assert result["fast"]["num_categories"] == pytest.approx((4 * 4 / 2 + 3 / 2) / 5)
    assert result["slow"]["num_categories"] == pytest.approx((4 * 3 / 2 + 2 / 2) / 5)
    assert (result["fast"]["answer_words"], result["slow"]["answer_words"]) == (2, 1.5)
    # w1..w4: fast hits joy, sadness, anger, slow keeps joy, anger; w5: fast hits joy, anger, slow keeps both
    assert result["retained_hit_rate"] == pytest.approx((4 * 2 / 3 + 1) / 5)


def test_retained_counts_only_what_fast_had_right() -> None:
    for slow, rate in (("sad happy", 1), ("sad", 0), ("", 0)):
        result = diagnose(*both([("happy", "angry")], [tuple(slow.split())]), SMALL)
        assert result["retained_hit_rate"] == rate
    assert diagnose(*both([("angry",)], [("happy",)]), SMALL)["retained_hit_rate"] is None


def test_confidence_on_gold_and_margin_are_definitions_1_and_2() -> None:
    rows = [
        said("a", "fast", "happy", categories=confident(-1.0, -4.0, -2.0)),
        said("a", "slow", "happy", categories=confident(-2.0, -9.0, -5.0)),
    ]
    result = diagnose({"a": ("happy", "sad")}, rows, SMALL)
    # w1..w4: gold joy and sadness; w5: gold joy alone. The others are anger alone, fewer than three.
    assert result["fast"]["confidence_gold"] == pytest.approx((4 * -1.5 - 1.0) / 5)
    assert result["slow"]["confidence_gold"] == pytest.approx((4 * -3.5 - 2.0) / 5)
    assert result["fast"]["confidence_negative"] == pytest.approx(-4.0)
    assert result["fast"]["margin"] == pytest.approx((4 * 2.5 + 3.0) / 5)
    assert result["slow"]["margin"] == pytest.approx((4 * 5.5 + 7.0) / 5)
    assert result["delta"]["margin"]["value"] == pytest.approx((4 * -3.0 - 4.0) / 5)


def test_confidence_at_the_first_word_stands_beside_the_mean_over_words() -> None:
    rows = [
        said("a", "fast", "happy", categories=confident(-1, -4, -2), categories_first=confident(-3, -5, -9)),
        said("a", "slow", "happy", categories=confident(-2, -9, -5), categories_first=confident(-0.5, -7, -8)),
        said("b", "fast", "angry", categories=confident(-50, -50, -50), categories_first=confident(-1, -1, -1)),
        said("b", "slow", "angry", categories=confident(-50, -50, -50)),
    ]
    result = diagnose({"a": ("happy",), "b": ("happy",)}, rows, SMALL)
    fast, slow, delta = result["fast"], result["slow"], result["delta"]
    assert (fast["num_with_confidence"], fast["num_with_confidence_first"]) == (2, 1)
    assert (fast["confidence_gold_first"], slow["confidence_gold_first"]) == pytest.approx((-3, -0.5))
    # the others: w1..w4 anger and sadness, w5 anger alone
    assert fast["confidence_negative_first"] == pytest.approx((4 * -7 - 5) / 5)
    assert fast["margin_first"] == pytest.approx(-3 + (4 * 7 + 5) / 5)
    assert slow["margin_first"] == pytest.approx(-0.5 + (4 * 7.5 + 7) / 5)
    assert delta["confidence_gold_first"]["value"] == pytest.approx(-2.5)
    assert delta["confidence_gold"]["value"] == pytest.approx(0.5)  # the other way round
    assert delta["margin_first"]["value"] == pytest.approx(fast["margin_first"] - slow["margin_first"])


def test_a_clip_without_confidence_in_one_mode_counts_in_neither() -> None:
    rows = [
        said("a", "fast", "happy", categories=confident(-1, -4, -2)),
        said("a", "slow", "happy", categories=confident(-1, -4, -2)),
        said("b", "fast", "angry", categories=confident(-50, -50, -50)),
        said("b", "slow", status="no_answer"),
    ]
    result = diagnose({"a": ("happy",), "b": ("happy",)}, rows, SMALL)
    assert result["fast"]["num_with_confidence"] == result["slow"]["num_with_confidence"] == 1
    assert result["fast"]["confidence_gold"] == pytest.approx(-1)
    assert result["delta"]["confidence_gold"]["value"] == pytest.approx(0)
    assert (result["slow"]["unanswered"], result["fast"]["unanswered"]) == (1, 0)


def test_without_confidences_those_numbers_are_none_and_the_rest_stands() -> None:
    result = diagnose(GOLD, ANSWERS, SMALL)
    assert result["fast"]["confidence_gold"] is result["slow"]["margin"] is result["delta"]["margin"]["value"] is None
    assert result["fast"]["recall"] == 1


def test_equal_modes_differ_in_nothing_keep_every_hit_and_show_no_paradox() -> None:
    rows = [said(identity, mode, *words) for identity, words in GOLD.items() for mode in ("fast", "slow")]
    result = diagnose(GOLD, rows, SMALL)
    assert result["delta"]["f1"] == {"value": 0, "low": 0, "high": 0}
    assert (result["retained_hit_rate"], result["paradox"]) == (1, False)
    assert "equal in recall" in result["finding"]


def test_swapping_the_modes_turns_every_delta() -> None:
    turned = [replace(row, mode="slow" if row.mode == "fast" else "fast") for row in ANSWERS]
    one, other = (diagnose(GOLD, rows, SMALL)["delta"] for rows in (ANSWERS, turned))
    for key in ("recall", "precision", "f1", "num_categories"):
        assert one[key]["value"] == pytest.approx(-other[key]["value"])
        assert one[key]["low"] == pytest.approx(-other[key]["high"])


def test_broad_fast_and_narrow_slow_answers_show_the_paradox() -> None:
    result = diagnose(*both([("happy", "sad", "angry")] * 40 + [("happy", "sad")] * 20, [("happy",)] * 60), SMALL)
    assert result["paradox"] is True
    assert result["finding"].startswith("The thinking paradox shows")
    assert "fast leads in recall" in result["finding"]
    assert "slow leads in precision" in result["finding"]


def test_a_reasoning_that_helps_shows_no_paradox() -> None:
    result = diagnose(*both([("happy", "angry")] * 60, [("happy", "sad")] * 60), SMALL)
    assert result["paradox"] is False
    assert "slow leads in F1" in result["finding"]


def test_few_clips_do_not_decide() -> None:
    result = diagnose(*both([("happy", "sad"), ("angry",), ("happy",)], [("happy",), ("sad",), ("happy",)]), SMALL)
    assert result["paradox"] is None
    assert result["finding"].startswith("This data does not decide")


@pytest.mark.parametrize(
    ("recall", "f1", "precision", "expected"),
    [
        ((1, 2), (1, 2), (-2, -1), True),
        ((1, 2), (-1, 2), (-2, -1), None),
        ((1, 2), (-2, -1), (-2, -1), False),
        ((1, 2), (1, 2), (1, 2), False),
        ((1, 2), (None, None), (-2, -1), None),
        ((-2, 0), (None, None), (-2, -1), False),
    ],
)
def test_the_paradox_is_what_the_intervals_say(recall: Any, f1: Any, precision: Any, expected: bool | None) -> None:
    rows = {"recall": recall, "f1": f1, "precision": precision}
    delta = {key: Estimate(low, low, high) for key, (low, high) in rows.items()}
    assert paradox_shows(delta) is expected
    is_open = [low is not None and low <= 0 <= high for low, high in rows.values()]
    assert ("surely" in finding(delta, expected)) == any(is_open)


@pytest.mark.parametrize(
    ("recall", "precision", "expected"),
    [
        ((0.1, 0.2), (-0.1, 0.1), (True, None)),  # half shown, half undecided
        ((0.1, 0.2), (-0.2, -0.1), (True, True)),
        ((-0.1, 0.1), (0.0, 0.1), (None, False)),
        ((-0.2, 0.0), (None, None), (False, None)),
    ],
)
def test_each_half_of_the_paradox_has_a_verdict_of_its_own(recall: Any, precision: Any, expected: Any) -> None:
    rows = {"recall": recall, "precision": precision, "f1": (0.0, 0.1)}
    delta = {key: Estimate(low, low, high) for key, (low, high) in rows.items()}
    found = halves(delta)
    assert [(half.measure, half.shows) for half in found] == list(zip(("recall", "precision"), expected, strict=True))
    said = finding(delta, paradox_shows(delta))
    for half in found:
        assert f"the {half.measure} half is {VERDICTS[half.shows]}, {half.finding}" in said


def test_samples_bring_their_clusters_and_clustered_intervals_are_wider() -> None:
    gold, rows = both([("happy", "sad")] * 10 + [("angry",)] * 10, [("happy",)] * 20)
    samples = [Sample(name, subtitle="x", labels=labels, cluster=str(int(name) // 10)) for name, labels in gold.items()]
    alone, together = (diagnose(source, rows, SMALL)["delta"]["f1"] for source in (gold, samples))
    assert alone["value"] == together["value"]
    assert together["high"] - together["low"] > alone["high"] - alone["low"]


def test_a_clip_that_failed_in_one_mode_is_in_no_number_and_is_counted() -> None:
    rows = [*ANSWERS[:3], said("b", "slow", "angry", status="error", categories=confident(-1, -1, -1))]
    result = diagnose(GOLD, rows, SMALL)
    assert (result["n"], result["failed"]) == (1, {"fast": 0, "slow": 1})
    assert result["fast"]["f1"] == score({"a": GOLD["a"]}, {"a": ANSWERS[0].labels}, SMALL).open_vocabulary.f1
    assert diagnose(GOLD, ANSWERS[:3], SMALL) == result


def test_a_clip_without_any_answer_counts_as_an_empty_one() -> None:
    result = diagnose(GOLD | {"c": ("happy",)}, ANSWERS, SMALL)
    assert (result["n"], result["failed"]) == (3, {"fast": 0, "slow": 0})
    assert result["slow"]["missing"] == result["fast"]["missing"] == 1
    words = {row.id: row.labels for row in ANSWERS if row.mode == "slow"}
    assert result["slow"]["f1"] == score(GOLD | {"c": ("happy",)}, words, SMALL).open_vocabulary.f1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ANSWERS[:2], "no slow predictions; ask"),
        ([replace(row, status="error") for row in ANSWERS], "no clip has an answer that did not fail"),
        ([*ANSWERS, said("c", "fast", "sad")], '1 id of the predictions is not in the gold, such as "c"'),
        (
            [*ANSWERS[1:], replace(ANSWERS[0], categories={"w1": {"bliss": -1.0}})],
            'w1 has no category "bliss"; name the wheels',
        ),
    ],
)
def test_what_does_not_match_is_named_with_its_fix(rows: list[Prediction], message: str) -> None:
    with pytest.raises(InputError, match=message):
        diagnose(GOLD, rows, SMALL)


def test_log_confidences_that_are_not_finite_are_not_there() -> None:
    rows = [said("a", mode, "happy", categories=confident(-1, -math.inf, -3)) for mode in ("fast", "slow")]
    result = diagnose({"a": ("happy",)}, rows, SMALL)
    assert result["fast"]["confidence_gold"] == pytest.approx(-1)
    assert result["fast"]["margin"] is None  # w5 has no other category left
    json.dumps(result, allow_nan=False)


def test_two_systems_are_compared_by_their_slow_answers_alone() -> None:
    samples = [Sample(name, subtitle="x", labels=words) for name, words in GOLD.items()]
    better = [said("a", "slow", "happy", "sad"), said("b", "slow", "angry"), said("a", "fast", "angry")]
    result = compare_slow(samples, ANSWERS, better, SMALL, name="small")
    old, new = (
        score(GOLD, {row.id: row.labels for row in rows if row.mode == "slow"}, SMALL) for rows in (ANSWERS, better)
    )
    assert (result["reference"]["f1"], result["tuned"]["f1"]) == (old.open_vocabulary.f1, new.open_vocabulary.f1)
    for key, row in compare(old, new).items():
        if key != "hit":
            assert result["delta"][key]["value"] == row.delta
    assert "mode:slow" in result["signature"]
    assert compare_slow(samples, ANSWERS, better[:1], SMALL)["tuned"]["missing"] == 1


def test_confidences_of_two_systems_are_compared_where_both_have_one() -> None:
    samples = [Sample(name, subtitle="x", labels=("happy",)) for name in ("a", "b")]
    one = [said(name, "slow", "happy", categories=confident(-1, -4, -2)) for name in ("a", "b")]
    other = [said("a", "slow", "happy", categories=confident(-2, -4, -2)), said("b", "slow", "happy")]
    result = compare_slow(samples, one, other, SMALL)
    assert result["reference"]["num_with_confidence"] == result["tuned"]["num_with_confidence"] == 1
    assert result["delta"]["confidence_gold"]["value"] == pytest.approx(-1)
