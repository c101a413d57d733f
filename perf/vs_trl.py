"""A whole training step against TRL's GRPOTrainer, as one JSON object.

    python perf/vs_trl.py [--steps 5] [--threads 2] [--prompt-tokens 1024] [--generations 8]

Both sides train the same random language model on the CPU in float32, from the same prompts, one a step, with as many
answers of exactly the same length, the same rewards (F1 and form), the same loss (GRPO's, no KL) and AdamW. End token
and `</answer>` are suppressed on both sides, so that no answer ends early. A random model's answers earn nothing, which
changes no cost. TRL runs as is fastest for it here: a static cache (`--trl-cache dynamic` for the other), SDPA, no
gradient checkpointing, all answers in one micro-batch. With `--trl-micro-batch 2` it is about as fast and takes less
memory, so quote memory against both. Its rollouts by vLLM need a GPU: it hands weights over by `load_weights`, which
vLLM's kernels for a CPU refuse, as they compute with packed copies.

Each side is a process of its own that waits for its turn; steps alternate, after one of each that is not counted.

speedup             median step of TRL / median step of ours
peak_memory_ratio   ours / TRL's, of how far a process's peak (ru_maxrss) lies above its peak when the model was loaded
                    and everything imported; `peak_mb` is the whole peak
generation_s        ours: prompts' pass and decoding; TRL: model.generate; training_s is the rest of the step

Run it alone on the machine: two jobs on two cores make PyTorch many times slower.
"""

# Nothing heavy is imported at the top: the ru_maxrss of a child begins with what its parent held.
from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

SIDES = ("ours", "trl")
LAMBDA_FMT = 0.1


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt-tokens", type=int, default=1024)
    parser.add_argument("--completion-tokens", type=int, default=128)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--hidden-size", type=int, default=512)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--trl-micro-batch", type=int, help="answers of a TRL micro-batch; default: all of the group")
    parser.add_argument("--trl-cache", choices=("dynamic", "static"), default="static")
    parser.add_argument("--part", choices=[*PARTS, "all"], default="all", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part != "all":
        PARTS[options.part](options)
        return
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(_measured(options, Path(name))))


def _measured(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    def start(part: str) -> subprocess.Popen[str]:
        command = [sys.executable, *sys.argv, "--folder", str(folder), "--part", part]
        environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "HF_HUB_OFFLINE": "1"}
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    if start("prepare").wait():
        raise SystemExit("the model and the prompts could not be made; see above")
    workers = {side: start(side) for side in SIDES}
    steps: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    try:
        for _ in range(options.steps + 1):
            for side in SIDES:
                steps[side].append(next_step(workers[side], side))
    finally:
        for worker in workers.values():
            worker.kill()
            worker.wait()
    sides = {side: _summary(steps[side][1:]) for side in SIDES}
    given = ("prompt_tokens", "completion_tokens", "generations", "hidden_size", "layers", "steps", "threads")
    return {
        "speedup": round(sides["trl"]["step_s"] / sides["ours"]["step_s"], 3),
        "peak_memory_ratio": round(sides["ours"]["above_model_mb"] / sides["trl"]["above_model_mb"], 3),
        **sides,
        **{name: getattr(options, name) for name in given},
        "machine": platform.processor() or platform.machine(),
        "versions": {name: version(name) for name in ("torch", "transformers", "trl")},
    }


def next_step(worker: subprocess.Popen[str], side: str) -> dict[str, float]:
    """Let a process do one step; its numbers."""
    assert worker.stdin
    assert worker.stdout
    worker.stdin.write("\n")
    worker.stdin.flush()
    line = worker.stdout.readline()
    if not line:
        raise SystemExit(f"the process of {side!r} ended before its last step; see above")
    return dict(json.loads(line))


