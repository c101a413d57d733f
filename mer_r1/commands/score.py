"""`mer-r1 score`: the numbers of a predictions file, or of several systems in one table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from mer_r1.evaluation.compare import Comparison
    from mer_r1.evaluation.score import FileScore


def add(commands: Commands) -> None:
    """Add `mer-r1 score`."""
    text = "MER-UniBench's numbers of predictions: F1 over emotion wheels, HIT, WAF; several systems in one table."
    parser = add_command(commands, "score", text, _run)
    parser.add_argument("--gold", type=Path, required=True, help="the labels: a manifest, or a table of them")
    files = parser.add_mutually_exclusive_group(required=True)
    files.add_argument("--pred", type=Path, help="the predictions to score, or a folder that holds predictions.jsonl")
    files.add_argument(
        "--compare",
        nargs="+",
        metavar="FILE",
        help="two or more of them in one table, each against the first; NAME=FILE says what the system is called "
        "(default the file's name, or its folder's for predictions.jsonl)",
    )
    add_wheel_options(parser)
    parser.add_argument(
        "--task",
        choices=("auto", "open-vocabulary", "basic", "sentiment", "classes"),
        default="auto",
        help="what is scored: F1 over emotion wheels (open-vocabulary), HIT of one emotion a clip (basic), WAF of "
        "positive and negative (sentiment), accuracy, UAR and F1 of a closed set (classes); auto: what of the first "
        "three the gold file's columns say (default %(default)s)",
    )
    parser.add_argument("--mode", help="score this mode only, such as slow (default all)")
    parser.add_argument(
        "--style",
        choices=tuple(LABEL_EXTRACTORS),
        help="extract the labels from each row's raw text, as other models answer (default: take its labels)",
    )
    parser.add_argument("--strict", action="store_true", help="malformed and missing rows are errors, not counts")
    add_failed_option(parser)
    shown = parser.add_argument_group("what is printed")
    shown.add_argument(
        "--format",
        choices=("text", "md", "latex", "csv", "json"),
        default="text",
        help="a table for the terminal, Markdown or LaTeX (booktabs), in percent; CSV or JSON, as fractions "
        "(default %(default)s)",
    )
    shown.add_argument(
        "-b",
        "--bare",
        action="store_true",
        help="with --pred: the main number in percent and nothing else, a line a mode",
    )
    shown.add_argument(
        "--details", action="store_true", help="with --compare: every system's whole report below the table"
    )
    shown.add_argument(
        "--json", type=Path, metavar="OUT", help="write the numbers there too (default: they are only printed)"
    )
    add_sentiment_options(parser)


def _run(options: argparse.Namespace) -> int:
    from mer_r1.data.files import validate_outputs, write_json
    from mer_r1.evaluation.compare import compare_files, rows_of_file, systems_of
    from mer_r1.evaluation.score import Settings, score_file

    _check(options)
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
    systems = systems_of(options.compare or [options.pred])
    read = (options.gold, options.sentiment_out, *(system.path for system in systems))
    validate_outputs({"--json": (options.json, "JSON")}, read)
    if options.compare:
        scored, table = None, compare_files(options.gold, options.compare, settings)
    else:
        scored = score_file(options.gold, systems[0].path, settings)
        table = rows_of_file(systems[0], scored)
    _print(options, table, scored)
    if options.json is not None:
        write_json(options.json, (scored or table).to_json())
    return table.exit_status


def _check(options: argparse.Namespace) -> None:
    """Raises InputError for options that do not go together."""
    if options.bare and (options.compare or options.format != "text"):
        raise InputError("-b prints the main number of --pred alone; leave it out, or --compare and --format")
    if options.details and (options.pred or options.format != "text"):
        raise InputError("--details goes with --compare and the format text; leave it out, or the other")


def _print(options: argparse.Namespace, table: Comparison, scored: FileScore | None) -> None:
    """What is asked for; what CSV and JSON have no place for goes to standard error."""
    from rich.console import Console

    from mer_r1.data.files import json_text
    from mer_r1.display.comparison import bare, notes_of, print_table, rendered
    from mer_r1.display.score import print_details, print_file_score

    console, form = Console(), options.format
    if options.bare:
        print(*bare(table), sep="\n")
    elif form == "text" and scored is not None:
        print_file_score(scored, options.failed, console)
    elif form == "text":
        print_table(table, options.failed, console)
        if options.details:
            print_details(table, options.failed, console)
    else:
        text = (
            json_text((scored or table).to_json())
            if form == "json"
            else rendered(table, form, options.failed, matrices=scored is not None)
        )
        sys.stdout.write(text)
        if form in ("csv", "json"):
            print(*notes_of(table, options.failed), sep="\n", file=sys.stderr)
