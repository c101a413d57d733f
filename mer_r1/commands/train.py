"""`mer-r1 train`: SFT or RL by a recipe, in one process or several, or what it will cost."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from mer_r1.commands.options import Commands, add_command
from mer_r1.errors import InputError
from mer_r1.training.gpus import DEFAULT, GPUS

if TYPE_CHECKING:
    from mer_r1.recipe import Recipe

GPUS_A_NODE = 8


def add(commands: Commands) -> None:
    """Add `mer-r1 train`."""
    text = "Train by a recipe (SFT or RL); the same command resumes a stopped run."
    parser = add_command(commands, "train", text, _run, resumable=True)
    parser.add_argument("recipe", metavar="RECIPE", help="a .yaml file, or the name of one that comes with the package")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="section.key=value", help="values in place of the recipe's"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the run (default runs/RECIPE)")
    _add_launch_options(parser)
    _add_dry_run_options(parser)


def _add_launch_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("several GPUs (accelerate starts a process for each)")
    group.add_argument("--launch", type=int, metavar="N", help="train on N GPUs of this machine (default: one process)")
    group.add_argument(
        "--nodes",
        type=int,
        default=1,
        metavar="N",
        help="start the same command on N machines with --launch GPUs each (default %(default)s)",
    )
    group.add_argument(
        "--node-rank", type=int, metavar="R", help="which of the machines this is, from 0 (default SLURM_NODEID)"
    )
    group.add_argument(
        "--main-address", metavar="HOST", help="address of the machine of rank 0 (no default with --nodes above 1)"
    )
    group.add_argument(
        "--main-port", type=int, metavar="PORT", help="its port (default 29500; on one machine a free one)"
    )


def _add_dry_run_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what a run is and costs (--dry-run)")
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="read the data, print a summary and load no model; exit status 1 where the run does not fit the memory or "
        "media files are missing",
    )
    group.add_argument("--verbose", action="store_true", help="the parts of memory and time too, and the whole recipe")
    group.add_argument("--rows", type=int, metavar="N", help="assume N rows (default: data.train is read)")
    group.add_argument(
        "--gpu",
        metavar="NAME",
        help=f"the card: {', '.join(GPUS)} (default {DEFAULT})",
    )
    group.add_argument("--gpu-gb", type=float, metavar="N", help="memory of a card in GB (default that of --gpu)")
    group.add_argument(
        "--gpus",
        type=int,
        metavar="N",
        help="how many cards in all (default those of --launch; else 8, or 1 with LoRA and for models of under a "
        "billion parameters)",
    )
    group.add_argument(
        "--answer-tokens",
        type=int,
        default=256,
        metavar="N",
        help="expected length of an answer, for the hours (default %(default)s)",
    )


def _run(options: argparse.Namespace) -> int:
    from mer_r1.recipe import read_recipe

    recipe = read_recipe(options.recipe, options.overrides)
    if options.dry_run:
        return _dry_run(recipe, options)
    out = options.out or Path("runs") / Path(options.recipe).stem
    if options.launch is not None:
        return _launch(recipe, out, options)
    if options.nodes != 1 or options.node_rank is not None or options.main_address or options.main_port:
        raise InputError(
            "--nodes, --node-rank, --main-address and --main-port go with --launch; give the GPUs of a node"
        )
    from mer_r1.display.progress import training_bars
    from mer_r1.distributed import is_first_process
    from mer_r1.pipelines.train import train

    with training_bars() as (progress, prepared):
        model = train(recipe, out, progress, prepared)
    if is_first_process():
        print(f"Model: {model}\nMetrics: {out / 'metrics.jsonl'}")
    return 0


def _launch(recipe: Recipe, out: Path, options: argparse.Namespace) -> int:
    from mer_r1.pipelines.launch import Launch, launch
    from mer_r1.pipelines.train import validate_start
    from mer_r1.training.plan import read_run_rows

    rank = options.node_rank
    if rank is None and options.nodes > 1 and os.environ.get("SLURM_NODEID", "").isdigit():
        rank = int(os.environ["SLURM_NODEID"])
    how = Launch(options.launch, options.nodes, rank, options.main_address, options.main_port)
    validate_start(recipe)
    read_run_rows(recipe)  # a wrong row is found here at once, in every process much later
    return launch(recipe, ["train", options.recipe, *options.overrides, "--out", str(out)], how)


def _dry_run(recipe: Recipe, options: argparse.Namespace) -> int:
    from mer_r1.display.estimate import print_plan
    from mer_r1.training.estimate import default_gpus
    from mer_r1.training.gpus import find_card
    from mer_r1.training.plan import Place, plan

    num_gpus = options.gpus
    if num_gpus is None:
        num_gpus = options.launch * options.nodes if options.launch else default_gpus(recipe)
    place = Place(find_card(options.gpu, options.gpu_gb), num_gpus, options.answer_tokens)
    planned = plan(recipe, place, options.rows)
    print_plan(planned, _command(options, num_gpus), verbose=options.verbose)
    return 0 if planned.can_run else 1


def _command(options: argparse.Namespace, num_gpus: int) -> str:
    """The command that starts the run on that many GPUs."""
    words = ["mer-r1", "train", options.recipe, *options.overrides]
    words += ["--out", str(options.out)] if options.out else []
    a_node = max(number for number in range(1, GPUS_A_NODE + 1) if num_gpus % number == 0)
    if num_gpus > 1:
        words += ["--launch", str(a_node)]
    if num_gpus > a_node:
        words += ["--nodes", str(num_gpus // a_node), "--node-rank", "R", "--main-address", "HOST"]
    return shlex.join(words)
