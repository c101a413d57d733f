"""Training: `quickstart`, `train`, `sweep`, `merge`."""

from __future__ import annotations

import argparse
from pathlib import Path

from mer_r1.commands.options import Verbs, add_verb


def quickstart(verbs: Verbs) -> None:
    """Add `mer-r1 quickstart`."""
    parser = add_verb(verbs, "quickstart", "The whole job on one laptop: clips, SFT, RL twice, scores, a page.")
    parser.add_argument("--fast", action="store_true", help="a one-minute smoke run; its numbers mean nothing")
    parser.add_argument("--out", type=Path, help="folder of the run (default runs/quickstart, or runs/quickstart-fast)")
    parser.add_argument("--seed", type=int, default=0)

    def command(options: argparse.Namespace) -> int:
        from mer_r1.pipelines import quickstart

        out = options.out or Path("runs/quickstart-fast" if options.fast else "runs/quickstart")
        quickstart.run(out, options.fast, options.seed)
        return 0

    parser.set_defaults(command=command, resumable=True)


def train(verbs: Verbs) -> None:
    """Add `mer-r1 train`."""
    parser = add_verb(verbs, "train", "Train by a recipe (SFT or RL); the same command goes on with a stopped run.")
    parser.add_argument("recipe", help="a .yaml file, or the name of one that comes with the package")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    parser.add_argument("--out", type=Path, help="folder of the run (default runs/<recipe>)")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved recipe and what it will cost only")
    parser.add_argument("--gpu", default="h100", help="dry run: h100, h200, a100-80, a100-40, l40s or rtx4090")
    parser.add_argument("--gpus", type=int, metavar="N", help="dry run: how many of them (default 8; with LoRA 1)")
    parser.add_argument(
        "--answer-tokens", type=int, default=256, metavar="N", help="dry run: expected length of answers"
    )

    def command(options: argparse.Namespace) -> int:
        from mer_r1.recipe import read_recipe

        recipe = read_recipe(options.recipe, options.overrides)
        if options.dry_run:
            from mer_r1.training.dry_run import dry_run

            return dry_run(recipe, options.gpu, options.gpus, options.answer_tokens)
        from mer_r1.pipelines import train

        return train.run_shown(recipe, options.out or Path("runs") / Path(options.recipe).stem)

    parser.set_defaults(command=command, resumable=True)


def sweep(verbs: Verbs) -> None:
    """Add `mer-r1 sweep`."""
    parser = add_verb(
        verbs, "sweep", "Variants of a training over several seeds: trained, asked, scored, side by side."
    )
    parser.add_argument(
        "source", help="a variants file, or the name of one that comes with the package; with --vary a recipe"
    )
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="for every stage of every variant")
    parser.add_argument("--vary", metavar="KEY=A,B,…", help="such as rl.objective=baseline,mer_r1")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    parser.add_argument("--test", type=Path, required=True, help="manifest of the samples to be asked about")
    parser.add_argument("--other", type=Path, help="another one, from outside of what was learned")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--out", type=Path, required=True)

    def command(options: argparse.Namespace) -> int:
        from mer_r1.pipelines import sweep

        varied = (options.vary, options.seeds, options.test, options.out)
        sweep.run(options.source, *varied, options.overrides, options.max_new_tokens, options.other)
        return 0

    parser.set_defaults(command=command, resumable=True)


def merge(verbs: Verbs) -> None:
    """Add `mer-r1 merge`."""
    parser = add_verb(verbs, "merge", "A LoRA run's adapter and its base as one plain checkpoint.")
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")

    def command(options: argparse.Namespace) -> int:
        from mer_r1.pipelines import merge

        return merge.run(options.run, options.out)

    parser.set_defaults(command=command)
