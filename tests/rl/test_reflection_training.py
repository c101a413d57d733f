"""Runs that pay reflection: what they write, that they end alike however they are run, and that a judge's failure ends
them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.models.qwen2_5_vl import load_vision
from mer_r1.pipelines.train import train
from mer_r1.recipe import Recipe
from mer_r1.rl.reflection.judges import PolicyJudge
from mer_r1.rl.reflection.scores import StepQuestion, coherence_score, consistency_score
from tests.judge.endpoint import Reply, says, serve
from tests.nursery import Nursery
from tests.rl.conftest import CANDIDATES
from tests.training import runs
from tests.training.runs import lines, make_recipe, run_stopped_at, weights
from tests.training.two_processes import assert_alike, run_in_two

WHEELS = WheelSet.load("builtin")


def _recipe(source: Path, pictures: Path, optim: dict[str, Any] | None = None, **rl: Any) -> Recipe:
    """A warm policy, so that the answers of a group differ."""
    section = {"objective": "emo_r3", "num_generations": 3, "max_completion_length": 48, "temperature": 1.5, **rl}
    optim = {"learning_rate": 3e-4, "max_steps": 2, "lr_scheduler_type": "constant", **(optim or {})}
    return make_recipe("rl", source, pictures, optim, rl=section)


def _logged(folder: Path) -> list[dict[str, Any]]:
    return [{name: row[name] for name in row if name != "reflection_s"} for row in lines(folder / "metrics.jsonl")]


@pytest.fixture(scope="module")
def whole(stepped_folder: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four steps that nothing stopped, a checkpoint every second."""
    folder = tmp_path_factory.mktemp("whole")
    train(_recipe(stepped_folder, pictures, {"max_steps": 4, "save_steps": 2}), folder)
    return folder


def test_a_run_logs_what_the_judge_said_and_what_it_was_worth(whole: Path) -> None:
    rows = lines(whole / "rollouts.jsonl")
    assert Counter(row["step"] for row in rows) == {1: 6, 2: 6, 3: 6, 4: 6}
    assert any(len(row["reflection"]) == 2 for row in rows)
    gold = {f"picture {number}": CANDIDATES[number % 3] for number in range(6)}
    for row in rows:
        rewards, said = row["rewards"], row["reflection"]
        assert rewards["accuracy"] == float(row["labels"] == [gold[row["id"]]])
        coherence, consistency = said.get("coherence", ""), said.get("consistency", "")
        assert rewards["coherence"] == coherence_score(coherence, [gold[row["id"]]], CANDIDATES, WHEELS)
        assert rewards["consistency"] == consistency_score(consistency)
        assert rewards["reflection"] == (rewards["coherence"] + rewards["consistency"]) / 2
    for step, logged in enumerate(lines(whole / "metrics.jsonl")[:4], start=1):
        of_step = [row["rewards"] for row in rows if row["step"] == step]
        for name in ("accuracy", "coherence", "consistency", "reflection"):
            assert logged[f"reward/{name}"] == pytest.approx(sum(row[name] for row in of_step) / 6)
        halves = [row[name] for row in of_step for name in ("coherence", "consistency")]
        assert logged["reflection_neutral"] == pytest.approx(halves.count(0.5) / 12)
        assert logged["reflection_s"] > 0


