"""`mer-r1 sweep`: variants of a training over several seeds."""

from __future__ import annotations

import argparse
from pathlib import Path

from mer_r1.commands.options import Commands, add_command, add_engine_options, add_length_option, engine_of


def add(commands: Commands) -> None:
    """Add `mer-r1 sweep`."""
    text = "Variants of a training over several seeds: trained, predicted, scored, side by side."
    parser = add_command(commands, "sweep", text, _run, resumable=True)
    parser.add_argument(
        "source",
        metavar="VARIANTS",
        help="a variants file, or the name of one that comes with the package; with --vary a recipe",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="section.key=value",
        help="values in place of the recipes', for every stage of every variant",
    )
    parser.add_argument(
        "--vary",
        metavar="KEY=A,B,…",
        help="vary this key of a recipe, such as rl.objective=baseline,mer_r1 (default: VARIANTS says what varies)",
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="seeds of each variant (default 0 1 2)"
    )
    parser.add_argument("--test", type=Path, required=True, metavar="FILE", help="manifest of the samples to predict")
    parser.add_argument(
        "--other", type=Path, metavar="FILE", help="another manifest, from outside the training data (default none)"
    )
    add_length_option(parser, default=64)
    add_engine_options(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of all runs and of the tables")


def _run(options: argparse.Namespace) -> int:
    from mer_r1.pipelines.sweep import sweep

    sweep(
        options.source,
        options.vary,
        options.seeds,
        options.test,
        options.out,
        options.overrides,
        options.max_new_tokens,
        options.other,
        engine_of(options),
    )
    return 0
