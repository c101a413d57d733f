"""The engine as a sampler: our ids and positions go in, what it draws from is what we score, and weights arrive.

One engine serves all tests: it is opened on a tiny Thinker's configuration, and each test puts its weights in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from mer_r1.errors import InputError
from mer_r1.models.backbone import Backbone
from mer_r1.models.decoding import NotFiniteError
from mer_r1.models.lora import add_lora
from mer_r1.models.packing import Branch, group_pass, pack
from mer_r1.models.qwen2_5_omni import OmniBackbone
from mer_r1.models.qwen3_omni import Omni3Backbone
from mer_r1.models.sampler import LocalSampler, Sampled, Stop, policy_weights
from mer_r1.models.types import Prompt, Sampling
from mer_r1.models.vllm_engine import EngineOptions
from mer_r1.models.vllm_sampler import VllmSampler, counted, engine_input, held_bits
from mer_r1.recipe import LoraSection
from tests.media_samples import make_clip, prompt_of, prompts_of_all_kinds
from tests.repeated_pass import copy_of

pytestmark = pytest.mark.vllm
_OPEN: list[VllmSampler] = []
"""Engines that stay: with one of them vLLM would end the process groups that the session's stands on."""


@pytest.fixture
def sampler(vllm_sampler: VllmSampler, fresh_tiny: OmniBackbone, monkeypatch: pytest.MonkeyPatch) -> VllmSampler:
    """The engine with the weights of a model that a test may change."""
    monkeypatch.setattr(vllm_sampler, "backbone", fresh_tiny)
    vllm_sampler.update(policy_weights(fresh_tiny))
    return vllm_sampler


