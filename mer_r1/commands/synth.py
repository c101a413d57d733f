"""`mer-r1 synth`: the MiniMER corpus as files."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mer_r1.commands.options import Commands, add_command


def add(commands: Commands) -> None:
    """Add `mer-r1 synth`."""
    text = "Make the MiniMER corpus, clips or pictures with known emotions, and manifests."
    parser = add_command(commands, "synth", text, _run)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the corpus")
    parser.add_argument(
        "--num", type=int, default=800, metavar="N", help="clips or pictures in all splits together (default 800)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default %(default)s)")
    parser.add_argument("--seconds", type=float, help="length of a clip, 0.5 to 60 (default 1)")
    parser.add_argument(
        "--workers", type=int, default=min(os.cpu_count() or 1, 8), metavar="N", help="processes (default one a core)"
    )
    parser.add_argument(
        "--form",
        help="response format of a clip's reasoning: think_answer, or set_steps with step tags and a box "
        "(default think_answer)",
    )
    parser.add_argument("--pictures", action="store_true", help="make pictures: scenes with a face, one label each")


def _run(options: argparse.Namespace) -> int:
    from mer_r1.pipelines import synth

    return synth.run(
        options.out, options.num, options.seed, options.seconds, options.workers, options.form, options.pictures
    )
