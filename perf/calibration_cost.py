"""What slow-fast calibration adds to a whole RL step, as one JSON object.

    python perf/calibration_cost.py [--prompt 1024] [--answer 128] [--group 4] [--rounds 11] [--threads 1]

Three steps of the trainer's own code on one prompt and one random float32 Qwen2, in turn within every round:

    without    objective rd_ad: rollouts sampled, text rewards, advantages, packed pass, backward, optimiser step
    with       objective mer_r1: the same with calibration; the fast branches ride in the packed pass
    naive      mer_r1 with a second pass, without gradient, over K rows [prompt | prefill | the same answer ids]; no row
               needs a padding mask, so SDPA runs its causal kernel, and only the answers' places pass the LM head

    overhead = median over rounds of with / without - 1        naive_overhead = median of naive / without - 1

An untaught model writes no answers. So ids are sampled, C of each row, and thrown away; they are replaced by written
responses of C ids, of different reasoning and three answer words each. There is no KL term (beta = 0), whose reference
would make the step longer and the shares smaller. The learning rate is too small to move a weight far.
`parts_s` splits the step without calibration: rollouts (prefill, sampling, rewards), learning (pass and backward),
optimiser. Times mean something only on a machine that does nothing else; `--clock cpu` takes processor time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import mer_r1.models  # noqa: F401  before transformers, which needs the fix for torchvision

# isort: split
import torch
from rl_step import NEVER, PARTS, Step, add_options, medians, recipe_of, response_ids, settings, step_of, timed

from mer_r1.data.sample import MediaFacts, Sample
from mer_r1.emotion.wheel import WheelSet
from mer_r1.models.backbone import pad_right
from mer_r1.models.category_confidence import AnchorConfidence
from mer_r1.models.causal_lm import CausalLMBackbone
from mer_r1.models.packing import GroupPass
from mer_r1.models.tiny.text import tiny_text
from mer_r1.models.token_offsets import fast_branch
from mer_r1.models.types import Encoded, Generated, Prompt, PromptBatch, Sampling
from mer_r1.prompting.response import parse_response
from mer_r1.rl.data import RlPrompts
from mer_r1.rl.step import Rewarded
from mer_r1.rl.trainer import GrpoTrainer
from mer_r1.synthetic.corpus import minimer_texts
from mer_r1.training.run_folder import RunFolder

BAR = 0.06
GOLD = ("happy", "surprised")
WORDS = ("happy", "sad", "angry", "calm", "worried", "surprised", "joyful", "bored", "afraid", "proud")


@dataclass
class Written(CausalLMBackbone):
    """A backbone that samples to the full length, and hands back what is `written`."""

    written: tuple[tuple[int, ...], ...] = ()

    def generate(self, encoded: Encoded, num_generations: int, sampling: Sampling, *_: Any, **given: Any) -> Generated:
        sampled = super().generate(encoded, num_generations, sampling, **{**given, "num_stops": NEVER})
        assert int(sampled.mask_BR.sum()) == num_generations * sampling.max_new_tokens
        return Generated(*pad_right(self.written, 0, self.device), torch.ones(len(self.written), dtype=torch.bool))


class ExtraPass(GrpoTrainer):
    """Calibration as an afterthought: fast confidences from a pass of their own."""

    _fast: list[AnchorConfidence]

    def compute_loss(self, model: Any, inputs: dict[str, int], *args: Any, **kwargs: Any) -> torch.Tensor:
        rewarded = self._kept[inputs["index"]]
        assert isinstance(rewarded, Rewarded)
        self._fast = self._second_pass(model, rewarded)
        numbers = {row: order for order, row in enumerate(rewarded.contexts.answers)}
        alone = replace(rewarded.contexts, fast=[], fast_of=numbers)
        self._kept[inputs["index"]] = replace(rewarded, contexts=alone)
        return super().compute_loss(model, inputs, *args, **kwargs)

    @torch.no_grad()
    def _second_pass(self, model: Any, rewarded: Rewarded) -> list[AnchorConfidence]:
        batch, backbone = rewarded.rollouts, self.backbone
        rows = list(rewarded.contexts.answers)
        contexts = [(*a.prefill_ids, *batch.rows[row][a.start :]) for row, a in rewarded.contexts.answers.items()]
        ids_BR, _ = pad_right(contexts, 0, backbone.device)
        prompts, of = batch.encoded.prompts, [batch.prompt_of(row) for row in rows]
        copies = PromptBatch(
            prompts.input_ids_PT[of], prompts.mask_PT[of], prompts.positions_3PT[:, of], {}
        )  # padding is on the right, where no real id looks
        logits_BRV = backbone.response_logits(
            model, backbone.full_inputs(copies, ids_BR, torch.ones_like(ids_BR)), ids_BR.shape[1]
        )
        found = []
        for order, (row, answer) in enumerate(rewarded.contexts.answers.items()):
            fast = fast_branch(batch.rows[row], answer)
            log_probs_AV = logits_BRV[order, list(fast.anchors)].log_softmax(-1)
            assert self.tokens is not None
            found.append(self.tokens.confidence(log_probs_AV, torch.tensor(fast.targets, device=backbone.device)))
        return found

    def _pass(self, *args: Any) -> GroupPass:
        passed = super()._pass(*args)
        return replace(passed, confidences=[*passed.confidences, *self._fast])


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompt", type=int, default=1024, help="prompt length P")
    add_options(parser, rounds=11)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    backbone = make_backbone(options)
    with tempfile.TemporaryDirectory() as folder:
        sides = {
            "without": make_step(GrpoTrainer, "rd_ad", backbone, Path(folder, "without"), options),
            "with": make_step(GrpoTrainer, "mer_r1", backbone, Path(folder, "with"), options),
            "naive": make_step(ExtraPass, "mer_r1", backbone, Path(folder, "naive"), options),
        }
        for step in sides.values():
            step()
        seconds = timed(sides, options.rounds)
    overhead = added(seconds, "with")
    result = {
        **settings(options, "prompt"),
        "overhead": overhead,
        "naive_overhead": added(seconds, "naive"),
        "step_s": medians(seconds),
        "parts_s": {
            part: round(median(row[index] for row in seconds["without"]), 4) for index, part in enumerate(PARTS)
        },
        "bars": {"overhead": {"at_most": BAR, "kept": overhead <= BAR}},
    }
    print(json.dumps(result, indent=2))


def make_backbone(options: argparse.Namespace) -> Written:
    """A random model and the K responses that count as written by it."""
    longest = options.prompt + options.answer + 64
    plain = tiny_text(
        minimer_texts(300), hidden_size=options.hidden, num_layers=options.layers, max_positions=max(4096, longest)
    )
    backbone = Written(plain.model, plain.processor, plain.budget, plain.prompt_style)
    backbone.suppressed_V[int(backbone.tokenizer.eos_token_id)] = -torch.inf  # no row ends early
    backbone.written = tuple(response(backbone, number, options.answer) for number in range(options.group))
    return backbone


def response(backbone: CausalLMBackbone, number: int, length: int) -> tuple[int, ...]:
    """A well-formed response of exactly `length` ids: some reasoning and three answer words, another for each number.

    Raises ValueError for a length that has no room for them.
    """
    words = ", ".join(WORDS[(number + index * 3) % len(WORDS)] for index in range(3))
    begin, end = backbone.text_ids("<think>"), backbone.text_ids(f"</think><answer>{words}</answer>")
    reasoning = backbone.text_ids(f"Voice {number} is low and the eyes look away. " * length)
    ids = response_ids(begin, reasoning, end, length)
    assert len(parse_response(backbone.decode(ids)).labels) == 3
    return ids


def make_step(
    kind: type[GrpoTrainer], objective: str, backbone: Written, folder: Path, options: argparse.Namespace
) -> Step:
    """A step of one side."""
    folder.mkdir()
    ids_P = torch.tensor((backbone.text_ids("She says it went well. ") * options.prompt)[: options.prompt])
    prompt = Prompt("one", ids_P, torch.arange(len(ids_P)).expand(3, -1), {}, MediaFacts())
    wheels = WheelSet.load()
    rows = RlPrompts([Sample("one", labels=GOLD)], [prompt], wheels)
    recipe = recipe_of(objective, options)
    return step_of(kind(backbone, recipe, wheels, run=RunFolder(folder), train_dataset=rows), options.clock)


def added(seconds: dict[str, list[tuple[float, float, float]]], side: str) -> float:
    """What a side's step takes beyond the one without calibration, as a fraction of it."""
    pairs = zip(seconds[side], seconds["without"], strict=True)
    return round(median(sum(one) / sum(plain) for one, plain in pairs) - 1, 4)


if __name__ == "__main__":
    main()