def scored(backbone: Backbone, sampled: Sampled, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """log p of all ids as they were drawn, and by the packed pass."""
    made = sampled.generated
    group = len(made.ids_BR) // len(sampled.encoded.prompts.input_ids_PT)
    branches = [Branch(row // group, tuple(ids)) for row, ids in enumerate(made.rows())]
    packed = pack(sampled.encoded.prompts, branches)
    with torch.no_grad():
        passed = group_pass(backbone, backbone.wrapped_model, packed, sampled.encoded, temperature)
    real = passed.mask_BR.bool()
    assert made.log_probs_BR is not None
    return made.log_probs_BR[real], passed.log_probs_BR[real]


def assert_scored_alike(backbone: Backbone, sampled: Sampled, temperature: float = 1.0) -> None:
    drawn, policy = scored(backbone, sampled, temperature)
    assert float((drawn - policy).abs().mean()) < 1e-4
    assert float(torch.corrcoef(torch.stack([drawn, policy]))[0, 1]) > 0.9999


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_are_those_of_the_packed_pass(sampler: VllmSampler, temperature: float) -> None:
    """Video and sound, a picture, sound alone, words alone, of different lengths."""
    prompts = prompts_of_all_kinds(sampler.backbone)
    (sampled,) = sampler.sample([prompts], 3, Sampling(24, temperature), Stop(), "key")
    assert_scored_alike(sampler.backbone, sampled, temperature)


@pytest.fixture
def group_of_experts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process group of experts, which is made with the first engine of a process, and only where that has experts."""
    from vllm.distributed import parallel_state

    monkeypatch.setattr(parallel_state, "_EP", parallel_state._TP)


@pytest.mark.parametrize("family", ["vision", "qwen3_vl", "qwen3_vl_moe", "words"])
@pytest.mark.usefixtures("group_of_experts")
def test_other_families_are_scored_alike(family: str, request: pytest.FixtureRequest) -> None:
    """Qwen2.5-VL and Qwen3-VL with videos and a picture, and a causal language model; each by an engine of its own."""
    backbone: Backbone = request.getfixturevalue(family)
    clips = [make_clip(num if backbone.towers() else 0, 0.0) for num in (4, 1, 2)]
    sampler = VllmSampler(backbone, EngineOptions(max_model_len=512, dtype="float32", budget=backbone.budget))
    _OPEN.append(sampler)
    sampler.update(policy_weights(backbone))
    (sampled,) = sampler.sample([[prompt_of(backbone, clip) for clip in clips]], 3, Sampling(24), Stop(), "key")
    assert_scored_alike(backbone, sampled)


def test_greedy_answers_are_the_local_ones(sampler: VllmSampler) -> None:
    prompts, greedy = prompts_of_all_kinds(sampler.backbone), Sampling(12, temperature=0.0)
    ours, theirs = (
        one.sample([prompts], 1, greedy, Stop(), "")[0] for one in (LocalSampler(sampler.backbone), sampler)
    )
    assert theirs.generated.rows() == ours.generated.rows()
    assert torch.equal(theirs.generated.stopped_B, ours.generated.stopped_B)
    assert ours.encoded.embeds_PTD is not None
    assert torch.equal(theirs.encoded.embeds_PTD, ours.encoded.embeds_PTD)  # type: ignore[arg-type]


@pytest.mark.usefixtures("group_of_experts")
def test_experts_and_deepstack_are_scored_alike_after_every_update(omni3: Omni3Backbone) -> None:
    """Qwen3-Omni with every kind of prompt, before and after its experts have learned."""
    sampler = VllmSampler(omni3, EngineOptions(max_model_len=512, dtype="float32", budget=omni3.budget))
    _OPEN.append(sampler)
    prompts = prompts_of_all_kinds(omni3)
    learned: Omni3Backbone = copy_of(omni3, torch.float32)
    for layer in learned.language_model.layers:
        layer.mlp.experts.down_proj.data *= -1.5
    for backbone in (omni3, learned):
        sampler.backbone = backbone
        sampler.update(policy_weights(backbone))
        (sampled,) = sampler.sample([prompts], 3, Sampling(16), Stop(), "key")
        assert_scored_alike(backbone, sampled)
    for seconds in (0.37, 4.37, 7.77):
        assert_counted_alike(sampler, 12, seconds)


@pytest.mark.parametrize("seconds", [0.37, 1.188, 2.0, 4.37, 6.96])
@pytest.mark.parametrize("num_frames", [2, 4, 12])
def test_the_engine_counts_our_positions(sampler: VllmSampler, seconds: float, num_frames: int) -> None:
    """Also where float32, in which the model rounds a video's times, and float64 round differently."""
    assert_counted_alike(sampler, num_frames, seconds)


def assert_counted_alike(sampler: VllmSampler, num_frames: int, seconds: float) -> None:
    from vllm.multimodal.inputs import MultiModalFeatureSpec

    clip = make_clip(num_frames, seconds)
    prompt = prompt_of(sampler.backbone, replace(clip, facts=replace(clip.facts, video_s=seconds)))
    given = engine_input(sampler.backbone, prompt)
    features = [
        MultiModalFeatureSpec(given["mm_kwargs"][name][0], name, "", given["mm_placeholders"][name][0], "")
        for name in given["mm_kwargs"]
    ]
    (found,) = sampler.llm.apply_model(
        lambda model: model.get_mrope_input_positions(given["prompt_token_ids"], features)[0]
    )
    assert torch.equal(found, prompt.positions_3T)


def test_a_key_and_an_index_draw_the_same_in_any_batch(sampler: VllmSampler) -> None:
    of_kinds, sampling = prompts_of_all_kinds(sampler.backbone)[:4], Sampling(10)
    prompts = [replace(prompt, id=str(number)) for number, prompt in enumerate(of_kinds)]

    def drawn(batches: Sequence[Sequence[Prompt]], key: str) -> list[list[int]]:
        torch.rand(1)
        return [row for made in sampler.sample(batches, 2, sampling, Stop(), key) for row in made.generated.rows()]

    together = drawn([prompts], "0 1")
    assert drawn([prompts], "0 1") == together
    assert drawn([prompts[:1], prompts[1:]], "0 1") == together
    assert drawn([prompts[::-1]], "0 1") == [row for at in (6, 4, 2, 0) for row in together[at : at + 2]]
    assert drawn([prompts], "0 2") != together
    assert len({tuple(row) for row in together}) == 8


def test_training_draws_as_if_no_engine_were_there(sampler: VllmSampler) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    sampler.update(policy_weights(sampler.backbone))
    sampler.sample([prompts_of_all_kinds(sampler.backbone)[:1]], 2, Sampling(4), Stop(), "key")
    assert torch.equal(torch.rand(4), expected)


def answers_that_say(sampler: VllmSampler, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Have the engine write `text` and then the end token, whatever its weights are."""
    backbone = sampler.backbone
    ids = [*backbone.text_ids(text), *backbone.text_ids(" so"), backbone.tokenizer.eos_token_id]
    real = sampler._parameters

    def forced(answer: Any, sampling: Sampling, stop: Stop) -> Any:
        made = real(answer, sampling, stop)
        made.allowed_token_ids, made.logit_bias = [ids[len(answer.ids)]], None
        made.max_tokens = 1  # an id a request: the mask of a request is one for all its ids
        return made

    monkeypatch.setattr(sampler, "_parameters", forced)


@pytest.mark.parametrize("end_token", [False, True])
@pytest.mark.parametrize(
    ("text", "stop"),
    [
        ("<think>A smile.</think><answer>happy</answer>", Stop()),
        ("<answer>sad</answer><think>So.</think><answer>happy</answer>", Stop(num=2)),
        ("a } b \\boxed{happy}", Stop("}", after="\\boxed{")),
    ],
)
def test_an_answer_ends_where_the_local_one_does(
    sampler: VllmSampler, monkeypatch: pytest.MonkeyPatch, text: str, stop: Stop, end_token: bool
) -> None:
    backbone = sampler.backbone
    answers_that_say(sampler, monkeypatch, text)
    ids = backbone.text_ids(text)
    for room in (len(ids) - 1, len(ids), len(ids) + 4):
        (made,) = sampler.sample(
            [prompts_of_all_kinds(backbone)[:1]], 1, Sampling(room, end_token=end_token), stop, "key"
        )
        generated = made.generated
        expected = ids[:room] + (backbone.text_ids(" so")[:1] if end_token and room > len(ids) else [])
        assert generated.rows() == [expected]
        is_whole = room > len(ids) if end_token else room >= len(ids)
        assert generated.stopped_B.tolist() == [is_whole]
        assert (generated.behind_stop_B is None) is not end_token
        if generated.behind_stop_B is not None:
            assert generated.behind_stop_B.tolist() == [is_whole]


def test_suppressed_ids_are_not_drawn(sampler: VllmSampler) -> None:
    """The head gives them the highest scores."""
    backbone = sampler.backbone
    banned = (backbone.suppressed_V == -torch.inf).nonzero()[:, 0]
    with torch.no_grad():
        backbone.model.get_output_embeddings().weight[banned] *= 4
    sampler.update(policy_weights(backbone))
    prompts = prompts_of_all_kinds(backbone)[:2]
    (made,) = sampler.sample([prompts], 8, Sampling(16), Stop(), "key")
    assert not set(banned.tolist()) & {ident for row in made.generated.rows() for ident in row}
    assert_scored_alike(backbone, made)


@pytest.mark.parametrize("lora", [None, LoraSection(r=4, lora_alpha=8)], ids=["full", "lora"])
def test_after_each_of_ten_steps_the_engine_has_the_policys_weights(
    sampler: VllmSampler, lora: LoraSection | None
) -> None:
    backbone = sampler.backbone
    if lora is not None:
        backbone.wrapped_model = add_lora(backbone.model, lora)
    learned = [parameter for parameter in backbone.wrapped_model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=3e-3)
    prompts = prompts_of_all_kinds(backbone)[:2]
    before = {name: weight.clone() for name, weight in policy_weights(backbone)}
    for step in range(10):
        for parameter in learned:
            parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step))
        optimizer.step()
        sampler.update(policy_weights(backbone))  # which compares both sides' bits
    assert any(not torch.equal(weight, before[name]) for name, weight in policy_weights(backbone))
    (made,) = sampler.sample([prompts], 2, Sampling(16), Stop(), "key")
    assert_scored_alike(backbone, made)


def test_a_merged_adapter_is_what_peft_merges(fresh_tiny: OmniBackbone) -> None:
    fresh_tiny.wrapped_model = add_lora(fresh_tiny.model, LoraSection(r=4, lora_alpha=8))
    with torch.no_grad():
        for name, parameter in fresh_tiny.wrapped_model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    sent = dict(policy_weights(fresh_tiny))
    merged = fresh_tiny.wrapped_model.merge_and_unload()
    expected = {fresh_tiny.official_name(name): weight for name, weight in merged.state_dict().items()}
    assert sent.keys() == expected.keys()
    for name, weight in sent.items():
        torch.testing.assert_close(weight, expected[name], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("forgotten", ["thinker.lm_head.weight", "thinker.model.layers.1.mlp.down_proj.weight"])
def test_a_weight_that_does_not_arrive_is_found(sampler: VllmSampler, forgotten: str) -> None:
    """As the head: it is tied to the embeddings, and the CPU's kernels compute with a packed copy of its own."""
    backbone = sampler.backbone
    with torch.no_grad():
        for parameter in backbone.model.parameters():
            parameter.mul_(1.01)
    weights, given = dict(policy_weights(backbone)), Counter[str]()
    some = iter([item for item in counted(weights.items(), torch.float32, given) if item[0] != forgotten])
    sampler.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": some, "is_checkpoint_format": True})
    (held,) = sampler.llm.apply_model(partial(held_bits, has_head=True))
    block = "lm_head" if "head" in forgotten else "language_model.layers.1"
    assert {name for name in given if given[name] != held[name]} == {block}
    with pytest.raises(InputError, match=rf"the engine's weights are not the policy's after an update \({block}\)"):
        sampler.update((name, weight) for name, weight in weights.items() if name != forgotten)
    sampler.update(weights.items())


def test_weights_that_are_no_numbers_are_named(sampler: VllmSampler) -> None:
    with torch.no_grad():
        sampler.backbone.language_model.norm.weight[3] = torch.nan
    sampler.update(policy_weights(sampler.backbone))
    with pytest.raises(NotFiniteError) as caught:
        sampler.sample([prompts_of_all_kinds(sampler.backbone)[:2]], 1, Sampling(4), Stop(), "key")
    assert caught.value.rows == (0, 1)


def test_a_prompt_without_room_for_its_answer_is_named(sampler: VllmSampler) -> None:
    prompts = prompts_of_all_kinds(sampler.backbone)[:1]
    with pytest.raises(InputError, match=rf"^sample '{prompts[0].id}': .* raise rl\.vllm_max_model_length$"):
        sampler.sample([prompts], 1, Sampling(4096), Stop(), "key")


def test_what_the_engine_refuses_is_one_line(sampler: VllmSampler) -> None:
    prompts = prompts_of_all_kinds(sampler.backbone)[:1]
    refusal = r"^rl\.sampler: vLLM refuses a request or stops \(.*top_p.*\); set rl\.sampler=local$"
    with pytest.raises(InputError, match=refusal):
        sampler.sample([prompts], 1, Sampling(4, top_p=2.0), Stop(), "key")
