"""`mer-r1 benchmark`: whole benchmarks, from clips to their tables."""

from __future__ import annotations

import argparse
from pathlib import Path

from mer_r1.commands.options import (
    Verbs,
    add_judge_options,
    add_sentiment_options,
    add_service_options,
    add_verb,
    add_wheel_options,
    sentiment_choice,
    service_of,
)
from mer_r1.errors import InputError


def benchmark(verbs: Verbs) -> None:
    """Add `mer-r1 benchmark`."""
    parser = add_verb(verbs, "benchmark", "A benchmark from clips to its table, beside the published rows.")
    parser.add_argument("--published", action="store_true", help="print the published tables and ask nobody")

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


def _mer_unibench(names: Verbs) -> None:
    parser = add_verb(names, "mer-unibench", "Nine data sets: F1, HIT and WAF, and their means (paper's Tables 1, 3).")
    parser.add_argument("--published", action="store_true", default=argparse.SUPPRESS, help="the published table alone")
    parser.add_argument("--model", help="a run, a checkpoint's folder or a Hub id; with --url a model's name there")
    parser.add_argument("--data", type=Path, metavar="DIR", help="NAME.jsonl of `prepare`, or the owners' folders")
    parser.add_argument("--out", type=Path, help="the run's folder (default runs/mer-unibench-MODEL); goes on there")
    parser.add_argument("--mode", choices=("fast", "slow", "both"), default="both")
    parser.add_argument("--sets", metavar="A,B", help="these sets only, as meld,mosi")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N clips of each set only")
    parser.add_argument("--max-new-tokens", type=int, default=1024)
    add_service_options(parser)
    add_wheel_options(parser)
    add_sentiment_options(parser)
    parser.set_defaults(command=_run_mer_unibench, resumable=True)


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
        modes=("fast", "slow") if options.mode == "both" else (options.mode,),
        sets=_names(options.sets),
        limit=options.limit,
        max_new_tokens=options.max_new_tokens,
        service=service_of(options),
        scoring=benchmark.Scoring(options.wheels, options.protocol, sentiment_choice(options)),
    )


def _names(listed: str | None) -> tuple[str, ...]:
    """The names that --sets lists; none where it is not given."""
    if listed is None:
        return ()
    names = tuple(name.strip() for name in listed.split(",") if name.strip())
    if not names:
        raise InputError(f"--sets {listed!r} names nothing; list names with commas between, or leave it out")
    return names


def _mme_emotion(names: Verbs) -> None:
    parser = add_verb(names, "mme-emotion", "Ask MME-Emotion's questions and have the answers judged.")
    parser.add_argument("--published", action="store_true", default=argparse.SUPPRESS, help="the published table alone")
    parser.add_argument("--model", help="a run, a checkpoint's folder, a Hub id; with --url a name there")
    parser.add_argument("--data", type=Path, help="folder of question files and clips, or the manifest of `prepare`")
    parser.add_argument("--out", type=Path, help="the run's folder; the same command goes on there")
    parser.add_argument("--mode", choices=("fast", "slow", "both"), default="slow")
    parser.add_argument("--sets", metavar="A,B", help="these tasks only, as ER-Lab,SA")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N questions of each task only")
    parser.add_argument("--max-new-tokens", type=int, default=1024)
    add_service_options(parser, requests="with --url, and of the judge: requests at a time")
    parser.add_argument("--judge-url", metavar="URL", help="judge by a model at this OpenAI-compatible address")
    parser.add_argument("--judge-model", metavar="NAME")
    add_judge_options(parser)
    parser.add_argument("--no-frames", action="store_true", help="the judge sees no pictures of the clips")
    parser.set_defaults(command=_run_mme_emotion, resumable=True)


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
        modes=("fast", "slow") if options.mode == "both" else (options.mode,),
        tasks=_names(options.sets),
        limit=options.limit,
        max_new_tokens=options.max_new_tokens,
        service=service_of(options),
    )
    return benchmark_mme.run(run, choice, clues=options.clues, with_frames=not options.no_frames)


def _emotion_pictures(names: Verbs) -> None:
    parser = add_verb(names, "emotion-pictures", "Accuracy on pictures with candidate labels, in and out of domain.")
    parser.add_argument("--published", action="store_true", default=argparse.SUPPRESS, help="EMO-R3's table alone")
    parser.add_argument("--model", help="a run, a checkpoint's folder or a Hub id; with --url a model's name there")
    parser.add_argument("--data", type=Path, metavar="DIR", help="NAME.jsonl of `prepare` or `synth --pictures`")
    parser.add_argument(
        "--out", type=Path, help="the run's folder (default runs/emotion-pictures-MODEL); goes on there"
    )
    parser.add_argument("--in-domain", metavar="NAME", help="the set whose training part the model was trained on")
    parser.add_argument("--mode", choices=("fast", "slow", "both"), default="both")
    parser.add_argument("--sets", metavar="A,B", help="these sets only, as emoset,webemo")
    parser.add_argument("--prompt-style", metavar="STYLE", help="as set or choice (default the model's own)")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N pictures of each set only")
    parser.add_argument("--max-new-tokens", type=int, default=1024)
    add_service_options(parser)
    parser.set_defaults(command=_run_emotion_pictures, resumable=True)


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
        modes=("fast", "slow") if options.mode == "both" else (options.mode,),
        sets=_names(options.sets),
        style=options.prompt_style,
        limit=options.limit,
        max_new_tokens=options.max_new_tokens,
        service=service_of(options),
    )
    return benchmark_pictures.run(run)
