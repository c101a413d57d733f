"""Weights in few bits: which, how many bytes, and a model that is as exact within itself as a whole one."""

from __future__ import annotations

import copy
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, get_args

import pytest
import torch
from torch import Tensor, nn

import mer_r1.models  # noqa: F401  torchvision is mended before transformers is imported

# isort: split
from safetensors.torch import load_file, save_file
from transformers import BitsAndBytesConfig, Qwen2_5OmniThinkerForConditionalGeneration

from mer_r1.errors import InputError
from mer_r1.models import backbone as backbone_module
from mer_r1.models.backbone import Backbone
from mer_r1.models.decoding import draw
from mer_r1.models.loading import export_model, load_backbone
from mer_r1.models.lora import add_lora, language_model_layers, save_adapter
from mer_r1.models.quantization import quantization_of, quantize
from mer_r1.models.qwen2_5_omni import OmniBackbone
from mer_r1.models.qwen3_vl import Qwen3VLBackbone
from mer_r1.models.transformers_compat import enable_checkpointing
from mer_r1.models.types import Prompt, Sampling
from mer_r1.recipe import LoraSection, Quantization
from tests.models.test_lora import stir
from tests.repeated_pass import copy_of, gradients_of, make_case, packed_pass, prompts_of, repeated, same_gradients
from tests.tolerance import logit_tolerance

pytest.importorskip("bitsandbytes")
BITS = get_args(Quantization)
LORA = LoraSection(r=4, lora_alpha=8)
CPU = torch.device("cpu")


@pytest.fixture(params=BITS)
def quantised(request: pytest.FixtureRequest, fresh_tiny: OmniBackbone) -> OmniBackbone:
    """A tiny Thinker of few bits."""
    quantize(fresh_tiny.model, request.param, CPU)
    return fresh_tiny


def adapted(backbone: Backbone) -> Backbone:
    """The backbone with adapters that change its answers."""
    backbone.wrapped_model = add_lora(backbone.model, LORA)
    stir(backbone.model)
    return backbone


def layers_of(model: Any) -> nn.Module:
    return cast(nn.Module, model.get_submodule(language_model_layers(model)))


def bytes_of(layers: nn.Module, name: str) -> int:
    """Of a layer's weight and its scales, without the tables of numbers that every weight has."""
    state = layers.state_dict(prefix="")
    tables = (".quant_map", ".nested_quant_map", ".quant_state.bitsandbytes__nf4")
    kept = [value for key, value in state.items() if key.startswith(name) and not key.endswith((*tables, "bias"))]
    return sum(value.nbytes for value in kept)


def test_the_linear_layers_of_the_decoder_alone_are_quantised(quantised: OmniBackbone, tiny: OmniBackbone) -> None:
    inside = {name for name, module in layers_of(tiny.model).named_modules() if type(module) is nn.Linear}
    assert len(inside) == 3 * 7
    made = layers_of(quantised.model)
    assert all(type(made.get_submodule(name)) is not nn.Linear for name in inside)
    whole = tiny.model.state_dict()
    path = language_model_layers(tiny.model)
    others = [name for name in whole if name.removeprefix(f"{path}.").rpartition(".weight")[0] not in inside]
    assert len(others) > 60
    assert all(torch.equal(quantised.model.state_dict()[name], whole[name]) for name in others)
    assert not any(p.requires_grad for name in inside for p in made.get_submodule(name).parameters())


def test_a_weight_takes_the_bytes_that_an_estimate_counts(quantised: OmniBackbone, tiny: OmniBackbone) -> None:
    layers, whole = layers_of(quantised.model), layers_of(tiny.model)
    for name in ("0.mlp.up_proj", "2.self_attn.q_proj"):
        weight = cast(Tensor, whole.get_submodule(name).weight)
        wanted = 0.5 + 1 / 64 + 4 / (64 * 256) if quantization_of(quantised.model) == "nf4" else 1 + 4 / weight.shape[1]
        assert bytes_of(layers, name) / weight.numel() == pytest.approx(wanted, rel=2e-3)


