"""Trackers get the lines of metrics.jsonl under the same names, and a resumed run goes on where it was; no network."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mer_r1.errors import InputError
from mer_r1.pipelines.train import train, validate_start
from mer_r1.recipe import Recipe
from mer_r1.training.trackers import chosen, open_trackers, validate_trackers
from tests.training.runs import run_stopped_at

LINES = [{"loss": 2.0, "reward/recall": 0.5}, {"loss": 1.0, "eval/reward/recall": 0.25}]
Numbers = dict[str, list[tuple[int, float]]]


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trackers with a network write to the disk alone."""
    for name, value in (("WANDB_MODE", "offline"), ("SWANLAB_MODE", "offline"), ("WANDB_SILENT", "true")):
        monkeypatch.setenv(name, value)
    for name in ("WANDB_PROJECT", "SWANLAB_PROJECT", "SWANLAB_PROJ_NAME", "SWANLAB_LOG_DIR", "TRACKIO_SPACE_ID"):
        monkeypatch.delenv(name, raising=False)


def events(folder: Path) -> Numbers:
    """What TensorBoard shows of a run: a value a step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    shown.Reload()
    return {name: [(event.step, event.value) for event in shown.Scalars(name)] for name in shown.Tags()["scalars"]}


def report(names: tuple[str, ...], folder: Path, *, step: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    with open_trackers(names, folder, {"kind": "rl", "optim": {"learning_rate": 1e-3}}, step) as trackers:
        for tracker in trackers:
            for number, line in enumerate(LINES, step + 1):
                tracker.log(line, number)


@pytest.mark.slow
def test_tensorboard_shows_the_names_and_steps_and_a_resumed_run_takes_the_place_of_what_it_does_again(
    tmp_path: Path,
) -> None:
    pytest.importorskip("tensorboard")
    report(("tensorboard",), tmp_path / "run")
    assert events(tmp_path / "run") == {
        "loss": [(1, 2.0), (2, 1.0)],
        "reward/recall": [(1, 0.5)],
        "eval/reward/recall": [(2, 0.25)],
    }
    report(("tensorboard",), tmp_path / "run", step=1)
    assert events(tmp_path / "run")["loss"] == [(1, 2.0), (2, 2.0), (3, 1.0)]


@pytest.mark.slow
def test_trackio_keeps_the_names_and_steps_and_a_resumed_run_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trackio")
    from trackio import sqlite_storage

    monkeypatch.setattr(sqlite_storage, "TRACKIO_DIR", tmp_path / "trackio")
    monkeypatch.setattr("trackio.cpu_available", lambda: False)
    for step in (0, 2):
        report(("trackio",), tmp_path / "run", step=step)
    name = f"run-{json.loads((tmp_path / 'run' / 'trackers.json').read_text())['id']}"
    assert sqlite_storage.SQLiteStorage.get_runs("mer-r1") == [name]
    logs = sqlite_storage.SQLiteStorage.get_logs("mer-r1", name)
    kept = [{key: value for key, value in row.items() if key != "timestamp"} for row in logs]
    assert kept == [{**line, "step": step} for step, line in enumerate((*LINES, *LINES), 1)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "written"), [("wandb", "wandb/offline-run-*-{id}/*.wandb"), ("swanlab", "swanlog/run-*-{id}/**/*")]
)
def test_a_network_tracker_writes_the_names_offline_into_the_run_s_folder(
    name: str, written: str, tmp_path: Path
) -> None:
    pytest.importorskip(name)
    for step in (0, 2):
        report((name,), tmp_path / "run", step=step)
    identity = json.loads((tmp_path / "run" / "trackers.json").read_text())["id"]
    files = [path for path in (tmp_path / "run").glob(written.format(id=identity)) if path.is_file()]
    content = b"".join(path.read_bytes() for path in files)
    for key in (b"loss", b"reward/recall", b"eval/reward/recall", b"learning_rate"):
        assert key in content


class Recorded(SimpleNamespace):
    """Stands for a tracker's module, and keeps what it was told."""

    def __init__(self) -> None:
        super().__init__(started=[], logged=[], ended=[])

    def init(self, *_: Any, **options: Any) -> Recorded:
        self.started.append(options)
        return self

    def log(self, numbers: dict[str, float], step: int) -> None:
        self.logged.append((step, numbers))

    def finish(self, **how: Any) -> None:
        self.ended.append(how)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Recorded]:
    def place(name: str) -> Recorded:
        module = Recorded()
        monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr("mer_r1.training.trackers.find_spec", lambda _: module)
        return module

    return place


