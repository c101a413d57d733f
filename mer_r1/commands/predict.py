"""`mer-r1 predict`: the emotions of clips, or of every row of a manifest."""

from __future__ import annotations

import argparse
from pathlib import Path

from mer_r1.commands.options import (
    Commands,
    add_command,
    add_length_option,
    add_mode_option,
    add_service_options,
    modes_of,
    service_of,
)


def add(commands: Commands) -> None:
    """Add `mer-r1 predict`."""
    text = "Emotions of any clip, fast and slow, with reasoning and confidence."
    parser = add_command(commands, "predict", text, _run, resumable=True)
    parser.add_argument("clips", nargs="*", type=Path, metavar="CLIP", help="video, sound or picture files")
    parser.add_argument("--subtitle", help="the words spoken in the clips; without CLIP they are all that is predicted")
    parser.add_argument(
        "--candidates", metavar="A,B,…", help="labels to choose from, for a model that is shown such (rows name theirs)"
    )
    parser.add_argument("--manifest", type=Path, help="predict every row of a manifest into --out instead")
    parser.add_argument("--out", type=Path, help="predictions file of --manifest (JSON lines, appended to)")
    add_mode_option(parser)
    parser.add_argument(
        "--model",
        default="runs/quickstart/mer_r1",
        help="a run, a checkpoint's folder or a Hub id; with --url the model's name there (default %(default)s)",
    )
    add_length_option(parser)
    add_service_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON lines")


def _run(options: argparse.Namespace) -> int:
    from mer_r1.pipelines import predict

    return predict.run(
        options.clips,
        subtitle=options.subtitle,
        candidates=[label.strip() for label in (options.candidates or "").split(",") if label.strip()],
        manifest=options.manifest,
        out=options.out,
        modes=modes_of(options),
        source=options.model,
        max_new_tokens=options.max_new_tokens,
        json_lines=options.json,
        service=service_of(options),
    )
