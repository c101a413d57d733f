"""Which rows of a manifest a stage would use, and what would stop it: known from the rows alone, before media are read.

    sft         learns rows with labels, and for slow targets with a reasoning (training/rows.py); others stop the run
    rl          learns rows whose gold the objective can pay (metrics/countable.py); others are dropped
    benchmark   scores rows whose gold a metric reads: labels that reach a category of the wheels, or name one of the
                row's candidates; a valence; MME-Emotion's rows, which a judge scores. Rows without gold stop `score`

A row is in one class of a stage: used, or unused for one reason. With the rows that have problems of their own they
add up to the rows of the file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from mer_r1.benchmarks.mme_emotion.questions import TASKS
from mer_r1.data.manifest import ManifestScan
from mer_r1.data.sample import Sample
from mer_r1.emotion.wheel import WheelSet
from mer_r1.metrics.countable import uncountable
from mer_r1.recipe import TargetKind
from mer_r1.text import printable
from mer_r1.training.rows import Uncountable, rl_problem, sft_problems, unteachable

Stage = Literal["sft", "rl", "benchmark"]
STAGES: tuple[Stage, ...] = get_args(Stage)
NO_GOLD = "neither labels nor a valence"


@dataclass(frozen=True)
class Needs:
    """What a run's recipe decides of its needs, by the names of its keys: rl.objective and sft.targets."""

    objective: str = "mer_r1"
    targets: tuple[TargetKind, ...] = ("slow",)


@dataclass(frozen=True)
class StageRows:
    """The lines of the rows that a stage would use, those it would not by reason, and what stops it, in sentences.

    `uncountable` has more of what RL drops.
    """

    used: frozenset[int]
    unused: Mapping[str, frozenset[int]]
    problems: tuple[str, ...]
    uncountable: Uncountable | None = None

    def counts(self, faulty: Collection[int]) -> tuple[int, dict[str, int]]:
        """How many rows are used, and unused by reason, without those of the lines `faulty`."""
        unused = {reason: len(lines.difference(faulty)) for reason, lines in self.unused.items()}
        return len(self.used.difference(faulty)), unused

    def as_json(self, faulty: Collection[int], num_rows: int) -> dict[str, Any]:
        """The counts; `used`, `unused` and `with_problems` add up to `rows`, those of the file."""
        used, unused = self.counts(faulty)
        with_problems = num_rows - used - sum(unused.values())
        return {"used": used, "unused": unused, "with_problems": with_problems, "rows": num_rows}


def rows_of_stage(
    stage: Stage, manifest: Path, scan: ManifestScan, wheels: WheelSet, needs: Needs | None = None
) -> StageRows:
    """The valid rows of a manifest as a stage would take them."""
    needs = needs or Needs()
    used, unused, dropped = set[int](), defaultdict[str, set[int]](set), Uncountable()
    for line, sample in zip(scan.lines, scan.samples, strict=True):
        if stage == "sft":
            reason = unteachable(sample, needs.targets)
        elif stage == "rl":
            reason = uncountable(sample, wheels, needs.objective)
        else:
            reason = unscored(sample, wheels)
        if reason is None:
            used.add(line)
            continue
        unused[reason].add(line)
        dropped.add(sample, reason)
    problems: Sequence[str] = ()
    if stage == "sft":
        problems = tuple(sft_problems(manifest, scan.samples, needs.targets))
    elif stage == "benchmark":
        problems = tuple(_benchmark_problems(manifest, scan, used, unused))
    elif scan.samples and not used:
        problems = (rl_problem(manifest, needs.objective, wheels, dropped),)
    return StageRows(
        frozenset(used),
        {reason: frozenset(lines) for reason, lines in unused.items()},
        tuple(problems),
        dropped if stage == "rl" else None,
    )


def unscored(sample: Sample, wheels: WheelSet) -> str | None:
    """Why no metric reads the gold of a sample; None where one does."""
    if sample.valence is not None or is_judged(sample):
        return None
    if not sample.labels:
        return NO_GOLD
    return uncountable(sample, wheels, "accuracy" if sample.candidates else "baseline")


def is_judged(sample: Sample) -> bool:
    """Whether a judge scores a sample's answers and no wheel: a question of MME-Emotion."""
    return (sample.source or "").partition("/")[0] in TASKS


def _benchmark_problems(
    manifest: Path, scan: ManifestScan, used: Collection[int], unused: Mapping[str, Collection[int]]
) -> Iterator[str]:
    if without := unused.get(NO_GOLD):
        first = next(sample for line, sample in zip(scan.lines, scan.samples, strict=True) if line in without)
        yield (
            f"{manifest}: {len(without)} of {len(scan.samples)} rows have {NO_GOLD} (the first is "
            f"{printable(first.id)!r}); add `labels` or `valence`, or leave those rows out (docs/data.md)"
        )
    elif scan.samples and not used:
        yield (
            f"{manifest}: no row has gold that a metric reads ({'; '.join(unused)}); correct the labels, or take other "
            "wheels"
        )
