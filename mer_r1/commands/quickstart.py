"""`mer-r1 quickstart`: the whole job on one laptop."""

from __future__ import annotations

import argparse
from pathlib import Path

from mer_r1.commands.options import Commands, add_command


def add(commands: Commands) -> None:
    """Add `mer-r1 quickstart`."""
    text = "The whole job on one laptop: clips, SFT, RL twice, scores, a page."
    parser = add_command(commands, "quickstart", text, _run, resumable=True)
    parser.add_argument("--fast", action="store_true", help="a smoke run of about a minute; its numbers mean nothing")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the run (default runs/quickstart, or runs/quickstart-fast)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of data, weights and sampling (default %(default)s)"
    )


def _run(options: argparse.Namespace) -> int:
    from mer_r1.pipelines.quickstart import quickstart

    out = options.out or Path("runs/quickstart-fast" if options.fast else "runs/quickstart")
    quickstart(out, options.fast, options.seed)
    return 0
