"""One RL step of a published model's real shape on the device at hand, part by part, as one JSON object.

    python perf/gpu_step.py [--model Qwen/Qwen2.5-Omni-7B] [--prompts 1] [--group 4] [--answer 256] [--checkpointing]

`--model` is any of `mer_r1.models.tiny.published.NAMES`: Qwen2.5-Omni, Qwen2.5-VL, Qwen3-Omni, Qwen3-VL by their Hub
ids, and tiny ones. On a CPU the script runs a tiny one from end to end, which shows that it works and nothing about a
card. It needs neither network nor checkpoint: weights are random in bfloat16, LoRA (r 64, float32) on the language
model's linear layers, of a model with experts those of attention, towers frozen, the official classes and processor,
and a clip of noise of `--seconds` under the default budget. The tokenizer is the tiny one, so the prompt's text has
more tokens than with the real one; `tokens` counts them.

    towers     pictures and sound of the prompts to embeddings, no gradient
    prefill    the language model over the prompts, no gradient (the rest of `encode`)
    decode     `--answer` ids of every answer; none ends early
    pass       the packed pass over prompts, answers and fast branches, forward and backward
    optimiser  AdamW on the adapters
    update     a vLLM engine takes the weights; 0 for the policy's own loop

With `--sampler vllm` the engine's towers and its reading of the prompts are in `decode`, and `prefill` is 0. Copies of
the prompt are read once by it.

A part's median seconds are compared with its limit: FLOP over the device's bf16 rate (towers, prefill, pass) or bytes
over its memory bandwidth (decode: all weights and the cache once an id, of experts those that some answer is sent to).
Work is counted as cost.py counts it; with --checkpointing the pass's second forward is work. share_of_limit = limit_s /
seconds, 1 at the limit: against rates that this run measures on the device (`measured`: a large matrix product, a large
copy) and, for a card that gpus.py knows, against its data sheet (`nominal`).

Printed are `device`, `torch` and the options; `tokens` of a prompt by kind, `parameters` and those in use for a token
(`active`); the `rates`; `step_s` and, by part, `seconds`, what limits it, `work`, `limit_s` and `share_of_limit`;
`predicted_s` by part and `predicted_gib` are what `train --dry-run` would say of the same step, beside `step_s` and
`peak_gib`, the most that torch allocated (null on a CPU).
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import mer_r1.models  # noqa: F401  before transformers, which needs the fix for torchvision

# isort: split
import numpy as np
import torch

from mer_r1.data.sample import Clip, MediaFacts, Sample
from mer_r1.media import MediaBudget, frame_count, frame_times, target_size
from mer_r1.models.backbone import Backbone
from mer_r1.models.lora import add_lora
from mer_r1.models.packing import Branch, group_pass, pack
from mer_r1.models.sampler import Sampler, Stop, policy_weights
from mer_r1.models.tiny.published import NAMES, random_backbone
from mer_r1.models.transformers_compat import enable_checkpointing
from mer_r1.models.types import Prompt, Sampling
from mer_r1.models.vllm_engine import EngineOptions
from mer_r1.published_models import PUBLISHED
from mer_r1.recipe import LoraSection, Recipe
from mer_r1.synthetic.corpus import minimer_texts
from mer_r1.training import cost
from mer_r1.training.gpus import GPUS, Gpu
from mer_r1.training.model_shape import Shape, shape_of

PARTS = ("towers", "prefill", "decode", "pass", "optimiser", "update")
NEVER = 2**30  # stop texts that no row ever writes
SUBTITLE = "I did not think that it would go like this, but here we are."


@dataclass(frozen=True)
class Rates:
    """What a device can do: dense bf16 FLOP/s and bytes/s of memory."""

    flops: float
    bandwidth: float


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=NAMES, default="Qwen/Qwen2.5-Omni-7B", metavar="NAME")
    parser.add_argument("--prompts", type=int, default=1, help="prompts of a device batch")
    parser.add_argument("--group", type=int, default=4, help="answers of a prompt, K")
    parser.add_argument("--answer", type=int, default=256, help="ids of an answer, C")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the clip")
    parser.add_argument("--sampler", choices=("local", "vllm"), default="local", help="who draws the answers")
    parser.add_argument("--memory-share", type=float, default=0.3, help="of the GPU, for the engine")
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing")
    parser.add_argument("--rounds", type=int, default=3, help="after one round to warm up")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(argv)
    device = torch.device(options.device)
    if device.type == "cpu" and options.model in PUBLISHED:
        parser.error(f"--model {options.model}: needs a GPU; on a CPU give --model tiny")
    backbone = make_backbone(options.model, device)
    shape = shape_of(backbone.model.config.to_dict(), options.model)
    if options.checkpointing:
        enable_checkpointing(backbone.model)
    prompt = backbone.prepare(*make_clip(options.seconds, backbone.budget))
    sampler = make_engine(backbone, prompt, options) if options.sampler == "vllm" else None
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    rounds = [step(backbone, prompt, options, sampler) for _ in range(options.rounds + 1)][1:]
    seconds = {part: median(one[part] for one in rounds) for part in PARTS}
    print(json.dumps(report(seconds, shape, count_tokens(backbone, prompt), device, options), indent=2))


def make_backbone(name: str, device: torch.device, with_lora: bool = True) -> Backbone:
    """A random model of a known shape in bfloat16 on the device, nothing loaded, with adapters or without."""
    torch.manual_seed(0)
    backbone = random_backbone(name, minimer_texts(300), device)
    backbone.set_towers_trainable(False)
    if with_lora:
        text = shape_of(backbone.model.config.to_dict(), name).text
        backbone.wrapped_model = add_lora(backbone.model, LoraSection(target_modules=tuple(text.widths)))
    backbone.suppressed_V[int(backbone.tokenizer.eos_token_id)] = -torch.inf  # no row ends early
    return backbone


def make_clip(seconds: float, budget: MediaBudget) -> tuple[Sample, Clip]:
    """A clip of noise, 16:9, of which the budget takes what it takes of a real one."""
    chance, (width, height) = np.random.default_rng(0), target_size(1280, 720, budget)
    frames = chance.integers(0, 256, (frame_count(seconds, budget), height, width, 3), dtype=np.uint8)
    sound_s = min(seconds, budget.max_audio_s)
    wave = chance.uniform(-0.1, 0.1, round(16_000 * sound_s)).astype(np.float32)
    facts = MediaFacts(frame_times(seconds, budget), seconds, (1280, 720), (width, height), seconds, sound_s)
    return Sample("noise", subtitle=SUBTITLE), Clip(frames, wave, facts)


def count_tokens(backbone: Backbone, prompt: Prompt) -> cost.Tokens:
    """Tokens of the prompt, by kind."""
    config, ids = backbone.model.config, prompt.input_ids_T
    kinds = (getattr(config, f"{medium}_token_id", None) for medium in ("video", "audio"))
    video, audio = (0 if ident is None else int((ids == ident).sum()) for ident in kinds)
    return cost.Tokens(video, audio, len(ids) - video - audio)


def make_engine(backbone: Backbone, prompt: Prompt, options: argparse.Namespace) -> Sampler:
    """A vLLM engine in this process that holds the policy's weights."""
    from mer_r1.models.vllm_sampler import VllmSampler

    engine = EngineOptions(
        max_model_len=len(prompt.input_ids_T) + options.answer + 8,
        dtype="bfloat16",
        max_num_seqs=options.prompts * options.group,
        memory_share=options.memory_share,
        budget=backbone.budget,
    )
    sampler = VllmSampler(backbone, engine)
    sampler.update(policy_weights(backbone))
    return sampler


