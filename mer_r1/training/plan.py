"""What `mer-r1 train --dry-run` finds out: the data that a run would read, really counted, and what the run costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mer_r1.errors import InputError
from mer_r1.media.survey import Survey, survey
from mer_r1.recipe import Recipe
from mer_r1.training.cost import ANSWER_TOKENS
from mer_r1.training.estimate import Estimate, estimate
from mer_r1.training.gpus import Card, find_card
from mer_r1.training.rows import Rows, rows_of


@dataclass(frozen=True)
class Place:
    """Where a run is planned: on how many of which card (None: `default_gpus`), with answers of how many tokens."""

    card: Card = field(default_factory=find_card)
    num_gpus: int | None = None
    answer_tokens: int = ANSWER_TOKENS


@dataclass(frozen=True)
class Plan:
    """A run before it is started. `rows` and `media` are None where a number of rows is assumed instead of read."""

    recipe: Recipe
    rows: Mapping[str, Rows] | None
    media: Survey | None
    estimate: Estimate

    @property
    def missing(self) -> tuple[Path, ...]:
        """Media files that are not there."""
        return self.media.missing if self.media else ()

    @property
    def can_run(self) -> bool:
        """Whether nothing is known that would stop the run: it fits the memory, and no media file is missing."""
        costs = self.estimate.costs
        stops = self.missing and self.recipe.data.unreadable == "stop"
        return not stops and (costs is None or costs.fix is None)


def plan(recipe: Recipe, place: Place, assumed_rows: int | None = None) -> Plan:
    """Read the run's data, or take `assumed_rows` for its number of rows, and estimate its costs.

    Raises InputError as the run would: for a manifest that is missing or is none, rows that cannot be learned from,
    wheels that are not there; and for a number below 1.
    """
    if assumed_rows is not None and assumed_rows < 1:
        raise InputError(f"--rows {assumed_rows}: give a number above 0")
    rows, media = None, None
    num_rows = min(assumed_rows or 0, recipe.data.num or assumed_rows or 0)
    if assumed_rows is None:
        rows = read_run_rows(recipe)
        num_rows = len(rows["train"].samples)
        media = survey([sample for part in rows.values() for sample in part.samples])
    costs = estimate(recipe, num_rows, place.card, place.num_gpus, place.answer_tokens)
    return Plan(recipe, rows, media, costs)


def read_run_rows(recipe: Recipe) -> dict[str, Rows]:
    """The rows of a run; a manifest that is not there is named with the key that leads to it."""
    for key in ("train", "eval"):
        path: Path | None = getattr(recipe.data, key)
        if path is not None and not path.exists():
            rows = "; --rows N estimates without data" if key == "train" else ""
            raise InputError(
                f"data.{key}: {path}: no such file; name your manifest with data.{key}=FILE (`mer-r1 prepare` makes "
                f"one){rows}"
            )
    return rows_of(recipe)
