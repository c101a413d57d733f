"""`mer-r1 train`: a recipe in, a run's folder out; nothing half-written, and a stopped run is resumed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from mer_r1.commands import main
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.pipelines.train import train
from mer_r1.recipe import Recipe
from tests.training.runs import make_recipe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mer_r1.synthetic.corpus import Plan, write_corpus

    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(Plan(num=10, seed=0), folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mer_r1.models.tiny.omni import write_tiny
    from mer_r1.synthetic.corpus import minimer_texts

    return write_tiny(tmp_path_factory.mktemp("tiny"), minimer_texts(200))


@pytest.fixture
def tree(corpus_folder: Path, model: Path) -> dict[str, Any]:
    """A recipe of two SFT steps, as a tree that a test may change."""
    return {
        "kind": "sft",
        "model": {"source": str(model)},
        "data": {"train": str(corpus_folder / "train.jsonl"), "workers": 0},
        "optim": {"learning_rate": 1e-3, "max_steps": 2, "batch_size": 2, "logging_steps": 1, "save_steps": 1},
    }


def recipe_of(tree: dict[str, Any], **sections: dict[str, Any]) -> Recipe:
    if tree["kind"] == "rl":
        tree = {"rl": {"num_generations": 2, "max_completion_length": 4}} | tree
    return Recipe.model_validate(tree | {name: tree.get(name, {}) | keys for name, keys in sections.items()})


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def steps_of(path: Path, key: str) -> list[int]:
    return [row["step"] for row in rows_of(path) if key in row]


def state_of(folder: Path) -> dict[str, tuple[int, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


def test_sft_ends_in_a_model_a_finished_record_and_metrics_and_the_same_again_does_nothing(
    tree: dict[str, Any], tmp_path: Path
) -> None:
    recipe, out, seen = recipe_of(tree), tmp_path / "run", list[tuple[int, int]]()
    assert train(recipe, out, lambda step, total, _: seen.append((step, total))) == out / "model"
    assert seen == [(1, 2), (2, 2)]
    record = json.loads((out / "run.json").read_text())
    assert (record["status"], record["steps"], record["kind"]) == ("finished", 2, "sft")
    assert {"mer_r1", "python", "torch", "transformers"} <= set(record["versions"])
    assert steps_of(out / "metrics.jsonl", "loss") == [1, 2]
    assert sorted(path.name for path in out.iterdir()) == ["metrics.jsonl", "model", "recipe.yaml", "run.json"]
    assert Recipe.model_validate(yaml.safe_load((out / "recipe.yaml").read_text())) == recipe
    assert list(out.rglob("*.bin")) == []
    assert [path.name for path in out.rglob("*.pt")] == ["spk_dict.pt"]  # empty, for transformers' whole class

    before = state_of(out)
    assert train(recipe, out) == out / "model"
    assert state_of(out) == before
    with pytest.raises(InputError, match=r"holds a run of another recipe; give another --out"):
        train(recipe_of(tree, optim={"max_steps": 3}), out)
    assert state_of(out) == before


def test_rl_writes_rollouts_and_starts_from_a_run(tree: dict[str, Any], tmp_path: Path) -> None:
    train(recipe_of(tree), tmp_path / "sft")
    recipe = recipe_of(tree | {"kind": "rl"}, model={"source": str(tmp_path / "sft")})
    assert (train(recipe, tmp_path / "rl") / "config.json").is_file()
    record = json.loads((tmp_path / "rl" / "run.json").read_text())
    assert (record["kind"], record["objective"], record["status"]) == ("rl", "mer_r1", "finished")
    rollouts = rows_of(tmp_path / "rl" / "rollouts.jsonl")
    assert {row["step"] for row in rollouts} in ({0, 1}, {1, 2})
    assert len(rollouts) % 2 == 0


def test_rl_may_compare_with_a_prompt_for_the_answer_alone(tree: dict[str, Any], tmp_path: Path) -> None:
    asked = {"num_generations": 2, "max_completion_length": 4, "fast": "prompt"}
    assert (train(recipe_of(tree | {"kind": "rl"}, rl=asked), tmp_path / "rl") / "config.json").is_file()
    with pytest.raises(InputError, match="cannot ask for an answer alone"):
        train(recipe_of(tree | {"kind": "rl"}, rl=asked, model={"prompt_style": "brief_first"}), tmp_path / "other")


@pytest.mark.parametrize("rule", ["drop", "keep"])
def test_rows_without_countable_gold_are_told_and_written_down(
    rule: str, tree: dict[str, Any], corpus_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As `prepare` writes them: "neutral", which no wheel has. Kept ones earn nothing, in evaluation too."""
    rows = rows_of(corpus_folder / "train.jsonl")
    for row in rows[::2]:
        row["labels"] = ["neutral"]
    manifest = corpus_folder / f"{rule}.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    data = {"train": str(manifest), "num": 2, "eval": str(manifest), "uncountable": rule}
    optim = {"max_steps": 1, "eval_steps": 1}
    train(recipe_of(tree | {"kind": "rl"}, data=data, optim=optim, rl={"objective": "accuracy"}), tmp_path / "free")
    train(recipe_of(tree | {"kind": "rl"}, data=data, optim=optim), tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    ids = {row["id"]: row for row in rows_of(tmp_path / "run" / "rollouts.jsonl")}
    neutral = {row["id"] for row in rows[::2]}
    met = 2 if rule == "drop" else 1
    assert record["rows"] == 2
    assert record["uncountable"]["rule"] == rule
    assert record["uncountable"]["train"]["labels"] == {"neutral": met}
    assert record["uncountable"]["eval"]["rows"] == len(neutral)
    assert f"data.train: {met} rows without countable gold are {'dropped' if rule == 'drop' else 'kept'}" in (
        capfd.readouterr().err
    )
    assert (neutral & ids.keys() == set()) == (rule == "drop")
    for identity in neutral & ids.keys():
        assert ids[identity]["advantage"] == 0
        assert set(ids[identity]["rewards"].values()) == {None}
    evaluated = [row for row in rows_of(tmp_path / "run" / "metrics.jsonl") if "eval/recall" in row]
    assert evaluated
    assert all(row["eval/recall"] == row["eval/recall"] for row in evaluated)  # no NaN
    assert "uncountable" not in json.loads((tmp_path / "free" / "run.json").read_text())


@pytest.mark.parametrize("protocol", ["official", "corrected"])
def test_the_protocol_of_the_recipe_reaches_the_rewards(
    protocol: str, tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Seen(Exception):
        pass

    def load(source: str, *, protocol: str = "official", level: int = 1) -> None:
        raise Seen(f"{source} for {protocol}")

    monkeypatch.setattr(WheelSet, "load", load)
    recipe = recipe_of(tree | {"kind": "rl"}, rl={"protocol": protocol})
    with pytest.raises(Seen, match=f"builtin for {protocol}"):
        train(recipe, tmp_path / "rl")


def test_a_run_stopped_by_ctrl_c_goes_on_to_what_an_unstopped_one_gives(tree: dict[str, Any], tmp_path: Path) -> None:
    recipe, out = recipe_of(tree, optim={"max_steps": 5, "save_steps": 2}), tmp_path / "stopped"

    def stop(step: int, total: int, logs: dict[str, float]) -> None:
        if step == 4:  # step 3 is logged and not saved
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, out, stop)
    assert json.loads((out / "run.json").read_text())["status"] == "running"
    assert not (out / "model").exists()
    assert steps_of(out / "metrics.jsonl", "loss") == [1, 2, 3]

    from mer_r1.models.loading import load_backbone

    checkpoint = out / "checkpoints" / "checkpoint-2"
    model = load_backbone(str(checkpoint)).model  # it is enough to load
    model.save_pretrained(checkpoint)  # as earlier versions laid it out
    assert json.loads((checkpoint / "config.json").read_text())["model_type"] == "qwen2_5_omni_thinker"
    seen = list[int]()
    train(recipe, out, lambda step, total, _: seen.append(step))
    assert seen == [3, 4, 5]
    train(recipe, tmp_path / "whole")
    assert (out / "model" / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "model" / "model.safetensors"
    ).read_bytes()
    assert steps_of(out / "metrics.jsonl", "loss") == [1, 2, 3, 4, 5]
    assert [row.get("loss") for row in rows_of(out / "metrics.jsonl")] == [
        row.get("loss") for row in rows_of(tmp_path / "whole" / "metrics.jsonl")
    ]
    assert json.loads((out / "run.json").read_text())["status"] == "finished"


def test_a_run_stopped_while_its_tiny_model_was_written_goes_on(
    tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    from mer_r1.synthetic import corpus

    texts = list(corpus.minimer_texts(100))
    monkeypatch.setattr(corpus, "minimer_texts", lambda: iter(texts))
    recipe = recipe_of(tree, model={"source": "tiny"})
    with monkeypatch.context() as patched:
        patched.setattr(transformers.Qwen2_5OmniProcessor, "save_pretrained", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "run")
    assert (train(recipe, tmp_path / "run") / "config.json").is_file()


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def wrong(tree: dict[str, Any]) -> Sequence[tuple[Recipe, str]]:
    """Recipes that read well and cannot be run, with what has to be named."""
    rl = tree | {"kind": "rl"}
    folder = Path(tree["data"]["train"]).parent
    (folder / "lost.jsonl").write_text('{"id": "a", "video": "lost.mp4", "labels": ["sad"], "reasoning": "r"}\n')
    (folder / "bare.jsonl").write_text('{"id": "bare one", "subtitle": "x", "labels": ["sad"]}\n')
    return (
        (recipe_of(rl, rl={"wheels": "other"}), "other"),
        (recipe_of(tree, model={"prompt_style": "brieff"}), "brieff"),
        (recipe_of(tree, model={"num_frames": 3}), "num_frames"),
        (recipe_of(tree, data={"train": str(folder / "none.jsonl")}), "none.jsonl"),
        (recipe_of(tree, data={"train": str(folder / "bare.jsonl")}), "bare one"),
        (recipe_of(tree, data={"train": str(folder / "lost.jsonl")}), "lost.mp4"),
    )


@pytest.mark.parametrize("case", range(6))
def test_a_recipe_that_cannot_be_run_is_named_and_may_be_mended_in_the_same_folder(
    case: int, tree: dict[str, Any], tmp_path: Path
) -> None:
    recipe, named = wrong(tree)[case]
    with pytest.raises(InputError, match=named):
        train(recipe, tmp_path / "run")
    assert (train(recipe_of(tree), tmp_path / "run") / "config.json").is_file()


def test_a_model_that_is_no_longer_numbers_is_an_error_not_a_finished_run(tree: dict[str, Any], tmp_path: Path) -> None:
    recipe = recipe_of(tree, optim={"learning_rate": 1e30, "max_steps": 3})
    with pytest.raises(InputError, match=r"not a number; lower optim\.learning_rate"):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()


def test_a_last_step_that_breaks_the_weights_is_an_error_too(tree: dict[str, Any], tmp_path: Path) -> None:
    """No gradient follows it that could tell."""
    recipe = recipe_of(tree, optim={"learning_rate": 1e39, "max_steps": 1, "save_steps": 5})
    with pytest.raises(InputError, match=r"not numbers; lower optim\.learning_rate"):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()


def test_a_full_disk_while_the_model_is_written_leaves_no_model(
    tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mer_r1.models.qwen2_5_omni import OmniBackbone

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(OmniBackbone, "save", full)
        with pytest.raises(OSError, match="No space left"):
            train(recipe_of(tree), tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()
    assert (train(recipe_of(tree), tmp_path / "run") / "config.json").is_file()
    assert not list((tmp_path / "run").glob(".*"))


def test_a_person_sees_where_the_model_is(
    tree: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    (tmp_path / "recipe.yaml").write_text(recipe_of(tree).as_yaml())
    assert main(["train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert f"Model: {tmp_path / 'run' / 'model'}" in printed
    assert f"Metrics: {tmp_path / 'run' / 'metrics.jsonl'}" in printed
    assert "2/2" in printed


def test_a_run_knows_the_hub_model_it_goes_back_to_and_its_wheels(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path
) -> None:
    source = tmp_path / "sft"
    shutil.copytree(taught_folder, source)
    facts = json.loads((source / "run.json").read_text())
    (source / "run.json").write_text(json.dumps({**facts, "base_model": "someone/large"}))
    rl = {"num_generations": 2, "max_completion_length": 8}
    out = train(make_recipe("rl", source, corpus["train"], {"max_steps": 1}, rl=rl), tmp_path / "rl").parent
    reported = json.loads((out / "run.json").read_text())
    assert reported["base_model"] == "someone/large"
    assert reported["wheels"] == f"builtin@{WheelSet.load().sha256[:8]}, protocol official"
    card = (out / "model" / "README.md").read_text()
    assert "base_model: someone/large" in card
    assert reported["wheels"] in card
    assert str(tmp_path) not in card