def test_a_product_is_that_of_a_weight_near_the_whole_one(quantised: OmniBackbone, tiny: OmniBackbone) -> None:
    """Of float32 inputs in float32, of bfloat16 ones in bfloat16, the same in training and in evaluation."""
    name = "1.mlp.gate_proj"
    ours, whole = layers_of(quantised.model).get_submodule(name), layers_of(tiny.model).get_submodule(name)
    weight = cast(Tensor, whole.weight).detach()
    dequantised_IO = ours(torch.eye(weight.shape[1])).detach()
    step = {"nf4": 0.17, "int8": 0.5 / 127}[str(quantization_of(quantised.model))]  # half of the widest step
    assert float((dequantised_IO.T - weight).abs().max()) <= step * float(weight.abs().max()) * 1.01
    inputs = torch.randn(2, 5, weight.shape[1], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        made = [ours.train(mode)(inputs) for mode in (True, False)]
        assert torch.equal(*made)
        torch.testing.assert_close(made[0], inputs @ dequantised_IO)
        alone = ours(inputs[:1, :1])
        torch.testing.assert_close(alone, made[0][:1, :1])
        assert torch.equal(ours(torch.zeros_like(inputs)), torch.zeros_like(made[0]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["omni", "qwen3_vl"])
def test_the_packed_pass_is_the_repeated_one_on_what_is_quantised(
    quantised: OmniBackbone, qwen3_vl: Qwen3VLBackbone, kind: str
) -> None:
    """Of two families; log-probabilities, and gradients of the adapters alone."""
    backbone: Backbone = quantised
    if kind == "qwen3_vl":
        backbone = copy_of(qwen3_vl, torch.float32)
        quantize(backbone.model, cast(Quantization, quantization_of(quantised.model)), CPU)
    backbone = adapted(backbone)
    case = make_case(prompts_of(backbone, 3), 4)
    encoded = backbone.encode(backbone.collate(case.prompts)).without_cache()
    expected = repeated(backbone, case)
    made = packed_pass(backbone, case, encoded).log_probs_BR
    torch.testing.assert_close(made, expected, atol=logit_tolerance(backbone.model, expected.detach()), rtol=0)
    gradients = gradients_of(backbone, expected)
    assert all("lora_" in name for name in gradients)
    same_gradients(gradients_of(backbone, made), gradients, tolerance=2e-4)


@pytest.mark.slow
def test_what_is_sampled_is_what_is_scored(quantised: OmniBackbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sampled in evaluation, from caches that a prompt's answers share; scored in training, in one pass."""
    backbone = adapted(quantised)
    seen: list[Tensor] = []

    def keep(logits_BV: Tensor, *args: Any) -> Tensor:
        seen.append(logits_BV)
        return draw(logits_BV, *args)

    monkeypatch.setattr(backbone_module, "draw", keep)
    prompts = prompts_of(backbone, 3)
    backbone.wrapped_model.eval()
    made = backbone.generate(backbone.encode(backbone.collate(prompts)), 2, Sampling(10))
    batch = backbone.collate([prompt for prompt in prompts for _ in range(2)])
    backbone.wrapped_model.train()
    scored = backbone.response_logits(
        backbone.wrapped_model, backbone.full_inputs(batch, made.ids_BR, made.mask_BR), made.ids_BR.shape[1]
    )
    assert scored.requires_grad
    real = made.mask_BR.bool()
    tolerance = logit_tolerance(backbone.model, scored.detach())
    torch.testing.assert_close(torch.stack(seen, dim=1)[real], scored.detach()[real], atol=tolerance, rtol=0)


def test_without_its_adapters_it_is_the_quantised_base(quantised: OmniBackbone, prompts: Sequence[Prompt]) -> None:
    base = copy.deepcopy(quantised)
    backbone = adapted(quantised)
    case = make_case(prompts[:2], 2)
    with torch.no_grad():
        wanted = packed_pass(base, case).log_probs_BR
        assert float((packed_pass(backbone, case).log_probs_BR - wanted).abs().max()) > 1e-2
        with backbone.wrapped_model.disable_adapter():
            assert torch.equal(packed_pass(backbone, case).log_probs_BR, wanted)


def test_a_pass_keeps_no_dequantised_weight_for_its_gradient_and_checkpointing_changes_none(
    quantised: OmniBackbone,
) -> None:
    backbone = adapted(quantised)
    case = make_case(prompts_of(backbone, 3), 2)
    encoded = backbone.encode(backbone.collate(case.prompts)).without_cache()
    text = backbone.model.config.get_text_config()
    sizes = {text.intermediate_size, text.hidden_size}
    kept: list[Tensor] = []

    def keep(value: Tensor) -> Tensor:
        kept.append(value)
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        whole = packed_pass(backbone, case, encoded).log_probs_BR
    assert len(kept) > 100
    assert not [value for value in kept if set(value.shape[-2:]) == sizes and value.is_floating_point()]
    gradients = gradients_of(backbone, whole)
    enable_checkpointing(backbone.model)
    backbone.model.train()
    again = gradients_of(backbone, packed_pass(backbone, case, encoded).log_probs_BR)
    same_gradients(again, gradients, tolerance=1e-6)


def test_a_merge_adds_to_the_whole_base_and_never_dequantises(
    quantised: OmniBackbone, tiny: OmniBackbone, tmp_path: Path
) -> None:
    """The adapter learned on few bits; what `export` writes is base + scale B A of the weights as they were."""
    backbone = adapted(quantised)
    save_adapter(backbone.wrapped_model, tmp_path / "adapter")
    backbone.save(tmp_path / "adapter")
    merged = load_backbone(str(export_model(str(tmp_path / "adapter"), tmp_path / "merged"))).model.state_dict()
    lora = backbone.model.state_dict()
    whole = tiny.model.state_dict()
    path = language_model_layers(tiny.model)
    changed = {name for name, value in whole.items() if not torch.equal(merged[name], value)}
    assert len(changed) == 3 * 7
    for name in changed:
        assert name.startswith(path)
        low_rank = (lora[f"{name.removesuffix('.weight')}.lora_{part}.default.weight"] for part in "BA")
        wanted = whole[name] + LORA.lora_alpha / LORA.r * torch.matmul(*low_rank)
        torch.testing.assert_close(merged[name], wanted, atol=1e-6, rtol=0)


def test_an_adapter_answers_beside_the_quantised_base_that_it_learned_on(
    quantised: OmniBackbone, prompts: Sequence[Prompt], tmp_path: Path
) -> None:
    backbone = adapted(quantised)
    save_adapter(backbone.wrapped_model, tmp_path)
    backbone.save(tmp_path)
    bits = cast(Quantization, quantization_of(backbone.model))
    loaded = load_backbone(str(tmp_path), quantization=bits)
    case = make_case(prompts[:2], 2)
    with torch.no_grad():
        wanted = packed_pass(backbone, case).log_probs_BR
        assert torch.equal(packed_pass(loaded, case).log_probs_BR, wanted)
    made = [
        index.generate(index.encode(index.collate(prompts[:2])), 1, Sampling(8, 0.0)) for index in (backbone, loaded)
    ]
    assert torch.equal(made[0].ids_BR, made[1].ids_BR)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))
    with pytest.raises(InputError, match=r"adapter of DoRA, which does not stand on quantised weights; merge it first"):
        load_backbone(str(tmp_path), quantization=bits)


def stored(bits: str, folder: Path, tiny_folder: Path, tiny: OmniBackbone) -> Path:
    """A checkpoint that bitsandbytes has quantised the decoder of, laid out as a whole Omni and by its old names."""
    towers = tiny.towers()
    skipped = ["lm_head", *(name for name, module in tiny.model.named_modules() if module in towers)]
    how = BitsAndBytesConfig(
        load_in_4bit=bits == "nf4",
        load_in_8bit=bits == "int8",
        bnb_4bit_quant_type="nf4",
        llm_int8_skip_modules=skipped,
    )
    kind = Qwen2_5OmniThinkerForConditionalGeneration
    kind.from_pretrained(tiny_folder, quantization_config=how, dtype="auto").save_pretrained(folder / "thinker")
    tensors = load_file(folder / "thinker" / "model.safetensors")
    shutil.copytree(tiny_folder, folder / "whole")
    named = {name if name.startswith("thinker.") else f"thinker.{name}": value for name, value in tensors.items()}
    save_file(named, folder / "whole" / "model.safetensors", metadata={"format": "pt"})
    how_stored = json.loads((folder / "thinker" / "config.json").read_text())["quantization_config"]
    assert how_stored["llm_int8_skip_modules"] == skipped
    how_stored["llm_int8_skip_modules"] = ["lm_head", "thinker.visual", "thinker.audio_tower"]
    config = folder / "whole" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"quantization_config": how_stored}))
    return folder / "whole"


