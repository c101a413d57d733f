"""`mer-r1 train`: SFT or RL by a recipe, or what it will cost."""

from __future__ import annotations

import argparse
from pathlib import Path

from mer_r1.commands.options import Commands, add_command


def add(commands: Commands) -> None:
    """Add `mer-r1 train`."""
    text = "Train by a recipe (SFT or RL); the same command resumes a stopped run."
    parser = add_command(commands, "train", text, _run, resumable=True)
    parser.add_argument("recipe", metavar="RECIPE", help="a .yaml file, or the name of one that comes with the package")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="section.key=value", help="values in place of the recipe's"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the run (default runs/RECIPE)")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved recipe and what it will cost only")
    costs = parser.add_argument_group("estimate of --dry-run")
    costs.add_argument(
        "--gpu", default="h100", help="h100, h200, a100-80, a100-40, l40s or rtx4090 (default %(default)s)"
    )
    costs.add_argument("--gpus", type=int, metavar="N", help="how many of them (default 8; with LoRA 1)")
    costs.add_argument(
        "--answer-tokens", type=int, default=256, metavar="N", help="expected length of answers (default %(default)s)"
    )


def _run(options: argparse.Namespace) -> int:
    from mer_r1.recipe import read_recipe

    recipe = read_recipe(options.recipe, options.overrides)
    if options.dry_run:
        from mer_r1.display.estimate import print_estimate
        from mer_r1.training.estimate import estimate

        print_estimate(recipe, estimate(recipe, options.gpu, options.gpus, options.answer_tokens))
        return 0
    from mer_r1.display.progress import training_bars
    from mer_r1.distributed import is_first_process
    from mer_r1.pipelines.train import train

    out = options.out or Path("runs") / Path(options.recipe).stem
    with training_bars(reads_clips=recipe.data.keep_features) as (progress, prepared):
        model = train(recipe, out, progress, prepared)
    if is_first_process():
        print(f"Model: {model}\nMetrics: {out / 'metrics.jsonl'}")
    return 0
