"""The thinking paradox measured: fast against slow thinking of one system, and slow against slow of two.

    recall, precision, F1     the scorer's own (metrics/open_vocabulary.py), fast - slow by the paired bootstrap
    num_categories            categories an answer reaches, mean over clips and wheels
    confidence_gold, margin   MER-R1 Definitions 1 and 2 (metrics/confidence.py), mean over clips, then over wheels;
                              of log-confidences averaged over the words of an answer
    .._first                  the same at the first token of the answer's first word
    retained_hit_rate         sum |G ∩ fast ∩ slow| / sum |G ∩ fast| over clips, G the gold categories, then mean over
                              wheels: what slow keeps of fast's right categories (Appendix D, Figure 8)

Source: MER-R1 Section 3, Figures 1b and 3; Figure 5 for two systems. Convention: deltas are fast minus slow, or tuned
minus reference; confidences are compared on the clips where both sides have one; which clips count
`evaluation.answered` decides, as for the scorer. The paradox has two halves, each with a verdict of its own: fast leads
in recall, and slow in precision. A half shows (true) when its 95 % interval says so, does not (false) when the interval
says the contrary or no difference, and is not decided (null) otherwise. The whole shows when both halves do and fast
leads in F1, does not when one of the three does not, and is not decided otherwise.
Shape letters: N clips, W wheels, C categories of a wheel, B resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mer_r1.analysis.tables import Estimate, by_wheel, category_bits, estimate, gold_categories, log_confidences
from mer_r1.data.gold import Gold
from mer_r1.data.ids import unmatched
from mer_r1.data.predictions import ModePredictions
from mer_r1.data.sample import MODES, Mode, Position, Prediction, Sample
from mer_r1.emotion.wheel import WheelSet, load_wheels
from mer_r1.errors import InputError
from mer_r1.evaluation.answered import Answered, answered
from mer_r1.metrics.confidence import confidence_margin
from mer_r1.metrics.corpus_score import ScoreReport, compare, score_mode, score_signature
from mer_r1.metrics.statistics import Floats, bootstrap_intervals, or_none, paired_bootstrap, ratio
from mer_r1.text import interval, with_interval

Rows = dict[str, Prediction]

LEADS = ("recall", "f1", "precision")
GAPS = (("recall", "recall"), ("precision", "precision"), ("f1", "F1"))  # as plots and tables show them
HALVES: tuple[tuple[str, Mode], ...] = (("recall", "fast"), ("precision", "slow"))
"""The halves of the paradox: a measure, and which mode leads in it."""
VERDICTS = {True: "shown", False: "not shown", None: "undecided"}
SUFFIXES: dict[Position, str] = {"first": "_first", "mean": ""}
"""What a measure's name ends in, by where confidence is read."""
MEANS = (
    "num_categories",
    *(f"{name}{suffix}" for name in ("confidence_gold", "margin") for suffix in SUFFIXES.values()),
)


@dataclass(frozen=True)
class Level:
    """The answers of one side on average: fractions, counts a clip, log-confidences; undefined is None.

    `confidence_*` and `margin` are of log-confidences averaged over an answer's words, `*_first` of those at its first
    word; `num_with_confidence` and `num_with_confidence_first` say on how many clips both sides have them.
    """

    recall: float | None
    precision: float | None
    f1: float | None
    hit: float | None
    answer_words: float
    num_categories: float | None
    confidence_gold: float | None
    confidence_negative: float | None
    margin: float | None
    num_with_confidence: int
    confidence_gold_first: float | None
    confidence_negative_first: float | None
    margin_first: float | None
    num_with_confidence_first: int
    missing: int
    unanswered: int


@dataclass(frozen=True)
class Half:
    """One half of the paradox: whether it shows (None: not decided), and its gap in words, in points."""

    measure: str
    shows: bool | None
    finding: str


