"""Answers by the policy's own loop and by a vLLM engine, as one JSON object.

    python perf/sampler.py [--samplers local vllm] [--shape text] [--prompt-tokens 1024] [--answers 128 512]
                           [--prompts 1 4] [--group 8] [--rounds 3] [--threads 2]

`--shape text` is perf/vs_trl.py's model (hidden 512, 6 layers) in float32, for a CPU; a Hub id that gpu_step.py knows
is that model's real shape in bfloat16, for a GPU; weights are random, prompts random text, and no answer ends early.
A cell is one number of prompts and one length of answers, asked of every sampler in turn; seconds are medians after
one round that is not counted.

seconds          of a cell: prompts read and all answers written; `first_s` the same with answers of one id
tokens_per_s     ids of all answers / seconds
share_of_limit   of writing alone (seconds - first_s): the time in which memory is read / the time taken. A step reads
                 all weights and the cache once, at the bandwidth of a large copy that this run measures
update_s         the sampler takes the policy's weights; 0 for the local one, which has none of its own

A whole step at a real shape: perf/gpu_step.py --sampler. Run it alone on the machine.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Sequence
from statistics import median
from typing import Any

import mer_r1.models  # noqa: F401  before transformers, which needs the fix for torchvision

# isort: split
import gpu_step
import torch

from mer_r1.data.sample import MediaFacts
from mer_r1.models.backbone import Backbone
from mer_r1.models.sampler import LocalSampler, Sampler, Stop, policy_weights
from mer_r1.models.tiny.text import tiny_text
from mer_r1.models.types import Prompt, Sampling
from mer_r1.models.vllm_engine import EngineOptions, require_vllm
from mer_r1.published_models import PUBLISHED
from mer_r1.synthetic.corpus import minimer_texts

NEVER = Stop("no answer has this text")


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samplers", nargs="+", choices=("local", "vllm"), default=["local", "vllm"])
    parser.add_argument("--shape", choices=("text", *PUBLISHED), default="text", metavar="NAME")
    parser.add_argument("--prompt-tokens", type=int, default=1024, help="P")
    parser.add_argument("--answers", type=int, nargs="+", default=[128, 512], help="ids of an answer, C")
    parser.add_argument("--prompts", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--group", type=int, default=8, help="answers of a prompt, K")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="of a CPU")
    parser.add_argument("--hidden-size", type=int, default=512, help="of --shape text")
    parser.add_argument("--layers", type=int, default=6, help="of --shape text")
    options = parser.parse_args(argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and options.shape != "text":
        parser.error(f"--shape {options.shape}: needs a GPU; on a CPU give --shape text")
    if "vllm" in options.samplers:
        require_vllm()
    torch.set_num_threads(options.threads)
    backbone = make_backbone(options, device)
    bandwidth = gpu_step.measured_rates(device).bandwidth
    samplers = {name: make_sampler(name, backbone, options) for name in options.samplers}
    sizes = [(prompts, answer) for prompts in options.prompts for answer in options.answers]
    print(
        json.dumps(
            {
                "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
                "torch": torch.__version__,
                **{name: vars(options)[name] for name in ("shape", "prompt_tokens", "group", "rounds", "threads")},
                "bandwidth": bandwidth,
                "update_s": {name: round(update_s(sampler, device), 4) for name, sampler in samplers.items()},
                "cells": [cell(backbone, samplers, *size, bandwidth, options) for size in sizes],
            },
            indent=2,
        )
    )


def make_backbone(options: argparse.Namespace, device: torch.device) -> Backbone:
    """A random model of the shape asked for, which never writes its end token."""
    if options.shape == "text":
        length = options.prompt_tokens + max(options.answers) + 8
        backbone: Backbone = tiny_text(
            minimer_texts(300),
            hidden_size=options.hidden_size,
            num_layers=options.layers,
            num_key_value_heads=2,
            max_positions=length,
        )
        backbone.model.to(device)
    else:
        backbone = gpu_step.make_backbone(options.shape, device, with_lora=False)
    backbone.suppressed_V[int(backbone.tokenizer.eos_token_id)] = -torch.inf
    return backbone


def make_sampler(name: str, backbone: Backbone, options: argparse.Namespace) -> Sampler:
    """A sampler that holds the policy's weights."""
    if name == "local":
        return LocalSampler(backbone)
    from mer_r1.models.vllm_sampler import VllmSampler

    engine = EngineOptions(
        max_model_len=options.prompt_tokens + max(options.answers) + 8,
        dtype="float32" if backbone.model.dtype == torch.float32 else "bfloat16",
        max_num_seqs=max(options.prompts) * options.group,
        memory_share=0.5,
    )
    sampler = VllmSampler(backbone, engine)
    sampler.update(policy_weights(backbone))
    return sampler


