"""The cost model against what is: parameters of built models, FLOPs that torch counts, tokens of real prompts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

import mer_r1.models  # noqa: F401  before transformers, which needs the fix for torchvision

# isort: split
import torch
from torch.utils.flop_counter import FlopCounterMode

from mer_r1.media import most_tokens
from mer_r1.models.qwen2_5_omni import OmniBackbone
from mer_r1.models.types import Prompt
from mer_r1.recipe import LoraSection, Quantization, Recipe
from mer_r1.training import cost
from mer_r1.training.estimate import find_origin, prompt_tokens
from mer_r1.training.gpus import GPUS
from mer_r1.training.model_shape import KNOWN, Text, shape_of

OMNI_7B = KNOWN["Qwen/Qwen2.5-Omni-7B"]
TOKENS = cost.Tokens(video=1024, audio=750, text=180)


def recipe_of(**keys: Any) -> Recipe:
    optim = {"learning_rate": 1e-6, "bf16": True, "gradient_checkpointing": True} | keys.pop("optim", {})
    tree: dict[str, Any] = {"kind": "rl", "model": {"source": "tiny"}, "data": {"train": "x.jsonl"}, "optim": optim}
    return Recipe.model_validate(tree | keys)


def text_model(shape: Text) -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        intermediate_size=shape.mlp,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        tie_word_embeddings=shape.tied,
        attn_implementation="eager",
    )
    return Qwen2ForCausalLM(config)


def counted(call: Callable[[], Any]) -> int:
    """FLOP of the matrix products in a call, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("shape", [Text(3, 64, 160, 4, 2, 500, tied=True), Text(2, 96, 256, 4, 4, 300, tied=False)])
def test_flops_of_a_forward_are_those_that_torch_counts(shape: Text) -> None:
    model, num_tokens = text_model(shape), 48
    ids = torch.zeros((1, num_tokens), dtype=torch.long)
    real = counted(lambda: model(ids, use_cache=False))
    # Plain attention computes every pair, where a causal kernel does half of them.
    assert cost.forward_flops(shape, num_tokens, num_tokens**2, num_tokens) == real


@pytest.mark.parametrize(("num", "answer"), [(4, 16), (8, 5)])
def test_flops_of_the_packed_and_of_the_repeated_pass_are_those_that_torch_counts(
    num: int, answer: int, tiny: OmniBackbone, prompts: Sequence[Prompt]
) -> None:
    from mer_r1.models.packing import Branch, group_pass, pack

    text, batch = KNOWN["tiny"].text, tiny.collate(prompts[:1])
    text = replace(text, vocab=tiny.model.config.get_text_config().vocab_size)
    ids = torch.full((num, answer), 100)
    packed = pack(batch, [Branch(0, tuple(row)) for row in ids.tolist()])
    prompt = len(prompts[0].input_ids_T)
    rows = torch.zeros((num, prompt + answer, text.hidden))
    with torch.no_grad():
        encoded = tiny.encode(batch)
        real = (
            counted(lambda: group_pass(tiny, tiny.model, packed, encoded)),
            counted(lambda: tiny.language_model(inputs_embeds=rows, use_cache=False)),
        )
    works = (cost.packed_work(prompt, num, answer), cost.repeated_work(prompt, num, answer))
    heads = (num * answer, 0)
    # The fused attention of a CPU is not among the products that are counted: no pairs here.
    estimated = tuple(cost.forward_flops(text, work[0], 0, head) for work, head in zip(works, heads, strict=True))
    assert estimated == real


def test_a_group_of_one_is_a_plain_causal_sequence_packed_or_repeated() -> None:
    tokens, pairs = cost.packed_work(100, 1, 20)
    assert (tokens, pairs) == (120, 120**2 / 2) == cost.repeated_work(100, 1, 20)
    longer, more = cost.packed_work(100, 1, 20, fast=5)
    assert (longer - tokens, more - pairs) == (5, 5 * (100 + 2.5))


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, {"r": 2}])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_forward_and_backward_cost_as_many_forwards_as_the_model_says(
    lora: dict[str, Any] | None, checkpointing: bool
) -> None:
    from mer_r1.models.lora import add_lora
    from mer_r1.models.transformers_compat import enable_checkpointing

    model = text_model(Text(4, 64, 256, 4, 4, 100, tied=True)).train()
    embeds = torch.randn(1, 8, 64)
    forward = counted(lambda: model.model(inputs_embeds=embeds, use_cache=False))
    if lora:
        add_lora(model, LoraSection(**lora))
    if checkpointing:
        enable_checkpointing(model)
        embeds.requires_grad_()
    both = counted(lambda: model.model(inputs_embeds=embeds, use_cache=False).last_hidden_state.sum().backward())
    recipe = recipe_of(model={"source": "tiny", "lora": lora}, optim={"gradient_checkpointing": checkpointing})
    assert both / forward == pytest.approx(cost.gradient_factor(recipe), rel=0.08)


