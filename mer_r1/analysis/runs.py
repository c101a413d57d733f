"""Everything `mer-r1 diagnose RUN…` measures, of all systems and data sets together.

    paradox      fast against slow of a system on a set (paradox.py; MER-R1 Figures 1b, 3 and 8)
    reliability  are its category confidences probabilities (reliability.py)
    pair         slow against slow of two systems on a set (Figure 5)
    leak         what the subtitles of a set give away (leak.py)
    dynamics     recall and precision reward over the steps of a training (Figure 7)
    cases        the clips of Appendix E (cases.py)

Convention: sets of several systems are one where name and gold are the same, sample by sample; otherwise the later one
has a number behind its name. A clip with a failed answer (status error) is left out of the comparisons that need the
answer, on both sides: a time-out is no wrong answer. The pair is the baseline and MER-R1, or else the last two
systems; cases are those of the pair where both were asked, otherwise those of each system alone. What cannot be
measured is left out (null), with the reason in `notes`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mer_r1.analysis.cases import KINDS, CaseHit, case_rules, find_cases, pair_of
from mer_r1.analysis.leak import subtitle_leak
from mer_r1.analysis.paradox import MODES, compare_slow, diagnose
from mer_r1.analysis.reliability import reliability
from mer_r1.analysis.tables import gold_categories
from mer_r1.data.sample import Prediction, Sample
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.evaluation.runs import EvaluatedSet, Json, System, free_name
from mer_r1.metrics.signature import wheels_part

DYNAMICS = ("reward/recall", "reward/precision")


@dataclass(frozen=True)
class SharedSet:
    """A data set and the answers of every system that was asked about it, by the system's name."""

    name: str
    title: str
    samples: tuple[Sample, ...]
    answers: dict[str, EvaluatedSet]


@dataclass(frozen=True)
class Found:
    """The numbers as JSON values, and every case as a row of cases.jsonl, of each kind the strongest of a set first."""

    numbers: Json
    cases: tuple[Json, ...]


def shared_sets(systems: Sequence[System]) -> tuple[SharedSet, ...]:
    """The sets of all systems, in the order of first appearance."""
    found: dict[tuple[Any, ...], list[tuple[System, EvaluatedSet]]] = {}
    for system in systems:
        for item in system.sets:
            key = (item.name, tuple((sample.id, sample.labels) for sample in item.samples))
            found.setdefault(key, []).append((system, item))
    names, titles = set[str](), set[str]()
    sets = []
    for rows in found.values():
        first = rows[0][1]
        name, title = free_name(first.name, "-", names), free_name(first.title, " ", titles)
        sets.append(SharedSet(name, title, first.samples, {system.name: item for system, item in rows}))
    return tuple(sets)


def diagnose_runs(systems: Sequence[System], wheels: WheelSet) -> Found:
    """Diagnose all systems on all sets. Raises InputError when there is neither an answer nor a training to look at."""
    titles = {system.name: system.title for system in systems}
    pair = pair_of(systems)
    dynamics = {system.name: found for system in systems if (found := _dynamics(system))}
    sets = shared_sets(systems)
    if not sets and not dynamics:
        raise InputError("nothing to diagnose; give a run with predictions, or a training with logged rewards")
    notes: list[str] = []
    rows: list[Json] = []
    measured = {}
    for item in sets:
        if not any(gold_categories(sample.labels, wheels) for sample in item.samples):
            notes.append(f"{item.title}: no gold word that a wheel knows, so it is left out")
            continue
        measured[item.name] = _of_set(item, titles, pair, wheels, notes)
        rows += _cases(item, pair, wheels)
    numbers = {
        "systems": titles,
        "wheels": wheels_part(wheels.source, wheels.sha256),
        "protocol": wheels.protocol.name,
        "pair": [system.name for system in pair] if pair else None,
        "sets": measured,
        "dynamics": dynamics,
        "cases": dict(Counter(row["kind"] for row in rows)),
        "rules": _rules(systems, pair),
        "notes": notes,
    }
    return Found(numbers, tuple(rows))


