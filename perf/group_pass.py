"""The packed group pass against the repeated one, forward and backward, as one JSON object.

    python perf/group_pass.py [--prompts 512 1024 2048] [--groups 4 8] [--answer 128] [--threads 1]

packed     [prompt | answer_1 .. answer_K] in one sequence: `pack` and `group_pass`, as the trainer calls them
repeated   K rows [prompt | answer]. No row is padded, so transformers drops the mask and SDPA runs its causal kernel;
           only the answers' positions pass the LM head; no cache is kept
row_by_row the repeated pass one row at a time, gradients added up: small tensors, which leave a GPU idle

For a prompt of P tokens and K answers of C: token_ratio = K (P + C) / (P + K C), what counting tokens allows. Both
sides learn all weights of one random float32 Qwen2 (the cost does not depend on what a model knows) from the same loss,
a weighted sum of log-probabilities.

speedup          median over rounds of repeated / packed time (_row_by_row: of row_by_row); the bar holds for both
max_logprob_diff the largest |difference| of an answer id's log-probability, packed against repeated
grad_rel_diff    |g_packed - g_repeated| / |g_repeated|, the L2 norm over all weights
peak_mb_*        VmHWM of one pass minus VmRSS before it, in a process of its own, after a warm-up on a few tokens;
                 1 MB is 2^20 bytes; None where there is no /proc

Times mean something only on a machine that does nothing else; `--clock cpu` takes the process's time.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import mer_r1.models  # noqa: F401  before transformers, which needs the fix for torchvision

# isort: split
import torch
from torch import Tensor

from mer_r1.models.backbone import Backbone, chosen_log_probs
from mer_r1.models.packing import Branch, group_pass, pack
from mer_r1.models.tiny.text import tiny_text
from mer_r1.models.types import PromptBatch
from mer_r1.synthetic.corpus import minimer_texts

BAR = 0.9  # of token_ratio
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Group:
    """One prompt (1, P), its answers (K, C) and what each answer's log-probabilities weigh in the loss (K,)."""

    prompt: PromptBatch
    answers_KC: Tensor
    weights_K: Tensor

    @property
    def num(self) -> int:
        """K."""
        return len(self.answers_KC)

    def row(self, number: int) -> Group:
        """The group of one answer."""
        one = slice(number, number + 1)
        return Group(self.prompt, self.answers_KC[one], self.weights_K[one])


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, nargs="+", default=[512, 1024, 2048], help="prompt lengths P")
    parser.add_argument("--groups", type=int, nargs="+", default=[4, 8], help="group sizes K")
    parser.add_argument("--answer", type=int, default=128, help="answer length C")
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--peak-of", choices=RUN, help="only print that side's peak memory of the first P and K")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    if options.peak_of:
        print(json.dumps(own_peak_mb(options.peak_of, options)))
        return
    backbone = model_of(options)
    cells = [cell(backbone, P, K, options) for P in options.prompts for K in options.groups]
    result = {
        "machine": platform.machine(),
        "torch": torch.__version__,
        **{name: vars(options)[name] for name in ("threads", "clock", "rounds", "answer", "hidden", "layers")},
        "cells": cells,
        "bars": {
            "speedup": {
                "at_least": f"{BAR} x token_ratio",
                "kept": all(
                    min(one["speedup"], one["speedup_row_by_row"]) >= BAR * one["token_ratio"] for one in cells
                ),
            }
        },
    }
    print(json.dumps(result, indent=2))


def model_of(options: argparse.Namespace) -> Backbone:
    """The random language model of the options' size."""
    longest = max(options.prompts) + options.answer
    return tiny_text(
        minimer_texts(300), hidden_size=options.hidden, num_layers=options.layers, max_positions=max(4096, longest)
    )


def make_group(backbone: Backbone, prompt: int, num: int, answer: int) -> Group:
    """A prompt and `num` answers of random words."""
    chance = torch.Generator().manual_seed(0)
    words = torch.arange(256)  # the byte characters, which every tiny tokenizer has
    assert not bool(backbone.suppressed_V[words].isinf().any())
    ids_1P = torch.randint(256, (1, prompt), generator=chance)
    positions = torch.arange(prompt).expand(3, 1, -1)
    answers_KC = torch.randint(256, (num, answer), generator=chance)
    batch = PromptBatch(ids_1P, torch.ones_like(ids_1P), positions, {})
    return Group(batch, answers_KC, torch.randn(num, generator=chance))


