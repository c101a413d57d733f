"""What the reflective reward adds to a whole RL step on a picture, as one JSON object.

    python perf/reflection_cost.py [--picture 256] [--answer 128] [--group 4] [--rounds 7] [--threads 1]

Three steps of the trainer's own code on one picture of P tokens and one random float32 Qwen2.5-VL, in turn within every
round:

    without    objective accuracy: rollouts sampled, rewards, advantages, packed pass, backward, optimiser step
    with       objective emo_r3: the same, and both questions about every rollout; the picture's embeddings are put in
               from the rollouts' own prompt, one copy for the group
    naive      emo_r3 with the picture in a prompt of its own for every rollout, towers run again

    share = median over rounds of 1 - without / with        naive_share the same of naive

An untaught model writes no steps. So ids are sampled, C of each rollout, and thrown away; they are replaced by written
responses of C ids, of different steps. The tokenizer knows the questions' words, as a real one does, and the judge's
answers are sampled to their full length, the most they can cost. There is no KL term (beta = 0), whose reference would
make the step longer and the shares smaller. `tower_calls` counts calls of the picture tower in one step. Times mean
something only on a machine that does nothing else; `--clock cpu` takes processor time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import isqrt
from pathlib import Path
from statistics import median
from typing import Any

import mer_r1.models  # noqa: F401  before transformers, which needs the fix for torchvision

# isort: split
import numpy as np
import torch
from rl_step import NEVER, Step, add_options, medians, recipe_of, response_ids, settings, step_of, timed

from mer_r1.data.sample import Clip, MediaFacts, Sample
from mer_r1.emotion.wheel import WheelSet
from mer_r1.media import TINY_BUDGET
from mer_r1.models.backbone import pad_right
from mer_r1.models.qwen2_5_vl import VisionBackbone
from mer_r1.models.tiny.vision import tiny_vision_config, tiny_vision_processor
from mer_r1.models.types import Encoded, Generated, Sampling
from mer_r1.prompting.response import parse_response
from mer_r1.rl.data import RlPrompts
from mer_r1.rl.reflection.judges import SAMPLING, PolicyJudge
from mer_r1.rl.reflection.scores import QUESTIONS, StepQuestion
from mer_r1.rl.rollouts import RolloutBatch
from mer_r1.rl.trainer import GrpoTrainer
from mer_r1.synthetic.corpus import minimer_texts
from mer_r1.training.run_folder import RunFolder

CANDIDATES = ("happy", "sad", "angry", "afraid")
HEAD = 32  # width of a head, for which M-RoPE's sections are cut
PATCH = 28  # pixels of a picture token's side


@dataclass
class Written(VisionBackbone):
    """A backbone that samples to the full length, and hands back what is `written` for a rollout."""

    written: tuple[tuple[int, ...], ...] = ()

    def generate(self, encoded: Encoded, num_generations: int, sampling: Sampling, *_: Any, **given: Any) -> Generated:
        draws = given["uniform_BR"]
        sampled = super().generate(encoded, num_generations, sampling, num_stops=NEVER, uniform_BR=draws)
        assert int(sampled.mask_BR.sum()) == len(draws) * sampling.max_new_tokens
        if sampling == SAMPLING:
            return sampled
        return Generated(*pad_right(self.written, 0, self.device), torch.ones(len(self.written), dtype=torch.bool))


class NaiveJudge(PolicyJudge):
    """Reads the picture anew for every question about it."""

    clip: Clip

    def _shown(self, questions: Sequence[StepQuestion], batch: RolloutBatch) -> Encoded:
        reader = replace(self._backbone, template_override=QUESTIONS["consistency"])
        prompts = [reader.prepare(Sample("one", subtitle=text), self.clip) for _, text in questions]
        return self._backbone.encode(self._backbone.collate(prompts))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=int, default=256, help="picture tokens P, taken down to a square number")
    add_options(parser, rounds=7)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    backbone, clip = make_backbone(options), make_clip(options)
    with tempfile.TemporaryDirectory() as folder:
        sides = {
            "without": make_step("accuracy", backbone, clip, Path(folder, "without"), options),
            "with": make_step("emo_r3", backbone, clip, Path(folder, "with"), options),
            "naive": make_step("emo_r3", backbone, clip, Path(folder, "naive"), options, naive=True),
        }
        calls = {}
        for name, step in sides.items():
            with counted(backbone) as tower:
                step()
            calls[name] = len(tower)
        seconds = timed(sides, options.rounds)
    result = {
        **settings(options, "picture"),
        "share": share(seconds, "with"),
        "naive_share": share(seconds, "naive"),
        "step_s": medians(seconds),
        "tower_calls": calls,
    }
    print(json.dumps(result, indent=2))


def make_backbone(options: argparse.Namespace) -> Written:
    """A random model and the K responses that count as written by it."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    questions = [style.text("Text", CANDIDATES) for style in QUESTIONS.values()]
    processor = tiny_vision_processor([*minimer_texts(300), *questions * 50])
    config = tiny_vision_config(processor.tokenizer).to_dict()
    heads = options.hidden // HEAD
    config["text_config"] |= {
        "hidden_size": options.hidden,
        "intermediate_size": 3 * options.hidden,
        "num_hidden_layers": options.layers,
        "num_attention_heads": heads,
        "num_key_value_heads": max(1, heads // 2),
        "layer_types": None,
        "initializer_range": 0.9 / options.hidden**0.5,
    }
    config["vision_config"]["out_hidden_size"] = options.hidden
    model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**config)).eval()
    backbone = Written(model, processor, TINY_BUDGET, "brief_set")
    backbone.suppressed_V[int(backbone.tokenizer.eos_token_id)] = -torch.inf  # no row ends early
    backbone.set_towers_trainable(False)
    backbone.written = tuple(response(backbone, number, options.answer) for number in range(options.group))
    return backbone