@dataclass(frozen=True)
class Diagnosis:
    """Fast against slow thinking of one system on `n` clips; `delta` is fast minus slow by measure.

    `failed` is how many answers of each mode failed; their clips are in no number. `halves` are those of the paradox,
    recall and then precision; `paradox` and `finding` are of the whole.
    """

    n: int
    signature: str
    failed: dict[str, int]
    fast: Level
    slow: Level
    delta: dict[str, Estimate]
    retained_hit_rate: Estimate
    halves: tuple[Half, ...]
    paradox: bool | None
    finding: str

    def to_json(self) -> dict[str, Any]:
        """As JSON values, the retained hit rate and its interval apart."""
        retained = self.retained_hit_rate
        return asdict(self) | {
            "retained_hit_rate": retained.value,
            "retained_hit_rate_interval": [retained.low, retained.high],
        }


@dataclass(frozen=True)
class SlowPair:
    """Slow thinking of two systems on `n` clips; `delta` is tuned minus reference by measure."""

    n: int
    signature: str
    reference: Level
    tuned: Level
    delta: dict[str, Estimate]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class _Side:
    """One of two compared lists of answers: its rows by id, its report, and by measure its confidences (N, W)."""

    rows: Rows
    report: ScoreReport
    confidence: dict[str, Floats]


def diagnose(
    gold: Gold | Sequence[Sample],
    predictions: Sequence[Prediction],
    wheels: str | WheelSet = "builtin",
    *,
    name: str = "gold",
    reports: Mapping[Mode, ScoreReport] | None = None,
) -> Diagnosis:
    """How fast and slow thinking differ.

    `name` stands in the signature; `reports` are those of the two modes, where these answers were scored before.

    Raises InputError when a mode is missing, when an answer is to a clip that the gold does not hold, when every clip
    failed, or when the categories are those of other wheels.
    """
    wheels = load_wheels(wheels)
    gold = gold if isinstance(gold, Gold) else Gold.of(gold)
    rows = {mode: rows_of(gold, predictions, mode) for mode in MODES}
    found = answered(gold.labels, {mode: _statuses(of_mode) for mode, of_mode in rows.items()})
    gold = _only(gold, found)
    fast, slow = _sides(gold, list(rows.items()), wheels, name, reports or {})
    delta = _deltas(slow, fast)
    retained = _retained(gold, fast.rows, slow.rows, wheels)
    names = fast.report.clusters
    paradox = paradox_shows(delta)
    low, high = bootstrap_intervals(retained, _mean_of_sums, names)[0]
    return Diagnosis(
        n=len(gold.labels),
        signature=score_signature(wheels, name, len(gold.labels), "fast+slow", fast.report.unscorable_gold),
        failed={mode: len(of_mode) for mode, of_mode in found.failed[0].items()},
        fast=_level(fast),
        slow=_level(slow),
        delta=delta,
        retained_hit_rate=estimate(_mean_of_sums(retained.sum(axis=0)[None])[0, 0], low, high),
        halves=halves(delta),
        paradox=paradox,
        finding=finding(delta, paradox),
    )


def compare_slow(
    gold: Sequence[Sample],
    reference: Sequence[Prediction],
    tuned: Sequence[Prediction],
    wheels: WheelSet,
    *,
    name: str = "gold",
) -> SlowPair:
    """Slow thinking of two systems on the same clips.

    Measures as in `diagnose`; deltas are tuned minus reference (MER-R1 Figure 5). Raises InputError as it does.
    """
    truth = Gold.of(gold)
    rows: list[tuple[Mode, Rows]] = [("slow", rows_of(truth, side, "slow")) for side in (reference, tuned)]
    truth = _only(truth, answered(truth.labels, *({mode: _statuses(of_mode)} for mode, of_mode in rows)))
    first, second = _sides(truth, rows, wheels, name, {})
    return SlowPair(len(truth.labels), first.report.signature, _level(first), _level(second), _deltas(first, second))


def leads(delta: Estimate, mode: Mode) -> bool | None:
    """Whether a mode leads in a measure of which `delta` is fast minus slow, as far as the interval says."""
    if delta.value is None or delta.low is None or delta.high is None:
        return None
    low, high = (delta.low, delta.high) if mode == "fast" else (-delta.high, -delta.low)
    return True if low > 0 else False if high <= 0 else None