def test_media_tokens_of_real_prompts_stay_within_the_budget_and_reach_it(
    tiny: OmniBackbone, prompts: Sequence[Prompt]
) -> None:
    media = torch.tensor(tiny.placeholder_ids())
    real = [int(torch.isin(prompt.input_ids_T, media).sum()) for prompt in prompts]
    origin = find_origin(recipe_of().model)
    estimated = prompt_tokens(origin)
    assert max(real) == estimated.video + estimated.audio == most_tokens(tiny.budget) == 33
    text = max(len(prompt.input_ids_T) for prompt in prompts) - 33
    assert text <= estimated.text <= 4 * text


def test_the_kv_cache_holds_a_prompt_once_and_every_answer() -> None:
    recipe = recipe_of(rl={"num_generations": 8}, optim={"bf16": True})
    parts = cost.memory(OMNI_7B, recipe, TOKENS, 100, 8)
    a_token = 2 * 28 * 512 * 2
    assert parts["KV cache"] == a_token * (TOKENS.prompt + 8 * 100)


def test_full_training_needs_sixteen_bytes_a_parameter_spread_and_adapters_hold_the_base_once() -> None:
    whole = cost.memory(OMNI_7B, recipe_of(), TOKENS, 256, 1)
    learning = whole["weights"] + whole["gradients"] + whole["optimiser"]
    assert learning == 16 * OMNI_7B.text.parameters + 4 * OMNI_7B.towers
    spread = cost.memory(OMNI_7B, recipe_of(), TOKENS, 256, 8)
    assert spread["weights"] + spread["gradients"] + spread["optimiser"] == learning / 8
    lora = recipe_of(model={"source": "tiny", "lora": {}})
    adapted = cost.memory(OMNI_7B, lora, TOKENS, 256, 1)
    assert adapted["weights"] == 2 * OMNI_7B.parameters + 4 * cost.trained_parameters(OMNI_7B, lora)
    assert adapted["reference"] == adapted["compute copy"] == 0
    assert spread["reference"] == 2 * OMNI_7B.parameters
    assert cost.memory(OMNI_7B, recipe_of(rl={"beta": 0}), TOKENS, 256, 8)["reference"] == 0


@pytest.mark.parametrize("bits", ["nf4", "int8"])
def test_a_quantised_base_takes_the_bytes_of_a_quantised_model_and_one_weight_as_it_was(
    bits: Quantization, fresh_tiny: OmniBackbone
) -> None:
    """But for the tables of numbers, 1.2 KB, that every weight in 4 bits has of its own."""
    from mer_r1.models.quantization import quantize

    pytest.importorskip("bitsandbytes")
    quantize(fresh_tiny.model, bits, torch.device("cpu"))
    state = fresh_tiny.model.state_dict()
    kept = [value for name, value in state.items() if "quant_map" not in name and "quant_state" not in name]
    shape, model = shape_of(fresh_tiny.model.config.to_dict(), "x"), {"source": "tiny", "lora": {}}
    recipe = recipe_of(model=model | {"quantization": bits}, optim={"bf16": False})
    held = sum(tensor.nbytes for tensor in {tensor.data_ptr(): tensor for tensor in kept}.values())
    one = 4 * shape.text.hidden * shape.text.mlp
    assert cost.frozen_bytes(shape, recipe) == pytest.approx(held + one, rel=2e-3)
    whole = recipe_of(model=model, optim={"bf16": False})
    assert cost.frozen_bytes(shape, whole) == 4 * shape.parameters


def test_a_step_of_decoding_takes_longer_from_quantised_weights_and_a_pass_does_not() -> None:
    lora = {"source": "tiny", "lora": {}}
    plain, quantised = (
        cost.step_seconds(OMNI_7B, recipe_of(model=model), TOKENS, 256, GPUS["rtx4090"], 1)
        for model in (lora, lora | {"quantization": "nf4"})
    )
    times = {name: quantised[name] / plain[name] for name in plain}
    assert times.pop("decode") == pytest.approx(1.7)
    assert set(times.values()) == {1.0}


def test_accumulated_gradients_lie_whole_on_every_gpu_of_a_spread_model_only() -> None:
    def gradients(num_gpus: int, **keys: Any) -> list[float]:
        recipes = [recipe_of(optim={"gradient_accumulation_steps": micro}, **keys) for micro in (1, 2, 4)]
        return [cost.memory(OMNI_7B, recipe, TOKENS, 256, num_gpus)["gradients"] for recipe in recipes]

    whole = 4 * OMNI_7B.text.parameters
    assert gradients(1) == [whole] * 3
    assert gradients(8) == [whole / 8, whole / 8 + whole, whole / 8 + whole]
    assert len(set(gradients(8, model={"source": "tiny", "lora": {}}))) == 1


