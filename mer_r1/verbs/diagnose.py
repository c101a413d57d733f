"""`mer-r1 diagnose`: the thinking paradox measured on a manifest and the predictions of both modes.

    recall, precision, F1     the scorer's own (metrics/open_vocabulary.py), fast - slow by the paired bootstrap
    num_categories            categories an answer reaches, mean over clips and wheels
    confidence_gold, margin   MER-R1 Definitions 1 and 2 (metrics/confidence.py), mean over clips, then over wheels
    retained_hit_rate         sum |G ∩ fast ∩ slow| / sum |G ∩ fast| over clips, G the gold categories, then mean over
                              wheels: what slow keeps of fast's right categories (Appendix D, Figure 8)

Source: MER-R1 Section 3, Figure 3. Convention: deltas are fast minus slow; confidences are compared on the clips where
both modes have one; a clip without an answer counts as an empty answer, as the scorer counts it. The paradox shows
(true) when the 95 % intervals say that fast leads in recall and F1 and slow in precision, does not show (false) when an
interval says that one of the three is not so, and is not decided (null) otherwise.
Shape letters: N clips, W wheels, C categories of a wheel, B resamples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mer_r1.emotion.wheel import NEUTRAL, WheelSet
from mer_r1.errors import InputError
from mer_r1.files import write_json
from mer_r1.manifest import shown
from mer_r1.metrics.confidence import Confidence, category_mask, confidence
from mer_r1.metrics.corpus_score import Labels, ScoreReport, compare, load_wheels, score, score_signature
from mer_r1.metrics.statistics import bootstrap_intervals, or_none, paired_bootstrap
from mer_r1.predictions import read_predictions
from mer_r1.response import read_labels
from mer_r1.sample import Mode, Prediction, Sample
from mer_r1.verbs.score_input import read_gold

Floats = NDArray[np.float64]
ByMode = dict[Mode, dict[str, Prediction]]

MODES: tuple[Mode, ...] = ("fast", "slow")
LEADS = ("recall", "f1", "precision")
NAMES = {"recall": "recall", "f1": "F1", "precision": "precision"}
ROWS = (  # key, title, shown in percent
    ("recall", "recall, %", True),
    ("precision", "precision, %", True),
    ("f1", "F1, %", True),
    ("num_categories", "categories an answer", False),
    ("answer_words", "words an answer", False),
    ("confidence_gold", "log-confidence on gold", False),
    ("margin", "margin over hard others", False),
)


def run(
    gold: Path,
    pred: Path,
    wheels: str = "builtin",
    json_out: Path | None = None,
    *,
    protocol: str = "official",
) -> dict[str, Any]:
    """Diagnose the predictions of both modes in `pred`, print the table, write `json_out`, and return what it holds.

    Raises InputError that names file and line for a wrong row, a mode that is missing, or ids that do not match.
    """
    truth = read_gold(gold)
    predictions = read_predictions(pred)
    table = load_wheels(wheels, protocol)
    try:
        result = diagnose(truth.labels, predictions, table, name=gold.stem, clusters=truth.clusters)
    except InputError as error:
        raise InputError(f"{pred}: {error}") from None
    print_diagnosis(result, Console())
    if json_out is not None:
        write_json(json_out, result)
    return result


def diagnose(
    gold: Sequence[Sample] | Mapping[str, Labels],
    predictions: Sequence[Prediction],
    wheels: str | WheelSet = "builtin",
    *,
    name: str = "gold",
    clusters: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """How fast and slow thinking differ, as JSON values (fractions, not percent; undefined is None).

    `{"n", "signature", "fast", "slow", "delta": {measure: {"value", "low", "high"}}, "retained_hit_rate",
    "retained_hit_rate_interval", "paradox", "finding"}`. `name` stands in the signature; `clusters` maps ids to the
    cluster that the intervals resample, and is taken from the samples when `gold` is a sequence of them.

    Raises InputError when a mode is missing, when gold and the two modes do not hold the same ids, or when the
    categories are those of other wheels.
    """
    wheels = load_wheels(wheels)
    if not isinstance(gold, Mapping):
        clusters = {sample.id: sample.cluster for sample in gold if sample.cluster is not None}
        gold = {sample.id: sample.labels for sample in gold}
    by_mode = _by_mode(gold, predictions)
    reports = {mode: _score(gold, rows, wheels, name, mode, clusters) for mode, rows in by_mode.items()}
    confidences = _confidences(gold, by_mode, wheels)
    names = reports["fast"].clusters
    delta = {key: _delta(row) for key, row in compare(reports["slow"], reports["fast"]).items() if key in LEADS}
    for key in ("num_categories", "confidence_gold", "margin"):
        fast, slow = (_sums(_values(key, reports[mode], confidences[mode])) for mode in MODES)
        delta[key] = _delta(paired_bootstrap(slow, fast, _mean_of_sums, names)[0])
    retained = _retained(gold, by_mode, wheels)
    paradox = paradox_shows(delta)
    return {
        "n": len(gold),
        "signature": score_signature(wheels, name, len(gold), "fast+slow"),
        **{mode: _mode_json(reports[mode], by_mode[mode], confidences[mode]) for mode in MODES},
        "delta": delta,
        "retained_hit_rate": or_none(_mean_of_sums(retained.sum(axis=0)[None])[0, 0]),
        "retained_hit_rate_interval": [
            or_none(bound) for bound in bootstrap_intervals(retained, _mean_of_sums, names)[0]
        ],
        "paradox": paradox,
        "finding": finding(delta, paradox),
    }


def paradox_shows(delta: Mapping[str, Mapping[str, float | None]]) -> bool | None:
    """Whether fast leads in recall and F1 and slow in precision, as far as the intervals say; None: not decided."""
    signs = (("recall", 1), ("f1", 1), ("precision", -1))
    bounds = [(sign * (delta[key]["low"] or 0), sign * (delta[key]["high"] or 0)) for key, sign in signs]
    known = [delta[key]["low"] is not None and delta[key]["value"] is not None for key, _ in signs]
    if any(k and max(pair) <= 0 for k, pair in zip(known, bounds, strict=True)):
        return False
    return True if all(k and min(pair) > 0 for k, pair in zip(known, bounds, strict=True)) else None


def finding(delta: Mapping[str, Mapping[str, float | None]], paradox: bool | None) -> str:
    """In plain words the three gaps, no stronger than their intervals."""
    heads = {
        True: "The thinking paradox shows on this data",
        False: "The thinking paradox does not show on this data",
        None: "This data does not decide whether the thinking paradox shows",
    }
    head = heads[paradox]
    if paradox is False and (delta["f1"]["low"] or 0) > 0:
        head = "Fast beats slow on this data, but not by trading precision for recall as in the thinking paradox"
    leads = "; ".join(_lead(NAMES[key], delta[key]) for key in LEADS)
    return f"{head}. In points, with 95\N{NO-BREAK SPACE}% intervals: {leads}."


def _lead(name: str, row: Mapping[str, float | None]) -> str:
    value, low, high = (row[key] for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return f"{name} is not defined"
    if low > 0:
        return f"fast leads in {name} by {100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    if high < 0:
        return f"slow leads in {name} by {-100 * value:.1f} [{-100 * high:.1f}, {-100 * low:.1f}]"
    if low == high == 0:
        return f"the two are equal in {name}"
    return f"neither leads surely in {name} (fast − slow [{100 * low:.1f}, {100 * high:.1f}])"


def _by_mode(gold: Mapping[str, Labels], predictions: Sequence[Prediction]) -> ByMode:
    """Predictions by mode and id, an error's emptied; both modes hold exactly the ids of the gold."""
    if not gold:
        raise InputError("the gold holds no clip; give the manifest of the predictions")
    by_mode: ByMode = {"fast": {}, "slow": {}}
    for prediction in predictions:
        if prediction.status == "error":  # the scorer's missing clip: whatever the row holds is no answer
            prediction = replace(prediction, labels=(), categories=None)
        by_mode[prediction.mode][prediction.id] = prediction
    for mode, rows in by_mode.items():
        if not rows:
            raise InputError(f"no {mode} predictions; ask the model in both modes (`mer-r1 predict`)")
        if strangers := [identity for identity in rows if identity not in gold]:
            raise InputError(f'id "{shown(strangers[0])}" is not in the gold file; give the manifest it was made from')
    for mode, rows in by_mode.items():
        if missing := [identity for identity in gold if identity not in rows]:
            raise InputError(
                f'{len(missing)} of {len(gold)} clips have no {mode} prediction, first "{shown(missing[0])}"; finish '
                "the predictions with the command that began them, or give the manifest they were made from"
            )
    return by_mode


