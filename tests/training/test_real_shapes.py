"""One step of the shipped recipes at the real widths, on fake tensors: it runs, and holds the memory that is foretold.

No number is computed and no weight is there (tests/fake_weights.py), so a model of any size fits, and attention is that
of a GPU. A model is as deep as the published one, or of 3 layers, of which the others are repetitions.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mer_r1.models  # noqa: F401  before transformers, which needs the fix for torchvision
from mer_r1.data.sample import Clip, MediaFacts, Sample
from mer_r1.media import frame_count, frame_times, target_size
from mer_r1.models.backbone import Backbone
from mer_r1.models.category_confidence import category_tokens
from mer_r1.models.lora import add_lora
from mer_r1.models.sampler import Sampled, collated
from mer_r1.models.tiny.published import random_backbone
from mer_r1.models.transformers_compat import enable_checkpointing
from mer_r1.models.types import Generated, Sampling
from mer_r1.published_models import PUBLISHED
from mer_r1.recipe import Recipe, read_recipe
from mer_r1.rl.data import RlBatch, RlExample
from mer_r1.rl.losses import policy_loss
from mer_r1.rl.rollouts import contexts, read_answers
from mer_r1.rl.step import read_rollouts
from mer_r1.training import cost
from mer_r1.training.estimate import default_gpus, find_origin
from mer_r1.training.model_shape import KNOWN, Shape
from mer_r1.training.sft import SftExample, Target, collate, sft_loss
from tests.fake_weights import HeldMemory, given_answers, make_fake
from tests.small_wheels import SMALL, WORDS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning"),
]

VL_8 = "Qwen/Qwen3-VL-8B-Instruct"
TEXTS = ("I see a person who smiles, and the voice is calm.", *WORDS)
EXPERTS = {"r": 8, "target_modules": ["q_proj", "v_proj", "experts"]}
ONE_GPU = {"learning_rate": 1e-5, "bf16": True, "batch_size": 1}


class Case:
    """A shipped recipe, its settings and model changed where that is said, on a model of `layers` layers."""

    def __init__(self, name: str, layers: int | None, num_gpus: int | None = None, **changes: Any) -> None:
        tree = read_recipe(name).model_dump(mode="json")
        for section, values in changes.items():
            tree[section] |= values
        self.recipe = Recipe.model_validate(tree)
        self.num_gpus = default_gpus(self.recipe) if num_gpus is None else num_gpus
        self.origin = find_origin(self.recipe.model)
        known = self.origin.shape
        assert known is not None
        self.hub_id = next(ident for ident, shape in KNOWN.items() if shape == known)
        self.layers = layers
        text = known.text if layers is None else replace(known.text, layers=layers)
        self.shape: Shape = replace(known, text=text)

    def backbone(self) -> Backbone:
        """The model without weights, as it learns: under FSDP2 and below adapters in bfloat16."""
        recipe = self.recipe
        is_narrow = recipe.optim.bf16 and (recipe.model.lora or self.num_gpus > 1)
        with pytest.MonkeyPatch.context() as patch:
            if self.layers is not None:
                patch.setitem(PUBLISHED, self.hub_id, shallow(PUBLISHED[self.hub_id], self.layers))
            dtype = torch.bfloat16 if is_narrow else torch.float32
            backbone = random_backbone(self.hub_id, TEXTS, torch.device("meta"), dtype)
        backbone.budget = self.origin.budget
        backbone.set_towers_trainable(False)
        if recipe.model.lora:
            with torch.device("meta"):
                backbone.wrapped_model = add_lora(backbone.model, recipe.model.lora)
        if recipe.optim.gradient_checkpointing:
            enable_checkpointing(backbone.model)
        make_fake(backbone)
        return backbone


def shallow(published: dict[str, Any], layers: int) -> dict[str, Any]:
    """A published configuration with all of its parts so deep."""
    config = deepcopy(published)
    config["text_config"]["num_hidden_layers"] = config["vision_config"]["depth"] = layers
    if "deepstack_visual_indexes" in config["vision_config"]:
        config["vision_config"]["deepstack_visual_indexes"] = list(range(layers))
    if "audio_config" in config:
        config["audio_config"]["encoder_layers"] = layers
    return config


def clip_of(backbone: Backbone) -> Clip:
    """The longest clip that the media budget takes."""
    budget = backbone.budget
    seconds = max(budget.max_audio_s, budget.num_frames / (budget.fps or 1.0))
    (width, height), num = target_size(1280, 720, budget), frame_count(seconds, budget)
    facts = MediaFacts(frame_times(seconds, budget), seconds, (1280, 720), (width, height), seconds, budget.max_audio_s)
    zeros = torch.zeros(num, height, width, 3, dtype=torch.uint8).numpy()
    return Clip(zeros, torch.zeros(round(16_000 * budget.max_audio_s)).numpy(), facts)


def answers(backbone: Backbone, num: int, length: int) -> Generated:
    """Answers that name one emotion each, of so many ids, drawn to their end."""
    rows = []
    for number in range(num):
        end = backbone.text_ids(f"</think><answer>{WORDS[number % len(WORDS)]}</answer>")
        thought = backbone.text_ids("<think>") + length * backbone.text_ids(" a")
        rows.append([*thought[: length - 1 - len(end)], *end, backbone.tokenizer.eos_token_id])
    ids_BR = torch.tensor(rows)
    every_B = torch.ones(num, dtype=torch.bool)
    return Generated(ids_BR, torch.ones_like(ids_BR), every_B, every_B)


def same_within_a_tenth(case: Case, prompt: int, answer: int, held: int) -> None:
    tokens = cost.Tokens(video=0, audio=0, text=prompt)
    foretold = cost.activations(case.shape, case.recipe, tokens, answer, case.num_gpus)
    assert foretold == pytest.approx(held, rel=0.1)


def all_learned(model: nn.Module) -> None:
    """What learns has a gradient of its shape, and nothing else has one."""
    for name, weight in model.named_parameters():
        assert (weight.grad is not None) == weight.requires_grad, name
        assert weight.grad is None or (weight.grad.shape, weight.grad.dtype) == (weight.shape, weight.dtype), name


def rl_step(case: Case) -> None:
    """Towers, prefill, a step of decoding, the packed pass with its confidences, loss and gradient."""
    backbone, recipe, text = case.backbone(), case.recipe, case.shape.text
    rl, num_prompts = recipe.rl, recipe.optim.batch_size
    sample, clip = Sample("a", subtitle=TEXTS[0], labels=("happy",)), clip_of(backbone)
    prompt = backbone.prepare(sample, clip)
    length, num = len(prompt.input_ids_T), num_prompts * rl.num_generations
    batch = RlBatch((RlExample(prompt, ("happy",), sample),) * num_prompts)
    memory = HeldMemory(backbone.wrapped_model)
    with given_answers(100):
        with memory, torch.autocast("cpu", torch.bfloat16):
            encoded = backbone.encode(collated(backbone, batch.prompts))
            drawn = backbone.generate(encoded, rl.num_generations, Sampling(2))
        assert drawn.ids_BR.tolist() == [[100, 100]] * num
        made = answers(backbone, num, rl.max_completion_length)
        cache = sum(states.nbytes for states in (*encoded.keys, *encoded.values))
        assert cache == 2 * 2 * text.layers * text.kv * num_prompts * length
        assert {states.shape for states in encoded.keys} == {(num_prompts, text.kv_heads, length, text.head_width)}
        assert encoded.embeds_PTD is not None
        assert encoded.embeds_PTD.shape == (num_prompts, length, text.hidden)
        assert (encoded.logits_PV.shape, encoded.logits_PV.dtype) == ((num_prompts, text.vocab), torch.float32)
        rollouts = read_answers(backbone, batch, Sampled(encoded.without_cache(), made), backbone.response_format)
        del encoded
        branches = contexts(backbone, rollouts, backbone.response_format, calibrate=True)
        tokens = category_tokens(backbone, SMALL)
        backbone.wrapped_model.train()
        memory.start_again()
        before = memory.now
        with memory, torch.autocast("cpu", torch.bfloat16):
            passed = read_rollouts(backbone, backbone.wrapped_model, rollouts, branches, rl.temperature, tokens=tokens)
            old = passed.log_probs_BR.detach()
            spread_B = torch.linspace(-1, 1, num)
            loss = policy_loss(passed.log_probs_BR, old, old, spread_B, passed.mask_BR, rl, rl.beta).loss
        assert (passed.log_probs_BR.shape, passed.log_probs_BR.dtype) == (made.ids_BR.shape, torch.float32)
        categories = len(tokens.undefined_C)
        assert len(passed.confidences) == num + len(branches.fast)
        assert {confidence.category_AC.shape for confidence in passed.confidences} == {(1, categories)}
        with memory:
            backward(loss)
    all_learned(backbone.wrapped_model)
    same_within_a_tenth(case, length, rl.max_completion_length, memory.most - before)


def sft_step(case: Case) -> None:
    """Towers, language model, loss and gradient."""
    backbone, answer = case.backbone(), cost.ANSWER_TOKENS
    prompt = backbone.prepare(Sample("a", subtitle=TEXTS[0], labels=("happy",)), clip_of(backbone))
    target = Target((), tuple(backbone.text_ids(" a") * answer)[:answer])
    batch = collate(backbone, [SftExample(prompt, target)] * case.recipe.optim.batch_size)
    backbone.wrapped_model.train()
    memory = HeldMemory(backbone.wrapped_model)
    with memory, torch.autocast("cpu", torch.bfloat16):
        loss = sft_loss(backbone, backbone.wrapped_model, batch)
    assert (loss.shape, loss.dtype) == ((), torch.float32)
    with memory:
        backward(loss)
    all_learned(backbone.wrapped_model)
    same_within_a_tenth(case, len(prompt.input_ids_T), answer, memory.most)


def backward(loss: Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]


def test_a_step_of_the_paper_at_its_full_depth() -> None:
    rl_step(Case("omni7b-rl", None))


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(Case("omni3b-rl", 3, 1, optim=ONE_GPU | {"gradient_checkpointing": False}), id="3B on one GPU"),
        pytest.param(Case("omni30b-rl", 3), id="30B-A3B"),
        pytest.param(Case("omni30b-rl-lora", 3, model={"lora": EXPERTS}), id="30B-A3B, LoRA on experts"),
        pytest.param(Case("qwen3vl4b-rl", 3, 1, model={"source": VL_8, "lora": {}}), id="VL 8B, LoRA"),
    ],
)
def test_a_step_of_rl_at_the_real_widths(case: Case) -> None:
    rl_step(case)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(Case("omni7b-sft-lora", 3), id="7B, LoRA"),
        pytest.param(Case("omni3b-sft", 3), id="3B"),
        pytest.param(Case("omni30b-sft", 3), id="30B-A3B"),
        pytest.param(Case("qwen3vl4b-sft", 3, 1, optim=ONE_GPU), id="VL 4B on one GPU"),
    ],
)
def test_a_step_of_sft_at_the_real_widths(case: Case) -> None:
    sft_step(case)