def step(
    backbone: Backbone, prompt: Prompt, options: argparse.Namespace, sampler: Sampler | None = None
) -> dict[str, float]:
    """Seconds of every part of one step over copies of one prompt. As the trainer computes: by autocast in bfloat16."""
    device, seconds = backbone.device, dict.fromkeys(PARTS, 0.0)
    batch = backbone.collate([prompt] * options.prompts).to(device)
    learned = [weight for weight in backbone.wrapped_model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(learned, lr=1e-12)
    with torch.autocast(device.type, torch.bfloat16):
        backbone.wrapped_model.eval()
        sampling = Sampling(options.answer)
        if sampler is None:
            with timed_towers(backbone, seconds):
                encoded, encode_s = timed(lambda: backbone.encode(batch), device)
            seconds["prefill"] = encode_s - seconds["towers"]
            made, seconds["decode"] = timed(
                lambda: backbone.generate(encoded, options.group, sampling, num_stops=NEVER), device
            )
            encoded = encoded.without_cache()
        else:
            prompts, stop = [prompt] * options.prompts, Stop("no answer has this text")
            with timed_towers(backbone, seconds):
                sampled, sample_s = timed(
                    lambda: sampler.sample([prompts], options.group, sampling, stop, "key"), device
                )
            (encoded, made), seconds["decode"] = sampled[0], sample_s - seconds["towers"]
        assert made.mask_BR.all()
        backbone.wrapped_model.train()
        rows = [(number // options.group, tuple(ids)) for number, ids in enumerate(made.ids_BR.tolist())]

        def learn() -> None:
            fast = [Branch(of, ids[: cost.FAST_TOKENS]) for of, ids in rows]
            packed = pack(batch, [Branch(*row) for row in rows], fast)
            group_pass(backbone, backbone.wrapped_model, packed, encoded).log_probs_BR.mean().backward()  # type: ignore[no-untyped-call]

        _, seconds["pass"] = timed(learn, device)
    _, seconds["optimiser"] = timed(optimiser.step, device)
    optimiser.zero_grad()
    if sampler is not None:
        _, seconds["update"] = timed(lambda: sampler.update(policy_weights(backbone)), device)
    return seconds


def timed(act: Callable[[], Any], device: torch.device) -> tuple[Any, float]:
    """What `act` gives, and the seconds until the device had done it."""
    wait_for(device)
    start = time.perf_counter()
    value = act()
    wait_for(device)
    return value, time.perf_counter() - start


def wait_for(device: torch.device) -> None:
    """Return when the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def timed_towers(backbone: Backbone, seconds: dict[str, float]) -> Iterator[None]:
    """Within the block the towers' time is added to `seconds`; they run one after the other."""

    def before(*_: Any) -> None:
        wait_for(backbone.device)
        seconds["towers"] -= time.perf_counter()

    def after(*_: Any) -> None:
        wait_for(backbone.device)
        seconds["towers"] += time.perf_counter()

    handles = [tower.register_forward_pre_hook(before) for tower in backbone.towers()]
    handles += [tower.register_forward_hook(after) for tower in backbone.towers()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def measured_rates(device: torch.device) -> Rates:
    """The device's own best: a large bf16 matrix product, and a copy, which reads and writes."""
    size, length = (8192, 2**30) if device.type == "cuda" else (512, 2**27)  # beyond its caches
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    source = torch.zeros(length, dtype=torch.int8, device=device)
    target = torch.empty_like(source)
    multiply_s = min(timed(lambda: left @ right, device)[1] for _ in range(10))
    copy_s = min(timed(lambda: target.copy_(source), device)[1] for _ in range(10))
    return Rates(2 * size**3 / multiply_s, 2 * length / copy_s)


def nominal_card(device: torch.device) -> Gpu | None:
    """The data sheet of the card at hand, where gpus.py has it."""
    name = torch.cuda.get_device_name(device).lower() if device.type == "cuda" else ""
    for key, gpu in GPUS.items():
        parts = (part.replace("rtx", "rtx ?") for part in key.split("-"))
        if re.search(".*".join(rf"\b{part}(?:gb)?\b" for part in parts), name):
            return gpu
    return None


def work_of(shape: Shape, tokens: cost.Tokens, options: argparse.Namespace) -> dict[str, tuple[float, str]]:
    """What each part has to do: FLOP ("flops") or bytes ("bandwidth")."""
    text, prompts, num, answer = shape.text, options.prompts, options.group, options.answer
    slow_and_fast = cost.packed_work(tokens.prompt, num, answer, cost.FAST_TOKENS)
    forward = cost.forward_flops(text, *slow_and_fast, num * answer)
    cache = 4 * text.layers * text.kv * prompts * (tokens.prompt + num * answer / 2)
    passes = 2 + int(options.checkpointing)  # LoRA: backward makes no gradient of the frozen weights
    return {
        "towers": (prompts * cost.tower_flops(shape, tokens), "flops"),
        "prefill": (prompts * cost.forward_flops(text, tokens.prompt, tokens.prompt**2 / 2, 1), "flops"),
        "decode": (answer * (2 * (text.read(prompts * num) + text.hidden * text.vocab) + cache), "bandwidth"),
        "pass": (passes * prompts * forward, "flops"),
    }


def report(
    seconds: dict[str, float], shape: Shape, tokens: cost.Tokens, device: torch.device, options: argparse.Namespace
) -> dict[str, Any]:
    """The JSON object."""
    is_cuda = device.type == "cuda"
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if is_cuda else None
    card, rates = nominal_card(device), {"measured": measured_rates(device)}
    if card is not None:
        rates["nominal"] = Rates(card.flops, card.bandwidth)
    parts: dict[str, Any] = {}
    work = work_of(shape, tokens, options)
    for part, spent in seconds.items():
        parts[part] = {"seconds": round(spent, 5)}
        if part in work and spent:
            amount, limited_by = work[part]
            limits = {name: amount / getattr(rate, limited_by) for name, rate in rates.items()}
            parts[part] |= {
                "limited_by": limited_by,
                "work": amount,
                "limit_s": {name: round(limit, 6) for name, limit in limits.items()},
                "share_of_limit": {name: round(limit / spent, 4) for name, limit in limits.items()},
            }
    recipe, own = as_recipe(shape, options), rates["measured"]
    gpu = card or Gpu(own.flops, own.bandwidth, 0.0, 0.0)
    predicted = cost.step_seconds(shape, recipe, tokens, options.answer, gpu, 1)
    return {
        "device": torch.cuda.get_device_name(device) if is_cuda else "cpu: these numbers say nothing about a card",
        "torch": torch.__version__,
        **{
            name: vars(options)[name]
            for name in ("model", "sampler", "prompts", "group", "answer", "checkpointing", "rounds")
        },
        "tokens": {"video": tokens.video, "audio": tokens.audio, "text": tokens.text, "prompt": tokens.prompt},
        "parameters": shape.parameters,
        "active": shape.active,
        "rates": {name: vars(rate) for name, rate in rates.items()},
        "step_s": round(sum(seconds.values()), 5),
        "parts": parts,
        "predicted_s": {part: round(value, 6) for part, value in predicted.items()},
        "peak_gib": peak and round(peak, 2),
        "predicted_gib": round(sum(cost.memory(shape, recipe, tokens, options.answer, 1).values()) / 2**30, 2),
    }


def as_recipe(shape: Shape, options: argparse.Namespace) -> Recipe:
    """The run whose step this is."""
    return Recipe.model_validate(
        {
            "kind": "rl",
            "model": {"source": options.model, "lora": {"target_modules": [*shape.text.widths]}},
            "data": {"train": "none"},
            "optim": {
                "learning_rate": 1e-5,
                "batch_size": options.prompts,
                "bf16": True,
                "gradient_checkpointing": options.checkpointing,
            },
            "rl": {
                "num_generations": options.group,
                "max_completion_length": options.answer,
                "beta": 0.0,
                "sampler": options.sampler,
            },
        }
    )


if __name__ == "__main__":
    main()
