"""Systems and data sets as the page shows them: who stands in which place and colour, and who answered what.

Sets of several systems are one set of the page when they have the same name and the same gold, sample by sample; only
then are the systems compared. Sets of one name with other gold stand apart, with a number behind the name.

An error is no answer and is never scored as a wrong one: a sample on which any system failed is left out of the scores
of all, and counted. So is, in a benchmark's folder, a sample that was not asked about yet in a mode that was; elsewhere
a sample without an answer counts as an empty one, as in `mer-r1 score`. Sets that a judge scores (MME-Emotion) have no
scores of words: their samples are shown, their numbers are the judge's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mer_r1.benchmarks.mer_unibench.layouts import SETS
from mer_r1.data.sample import Mode, Sample
from mer_r1.evaluation.runs import Answers, EvaluatedSet, System

MODES: tuple[Mode, ...] = ("fast", "slow")
COLOURS = {"sft": 0, "baseline": 1, "mer_r1": 2}  # place among the page's --system-N
NUM_COLOURS = 7
_IN_ORDER = (1, 2, 3, 4, 0, 5, 6)


@dataclass(frozen=True)
class ShownSystem:
    """A system of the page: its place, its title, which of the page's colours it has, and what was read of it."""

    place: int
    title: str
    colour: int
    system: System


@dataclass(frozen=True)
class PageSet:
    """A data set of the page: `answers` maps the place of a system that was asked to its answers.

    `scored` are the samples that scores are of, by the rule above; none where a judge scores.
    """

    place: int
    name: str
    title: str
    samples: tuple[Sample, ...]
    scored: tuple[Sample, ...]
    answers: dict[int, Answers]


def shown_systems(systems: Sequence[System]) -> tuple[ShownSystem, ...]:
    """Every system with its place and colour: those of a quickstart have their own, otherwise it goes by the place."""
    own = all(system.name in COLOURS for system in systems)
    return tuple(
        ShownSystem(index, system.title, COLOURS[system.name] if own else _IN_ORDER[index % NUM_COLOURS], system)
        for index, system in enumerate(systems)
    )


def page_sets(systems: Sequence[ShownSystem]) -> tuple[PageSet, ...]:
    """The data sets of all systems, in order of first appearance."""
    found: dict[tuple[Any, ...], list[tuple[ShownSystem, EvaluatedSet]]] = {}
    for system in systems:
        for item in system.system.sets:
            found.setdefault((item.name, _gold_key(item.samples)), []).append((system, item))
    times: Counter[str] = Counter()
    result = []
    for index, rows in enumerate(found.values()):
        system, first = rows[0]
        title = SETS[first.name].title if _benchmark(system) == "mer-unibench" and first.name in SETS else first.title
        times[title] += 1
        title = title if times[title] == 1 else f"{title} ({times[title]})"
        answers = {system.place: item.predictions for system, item in rows}
        result.append(PageSet(index, first.name, title, first.samples, _scored(rows), answers))
    return tuple(result)


def judged_by_a_model(system: ShownSystem) -> bool:
    """Whether the scores of a system are a judge's."""
    return bool(_benchmark(system) == "mme-emotion")


def _benchmark(system: ShownSystem) -> Any:
    return system.system.run.get("benchmark")


def _scored(rows: Sequence[tuple[ShownSystem, EvaluatedSet]]) -> tuple[Sample, ...]:
    """The samples that scores are of."""
    samples = rows[0][1].samples
    if any(judged_by_a_model(system) for system, _ in rows):
        return ()
    left_out = {key[0] for _, item in rows for key, row in item.predictions.items() if row.status == "error"}
    for system, item in rows:
        if system.system.run.get("kind") == "benchmark":
            modes = [mode for mode in MODES if any(key[1] == mode for key in item.predictions)]
            asked = item.predictions.keys()
            left_out |= {sample.id for sample in samples if any((sample.id, mode) not in asked for mode in modes)}
    return tuple(sample for sample in samples if sample.id not in left_out)


def _gold_key(samples: Sequence[Sample]) -> tuple[Any, ...]:
    return tuple((sample.id, sample.labels, sample.valence) for sample in samples)
