"""`mer-r1 benchmark`: whole benchmarks, from clips to their tables.

All of them take the same options and run through evaluation/suite.py. A new one is a folder under benchmarks/ and a
line of BENCHMARKS.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from mer_r1.commands.options import (
    Commands,
    add_benchmark_options,
    add_command,
    add_judge_options,
    add_sentiment_options,
    add_service_options,
    add_wheel_options,
    engine_of,
    judge_choice,
    modes_of,
    names_of,
    sentiment_choice,
    service_of,
)
from mer_r1.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from mer_r1.evaluation.suite import Benchmark, Outcome, Request

    OutcomeType = TypeVar("OutcomeType", bound=Outcome)


@dataclass(frozen=True)
class Entry:
    """A benchmark on the command line: its line of help, its options, and how it is run."""

    text: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def add(commands: Commands) -> None:
    """Add `mer-r1 benchmark`."""
    parser = add_command(commands, "benchmark", "A benchmark from clips to its table, beside the published rows.")
    parser.add_argument("--published", action="store_true", help="print the published tables only")

    def command(options: argparse.Namespace) -> int:
        if not options.published:
            *others, last = BENCHMARKS
            parser.error(f"name a benchmark, {', '.join(others)} or {last}, or give --published")
        return _print_published(*BENCHMARKS)

    parser.set_defaults(command=command)
    names = parser.add_subparsers(metavar="BENCHMARK")
    for name, entry in BENCHMARKS.items():
        entry.add_options(add_command(names, name, entry.text, partial(_run, name), resumable=True))


def _run(name: str, options: argparse.Namespace) -> int:
    if options.published:
        return _print_published(name)
    if options.model is None or options.data is None:
        raise InputError("--model and --data are needed; give both, or --published")
    return BENCHMARKS[name].run(options)


def _print_published(*names: str) -> int:
    from rich.console import Console

    from mer_r1.display.benchmark import print_published

    for name in names:
        print_published(name, Console())
    return 0


def run(
    benchmark: Benchmark[OutcomeType],
    request: Request,
    show: Callable[[OutcomeType, Console], None],
    console: Console | None = None,
) -> int:
    """Run a benchmark and print what came out; 0, or 1 where something is incomplete.

    Raises InputError as `run_benchmark` does, before anything is written where the model cannot be used.
    """
    from rich.console import Console

    from mer_r1.display.benchmark import benchmark_bars, print_found
    from mer_r1.distributed import is_first_process
    from mer_r1.evaluation.suite import run_benchmark
    from mer_r1.generation.make import validate_generator

    console = console or Console(highlight=False, emoji=False)
    validate_generator(
        request.model,
        request.service,
        max_new_tokens=request.max_new_tokens,
        fast=request.fast,
        engine=request.engine,
    )
    found = benchmark.find_sets(request)
    if is_first_process():
        print_found(found, console)
    with benchmark_bars() as progress:
        outcome = run_benchmark(benchmark, request, found, progress)
    if outcome is None:
        return 0  # the first process answers for all; a launcher ends them all when one of them fails
    show(outcome, console)
    return outcome.exit_status


def request_of(options: argparse.Namespace) -> Request:
    """What the options that all benchmarks share ask for."""
    from mer_r1.evaluation.suite import Request

    return Request(
        model=options.model,
        data=options.data,
        out=options.out,
        modes=modes_of(options),
        sets=names_of(options.sets),
        limit=options.limit,
        max_new_tokens=options.max_new_tokens,
        service=service_of(options),
        failed=options.failed,
        fast=options.fast,
        engine=engine_of(options),
    )


def _unibench_options(parser: argparse.ArgumentParser) -> None:
    data = "folder of NAME.jsonl from `prepare`, or of the owners' folders"
    add_benchmark_options(parser, data=data, sets="these sets only, such as meld,mosi", items="clips")
    add_service_options(parser)
    add_wheel_options(parser)
    add_sentiment_options(parser)


def _run_unibench(options: argparse.Namespace) -> int:
    from mer_r1.benchmarks.mer_unibench.benchmark import MerUniBench
    from mer_r1.display.mer_unibench import print_unibench

    benchmark = MerUniBench(options.wheels, options.protocol, sentiment_choice(options))
    return run(benchmark, request_of(options), lambda outcome, console: print_unibench(outcome, benchmark, console))


def _mme_options(parser: argparse.ArgumentParser) -> None:
    data = "folder of question files and clips, or the manifest of `prepare`"
    add_benchmark_options(parser, data=data, sets="these tasks only, such as ER-Lab,SA", items="questions", mode="slow")
    add_service_options(parser, requests="requests at the same time, and of the judge", styled=True)
    add_judge_options(parser)
    parser.add_argument("--no-frames", action="store_true", help="the judge sees no pictures of the clips")


def _run_mme(options: argparse.Namespace) -> int:
    from mer_r1.benchmarks.mme_emotion.benchmark import MmeEmotion
    from mer_r1.display.mme_emotion import print_run

    benchmark = MmeEmotion(judge_choice(options), options.clues, not options.no_frames)
    return run(benchmark, request_of(options), print_run)


def _picture_options(parser: argparse.ArgumentParser) -> None:
    data = "folder of NAME.jsonl from `prepare` or `synth --pictures`"
    add_benchmark_options(parser, data=data, sets="these sets only, such as emoset,webemo", items="pictures")
    parser.add_argument(
        "--in-domain", metavar="NAME", help="the set whose training part the model was trained on (default: not said)"
    )
    parser.add_argument(
        "--prompt-style", metavar="STYLE", help="prompt template, as set or choice (default the model's)"
    )
    add_service_options(parser, styled=True)


def _run_pictures(options: argparse.Namespace) -> int:
    from mer_r1.benchmarks.emotion_pictures.benchmark import EmotionPictures
    from mer_r1.display.emotion_pictures import print_pictures

    return run(EmotionPictures(options.in_domain, options.prompt_style), request_of(options), print_pictures)


BENCHMARKS = {
    "mer-unibench": Entry(
        "Nine data sets: F1, HIT and WAF, and their means (paper's Tables 1, 3).", _unibench_options, _run_unibench
    ),
    "mme-emotion": Entry(
        "MME-Emotion's questions answered by a model, and its answers judged.", _mme_options, _run_mme
    ),
    "emotion-pictures": Entry(
        "Accuracy on pictures with candidate labels, in and out of domain.", _picture_options, _run_pictures
    ),
}
"""In the order of the help; a published table of the same name is printed by --published."""
