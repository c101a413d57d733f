"""A stopped run goes on by the rows it has read, or it is refused with both numbers."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mer_r1.errors import InputError
from mer_r1.pipelines.resume import is_finished
from mer_r1.pipelines.train import train
from mer_r1.recipe import Recipe, read_recipe
from tests.training.runs import lines, make_recipe, run_stopped_at
from tests.training.two_processes import assert_alike


def an_epoch(kind: str, source: Path, manifest: Path, **optim: Any) -> Recipe:
    """One epoch in steps of two samples, the first of which is saved."""
    optim = {"max_steps": -1, "num_train_epochs": 1, "save_steps": 2, "learning_rate": 1e-4} | optim
    rl = {"num_generations": 2, "max_completion_length": 8, "num_iterations": 2, "objective": "baseline"}
    return make_recipe(kind, source, manifest, optim, **({"rl": rl} if kind == "rl" else {}))


@pytest.fixture(params=["rl", "sft"])
def stopped(request: pytest.FixtureRequest, tiny_folder: Path, corpus: dict[str, Path], tmp_path: Path) -> Recipe:
    """The recipe of a run in tmp_path/run that was stopped in its third step."""
    recipe = an_epoch(request.param, tiny_folder, corpus["train"])
    run_stopped_at(recipe, tmp_path / "run", 3)
    return recipe


def with_optim(recipe: Recipe, **optim: Any) -> Recipe:
    return recipe.model_copy(update={"optim": recipe.optim.model_copy(update=optim)})


def test_a_folder_of_clips_is_no_place_for_a_run(tmp_path: Path) -> None:
    recipe = read_recipe("minimer-sft", [])
    (tmp_path / ".lock").touch()
    (tmp_path / "notes.txt").touch()
    assert not is_finished(tmp_path, recipe)
    (tmp_path / "a.mp4").touch()
    with pytest.raises(InputError, match=r"holds media files, such as a\.mp4, and no run; give a new folder"):
        is_finished(tmp_path, recipe)


@pytest.mark.slow
def test_other_micro_batches_of_the_same_step_read_the_rest_of_the_rows(
    stopped: Recipe, corpus: dict[str, Path], tmp_path: Path
) -> None:
    train(with_optim(stopped, batch_size=1, gradient_accumulation_steps=2), tmp_path / "run")
    train(stopped, tmp_path / "whole")
    assert_alike(tmp_path / "whole", tmp_path / "run")
    if stopped.kind == "rl":
        ids = Counter(row["id"] for row in lines(tmp_path / "run" / "rollouts.jsonl"))
        assert set(ids.values()) == {stopped.rl.num_generations}
        assert len(ids) == len(corpus["train"].read_text().splitlines()) // 2 * 2


@pytest.mark.parametrize(("before", "now", "optim"), [(1, 2, {}), (2, 1, {}), (4, 8, {}), (1, 1, {"batch_size": 4})])
def test_a_step_of_another_number_of_samples_is_refused_with_both(
    before: int,
    now: int,
    optim: dict[str, Any],
    tiny_folder: Path,
    corpus: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = an_epoch("rl", tiny_folder, corpus["train"])
    (tmp_path / "checkpoints" / "checkpoint-2").mkdir(parents=True)
    (tmp_path / "recipe.yaml").write_text(recipe.as_yaml())
    (tmp_path / "run.json").write_text(json.dumps({"kind": "rl", "processes": before, "status": "running"}))
    monkeypatch.setenv("WORLD_SIZE", str(now))
    changed = with_optim(recipe, **optim)
    with pytest.raises(
        InputError,
        match=rf"took {2 * before} samples a step on {before} process.* now take "
        rf"{changed.optim.batch_size * now} samples a step on {now} process.*optim\.gradient_accumulation_steps",
    ):
        train(changed, tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["processes"] == before


def test_a_finished_run_is_kept_by_any_number_of_processes(
    tiny_folder: Path, corpus: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = an_epoch("sft", tiny_folder, corpus["train"])
    (tmp_path / "model").mkdir()
    (tmp_path / "recipe.yaml").write_text(recipe.as_yaml())
    (tmp_path / "run.json").write_text('{"processes": 2, "status": "finished"}')
    assert train(recipe, tmp_path) == tmp_path / "model"
    with pytest.raises(InputError, match="another recipe"):
        train(with_optim(recipe, batch_size=1, gradient_accumulation_steps=2), tmp_path)


@pytest.mark.slow
def test_other_rows_are_refused(tiny_folder: Path, corpus: dict[str, Path], tmp_path: Path) -> None:
    rows = corpus["train"].read_text().splitlines(keepends=True)
    manifest = corpus["train"].with_name(f"{tmp_path.name}.jsonl")
    manifest.write_text("".join(rows[:6]))
    recipe = an_epoch("sft", tiny_folder, manifest)
    run_stopped_at(recipe, tmp_path / "run", 3)
    for others, message in (
        (rows[:8], r"gives 8 rows, and the stopped run began with 6"),
        (rows[1:7], r"its rows are not those that the stopped run began with"),
        (rows[5::-1], r"or not in order; give .* the manifest that it began with"),
    ):
        manifest.write_text("".join(others))
        with pytest.raises(InputError, match=message):
            train(recipe, tmp_path / "run")
    manifest.write_text("".join(rows[:6]))
    train(recipe, tmp_path / "run")


@pytest.mark.slow
def test_a_sharded_checkpoint_is_not_taken_for_a_whole_one(
    tiny_folder: Path, corpus: dict[str, Path], tmp_path: Path
) -> None:
    recipe = an_epoch("sft", tiny_folder, corpus["train"])
    run_stopped_at(recipe, tmp_path / "run", 3)
    (tmp_path / "run" / "checkpoints" / "checkpoint-2" / "pytorch_model_fsdp.bin").touch()
    with pytest.raises(InputError, match="was written under FSDP; start the run as before"):
        train(recipe, tmp_path / "run")


def test_a_run_that_was_begun_before_a_key_goes_on_as_it_began(tmp_path: Path) -> None:
    """Today's defaults would change what is paid in the middle of it; a finished run is the same run."""
    today = read_recipe("minimer-rl", ["rl.beta_schedule=decay"])
    whole = today.as_yaml().splitlines()
    before = [line for line in whole if line.partition(":")[0].strip() not in ("end_token", "kl")]
    assert len(before) == len(whole) - 2
    (tmp_path / "recipe.yaml").write_text("\n".join(before))
    (tmp_path / "run.json").write_text('{"status": "running"}')
    (tmp_path / "checkpoints" / "checkpoint-2").mkdir(parents=True)
    message = "was begun by a version that trained with rl.end_token=false rl.kl=k3; give that, or another --out"
    with pytest.raises(InputError, match=re.escape(message)):
        is_finished(tmp_path, today)
    with pytest.raises(InputError, match="another recipe"):
        is_finished(tmp_path, read_recipe("minimer-rl", ["rl.objective=rd"]))
    as_begun = ["rl.beta_schedule=decay", "rl.end_token=false", "rl.kl=k3"]
    assert not is_finished(tmp_path, read_recipe("minimer-rl", as_begun))
    (tmp_path / "model").mkdir()
    assert is_finished(tmp_path, today)


def test_what_a_key_s_absence_means_is_not_asked_of_a_key_that_is_idle(tmp_path: Path) -> None:
    today = read_recipe("minimer-rl", ["rl.beta=0"])
    (tmp_path / "recipe.yaml").write_text(today.as_yaml())
    (tmp_path / "run.json").write_text('{"status": "running"}')
    (tmp_path / "checkpoints" / "checkpoint-2").mkdir(parents=True)
    assert not is_finished(tmp_path, today)