@pytest.mark.parametrize(
    ("name", "well", "badly"),
    [("wandb", {"exit_code": 0}, {"exit_code": 1}), ("swanlab", {"state": "success"}, {"state": "crashed"})],
)
def test_a_network_tracker_is_told_the_run_s_id_and_how_it_ended(
    name: str, well: dict[str, Any], badly: dict[str, Any], tmp_path: Path, stand_in: Callable[[str], Recorded]
) -> None:
    module = stand_in(name)
    report((name,), tmp_path / "run")
    with pytest.raises(RuntimeError), open_trackers((name,), tmp_path / "run", {}, 2):
        raise RuntimeError
    identity = json.loads((tmp_path / "run" / "trackers.json").read_text())["id"]
    for options in module.started:
        wanted = {"project": "mer-r1", "name": f"run-{identity}", "id": identity, "resume": "allow"}
        assert options.items() >= wanted.items()
    assert module.logged == [(1, LINES[0]), (2, LINES[1])]
    assert module.ended == [well, badly]


def test_a_tracker_that_refuses_is_an_error_of_one_line_and_those_before_it_are_closed(
    tmp_path: Path, stand_in: Callable[[str], Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = stand_in("wandb"), stand_in("swanlab")

    def refuse(**_: Any) -> None:
        raise RuntimeError("no API key\nlong advice")

    monkeypatch.setattr(second, "init", refuse)
    message = r"^optim\.report_to: swanlab cannot be used \(no API key\)$"
    with pytest.raises(InputError, match=message), open_trackers(("swanlab", "wandb"), tmp_path, {}, 0):
        pytest.fail("began")
    assert first.ended == [{"exit_code": 1}]


def test_a_missing_package_is_named_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mer_r1.training.trackers.find_spec", lambda _: None)
    optim = {"learning_rate": 1e-3, "report_to": ["mlflow", "wandb"]}
    data = {"train": str(tmp_path / "none.jsonl")}
    recipe = Recipe.model_validate({"kind": "sft", "model": {"source": "tiny"}, "data": data, "optim": optim})
    message = r"optim\.report_to: wandb is not installed; install it with: pip install wandb"
    for start in (lambda: validate_start(recipe), lambda: train(recipe, tmp_path / "run")):
        with pytest.raises(InputError, match=message):
            start()
    assert not (tmp_path / "run").exists()
    assert chosen(["all"]) == []
    validate_trackers(["all", "none"])


@pytest.mark.slow
def test_a_run_that_is_resumed_has_one_curve_of_the_numbers_in_its_log(
    tiny_folder: Path, brief: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    optim = {"learning_rate": 1e-3, "max_steps": 4, "batch_size": 2, "save_steps": 2, "logging_steps": 1}
    recipe = Recipe.model_validate(
        {
            "kind": "sft",
            "model": {"source": str(tiny_folder)},
            "data": {"train": str(brief), "workers": 0, "eval": str(brief), "eval_num": 2},
            "optim": {**optim, "eval_steps": 2, "report_to": ["tensorboard"]},
        }
    )
    run_stopped_at(recipe, tmp_path / "run", 3)
    train(recipe, tmp_path / "run")
    shown = events(tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    for name in {key for row in rows for key in row} - {"step"}:
        told = {row["step"]: row[name] for row in rows if name in row}
        assert dict(shown[name]) == pytest.approx(told), name
        assert len(shown[name]) == len(told), name
    assert [step for step, _ in shown["loss"]] == [1, 2, 3, 4]
    assert "eval/loss" in shown
