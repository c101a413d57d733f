"""The size of a model against the classes of transformers, built on the meta device."""

from __future__ import annotations

from typing import Any

import pytest

import mer_r1.models  # noqa: F401  before transformers, which needs the fix for torchvision

# isort: split
import torch

from mer_r1.errors import InputError
from mer_r1.models.lora import add_lora
from mer_r1.models.qwen2_5_omni import OmniBackbone
from mer_r1.models.tiny.omni import tiny_config, tiny_tokenizer
from mer_r1.models.tiny.published import NAMES, random_backbone
from mer_r1.published_models import PUBLISHED
from mer_r1.recipe import LoraSection, Recipe
from mer_r1.synthetic.corpus import minimer_texts
from mer_r1.training import cost
from mer_r1.training.model_shape import KNOWN, Experts, Text, shape_of

OMNI_7B, OMNI_30B = KNOWN["Qwen/Qwen2.5-Omni-7B"], KNOWN["Qwen/Qwen3-Omni-30B-A3B-Instruct"]


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_of_the_built_classes(name: str) -> None:
    backbone = random_backbone(name, ["happy"], torch.device("meta"))
    shape = shape_of(backbone.model.config.to_dict(), name)
    assert name not in PUBLISHED or shape == KNOWN[name]
    assert sum(weight.numel() for weight in backbone.model.parameters()) == shape.parameters
    assert sum(weight.numel() for tower in backbone.towers() for weight in tower.parameters()) == shape.towers


def test_the_published_sizes_are_those_that_the_hub_counts() -> None:
    counted = {
        "Qwen/Qwen2.5-VL-3B-Instruct": 3_754_622_976,
        "Qwen/Qwen3-VL-2B-Instruct": 2_127_532_032,
        "Qwen/Qwen3-VL-4B-Instruct": 4_437_815_808,
        "Qwen/Qwen3-VL-8B-Instruct": 8_767_123_696,
    }
    assert {name: KNOWN[name].parameters for name in counted} == counted


def test_the_defaults_of_the_thinker_are_the_7b_s_but_for_the_width_of_its_eyes() -> None:
    from transformers import Qwen2_5OmniThinkerConfig

    config = Qwen2_5OmniThinkerConfig(vision_config={"hidden_size": 1280})
    assert shape_of(config.to_dict(), "x") == OMNI_7B


def test_a_token_uses_the_experts_that_it_is_sent_to() -> None:
    model = random_backbone("tiny-omni3", ["happy"], torch.device("meta")).model
    shape = shape_of(model.config.to_dict(), "x")
    experts = [weight for name, weight in model.named_parameters() if ".experts." in name]
    held = sum(weight.numel() for weight in experts)
    assert shape.text.in_experts == held
    assert shape.parameters - shape.active == held - sum(weight[:2].numel() for weight in experts)  # 2 of 4 are chosen
    assert OMNI_30B.text.active == pytest.approx(3.3e9, rel=0.02)  # as its authors count
    assert OMNI_7B.active == OMNI_7B.parameters
    assert OMNI_7B.text.in_experts == 0


def test_a_step_of_decoding_reads_the_experts_that_one_of_its_answers_chose() -> None:
    experts = Experts(num=16, active=2)
    chance = torch.Generator().manual_seed(0)
    for tokens in (1, 4, 32):
        chosen = torch.rand(2000, tokens, 16, generator=chance).topk(2).indices
        distinct = torch.zeros(2000, 16).scatter_(1, chosen.flatten(1), 1.0).sum(1).mean()
        assert experts.touched(tokens) == pytest.approx(float(distinct), rel=0.02)
    text = OMNI_30B.text
    assert text.read(1) == text.linear
    assert text.read(10_000) == pytest.approx(text.linear + text.in_experts * (1 - 8 / 128))
    assert OMNI_7B.text.read(1) == OMNI_7B.text.read(32) == OMNI_7B.text.linear


@pytest.mark.slow
def test_the_tiny_model_in_the_table_is_the_one_that_is_built() -> None:
    config = tiny_config(tiny_tokenizer(minimer_texts()))
    assert shape_of(config.to_dict(), "x") == KNOWN["tiny"]


def test_parameters_of_a_loaded_checkpoint_and_of_its_adapters_are_counted_exactly(fresh_tiny: OmniBackbone) -> None:
    shape = shape_of(fresh_tiny.model.config.to_dict(), "x")
    assert sum(p.numel() for p in fresh_tiny.model.parameters()) == shape.parameters
    for names in (LoraSection().target_modules, ("q_proj", "v_proj")):
        lora = LoraSection(r=8, target_modules=names)
        wrapped = add_lora(fresh_tiny.model, lora)
        learning = sum(p.numel() for p in wrapped.parameters() if p.requires_grad)
        wrapped.unload()
        recipe = {"kind": "rl", "model": {"source": "tiny", "lora": lora.model_dump()}, "data": {"train": "x.jsonl"}}
        recipe["optim"] = {"learning_rate": 1e-6}
        assert learning == cost.trained_parameters(shape, Recipe.model_validate(recipe))


def test_adapters_of_experts_are_counted_exactly() -> None:
    lora = LoraSection(r=4, target_modules=("q_proj", "o_proj", "experts"))
    model = random_backbone("tiny-omni3", ["happy"], torch.device("cpu"), torch.float32).model
    shape = shape_of(model.config.to_dict(), "x")
    learning = sum(weight.numel() for weight in add_lora(model, lora).parameters() if weight.requires_grad)
    assert learning == shape.text.adapter_parameters(lora.r, lora.target_modules)


def test_a_language_model_has_the_biases_of_qwen2_or_the_norms_of_qwen3() -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 50}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    kinds: tuple[tuple[Any, Any, dict[str, int]], ...] = (
        (Qwen2Config, Qwen2ForCausalLM, {}),
        (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 32}),
    )
    for kind, model_class, extra in kinds:
        config = kind(**sizes, **heads, **extra)
        with torch.device("meta"):
            model = model_class(config)
        assert shape_of(config.to_dict(), "x").parameters == sum(weight.numel() for weight in model.parameters())
    assert shape_of({**Qwen2Config(**sizes, **heads).to_dict()}, "x").text == Text(2, 64, 96, 4, 2, 50, tied=False)


def test_a_whole_omni_s_configuration_and_a_damaged_one() -> None:
    from transformers import Qwen2_5OmniThinkerConfig

    thinker = Qwen2_5OmniThinkerConfig(vision_config={"hidden_size": 1280}).to_dict()
    assert shape_of({"thinker_config": thinker, "talker_config": {}}, "x") == OMNI_7B
    damaged: tuple[dict[str, Any], ...] = (
        {},
        {"text_config": {"hidden_size": 8}},
        {"text_config": []},
        {"vision_config": {"depth": "two"}},
    )
    for broken in damaged:
        with pytest.raises(InputError, match=r"^file: the model's size cannot be read"):
            shape_of(broken, "file")
