"""The cases of MER-R1 Appendix E, found in the answers of two systems, or of one, and how strong each is.

A clip's answers are compared as sets of (wheel, category). With `reference` (the baseline) and `tuned` (MER-R1), and
H(.) the right and W(.) the wrong categories of an answer:

    retained    S = (H(reference fast) - H(reference slow)) ∩ H(tuned slow)
    suppressed  S = W(reference fast) - W(tuned slow), where H(tuned slow) holds all of H(reference fast), and something
    recovered   S = H(tuned slow), where H(reference fast) is empty
    failure     S = the gold categories and W(tuned slow), where H(tuned slow) is empty

A clip is of a kind where S is not empty. Of one system alone its own fast and slow answers are compared, so `retained`
cannot be; in its place stands what Appendix E says the baseline does, the loss of fast intuition:

    lost        S = H(fast) - H(slow)

    strength = |S| / W * (1 + gap)        gap = mean over S of p(where it should be) - p(where not), cut to [0, 1]

where p is the confidence exp(conf) of a category (Equation 1) at the answer's first word. Of which answers: retained
tuned slow - reference slow, suppressed reference fast - tuned slow, recovered tuned slow - reference fast, lost fast -
slow, failure the named wrong - the gold, both of tuned slow. A gap that is not known counts as 0, so strengths with and
without confidences compare: categories a wheel, up to doubled by how sure the answers were.

Convention: a clip without gold, or of which a needed answer is not there or is an error, is of no kind; an unfinished
answer can only be a failure, for it is no decision. Shape letter: W wheels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from mer_r1.analysis.tables import gold_categories
from mer_r1.data.sample import MODES, Mode, Prediction, Sample
from mer_r1.emotion.wheel import WheelSet
from mer_r1.evaluation.runs import Answers, System

Kind = Literal["retained", "lost", "suppressed", "recovered", "failure"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class CaseHit(NamedTuple):
    """A clip of a kind, how strong, and the categories it is about (S, of a failure the gold ones), packed."""

    id: str
    kind: Kind
    strength: float
    packed: int


class CaseRule(NamedTuple):
    """A kind as a person reads it."""

    title: str
    rule: str


@dataclass(frozen=True)
class _Marked:
    """An answer: its row, and its right and wrong categories, packed."""

    row: Prediction
    right: int
    wrong: int


def case_rules(reference: str, tuned: str | None = None) -> dict[Kind, CaseRule]:
    """The kinds that can be, in their order, for two systems of these titles, or for one."""
    new = tuned or reference
    first: dict[Kind, CaseRule] = {
        "retained": CaseRule(
            "Fast intuition retained",
            f"{reference}’s fast answer names a right category, its slow answer drops it, {new}’s slow has it.",
        )
    }
    alone: dict[Kind, CaseRule] = {
        "lost": CaseRule(
            "Fast intuition lost", f"{reference}’s fast answer names a right category, its slow answer drops it."
        )
    }
    return (first if tuned else alone) | {
        "suppressed": CaseRule(
            "Spurious emotion suppressed",
            f"{reference}’s fast answer names a wrong category that {new}’s slow answer leaves out, without losing "
            "a right one.",
        ),
        "recovered": CaseRule(
            "Missed emotion recovered",
            f"{reference}’s fast answer names no right category, {new}’s slow answer does.",
        ),
        "failure": CaseRule("Failure", f"{new}’s slow answer names no right category."),
    }


def pair_of(systems: Sequence[System]) -> tuple[System, System] | None:
    """The two systems to compare, reference first: baseline and MER-R1, or else the last two that were asked."""
    asked = [system for system in systems if system.sets]
    named = {system.name: system for system in asked}
    if "baseline" in named and "mer_r1" in named:
        return named["baseline"], named["mer_r1"]
    return (asked[-2], asked[-1]) if len(asked) > 1 else None


def find_cases(samples: Sequence[Sample], reference: Answers, tuned: Answers | None, wheels: WheelSet) -> list[CaseHit]:
    """Every clip of every kind: kinds in the order of KINDS, the strongest first, equals in the order of the manifest.

    `tuned` None: the answers of `reference` alone.
    """
    hits = [hit for sample in samples for hit in _of_clip(sample, reference, tuned, wheels)]
    return sorted(hits, key=lambda hit: (KINDS.index(hit.kind), -hit.strength))


def _of_clip(sample: Sample, reference: Answers, tuned: Answers | None, wheels: WheelSet) -> Iterator[CaseHit]:
    gold = gold_categories(sample.labels, wheels)
    new = _marked(reference if tuned is None else tuned, sample.id, "slow", gold, wheels)
    if not gold or new is None:
        return
    if not new.right:
        gap = _gap(new.wrong, new.row, gold, new.row, wheels)
        yield CaseHit(sample.id, "failure", _strength(new.wrong | gold, gap, wheels), gold)
    fast, slow = (_marked(reference, sample.id, mode, gold, wheels) for mode in MODES)
    if fast is None or slow is None or any(item.row.status != "ok" for item in (fast, slow, new)):
        return
    dropped = fast.right & ~slow.right
    if tuned is None and dropped:
        yield _hit(sample, "lost", dropped, fast, slow, wheels)
    if kept := dropped & new.right:
        yield _hit(sample, "retained", kept, new, slow, wheels)
    spurious = fast.wrong & ~new.wrong
    if spurious and new.right and not fast.right & ~new.right:
        yield _hit(sample, "suppressed", spurious, fast, new, wheels)
    if new.right and not fast.right:
        yield _hit(sample, "recovered", new.right, new, fast, wheels)


def _marked(answers: Answers, identity: str, mode: Mode, gold: int, wheels: WheelSet) -> _Marked | None:
    row = answers.get((identity, mode))
    if row is None or row.status == "error":
        return None
    packed = wheels.map_words(row.labels)[0]
    return _Marked(row, packed & gold, packed & ~gold)


def _hit(sample: Sample, kind: Kind, packed: int, sure: _Marked, unsure: _Marked, wheels: WheelSet) -> CaseHit:
    gap = _gap(packed, sure.row, packed, unsure.row, wheels)
    return CaseHit(sample.id, kind, _strength(packed, gap, wheels), packed)


def _strength(packed: int, gap: float, wheels: WheelSet) -> float:
    return packed.bit_count() / len(wheels.names) * (1 + gap)


def _gap(with_it: int, sure: Prediction, without: int, unsure: Prediction, wheels: WheelSet) -> float:
    """Mean confidence of `sure` in the first categories minus that of `unsure` in the second, in [0, 1]; 0: unknown."""
    if sure.categories_first is None or unsure.categories_first is None:
        return 0.0
    high, low = _mean(with_it, sure.categories_first, wheels), _mean(without, unsure.categories_first, wheels)
    return 0.0 if high is None or low is None else min(1.0, max(0.0, high - low))


def _mean(packed: int, categories: Mapping[str, Mapping[str, float]], wheels: WheelSet) -> float | None:
    logs = [
        categories.get(wheel, {}).get(names[i])
        for wheel, names, ids in zip(wheels.names, wheels.categories_of, wheels.unpack(packed), strict=True)
        for i in ids
    ]
    known = [math.exp(min(0.0, log)) for log in logs if log is not None and not math.isnan(log)]
    return sum(known) / len(known) if known else None
