"""How threads should wait and how many there should be, quiet and beside a program on one core, as one JSON object.

    python perf/busy.py [--works sft rl text] [--rounds 2]

A work is an optimiser step: `sft` and `rl` are the quickstart's (the tiny Qwen2.5-Omni on MiniMER's clips; 32 targets,
16 prompts of 4 answers), `text` is RL of the size of perf/vs_trl.py (1024 prompt tokens, 8 answers of 128, hidden 512,
6 layers). Weights are random and no answer ends early. The choices are environments, set before torch is loaded:

    default      none of the variables: threads spin 300,000 rounds before they sleep, one a core
    ours         what mer_r1/threads.py sets
    spin10k      GOMP_SPINCOUNT=10000
    passive      OMP_WAIT_POLICY=PASSIVE: threads sleep at once
    one_thread   OMP_NUM_THREADS=1

Each choice is a process of its own that waits for its turn. Steps alternate, after one of each that is not counted;
then the same beside a process that only counts.

seconds      median step by state and choice
to_default   that divided by the default's in the same state: below 1 is faster
busy_cost    a choice's busy step divided by its quiet one; 2 is what sharing one of two cores should cost at most

Run it alone on the machine: any other program is a busy state too. About six minutes on two cores. What follows from
it stands in mer_r1/threads.py.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import vs_trl

from mer_r1.threads import SPINS, WAITING

CHOICES: dict[str, dict[str, str]] = {
    "default": {},
    "ours": {"GOMP_SPINCOUNT": SPINS},
    "spin10k": {"GOMP_SPINCOUNT": "10000"},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one_thread": {"OMP_NUM_THREADS": "1"},
}
NUMBER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
WORKS = {"sft": 5, "rl": 3, "text": 1}  # how many steps are a round
STATES = ("quiet", "busy")
TEXT_SIZES = ("--prompt-tokens", "--completion-tokens", "--generations", "--hidden-size", "--layers")

Seconds = dict[str, dict[str, float]]
"""By state and choice."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--works", nargs="+", choices=WORKS, default=[*WORKS])
    parser.add_argument(
        "--choices", nargs="+", choices=CHOICES, default=[*CHOICES], help="default is always among them"
    )
    parser.add_argument("--rounds", type=int, default=2, help="in each state, after one step to warm up")
    parser.add_argument("--batch", type=int, help="samples of a step of sft and rl (default: the recipes')")
    for name, value in zip(TEXT_SIZES, (1024, 128, 8, 512, 6), strict=True):
        parser.add_argument(name, type=int, default=value, help="of text")
    parser.add_argument("--part", choices=("prepare", "sft", "rl"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.part:
        (_prepare_minimer if options.part == "prepare" else _train_minimer)(options)
        return
    result: dict[str, Any] = {"machine": platform.machine(), "cores": os.cpu_count(), "torch": version("torch")}
    for work in options.works:
        with tempfile.TemporaryDirectory() as name:
            result[work] = _ratios(_measured(work, options, Path(name)))
    print(json.dumps(result, indent=2))


def _measured(work: str, options: argparse.Namespace, folder: Path) -> Seconds:
    """The median step of every choice in both states."""
    names = ["default", *(name for name in options.choices if name != "default")]
    preparing = _start(work, "prepare", options, folder, {})
    preparing.communicate()
    if preparing.returncode:
        raise SystemExit(f"what {work} learns from could not be made; see above")
    workers = {name: _start(work, "step", options, folder, CHOICES[name]) for name in names}
    try:
        for name in names:
            vs_trl.next_step(workers[name], name)
        quiet = _rounds(workers, options.rounds, WORKS[work])
        with _busy_core():
            busy = _rounds(workers, options.rounds, WORKS[work])
    finally:
        for worker in workers.values():
            worker.kill()
            worker.communicate()
    return {"quiet": quiet, "busy": busy}


def _rounds(workers: dict[str, subprocess.Popen[str]], rounds: int, num_steps: int) -> dict[str, float]:
    """The median step of every worker; who goes first changes from round to round."""
    names = [*workers]
    steps: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            steps[name] += [vs_trl.next_step(workers[name], name)["step_s"] for _ in range(num_steps)]
    return {name: round(median(seconds), 3) for name, seconds in steps.items()}


def _ratios(seconds: Seconds) -> dict[str, Any]:
    to_default = {
        state: {name: round(value / seconds[state]["default"], 3) for name, value in seconds[state].items()}
        for state in STATES
    }
    cost = {name: round(value / seconds["quiet"][name], 3) for name, value in seconds["busy"].items()}
    return {"seconds": seconds, "to_default": to_default, "busy_cost": cost}


def _start(
    work: str, part: str, options: argparse.Namespace, folder: Path, choice: dict[str, str]
) -> subprocess.Popen[str]:
    """A process that does a part of a work with the choice's variables alone."""
    environment = {name: value for name, value in os.environ.items() if name not in (*WAITING, *NUMBER)}
    if work == "text":
        threads = choice.get("OMP_NUM_THREADS", str(os.cpu_count()))
        sizes = [str(given) for name in TEXT_SIZES for given in (name, getattr(options, name[2:].replace("-", "_")))]
        command = [vs_trl.__file__, "--part", {"step": "ours"}.get(part, part), "--steps", str(2 * options.rounds)]
        command += ["--threads", threads, *sizes]
    else:
        command = [__file__, "--part", {"step": work}.get(part, part), "--rounds", str(options.rounds)]
        command += ["--batch", str(options.batch)] if options.batch else []
    return subprocess.Popen(
        [sys.executable, *command, "--folder", str(folder)],
        env={**environment, **choice, "HF_HUB_OFFLINE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


@contextmanager
def _busy_core() -> Iterator[None]:
    """Within the block another program uses one core."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        other.kill()
        other.wait()


def _prepare_minimer(options: argparse.Namespace) -> None:
    """Write the clips and the tiny model."""
    from mer_r1.models.tiny.omni import write_tiny
    from mer_r1.synthetic.corpus import Plan, minimer_texts, write_corpus

    write_corpus(Plan(60, 0), options.folder / "data")
    write_tiny(options.folder / "tiny", minimer_texts(300))


def _train_minimer(options: argparse.Namespace) -> None:
    """The quickstart's SFT or RL, a step on demand."""
    from mer_r1.data.manifest import read_manifest
    from mer_r1.emotion.wheel import WheelSet
    from mer_r1.models.features import read_prompts
    from mer_r1.models.qwen2_5_omni import load_omni
    from mer_r1.recipe import read_recipe
    from mer_r1.rl.data import RlPrompts
    from mer_r1.rl.trainer import GrpoTrainer
    from mer_r1.training.run_folder import RunFolder
    from mer_r1.training.sft import SftExamples, SftTrainer

    folder, wheels = options.folder, WheelSet.load()
    backbone = load_omni(str(folder / "tiny"))
    samples = read_manifest(folder / "data" / "train.jsonl")
    prompts = read_prompts(backbone, samples, folder / "features", 0)
    overrides = {
        "model.source": folder / "tiny",
        "data.train": folder / "data" / "train.jsonl",
        "optim.max_steps": 2 * options.rounds * WORKS[options.part] + 1,
        "optim.save_steps": 10**6,
        "optim.logging_steps": 10**6,
        **({"optim.batch_size": options.batch} if options.batch else {}),
    }
    recipe = read_recipe(f"minimer-{options.part}", [f"{key}={value}" for key, value in overrides.items()])
    run, turns = RunFolder(Path(tempfile.mkdtemp(dir=folder))), vs_trl.Turns()
    if options.part == "sft":
        backbone.set_towers_trainable(recipe.model.train_towers)
        examples = SftExamples.of(backbone, samples, prompts, recipe.sft.targets)
        turns.take(SftTrainer(backbone, recipe=recipe, run=run, train_dataset=examples), None)
        return
    backbone.suppressed_V[vs_trl.endings(backbone)] = float("-inf")
    turns.generates(backbone, "generate", lambda made: made.mask_BR.sum(1).tolist())
    dataset = RlPrompts(samples, prompts, wheels)
    turns.take(GrpoTrainer(backbone, recipe, wheels, run=run, train_dataset=dataset), recipe.rl.max_completion_length)


if __name__ == "__main__":
    main()
