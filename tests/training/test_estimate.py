"""`mer-r1 train --dry-run`: the recipe as it will run, and its costs; nothing is loaded, nothing written."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from mer_r1.display.estimate import print_estimate
from mer_r1.errors import InputError
from mer_r1.recipe import Recipe, read_recipe
from mer_r1.training.estimate import estimate, find_origin, prompt_tokens
from mer_r1.training.model_shape import KNOWN


def recipe_of(source: str = "Qwen/Qwen2.5-Omni-7B", **keys: Any) -> Recipe:
    tree: dict[str, Any] = {
        "kind": "rl",
        "model": {"source": source},
        "data": {"train": "none.jsonl"},
        "optim": {"learning_rate": 1e-6, "bf16": True, "gradient_checkpointing": True},
    }
    return Recipe.model_validate(tree | keys)


def printed(capsys: pytest.CaptureFixture[str], recipe: Recipe, *options: Any) -> str:
    print_estimate(recipe, estimate(recipe, *options))
    return capsys.readouterr().out


def number(text: str, before: str) -> float:
    found = re.search(rf"{before}([\d.e+-]+)", text)
    assert found, f"{before!r} is not in {text}"
    return float(found[1])


def test_the_output_is_the_recipe_as_yaml_and_the_costs_as_comments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = recipe_of()
    text = printed(capsys, recipe)
    assert Recipe.model_validate(yaml.safe_load(text)) == recipe
    assert "# parameters: 8.93 billion, of them trained 7.62 billion\n" in text
    assert "# a step: 8 prompts on 8 x h100, answers of 256 tokens\n" in text
    assert "# an estimate (formulas: docs/training.md); measured on: " in text
    assert list(tmp_path.iterdir()) == []


def test_the_parts_of_memory_and_seconds_add_up(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, recipe_of())
    for name, slack in (("GiB of each GPU: ", 0.3), ("seconds of a step: ", 0.15)):
        line = next(line for line in text.splitlines() if name in line)
        total, parts = line.split(name)[1].split(" = ")
        added = sum(float(part.rpartition(" ")[2]) for part in parts.split(" + "))
        assert float(total.split(" of ")[0]) == pytest.approx(added, abs=slack)


def test_hours_are_steps_times_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, recipe_of(optim={"learning_rate": 1e-6, "bf16": True, "max_steps": 3000}), "h100", 8)
    seconds, steps, hours = (number(text, name) for name in ("seconds of a step: ", "steps: ", "hours: "))
    assert steps == 3000
    assert hours == pytest.approx(steps * seconds / 3600, rel=0.06)


def test_a_run_that_does_not_fit_says_what_would(capsys: pytest.CaptureFixture[str]) -> None:
    assert "does not fit" not in printed(capsys, recipe_of(), "h100", 8)
    advice = re.search(r"does not fit on 1 x h100: (\d+) of them have room", printed(capsys, recipe_of(), "h100", 1))
    assert advice
    assert "does not fit" not in printed(capsys, recipe_of(), "h100", int(advice[1]))
    assert "does not fit" in printed(capsys, recipe_of(), "h100", int(advice[1]) // 2)
    assert "does not fit on 8 x rtx4090: train adapters (model.lora)" in printed(capsys, recipe_of(), "rtx4090", 8)
    lora = {"source": "Qwen/Qwen2.5-Omni-7B", "lora": {}}
    wide = {"learning_rate": 1e-6, "bf16": True, "gradient_checkpointing": True, "batch_size": 32}
    assert "lower optim.batch_size" in printed(capsys, recipe_of(model=lora, optim=wide), "h100", 1)
    assert "take shorter prompts" in printed(capsys, recipe_of(model=lora), "rtx4090", 1)
    engine = {"sampler": "vllm", "vllm_gpu_memory_utilization": 0.9}
    assert "lower rl.vllm_gpu_memory_utilization" in printed(capsys, recipe_of(rl=engine), "h100", 8)


def test_adapters_are_estimated_on_one_gpu_unless_a_number_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert "on 1 x h100" in printed(capsys, recipe_of(model={"source": "Qwen/Qwen2.5-Omni-7B", "lora": {}}))
    assert "on 8 x h100" in printed(capsys, recipe_of())


def test_rows_are_those_of_the_manifest_or_those_the_recipe_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "steps: not known before none.jsonl is there" in printed(capsys, recipe_of())
    assert "steps: 10;" in printed(capsys, recipe_of(data={"train": "none.jsonl", "num": 80}))
    manifest = tmp_path / "train.jsonl"
    manifest.write_text("{}\n\n" * 48)
    assert "steps: 6;" in printed(capsys, recipe_of(data={"train": str(manifest), "num": 80}))


def test_a_run_that_is_not_there_yet_is_taken_for_what_its_recipe_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    origin = find_origin(recipe_of("runs/omni7b-sft").model)
    sft = read_recipe("omni7b-sft").model
    assert origin.shape == KNOWN["Qwen/Qwen2.5-Omni-7B"]
    assert (origin.budget.num_frames, origin.budget.max_pixels) == (sft.num_frames, sft.max_pixels)
    assert "runs/omni7b-sft is not there yet" in origin.remark
    assert find_origin(recipe_of("runs/omni7b-sft-lora-merged").model).shape == origin.shape
    narrow = find_origin(recipe_of(model={"source": "runs/omni7b-sft", "num_frames": 4}).model)
    assert (narrow.budget.num_frames, narrow.budget.max_pixels) == (4, sft.max_pixels)
    assert find_origin(recipe_of("runs/mine").model).shape is None
    assert "no costs" in printed(capsys, recipe_of("runs/mine"))


def test_a_run_s_folder_and_an_adapter_s_give_the_size_of_their_model(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model").symlink_to(tiny_folder)
    shape = find_origin(recipe_of(str(tiny_folder)).model).shape
    assert shape is not None
    assert shape.text.hidden == 128
    run = find_origin(recipe_of(str(tmp_path / "run")).model)
    assert (run.shape, run.prompt_style, run.budget.num_frames) == (shape, "brief", 4)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tiny_folder)}))
    assert find_origin(recipe_of(str(adapter)).model).shape == shape


def test_the_longest_prompt_of_the_paper_s_recipes_fits_their_length() -> None:
    for name in ("omni7b-sft", "omni7b-rl", "omni7b-baseline", "omni7b-rl-lora", "omni3b-rl"):
        assert 1500 < prompt_tokens(find_origin(read_recipe(name).model)).prompt <= 2048


def test_the_tokens_of_a_prompt_follow_the_recipe_s_media_budget() -> None:
    tiny = estimate(recipe_of("tiny")).tokens
    assert tiny.video + tiny.audio == 33
    few, many = (
        estimate(recipe_of(model={"source": "some/model", "num_frames": frames, "fps": None})).tokens.video
        for frames in (2, 8)
    )
    assert few < many


def test_a_model_is_charged_for_no_medium_that_it_has_no_tower_for() -> None:
    origin = find_origin(recipe_of().model)
    assert origin.shape is not None
    omni = prompt_tokens(origin)
    assert min(omni.video, omni.audio) > 0
    for left_out, expected in (
        ({"audio": None}, (omni.video, 0, omni.text)),
        ({"audio": None, "vision": None}, (0, 0, omni.text)),
    ):
        made = prompt_tokens(replace(origin, shape=replace(origin.shape, **left_out)))  # type: ignore[arg-type]
        assert (made.video, made.audio, made.text) == expected
    assert prompt_tokens(replace(origin, shape=None)) == omni  # not known: the most


def test_a_spread_model_that_does_not_fit_is_not_sent_to_accumulation(capsys: pytest.CaptureFixture[str]) -> None:
    wide = {"learning_rate": 1e-6, "bf16": True, "gradient_checkpointing": True, "batch_size": 2}
    text = printed(capsys, recipe_of(optim=wide), "h100", 2)
    assert "does not fit on 2 x h100: 4 of them have room" in text


def test_wrong_options_and_a_damaged_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--gpu b999: is not known; choose from h100, "):
        estimate(recipe_of(), "b999")
    with pytest.raises(InputError, match=r"--gpus 0: give a number above 0"):
        estimate(recipe_of(), "h100", 0)
    with pytest.raises(InputError, match=r"--answer-tokens -1"):
        estimate(recipe_of(), "h100", 1, -1)
    with pytest.raises(InputError, match=r"prompt_style: 'none' is none of"):
        estimate(recipe_of(model={"source": "tiny", "prompt_style": "none"}))
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(InputError, match=r"config\.json: not a model configuration"):
        estimate(recipe_of(str(tmp_path)))
