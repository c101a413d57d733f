"""How threads should wait and how many there should be, quiet and beside a program on one core, as one JSON object.

    python perf/busy.py [--works minimer text] [--rounds 3] [--text-rounds 2]

Two works, an optimiser step of RL each: `minimer` is the quickstart's (the tiny Qwen2.5-Omni on MiniMER's clips, 16
prompts of 4 answers), `text` that of perf/vs_trl.py (1024 prompt tokens, 8 answers of 128, hidden 512, 6 layers). Both
have random weights, so answers are as long as they may be. The choices are environments, set before torch is loaded:

    default      none of the variables: threads spin before they sleep, one a core
    passive      OMP_WAIT_POLICY=PASSIVE: threads sleep at once
    no_spin      GOMP_SPINCOUNT=0, which is what libgomp makes of PASSIVE
    one_thread   OMP_NUM_THREADS=1
    both         PASSIVE and one thread

Each choice is a process of its own that waits for its turn. Steps alternate, after one of each that is not counted;
then the same beside a process that only counts.

seconds      median step by state and choice
to_default   that divided by the default's in the same state: below 1 is faster
busy_cost    a choice's busy step divided by its quiet one; 2 is what sharing one of two cores should cost at most

Run it alone on the machine: any other program is a busy state too. About five minutes on two cores. What follows from
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

from mer_r1.threads import NUMBER, WAITING

CHOICES: dict[str, dict[str, str]] = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "no_spin": {"GOMP_SPINCOUNT": "0"},
    "one_thread": {"OMP_NUM_THREADS": "1"},
    "both": {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"},
}
WORKS = ("minimer", "text")
STATES = ("quiet", "busy")
TEXT_SIZES = ("--prompt-tokens", "--completion-tokens", "--generations", "--hidden-size", "--layers")

Seconds = dict[str, dict[str, float]]
"""By state and choice."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--works", nargs="+", choices=WORKS, default=WORKS)
    parser.add_argument(
        "--choices", nargs="+", choices=CHOICES, default=[*CHOICES], help="default is always among them"
    )
    parser.add_argument("--rounds", type=int, default=3, help="counted steps of minimer in each state")
    parser.add_argument("--text-rounds", type=int, default=2, help="counted steps of text in each state")
    parser.add_argument("--prompts", type=int, default=16, help="prompts of a step of minimer")
    for name, value in zip(TEXT_SIZES, (1024, 128, 8, 512, 6), strict=True):
        parser.add_argument(name, type=int, default=value, help="of text")
    parser.add_argument("--part", choices=("prepare", "step"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.part:
        {"prepare": _prepare_minimer, "step": _train_minimer}[options.part](options)
        return
    result: dict[str, Any] = {"machine": platform.machine(), "cores": os.cpu_count(), "torch": version("torch")}
    for work in options.works:
        with tempfile.TemporaryDirectory() as name:
            result[work] = _ratios(_measured(work, options, Path(name)))
    print(json.dumps(result, indent=2))


def _measured(work: str, options: argparse.Namespace, folder: Path) -> Seconds:
    """The median step of every choice in both states."""
    rounds = options.rounds if work == "minimer" else options.text_rounds
    names = ["default", *(name for name in options.choices if name != "default")]
    preparing = _start(work, "prepare", options, folder, {})
    preparing.communicate()
    if preparing.returncode:
        raise SystemExit(f"what {work} learns from could not be made; see above")
    workers = {name: _start(work, "step", options, folder, CHOICES[name]) for name in names}
    try:
        for name in names:
            vs_trl.next_step(workers[name], name)
        quiet = _rounds(workers, rounds)
        with _busy_core():
            busy = _rounds(workers, rounds)
    finally:
        for worker in workers.values():
            worker.kill()
            worker.communicate()
    return {"quiet": quiet, "busy": busy}


def _rounds(workers: dict[str, subprocess.Popen[str]], rounds: int) -> dict[str, float]:
    """The median step of every worker; who goes first changes from round to round."""
    names = [*workers]
    steps: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            steps[name].append(vs_trl.next_step(workers[name], name)["step_s"])
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
    steps = 2 * (options.rounds if work == "minimer" else options.text_rounds)
    if work == "minimer":
        command = [__file__, "--part", part, "--rounds", str(options.rounds), "--prompts", str(options.prompts)]
    else:
        threads = choice.get("OMP_NUM_THREADS", str(os.cpu_count()))
        sizes = [str(given) for name in TEXT_SIZES for given in (name, getattr(options, name[2:].replace("-", "_")))]
        command = [vs_trl.__file__, "--part", {"step": "ours"}.get(part, part), "--steps", str(steps)]
        command += ["--threads", threads, *sizes]
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

    write_corpus(Plan(max(20, 2 * options.prompts), 0), options.folder / "data")
    write_tiny(options.folder / "tiny", minimer_texts(300))


def _train_minimer(options: argparse.Namespace) -> None:
    """The quickstart's RL, a step on demand."""
    from mer_r1.data.manifest import read_manifest
    from mer_r1.emotion.wheel import WheelSet
    from mer_r1.models.features import read_prompts
    from mer_r1.models.qwen2_5_omni import load_omni
    from mer_r1.recipe import read_recipe
    from mer_r1.rl.data import RlPrompts
    from mer_r1.rl.trainer import GrpoTrainer
    from mer_r1.training.run_folder import RunFolder

    folder, wheels = options.folder, WheelSet.load()
    backbone = load_omni(str(folder / "tiny"))
    backbone.suppressed_V[vs_trl.endings(backbone)] = float("-inf")
    samples = read_manifest(folder / "data" / "train.jsonl")
    dataset = RlPrompts(samples, read_prompts(backbone, samples, folder / "features", 0), wheels)
    overrides = {
        "model.source": folder / "tiny",
        "data.train": folder / "data" / "train.jsonl",
        "optim.batch_size": options.prompts,
        "optim.max_steps": 2 * options.rounds + 1,
        "optim.save_steps": 10**6,
        "optim.logging_steps": 10**6,
    }
    recipe = read_recipe("minimer-rl", [f"{key}={value}" for key, value in overrides.items()])
    run = Path(tempfile.mkdtemp(dir=folder))
    turns = vs_trl.Turns()
    turns.generates(backbone, "generate", lambda made: made.mask_BR.sum(1).tolist())
    trainer = GrpoTrainer(backbone, recipe, wheels, run=RunFolder(run), train_dataset=dataset)
    turns.take(trainer, recipe.rl.max_completion_length)


if __name__ == "__main__":
    main()
