"""Runs that meet a full disk, a clip that cannot be read, or a gradient that is no number."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest

from mer_r1.recipe import Recipe
from tests.training.runs import assert_same, lines, seven_steps

pytestmark = pytest.mark.slow


def trained(recipe: Recipe, out: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The trainer of a run in this process."""
    from mer_r1.pipelines import train as pipeline

    kept = list[Any]()
    real = pipeline._trainer

    def keep(*args: Any) -> Any:
        kept.append(real(*args))
        return kept[0]

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_trainer", keep)
        pipeline.train(recipe, out)
    return kept[0]


def changed(recipe: Recipe, **sections: dict[str, Any]) -> Recipe:
    tree = recipe.model_dump(mode="json")
    return Recipe.model_validate(tree | {name: tree[name] | keys for name, keys in sections.items()})


ALONE = {"eval": None, "eval_num": None}


def short(kind: str, source: Path, corpus: dict[str, Path], **optim: Any) -> Recipe:
    """Four steps, all logged, nothing evaluated."""
    optim = {"max_steps": 4, "save_steps": 1, "logging_steps": 1, "eval_steps": None, **optim}
    return changed(seven_steps(kind, source, corpus["train"]), data=ALONE, optim=optim, rl={"num_iterations": 1})


@pytest.fixture(scope="module")
def whole_sft(tiny_folder: Path, corpus: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short SFT run that met nothing."""
    from mer_r1.pipelines.train import train

    return train(short("sft", tiny_folder, corpus), tmp_path_factory.mktemp("sft")).parent


@pytest.fixture(scope="module")
def whole_rl(taught_folder: Path, corpus: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short RL run that met nothing."""
    from mer_r1.pipelines.train import train

    return train(short("rl", taught_folder, corpus), tmp_path_factory.mktemp("rl")).parent


@pytest.mark.parametrize(
    "fault", ["No space left on device (os error 28)", "[enforce fail at inline_container.cc:672]"]
)
def test_a_full_disk_is_one_line_and_the_last_checkpoint_resumes(
    tiny_folder: Path, corpus: dict[str, Path], whole_sft: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], fault: str,
) -> None:  # fmt: skip
    """As safetensors and torch.save say it, while the third checkpoint is written."""
    import torch
    from transformers import modeling_utils

    from mer_r1.commands import main

    recipe = short("sft", tiny_folder, corpus)
    (tmp_path / "recipe.yaml").write_text(recipe.as_yaml())
    command = ["train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run")]
    owner, name = (modeling_utils, "safe_save_file") if "os error" in fault else (torch, "save")
    real, calls = getattr(owner, name), list[str]()

    def full(value: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        calls.append(str(path))
        if "checkpoint-3" in str(path):
            raise RuntimeError(fault)
        real(value, path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, full)
        assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith(f"mer-r1: error: {tmp_path / 'run'}: no space left on the disk")
    assert (tmp_path / "run" / "checkpoints" / "checkpoint-2" / "trainer_state.json").exists()
    assert not (tmp_path / "run" / "model").exists()
    assert main(command) == 0
    assert_same(tmp_path / "run", whole_sft)


@pytest.fixture
def spoilt(corpus: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """The corpus with one clip that is no clip."""
    shutil.copytree(corpus["train"].parent, tmp_path / "spoilt")
    train = tmp_path / "spoilt" / corpus["train"].name
    row = [row for row in lines(train) if row.get("video")][2]
    (train.parent / row["video"]).write_bytes(b"not a clip")
    return {"train": train, "clip": train.parent / row["video"]}


@pytest.mark.parametrize(("kind", "workers"), [("rl", 2), ("sft", 0)])
def test_a_clip_that_cannot_be_read_stops_the_run_in_one_line_or_is_counted(
    taught_folder: Path, spoilt: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    kind: str, workers: int,
) -> None:  # fmt: skip
    from mer_r1.commands import main

    recipe = changed(short(kind, taught_folder, spoilt), data={"keep_features": False, "workers": workers})
    for name in ("stop", "skip"):
        (tmp_path / f"{name}.yaml").write_text(changed(recipe, data={"unreadable": name}).as_yaml())
    assert main(["train", str(tmp_path / "stop.yaml"), "--out", str(tmp_path / "stopped")]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "mtime" not in line]
    assert line.startswith(f"mer-r1: error: {spoilt['clip']}: ")
    assert line.endswith("set data.unreadable=skip")
    assert main(["train", str(tmp_path / "skip.yaml"), "--out", str(tmp_path / "run")]) == 0
    found = lines(tmp_path / "run" / "metrics.jsonl")  # four steps of two: every one of the eight once
    assert [row["unreadable"] for row in found if "unreadable" in row] == [1]
    assert [row["step"] for row in found] == [1, 2, 3, 4, 4]


def test_a_clip_is_counted_once_however_often_its_rollouts_are_used(
    taught_folder: Path, spoilt: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four batches of two, each for two steps; the log's lines are of eight steps each, the counts are summed."""
    recipe = short("rl", taught_folder, spoilt, max_steps=8, logging_steps=8, save_steps=8)
    data = {"keep_features": False, "unreadable": "skip"}
    trained(changed(recipe, data=data, rl={"num_iterations": 2}), tmp_path, monkeypatch)
    assert lines(tmp_path / "metrics.jsonl")[0]["unreadable"] == 1


def spoil_loss(monkeypatch: pytest.MonkeyPatch, calls: tuple[int, ...], factor: float) -> None:
    """Let the policy loss be no number at some calls."""
    from mer_r1.rl import losses, step

    count = iter(range(1, 100))

    def loss(*args: Any, **kwargs: Any) -> Any:
        made = losses.policy_loss(*args, **kwargs)
        return made._replace(loss=made.loss * factor) if next(count) in calls else made

    monkeypatch.setattr(step, "policy_loss", loss)


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_step_whose_gradient_is_no_number_is_skipped_and_counted(
    taught_folder: Path, corpus: dict[str, Path], whole_rl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    factor: float,
) -> None:  # fmt: skip
    """Weights and moments are as if it had not been; the schedule goes on."""
    from mer_r1.training.trainer import RunTrainer

    recipe = short("rl", taught_folder, corpus, not_finite="skip")
    weights = list[dict[str, Any]]()
    real = RunTrainer._save_checkpoint

    def keep(self: Any, *args: Any) -> None:
        weights.append({name: value.clone() for name, value in self.model.state_dict().items()})
        real(self, *args)

    monkeypatch.setattr(RunTrainer, "_save_checkpoint", keep)
    with monkeypatch.context() as patch:
        spoil_loss(patch, (2,), factor)
        trainer = trained(recipe, tmp_path / "run", monkeypatch)
    changes = [max(float((b[name] - a[name]).abs().max()) for name in a) for a, b in itertools.pairwise(weights)]
    assert changes[0] == 0
    assert min(changes[1:]) > 1e-4
    moments = list(trainer.optimizer.state.values())
    assert len(moments) > 20
    assert {float(state["step"]) for state in moments} == {3}
    assert all(bool(state["exp_avg"].isfinite().all()) for state in moments)
    rows = lines(tmp_path / "run" / "metrics.jsonl")
    assert [row.get("skipped_steps") for row in rows] == [None, 1, None, None, None]
    assert [row.get("loss") is None for row in rows[:4]] == [False, True, False, False]
    assert rows[-1]["train_loss"] is not None
    rates = [[row.get("learning_rate") for row in lines(run / "metrics.jsonl")] for run in (tmp_path / "run", whole_rl)]
    assert rates[0] == rates[1]


def test_skipped_steps_are_summed_over_the_steps_of_a_line(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_loss(monkeypatch, (2, 4), float("nan"))
    trained(short("rl", taught_folder, corpus, not_finite="skip", logging_steps=4), tmp_path, monkeypatch)
    row = lines(tmp_path / "metrics.jsonl")[0]
    assert row["skipped_steps"] == 2
    assert row["loss"] is not None


def test_a_gradient_that_is_no_number_stops_the_run_whose_last_checkpoint_resumes(
    taught_folder: Path, corpus: dict[str, Path], whole_rl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mer_r1.errors import InputError

    recipe = short("rl", taught_folder, corpus)
    with monkeypatch.context() as patch:
        spoil_loss(patch, (3,), float("nan"))
        with pytest.raises(InputError, match=r"step 3: the gradient is not a number; .* last checkpoint is whole"):
            trained(recipe, tmp_path / "run", monkeypatch)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["checkpoint-2"]
    trained(recipe, tmp_path / "run", monkeypatch)
    assert_same(tmp_path / "run", whole_rl)
