"""`mer-r1 judge`: answers that are there already, judged by a model at an address."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from mer_r1.commands.options import Commands, add_command, add_judge_options, judge_choice


def add(commands: Commands) -> None:
    """Add `mer-r1 judge`."""
    parser = add_command(
        commands, "judge", "Answers that are there already, judged step by step by a model at an address."
    )
    benchmarks = parser.add_subparsers(required=True, metavar="BENCHMARK")
    mme = add_command(
        benchmarks, "mme-emotion", "MME-Emotion's Rec, Rea and CoT of a file of responses.", _run, resumable=True
    )
    mme.add_argument(
        "--questions",
        type=Path,
        required=True,
        metavar="PATH",
        help="a question file, a folder of them, or the manifest of `prepare`",
    )
    mme.add_argument(
        "--responses",
        type=Path,
        required=True,
        metavar="FILE",
        help='a JSON list of {"video_id", "model_response"}, "task" if needed',
    )
    mme.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for judgements, cache and metrics.json"
    )
    add_judge_options(mme, required=True)
    mme.add_argument("--workers", type=int, default=8, metavar="N", help="requests at a time (default %(default)s)")
    mme.add_argument("--videos", type=Path, metavar="DIR", help="the clips (default none: stage 2 sees no pictures)")
    mme.add_argument("--dry-run", action="store_true", help="print calls, tokens and cost only")
    mme.add_argument(
        "--price-in",
        type=float,
        metavar="PRICE",
        help="--dry-run: price of a million tokens sent (default: no cost is given)",
    )
    mme.add_argument(
        "--price-out",
        type=float,
        metavar="PRICE",
        help="--dry-run: the same of tokens received (default: no cost is given)",
    )


def _run(options: argparse.Namespace) -> int:
    """Judge a file of responses and print the numbers; 1 when responses or clips are missing, otherwise 0."""
    from rich.console import Console

    from mer_r1.benchmarks.mme_emotion import judging
    from mer_r1.display.benchmark import benchmark_bars
    from mer_r1.display.mme_emotion import print_mme

    console = Console(highlight=False, emoji=False)
    answers = judging.read_answers(options.questions, options.responses, videos=options.videos, clues=options.clues)
    if options.dry_run:
        for line in judging.plan(answers, options.out, options.price_in, options.price_out):
            console.print(line, markup=False, soft_wrap=True)
        return 0
    choice = judge_choice(options)
    assert choice is not None, "the options of a judge are required"
    title = options.responses.stem
    with benchmark_bars() as bars:
        progress = partial(bars, "Judging")
        report = judging.judge_answers(answers, choice, options.out, title=title, progress=progress)
    print_mme({"responses": report}, console)
    if line := judging.missing_line(answers):
        console.print(f"incomplete: {line}", markup=False, soft_wrap=True)
    return 0 if report.complete else 1
