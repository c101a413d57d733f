"""One group of rollouts of reinforcement learning: the answers, their rewards, and what became of them as advantages.

Shown is the first group of at least MIN_PAIRS different (recall, precision) where the two prefer different rollouts:
there it is seen that rewarding them apart matters. Without one, the first of the groups with the most different pairs.
(In a group of only two different pairs that disagree, normalised recall and precision cancel exactly: no example of
what an advantage does.) Paper: MER-R1 Section 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mer_r1.data.manifest import read_manifest
from mer_r1.data.sample import Sample
from mer_r1.evaluation.runs import number_at, read_groups
from mer_r1.prompting.response import RESPONSE_FORMATS, parse_response
from mer_r1.report.highlights import MAX_REASONING_LETTERS
from mer_r1.report.payload import cut
from mer_r1.report.pictures import ClipPicture, picture
from mer_r1.report.sets import ShownSystem
from mer_r1.report.verdicts import Judge, Word

MIN_PAIRS = 3
REWARDS = {
    "recall": "recall",
    "precision": "precision",
    "f1": "F1",
    "format": "format",
    "calibration_plus": "R⁺",
    "calibration_minus": "R⁻",
    "accuracy": "accuracy",
    "coherence": "coherence",
    "consistency": "consistency",
    "reflection": "reflection",
}

Json = dict[str, Any]


@dataclass(frozen=True)
class ShownRollout:
    """A sampled answer, its rewards by title, its advantage, and that as a share of the group's largest."""

    words: list[Word]
    reasoning: str
    rewards: dict[str, float | None]
    advantage: float
    share: float


@dataclass(frozen=True)
class ShownGroup:
    """A group, the best advantage first; `sample` and `picture` are None where the training clip is not at hand."""

    system: ShownSystem
    step: Any
    id: str
    sample: Sample | None
    picture: ClipPicture | None
    rows: list[ShownRollout]
    rewards: list[str]


def shown_group(systems: Sequence[ShownSystem], judge: Judge) -> ShownGroup | None:
    """The group to show, of the last system that has any; the training clips lie in data/train.jsonl beside it."""
    for system in reversed(systems):
        folder = system.system.folder
        rows = choose_group(read_groups(folder / "rollouts.jsonl"))
        if not rows:
            continue
        identity = str(rows[0].get("id"))
        sample = _training_sample(folder.parent / "data" / "train.jsonl", identity)
        largest = max(abs(float(row["advantage"])) for row in rows) or 1.0
        response_format = str(system.system.run.get("response_format"))
        shown = [_rollout(row, sample.labels if sample else (), judge, largest, response_format) for row in rows]
        return ShownGroup(
            system=system,
            step=rows[0].get("step"),
            id=identity,
            sample=sample,
            picture=picture(sample) if sample else None,
            rows=sorted(shown, key=lambda rollout: -rollout.advantage),
            rewards=[title for title in REWARDS.values() if any(row.rewards[title] is not None for row in shown)],
        )
    return None


def choose_group(groups: Iterable[list[Json]]) -> list[Json] | None:
    """The group of rollouts to show, by the rule above; None of none."""
    fallback: list[Json] | None = None
    for group in groups:
        if fallback is None or _variety(group) > _variety(fallback):
            fallback = group
        if _variety(group) >= MIN_PAIRS and not _leaders(group, "recall") & _leaders(group, "precision"):
            return group
    return fallback


def _variety(group: list[Json]) -> int:
    pairs = {tuple(number_at(row["rewards"], key) for key in ("recall", "precision")) for row in group}
    return min(MIN_PAIRS, len(pairs))


def _leaders(group: list[Json], reward: str) -> set[int]:
    values = [number_at(row["rewards"], reward) or 0.0 for row in group]
    return {index for index, value in enumerate(values) if value == max(values)}


def _rollout(row: Json, gold: Sequence[str], judge: Judge, largest: float, response_format: str) -> ShownRollout:
    labels, text = row.get("labels"), row.get("text")
    words = [str(word) for word in labels] if isinstance(labels, list) else []
    advantage = float(row["advantage"])
    response_format = (
        response_format if response_format in RESPONSE_FORMATS else "think_answer"
    )  # a run of before did not say
    reasoning = parse_response(text, response_format).reasoning if isinstance(text, str) else ""
    return ShownRollout(
        words=judge.judged(words, gold, None),
        reasoning=cut(reasoning, MAX_REASONING_LETTERS),
        rewards={title: number_at(row["rewards"], key) for key, title in REWARDS.items()},
        advantage=advantage,
        share=abs(advantage) / largest,
    )


def _training_sample(path: Path, identity: str) -> Sample | None:
    if not path.exists():
        return None
    return next((sample for sample in read_manifest(path) if sample.id == identity), None)
