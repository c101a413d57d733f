"""Tables, categories and calibration: hand-worked counts, agreement with the scorer, and what is left out."""

import json
import math
from typing import Any

import numpy as np
import pytest

from mer_r1.analysis.cases import find_cases
from mer_r1.analysis.categories import category_scores
from mer_r1.analysis.leak import subtitle_leak
from mer_r1.analysis.reliability import NUM_BINS, reliability
from mer_r1.analysis.tables import by_wheel, category_bits, log_confidences
from mer_r1.data.sample import Prediction, Sample
from mer_r1.emotion.protocol import CORRECTED
from mer_r1.errors import InputError
from mer_r1.evaluation.runs import Answers
from mer_r1.metrics.corpus_score import score
from tests.analysis.answers import ANSWERS, GOLD, confident, said
from tests.small_wheels import SMALL, small_wheels

SAMPLES = [Sample(name, subtitle="x", labels=words) for name, words in GOLD.items()]


def slow(*rows: Prediction) -> dict[str, Prediction]:
    return {row.id: row for row in rows}


def test_bits_are_the_packed_categories_by_wheel() -> None:
    words = [("happy",), ("sad", "angry"), (), ("happy",)]
    table = category_bits([SMALL.map_words(item)[0] for item in words], SMALL)
    assert table.shape == (4, 14)
    for row, item in zip(table, words, strict=True):
        sets = [frozenset(np.flatnonzero(row[part]).tolist()) for part in by_wheel(SMALL)]
        assert tuple(sets) == SMALL.map_set(item)


def test_log_confidences_stand_in_the_wheels_columns_and_strangers_are_named() -> None:
    rows = [said("a", "slow", categories=confident(-1, -math.inf, -3)), said("b", "slow")]
    table = log_confidences(rows, SMALL, "mean")
    assert table[0, :3].tolist() == pytest.approx([-1, math.nan, -3], nan_ok=True)
    assert table[0, 12:].tolist() == pytest.approx([-1, math.nan], nan_ok=True)
    assert np.isnan(table[1]).all()
    with pytest.raises(InputError, match='id "a": w2 has no category "bliss"'):
        log_confidences([said("a", "slow", categories={"w2": {"bliss": -1.0, "neutral": -2.0}})], SMALL, "mean")


def test_category_counts_by_hand_and_their_sums_are_the_scorers() -> None:
    rows = {
        row.id: row for row in ANSWERS if row.mode == "slow"
    }  # a: happy; b: sad, angry; gold a: happy sad, b: angry
    found = category_scores(SAMPLES, rows, SMALL)
    assert {name: vars(item) for name, item in found["w1"].items()} == {
        "joy": {"n_gold": 1, "n_predicted": 1, "hits": 1},
        "anger": {"n_gold": 1, "n_predicted": 1, "hits": 1},
        "sadness": {"n_gold": 1, "n_predicted": 1, "hits": 0},
    }
    assert (found["w1"]["sadness"].recall, found["w1"]["joy"].precision) == (0.0, 1.0)
    wheels = score(GOLD, {name: row.labels for name, row in rows.items()}, SMALL).open_vocabulary.wheels
    for wheel, item in zip(found.values(), wheels, strict=True):
        assert sum(row.hits for row in wheel.values()) / item.n == pytest.approx(item.hit)


def test_an_error_is_no_empty_answer_and_a_clip_without_gold_in_a_wheel_does_not_count() -> None:
    samples = [Sample("a", subtitle="x", labels=("sad",)), Sample("b", subtitle="x", labels=("angry",))]
    rows = slow(said("a", "slow", "happy"), said("b", "slow", "angry", status="error"))
    found = category_scores(samples, rows, SMALL)
    assert (found["w1"]["joy"].n_predicted, found["w5"]["joy"].n_predicted) == (1, 0)
    assert (found["w1"]["anger"].n_gold, found["w1"]["anger"].recall, found["w5"]["joy"].precision) == (0, None, None)
    assert category_scores(samples, {}, SMALL)["w1"]["anger"].n_gold == 1  # not asked at all: an empty answer


def logs(joy: float, anger: float, sadness: float) -> dict[str, Any]:
    return {"categories_first": confident(math.log(joy), math.log(anger), math.log(sadness))}


def test_calibration_by_hand() -> None:
    samples = [Sample(name, subtitle="x", labels=("happy",)) for name in "ab"]
    rows = slow(said("a", "slow", "happy", **logs(0.9, 0.08, 0.02)), said("b", "slow", "sad", **logs(0.25, 0.05, 0.7)))
    found = reliability(samples, rows, SMALL)
    assert found is not None
    # pairs: w1..w4 three categories, w5 two, of two clips
    assert sum(item.count for item in found.every.bins) == 2 * (4 * 3 + 2)
    by_low = {round(item.low * NUM_BINS): item for item in found.every.bins if item.count}
    assert {low: (item.count, item.gold) for low, item in by_low.items()} == {
        0: (14, 0.0), 2: (5, 1.0), 7: (4, 0.0), 9: (5, 1.0)
    }  # fmt: skip
    off = (5 * 0.08 + 4 * 0.02 + 5 * 0.05) + 5 * 0.75 + 4 * 0.7 + 5 * 0.1
    assert found.every.ece.value == pytest.approx(off / 28)
    # the top one: a joy in five wheels; b sadness in four and joy in w5
    assert found.top.ece.value == pytest.approx((5 * 0.1 + 4 * 0.7 + 1 * 0.75) / 10)
    # a resample is a twice (ECE 0.96 / 14), b twice (6 / 14) or both: those are its bounds, here reflected and cut at 0
    item = [(5 * 0.08 + 4 * 0.02 + 5 * 0.1) / 14, (5 * 0.05 + 4 * 0.7 + 5 * 0.75) / 14]
    assert found.every.ece.bounds == pytest.approx((max(0.0, 2 * off / 28 - max(item)), 2 * off / 28 - min(item)))
    json.dumps(found.to_json(), allow_nan=False)


