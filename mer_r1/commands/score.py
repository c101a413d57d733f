"""`mer-r1 score`: MER-UniBench's numbers of a predictions file."""

from __future__ import annotations

import argparse
from pathlib import Path

from mer_r1.commands.options import (
    Commands,
    add_command,
    add_failed_option,
    add_sentiment_options,
    add_wheel_options,
    sentiment_choice,
)
from mer_r1.errors import InputError
from mer_r1.prompting.label_extractors import LABEL_EXTRACTORS


def add(commands: Commands) -> None:
    """Add `mer-r1 score`."""
    text = "MER-UniBench's numbers of a predictions file: F1 over emotion wheels, HIT, WAF."
    parser = add_command(commands, "score", text, _run)
    parser.add_argument("--gold", type=Path, required=True, help="manifest with the labels")
    files = parser.add_mutually_exclusive_group(required=True)
    files.add_argument("--pred", type=Path, help="the predictions to score")
    files.add_argument("--compare", type=Path, nargs=2, metavar=("A", "B"), help="two of them, and B minus A")
    add_wheel_options(parser)
    parser.add_argument(
        "--task",
        choices=("auto", "open-vocabulary", "basic", "sentiment"),
        default="auto",
        help="what is scored; auto: as the gold file's columns say (default %(default)s)",
    )
    parser.add_argument("--mode", help="score this mode only (default all)")
    parser.add_argument(
        "--style",
        choices=tuple(LABEL_EXTRACTORS),
        help="extract the labels from each row's raw text, as other models answer",
    )
    parser.add_argument("--strict", action="store_true", help="malformed and missing rows are errors, not counts")
    add_failed_option(parser)
    add_sentiment_options(parser)
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the numbers there too")


def _run(options: argparse.Namespace) -> int:
    from rich.console import Console

    from mer_r1.data.files import write_json
    from mer_r1.display.score import print_comparison, print_file_score
    from mer_r1.evaluation.score import Settings, compare_files, score_file

    settings = Settings(
        wheels=options.wheels,
        protocol=options.protocol,
        task=options.task,
        strict=options.strict,
        mode=options.mode,
        style=options.style,
        failed=options.failed,
        sentiment=sentiment_choice(options),
    )
    files = [path for path in (options.gold, options.pred, options.sentiment_out, *(options.compare or ())) if path]
    if options.json is not None and options.json.resolve() in {path.resolve() for path in files}:
        raise InputError(f"{options.json}: --json would overwrite what is scored or kept; give another file")
    console = Console()
    if options.compare:
        first, second = options.compare
        comparison = compare_files(options.gold, first, second, settings)
        print_comparison(comparison, options.failed, console)
        result, status = comparison.to_json(), comparison.exit_status
    else:
        scored = score_file(options.gold, options.pred, settings)
        print_file_score(scored, options.failed, console)
        result, status = scored.to_json(), scored.exit_status
    if options.json is not None:
        write_json(options.json, result)
    return status