def _of_set(
    each: SharedSet, titles: dict[str, str], pair: tuple[System, System] | None, wheels: WheelSet, notes: list[str]
) -> Json:
    systems: Json = {}
    for name, answers in each.answers.items():
        systems[name] = {
            "paradox": _paradox(each, answers, f"{titles[name]}, {each.title}", wheels, notes),
            "reliability": _reliability(each, answers, wheels),
        }
    return {
        "title": each.title,
        "n": len(each.samples),
        "systems": systems,
        "pair": _pair(each, pair, wheels, notes),
        "leak": subtitle_leak(each.samples, wheels),
    }


def _paradox(each: SharedSet, answers: EvaluatedSet, who: str, wheels: WheelSet, notes: list[str]) -> Json | None:
    samples, (rows,) = _answered(each, [list(answers.predictions.values())], who, notes)
    if not samples:
        return None
    try:
        return diagnose(samples, rows, wheels, name=each.name)
    except InputError as error:
        notes.append(f"{who}: fast and slow are not compared: {error}")
        return None


def _answered(
    each: SharedSet, sides: Sequence[Sequence[Prediction]], who: str, notes: list[str]
) -> tuple[list[Sample], list[list[Prediction]]]:
    """The samples, and the rows of every side, without the clips that have a failed answer on one of the sides."""
    errors = {row.id for rows in sides for row in rows if row.status == "error"}
    failed = errors & {sample.id for sample in each.samples}
    if failed:
        notes.append(f"{who}: {len(failed)} clips with a failed answer are left out of the comparison; ask them again")
    kept = [sample for sample in each.samples if sample.id not in failed]
    return kept, [[row for row in rows if row.id not in failed] for rows in sides]


def _reliability(each: SharedSet, answers: EvaluatedSet, wheels: WheelSet) -> Json:
    try:
        found = {mode: reliability(each.samples, answers.of_mode(mode), wheels) for mode in MODES}
    except InputError as error:
        raise InputError(f"{answers.folder / 'predictions.jsonl'}: {error}") from None
    return {mode: value.to_json() if value else None for mode, value in found.items()}


def _pair(each: SharedSet, pair: tuple[System, System] | None, wheels: WheelSet, notes: list[str]) -> Json | None:
    if pair is None or any(system.name not in each.answers for system in pair):
        return None
    who = f"{pair[0].title} and {pair[1].title}, {each.title}"
    slow = [list(each.answers[system.name].of_mode("slow").values()) for system in pair]
    samples, (first, second) = _answered(each, slow, who, notes)
    if not samples:
        return None
    try:
        return compare_slow(samples, first, second, wheels, name=each.name)
    except InputError as error:
        notes.append(f"{who}: slow answers are not compared: {error}")
        return None


def _cases(each: SharedSet, pair: tuple[System, System] | None, wheels: WheelSet) -> list[Json]:
    if pair and all(system.name in each.answers for system in pair):
        first, second = (each.answers[system.name].predictions for system in pair)
        asked = [([system.name for system in pair], find_cases(each.samples, first, second, wheels))]
    else:
        asked = [
            ([name], find_cases(each.samples, answers.predictions, None, wheels))
            for name, answers in each.answers.items()
        ]
    return [_case_row(each.name, names, hit, wheels) for names, hits in asked for hit in hits]


def _case_row(set_name: str, names: list[str], hit: CaseHit, wheels: WheelSet) -> Json:
    ids = zip(wheels.names, wheels.categories_of, wheels.unpack(hit.packed), strict=True)
    categories = {wheel: [names_of[i] for i in sorted(reached)] for wheel, names_of, reached in ids if reached}
    return {
        "set": set_name,
        "id": hit.id,
        "kind": hit.kind,
        "strength": round(hit.strength, 4),
        "systems": names,
        "categories": categories,
    }


def _rules(systems: Sequence[System], pair: tuple[System, System] | None) -> Json:
    """What the kinds mean, as a person reads it. With a pair, a set of which only one was asked has cases of one."""
    alone = case_rules(next((system.title for system in systems if system.sets), "") if pair is None else "A system")
    rules = alone | (case_rules(pair[0].title, pair[1].title) if pair else {})
    return {kind: rules[kind]._asdict() for kind in KINDS if kind in rules}


def _dynamics(system: System) -> Json:
    found = {key: system.series(key) for key in DYNAMICS}
    return {key: {"steps": steps, "values": values} for key, (steps, values) in found.items() if steps}
