"""What a run will cost, before anything is loaded: its model's size, its prompts, memory, seconds, steps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mer_r1.errors import InputError
from mer_r1.recipe import Recipe, read_recipe
from mer_r1.training.estimate import Costs, default_gpus, estimate, find_origin, prompt_tokens
from mer_r1.training.gpus import GPUS, find_card
from mer_r1.training.model_shape import KNOWN

LORA = {"source": "Qwen/Qwen2.5-Omni-7B", "lora": {}}


def recipe_of(source: str = "Qwen/Qwen2.5-Omni-7B", **keys: Any) -> Recipe:
    tree: dict[str, Any] = {
        "kind": "rl",
        "model": {"source": source},
        "data": {"train": "none.jsonl"},
        "optim": {"learning_rate": 1e-6, "bf16": True, "gradient_checkpointing": True},
    }
    return Recipe.model_validate(tree | keys)


def costs_of(recipe: Recipe, gpu: str = "h100", num_gpus: int | None = None, **options: Any) -> Costs:
    costs = estimate(recipe, card=find_card(gpu), num_gpus=num_gpus, **options).costs
    assert costs is not None
    return costs


def fix_of(recipe: Recipe, gpu: str = "h100", num_gpus: int | None = None) -> str:
    return costs_of(recipe, gpu, num_gpus).fix or ""


def test_hours_are_steps_times_seconds() -> None:
    costs = costs_of(recipe_of(optim={"learning_rate": 1e-6, "bf16": True, "max_steps": 3000}), "h100", 8)
    assert costs.steps == 3000
    assert costs.seconds is not None
    assert costs.hours == pytest.approx(3000 * sum(costs.seconds.values()) / 3600)


def test_a_run_that_does_not_fit_says_what_would() -> None:
    assert fix_of(recipe_of(), "h100", 8) == ""
    advice, _, rest = fix_of(recipe_of(), "h100", 1).partition(" ")
    assert rest == "GPUs hold it"
    assert fix_of(recipe_of(), "h100", int(advice)) == ""
    assert fix_of(recipe_of(), "h100", int(advice) // 2)
    assert fix_of(recipe_of(), "rtx4090", 8) == "train adapters (model.lora)"
    wide = {"learning_rate": 1e-6, "bf16": True, "gradient_checkpointing": True, "batch_size": 32}
    assert "lower optim.batch_size" in fix_of(recipe_of(model=LORA, optim=wide), "h100", 1)
    assert fix_of(recipe_of(model=LORA), "rtx4090", 1) == "hold the model in 4 bits (model.quantization=nf4)"
    assert fix_of(recipe_of(model={**LORA, "quantization": "nf4"}), "rtx4090", 1) == ""
    assert "take shorter prompts" in fix_of(recipe_of(model={**LORA, "quantization": "nf4"}), "rtx5080", 1)
    engine = {"sampler": "vllm", "vllm_gpu_memory_utilization": 0.9}
    assert "lower rl.vllm_gpu_memory_utilization" in fix_of(recipe_of(rl=engine), "h100", 8)


def test_a_model_with_experts_is_not_quantised() -> None:
    experts = {"source": "Qwen/Qwen3-Omni-30B-A3B-Instruct", "lora": {"target_modules": ["q_proj"]}}
    assert costs_of(recipe_of(model=experts)).parameters > 3e10
    with pytest.raises(InputError, match=r"model\.quantization: Qwen/Qwen3-Omni-30B.* has experts, .*remove it"):
        estimate(recipe_of(model=experts | {"quantization": "nf4"}))


def test_a_model_with_experts_is_not_sent_to_quantisation() -> None:
    lora = {"lora": {"target_modules": ["q_proj", "v_proj"]}}
    held = {"source": "Qwen/Qwen3-Omni-30B-A3B-Instruct", **lora}
    assert "model.quantization" in fix_of(recipe_of(model={**held, "source": "Qwen/Qwen3-VL-32B-Instruct"}), "l40s", 1)
    wide = {"learning_rate": 1e-6, "bf16": True, "gradient_checkpointing": True, "batch_size": 2}
    for optim in (wide, wide | {"batch_size": 1}):
        assert fix_of(recipe_of(model=held, optim=optim), "l40s", 1) == "take a GPU of more memory"


def test_a_spread_model_that_does_not_fit_is_not_sent_to_accumulation() -> None:
    wide = {"learning_rate": 1e-6, "bf16": True, "gradient_checkpointing": True, "batch_size": 2}
    assert fix_of(recipe_of(optim=wide), "h100", 2) == "4 GPUs hold it"


def test_adapters_and_small_models_are_estimated_on_one_gpu_unless_a_number_is_given(tiny_folder: Path) -> None:
    assert default_gpus(recipe_of()) == costs_of(recipe_of()).num_gpus == 8
    assert default_gpus(recipe_of(model=LORA)) == 1
    assert default_gpus(recipe_of(str(tiny_folder))) == default_gpus(recipe_of("tiny")) == 1
    assert costs_of(recipe_of(model=LORA), num_gpus=4).num_gpus == 4


def test_steps_follow_the_rows_or_those_that_the_recipe_names() -> None:
    assert costs_of(recipe_of()).steps is None
    assert costs_of(recipe_of(), rows=48).steps == 6
    assert costs_of(recipe_of(data={"train": "none.jsonl", "num": 80})).steps == 10


def test_a_card_is_named_or_given_by_its_memory() -> None:
    assert find_card().name == "h100"
    assert find_card("B200") == find_card("b200")
    assert find_card("b200").memory_gib > find_card("h200").memory_gib > find_card("h100").memory_gib == 80
    alone, like_it = find_card(None, 96), find_card("h100", 94)
    assert (alone.memory_gib, alone.speed) == (96, None)
    assert (like_it.memory_gib, like_it.speed) == (94, GPUS["h100"])
    with pytest.raises(InputError, match=r"--gpu b999: is not known; choose from .*h100.*--gpu-gb N"):
        find_card("b999")
    with pytest.raises(InputError, match=r"--gpu-gb 0\.5: give"):
        find_card(None, 0.5)


def test_a_card_given_by_its_memory_has_no_hours() -> None:
    costs = estimate(recipe_of(model=LORA), rows=8, card=find_card(None, 24)).costs
    assert costs is not None
    assert (costs.seconds, costs.step_s, costs.hours, costs.steps) == (None, None, None, 8)
    assert costs.fix is not None


@pytest.mark.parametrize("name", GPUS)
def test_the_figures_of_a_card_are_of_its_kind(name: str) -> None:
    """A slip of a power of ten, or of the rate with sparsity, which is twice the dense one."""
    gpu = GPUS[name]
    assert 15 <= gpu.memory_gib <= 288
    assert 3e11 <= gpu.bandwidth <= 8e12
    assert 30 <= gpu.flops / gpu.bandwidth <= 430  # FLOP a byte: h20 has the fewest, l4 and l40s the most
    assert gpu.link in (25e9, 50e9, 300e9, 448e9, 450e9, 900e9)


def test_a_run_that_is_not_there_yet_is_taken_for_what_its_recipe_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    assert estimate(recipe_of("runs/mine")).costs is None


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


def test_wrong_numbers_and_a_damaged_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--gpus 0: give a number above 0"):
        estimate(recipe_of(), num_gpus=0)
    with pytest.raises(InputError, match=r"--answer-tokens -1"):
        estimate(recipe_of(), answer_tokens=-1)
    with pytest.raises(InputError, match=r"prompt_style: 'none' is none of"):
        estimate(recipe_of(model={"source": "tiny", "prompt_style": "none"}))
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(InputError, match=r"config\.json: not a model configuration"):
        estimate(recipe_of(str(tmp_path)))


def test_adapters_on_layers_that_a_model_does_not_have_are_refused() -> None:
    recipe = recipe_of(model={"source": "Qwen/Qwen3-Omni-30B-A3B-Instruct", "lora": {}})
    with pytest.raises(InputError, match=r"'down_proj' is no linear layer .* choose from experts, k_proj"):
        estimate(recipe)
