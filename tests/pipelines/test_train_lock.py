"""A run's folder is one process's: a second `mer-r1 train` is refused, other processes of the same run are not."""

from pathlib import Path

import pytest

from mer_r1.commands import main
from mer_r1.data.files import locked
from mer_r1.errors import InputError
from mer_r1.pipelines import train as pipeline
from mer_r1.recipe import Recipe


def recipe_of(folder: Path) -> Recipe:
    return Recipe.model_validate(
        {"kind": "sft", "model": {"source": "tiny"}, "data": {"train": str(folder / "none.jsonl")},
         "optim": {"max_steps": 1, "learning_rate": 1e-3}}
    )  # fmt: skip


def test_a_second_run_into_the_same_folder_is_refused_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.yaml").write_text(recipe_of(tmp_path).as_yaml())
    out = tmp_path / "run"
    with locked(out):
        assert main(["train", str(tmp_path / "recipe.yaml"), "--out", str(out)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"mer-r1: error: {out}: another process is at work here (pid ")
        assert [path.name for path in out.iterdir()] == [".lock"]


def test_the_other_processes_of_a_run_do_not_ask_for_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with locked(tmp_path / "run"), pytest.raises(InputError, match=r"none\.jsonl: cannot be read"):
        pipeline.train(recipe_of(tmp_path), tmp_path / "run")


def test_a_run_that_stops_at_a_wrong_input_leaves_no_folder(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(InputError, match=r"none\.jsonl: cannot be read"):
            pipeline.train(recipe_of(tmp_path), tmp_path / "run")
    assert not (tmp_path / "run").exists()
