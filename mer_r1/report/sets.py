"""Systems and data sets as the page shows them: their order and colours, and who answered what.

Systems are compared on the sets that `evaluation.runs.shared_sets` finds to be one.

Which samples are scored `evaluation.answered` decides: one on which any system failed is left out of the scores of all,
and counted. Sets that a judge scores (MME-Emotion) have no scores of words: their samples are shown, their numbers are
the judge's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mer_r1.benchmarks.mer_unibench.layouts import SETS
from mer_r1.data.sample import Mode, Prediction, Sample
from mer_r1.evaluation.records import ScoresByMode
from mer_r1.evaluation.runs import Answers, System, shared_sets

COLOURS = {"sft": 0, "baseline": 1, "mer_r1": 2}  # index among the page's --system-N
NUM_COLOURS = 7
_IN_ORDER = (1, 2, 3, 4, 0, 5, 6)


@dataclass(frozen=True)
class ShownSystem:
    """A system of the page: its index, its title, which of the page's colours it has, and what was read of it."""

    index: int
    title: str
    colour: int
    system: System


@dataclass(frozen=True)
class PageSet:
    """A data set of the page: `answers` maps the index of a system that was asked to its answers, `scores` to what
    its metrics.json says.

    `scored` are the samples that scores are of, see above; none where a judge scores.
    """

    index: int
    name: str
    title: str
    samples: tuple[Sample, ...]
    scored: tuple[Sample, ...]
    answers: dict[int, Answers]
    scores: dict[int, ScoresByMode]

    def of_mode(self, system: int, mode: Mode) -> dict[str, Prediction]:
        """The answers of a system in one mode by id; empty where it was not asked."""
        return {key[0]: row for key, row in self.answers.get(system, {}).items() if key[1] == mode}


def shown_systems(systems: Sequence[System]) -> tuple[ShownSystem, ...]:
    """Every system with its index and colour: those of a quickstart have their own, otherwise it goes by the index."""
    own = all(system.name in COLOURS for system in systems)
    return tuple(
        ShownSystem(index, system.title, COLOURS[system.name] if own else _IN_ORDER[index % NUM_COLOURS], system)
        for index, system in enumerate(systems)
    )


def page_sets(systems: Sequence[ShownSystem]) -> tuple[PageSet, ...]:
    """The data sets of all systems, in order of first appearance."""
    shown_of = {item.system.name: item for item in systems}
    result = []
    for index, shared in enumerate(shared_sets([item.system for item in systems])):
        rows = [(shown_of[name], item) for name, item in shared.answers.items()]
        title, (first_system, first) = shared.title, rows[0]
        if first_system.system.run.benchmark == "mer-unibench" and first.title == first.name in SETS:
            title = title.replace(first.name, SETS[first.name].title, 1)  # 0.1.0 wrote no titles
        answers = {system.index: item.predictions for system, item in rows}
        scores = {system.index: item.scores for system, item in rows}
        is_judged = any(judged_by_a_model(system) for system, _ in rows)
        scored = () if is_judged else shared.counted
        result.append(PageSet(index, shared.name, title, shared.samples, scored, answers, scores))
    return tuple(result)


def judged_by_a_model(system: ShownSystem) -> bool:
    """Whether the scores of a system are a judge's."""
    return system.system.run.benchmark == "mme-emotion"
