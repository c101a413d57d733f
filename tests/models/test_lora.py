"""LoRA: adapters in the language model alone; an adapter's folder and its merge answer as the adapted model does."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import mer_r1.models  # noqa: F401  torchvision is mended before peft and transformers are imported

# isort: split
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2ForCausalLM,
)

from mer_r1.errors import InputError
from mer_r1.models.backbone import Backbone
from mer_r1.models.loading import export_model, load_backbone
from mer_r1.models.lora import adapter_base, add_lora, save_adapter
from mer_r1.models.qwen2_5_omni import OmniBackbone
from mer_r1.models.sampler import policy_weights
from mer_r1.models.types import Prompt
from mer_r1.recipe import LoraSection
from tests.media_samples import prompts_of_all_kinds
from tests.repeated_pass import copy_of
from tests.text_models import write_text_model
from tests.tolerance import logit_tolerance

LORA = LoraSection(r=4, lora_alpha=8)


def tiny_vl() -> Any:
    text: dict[str, Any] = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    text |= {"num_attention_heads": 2, "num_key_value_heads": 1, "rope_parameters": {"mrope_section": [2, 3, 3]}}
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 32}
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision))


def logits_of(backbone: Backbone, prompts: Sequence[Prompt]) -> Tensor:
    batch = backbone.collate(list(prompts))
    answer = torch.tensor([[5, 6, 7]] * len(prompts))
    inputs = backbone.full_inputs(batch, answer, torch.ones_like(answer))
    with torch.no_grad():
        logits: Tensor = backbone.model(**inputs, use_cache=False).logits
    return logits[batch.mask_PT.new_ones(logits.shape[:2]).bool() & inputs["attention_mask"].bool()]


def stir(model: Any) -> None:
    """Give adapters that begin at nothing something to add."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)


@pytest.fixture
def adapted(fresh_tiny: OmniBackbone, tmp_path: Path) -> tuple[OmniBackbone, Path]:
    """A tiny Thinker with adapters that change its answers, and the folder they were saved to."""
    wrapped = add_lora(fresh_tiny.model, LORA)
    stir(fresh_tiny.model)
    folder = tmp_path / "run" / "model"
    save_adapter(wrapped, folder)
    fresh_tiny.save(folder)
    return fresh_tiny, folder


@pytest.mark.slow
def test_adapters_sit_on_every_layer_of_the_language_model_and_nowhere_else(
    fresh_tiny: OmniBackbone, tmp_path: Path
) -> None:
    text = Qwen2ForCausalLM.from_pretrained(write_text_model(tmp_path / "text", template=False))
    for model, index, num_layers in (
        (fresh_tiny.model, r"model\.(language_model\.)?layers\.", 3),  # up to and from transformers 5.21
        (tiny_vl(), r"model\.language_model\.layers\.", 2),
        (text, r"model\.layers\.", 2),
    ):
        add_lora(model, LORA)
        learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        assert learning == {name for name, _ in model.named_parameters() if "lora_" in name}
        assert all(re.match(index, name) for name in learning)
        assert len(learning) == num_layers * 2 * len(LORA.target_modules)


@pytest.mark.parametrize(
    ("kind", "targets", "num"),
    [
        ("omni3", ("q_proj", "o_proj"), 12),
        ("omni3", ("experts",), 12),
        ("omni3", ("k_proj", "experts"), 18),
        ("qwen3_vl_moe", ("q_proj", "experts"), 18),
    ],
)
def test_adapters_on_attention_and_experts_merge_and_are_sent_as_they_answer(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, targets: tuple[str, ...], num: int
) -> None:
    """PEFT takes names of a model with experts for those of the towers too; not so here."""
    backbone = copy_of(request.getfixturevalue(kind), torch.float32)
    prompts = prompts_of_all_kinds(backbone)[:3]
    before = logits_of(backbone, prompts)
    backbone.wrapped_model = add_lora(backbone.model, LoraSection(r=4, lora_alpha=8, target_modules=targets))
    learning = {name for name, parameter in backbone.model.named_parameters() if parameter.requires_grad}
    assert len(learning) == num
    assert all(re.match(r"model\.(language_model\.)?layers\.", name) for name in learning)
    stir(backbone.model)
    adapted = logits_of(backbone, prompts)
    assert float((adapted - before).abs().max()) > 0.1
    merged = load_backbone(str(backbone.write(tmp_path / "adapter")))
    torch.testing.assert_close(logits_of(merged, prompts), adapted, atol=1e-4, rtol=0)
    saved, sent = load_file(merged.write(tmp_path / "whole") / "model.safetensors"), dict(policy_weights(backbone))
    assert saved.keys() == sent.keys()
    for name, weight in saved.items():
        torch.testing.assert_close(sent[name], weight, atol=1e-6, rtol=0)


def test_dropout_on_experts_is_refused(omni3_folder: Path) -> None:
    lora = LoraSection(target_modules=("experts",), lora_dropout=0.1)
    with pytest.raises(InputError, match="lora_dropout: adapters of experts have none"):
        add_lora(load_backbone(str(omni3_folder)).model, lora)