def update_s(sampler: Sampler, device: torch.device) -> float:
    """Seconds in which the sampler takes new weights."""
    return gpu_step.timed(lambda: sampler.update(policy_weights(sampler.backbone)), device)[1]


def cell(
    backbone: Backbone,
    samplers: dict[str, Sampler],
    prompts: int,
    answer: int,
    bandwidth: float,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """What every sampler takes for one number of prompts and one length of answers, in turn."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in samplers}
    for number in range(options.rounds + 1):
        for name, sampler in samplers.items():
            first = sample_s(sampler, prompts, 1, f"{number} first", options)
            taken[name].append((first, sample_s(sampler, prompts, answer, f"{number}", options)))
    limit_s = read_bytes(backbone, prompts, answer, options) / bandwidth
    made: dict[str, Any] = {"prompts": prompts, "answer": answer, "limit_s": round(limit_s, 4)}
    for name, rounds in taken.items():
        first_s, seconds = (median(one[place] for one in rounds[1:]) for place in (0, 1))
        made[name] = {
            "seconds": round(seconds, 4),
            "first_s": round(first_s, 4),
            "tokens_per_s": round(prompts * options.group * answer / seconds, 1),
            "share_of_limit": round(limit_s / max(seconds - first_s, 1e-9), 4),
        }
    return made


def sample_s(sampler: Sampler, prompts: int, answer: int, key: str, options: argparse.Namespace) -> float:
    """Seconds of one call. Prompts differ from call to call, so that none is known from before."""
    backbone = sampler.backbone
    batch = [random_prompt(backbone, f"{key} {prompts} {answer} {number}", options) for number in range(prompts)]
    with torch.no_grad():
        made, seconds = gpu_step.timed(
            lambda: sampler.sample([batch], options.group, Sampling(answer), NEVER, key), backbone.device
        )
    assert made[0].generated.mask_BR.sum() == prompts * options.group * answer, "an answer ended early"
    return seconds


def random_prompt(backbone: Backbone, key: str, options: argparse.Namespace) -> Prompt:
    """Ids of text alone, drawn by the key's letters."""
    generator = torch.Generator().manual_seed(int.from_bytes(key.encode(), "big") % 2**63)
    words = (backbone.suppressed_V[: len(backbone.tokenizer)] == 0).nonzero()[:, 0].cpu()
    ids_T = words[torch.randint(len(words), (options.prompt_tokens,), generator=generator)]
    return Prompt(key, ids_T, torch.arange(len(ids_T)).expand(3, -1), {}, MediaFacts())


def read_bytes(backbone: Backbone, prompts: int, answer: int, options: argparse.Namespace) -> float:
    """Bytes that writing all ids but the first reads: every weight of a step and the cache as it then is."""
    layers = backbone.language_model.layers
    weights = [*layers.parameters(), backbone.model.get_output_embeddings().weight]
    attention = layers[0].self_attn
    width = attention.k_proj.out_features + attention.v_proj.out_features
    kept = len(layers) * width * weights[0].element_size()  # of one id
    cache = kept * prompts * (options.prompt_tokens + options.group * answer / 2)
    return float((answer - 1) * (sum(weight.nbytes for weight in weights) + cache))


if __name__ == "__main__":
    main()
