"""What the tiny Omni costs before RL, as one JSON object: making a clip, its features, a step of SFT.

    python perf/steps.py [--clips 80] [--steps 10] [--threads 2]

clip_ms       one MiniMER clip drawn, voiced and written as mp4
feature_ms    one clip decoded and processed, kept on disk
sft_step_ms   forward, backward and optimiser step on 32 slow targets; median after one step to warm up

An RL step part by part: gpu_step.py. What calibration adds to one: calibration_cost.py. Run it alone on the machine:
two jobs on two cores make PyTorch many times slower.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import mer_r1.models  # noqa: F401  before transformers, which needs the fix for torchvision

# isort: split
import torch

from mer_r1.data.manifest import read_manifest
from mer_r1.models.features import read_prompts
from mer_r1.models.qwen2_5_omni import load_omni
from mer_r1.models.tiny.omni import write_tiny
from mer_r1.synthetic.corpus import Plan, minimer_texts, write_corpus
from mer_r1.training.sft import SftExamples, collate, sft_loss

BATCH = 32


def milliseconds(act: Callable[[], Any]) -> tuple[Any, float]:
    """What `act` gives, and its wall time."""
    start = time.perf_counter()
    value = act()
    return value, 1e3 * (time.perf_counter() - start)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=80)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written, corpus_ms = milliseconds(lambda: write_corpus(Plan(options.clips, 0), folder / "data"))
        samples = read_manifest(written["train"])[:BATCH]
        backbone = load_omni(str(write_tiny(folder / "tiny", minimer_texts(300))))
        prompts, features_ms = milliseconds(lambda: read_prompts(backbone, samples, folder / "features", 0))
        examples = SftExamples.of(backbone, samples, prompts, ("slow",))
        batch = collate(backbone, [examples[number] for number in range(len(examples))])
        optimiser = torch.optim.AdamW(backbone.model.parameters(), lr=1e-12)

        def sft_step() -> None:
            sft_loss(backbone, backbone.model, batch).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            optimiser.zero_grad()

        steps_ms = [milliseconds(sft_step)[1] for _ in range(options.steps + 1)][1:]
    result = {
        "machine": platform.machine(),
        "torch": torch.__version__,
        "threads": options.threads,
        "clip_ms": round(corpus_ms / options.clips, 1),
        "feature_ms": round(features_ms / len(samples), 1),
        "sft_step_ms": round(median(steps_ms), 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
