"""Which clips and which group of rollouts the page shows, and which of an answer's words are right.

A clip's answers are compared as sets of (wheel, category). With `reference` (the baseline) and `tuned` (MER-R1), and
H(.) the right and W(.) the wrong categories of an answer, the cases are those of MER-R1 Appendix E, and failures:

    retained    H(reference fast) - H(reference slow) holds something that H(tuned slow) has
    suppressed  W(reference fast) - W(tuned slow) is not empty, and H(tuned slow) holds all of H(reference fast)
    recovered   H(reference fast) is empty, H(tuned slow) is not
    failure     H(tuned slow) is empty

Of each case the clip with the largest set is shown (for a failure: the most wrong categories), the first of the
manifest among equals; then the manifest's first clips of source "contradicting", then its first clips, up to eight.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mer_r1.emotion.wheel import WheelSet
from mer_r1.run_folder import System, number_at
from mer_r1.sample import Mode, Prediction, Sample

NUM_CLIPS = 8
MIN_PAIRS = 3

Categories = frozenset[tuple[int, int]]
Verdict = Literal["right", "partly", "wrong", "unknown"]


@dataclass(frozen=True)
class Word:
    """A word of an answer: its verdict, the verdict in words, and its confidence (None: not known)."""

    text: str
    verdict: Verdict
    why: str
    confidence: float | None


@dataclass(frozen=True)
class Case:
    """Why clips are shown, how many of the manifest are of the kind (None: not counted), and those that are shown."""

    name: str
    title: str
    rule: str
    count: int | None
    samples: tuple[Sample, ...]


def judge_words(
    words: Sequence[str], gold: Sequence[str], wheels: WheelSet, confidence: dict[str, float] | None = None
) -> list[Word]:
    """The verdict on each word: is its category a gold one in all, some or none of the wheels that know both."""
    gold_sets = wheels.map_set(gold)
    judged = []
    for text in dict.fromkeys(words):
        ids = wheels.lookup(text) or ()
        hits = [bool(reached & right) for reached, right in zip(ids, gold_sets, strict=False) if reached and right]
        verdict: Verdict = "right" if hits and all(hits) else "partly" if any(hits) else "wrong" if hits else "unknown"
        why = {"partly": f"{sum(hits)} of {len(hits)} wheels", "unknown": "in no wheel"}.get(verdict, verdict)
        judged.append(Word(text, verdict, why, (confidence or {}).get(text)))
    return judged


def missed_words(words: Sequence[str], gold: Sequence[str], wheels: WheelSet) -> list[str]:
    """The gold words of which the answer reaches the category in no wheel."""
    answered = wheels.map_set(words)
    rows = ((word, wheels.lookup(word) or ()) for word in gold)
    hits = [(word, [bool(i & said) for i, said in zip(ids, answered, strict=False) if i]) for word, ids in rows]
    return [word for word, reached in hits if reached and not any(reached)]


def compared(systems: Iterable[System]) -> list[System]:
    """The systems whose answers are shown: baseline and MER-R1, or else the last two that have predictions."""
    asked = [system for system in systems if system.predictions]
    pair = [system for system in asked if system.name in ("baseline", "mer_r1")]
    return pair if len(pair) == 2 else asked[-2:]


def choose_clips(samples: Sequence[Sample], systems: Sequence[System], wheels: WheelSet) -> list[Case]:
    """The clips to show, by the rule above; `systems` as `compared` gives them."""
    cases: list[Case] = []
    shown: set[str] = set()
    if len(systems) == 2:
        for name, (title, rule) in _rules(systems[0].title, systems[1].title).items():
            sizes = {sample.id: _size(name, sample, systems[0], systems[1], wheels) for sample in samples}
            found = [sample for sample in samples if sizes[sample.id] > 0]
            fresh = [sample for sample in found if sample.id not in shown]
            best = max(fresh, key=lambda sample: sizes[sample.id], default=None)
            shown |= {best.id} if best else set()
            cases.append(Case(name, title, rule, len(found), (best,) if best else ()))
    contradicting = [sample for sample in samples if sample.source == "contradicting"]
    fresh = [sample for sample in contradicting if sample.id not in shown][: NUM_CLIPS - len(shown)]
    shown |= {sample.id for sample in fresh}
    rule = "Face, voice and words do not agree. The first such clips of the manifest, whatever the answers."
    cases.append(Case("contradicting", "Contradicting signals", rule, len(contradicting), tuple(fresh)))
    fresh = [sample for sample in samples if sample.id not in shown][: NUM_CLIPS - len(shown)]
    rule = "The first clips of the manifest, whatever the answers."
    cases.append(Case("first", "Not chosen", rule, None, tuple(fresh)))
    return [case for case in cases if case.samples or case.count == 0]


def choose_group(groups: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]] | None:
    """The first group of at least MIN_PAIRS different (recall, precision) where the two prefer different rollouts.

    Without one, the first of the groups with the most different pairs. (In a group of only two different pairs that
    disagree, normalised recall and precision cancel exactly: no example of what an advantage does.)
    """
    fallback: list[dict[str, Any]] | None = None
    for group in groups:
        if fallback is None or _variety(group) > _variety(fallback):
            fallback = group
        if _variety(group) >= MIN_PAIRS and not _leaders(group, "recall") & _leaders(group, "precision"):
            return group
    return fallback


def _variety(group: list[dict[str, Any]]) -> int:
    pairs = {tuple(number_at(row["rewards"], key) for key in ("recall", "precision")) for row in group}
    return min(MIN_PAIRS, len(pairs))


def _leaders(group: list[dict[str, Any]], reward: str) -> set[int]:
    values = [number_at(row["rewards"], reward) or 0.0 for row in group]
    return {place for place, value in enumerate(values) if value == max(values)}


def _rules(reference: str, tuned: str) -> dict[str, tuple[str, str]]:
    return {
        "retained": (
            "Fast intuition retained",
            f"{reference}’s fast answer names a right category, its slow answer drops it, {tuned}’s slow has it.",
        ),
        "suppressed": (
            "Spurious emotion suppressed",
            f"{reference}’s fast answer names a wrong category that {tuned}’s slow answer leaves out, without losing "
            "a right one.",
        ),
        "recovered": (
            "Missed emotion recovered",
            f"{reference}’s fast answer names no right category, {tuned}’s slow answer does.",
        ),
        "failure": ("Failure", f"{tuned}’s slow answer names no right category."),
    }


def _size(name: str, sample: Sample, reference: System, tuned: System, wheels: WheelSet) -> int:
    """How strongly a clip is of that case; 0: it is not."""
    gold = _categories(sample.labels, wheels)
    asked: tuple[tuple[System, Mode], ...] = ((reference, "fast"), (reference, "slow"), (tuned, "slow"))
    rows = [system.predictions.get((sample.id, mode)) for system, mode in asked]
    if not gold or None in rows:
        return 0
    fast, slow, new = (_categories(row.labels, wheels) for row in rows if isinstance(row, Prediction))
    if name == "retained":
        return len((fast - slow) & gold & new)
    if name == "suppressed":
        return len(fast - gold - new) if fast & gold <= new and new & gold else 0
    if name == "recovered":
        return 0 if fast & gold else len(new & gold)
    return 0 if new & gold else 1 + len(new - gold)


def _categories(words: Sequence[str], wheels: WheelSet) -> Categories:
    return frozenset((k, i) for k, ids in enumerate(wheels.map_set(words)) for i in ids)