def _summary(steps: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Medians over the counted steps; memory as it stood after the last of them."""
    times = {name: round(median(step[name] for step in steps), 3) for name in ("step_s", "generation_s", "training_s")}
    memory = {name: round(steps[-1][name], 1) for name in ("above_model_mb", "peak_mb")}
    return {**times, **memory, "steps_s": [round(step["step_s"], 3) for step in steps]}


def _prepare(options: argparse.Namespace) -> None:
    """Write the model, and a manifest whose subtitles make prompts of the wanted length."""
    from mer_r1.data.manifest import write_manifest
    from mer_r1.data.sample import Sample
    from mer_r1.media import read_clip
    from mer_r1.models.tiny.text import tiny_text
    from mer_r1.synthetic.corpus import minimer_texts

    texts = [*minimer_texts(300)]
    backbone = tiny_text(
        texts,
        hidden_size=options.hidden_size,
        num_layers=options.layers,
        num_key_value_heads=2,
        max_positions=options.prompt_tokens + options.completion_tokens,
    )
    backbone.model.save_pretrained(options.folder / "model")
    backbone.save(options.folder / "model")

    def missing(subtitle: str) -> int:
        sample = Sample("any", subtitle=subtitle)
        return int(options.prompt_tokens) - len(
            backbone.prepare(sample, read_clip(sample, backbone.budget)).input_ids_T
        )

    words = (word for text in texts for word in text.replace("<", " ").replace(">", " ").split())
    samples = []
    for number in range(options.steps + 1):
        subtitle = next(words)
        while missing(subtitle) > 0:
            longer = f"{subtitle} {next(words)}"
            subtitle = longer if missing(longer) >= 0 else f"{subtitle}#"  # a sign of its own, always one token more
        samples.append(Sample(f"clip-{number}", subtitle=subtitle, labels=("happy", "proud")))
    write_manifest(options.folder / "train.jsonl", samples)


class Turns:
    """Steps on demand: a trainer waits for a line before each, and writes its numbers after it."""

    def __init__(self) -> None:
        self._out, sys.stdout = sys.stdout, sys.stderr  # what a trainer prints is none of the parent's
        self._loaded_mb = _peak_mb()
        self._started = self._generating = 0.0
        self._lengths: set[int] = set()

    def generates(self, owner: Any, name: str, lengths: Callable[[Any], Sequence[int]] = lambda _: ()) -> None:
        """Count the time of a method as generation; `lengths` reads the answers' lengths from what it gives."""
        method = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            made = method(*args, **kwargs)
            self._generating += time.perf_counter() - start
            self._lengths.update(lengths(made))
            return made

        setattr(owner, name, timed)

    def take(self, trainer: Any, completion_tokens: int | None) -> None:
        """Train to the end. Answers have `completion_tokens`; None where none are made."""
        from transformers import TrainerCallback

        turns, next_batches = self, trainer.get_batch_samples

        class Report(TrainerCallback):
            def on_step_end(self, *args: Any, **kwargs: Any) -> None:
                turns._report(completion_tokens)

        def get_batch_samples(*args: Any, **kwargs: Any) -> Any:
            sys.stdin.readline()
            self._started, self._generating = time.perf_counter(), 0.0
            return next_batches(*args, **kwargs)

        trainer.get_batch_samples = get_batch_samples
        trainer.add_callback(Report())
        trainer.train()

    def _report(self, completion_tokens: int | None) -> None:
        step_s, peak_mb = time.perf_counter() - self._started, _peak_mb()
        assert self._lengths == {completion_tokens} - {None}, f"answers of {self._lengths} tokens"
        numbers = {
            "step_s": step_s,
            "generation_s": self._generating,
            "training_s": step_s - self._generating,
            "peak_mb": peak_mb,
            "above_model_mb": peak_mb - self._loaded_mb,
        }
        print(json.dumps(numbers), file=self._out, flush=True)


def _peak_mb() -> float:
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def endings(backbone: Any) -> list[int]:
    """The ids that would end an answer."""
    return [int(backbone.tokenizer.eos_token_id), *backbone.text_ids("</answer>")]


def _load(options: argparse.Namespace) -> tuple[Any, Any]:
    """The backbone and the samples with their prompts."""
    import torch

    from mer_r1.data.manifest import read_manifest
    from mer_r1.models.causal_lm import load_causal_lm
    from mer_r1.models.features import read_prompts

    torch.set_num_threads(options.threads)
    backbone = load_causal_lm(str(options.folder / "model"))
    samples = read_manifest(options.folder / "train.jsonl")
    prompts = [*read_prompts(backbone, samples)]
    assert {len(prompt.input_ids_T) for prompt in prompts} == {options.prompt_tokens}
    return backbone, (samples, prompts)


def _train_ours(options: argparse.Namespace) -> None:
    from mer_r1.emotion.wheel import WheelSet
    from mer_r1.recipe import Recipe
    from mer_r1.rl.data import RlPrompts
    from mer_r1.rl.trainer import GrpoTrainer
    from mer_r1.training.run_folder import RunFolder

    backbone, (samples, prompts) = _load(options)
    backbone.suppressed_V[endings(backbone)] = float("-inf")
    num_steps, wheels = options.steps + 1, WheelSet.load()
    recipe = Recipe.model_validate(
        {
            "kind": "rl",
            "model": {"source": str(options.folder / "model")},
            "data": {"train": str(options.folder / "train.jsonl"), "workers": 0},
            "optim": {"learning_rate": 1e-6, "max_steps": num_steps, "save_steps": 10**6, "logging_steps": 10**6},
            "rl": {
                "objective": "baseline",
                "num_generations": options.generations,
                "max_completion_length": options.completion_tokens,
                "beta": 0.0,
                "lambda_fmt": LAMBDA_FMT,
            },
        }
    )
    run = Path(tempfile.mkdtemp(dir=options.folder))
    turns = Turns()
    turns.generates(backbone, "encode")
    turns.generates(backbone, "generate", lambda made: made.mask_BR.sum(1).tolist())
    trainer = GrpoTrainer(
        backbone, recipe, wheels, run=RunFolder(run), train_dataset=RlPrompts(samples, prompts, wheels)
    )
    turns.take(trainer, options.completion_tokens)


def _train_trl(options: argparse.Namespace) -> None:
    import mer_r1.models  # noqa: F401  before transformers, which needs the fix for torchvision

    # isort: split
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import GRPOConfig, GRPOTrainer

    backbone, (_, prompts) = _load(options)
    tokenizer, never = backbone.tokenizer, endings(backbone)
    model = AutoModelForCausalLM.from_pretrained(options.folder / "model", dtype=torch.float32)
    del backbone
    texts = [tokenizer.decode(prompt.input_ids_T) for prompt in prompts]
    assert tokenizer(texts)["input_ids"] == [prompt.input_ids_T.tolist() for prompt in prompts]
    turns = Turns()
    micro_batch = options.trl_micro_batch or options.generations
    config = GRPOConfig(
        output_dir=str(options.folder / "trl"),
        use_cpu=True,
        bf16=False,
        activation_checkpointing=False,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        learning_rate=1e-6,
        max_steps=options.steps + 1,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=options.generations // micro_batch,
        num_generations=options.generations,
        max_completion_length=options.completion_tokens,
        loss_type="grpo",
        beta=0.0,
        reward_weights=[1.0, LAMBDA_FMT],
        cache_implementation=None if options.trl_cache == "dynamic" else options.trl_cache,
        generation_kwargs={"suppress_tokens": never, "use_cache": True},
    )
    trainer = GRPOTrainer(
        model,
        [*_rewards()],
        config,
        Dataset.from_list([{"prompt": text, "gold": ["happy", "proud"]} for text in texts]),
        processing_class=tokenizer,
    )
    turns.generates(trainer, "_generate_single_turn", lambda made: [len(row) for row in made[0]])
    turns.take(trainer, options.completion_tokens)


def _rewards() -> Iterator[Any]:
    """F1 and form of a text, by our own scorer, as functions that TRL calls."""
    from mer_r1.emotion.wheel import WheelSet
    from mer_r1.metrics.rewards import score_response
    from mer_r1.prompting.response import parse_response

    wheels = WheelSet.load()

    def made(name: str) -> Any:
        def reward(completions: Sequence[str], gold: Sequence[Sequence[str]], **_: Any) -> list[float]:
            pairs = zip(completions, gold, strict=True)
            scores = [score_response(parse_response(text), tuple(words), wheels) for text, words in pairs]
            return [float(getattr(score, name)) for score in scores]

        return reward

    yield from (made("f1"), made("format"))


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {"prepare": _prepare, "ours": _train_ours, "trl": _train_trl}

if __name__ == "__main__":
    main()
