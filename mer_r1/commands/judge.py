"""`mer-r1 judge`: answers that are there already, judged by a model at an address."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mer_r1.commands.options import Commands, add_command, add_judge_options

if TYPE_CHECKING:
    from mer_r1.benchmarks.mme_emotion.judging import JudgeChoice, Prices


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
        "--questions", type=Path, required=True, help="a question file, a folder of them, or the manifest of `prepare`"
    )
    mme.add_argument(
        "--responses", type=Path, required=True, help='a JSON list of {"video_id", "model_response"}, "task" if needed'
    )
    mme.add_argument("--out", type=Path, required=True, help="folder for judgements, cache and metrics.json")
    mme.add_argument("--judge-url", required=True, metavar="URL", help="an OpenAI-compatible address")
    mme.add_argument("--judge-model", required=True, metavar="NAME", help="the judge's name there")
    add_judge_options(mme)
    mme.add_argument("--workers", type=int, default=8, metavar="N", help="requests at a time (default 8)")
    mme.add_argument("--videos", type=Path, metavar="DIR", help="the clips; without them stage 2 sees no pictures")
    mme.add_argument("--dry-run", action="store_true", help="print calls, tokens and cost only")
    mme.add_argument("--price-in", type=float, metavar="PRICE", help="of a million tokens, for --dry-run")
    mme.add_argument("--price-out", type=float, metavar="PRICE", help="of a million tokens, for --dry-run")


def _run(options: argparse.Namespace) -> int:
    from mer_r1.benchmarks.mme_emotion.judging import JudgeChoice, Prices

    choice = JudgeChoice(
        options.judge_url, options.judge_model, options.judge_key_env, options.steps_model, options.workers
    )
    return run(
        options.questions,
        options.responses,
        choice,
        options.out,
        videos=options.videos,
        clues=options.clues,
        dry_run=options.dry_run,
        prices=Prices(options.price_in, options.price_out),
    )


def run(
    questions: Path,
    responses: Path,
    choice: JudgeChoice,
    out: Path,
    *,
    videos: Path | None = None,
    clues: Path | None = None,
    dry_run: bool = False,
    prices: Prices | None = None,
) -> int:
    """Judge a file of responses into `out` and print the numbers; 1 when responses or clips are missing, otherwise 0.

    Raises InputError for files that do not fit together, and JudgeError where the endpoint fails.
    """
    from rich.console import Console

    from mer_r1.benchmarks.mme_emotion import judging
    from mer_r1.display.benchmark import benchmark_bars
    from mer_r1.display.mme_emotion import print_mme

    console = Console(highlight=False, emoji=False)
    answers = judging.read_answers(questions, responses, videos=videos, clues=clues)
    if dry_run:
        for line in judging.plan(answers, out, prices or judging.Prices()):
            console.print(line, markup=False, soft_wrap=True)
        return 0
    with benchmark_bars() as progress:
        report = judging.judge_responses(answers, choice, out, responses.stem, partial(progress, "Judging"))
    print_mme({"responses": report}, console)
    if line := judging.missing_line(answers):
        console.print(f"incomplete: {line}", markup=False, soft_wrap=True)
    return 0 if report.complete else 1
