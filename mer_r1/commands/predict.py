"""`mer-r1 predict`: the emotions of clips, printed, or of every row of a manifest, into a predictions file."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mer_r1.commands.options import (
    Commands,
    add_command,
    add_length_option,
    add_mode_option,
    add_service_options,
    engine_of,
    modes_of,
    service_of,
)
from mer_r1.errors import InputError

if TYPE_CHECKING:
    from mer_r1.generation.make import Service


def add(commands: Commands) -> None:
    """Add `mer-r1 predict`."""
    text = "Emotions of any clip, fast and slow, with reasoning and confidence."
    parser = add_command(commands, "predict", text, _run, resumable=True)
    parser.add_argument("clips", nargs="*", type=Path, metavar="CLIP", help="video, sound or picture files")
    parser.add_argument(
        "--subtitle",
        metavar="TEXT",
        help="the words spoken in the clips (default none); without CLIP they are all that is predicted",
    )
    parser.add_argument(
        "--candidates",
        metavar="A,B,…",
        help="labels to choose from, for a model that is shown such (default none; rows name theirs)",
    )
    parser.add_argument(
        "--manifest", type=Path, metavar="FILE", help="predict every row of it into --out (default: CLIP is predicted)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="predictions file of --manifest, JSON lines, appended to (no default)"
    )
    add_mode_option(parser)
    parser.add_argument(
        "--model",
        default="runs/quickstart/mer_r1",
        metavar="MODEL",
        help="a run, a checkpoint's folder or a Hub id; with --url the model's name there (default %(default)s)",
    )
    add_length_option(parser)
    add_service_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON lines, the rows of a predictions file")


def _run(options: argparse.Namespace) -> int:
    service = service_of(options)
    if options.manifest is not None:
        return _run_manifest(options, service)
    if options.out is not None:
        raise InputError("--out: goes with --manifest; the predictions of CLIP are printed (--json for JSON lines)")
    if not options.clips and not (options.subtitle and options.subtitle.strip()):
        raise InputError("nothing to predict: give CLIP files, --subtitle TEXT, or --manifest FILE")
    from mer_r1.data.sample import Sample
    from mer_r1.display.predictions import print_predictions
    from mer_r1.generation.predict import predict

    candidates = tuple(label.strip() for label in (options.candidates or "").split(",") if label.strip())
    predictions = predict(
        options.clips or Sample("subtitle", subtitle=options.subtitle, candidates=candidates),
        model=options.model,
        mode=options.mode,
        subtitle=options.subtitle,
        candidates=candidates,
        max_new_tokens=options.max_new_tokens,
        url=service,
        fast=options.fast,
        engine=engine_of(options),
    )
    _name_model(options)
    if options.json:
        print("\n".join(json.dumps(asdict(prediction), ensure_ascii=False) for prediction in predictions))
    else:
        print_predictions(predictions)
    return 1 if any(prediction.status == "error" for prediction in predictions) else 0


def _name_model(options: argparse.Namespace) -> None:
    """Say on standard error which model answers, and what a toy is worth."""
    from mer_r1.model_settings import model_facts
    from mer_r1.text import printable

    facts = model_facts(options.model)
    at = f" at {printable(options.url)}" if options.url is not None else ""
    print(f"Model: {facts.line}{at}", file=sys.stderr)


def _run_manifest(options: argparse.Namespace, service: Service | None) -> int:
    if options.subtitle is not None or options.candidates or options.json:
        raise InputError("--manifest: goes without --subtitle, --candidates and --json; its rows have their own")
    if options.clips or options.out is None:
        raise InputError("--manifest: goes with --out PREDICTIONS and without CLIP")
    from mer_r1.data.manifest import read_manifest
    from mer_r1.display.progress import progress_bar
    from mer_r1.distributed import is_first_process
    from mer_r1.generation import generate_to_store
    from mer_r1.generation.make import make_generator

    samples = read_manifest(options.manifest)
    generator = make_generator(
        options.model,
        service,
        max_new_tokens=options.max_new_tokens,
        fast=options.fast,
        engine=engine_of(options),
    )
    with progress_bar("Predicting") as progress:
        report = generate_to_store(options.out, samples, generator, modes_of(options), progress)
    if not is_first_process():
        return 0  # the first process reports for all; a launcher ends them all when one of them fails
    print(report.summary(options.out) or options.out)
    return 1 if report.errors else 0
