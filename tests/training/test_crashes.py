"""Runs that are killed: the same command again, and they end as if nothing had been.

Run as a module this file is a nursery: it imports what a run needs once, and each run is a forked process of its own
that executes the real command, to be killed at a named place or after a while.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mer_r1.recipe import Recipe
from tests.training.test_training import lines

ROOT = Path(__file__).parents[2]


def recipe_of(kind: str, source: Path, train: Path) -> Recipe:
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
            "rl": {"num_generations": 3, "max_completion_length": 48, "num_iterations": 2},
        }
    )


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dies(name: str) -> None:
    """Make this process die at a named place of the run that it is about to do."""
    import torch
    from transformers import modeling_utils
    from transformers.trainer_callback import TrainerState

    from mer_r1.models.qwen2_5_omni import OmniBackbone
    from mer_r1.pipelines import train
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
        "close": (train, "_close", end),
    }
    owner, attribute, instead = places[name]
    setattr(owner, attribute, instead)


def _text(path: Path) -> str:
    text = path.read_text() if path.is_file() else ""
    return text if text.rstrip().endswith("}") else "{}"


class Nursery:
    """Runs of one recipe file in forked processes of a fresh process."""

    def __init__(self, recipe: Path, out: Path) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.training.test_crashes", str(recipe)],
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.out = out

    def run(self, out: Path, dies: str = "", after_s: float = 0.0) -> int:
        """The status of a run into `out`, -9 when it died."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([str(out), dies, after_s]) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture(scope="module", params=["rl", "sft"])
def nursery(
    request: pytest.FixtureRequest,
    taught_folder: Path,
    corpus: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """A nursery whose `out` holds a run that nothing stopped, and that learned."""
    from safetensors.torch import load_file

    folder = tmp_path_factory.mktemp(request.param)
    (folder / "recipe.yaml").write_text(recipe_of(request.param, taught_folder, corpus["train"]).as_yaml())
    made = Nursery(folder / "recipe.yaml", folder / "whole")
    assert made.run(made.out) == 0
    before, after = (load_file(run / "model" / "model.safetensors") for run in (taught_folder, made.out))
    assert max(float((after[name] - before[name]).abs().max()) for name in before) > 1e-3
    yield made
    made.close()


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


def test_a_run_killed_at_every_bad_moment_ends_as_an_uninterrupted_one(nursery: Nursery, tmp_path: Path) -> None:
    """One run, killed again and again: each time it has come further than before."""
    out = tmp_path / "run"
    is_rl = (nursery.out / "rollouts.jsonl").exists()
    for index in ("rollouts", "a line", "moments", "state", "rotation", "logs", "weights", "evaluation", "model"):
        if is_rl or index not in ("rollouts", "a line"):
            assert nursery.run(out, dies=index) == -9, index
            assert not (out / "model").exists()
    assert nursery.run(out, dies="close") == -9
    assert (out / "model").exists()
    assert (out / "checkpoints").exists()
    assert nursery.run(out) == 0
    assert_same(out, nursery.out)


def test_a_run_killed_at_any_moment_ends_as_an_uninterrupted_one(nursery: Nursery, tmp_path: Path) -> None:
    """The wait before a kill is drawn; an attempt that came to nothing is followed by one with more time."""
    draws, out, wait_s, kills = random.Random(7), tmp_path / "run", 0.5, 0
    while (status := nursery.run(out, after_s=wait_s * draws.uniform(0.7, 1.3))) != 0:
        assert status == -9
        kills += 1
        wait_s *= 1.35
    assert kills >= 3
    assert_same(out, nursery.out)


def _attend(recipe: Path) -> None:
    """Do what standard input asks for, one forked process for each line."""
    import torch

    import mer_r1.rl.trainer
    import mer_r1.training.sft  # noqa: F401
    from mer_r1.commands import main
    from mer_r1.models.qwen2_5_omni import load_omni  # noqa: F401

    torch.set_num_threads(1)
    for line in sys.stdin:
        out, index, after_s = json.loads(line)
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            if index:
                dies(index)
            try:
                os._exit(main(["train", str(recipe), "--out", out]))
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(1)
        until = time.monotonic() + after_s
        done, status = os.waitpid(child, os.WNOHANG if after_s else 0)
        while not done and time.monotonic() < until:
            time.sleep(0.002)
            done, status = os.waitpid(child, os.WNOHANG)
        if not done:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    _attend(Path(sys.argv[1]))
