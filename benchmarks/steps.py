"""What one training step of the tiny Omni costs (no KL), and what calibration adds to it, as one JSON object.

    python benchmarks/steps.py [--threads 2] [--steps 10]

Run it alone on the machine: two jobs on two cores make PyTorch many times slower.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch

from mer_r1.emotion.wheel import WheelSet
from mer_r1.manifest import read_manifest
from mer_r1.models.backbone import Generated, Sampling, chosen_log_probs, pad_right
from mer_r1.models.features import read_prompts
from mer_r1.models.omni import load_omni
from mer_r1.models.tiny import write_tiny
from mer_r1.response import parse_response
from mer_r1.rl.advantages import advantages
from mer_r1.rl.calibration import category_tokens
from mer_r1.rl.rollouts import make_rollouts, score_rollouts
from mer_r1.sft import SftExample, collate, make_target, sft_loss
from mer_r1.synthetic.corpus import Plan, minimer_texts, write_corpus

COEFFICIENTS = {"lambda_cali": 0.1, "lambda_fmt": 0.1}


def milliseconds(act: Callable[[], object], times: int) -> float:
    """Median wall time of `act` after one warm-up call."""
    act()
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        act()
        spent.append(1e3 * (time.perf_counter() - start))
    return round(median(spent), 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.perf_counter()
        train = write_corpus(Plan(80, 0), folder / "data")["train"]
        clip_ms = round(1e3 * (time.perf_counter() - start) / 80, 1)
        samples = read_manifest(train)[:32]
        backbone = load_omni(str(write_tiny(folder / "tiny", minimer_texts(300))))
        start = time.perf_counter()
        prompts = read_prompts(backbone, samples, folder / "features")
        feature_ms = round(1e3 * (time.perf_counter() - start) / len(samples), 1)
        wheels = WheelSet.load()
        tokens = category_tokens(backbone, wheels)
        examples = [SftExample(p, make_target(backbone, s, "slow")) for p, s in zip(prompts, samples, strict=True)]
        gold = [sample.labels for sample in samples[:16]]

        def sft_step() -> None:
            sft_loss(backbone, backbone.model, collate(backbone, examples)).backward()  # type: ignore[no-untyped-call]
            backbone.model.zero_grad()

        answers = [list(example.target.learned) for example in examples[:16] for _ in range(4)]
        ids, mask = pad_right(answers, int(backbone.tokenizer.pad_token_id), backbone.device)

        def rl_step(objective: str) -> None:
            with torch.no_grad():
                encoded = backbone.encode(backbone.collate(prompts[:16]))
            sampled = make_rollouts(backbone, encoded, gold, 4, Sampling(45))
            # An untaught model samples no answer to calibrate; the annotated ones stand in for what it sampled.
            texts = [backbone.decode(row) for row in answers]
            responses = [parse_response(text) for text in texts]
            batch = replace(sampled, generated=Generated(ids, mask), rows=answers, texts=texts, responses=responses)
            inputs = backbone.score_inputs(batch.repeated, ids, mask)
            logits = backbone.response_logits(backbone.model, inputs, ids.shape[1])
            used = tokens if objective == "mer_r1" else None
            rewards = score_rollouts(backbone, batch, logits.detach(), 4, wheels, used)
            weights = advantages(rewards, objective, COEFFICIENTS).flatten() + 1.0
            (chosen_log_probs(logits, ids).mean(1) * weights).sum().backward()  # type: ignore[no-untyped-call]
            backbone.model.zero_grad()

        result = {
            "machine": platform.processor() or platform.machine(),
            "threads": options.threads,
            "clip_ms": clip_ms,
            "feature_ms": feature_ms,
            "sft_step_ms": milliseconds(sft_step, options.steps),
            "rl_step_baseline_ms": milliseconds(lambda: rl_step("baseline"), options.steps),
            "rl_step_mer_r1_ms": milliseconds(lambda: rl_step("mer_r1"), options.steps),
        }
    result["calibration_overhead"] = round(result["rl_step_mer_r1_ms"] / result["rl_step_baseline_ms"] - 1, 3)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
