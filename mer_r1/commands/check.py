"""`mer-r1 check`: a manifest validated before anything trains on it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mer_r1.commands.options import Commands, add_command, add_wheel_options


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
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all that was found there")
    add_wheel_options(parser)


def _run(options: argparse.Namespace) -> int:
    from mer_r1.analysis.check import check_manifest
    from mer_r1.data.files import write_json
    from mer_r1.display.check import print_findings
    from mer_r1.display.progress import progress_bar

    with progress_bar("Decoding", stderr=True) as progress:
        found = check_manifest(
            options.manifest,
            options.limit,
            options.wheels,
            protocol=options.protocol,
            workers=options.workers,
            progress=progress,
        )
    if options.json is not None:
        write_json(options.json, found.as_json())
    print_findings(found)
    return 1 if found.problems else 0
