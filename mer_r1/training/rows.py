"""Which rows of a manifest a run learns from, known before a model is loaded.

RL takes the first `data.num` rows whose gold can be counted (metrics/countable.py); what it passes over on the way is
counted by reason. `data.uncountable` says what becomes of such a row: "drop" it, "keep" it in its place with advantage
0, or "stop" the run. SFT takes the first `data.num` rows; each needs labels, and for slow targets a reasoning. What
stops a run here is said in the same sentences by `mer-r1 check --for` (analysis/stages.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mer_r1.data.manifest import read_manifest
from mer_r1.data.sample import Sample
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.metrics.countable import NO_CATEGORY, NO_LABELS, uncountable
from mer_r1.recipe import Recipe, TargetKind
from mer_r1.text import printable

NUM_SHOWN = 5
NO_REASONING = "no reasoning"


@dataclass(frozen=True)
class Uncountable:
    """Rows without countable gold: how many of each reason, and the labels of those that reach no category."""

    reasons: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)

    def add(self, sample: Sample, reason: str) -> None:
        """Count one more."""
        self.reasons[reason] += 1
        if reason == NO_CATEGORY:
            self.labels.update(sample.labels)

    def __str__(self) -> str:
        shown = ", ".join(f"{printable(label)} {num}" for label, num in self.labels.most_common(NUM_SHOWN))
        more = ", …" if len(self.labels) > NUM_SHOWN else ""
        by_reason = {reason: f"{reason}: {num}" for reason, num in self.reasons.most_common()}
        if shown:
            by_reason[NO_CATEGORY] += f" ({shown}{more})"
        return "; ".join(by_reason.values())

    def as_json(self) -> dict[str, Any]:
        """The counts, most frequent first."""
        return {
            "rows": self.reasons.total(),
            "reasons": dict(self.reasons.most_common()),
            "labels": dict(self.labels.most_common()),
        }


@dataclass(frozen=True)
class Rows:
    """The samples of a run in the manifest's order, the uncountable rows that were met on the way, and how many rows
    the manifest has."""

    samples: list[Sample]
    uncountable: Uncountable
    num_in_manifest: int


def rows_of(recipe: Recipe) -> dict[str, Rows]:
    """What a run learns from, and what it evaluates on where the recipe says so: `train` and `eval`.

    Raises InputError as `read_rows` does.
    """
    data = recipe.data
    rows = {"train": read_rows(recipe, data.train, data.num)}
    if data.eval:
        rows["eval"] = read_rows(recipe, data.eval, data.eval_num)
    return rows


def read_rows(recipe: Recipe, manifest: Path, num: int | None) -> Rows:
    """The first `num` rows of a manifest that the recipe's run can use; None for all.

    Raises InputError where none is left, for an uncountable row where the recipe says stop, and for rows without what
    SFT learns.
    """
    samples = read_manifest(manifest)
    if not samples:
        raise InputError(f"{manifest}: has no rows; a run needs at least one")
    return (_countable if recipe.kind == "rl" else _taught)(recipe, manifest, samples, num)


def unteachable(sample: Sample, targets: Sequence[TargetKind]) -> str | None:
    """Why SFT cannot learn a sample by these targets; None where it can."""
    if not sample.labels:
        return NO_LABELS
    if "slow" in targets and not (sample.reasoning or "").strip():
        return NO_REASONING
    return None


def sft_problems(manifest: Path, samples: Sequence[Sample], targets: Sequence[TargetKind]) -> Iterator[str]:
    """What stops SFT on these samples by these targets: one sentence for each reason of `unteachable`."""
    reasons = {
        NO_LABELS: "no labels to learn from (the first is {}); add `labels`, or leave those rows out (docs/data.md)",
        NO_REASONING: "no reasoning, which slow targets are made of (the first is {}); add `reasoning`, leave those "
        "rows out (docs/data.md), or train the answers alone with sft.targets=[fast]",
    }
    for reason, text in reasons.items():
        if ids := [sample.id for sample in samples if unteachable(sample, targets) == reason]:
            named = text.format(repr(printable(ids[0])))
            yield f"{manifest}: {len(ids)} of {len(samples)} rows have {named}"


def rl_problem(manifest: Path, objective: str, wheels: WheelSet, dropped: Uncountable) -> str:
    """What stops RL on a manifest without one row of countable gold."""
    return (
        f"{manifest}: no row has gold that {objective} can pay with the {wheels.source} wheels ({dropped}); correct "
        "the labels, or take other wheels"
    )


def _taught(recipe: Recipe, manifest: Path, samples: list[Sample], num: int | None) -> Rows:
    num_in_manifest, samples = len(samples), samples[:num]
    if problem := next(sft_problems(manifest, samples, recipe.sft.targets), None):
        raise InputError(problem)
    return Rows(samples, Uncountable(), num_in_manifest)


def _countable(recipe: Recipe, manifest: Path, samples: list[Sample], num: int | None) -> Rows:
    wheels = WheelSet.load(recipe.rl.wheels, protocol=recipe.rl.protocol)
    rows, rule, num_countable = Rows([], Uncountable(), len(samples)), recipe.data.uncountable, 0
    for sample in samples:
        if len(rows.samples) == num:
            break
        reason = uncountable(sample, wheels, recipe.rl.objective)
        if reason and rule == "stop":
            raise InputError(
                f"{manifest}: sample {sample.id!r}: {reason}, so that {recipe.rl.objective} with the {wheels.source} "
                "wheels pays no answer; correct the row, or set data.uncountable to drop or keep (`mer-r1 check --for "
                "rl` lists such rows)"
            )
        if reason:
            rows.uncountable.add(sample, reason)
        else:
            num_countable += 1
        if not reason or rule == "keep":
            rows.samples.append(sample)
    if not num_countable:
        raise InputError(rl_problem(manifest, recipe.rl.objective, wheels, rows.uncountable))
    return rows
