"""Everything `mer-r1 diagnose RUN…` measures, of all systems and data sets together.

    paradox      fast against slow of a system on a set (paradox.py; MER-R1 Figures 1b, 3 and 8)
    reliability  are its category confidences probabilities (reliability.py)
    pair         slow against slow of two systems on a set (Figure 5)
    sentiment    fast against slow in WAF, on sets with a valence (sentiment.py; Figure 1b)
    leak         what the subtitles of a set give away (leak.py)
    dynamics     recall and precision reward over the steps of a training (Figure 7)
    cases        the clips of Appendix E (cases.py)

Convention: systems are compared on the sets that `evaluation.runs.shared_sets` finds to be one, over the clips that
`evaluation.answered` counts: one that failed for any of them is in no number of the set, and in `failed`. The pair is
the baseline and MER-R1, or else the last two systems; cases are those of the pair where both were asked, otherwise
those of each system alone. What cannot be measured is None, with the reason in `notes`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from mer_r1.analysis.cases import KINDS, CaseRule, Kind, case_rules, find_cases, pair_of
from mer_r1.analysis.leak import subtitle_leak
from mer_r1.analysis.paradox import Diagnosis, SlowPair, compare_slow, diagnose
from mer_r1.analysis.reliability import Reliability, reliability
from mer_r1.analysis.sentiment import SentimentGap, has_valence, sentiment_gap
from mer_r1.analysis.tables import Estimate, gold_categories
from mer_r1.data.sample import MODES, Mode, Prediction
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.evaluation.records import Json
from mer_r1.evaluation.runs import EvaluatedSet, SharedSet, System, shared_sets
from mer_r1.evaluation.sentiment import not_unibench
from mer_r1.metrics.signature import wheels_part

DYNAMICS = ("reward/recall", "reward/precision")


@dataclass(frozen=True)
class SystemOnSet:
    """One system on one set: its fast against its slow answers, and the calibration of each mode."""

    paradox: Diagnosis | None
    reliability: dict[Mode, Reliability | None]

    def to_json(self) -> Json:
        """As JSON values."""
        calibration = {mode: found and found.to_json() for mode, found in self.reliability.items()}
        return {"paradox": self.paradox and self.paradox.to_json(), "reliability": calibration}


@dataclass(frozen=True)
class SetDiagnosis:
    """One set of `n` clips: every system asked about it by name, the pair, and what its subtitles give away.

    `failed` is how many answers of each system failed. `sentiment` has the systems by name where the gold is a valence;
    a set of valences alone has nothing else.
    """

    title: str
    n: int
    failed: dict[str, int]
    systems: dict[str, SystemOnSet]
    pair: SlowPair | None
    leak: Json | None
    sentiment: dict[str, SentimentGap] = field(default_factory=dict)

    @property
    def gaps(self) -> dict[str, dict[str, Estimate]]:
        """Fast minus slow of every measure, "waf" too, by the names of the systems that were asked in both modes."""
        found = {name: dict(of.paradox.delta) for name, of in self.systems.items() if of.paradox}
        for name, gap in self.sentiment.items():
            found.setdefault(name, {})["waf"] = gap.delta
        return found

    def to_json(self) -> Json:
        """As JSON values."""
        return {
            "title": self.title,
            "n": self.n,
            "failed": self.failed,
            "systems": {name: item.to_json() for name, item in self.systems.items()},
            "pair": self.pair and self.pair.to_json(),
            "leak": self.leak,
            "sentiment": {name: gap.to_json() for name, gap in self.sentiment.items()},
        }


@dataclass(frozen=True)
class Series:
    """A logged number over the steps."""

    steps: list[float]
    values: list[float]


@dataclass(frozen=True)
class Case:
    """A clip of a kind: a row of cases.jsonl."""

    set: str
    id: str
    kind: Kind
    strength: float
    systems: list[str]
    categories: dict[str, list[str]]


@dataclass(frozen=True)
class RunsDiagnosis:
    """All that was measured: titles of the systems by name, results by set, logs by system, and the cases with the
    rules of their kinds, of each kind and set the strongest first.
    """

    systems: dict[str, str]
    wheels: str
    protocol: str
    pair: tuple[str, str] | None
    sets: dict[str, SetDiagnosis]
    dynamics: dict[str, dict[str, Series]]
    rules: dict[Kind, CaseRule]
    notes: tuple[str, ...]
    cases: tuple[Case, ...]

    def to_json(self) -> Json:
        """What diagnosis.json holds: JSON values, the cases counted."""
        return {
            "systems": self.systems,
            "wheels": self.wheels,
            "protocol": self.protocol,
            "pair": list(self.pair) if self.pair else None,
            "sets": {name: item.to_json() for name, item in self.sets.items()},
            "dynamics": {name: {key: asdict(row) for key, row in log.items()} for name, log in self.dynamics.items()},
            "cases": dict(Counter(case.kind for case in self.cases)),
            "rules": {kind: rule._asdict() for kind, rule in self.rules.items()},
            "notes": list(self.notes),
        }


def diagnose_runs(systems: Sequence[System], wheels: WheelSet) -> RunsDiagnosis:
    """Diagnose all systems on all sets. Raises InputError when there is neither an answer nor a training to look at."""
    titles = {system.name: system.title for system in systems}
    pair = pair_of(systems)
    dynamics = {system.name: found for system in systems if (found := _dynamics(system))}
    sets = shared_sets(systems)
    if not sets and not dynamics:
        raise InputError("nothing to diagnose; give a run with predictions, or a training with logged rewards")
    notes: list[str] = []
    cases: list[Case] = []
    measured = {}
    for item in sets:
        if any(gold_categories(sample.labels, wheels) for sample in item.samples):
            measured[item.name] = _of_set(item, titles, pair, wheels, notes)
            cases += _cases(item, pair, wheels)
        elif has_valence(item.samples):
            _note_failed(item, titles, notes)
            gaps = _sentiment(item, wheels, notes)
            measured[item.name] = SetDiagnosis(item.title, len(item.samples), item.failed, {}, None, None, gaps)
        else:
            notes.append(f"{item.title}: no gold word that a wheel knows, so it is left out")
    return RunsDiagnosis(
        systems=titles,
        wheels=wheels_part(wheels.source, wheels.sha256),
        protocol=wheels.protocol.name,
        pair=(pair[0].name, pair[1].name) if pair else None,
        sets=measured,
        dynamics=dynamics,
        rules=_rules(systems, pair),
        notes=tuple(notes),
        cases=tuple(cases),
    )


def _of_set(
    shared: SharedSet, titles: dict[str, str], pair: tuple[System, System] | None, wheels: WheelSet, notes: list[str]
) -> SetDiagnosis:
    _note_failed(shared, titles, notes)
    systems = {}
    for name, answers in shared.answers.items():
        rows = answers.predictions.values()
        if num := sum(row.categories is not None and row.categories_first is None for row in rows):
            notes.append(
                f"{titles[name]}, {shared.title}: {num} answers have the mean over words alone as confidences (0.1.0 "
                "wrote no others); they are in nothing that is read at the first word"
            )
        paradox = _paradox(shared, answers, f"{titles[name]}, {shared.title}", wheels, notes)
        try:
            calibration = {mode: reliability(shared.counted, answers.of_mode(mode), wheels) for mode in MODES}
        except InputError as error:
            raise InputError(f"{answers.folder / 'predictions.jsonl'}: {error}") from None
        systems[name] = SystemOnSet(paradox, calibration)
    compared, leak = _pair(shared, pair, wheels, notes), subtitle_leak(shared.samples, wheels)
    gaps = _sentiment(shared, wheels, notes)
    return SetDiagnosis(shared.title, len(shared.samples), shared.failed, systems, compared, leak, gaps)


def _note_failed(shared: SharedSet, titles: dict[str, str], notes: list[str]) -> None:
    for name, num in shared.failed.items():
        if num:
            notes.append(f"{titles[name]}, {shared.title}: {num} failed answers; their clips are in no number here")
    if not shared.counted:
        notes.append(f"{shared.title}: no clip was answered by every system in every mode; ask again")


def _sentiment(shared: SharedSet, wheels: WheelSet, notes: list[str]) -> dict[str, SentimentGap]:
    gaps = {name: sentiment_gap(shared.counted, of, wheels.protocol.name) for name, of in shared.answers.items()}
    found = {name: gap for name, gap in gaps.items() if gap}
    judged = dict.fromkeys(gap.judge.partition("@")[0] for gap in found.values())
    notes += [f"{shared.title}: {why}" for judge in judged if (why := not_unibench(judge, None))]
    return found


def _paradox(
    shared: SharedSet, answers: EvaluatedSet, who: str, wheels: WheelSet, notes: list[str]
) -> Diagnosis | None:
    if not shared.counted:
        return None
    try:
        return diagnose(shared.counted, _counted(shared, answers), wheels, name=shared.name)
    except InputError as error:
        notes.append(f"{who}: fast and slow are not compared: {error}")
        return None


def _counted(shared: SharedSet, answers: EvaluatedSet) -> list[Prediction]:
    """The rows of the samples that count, and of those that the gold does not hold."""
    left_out = {sample.id for sample in shared.samples} - {sample.id for sample in shared.counted}
    return [row for row in answers.predictions.values() if row.id not in left_out]


def _pair(shared: SharedSet, pair: tuple[System, System] | None, wheels: WheelSet, notes: list[str]) -> SlowPair | None:
    if pair is None or not shared.counted or any(system.name not in shared.answers for system in pair):
        return None
    first, second = (_counted(shared, shared.answers[system.name]) for system in pair)
    try:
        return compare_slow(shared.counted, first, second, wheels, name=shared.name)
    except InputError as error:
        who = f"{pair[0].title} and {pair[1].title}, {shared.title}"
        notes.append(f"{who}: slow answers are not compared: {error}")
        return None


def _cases(shared: SharedSet, pair: tuple[System, System] | None, wheels: WheelSet) -> list[Case]:
    if pair and all(system.name in shared.answers for system in pair):
        first, second = (shared.answers[system.name].predictions for system in pair)
        asked = [([system.name for system in pair], find_cases(shared.samples, first, second, wheels))]
    else:
        asked = [
            ([name], find_cases(shared.samples, answers.predictions, None, wheels))
            for name, answers in shared.answers.items()
        ]
    cases = []
    for systems, hit in ((systems, hit) for systems, hits in asked for hit in hits):
        ids = zip(wheels.names, wheels.categories_of, wheels.unpack(hit.packed), strict=True)
        categories = {wheel: [names[i] for i in sorted(reached)] for wheel, names, reached in ids if reached}
        cases.append(Case(shared.name, hit.id, hit.kind, round(hit.strength, 4), systems, categories))
    return cases


def _rules(systems: Sequence[System], pair: tuple[System, System] | None) -> dict[Kind, CaseRule]:
    """What the kinds mean, as a person reads it. With a pair, a set of which only one was asked has cases of one."""
    alone = case_rules(next((system.title for system in systems if system.sets), "") if pair is None else "A system")
    rules = alone | (case_rules(pair[0].title, pair[1].title) if pair else {})
    return {kind: rules[kind] for kind in KINDS if kind in rules}


def _dynamics(system: System) -> dict[str, Series]:
    found = {key: system.series(key) for key in DYNAMICS}
    return {key: Series(steps, values) for key, (steps, values) in found.items() if steps}
