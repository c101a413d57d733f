"""What weights in 4 and 8 bits cost an RL step with adapters, as one JSON object.

    python perf/quantization_cost.py [--prompt 1024] [--answer 128] [--group 4] [--rounds 5] [--threads 1]

The same step (objective mer_r1, adapters of rank 64, no KL term) of the trainer's own code on one prompt and one random
Qwen2, in turn within every round:

    lora       the base in float32
    nf4, int8  its decoder quantised, as `model.quantization` does it

    ratio = median over rounds of quantised / lora, of the whole step and of its parts        weights_mb: of the base

Each product dequantises its weight first, however many rows it has: what a step of sampling with its few rows feels,
and a pass over whole answers hardly does. A GPU has kernels of its own for that, so its ratio is another: in 4 bits
vLLM wrote 0.58 of the tokens a second that it wrote in bfloat16 (unsloth issue 5108). Ids are sampled and replaced as
calibration_cost.py says. Times mean something only on a machine that does nothing else; `--clock cpu` takes processor
time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, get_args

import mer_r1.models  # noqa: F401  before transformers, which needs the fix for torchvision

# isort: split
import torch
from calibration_cost import make_backbone, make_step
from rl_step import PARTS, add_options, medians, settings, timed

from mer_r1.models.lora import add_lora
from mer_r1.models.quantization import quantize
from mer_r1.recipe import LoraSection, Quantization
from mer_r1.rl.trainer import GrpoTrainer

CPU = torch.device("cpu")


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompt", type=int, default=1024, help="prompt length P")
    add_options(parser, rounds=5)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    sides, weights_mb = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("lora", *get_args(Quantization)):
            backbone = make_backbone(options)
            if name != "lora":
                quantize(backbone.model, name, CPU)
            weights_mb[name] = round(sum(value.nbytes for value in backbone.model.state_dict().values()) / 1e6, 2)
            backbone.wrapped_model = add_lora(backbone.model, LoraSection(), base="in memory")
            sides[name] = make_step(GrpoTrainer, "mer_r1", backbone, Path(folder, name), options)
        for step in sides.values():
            step()
        seconds = timed(sides, options.rounds)
    result: dict[str, Any] = {
        **settings(options, "prompt"),
        "ratio": {name: ratios(seconds, name) for name in get_args(Quantization)},
        "step_s": medians(seconds),
        "weights_mb": weights_mb,
    }
    print(json.dumps(result, indent=2))


def ratios(seconds: dict[str, list[tuple[float, float, float]]], side: str) -> dict[str, float]:
    """How many times a side's step, and its first two parts, take the time of the base in float32."""
    pairs = [*zip(seconds[side], seconds["lora"], strict=True)]
    found = {"step": median(sum(one) / sum(base) for one, base in pairs)}
    found |= {part: median(one[index] / base[index] for one, base in pairs) for index, part in enumerate(PARTS[:2])}
    return {name: round(value, 2) for name, value in found.items()}


if __name__ == "__main__":
    main()
