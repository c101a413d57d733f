"""Whether a run's folder holds the model of a recipe, and whether a stopped run may go on.

A resumed run counts the rows it has read as steps x samples a step. Another number of processes alone would skip rows
and shorten the schedule, so a stopped run goes on only where

    samples a step = processes x optim.batch_size x optim.gradient_accumulation_steps

is what it was. How these divide among the three may change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import yaml

from mer_r1.data.media_names import media_kind
from mer_r1.data.sample import Sample
from mer_r1.distributed import rank_and_world_size
from mer_r1.errors import InputError
from mer_r1.evaluation.records import RUN_FILE, RunRecord
from mer_r1.recipe import Recipe, read_recipe_without_idle_keys
from mer_r1.text import printable

_OTHER = "holds a run of another recipe; give another --out, or remove the folder"
_BEFORE = ("rl.end_token=false", "rl.kl=k3")  # what RL did before its recipes had these keys


def is_finished(out: Path, recipe: Recipe) -> bool:
    """Whether `out` holds this recipe's model.

    Recipes are compared as values: one that an earlier version wrote lacks the keys that have come since, and may hold
    keys that nothing reads. Raises InputError where `out` holds what another recipe has learned, or a stopped run of
    another number of samples a step; and a folder of media files that is no run's.
    """
    path = out / "recipe.yaml"
    if not path.exists():
        if clip := next((item for item in sorted(out.glob("*")) if media_kind(item.name) and item.is_file()), None):
            raise InputError(f"{out}: holds media files, such as {printable(clip.name)}, and no run; give a new folder")
        return False
    try:
        saved = read_recipe_without_idle_keys(str(path))[0]
    except InputError:
        saved = None
    finished = (out / "model").exists()  # written under another name, and whole
    if finished and saved == recipe:
        return True
    if not finished and not _has_checkpoint(out):
        return False  # it ended before anything was learned that could be lost
    if finished or saved is None:
        raise InputError(f"{out}: {_OTHER}")
    begun, assignments = _as_begun(path)
    if _without_batches(begun) != _without_batches(recipe):
        if _without_batches(saved) == _without_batches(recipe):
            raise InputError(
                f"{out}: the stopped run was begun by a version that trained with {' '.join(assignments)}; give that, "
                "or another --out"
            )
        raise InputError(f"{out}: {_OTHER}")
    now = rank_and_world_size()[1]
    before = RunRecord.read(out / RUN_FILE).processes or now
    if _samples_a_step(saved, before) != _samples_a_step(recipe, now):
        raise InputError(
            f"{out}: the stopped run took {_in_words(saved, before)} and would now take {_in_words(recipe, now)}, "
            "which skips or repeats rows; start as many processes as before, make up for it by optim.batch_size or "
            "optim.gradient_accumulation_steps, or give another --out"
        )
    return False


def validate_rows(out: Path, manifest: Path, samples: Sequence[Sample]) -> None:
    """Raises InputError where a stopped run would go on with other rows, or with the same in another order."""
    before = RunRecord.read(out / RUN_FILE) if _has_checkpoint(out) else RunRecord()
    fix = f"give {out} the manifest that it began with, or give another --out"
    if before.rows not in (None, len(samples)):
        raise InputError(f"{manifest}: gives {len(samples)} rows, and the stopped run began with {before.rows}; {fix}")
    if before.row_ids not in ("", row_ids(samples)):
        raise InputError(f"{manifest}: its rows are not those that the stopped run began with, or not in order; {fix}")


def row_ids(samples: Sequence[Sample]) -> str:
    """What tells the ids of rows, in their order, from others."""
    return hashlib.sha256(json.dumps([sample.id for sample in samples]).encode()).hexdigest()[:16]


def _as_begun(path: Path) -> tuple[Recipe, list[str]]:
    """A stopped run's recipe with what its version did in place of today's defaults, and these assignments."""
    given = yaml.safe_load(path.read_text(encoding="utf-8")).get("rl") or {}
    lacking = [assignment for assignment in _BEFORE if assignment.partition("=")[0].removeprefix("rl.") not in given]
    recipe, idle = read_recipe_without_idle_keys(str(path), lacking)
    return recipe, [assignment for assignment in lacking if assignment.partition("=")[0] not in idle]


def _has_checkpoint(out: Path) -> bool:
    return any((out / "checkpoints").glob("checkpoint-*"))


def _without_batches(recipe: Recipe) -> Recipe:
    """The recipe without the keys that may change when a run goes on."""
    batches = {"batch_size": 1, "gradient_accumulation_steps": 1}
    return recipe.model_copy(update={"optim": recipe.optim.model_copy(update=batches)})


def _samples_a_step(recipe: Recipe, processes: int) -> int:
    return processes * recipe.optim.batch_size * recipe.optim.gradient_accumulation_steps


def _in_words(recipe: Recipe, processes: int) -> str:
    noun = "process" if processes == 1 else "processes"
    return f"{_samples_a_step(recipe, processes)} samples a step on {processes} {noun}"