def test_the_model_keeps_its_class_and_its_answers_until_the_adapters_learn(
    tiny: OmniBackbone, fresh_tiny: OmniBackbone, prompts: Sequence[Prompt]
) -> None:
    add_lora(fresh_tiny.model, LORA)
    assert type(fresh_tiny.model) is type(tiny.model)
    before = logits_of(tiny, prompts[:2])
    assert torch.equal(logits_of(fresh_tiny, prompts[:2]), before)
    stir(fresh_tiny.model)
    assert (logits_of(fresh_tiny, prompts[:2]) - before).abs().max() > 0.1


def test_adapters_of_a_bfloat16_base_learn_in_float32(fresh_tiny: OmniBackbone) -> None:
    add_lora(fresh_tiny.model.bfloat16(), LORA)
    kinds = {("lora_" in name, parameter.dtype) for name, parameter in fresh_tiny.model.named_parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}


def test_a_target_that_no_layer_has_is_named_with_those_there_are(fresh_tiny: OmniBackbone) -> None:
    with pytest.raises(
        InputError, match=r"target_modules: 'query' is no linear layer .* choose from down_proj, .*q_proj"
    ):
        add_lora(fresh_tiny.model, LoraSection(target_modules=("q_proj", "query")))


def test_only_the_adapters_are_saved_and_their_base_is_named(
    adapted: tuple[OmniBackbone, Path], tiny_folder: Path
) -> None:
    _, folder = adapted
    assert not (folder / "model.safetensors").exists()
    assert adapter_base(folder) == str(tiny_folder)


def test_the_named_base_may_be_given_as_the_recipe_has_it(fresh_tiny: OmniBackbone, tmp_path: Path) -> None:
    save_adapter(add_lora(fresh_tiny.model, LORA, base="runs/sft/model"), tmp_path)
    assert adapter_base(tmp_path) == "runs/sft/model"


@pytest.mark.slow
def test_the_merged_checkpoint_loads_plainly_and_answers_as_the_adapted_model(
    adapted: tuple[OmniBackbone, Path], tiny: OmniBackbone, prompts: Sequence[Prompt], tmp_path: Path
) -> None:
    from mer_r1.models.qwen2_5_omni import load_omni

    backbone, folder = adapted
    merged = export_model(str(folder), tmp_path / "merged")
    plain = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(merged)
    assert not [name for name, _ in plain.named_parameters() if "lora" in name]
    loaded = load_omni(str(merged))
    assert loaded.budget == backbone.budget
    assert not list(merged.glob("adapter_*"))
    wanted = logits_of(backbone, prompts[:3])
    torch.testing.assert_close(
        logits_of(loaded, prompts[:3]), wanted, atol=logit_tolerance(loaded.model, wanted), rtol=0
    )
    assert (logits_of(tiny, prompts[:3]) - wanted).abs().max() > 0.1


@pytest.mark.slow
def test_the_merge_keeps_the_base_s_precision(tiny: OmniBackbone, tiny_folder: Path, tmp_path: Path) -> None:
    base = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(tiny_folder, dtype=torch.bfloat16)
    base.save_pretrained(tmp_path / "base")
    tiny.save(tmp_path / "base")
    half = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(tmp_path / "base", dtype="auto")
    save_adapter(add_lora(half, LORA), tmp_path / "adapter")
    merged = export_model(str(tmp_path / "adapter"), tmp_path / "merged")
    assert json.loads((merged / "config.json").read_text())["dtype"] == "bfloat16"


def test_a_text_model_merges_too(tmp_path: Path) -> None:
    write_text_model(tmp_path / "text", template=True)
    model = Qwen2ForCausalLM.from_pretrained(tmp_path / "text")
    wrapped = add_lora(model, LORA)
    stir(model)
    save_adapter(wrapped, tmp_path / "adapter")
    merged = Qwen2ForCausalLM.from_pretrained(export_model(str(tmp_path / "adapter"), tmp_path / "merged"))
    ids = torch.tensor([[1, 2, 3, 4]])
    with torch.no_grad():
        wanted = model(input_ids=ids).logits
        torch.testing.assert_close(merged(input_ids=ids).logits, wanted, atol=logit_tolerance(merged, wanted), rtol=0)


def rebase(folder: Path, base: Path | str) -> None:
    config = folder / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": str(base)}))


@pytest.mark.slow
def test_a_base_that_is_gone_of_another_size_or_an_adapter_is_named(
    adapted: tuple[OmniBackbone, Path], tmp_path: Path
) -> None:
    _, folder = adapted
    shutil.copytree(folder, tmp_path / "second")
    other = write_text_model(tmp_path / "other", template=False)
    for base, message in ((tmp_path / "gone", "gone"), (tmp_path / "second", "is an adapter too"), (other, "adapter")):
        rebase(folder, base)
        with pytest.raises(InputError, match=message):
            export_model(str(folder), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_place_taken_is_left_alone(adapted: tuple[OmniBackbone, Path], tiny_folder: Path) -> None:
    with pytest.raises(InputError, match=r"exists already; give another --out"):
        export_model(str(adapted[1]), tiny_folder)
    assert (tiny_folder / "model.safetensors").is_file()


@pytest.mark.parametrize("text", ["{", "[]", '{"r": 4}', '{"base_model_name_or_path": null}'])
def test_a_damaged_adapter_is_named(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no adapter"):
        adapter_base(tmp_path)
    (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(InputError, match=r"adapter_config\.json: "):
        adapter_base(tmp_path)
