"""`mer-r1 report`: the folders of runs as one offline HTML page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mer_r1.commands.options import Commands, add_command, add_wheel_options
from mer_r1.errors import InputError

if TYPE_CHECKING:
    from mer_r1.report.page import PageChoice

EMBED_MB = 15
"""What a mail takes: base64 makes it a third more, and most mail servers stop at 25 MB."""
WATCH_S = 10


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
    parser.add_argument(
        "--watch",
        type=float,
        nargs="?",
        const=WATCH_S,
        metavar="SECONDS",
        help="follow a run that goes on: write the page again when its files change, looking every SECONDS (default "
        f"{WATCH_S}), until the run is finished or Ctrl-C",
    )
    add_wheel_options(parser)


def _run(options: argparse.Namespace) -> int:
    from mer_r1.report.page import PageChoice, page_path, write_choice

    if not 0 <= options.embed_media < float("inf"):
        raise InputError(f"--embed-media {options.embed_media:g}: give 0 or more MB")
    choice = PageChoice(options.wheels, options.protocol, options.embed_media, options.watch)
    if options.watch is not None:
        return _watch(options, choice)
    page = page_path(options.runs, options.out, choice)
    num_failed = write_choice(options.runs, page, choice)
    print(page)
    return _status(num_failed)


def _watch(options: argparse.Namespace, choice: PageChoice) -> int:
    from mer_r1.report.watch import watch_page

    if not 1 <= options.watch < float("inf"):
        raise InputError(f"--watch {options.watch:g}: give 1 or more seconds")

    def started(page: Path) -> None:
        print(page, flush=True)

    def waiting(message: str) -> None:
        print(f"waiting, and looking again every {options.watch:g} s; so far: {message}", file=sys.stderr, flush=True)

    try:
        return _status(watch_page(options.runs, options.out, choice, started=started, waiting=waiting))
    except KeyboardInterrupt:  # how a page that follows a run is ended
        return 0


def _status(num_failed: int) -> int:
    if num_failed:
        print(f"failed: {num_failed} answers; their clips are in no number", file=sys.stderr)
    return int(num_failed > 0)