def test_perfectly_calibrated_confidences_have_no_error() -> None:
    samples = [Sample(str(n), subtitle="x", labels=("happy",) if n < 6 else ("angry",)) for n in range(10)]
    rows = slow(*(said(sample.id, "slow", **logs(0.6, 0.4, 1e-12)) for sample in samples))
    found = reliability(samples, rows, SMALL)
    assert found is not None
    assert found.every.ece.value == pytest.approx(0, abs=1e-9)


def test_calibration_leaves_out_what_has_no_confidence_gold_or_answer() -> None:
    samples = [
        Sample(name, subtitle="x", labels=labels) for name, labels in (("a", ("sad",)), ("b", ()), ("c", ("sad",)))
    ]
    rows = slow(
        said("a", "slow", **logs(0.5, 0.25, 0.25)), said("b", "slow", **logs(0.5, 0.25, 0.25)),
        said("c", "slow", status="error", **logs(0.5, 0.25, 0.25)),
    )  # fmt: skip
    found = reliability(samples, rows, SMALL)
    assert found is not None
    assert found.n == 2
    assert sum(item.count for item in found.every.bins) == 4 * 3  # of a alone, and sad has no home in w5
    assert reliability(samples, slow(said("a", "slow", "sad")), SMALL) is None
    assert reliability(samples, {}, SMALL) is None


def test_the_interval_of_confidences_that_are_right_is_not_above_their_error() -> None:
    """A resample's error lies above that of the sample, so that percentiles would leave the small ones out."""
    generator = np.random.default_rng(0)
    shares = generator.uniform(0.05, 0.95, 200)
    labels = [("happy",) if hit else ("angry",) for hit in generator.uniform(size=200) < shares]
    samples = [Sample(str(n), subtitle="x", labels=label) for n, label in enumerate(labels)]
    rows = slow(*(said(str(n), "slow", **logs(p, 1 - p, 1e-12)) for n, p in enumerate(shares.tolist())))
    found = reliability(samples, rows, SMALL)
    assert found is not None
    ece = found.every.ece
    assert ece.value is not None
    low, high = ece.low, ece.high
    assert low is not None
    assert high is not None
    assert low <= ece.value <= high
    assert low == 0.0  # no error at all is in it; percentiles begin at 0.021


@pytest.mark.slow
@pytest.mark.parametrize("num_words", [1, 2, 3])
def test_the_error_of_calibrated_answers_does_not_grow_with_their_words(num_words: int) -> None:
    """At every word the model sees joy or anger through noise of its own, and gives the exact posterior."""
    generator = np.random.default_rng(0)
    joy_N = generator.uniform(size=4000) < 0.5
    odds_NW = (np.where(joy_N, 1, -1)[:, None] + 2 * generator.normal(size=(4000, num_words))) / 2
    joy_NW, anger_NW = -np.log1p(np.exp(-odds_NW)), -np.log1p(np.exp(odds_NW))
    samples = [Sample(str(n), subtitle="x", labels=("happy",) if joy else ("angry",)) for n, joy in enumerate(joy_N)]
    rows = slow(
        *(
            said(str(n), "slow", "happy", categories=confident(joy.mean(), anger.mean(), -30),
                 categories_first=confident(joy[0], anger[0], -30))
            for n, (joy, anger) in enumerate(zip(joy_NW, anger_NW, strict=True))
        )
    )  # fmt: skip
    found = reliability(samples, rows, SMALL)
    assert found is not None
    assert found.every.ece.value is not None
    assert (
        found.every.ece.value < 0.02
    )  # exp of the mean over words: 0.003, 0.073, 0.106; mean of p: 0.003, 0.083, 0.123


def test_gold_of_any_spelling_is_read_as_the_scorer_reads_it() -> None:
    plain, quoted = (Sample("a", subtitle="happy", labels=labels) for labels in (("happy", "sad"), ("happy, sad",)))
    wheels = small_wheels(CORRECTED)
    (row,) = rows = slow(said("a", "slow", "happy", "sad", **logs(0.5, 0.25, 0.25))).values()
    answers: Answers = {("a", mode): row for mode in ("fast", "slow")}
    measured = [
        (
            category_scores([sample], {"a": row}, wheels),
            reliability([sample], {"a": row}, wheels),
            find_cases([sample], answers, None, wheels),
            (subtitle_leak([sample], wheels) or {})["found"]["recall"],
        )
        for sample in (plain, quoted)
    ]
    assert len(rows) == 1
    assert measured[0] == measured[1]
    assert measured[0][0]["w1"]["sadness"].hits == 1
