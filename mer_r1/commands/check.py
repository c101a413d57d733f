"""`mer-r1 check`: a manifest validated before anything trains on it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mer_r1.commands.options import Commands, add_command, add_wheel_options
from mer_r1.errors import InputError
from mer_r1.objectives import OBJECTIVES


def add(commands: Commands) -> None:
    """Add `mer-r1 check`."""
    text = "Validate a manifest before anything trains on it: media readable, gold scores 1.0."
    parser = add_command(commands, "check", text, _run)
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="JSON lines, one sample a line")
    parser.add_argument(
        "--limit", type=int, metavar="N", help="decode the media of the first N rows only (default all)"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=min(os.cpu_count() or 1, 8),
        metavar="N",
        help="processes that decode (default one a core)",
    )
    parser.add_argument(
        "--for",
        dest="purpose",
        choices=("train",),
        help="train: say how many rows RL would drop for these wheels, and why (docs/training.md)",
    )
    parser.add_argument(
        "--objective", choices=tuple(OBJECTIVES), metavar="NAME", help="with --for train: that of RL (default mer_r1)"
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all that was found there")
    add_wheel_options(parser)


def _run(options: argparse.Namespace) -> int:
    from mer_r1.analysis.check import check_manifest
    from mer_r1.data.files import write_json
    from mer_r1.display.check import print_findings
    from mer_r1.display.progress import progress_bar
    from mer_r1.emotion.wheel import load_wheels

    if options.objective is not None and options.purpose is None:
        raise InputError("--objective goes with --for train; give that too, or leave it out")
    objective = (options.objective or "mer_r1") if options.purpose == "train" else None
    with progress_bar("Decoding", stderr=True) as progress:
        found = check_manifest(
            options.manifest,
            options.limit,
            load_wheels(options.wheels, options.protocol),
            objective=objective,
            workers=options.workers,
            progress=progress,
        )
    if options.json is not None:
        write_json(options.json, found.as_json())
    print_findings(found)
    return 1 if found.problems else 0
