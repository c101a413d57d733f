"""Threads are chosen before torch is loaded; what the user has set stands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mer_r1.threads import NUMBER, SMALL_BYTES, WAITING, choose_threads


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing is set, and torch is not loaded."""
    for name in (*WAITING, *NUMBER):
        monkeypatch.setenv(name, "")  # so that what a test sets is taken back
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    return monkeypatch


def chosen() -> dict[str, str]:
    return {name: os.environ[name] for name in (*WAITING, *NUMBER) if name in os.environ}


def weights(folder: Path, name: str, size: int) -> str:
    folder.mkdir(parents=True)
    with (folder / name).open("wb") as file:
        file.truncate(size)  # sparse
    return str(folder)


def test_threads_wait_asleep_and_a_small_model_has_one(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asleep = {"OMP_WAIT_POLICY": "PASSIVE"}
    weights(tmp_path / "run" / "model", "model.safetensors", 6_000_000)
    cases = {
        None: False,
        "tiny": True,
        str(tmp_path / "run"): True,
        str(tmp_path / "run" / "model"): True,
        weights(tmp_path / "large", "model-00001-of-00002.safetensors", SMALL_BYTES): False,
        weights(tmp_path / "adapter", "adapter_model.safetensors", 1000): False,
        str(tmp_path / "gone"): False,
        "Qwen/Qwen2.5-Omni-7B": False,
    }
    for model, one_thread in cases.items():
        for name in (*WAITING, *NUMBER):
            environment.delenv(name, raising=False)
        choose_threads(model)
        assert chosen() == asleep | ({"OMP_NUM_THREADS": "1"} if one_thread else {}), model


@pytest.mark.parametrize("name", [*WAITING, *NUMBER])
def test_what_the_user_has_set_stands(name: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv(name, "7")
    choose_threads("tiny")
    others = {"OMP_NUM_THREADS": "1"} if name in WAITING else {"OMP_WAIT_POLICY": "PASSIVE"}
    assert chosen() == {name: "7"} | others


def test_nothing_is_set_once_torch_is_loaded(environment: pytest.MonkeyPatch) -> None:
    environment.setitem(sys.modules, "torch", os)
    choose_threads("tiny")
    assert chosen() == {}


LOADS_TORCH = """
import sys
from mer_r1.commands import main

class Watch:
    def find_spec(self, name, *_):
        if name == "torch":
            import os
            print(os.environ.get("OMP_WAIT_POLICY"), os.environ.get("OMP_NUM_THREADS"))
            raise KeyboardInterrupt

sys.meta_path.insert(0, Watch())
main(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "predict"])
def test_commands_choose_before_they_load_torch(command: str, tmp_path: Path) -> None:
    weights(tmp_path / "model", "model.safetensors", 1000)
    (tmp_path / "train.jsonl").write_text('{"id": "a", "subtitle": "well", "labels": ["happy"], "reasoning": "r"}\n')
    (tmp_path / "mine.yaml").write_text(
        "kind: sft\nmodel: {source: model}\ndata: {train: train.jsonl}\noptim: {learning_rate: 1.0e-3}\n"
    )
    arguments = {"train": ["mine.yaml", "--out", "run"], "predict": ["--subtitle", "well", "--model", "model"]}
    environment = {name: value for name, value in os.environ.items() if name not in (*WAITING, *NUMBER)}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", LOADS_TORCH, command, *arguments[command]],
        env=environment,
        cwd=tmp_path,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.stdout.split("\n")[0] == "PASSIVE 1", done.stderr
