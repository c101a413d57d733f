"""Runs: a run that was stopped and taken up again ends as one that was not, and logs only what was done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mer_r1.errors import InputError
from mer_r1.pipelines import train as pipeline
from mer_r1.pipelines.train import train
from mer_r1.training.run_folder import RunFolder, keep_until, last_checkpoint
from tests.training.runs import Stopped, lines, make_recipe, run_stopped_at, weights

pytestmark = pytest.mark.slow


def test_a_run_stopped_between_its_last_step_and_its_model_only_writes_the_model(
    tiny_folder: Path, corpus: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe("sft", tiny_folder, corpus["train"], {"max_steps": 4, "save_steps": 2, "batch_size": 4})
    train(recipe, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_write_model", _stop)
        with pytest.raises(Stopped):
            train(recipe, tmp_path / "cut")
    train(recipe, tmp_path / "cut")
    assert weights(tmp_path / "whole") == weights(tmp_path / "cut")
    assert lines(tmp_path / "cut" / "metrics.jsonl")[:-1] == lines(tmp_path / "whole" / "metrics.jsonl")[:-1]


def _stop(*_: object) -> None:
    raise Stopped


def test_an_sft_run_resumed_in_its_first_and_in_its_second_epoch_ends_as_an_uninterrupted_one(
    tiny_folder: Path, corpus: dict[str, Path], tmp_path: Path
) -> None:
    """An epoch has four steps."""
    recipes = {
        save_steps: make_recipe(
            "sft",
            tiny_folder,
            corpus["train"],
            {"max_steps": 8, "save_steps": save_steps, "batch_size": 4, "warmup_steps": 2},
            sft={"targets": ["slow", "fast"]},
        )
        for save_steps in (2, 5)
    }
    train(recipes[2], tmp_path / "whole")
    whole = lines(tmp_path / "whole" / "metrics.jsonl")
    for save_steps, stop_at in ((2, 4), (5, 7)):
        out = tmp_path / f"resumed from {save_steps}"
        run_stopped_at(recipes[save_steps], out, stop_at)
        train(recipes[save_steps], out)
        assert weights(tmp_path / "whole") == weights(out) != (tiny_folder / "model.safetensors").read_bytes()
        resumed = lines(out / "metrics.jsonl")
        assert [row["step"] for row in resumed] == [1, 2, 3, 4, 5, 6, 7, 8, 8]
        assert resumed[:-1] == whole[:-1]
        assert resumed[-1].keys() == whole[-1].keys()


def test_a_finished_run_is_kept_and_another_recipe_is_refused(
    tiny_folder: Path, corpus: dict[str, Path], tmp_path: Path
) -> None:
    recipe = make_recipe("sft", tiny_folder, corpus["train"], {"max_steps": 1})
    model = train(recipe, tmp_path)
    before = (model / "model.safetensors").stat().st_mtime_ns
    assert train(recipe, tmp_path) == model
    assert (model / "model.safetensors").stat().st_mtime_ns == before
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "finished"
    assert not (tmp_path / "checkpoints").exists()
    with pytest.raises(InputError, match="another recipe"):
        train(make_recipe("sft", tiny_folder, corpus["train"], {"max_steps": 2}), tmp_path)


def test_accumulated_micro_batches_are_one_batch(tiny_folder: Path, corpus: dict[str, Path], tmp_path: Path) -> None:
    """1 x 4 and 4 x 1 end alike where all targets are of one length: the mean of means is the mean."""
    manifest = tmp_path / "train.jsonl"
    rows = [json.loads(line) for line in corpus["train"].read_text().splitlines()][:4]
    for row in rows:
        for medium in ("video", "audio"):
            if medium in row:
                row[medium] = str((corpus["train"].parent / row[medium]).resolve())
        row["labels"] = ["happy"]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    losses = {}
    for size, times in ((4, 1), (1, 4)):
        optim = {"max_steps": 3, "batch_size": size, "gradient_accumulation_steps": times}
        out = tmp_path / f"run{size}"
        train(make_recipe("sft", tiny_folder, manifest, optim, sft={"targets": ["fast"]}), out)
        losses[size] = [row["loss"] for row in lines(out / "metrics.jsonl") if "loss" in row]
    assert losses[1] == pytest.approx(losses[4], rel=1e-3)


def test_a_loss_that_is_no_number_ends_in_advice(tiny_folder: Path, corpus: dict[str, Path], tmp_path: Path) -> None:
    optim = {"max_steps": 4, "learning_rate": 1e30, "max_grad_norm": 1e30}
    with pytest.raises(InputError, match="learning_rate"):
        train(make_recipe("sft", tiny_folder, corpus["train"], optim), tmp_path)
    assert not (tmp_path / "model").exists()


def test_the_newest_whole_checkpoint_is_taken_and_half_written_ones_go(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert last_checkpoint(folder) == (None, 0)
    for name, text in {"5": '{"global_step": 5}', "10": '{"global_step": 10}', "15": '{"glob', "20": None}.items():
        index = folder.checkpoints / f"checkpoint-{name}"
        index.mkdir(parents=True)
        (index / "model.safetensors").write_text("")
        if text:
            (index / "trainer_state.json").write_text(text)
    assert last_checkpoint(folder) == (str(folder.checkpoints / "checkpoint-10"), 10)
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == ["checkpoint-10", "checkpoint-5"]


def test_lines_of_steps_that_will_be_done_again_are_cut(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    keep_until(log, 3)
    assert not log.exists()
    log.write_text('{"step": 2, "loss": 1.0}\n{"step": 3, "x": "ü"}\n{"step": 4}\n{"step": 3, "lo')
    keep_until(log, 3)
    assert log.read_text(encoding="utf-8") == '{"step": 2, "loss": 1.0}\n{"step": 3, "x": "ü"}\n'
    keep_until(log, 0)
    assert log.read_text() == ""
