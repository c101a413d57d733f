"""The numbers of the page: every system, set and mode scored from its predictions, nothing taken from a log.

    scores      metrics.corpus_score.score, the functions of `mer-r1 score`, with intervals and the best constant answer
    delta       against the reference system on the same set and mode, by the paired bootstrap (system - reference)
    diagnosis   analysis.paradox.diagnose, the numbers of `mer-r1 diagnose`; where it is not defined, why

Only WAF, which needs sentiments, and accuracy, which needs candidates, are read from the metrics.json of a benchmark.
Convention: fractions; scores are of the samples that sets.py says; the reference is the system "baseline", or else the
first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from mer_r1.analysis.paradox import Diagnosis, diagnose
from mer_r1.data.gold import Gold
from mer_r1.data.predictions import ModePredictions
from mer_r1.data.sample import MODES, Mode
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.evaluation.records import Bounds, ScoreRecord, bounds_of
from mer_r1.metrics.corpus_score import ScoreReport, compare, score_mode
from mer_r1.metrics.sentiment import is_scored
from mer_r1.metrics.statistics import Difference, or_none
from mer_r1.report.sets import PageSet, ShownSystem

REPORTED = ("waf", "accuracy")
MEASURES = ("f1", "hit", *REPORTED)


@dataclass(frozen=True)
class ModeScore:
    """One system's answers of one mode on one set, scored.

    `headline` is the measure that stands for the set: HIT for basic emotions, WAF where gold has valences alone, else
    F1; or what a benchmark reports. `missing` and `failed` are disjoint: no row at all, and a row that says what
    failed. `extra` are answers to samples that the set does not hold. `reported` is the headline where it is one of
    REPORTED, there only if metrics.json has it of as many clips as are scored here, or else `reported_problem` says why
    not; `reported_signature` says how it was measured.
    """

    headline: str
    report: ScoreReport
    answer_words: float
    missing: int
    failed: int
    extra: int
    reported: float | None
    reported_bounds: Bounds
    reported_signature: str
    reported_problem: str
    delta: dict[str, Difference] | None

    def value(self, measure: str) -> float | None:
        """A measure; None where it is not defined."""
        if measure in REPORTED:
            return self.reported if measure == self.headline else None
        return or_none(getattr(self.report.open_vocabulary, measure))

    def bounds(self, measure: str) -> Bounds:
        """Its interval; None where it is not defined."""
        if measure in REPORTED:
            return self.reported_bounds if measure == self.headline else None
        return bounds_of(self.report.intervals[measure])


@dataclass(frozen=True)
class Result:
    """One system on one set: `diagnosis` compares its modes, or `problem` says why they are not compared."""

    system: ShownSystem
    page_set: PageSet
    modes: dict[Mode, ModeScore]
    diagnosis: Diagnosis | None
    problem: str


def measure(systems: Sequence[ShownSystem], sets: Sequence[PageSet], wheels: WheelSet) -> tuple[Result, ...]:
    """Every system on every set that it was asked about, by set and then by system."""
    reference = reference_of(systems, sets)
    return tuple(
        result for page_set in sets if page_set.scored for result in _on_set(page_set, systems, reference, wheels)
    )


def reference_of(systems: Sequence[ShownSystem], sets: Sequence[PageSet]) -> ShownSystem | None:
    """The system that others are compared with; None where fewer than two were asked."""
    asked = [system for system in systems if any(system.index in page_set.answers for page_set in sets)]
    if len(asked) < 2:
        return None
    return next((system for system in asked if system.system.name == "baseline"), asked[0])


def _on_set(
    page_set: PageSet, systems: Sequence[ShownSystem], reference: ShownSystem | None, wheels: WheelSet
) -> Iterator[Result]:
    """The results on one set, all under one headline: the first measure that a benchmark reports of it, if any."""
    gold = Gold.of(page_set.scored)
    reports = {}
    for index, mode in product(page_set.answers, MODES):
        if rows := page_set.of_mode(index, mode):
            found = ModePredictions.of(mode, (row for row in rows.values() if row.id in gold.labels))
            reports[index, mode] = score_mode(gold, found, wheels, page_set.name)
    records = (scores.of_mode(mode) for scores in page_set.scores.values() for mode in MODES)
    headline = next((item.measure for item in records if item is not None and item.measure in MEASURES), None)
    if headline is None and not any(sample.labels for sample in page_set.samples):
        headline = "waf"
    for system in systems:
        if system.index not in page_set.answers:
            continue
        own = {mode: reports[system.index, mode] for mode in MODES if (system.index, mode) in reports}
        modes = {}
        for mode, report in own.items():
            other = None if reference in (None, system) else reports.get((reference.index, mode))
            modes[mode] = _mode_score(system, page_set, mode, report, other, headline or report.headline)
        diagnosis, problem = _diagnosis(page_set, system, own, wheels)
        yield Result(system, page_set, modes, diagnosis, problem)


def _mode_score(
    system: ShownSystem,
    page_set: PageSet,
    mode: Mode,
    report: ScoreReport,
    reference: ScoreReport | None,
    headline: str,
) -> ModeScore:
    rows, known = page_set.of_mode(system.index, mode), {sample.id for sample in page_set.samples}
    num_words = sum(len(rows[sample.id].labels) for sample in page_set.scored if sample.id in rows)
    reported = page_set.scores[system.index].of_mode(mode) or ScoreRecord()
    problem = _reported_problem(page_set, reported, headline)
    is_reported = headline in REPORTED and not problem
    return ModeScore(
        headline=headline,
        report=report,
        answer_words=num_words / len(page_set.scored),
        missing=len(known - rows.keys()),
        failed=sum(row.status == "error" for row in rows.values() if row.id in known),
        extra=len(rows.keys() - known),
        reported=reported.value(headline) if is_reported else None,
        reported_bounds=reported.bounds(headline) if is_reported else None,
        reported_signature=reported.signature,
        reported_problem=problem,
        delta=None if reference is None else compare(reference, report),
    )


def _reported_problem(page_set: PageSet, scores: ScoreRecord, headline: str) -> str:
    """Why the headline of metrics.json is not of the clips scored here; empty where it is, and where there is none."""
    if headline not in REPORTED or scores.value(headline) is None:
        return ""
    scored, num = len(page_set.scored), scores.n
    if headline == "waf":
        protocol = "corrected" if "|protocol:corrected|" in scores.signature else "official"
        valences = [sample.valence for sample in page_set.scored if sample.valence is not None]
        scored = sum(is_scored(valence, protocol) for valence in valences)
    if num == scored:
        return ""
    return f"metrics.json has it of {'unknown' if num is None else f'{num}'} clips, here are {scored}"


def _diagnosis(
    page_set: PageSet, system: ShownSystem, reports: Mapping[Mode, ScoreReport], wheels: WheelSet
) -> tuple[Diagnosis | None, str]:
    """Fast against slow; None and a reason where a mode or an answer is missing."""
    if len(reports) < len(MODES) or not any(sample.labels for sample in page_set.scored):
        return None, ""
    kept = {sample.id for sample in page_set.scored}
    rows = [row for row in page_set.answers[system.index].values() if row.id in kept]
    try:
        return diagnose(page_set.scored, rows, wheels, name=page_set.name, reports=reports), ""
    except InputError as error:
        return None, str(error)