def halves(delta: Mapping[str, Estimate]) -> tuple[Half, ...]:
    """The two halves of the paradox, each by its own interval."""
    return tuple(Half(key, leads(delta[key], mode), lead(key, delta[key])) for key, mode in HALVES)


def paradox_shows(delta: Mapping[str, Estimate]) -> bool | None:
    """Whether fast leads in recall and F1 and slow in precision, as far as the intervals say; None: not decided."""
    found = [leads(delta[key], mode) for key, mode in (*HALVES, ("f1", "fast"))]
    return False if False in found else None if None in found else True


def finding(delta: Mapping[str, Estimate], paradox: bool | None) -> str:
    """In plain words the verdict, both halves and F1, no stronger than their intervals."""
    heads = {
        True: "The thinking paradox shows on this data",
        False: "The thinking paradox does not show on this data",
        None: "This data does not decide whether the thinking paradox shows",
    }
    head = heads[paradox]
    if paradox is False and leads(delta["f1"], "fast"):
        head = "Fast beats slow on this data, but not by trading precision for recall as in the thinking paradox"
    parts = [f"the {half.measure} half is {VERDICTS[half.shows]}, {half.finding}" for half in halves(delta)]
    gaps = "; ".join([*parts, lead("f1", delta["f1"])])
    return f"{head}. In points, with 95\N{NO-BREAK SPACE}% intervals: {gaps}."


def lead(measure: str, delta: Estimate) -> str:
    """Which mode leads in a measure, and by how many points, in words."""
    name, value, low, high = dict(GAPS)[measure], delta.value, delta.low, delta.high
    if value is None or low is None or high is None:
        return f"{name} is not defined"
    if low > 0:
        return f"fast leads in {name} by {with_interval(value, low, high, 1)}"
    if high < 0:
        return f"slow leads in {name} by {with_interval(-value, -high, -low, 1)}"
    if low == high == 0:
        return f"the two are equal in {name}"
    return f"neither leads surely in {name} (fast − slow {interval(low, high, 1)})"


def rows_of(gold: Gold, predictions: Sequence[Prediction], mode: Mode) -> Rows:
    """The rows of a mode by id. Raises InputError for none, and for one that is not of the gold."""
    if not gold.labels:
        raise InputError("the gold holds no clip; give the manifest of the predictions")
    rows = {row.id: row for row in predictions if row.mode == mode}
    if not rows:
        raise InputError(f"no {mode} predictions; ask the model in both modes (`mer-r1 predict`)")
    if strangers := unmatched(rows, gold.labels, "the predictions", "the gold"):
        raise InputError(f"{strangers}; or give the manifest that they were made from")
    return rows


def _statuses(rows: Rows) -> dict[str, str]:
    return {identity: row.status for identity, row in rows.items()}


def _only(gold: Gold, found: Answered[Mode]) -> Gold:
    """The gold of the clips that count. Raises InputError for none."""
    if not found.ids:
        raise InputError("no clip has an answer that did not fail in every mode; ask them again")
    return gold.only(found.ids)


def _sides(
    gold: Gold,
    answers: Sequence[tuple[Mode, Rows]],
    wheels: WheelSet,
    name: str,
    reports: Mapping[Mode, ScoreReport],
) -> list[_Side]:
    """Each list of answers scored, where `reports` does not have it, and its confidences, NaN where a list has none.

    A clip without a row stands as an empty one of status "error", which the scorer counts as missing.
    """
    answers = [
        (mode, {i: rows.get(i) or Prediction(i, mode, "", "", (), "error") for i in gold.labels})
        for mode, rows in answers
    ]
    gold_NC = category_bits([gold_categories(labels, wheels) for labels in gold.labels.values()], wheels)
    found = [_confidence(list(rows.values()), gold_NC, wheels) for _, rows in answers]
    for key in found[0]:
        tables = [item[key] for item in found]
        gap = np.any([np.isnan(table) for table in tables], axis=0)
        for table in tables:
            table[gap] = np.nan
    sides = []
    for (mode, rows), confidence in zip(answers, found, strict=True):
        report = reports.get(mode) or score_mode(gold, ModePredictions.of(mode, rows.values()), wheels, name)
        sides.append(_Side(rows, report, confidence))
    return sides