def test_the_reflective_reward_moves_the_advantage(
    stepped_folder: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A judge that says something else of every rollout orders those that are equal in all else."""

    def answer(self: Any, half: str, questions: list[StepQuestion], *_: Any) -> list[str]:
        said = CANDIDATES if half == "coherence" else ("yes", "no", "well")
        return [said[row % 3] for row, _ in questions]

    monkeypatch.setattr(PolicyJudge, "answer", answer)
    train(_recipe(stepped_folder, pictures, temperature=0.5), tmp_path)
    groups: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for row in lines(tmp_path / "rollouts.jsonl"):
        groups.setdefault((row["step"], row["id"]), []).append(row)
    alike = 0
    for group in groups.values():
        rewards = [row["rewards"] for row in group]
        paid = [0.8 * one["accuracy"] + 0.1 * one["reflection"] + 0.1 * one["format"] for one in rewards]
        advantages = [row["advantage"] for row in group]
        assert [advantages[index] for index in sorted(range(3), key=paid.__getitem__)] == sorted(advantages)
        if len({(one["accuracy"], one["format"]) for one in rewards}) == 1:
            alike += 1
            assert len({one["reflection"] for one in rewards}) > 1
            assert max(advantages) > 0.5
    assert alike


def test_a_killed_run_resumes_to_the_same_end(
    whole: Path, stepped_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    recipe = _recipe(stepped_folder, pictures, {"max_steps": 4, "save_steps": 2})
    run_stopped_at(recipe, tmp_path, 3)
    train(recipe, tmp_path)
    assert lines(tmp_path / "rollouts.jsonl") == lines(whole / "rollouts.jsonl")
    assert _logged(tmp_path)[:-1] == _logged(whole)[:-1]
    assert weights(tmp_path) == weights(whole)


def test_towers_run_once_a_batch_however_much_is_asked(
    stepped_folder: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tower = type(load_vision(str(stepped_folder / "model")).towers()[0])
    calls, forward = Counter[str](), tower.forward
    for objective in ("accuracy", "emo_r3"):

        def counted(self: Any, *args: Any, objective: str = objective, **given: Any) -> Any:
            calls[objective] += 1
            return forward(self, *args, **given)

        monkeypatch.setattr(tower, "forward", counted)
        optim = {"gradient_accumulation_steps": 2, "batch_size": 1}
        train(_recipe(stepped_folder, pictures, optim, objective=objective, beta=0.0), tmp_path / objective)
    assert calls == {"accuracy": 4, "emo_r3": 4}  # two steps of two micro-batches
    assert any(row["reflection"] for row in lines(tmp_path / "emo_r3" / "rollouts.jsonl"))
    plain = lines(tmp_path / "accuracy" / "rollouts.jsonl")
    assert {row["reflection"] for row in plain} == {None}
    assert {row["rewards"]["reflection"] for row in plain} == {None}


def test_an_endpoint_can_take_the_policys_place_and_its_failure_ends_the_run(
    stepped_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    """In one line; the same command goes on when it answers again, and hears what it heard."""
    down = False

    def script(number: int, body: dict[str, Any]) -> Reply:
        if down:
            return Reply(status=401)
        return says("fear" if isinstance(body["messages"][0]["content"], str) else "no")

    with serve(script) as endpoint:
        judge = {"judge": "endpoint", "url": endpoint.url, "model": "some-judge"}
        recipe = _recipe(stepped_folder, pictures, {"max_steps": 3, "save_steps": 1}, reflection=judge)
        train(recipe, tmp_path / "whole")
        rows = lines(tmp_path / "whole" / "rollouts.jsonl")
        said = {answer for row in rows for answer in row["reflection"].values()}
        assert said == {"fear", "no"}
        run_stopped_at(recipe, tmp_path / "cut", 2)
        down = True
        (tmp_path / "cut" / "reflection.sqlite").unlink()
        with pytest.raises(InputError, match="401") as failure:
            train(recipe, tmp_path / "cut")
        assert str(failure.value).startswith("rl.reflection: ")
        assert "\n" not in str(failure.value)
        assert {row["step"] for row in lines(tmp_path / "cut" / "rollouts.jsonl")} == {1}
        down = False
        train(recipe, tmp_path / "cut")
    assert lines(tmp_path / "cut" / "rollouts.jsonl") == rows
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


def test_steps_are_paid_only_where_the_prompt_asks_for_steps(
    stepped_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    recipe = _recipe(stepped_folder, pictures)
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"prompt_style": "brief_choice"})})
    with pytest.raises(InputError, match=r"model\.prompt_style=set"):
        train(recipe, tmp_path)


@pytest.mark.parametrize(
    "section",
    [{"judge": "endpoint"}, {"judge": "endpoint", "url": "http://127.0.0.1:1/v1"}, {"url": "http://127.0.0.1:1/v1"}],
)
def test_an_address_goes_with_an_endpoint(stepped_folder: Path, pictures: Path, section: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        _recipe(stepped_folder, pictures, reflection=section)


def test_two_processes_hear_what_one_hears(
    stepped_folder: Path, pictures: Path, nursery: Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "TIMES", runs.TIMES | {"reflection_s"})
    alone = _recipe(stepped_folder, pictures, {"batch_size": 4})
    halves = alone.model_copy(update={"optim": alone.optim.model_copy(update={"batch_size": 2})})
    train(alone, tmp_path / "one")
    folder = tmp_path / "two"
    folder.mkdir()
    (folder / "emo_r3.yaml").write_text(halves.as_yaml(), encoding="utf-8")
    run_in_two(nursery, folder)
    assert json.loads((folder / "emo_r3" / "run.json").read_text())["processes"] == 2
    assert_alike(tmp_path / "one", folder / "emo_r3")
    said = [
        sorted((row["step"], row["id"], row["text"], sorted(row["reflection"].items())) for row in lines(made))
        for made in (tmp_path / "one" / "rollouts.jsonl", folder / "emo_r3" / "rollouts.jsonl")
    ]
    assert said[0] == said[1]
    assert any(len(row[3]) == 2 for row in said[0])


def test_a_run_paid_for_accuracy_needs_no_wheel(stepped_folder: Path, pictures: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in pictures.read_text(encoding="utf-8").splitlines()][:2]
    for row in rows:
        row |= {"labels": ["zzz"], "candidates": ["zzz", "yyy"], "image": str(pictures.parent / row["image"])}
    manifest = tmp_path / "strange.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recipe = _recipe(stepped_folder, manifest)
    optim = recipe.optim.model_copy(update={"max_steps": 1, "save_steps": 1, "batch_size": 2})
    assert (train(recipe.model_copy(update={"optim": optim}), tmp_path / "run") / "config.json").is_file()
