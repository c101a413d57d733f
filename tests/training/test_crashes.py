"""Runs that are killed: the same command again, and they end as if nothing had been.

Each run is a process of its own that executes the real command, and dies at a named place or at its n-th file.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.nursery import Nursery
from tests.training.runs import assert_same, seven_steps

PLACES = {
    "rl": ("rollouts", "a line", "moments", "state", "rotation", "logs", "weights", "evaluation", "model"),
    "sft": ("moments", "rotation", "model"),  # the rest is one code for both
}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dies(name: str) -> None:
    """Make this process die at a named place of the run that it is about to do."""
    import torch
    from transformers import modeling_utils
    from transformers.trainer_callback import TrainerState

    from mer_r1.models.qwen2_5_omni import OmniBackbone
    from mer_r1.pipelines import train as pipeline
    from mer_r1.rl import trainer
    from mer_r1.training.trainer import RunTrainer

    def half_a_line(self: Any, path: Path, rows: Any) -> None:
        if path.name == "rollouts.jsonl":
            with path.open("a") as log:
                log.write('{"step": 1, "id": "a')
            die()
        real_append(self, path, rows)

    def half_a_state(self: Any, path: str) -> None:
        Path(path).write_text('{"global_step": ')
        die()

    def half_a_pickle(value: Any, path: Any, *_: Any) -> None:
        Path(path).write_bytes(b"PK")
        die()

    def half_a_removal(path: Any, *args: Any, **kwargs: Any) -> None:
        """Of a whole checkpoint that a newer one replaces: what says that it is whole goes last."""
        if "global_step" not in json.loads(_text(Path(path) / "trainer_state.json")):
            real_removal(path, *args, **kwargs)
            return
        for file in Path(path).iterdir():
            if file.name != "trainer_state.json":
                file.unlink()
        die()

    def end(*_: Any, **__: Any) -> None:
        die()

    real_append, real_removal = RunTrainer._append, shutil.rmtree
    places: dict[str, tuple[Any, str, Callable[..., Any]]] = {
        "rollouts": (trainer, "make_rollouts", end),
        "a line": (RunTrainer, "_append", half_a_line),
        "weights": (modeling_utils, "safe_save_file", end),
        "moments": (torch, "save", half_a_pickle),
        "state": (TrainerState, "save_to_json", half_a_state),
        "rotation": (shutil, "rmtree", half_a_removal),
        "logs": (os, "replace", end),
        "evaluation": (RunTrainer, "evaluate", end),
        "model": (OmniBackbone, "save", end),
        "close": (pipeline, "_close", end),
    }
    owner, attribute, instead = places[name]
    setattr(owner, attribute, instead)


def _text(path: Path) -> str:
    text = path.read_text() if path.is_file() else ""
    return text if text.rstrip().endswith("}") else "{}"


def dies_at_file(number: int, out: Path) -> None:
    """Make this process die when it is about to open, rename or remove its `number`-th file in `out`."""
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event in ("open", "os.rename", "os.remove", "os.rmdir") and str(arguments[0]).startswith(str(out)):
            count += 1
            if count == number:
                die()

    sys.addaudithook(hook)


def train(recipe: str, out: str, death: str = "") -> int:
    """The real command in this process: its status. `death` is a place for `dies` or a number for `dies_at_file`."""
    from mer_r1.commands import main

    if death.isdigit():
        dies_at_file(int(death), Path(out))
    elif death:
        dies(death)
    return main(["train", recipe, "--out", out])


@dataclass(frozen=True)
class Whole:
    """A run that nothing stopped, and the way to others of the same recipe."""

    kind: str
    out: Path
    nursery: Nursery

    def run(self, out: Path, death: str = "") -> int:
        """The status of a run into `out`, -9 when it died."""
        (status,) = self.nursery.run(f"{__name__}:train", self.out.with_suffix(".yaml"), out, death)
        assert status in (0, -9), self.nursery.printed()
        return status


@pytest.fixture(scope="module", params=["rl", "sft"])
def whole(
    request: pytest.FixtureRequest,
    taught_folder: Path,
    corpus: dict[str, Path],
    nursery: Nursery,
    tmp_path_factory: pytest.TempPathFactory,
) -> Whole:
    """A run that nothing stopped, and that learned."""
    from safetensors.torch import load_file

    made = Whole(request.param, tmp_path_factory.mktemp(request.param) / "whole", nursery)
    made.out.with_suffix(".yaml").write_text(seven_steps(request.param, taught_folder, corpus["train"]).as_yaml())
    assert made.run(made.out) == 0
    before, after = (load_file(run / "model" / "model.safetensors") for run in (taught_folder, made.out))
    assert max(float((after[name] - before[name]).abs().max()) for name in before) > 1e-3
    return made


def test_a_run_killed_at_every_bad_moment_ends_as_an_uninterrupted_one(whole: Whole, tmp_path: Path) -> None:
    """One run, killed again and again: each time it has come further than before."""
    out = tmp_path / "run"
    for place in PLACES[whole.kind]:
        assert whole.run(out, place) == -9, place
        assert not (out / "model").exists()
    assert whole.run(out, "close") == -9
    assert (out / "model").exists()
    assert (out / "checkpoints").exists()
    assert whole.run(out) == 0
    assert_same(out, whole.out)


@pytest.mark.parametrize("whole", ["rl"], indirect=True)
def test_a_run_killed_at_any_file_ends_as_an_uninterrupted_one(whole: Whole, tmp_path: Path) -> None:
    draws, out = random.Random(7), tmp_path / "run"
    for _ in range(4):
        assert whole.run(out, str(draws.randint(1, 60))) == -9
    assert whole.run(out) == 0
    assert_same(out, whole.out)
