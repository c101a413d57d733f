"""Asking and scoring: `predict`, `score`."""

from __future__ import annotations

import argparse
from pathlib import Path

from mer_r1.commands.options import (
    Verbs,
    add_sentiment_options,
    add_service_options,
    add_verb,
    add_wheel_options,
    sentiment_choice,
    service_of,
)
from mer_r1.prompting.label_extractors import STYLES


def predict(verbs: Verbs) -> None:
    """Add `mer-r1 predict`."""
    parser = add_verb(verbs, "predict", "Emotions of any clip, fast and slow, with reasoning and confidence.")
    parser.add_argument("clips", nargs="*", type=Path, metavar="CLIP", help="video, sound or picture files")
    parser.add_argument("--subtitle", help="the words spoken in the clips; alone, without CLIP, it is all there is")
    parser.add_argument(
        "--candidates", metavar="A,B,…", help="labels to choose from, for a model that is shown such (rows name theirs)"
    )
    parser.add_argument("--manifest", type=Path, help="predict every row of a manifest into --out instead")
    parser.add_argument("--out", type=Path, help="predictions file of --manifest (JSON lines, appended to)")
    parser.add_argument("--mode", choices=("fast", "slow", "both"), default="both")
    parser.add_argument("--model", default="runs/quickstart/mer_r1", help="a run, a checkpoint's folder or a Hub id")
    parser.add_argument("--max-new-tokens", type=int, default=1024)
    add_service_options(parser, asked="the rows of --manifest")
    parser.add_argument("--json", action="store_true", help="print JSON lines")

    def command(options: argparse.Namespace) -> int:
        from mer_r1.pipelines import predict

        return predict.run(
            options.clips,
            subtitle=options.subtitle,
            candidates=[label.strip() for label in (options.candidates or "").split(",") if label.strip()],
            manifest=options.manifest,
            out=options.out,
            modes=("fast", "slow") if options.mode == "both" else (options.mode,),
            source=options.model,
            max_new_tokens=options.max_new_tokens,
            json_lines=options.json,
            service=service_of(options),
        )

    parser.set_defaults(command=command, resumable=True)


def score(verbs: Verbs) -> None:
    """Add `mer-r1 score`."""
    parser = add_verb(verbs, "score", "MER-UniBench's numbers of a predictions file: F1 over emotion wheels, HIT, WAF.")
    parser.add_argument("--gold", type=Path, required=True)
    files = parser.add_mutually_exclusive_group(required=True)
    files.add_argument("--pred", type=Path, help="the predictions to score")
    files.add_argument("--compare", type=Path, nargs=2, metavar=("A", "B"), help="two of them, and B minus A")
    add_wheel_options(parser)
    parser.add_argument("--task", choices=("auto", "open-vocabulary", "basic", "sentiment"), default="auto")
    parser.add_argument("--mode", help="score this mode only")
    parser.add_argument(
        "--style", choices=tuple(STYLES), help="read the labels out of each row's raw text, as other models answer"
    )
    parser.add_argument("--strict", action="store_true", help="malformed and missing rows are errors, not counts")
    add_sentiment_options(parser)
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the numbers there too")
    parser.set_defaults(command=_run_score)


def _run_score(options: argparse.Namespace) -> int:
    from mer_r1.evaluation import score

    settings = score.Settings(
        wheels=options.wheels,
        protocol=options.protocol,
        task=options.task,
        strict=options.strict,
        mode=options.mode,
        style=options.style,
        sentiment=sentiment_choice(options),
    )
    if options.compare:
        first, second = options.compare
        score.run_compare(options.gold, first, second, settings, options.json)
    else:
        score.run(options.gold, options.pred, settings, options.json)
    return 0