def response(backbone: VisionBackbone, number: int, length: int) -> tuple[int, ...]:
    """A well-formed response of exactly `length` ids, another for each number.

    Raises ValueError for a length that has no room for it.
    """
    begin = backbone.text_ids(f"<step1>Face {number} looks away. </step1><step2>It feels low. </step2><step3>")
    end = backbone.text_ids(f"</step3>\\boxed{{{CANDIDATES[number % len(CANDIDATES)]}}}")
    ids = response_ids(begin, backbone.text_ids("The voice is low and calm. " * length), end, length)
    assert parse_response(backbone.decode(ids), "set_steps").well_formed
    return ids


def make_clip(options: argparse.Namespace) -> Clip:
    """One picture of noise."""
    side = isqrt(options.picture) * PATCH
    return Clip(np.random.default_rng(0).integers(0, 255, (1, side, side, 3), dtype=np.uint8), None, MediaFacts())


def make_step(
    objective: str, backbone: Written, clip: Clip, folder: Path, options: argparse.Namespace, naive: bool = False
) -> Step:
    """A step of one side."""
    folder.mkdir()
    recipe = recipe_of(objective, options)
    sample, wheels = Sample("one", labels=("happy",), candidates=CANDIDATES), WheelSet.load()
    rows = RlPrompts([sample], [backbone.prepare(sample, clip)], wheels, objective)
    trainer = GrpoTrainer(backbone, recipe, wheels, run=RunFolder(folder), train_dataset=rows)
    if naive:
        trainer.judge = NaiveJudge(backbone, recipe.seed)
        trainer.judge.clip = clip
    return step_of(trainer, options.clock)


@contextmanager
def counted(backbone: VisionBackbone) -> Iterator[list[None]]:
    """Within the block the list grows by one with every call of the picture tower."""
    calls: list[None] = []
    handle = backbone.towers()[0].register_forward_pre_hook(lambda *_: calls.append(None))
    try:
        yield calls
    finally:
        handle.remove()


def share(seconds: dict[str, list[tuple[float, float, float]]], side: str) -> float:
    """What of a side's step the one without reflection does without."""
    pairs = zip(seconds[side], seconds["without"], strict=True)
    return round(median(1 - sum(plain) / sum(one) for one, plain in pairs), 4)


if __name__ == "__main__":
    main()
