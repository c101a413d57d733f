"""`mer-r1 benchmark`: whole benchmarks, from clips to their tables."""

from __future__ import annotations

import argparse

from mer_r1.commands.options import (
    Commands,
    add_benchmark_options,
    add_command,
    add_judge_options,
    add_sentiment_options,
    add_service_options,
    add_wheel_options,
    modes_of,
    names_of,
    sentiment_choice,
    service_of,
)
from mer_r1.errors import InputError


def add(commands: Commands) -> None:
    """Add `mer-r1 benchmark`."""
    parser = add_command(commands, "benchmark", "A benchmark from clips to its table, beside the published rows.")
    parser.add_argument("--published", action="store_true", help="print the published tables only")

    def command(options: argparse.Namespace) -> int:
        from mer_r1.evaluation import emotion_pictures as benchmark_pictures
        from mer_r1.evaluation.mer_unibench import show_published

        if not options.published:
            parser.error("name a benchmark, mer-unibench, mme-emotion or emotion-pictures, or give --published")
        return show_published() or benchmark_pictures.show_published()

    parser.set_defaults(command=command)
    names = parser.add_subparsers(metavar="BENCHMARK")
    _mer_unibench(names)
    _mme_emotion(names)
    _emotion_pictures(names)


def _mer_unibench(names: Commands) -> None:
    text = "Nine data sets: F1, HIT and WAF, and their means (paper's Tables 1, 3)."
    parser = add_command(names, "mer-unibench", text, _run_mer_unibench, resumable=True)
    add_benchmark_options(
        parser,
        data="folder of NAME.jsonl from `prepare`, or of the owners' folders",
        out="the run's folder, resumed where it is there (default runs/mer-unibench-MODEL)",
        sets="these sets only, such as meld,mosi",
        items="clips",
    )
    add_service_options(parser)
    add_wheel_options(parser)
    add_sentiment_options(parser)


def _run_mer_unibench(options: argparse.Namespace) -> int:
    from mer_r1.evaluation import mer_unibench as benchmark

    if options.published:
        return benchmark.show_published("mer-unibench")
    if options.model is None or options.data is None:
        raise InputError("--model and --data are needed; give both, or --published")
    return benchmark.run_unibench(
        options.model,
        options.data,
        options.out,
        modes=modes_of(options),
        sets=names_of(options.sets),
        limit=options.limit,
        max_new_tokens=options.max_new_tokens,
        service=service_of(options),
        scoring=benchmark.Scoring(options.wheels, options.protocol, sentiment_choice(options)),
    )


def _mme_emotion(names: Commands) -> None:
    text = "MME-Emotion's questions answered by a model, and its answers judged."
    parser = add_command(names, "mme-emotion", text, _run_mme_emotion, resumable=True)
    add_benchmark_options(
        parser,
        data="folder of question files and clips, or the manifest of `prepare`",
        out="the run's folder, resumed where it is there",
        sets="these tasks only, such as ER-Lab,SA",
        items="questions",
        mode="slow",
    )
    add_service_options(parser, requests="with --url, and of the judge: requests at the same time")
    parser.add_argument("--judge-url", metavar="URL", help="judge by a model at this OpenAI-compatible address")
    parser.add_argument("--judge-model", metavar="NAME", help="the judge's name there")
    add_judge_options(parser)
    parser.add_argument("--no-frames", action="store_true", help="the judge sees no pictures of the clips")


def _run_mme_emotion(options: argparse.Namespace) -> int:
    from mer_r1.benchmarks.mme_emotion.judging import JudgeChoice
    from mer_r1.evaluation import mme_emotion as benchmark_mme
    from mer_r1.evaluation.mer_unibench import show_published

    if options.published:
        return show_published("mme-emotion")
    if options.model is None or options.data is None or options.out is None:
        raise InputError("--model, --data and --out are needed; give them, or --published")
    if (options.judge_url is None) != (options.judge_model is None):
        raise InputError("--judge-url and --judge-model go together; give both, or neither")
    choice = None
    if options.judge_url is not None:
        choice = JudgeChoice(
            options.judge_url, options.judge_model, options.judge_key_env, options.steps_model, options.workers
        )
    run = benchmark_mme.MmeRun(
        model=options.model,
        data=options.data,
        out=options.out,
        modes=modes_of(options),
        tasks=names_of(options.sets),
        limit=options.limit,
        max_new_tokens=options.max_new_tokens,
        service=service_of(options),
    )
    return benchmark_mme.run(run, choice, clues=options.clues, with_frames=not options.no_frames)


def _emotion_pictures(names: Commands) -> None:
    text = "Accuracy on pictures with candidate labels, in and out of domain."
    parser = add_command(names, "emotion-pictures", text, _run_emotion_pictures, resumable=True)
    add_benchmark_options(
        parser,
        data="folder of NAME.jsonl from `prepare` or `synth --pictures`",
        out="the run's folder, resumed where it is there (default runs/emotion-pictures-MODEL)",
        sets="these sets only, such as emoset,webemo",
        items="pictures",
    )
    parser.add_argument("--in-domain", metavar="NAME", help="the set whose training part the model was trained on")
    parser.add_argument(
        "--prompt-style", metavar="STYLE", help="prompt template, as set or choice (default the model's)"
    )
    add_service_options(parser)


def _run_emotion_pictures(options: argparse.Namespace) -> int:
    from mer_r1.evaluation import emotion_pictures as benchmark_pictures

    if options.published:
        return benchmark_pictures.show_published()
    if options.model is None or options.data is None:
        raise InputError("--model and --data are needed; give both, or --published")
    run = benchmark_pictures.PicturesRun(
        model=options.model,
        data=options.data,
        out=options.out,
        in_domain=options.in_domain,
        modes=modes_of(options),
        sets=names_of(options.sets),
        style=options.prompt_style,
        limit=options.limit,
        max_new_tokens=options.max_new_tokens,
        service=service_of(options),
    )
    return benchmark_pictures.run(run)