def _confidence(rows: Sequence[Prediction], gold_NC: NDArray[np.bool_], wheels: WheelSet) -> dict[str, Floats]:
    """By measure the confidence of each clip and wheel, (N, W), at both positions."""
    found = {}
    for position, suffix in SUFFIXES.items():
        table_NC = log_confidences(rows, wheels, position)
        columns = [confidence_margin(table_NC[:, part], gold_NC[:, part]) for part in by_wheel(wheels)]
        found[f"confidence_gold{suffix}"] = np.stack([column.gold_N for column in columns], axis=1)
        found[f"confidence_negative{suffix}"] = np.stack([column.negative_N for column in columns], axis=1)
        found[f"margin{suffix}"] = np.stack([column.margin_N for column in columns], axis=1)
    return found


def _retained(gold: Gold, fast: Rows, slow: Rows, wheels: WheelSet) -> Floats:
    """(N, 2W): of each clip the right categories of fast that slow keeps, and the right categories of fast."""
    table = np.empty((len(gold.labels), 2 * len(wheels.names)))
    for n, (identity, labels) in enumerate(gold.labels.items()):
        hit = gold_categories(labels, wheels) & wheels.map_words(fast[identity].labels)[0]
        kept = hit & wheels.map_words(slow[identity].labels)[0]
        table[n] = (*wheels.count(kept), *wheels.count(hit))
    return table


def _deltas(first: _Side, second: _Side) -> dict[str, Estimate]:
    """Second minus first of every measure, each with its paired interval."""
    names = first.report.clusters
    compared = compare(first.report, second.report)
    deltas = {key: estimate(row.delta, row.low, row.high) for key, row in compared.items() if key in LEADS}
    for key in MEANS:
        one, other = (_sums(_values(key, side)) for side in (first, second))
        row = paired_bootstrap(one, other, _mean_of_sums, names)[0]
        deltas[key] = estimate(row.delta, row.low, row.high)
    return deltas


def _values(key: str, side: _Side) -> Floats:
    """(N, W) of a measure that is a mean over clips, then over wheels."""
    if key == "num_categories":
        return side.report.arrays.num_predicted_NW.astype(np.float64)
    return side.confidence[key]


def _sums(values_NW: Floats) -> Floats:
    """(N, W) with NaN -> (N, 2W) of [value or 0, counted 0/1], which a resample adds up."""
    counted = ~np.isnan(values_NW)
    return np.concatenate([np.where(counted, values_NW, 0.0), counted.astype(np.float64)], axis=1)


def _mean_of_sums(sums_BK: Floats) -> Floats:
    """(B, 2W) sums of numerators and denominators -> (B, 1) mean over wheels of their ratios; NaN for 0/0."""
    total, counted = np.split(sums_BK, 2, axis=1)
    return np.asarray(ratio(total, counted).mean(axis=1, keepdims=True), dtype=np.float64)


def _level(side: _Side) -> Level:
    report = side.report
    means = {
        key: or_none(_mean_of_sums(_sums(_values(key, side)).sum(axis=0)[None])[0, 0])
        for key in ("num_categories", *side.confidence)
    }
    return Level(
        **{key: or_none(getattr(report.open_vocabulary, key)) for key in ("recall", "precision", "f1", "hit")},
        **means,
        answer_words=sum(len(row.labels) for row in side.rows.values()) / len(side.rows),
        num_with_confidence=_num_known(side.confidence["confidence_gold"]),
        num_with_confidence_first=_num_known(side.confidence["confidence_gold_first"]),
        missing=report.missing,
        unanswered=report.unanswered,
    )


def _num_known(values_NW: Floats) -> int:
    """Clips that have the measure in some wheel."""
    return int((~np.isnan(values_NW)).any(axis=1).sum())
