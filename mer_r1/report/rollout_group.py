"""One group of rollouts of reinforcement learning: the answers, their rewards, and what became of them as advantages.

Shown is the first group of at least MIN_PAIRS different (recall, precision) where the two prefer different rollouts:
there it is seen that rewarding them apart matters. Without one, the first of the groups with the most different pairs.
(In a group of only two different pairs that disagree, normalised recall and precision cancel exactly: no example of
what an advantage does.) Paper: MER-R1 Section 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mer_r1.data.manifest import read_manifest
from mer_r1.data.sample import Sample
from mer_r1.evaluation.records import RolloutRecord
from mer_r1.evaluation.runs import read_groups
from mer_r1.prompting.response import RESPONSE_FORMATS, parse_response
from mer_r1.report.highlights import MAX_REASONING_CHARACTERS
from mer_r1.report.payload import cut
from mer_r1.report.pictures import ClipPicture, picture
from mer_r1.report.players import PageMedia, Player
from mer_r1.report.sets import ShownSystem
from mer_r1.report.training_plots import pays
from mer_r1.report.verdicts import Verdicts, Word

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
    "overlong": "overlong",
}


@dataclass(frozen=True)
class ShownRollout:
    """A sampled answer, its rewards by title, its advantage, and that as a share of the group's largest.

    `is_open` says that the end token was asked for and did not follow.
    """

    words: list[Word]
    reasoning: str
    rewards: dict[str, float | None]
    advantage: float
    share: float
    is_open: bool


@dataclass(frozen=True)
class ShownGroup:
    """A group, the best advantage first; `sample` and `picture` are None where the training clip is missing."""

    system: ShownSystem
    step: Any
    id: str
    sample: Sample | None
    picture: ClipPicture | None
    players: tuple[Player, ...]
    rows: list[ShownRollout]
    rewards: list[str]


def shown_group(systems: Sequence[ShownSystem], verdicts: Verdicts, media: PageMedia) -> ShownGroup | None:
    """The group to show, of the last system that has any; the training clips lie in data/train.jsonl beside it."""
    for system in reversed(systems):
        folder = system.system.folder
        rows = choose_group(read_groups(folder / "rollouts.jsonl"))
        if not rows:
            continue
        identity = str(rows[0].id)
        path = folder.parent / "data" / "train.jsonl"
        clips = read_manifest(path) if path.exists() else []
        sample = next((clip for clip in clips if clip.id == identity), None)
        largest = max(abs(row.advantage or 0.0) for row in rows) or 1.0
        response_format = system.system.run.response_format or "think_answer"  # version 0.1.0 did not record it
        shown = [_rollout(row, sample.labels if sample else (), verdicts, largest, response_format) for row in rows]
        return ShownGroup(
            system=system,
            step=rows[0].step,
            id=identity,
            sample=sample,
            picture=picture(sample) if sample else None,
            players=media.players(sample) if sample else (),
            rows=sorted(shown, key=lambda rollout: -rollout.advantage),
            rewards=[
                title
                for key, title in REWARDS.items()
                if pays(system.system, key) and any(row.rewards[title] is not None for row in shown)
            ],
        )
    return None


def choose_group(groups: Iterable[list[RolloutRecord]]) -> list[RolloutRecord] | None:
    """The group of rollouts to show, by the rule above; None of none."""
    fallback: list[RolloutRecord] | None = None
    for group in groups:
        if fallback is None or _variety(group) > _variety(fallback):
            fallback = group
        if _variety(group) >= MIN_PAIRS and not _leaders(group, "recall") & _leaders(group, "precision"):
            return group
    return fallback


def _variety(group: list[RolloutRecord]) -> int:
    pairs = {tuple(row.rewards.get(key) for key in ("recall", "precision")) for row in group}
    return min(MIN_PAIRS, len(pairs))


def _leaders(group: list[RolloutRecord], reward: str) -> set[int]:
    values = [row.rewards.get(reward) or 0.0 for row in group]
    return {index for index, value in enumerate(values) if value == max(values)}


def _rollout(
    row: RolloutRecord, gold: Sequence[str], verdicts: Verdicts, largest: float, response_format: str
) -> ShownRollout:
    advantage = row.advantage or 0.0
    reasoning = parse_response(row.text, response_format).reasoning if response_format in RESPONSE_FORMATS else ""
    return ShownRollout(
        words=verdicts.of_words(row.labels, gold, None),
        reasoning=cut(reasoning, MAX_REASONING_CHARACTERS),
        rewards={title: row.rewards.get(key) for key, title in REWARDS.items()},
        advantage=advantage,
        share=abs(advantage) / largest,
        is_open=row.ended is False,
    )