def _score(
    gold: Mapping[str, Labels],
    rows: Mapping[str, Prediction],
    wheels: WheelSet,
    name: str,
    mode: Mode,
    clusters: Mapping[str, str] | None,
) -> ScoreReport:
    """The scorer's report of one mode: an error is a clip without prediction, as in `mer-r1 score`."""
    answered = {identity: row.labels for identity, row in rows.items() if row.status != "error"}
    unanswered = {identity for identity, row in rows.items() if row.status not in ("ok", "error")}
    return score(gold, answered, wheels, name=name, mode=mode, clusters=clusters, unanswered=unanswered)


def _confidences(gold: Mapping[str, Labels], by_mode: ByMode, wheels: WheelSet) -> dict[Mode, Confidence]:
    """Confidence of each clip and wheel (N, W), NaN wherever one of the modes has none."""
    gold_sets = [wheels.map_set(read_labels(labels, wheels.protocol.parser)[0]) for labels in gold.values()]
    of_mode: dict[Mode, Confidence] = {}
    for mode, rows in by_mode.items():
        columns: list[Confidence] = []
        for k, categories in enumerate(wheels.categories_of):
            table_NC = np.array([_row(rows[identity], wheels.names[k], categories) for identity in gold])
            columns.append(confidence(table_NC, category_mask([sets[k] for sets in gold_sets], len(categories))))
        of_mode[mode] = Confidence(
            *(np.stack([getattr(c, field) for c in columns], axis=1) for field in ("gold_N", "negative_N", "margin_N"))
        )
    for field in ("gold_N", "negative_N", "margin_N"):
        fast, slow = (getattr(of_mode[mode], field) for mode in MODES)
        gap = np.isnan(fast) | np.isnan(slow)
        fast[gap] = slow[gap] = np.nan
    return of_mode


