"""`mer-r1 report`: the folders of runs as one offline HTML page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mer_r1.commands.options import Commands, add_command, add_wheel_options
from mer_r1.errors import InputError

EMBED_MB = 15
"""What a mail takes: base64 makes it a third more, and most mail servers stop at 25 MB."""


def add(commands: Commands) -> None:
    """Add `mer-r1 report`."""
    parser = add_command(commands, "report", "One offline HTML page of one run or several side by side.", _run)
    parser.add_argument(
        "runs",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="a folder of quickstart, benchmark or train, or one with manifest.jsonl and predictions.jsonl",
    )
    parser.add_argument(
        "-o", "--out", type=Path, metavar="FILE", help="the page (default report.html in the first RUN)"
    )
    parser.add_argument(
        "--embed-media",
        type=float,
        nargs="?",
        const=EMBED_MB,
        default=0.0,
        metavar="MB",
        help="copy clips into the page, to be mailed or moved, as long as their files are at most MB in all "
        f"(default none; {EMBED_MB} where MB is left out)",
    )
    add_wheel_options(parser)


def _run(options: argparse.Namespace) -> int:
    from mer_r1.report.page import write_page

    if not 0 <= options.embed_media < float("inf"):
        raise InputError(f"--embed-media {options.embed_media:g}: give 0 or more MB")
    page, num_failed = write_page(
        *options.runs,
        out=options.out,
        wheels=options.wheels,
        protocol=options.protocol,
        embed_mb=options.embed_media,
    )
    print(page)
    if num_failed:
        print(f"failed: {num_failed} answers; their clips are in no number", file=sys.stderr)
    return int(num_failed > 0)
