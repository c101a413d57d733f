"""Threads are chosen before torch is loaded; what the user has set stands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mer_r1.threads import SPINS, WAITING, choose_threads, num_cores, num_workers


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing is set, and torch is not loaded."""
    for name in WAITING:
        monkeypatch.setenv(name, "")  # so that what a test sets is taken back
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    return monkeypatch


def chosen() -> dict[str, str]:
    return {name: os.environ[name] for name in WAITING if name in os.environ}


def test_threads_spin_little(environment: pytest.MonkeyPatch) -> None:
    choose_threads()
    assert chosen() == {"GOMP_SPINCOUNT": SPINS}


@pytest.mark.parametrize("name", WAITING)
def test_what_the_user_has_set_stands(name: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv(name, "7")
    choose_threads()
    assert chosen() == {name: "7"}


def test_nothing_is_set_once_torch_is_loaded(environment: pytest.MonkeyPatch) -> None:
    environment.setitem(sys.modules, "torch", os)
    choose_threads()
    assert chosen() == {}


LOADS_TORCH = """
import sys
from mer_r1.commands import main

class Watch:
    def find_spec(self, name, *_):
        if name == "torch":
            import os
            print(os.environ.get("GOMP_SPINCOUNT"))
            raise KeyboardInterrupt

sys.meta_path.insert(0, Watch())
main(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "predict"])
def test_commands_choose_before_they_load_torch(command: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "train.jsonl").write_text('{"id": "a", "subtitle": "well", "labels": ["happy"], "reasoning": "r"}\n')
    (tmp_path / "mine.yaml").write_text(
        "kind: sft\nmodel: {source: model}\ndata: {train: train.jsonl}\noptim: {learning_rate: 1.0e-3}\n"
    )
    arguments = {"train": ["mine.yaml", "--out", "run"], "predict": ["--subtitle", "well", "--model", "model"]}
    environment = {name: value for name, value in os.environ.items() if name not in WAITING}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", LOADS_TORCH, command, *arguments[command]],
        env=environment,
        cwd=tmp_path,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.stdout.split("\n")[0] == SPINS, done.stderr


def test_a_process_counts_the_cores_that_it_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert (num_cores(), num_workers()) == (1, 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert (num_cores(), num_workers()) == (64, 8)
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert num_workers() == 3
