"""The folder of a training run: its paths, its newest checkpoint, its logs cut back to it.

A run's folder holds recipe.yaml, run.json, metrics.jsonl, rollouts.jsonl (RL), checkpoints/ and, when finished, model/.
Logs are append-only; when a run resumes from a checkpoint, lines of later steps are cut off first, because those steps
will be done again.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from mer_r1.data.files import append_json_line, atomic_path


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run."""

    path: Path

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def rollouts(self) -> Path:
        return self.path / "rollouts.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        return self.path / "model"


def last_checkpoint(run: RunFolder) -> tuple[str | None, int]:
    """(folder, step) of the newest whole checkpoint, or (None, 0); half-written ones are removed.

    trainer_state.json is what the Trainer writes last, so a checkpoint that can be read to there is whole.
    """
    newest: tuple[str | None, int] = (None, 0)
    for folder in run.checkpoints.glob("checkpoint-*"):
        try:
            step = int(json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))["global_step"])
        except (OSError, ValueError, KeyError):
            shutil.rmtree(folder)
            continue
        if step > newest[1]:
            newest = (str(folder), step)
    return newest


def keep_until(path: Path, step: int) -> None:
    """Drop the lines of `path` that belong to steps after `step`, a last line that was cut off, and the one that sums
    up a run: it is written again."""
    if not path.exists():
        return
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as out:
        for line in path.read_text(encoding="utf-8").split("\n"):
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if row["step"] <= step and "train_runtime" not in row:
                append_json_line(out, row)