def packed(backbone: Backbone, group: Group) -> Tensor:
    """Log-probabilities (K, C) by the packed pass; gradients are added to the weights'."""
    made = pack(group.prompt, [Branch(0, tuple(ids)) for ids in group.answers_KC.tolist()])
    log_probs_KC = group_pass(backbone, backbone.model, made).log_probs_BR
    return learn(log_probs_KC, group)


def repeated(backbone: Backbone, group: Group) -> Tensor:
    """The same by K copies of the prompt."""
    prompt, num = group.prompt, group.num
    copies = PromptBatch(
        prompt.input_ids_PT.expand(num, -1), prompt.mask_PT.expand(num, -1), prompt.positions_3PT.expand(3, num, -1), {}
    )
    ids_KC = group.answers_KC
    inputs = backbone.full_inputs(copies, ids_KC, torch.ones_like(ids_KC))
    logits_KCV = backbone.response_logits(backbone.model, inputs, ids_KC.shape[1])
    return learn(chosen_log_probs(logits_KCV, ids_KC), group)


def row_by_row(backbone: Backbone, group: Group) -> Tensor:
    """The same, one row after the other."""
    return torch.cat([repeated(backbone, group.row(number)) for number in range(group.num)])


def learn(log_probs_KC: Tensor, group: Group) -> Tensor:
    """Go backward from the loss."""
    loss = (log_probs_KC.mean(1) * group.weights_K).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    return log_probs_KC.detach()


RUN: dict[str, Callable[[Backbone, Group], Tensor]] = {
    "packed": packed,
    "repeated": repeated,
    "row_by_row": row_by_row,
}


def cell(backbone: Backbone, prompt: int, num: int, options: argparse.Namespace) -> dict[str, Any]:
    """One row of the result."""
    group, answer = make_group(backbone, prompt, num, options.answer), options.answer
    log_probs, gradients = {}, {}
    for side in ("packed", "repeated"):
        backbone.model.zero_grad()
        log_probs[side] = RUN[side](backbone, group)
        gradients[side] = torch.cat([p.grad.flatten() for p in backbone.model.parameters()])
    difference = gradients["packed"] - gradients["repeated"]
    grad_rel_diff = float(difference.double().norm() / gradients["repeated"].double().norm())
    del gradients, difference
    seconds = timed(backbone, group, options)

    def speedup(side: str) -> float:
        return round(median(b / a for a, b in zip(seconds["packed"], seconds[side], strict=True)), 3)

    return {
        "P": prompt,
        "K": num,
        "token_ratio": round(num * (prompt + answer) / (prompt + num * answer), 3),
        "speedup": speedup("repeated"),
        "max_logprob_diff": float((log_probs["packed"] - log_probs["repeated"]).abs().max()),
        "grad_rel_diff": grad_rel_diff,
        "speedup_row_by_row": speedup("row_by_row"),
        **{f"peak_mb_{side}": peak_mb(side, prompt, num, options) for side in RUN},
        **{f"{side}_s": round(median(seconds[side]), 4) for side in RUN},
    }


def timed(backbone: Backbone, group: Group, options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of each side in every round."""
    clock, names = CLOCKS[options.clock], list(RUN)
    seconds = {side: list[float]() for side in names}
    for number in range(options.rounds):
        first = number % len(names)
        for side in names[first:] + names[:first]:
            backbone.model.zero_grad()
            start = clock()
            RUN[side](backbone, group)
            seconds[side].append(clock() - start)
    return seconds


def peak_mb(side: str, prompt: int, num: int, options: argparse.Namespace) -> float | None:
    """`own_peak_mb` in a fresh process."""
    sizes: dict[str, Any] = {"peak-of": side, "prompts": prompt, "groups": num}
    sizes |= {name: vars(options)[name] for name in ("answer", "hidden", "layers", "threads")}
    command = [sys.executable, __file__, *(part for name, value in sizes.items() for part in (f"--{name}", str(value)))]
    peak: float | None = json.loads(in_a_process(command))
    return peak


def in_a_process(command: Sequence[str]) -> str:
    """What a command prints."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def own_peak_mb(side: str, options: argparse.Namespace) -> float | None:
    """Memory that one pass of `side` takes in this process beyond what it had before; None without /proc."""
    highest, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if not highest.exists():
        return None
    backbone, num = model_of(options), options.groups[0]
    RUN[side](backbone, make_group(backbone, 8, num, 8))
    group = make_group(backbone, options.prompts[0], num, options.answer)
    before = resident_mb(status, "VmRSS")
    highest.write_text("5")  # VmHWM starts again from what is resident now
    RUN[side](backbone, group)
    return round(resident_mb(status, "VmHWM") - before, 1)


def resident_mb(status: Path, name: str) -> float:
    """A line of /proc/self/status in MB."""
    line = next(line for line in status.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
