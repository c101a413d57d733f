"""Small runs, runs that are stopped, and what they leave behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mer_r1.pipelines.train import train
from mer_r1.recipe import Recipe

TIMES = {"train_runtime", "train_samples_per_second", "train_steps_per_second", "sampling/update_s"}


ROLLED_TWICE = {"rl": {"num_generations": 3, "max_completion_length": 48, "num_iterations": 2}}


class Stopped(Exception):
    """What stops a run in these tests."""


def make_recipe(kind: str, source: Path, train: Path, optim: dict[str, Any], **sections: Any) -> Recipe:
    """A small recipe: batches of 2, a log line every step."""
    return Recipe.model_validate(
        {
            "kind": kind,
            "model": {"source": str(source)},
            "data": {"train": str(train), "keep_features": True, "workers": 0},
            "optim": {"learning_rate": 1e-3, "batch_size": 2, "logging_steps": 1, **optim},
            **sections,
        }
    )


def run_stopped_at(recipe: Recipe, out: Path, step: int) -> None:
    """Run until `step` steps are done; what a checkpoint holds is then what a kill would leave."""

    def progress(done: int, total: int, metrics: dict[str, float]) -> None:
        if done == step:
            raise Stopped

    with pytest.raises(Stopped):
        train(recipe, out, progress)
    assert not (out / "model").exists()
    assert json.loads((out / "run.json").read_text())["status"] == "running"


def lines(path: Path) -> list[dict[str, Any]]:
    """A log's lines without the times they took."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def weights(out: Path) -> bytes:
    """A finished run's weights."""
    return (out / "model" / "model.safetensors").read_bytes()


def seven_steps(kind: str, source: Path, train: Path) -> Recipe:
    """Seven steps, to within an epoch: a checkpoint every second, a log line every third, RL uses rollouts twice."""
    return Recipe.model_validate(
        {
            "kind": kind,
            "model": {"source": str(source)},
            "data": {"train": str(train), "keep_features": True, "workers": 0, "eval": str(train), "eval_num": 2},
            "optim": {
                "learning_rate": 1e-3,
                "max_steps": 7,
                "batch_size": 2,
                "save_steps": 2,
                "logging_steps": 3,
                "eval_steps": 5,
            },
            **(ROLLED_TWICE if kind == "rl" else {}),
        }
    )


def assert_same(out: Path, whole: Path) -> None:
    """Bit-equal weights, equal logs, nothing left lying about."""
    names = {path.name for path in whole.iterdir()}
    assert {path.name for path in out.iterdir()} == names
    assert (out / "model" / "model.safetensors").read_bytes() == (whole / "model" / "model.safetensors").read_bytes()
    for name in names & {"metrics.jsonl", "rollouts.jsonl"}:
        assert lines(out / name) == lines(whole / name)
    facts = [json.loads((folder / "run.json").read_text()) for folder in (out, whole)]
    assert facts[0] == facts[1]
    assert facts[0]["status"] == "finished"