def test_iterations_on_the_same_answers_share_all_but_the_pass_and_the_links() -> None:
    one, two = (
        cost.step_seconds(OMNI_7B, recipe_of(rl={"num_iterations": num}), TOKENS, 256, GPUS["h100"], 8)
        for num in (1, 2)
    )
    assert {name: one[name] / two[name] for name in one} == pytest.approx(
        {"towers": 2, "prefill": 2, "decode": 2, "reference": 2, "pass": 1, "links": 1}
    )


def test_an_engine_writes_without_waiting_for_launches_all_micro_batches_at_a_time() -> None:
    def seconds(sampler: str, micro: int = 1) -> dict[str, float]:
        recipe = recipe_of(rl={"sampler": sampler}, optim={"gradient_accumulation_steps": micro})
        return cost.step_seconds(OMNI_7B, recipe, TOKENS, 256, GPUS["h100"], 1)

    text = OMNI_7B.text
    weights = 2 * (text.linear + text.hidden * text.vocab) / (cost.BANDWIDTH_SHARE * 3.35e12)
    assert weights < seconds("vllm")["decode"] / 256 < 1.1 * weights < seconds("local")["decode"] / 256
    assert seconds("vllm", 4)["decode"] < 1.2 * seconds("vllm")["decode"]
    assert seconds("local", 4)["decode"] == pytest.approx(4 * seconds("local")["decode"])
    assert seconds("vllm")["towers"] == pytest.approx(2 * seconds("local")["towers"])
    assert seconds("vllm", 4)["update"] == seconds("vllm")["update"] > 0
    assert "update" not in seconds("local")


def test_an_engine_takes_its_share_of_a_gpu_unless_it_sleeps() -> None:
    share = {"sampler": "vllm", "vllm_gpu_memory_utilization": 0.5}
    assert cost.engine_bytes(recipe_of(), 1e9, 80) == 0
    assert cost.engine_bytes(recipe_of(rl=share), 1e9, 80) == 40 * 2**30
    asleep = recipe_of(rl=share | {"vllm_enable_sleep_mode": True})
    assert cost.engine_bytes(asleep, 1e9, 80) == 40 * 2**30 - 1e9
    assert cost.engine_bytes(asleep, 1e12, 80) == 0
    assert cost.memory(OMNI_7B, recipe_of(rl=share), TOKENS, 256, 8)["KV cache"] == 0  # it is in the engine's share


def test_a_better_card_more_prompts_and_longer_answers_change_the_seconds_as_they_should() -> None:
    def seconds(gpu: str = "h100", answer: int = 256, **keys: Any) -> dict[str, float]:
        return cost.step_seconds(OMNI_7B, recipe_of(**keys), TOKENS, answer, GPUS[gpu], 1)

    assert seconds("a100-80")["pass"] / seconds("h100")["pass"] == pytest.approx(989 / 312)
    assert seconds(answer=512)["decode"] >= 2 * seconds(answer=256)["decode"]
    assert seconds(optim={"gradient_accumulation_steps": 3})["pass"] == pytest.approx(3 * seconds()["pass"])
    wide = seconds(optim={"batch_size": 3})
    assert wide["pass"] == pytest.approx(3 * seconds()["pass"])
    assert wide["decode"] < 1.5 * seconds()["decode"]  # answers of several prompts are written side by side
    assert set(seconds(rl={"beta": 0})) == {"towers", "prefill", "decode", "pass"}
    assert set(seconds(kind="sft")) == {"towers", "pass"}
    assert seconds(rl={"objective": "rd_ad"})["pass"] < seconds(rl={"objective": "mer_r1"})["pass"]


def test_the_fast_branches_are_estimated_for_the_objectives_that_read_confidence() -> None:
    from mer_r1.objectives import OBJECTIVES, needs_calibration

    for name in OBJECTIVES:
        assert (cost.fast_tokens(recipe_of(rl={"objective": name})) > 0) == needs_calibration(name), name


def test_a_prompt_for_fast_thinking_is_a_second_prompt_of_the_pass() -> None:
    prefill, prompt, none = (
        cost.pass_work(recipe_of(rl=rl), 100, 20) for rl in ({}, {"fast": "prompt"}, {"objective": "baseline"})
    )
    assert (prompt[0] - prefill[0], prompt[1] - prefill[1]) == (100, 100**2 / 2)
    assert none == cost.packed_work(100, 4, 20)


def test_steps_are_those_of_the_paper() -> None:
    assert cost.num_steps(recipe_of(), 26101, 8) == 3262
    sft = recipe_of(kind="sft", optim={"gradient_accumulation_steps": 4, "num_train_epochs": 2})
    assert cost.num_steps(sft, 5000, 8) == 314
    assert cost.num_steps(recipe_of(optim={"max_steps": 9}), None, 8) == 9
    assert cost.num_steps(recipe_of(), None, 8) is None


@pytest.mark.slow
def test_costs_are_estimated_without_torch() -> None:
    training = ("cost", "model_shape", "model_card", "estimate")
    modules = ", ".join((*(f"mer_r1.training.{name}" for name in training), "mer_r1.commands.export"))
    code = f"import sys, {modules}; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
