"""`mer-r1 check`: a manifest validated before anything trains on it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from mer_r1.commands.options import Commands, add_command, add_wheel_options
from mer_r1.errors import InputError
from mer_r1.objectives import OBJECTIVES
from mer_r1.threads import num_workers

if TYPE_CHECKING:
    from mer_r1.analysis.check import Findings
    from mer_r1.analysis.stages import Needs, Stage

PURPOSES = ("sft", "rl", "benchmark", "train")  # train is 0.1.0's name of rl


def add(commands: Commands) -> None:
    """Add `mer-r1 check`."""
    text = "Validate a manifest before anything trains on it: media readable, gold scores 1.0."
    parser = add_command(commands, "check", text, _run)
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="the manifest: JSON lines, one sample a line")
    parser.add_argument(
        "--limit", type=int, metavar="N", help="decode the media of the first N rows only (default all)"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=num_workers(),
        metavar="N",
        help="processes that decode (default one a core)",
    )
    parser.add_argument(
        "--for",
        dest="purposes",
        action="append",
        choices=PURPOSES,
        metavar="STAGE",
        help="prove that the manifest has what sft, rl or benchmark needs, and count the rows that it would use; may "
        "be given several times (default: what every stage needs; train is another name of rl)",
    )
    parser.add_argument(
        "--objective", choices=tuple(OBJECTIVES), metavar="NAME", help="with --for rl: rl.objective (default mer_r1)"
    )
    parser.add_argument(
        "--target",
        dest="targets",
        action="append",
        metavar="KIND",
        help="with --for sft: what sft.targets holds, slow, fast or label (default slow); may be given several times",
    )
    parser.add_argument(
        "--json", type=Path, metavar="OUT", help="write all that was found there too (default: it is only printed)"
    )
    add_wheel_options(parser)


def _stages_of(options: argparse.Namespace) -> tuple[Stage, ...]:
    return tuple(dict.fromkeys("rl" if name == "train" else name for name in options.purposes or ()))


def _run(options: argparse.Namespace) -> int:
    from mer_r1.analysis.check import check_manifest
    from mer_r1.data.files import validate_outputs, write_json
    from mer_r1.display.check import print_findings, print_problems
    from mer_r1.display.progress import progress_bar
    from mer_r1.emotion.wheel import load_wheels

    stages = _stages_of(options)
    needs = _needs(options, stages)
    validate_outputs({"--json": (options.json, "JSON")}, (options.manifest,))
    num_printed = 0

    def print_first(found: Findings) -> None:
        nonlocal num_printed
        print_problems(found.problems)
        num_printed = len(found.problems)

    with progress_bar("Decoding", stderr=True) as progress:
        found = check_manifest(
            options.manifest,
            options.limit,
            load_wheels(options.wheels, options.protocol),
            stages=stages,
            needs=needs,
            workers=options.workers,
            progress=progress,
            before_media=print_first,
        )
    if options.json is not None:
        write_json(options.json, found.as_json())
    print_findings(found, num_printed)
    return 1 if found.problems else 0


def _needs(options: argparse.Namespace, stages: Sequence[str]) -> Needs:
    """What --objective and --target say. Raises InputError where their stage is not asked for, or a kind is unknown."""
    from mer_r1.analysis.stages import Needs
    from mer_r1.recipe import TargetKind

    for option, value, stage in (("--objective", options.objective, "rl"), ("--target", options.targets, "sft")):
        if value is not None and stage not in stages:
            raise InputError(f"{option} goes with --for {stage}; give that too, or leave it out")
    targets, kinds = tuple(options.targets or ("slow",)), get_args(TargetKind)
    for target in targets:
        if target not in kinds:
            raise InputError(f"--target {target}: no such kind of target; give {', '.join(kinds)}")
    return Needs(options.objective or "mer_r1", targets)
