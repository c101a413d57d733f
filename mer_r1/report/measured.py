"""The numbers of the page: every system, set and mode scored from its predictions, nothing taken from a log.

    scores      metrics.corpus_score.score, the functions of `mer-r1 score`, with intervals and the best constant answer
    delta       against the reference system on the same set and mode, by the paired bootstrap (system - reference)
    diagnosis   analysis.paradox.diagnose, the numbers of `mer-r1 diagnose`; where it is not defined, why

Only WAF, which needs sentiments, and accuracy, which needs candidates, are read from the metrics.json of a benchmark.
Convention: fractions; scores are of the samples that sets.py says; the reference is the system "baseline", or else the
first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mer_r1.analysis.paradox import Diagnosis, diagnose
from mer_r1.data.gold import Gold
from mer_r1.data.predictions import ModePredictions
from mer_r1.data.sample import Mode
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.evaluation.records import Bounds, ScoreRecord, bounds_of
from mer_r1.evaluation.runs import Answers
from mer_r1.metrics.corpus_score import ScoreReport, compare, score
from mer_r1.metrics.sentiment import is_scored
from mer_r1.metrics.statistics import Difference, or_none
from mer_r1.report.sets import MODES, PageSet, ShownSystem

REPORTED = ("waf", "accuracy")
MEASURES = ("f1", "hit", *REPORTED)


@dataclass(frozen=True)
class ModeScore:
    """One system's answers of one mode on one set, scored.

    `headline` is the measure that stands for the set: HIT for basic emotions, WAF where gold has valences alone, else
    F1; or what a benchmark reports. `missing` and `errors` are disjoint: no row at all, and a row that says what
    failed. `extra` are answers to samples that the set does not hold. `reported` is the headline where it is one of
    REPORTED, there only if metrics.json has it of as many clips as are scored here, or else `reported_problem` says why
    not; `reported_signature` says how it was measured.
    """

    headline: str
    report: ScoreReport
    answer_words: float
    missing: int
    errors: int
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
    compared = reference_of(systems, sets)
    result: list[Result] = []
    for page_set in (item for item in sets if item.scored):
        reports = {
            (index, mode): _report(page_set, rows, mode, wheels)
            for index, rows in page_set.answers.items()
            for mode in MODES
            if any(key[1] == mode for key in rows)
        }
        asked = [item for item in systems if item.index in page_set.answers]
        reported = _reported_measure(page_set)
        for system in asked:
            modes = {
                mode: _mode_score(system, page_set, mode, reports, compared, reported)
                for mode in MODES
                if (system.index, mode) in reports
            }
            diagnosis, problem = _diagnosis(page_set, page_set.answers[system.index], modes, wheels)
            result.append(Result(system, page_set, modes, diagnosis, problem))
    return tuple(result)


def reference_of(systems: Sequence[ShownSystem], sets: Sequence[PageSet]) -> ShownSystem | None:
    """The system that others are compared with; None where fewer than two were asked."""
    asked = [system for system in systems if any(system.index in page_set.answers for page_set in sets)]
    if len(asked) < 2:
        return None
    return next((system for system in asked if system.system.name == "baseline"), asked[0])


def _reported_measure(page_set: PageSet) -> str | None:
    """The first measure that a benchmark reports of the set, so that all its systems are shown by one."""
    reported = [scores.of_mode(mode) for scores in page_set.scores.values() for mode in MODES]
    return next((item.measure for item in reported if item is not None and item.measure in MEASURES), None)


def _headline(page_set: PageSet, report: ScoreReport) -> str:
    if page_set.samples and not any(sample.labels for sample in page_set.samples):
        return "waf"
    return report.headline


def _report(page_set: PageSet, rows: Answers, mode: Mode, wheels: WheelSet) -> ScoreReport:
    gold = Gold.of(page_set.scored)
    asked = ModePredictions.of(mode, (row for key, row in rows.items() if key[1] == mode and key[0] in gold.labels))
    return score(
        gold.labels,
        asked.labels,
        wheels,
        name=page_set.name,
        mode=mode,
        clusters=gold.clusters,
        unanswered=asked.unanswered,
    )


def _mode_score(
    system: ShownSystem,
    page_set: PageSet,
    mode: Mode,
    reports: Mapping[tuple[int, Mode], ScoreReport],
    compared: ShownSystem | None,
    reported_measure: str | None,
) -> ModeScore:
    report, rows = reports[system.index, mode], page_set.answers[system.index]
    asked = [row for sample in page_set.samples if (row := rows.get((sample.id, mode))) is not None]
    scored = [row for sample in page_set.scored if (row := rows.get((sample.id, mode))) is not None]
    known = {sample.id for sample in page_set.samples}
    reported = page_set.scores[system.index].of_mode(mode) or ScoreRecord()
    headline = reported_measure or _headline(page_set, report)
    problem = _reported_problem(page_set, reported, headline)
    is_reported = headline in REPORTED and not problem
    other = None if compared is None or compared.index == system.index else reports.get((compared.index, mode))
    return ModeScore(
        headline=headline,
        report=report,
        answer_words=sum(len(row.labels) for row in scored) / max(1, len(page_set.scored)),
        missing=len(page_set.samples) - len(asked),
        errors=sum(row.status == "error" for row in asked),
        extra=sum(key[1] == mode and key[0] not in known for key in rows),
        reported=reported.value(headline) if is_reported else None,
        reported_bounds=reported.bounds(headline) if is_reported else None,
        reported_signature=reported.signature,
        reported_problem=problem,
        delta=None if other is None else compare(other, report),
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
    page_set: PageSet,
    rows: Answers,
    modes: Mapping[Mode, ModeScore],
    wheels: WheelSet,
) -> tuple[Diagnosis | None, str]:
    """Fast against slow; None and a reason where a mode or an answer is missing."""
    if len(modes) < len(MODES) or not any(sample.labels for sample in page_set.scored):
        return None, ""
    kept = {sample.id for sample in page_set.scored}
    try:
        own = [row for row in rows.values() if row.id in kept]
        return diagnose(page_set.scored, own, wheels, name=page_set.name), ""
    except InputError as error:
        return None, str(error)