@pytest.mark.slow
@pytest.mark.parametrize("bits", BITS)
def test_a_checkpoint_that_is_stored_quantised_answers_and_does_no_more(
    bits: Quantization, tiny: OmniBackbone, tiny_folder: Path, prompts: Sequence[Prompt], tmp_path: Path
) -> None:
    """transformers reads the Thinker's part of its configuration, and would take bytes for weights."""
    folder = stored(bits, tmp_path, tiny_folder, tiny)
    backbone = load_backbone(str(folder))
    assert quantization_of(backbone.model) == "bitsandbytes"
    batch = backbone.collate(prompts[:2])
    ours, whole = (index.encode(batch).logits_PV for index in (backbone, tiny))
    assert 1e-4 < float((ours - whole).norm() / whole.norm()) < {"nf4": 0.9, "int8": 0.1}[bits]
    with pytest.raises(InputError, match="is quantised already"):
        load_backbone(str(folder), quantization="nf4")
    with pytest.raises(InputError, match="are quantised, and a checkpoint holds whole ones"):
        export_model(str(folder), tmp_path / "out")


@pytest.mark.parametrize(("method", "package"), [("awq", "gptqmodel"), ("gptq", "optimum")])
def test_a_checkpoint_whose_reader_is_not_installed_is_one_line_that_names_it(
    method: str, package: str, tiny_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_folder, tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    stored = {"quant_method": method, "bits": 4, "group_size": 128}
    config.write_text(json.dumps(json.loads(config.read_text()) | {"quantization_config": stored}))
    with pytest.raises(InputError, match=rf"its weights are quantised \({method}\): .*{package}.*; or give the"):
        load_backbone(str(tmp_path / "model"))


def test_experts_in_one_tensor_a_layer_are_named(omni3_folder: Path) -> None:
    with pytest.raises(InputError, match="most of its weights are experts in one tensor a layer"):
        load_backbone(str(omni3_folder), quantization="nf4")


def test_without_bitsandbytes_the_extra_is_named(fresh_tiny: OmniBackbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(InputError, match=r"needs bitsandbytes; pip install 'mer-r1\[quantization\]'"):
        quantize(fresh_tiny.model, "nf4", CPU)
    quantize(fresh_tiny.model, "int8", CPU)
