"""A step from packed weights gives what the module's forward gives, and stands aside where it could not."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from mer_r1.data.sample import Clip, MediaFacts
from mer_r1.models import decoding, packed_step
from mer_r1.models.backbone import Backbone
from mer_r1.models.decoding import Decoder
from mer_r1.models.group_attention import DecodeLayout
from mer_r1.models.lora import add_lora
from mer_r1.models.packed_step import PackedStep, can_pack
from mer_r1.models.qwen2_5_omni import OmniBackbone
from mer_r1.models.types import Sampling
from mer_r1.recipe import LoraSection
from tests.media_samples import prompt_of, prompts_of_all_kinds
from tests.tolerance import logit_tolerance

NEVER = 10**9
needs_operators = pytest.mark.skipif(
    not packed_step._has_operators(), reason="this build of PyTorch has no oneDNN, so nothing is packed"
)


@torch.no_grad()
def logits_of(backbone: Backbone, after: int, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Logits of steps of 3, 1, 1 and 2 ids, two answers of every prompt; weights packed after so many steps."""
    monkeypatch.setattr(decoding, "PACK_AFTER", after)
    prompts = prompts_of_all_kinds(backbone) if backbone.towers() else [_short(backbone), _short(backbone, "Yes.")]
    encoded = backbone.encode(backbone.collate(prompts))
    bias_PT = torch.zeros(encoded.prompts.mask_PT.shape).masked_fill(encoded.prompts.mask_PT == 0, -torch.inf)
    layout = DecodeLayout(encoded.keys, encoded.values, bias_PT)
    decoder = Decoder(backbone.wrapped_model, backbone.model, backbone.position_argument, layout)
    decoder.start(encoded, 2, 7)
    ids = torch.randint(20, 200, (2 * len(prompts), 7), generator=torch.Generator().manual_seed(0))
    made = torch.stack([decoder.step(part) for part in torch.split(ids, [3, 1, 1, 2], dim=1)])
    assert (decoder._packed is not None) == (after < 4)
    return made


def _short(backbone: Backbone, subtitle: str = "We talked for a while.") -> Any:
    return prompt_of(backbone, Clip(None, None, MediaFacts()), subtitle)


@needs_operators
@pytest.mark.parametrize("family", ["tiny", "vision", "words"])
@pytest.mark.parametrize("after", [0, 2])
def test_packed_steps_give_the_module_s_logits(
    family: str, after: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several ids and of one, behind prompts of different lengths, with media; and when packed amid an answer."""
    backbone = request.getfixturevalue(family)
    wanted = logits_of(backbone, NEVER, monkeypatch)
    made = logits_of(backbone, after, monkeypatch)
    assert not torch.equal(made, wanted)  # else nothing was packed
    torch.testing.assert_close(made, wanted, atol=logit_tolerance(backbone.model, wanted), rtol=0)


@needs_operators
def test_an_answer_is_drawn_from_the_weights_as_they_are(
    fresh_tiny: OmniBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Norms' weights too, which the packed products hold; as after an optimiser's step between two answers."""
    before = logits_of(fresh_tiny, 0, monkeypatch)
    with torch.no_grad():
        for weight in fresh_tiny.language_model.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
    wanted = logits_of(fresh_tiny, NEVER, monkeypatch)
    made = logits_of(fresh_tiny, 0, monkeypatch)
    assert float((wanted - before).abs().max()) > 0.1
    torch.testing.assert_close(made, wanted, atol=logit_tolerance(fresh_tiny.model, wanted), rtol=0)


@needs_operators
def test_long_answers_are_packed_and_the_same(tiny: OmniBackbone, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = []

    def pack(model: Any) -> PackedStep:
        packed.append(PackedStep(model))
        return packed[-1]

    monkeypatch.setattr(decoding, "PackedStep", pack)
    encoded = tiny.encode(tiny.collate(prompts_of_all_kinds(tiny)))
    draws = torch.rand(3 * len(encoded.logits_PV), 24, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    made = [tiny.generate(encoded, 3, Sampling(24), stop="no such stop", uniform_BR=draws)]
    assert len(packed) == 1
    monkeypatch.setattr(decoding, "PACK_AFTER", NEVER)
    made.append(tiny.generate(encoded, 3, Sampling(24), stop="no such stop", uniform_BR=draws))
    assert torch.equal(made[0].ids_BR, made[1].ids_BR)


@needs_operators
def test_what_is_no_plain_model_is_not_packed(tiny: OmniBackbone, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(change: Any) -> Any:
        model = copy.deepcopy(tiny.model)
        change(model)
        return model

    odd = {
        "half": changed(lambda model: model.bfloat16()),
        "sliding": changed(lambda model: setattr(model.get_decoder().layers[1].self_attn, "sliding_window", 8)),
        "hook": changed(lambda model: model.lm_head.register_forward_hook(lambda *_: None)),
        "deep hook": changed(
            lambda model: model.get_decoder().layers[0].mlp.up_proj.register_forward_pre_hook(lambda *_: None)
        ),
        "activation": changed(lambda model: setattr(model.get_decoder().config, "hidden_act", "gelu")),
        "adapted": changed(lambda model: add_lora(model, LoraSection())),
    }
    assert can_pack(tiny.model, tiny.model)
    assert [name for name, model in odd.items() if can_pack(model, model)] == []
    assert not can_pack(torch.nn.Sequential(tiny.model), tiny.model)
    with torch.autocast("cpu", torch.bfloat16):
        assert not can_pack(tiny.model, tiny.model)
    monkeypatch.setattr(packed_step, "MOST_BYTES", 1000)
    assert not can_pack(tiny.model, tiny.model)