def _row(prediction: Prediction, wheel: str, categories: Sequence[str]) -> list[float]:
    """Log-confidence of each category of a wheel; NaN where there is none."""
    values = (prediction.categories or {}).get(wheel, {})
    if strangers := set(values) - {*categories, NEUTRAL}:
        raise InputError(
            f'id "{shown(prediction.id)}": {wheel} has no category "{shown(min(strangers))}"; name the wheels that '
            "the predictions were made with"
        )
    return [x if math.isfinite(x := values.get(category, math.nan)) else math.nan for category in categories]


def _retained(gold: Mapping[str, Labels], by_mode: ByMode, wheels: WheelSet) -> Floats:
    """(N, 2W): of each clip the right categories of fast that slow keeps, and the right categories of fast."""
    rows = []
    for identity, labels in gold.items():
        sets = [
            wheels.map_set(words)
            for words in (read_labels(labels, wheels.protocol.parser)[0], *_words(by_mode, identity))
        ]
        hits = [right & fast for right, fast, _ in zip(*sets, strict=True)]
        kept = [len(hit & slow) for hit, slow in zip(hits, sets[2], strict=True)]
        rows.append([*kept, *(len(hit) for hit in hits)])
    return np.array(rows, dtype=np.float64)


def _words(by_mode: ByMode, identity: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    fast, slow = (by_mode[mode][identity] for mode in MODES)
    return fast.labels, slow.labels


def _values(key: str, report: ScoreReport, values: Confidence) -> Floats:
    """(N, W) of a measure that is a mean over clips, then over wheels."""
    if key == "num_categories":
        return report.arrays.num_predicted_NW.astype(np.float64)
    fields = {"confidence_gold": values.gold_N, "confidence_negative": values.negative_N, "margin": values.margin_N}
    return fields[key]


def _sums(values_NW: Floats) -> Floats:
    """(N, W) with NaN -> (N, 2W) of [value or 0, counted 0/1], which a resample adds up."""
    counted = ~np.isnan(values_NW)
    return np.concatenate([np.where(counted, values_NW, 0.0), counted.astype(np.float64)], axis=1)


def _mean_of_sums(sums_BK: Floats) -> Floats:
    """(B, 2W) sums of numerators and denominators -> (B, 1) mean over wheels of their ratios; NaN for 0/0."""
    total, counted = np.split(sums_BK, 2, axis=1)
    ratios = np.divide(total, counted, out=np.full_like(total, np.nan), where=counted > 0)
    return np.asarray(ratios.mean(axis=1, keepdims=True), dtype=np.float64)


def _mode_json(report: ScoreReport, rows: Mapping[str, Prediction], values: Confidence) -> dict[str, Any]:
    measured = report.open_vocabulary
    means = {
        key: or_none(_mean_of_sums(_sums(_values(key, report, values)).sum(axis=0)[None])[0, 0])
        for key in ("num_categories", "confidence_gold", "confidence_negative", "margin")
    }
    return {
        **{key: or_none(getattr(measured, key)) for key in ("recall", "precision", "f1", "hit")},
        "answer_words": sum(len(row.labels) for row in rows.values()) / len(rows),
        **means,
        "num_with_confidence": int((~np.isnan(values.gold_N)).any(axis=1).sum()),
        "missing": report.missing,
        "unanswered": report.unanswered,
    }


def _delta(row: Any) -> dict[str, float | None]:
    return {"value": or_none(row.delta), "low": or_none(row.low), "high": or_none(row.high)}


def print_diagnosis(result: Mapping[str, Any], console: Console) -> None:
    """The diagnosis for people."""
    table = Table(title=f"Fast and slow thinking on {result['n']} clips, mean over wheels", title_justify="left")
    for title in ("", "fast", "slow", "fast − slow", "95 % interval"):
        table.add_column(title, justify="right" if title else "left")
    for key, title, percent in ROWS:
        delta = result["delta"].get(key, {})
        cells = [_number(result[mode][key], percent) for mode in MODES]
        bounds = f"[{_number(delta.get('low'), percent)}, {_number(delta.get('high'), percent)}]" if delta else ""
        table.add_row(title, *cells, _number(delta["value"], percent) if delta else "", escape(bounds))
    table.add_section()
    low, high = (_number(bound, True) for bound in result["retained_hit_rate_interval"])
    table.add_row(
        "retained hit rate, %", "", _number(result["retained_hit_rate"], True), "", escape(f"[{low}, {high}]")
    )
    console.print(table)
    console.print(result["finding"], markup=False, highlight=False)
    for mode in MODES:
        counts = result[mode]
        if counts["missing"] or counts["unanswered"]:
            line = f"{mode}: {counts['missing']} clips without a prediction, {counts['unanswered']} unfinished or empty"
            console.print(f"{line} (counted by the words they hold, if any)", markup=False, highlight=False)
    if not result["fast"]["num_with_confidence"]:
        console.print("The predictions hold no category confidences: write them with `mer-r1 predict`.", markup=False)
    console.print(result["signature"], markup=False, highlight=False, soft_wrap=True)


def _number(value: float | None, percent: bool) -> str:
    if value is None:
        return "n/a"
    return f"{100 * value:.2f}" if percent else f"{value:.2f}"
