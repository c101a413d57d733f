"""`mer-r1 diagnose`: why a model is better, from the answers of both modes. No model is asked, but for `modality`.

diagnose RUN…                  all runs and sets: tables, DIR/diagnosis.json, DIR/cases.jsonl, plots as SVG and PNG
diagnose --gold G --pred P     the thinking paradox of one predictions file
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from mer_r1.commands.options import (
    Commands,
    add_command,
    add_engine_options,
    add_kind,
    add_length_option,
    add_mode_option,
    add_wheel_options,
    engine_of,
    modes_of,
)
from mer_r1.data.files import validate_outputs, write_json, write_json_lines
from mer_r1.errors import InputError

THEORY_SEED = 0


def add(commands: Commands) -> None:
    """Add `mer-r1 diagnose` with its kinds `theory` and `modality`."""
    text = "Why a model is better: fast against slow, cases, calibration, media, leaks."
    parser = add_command(commands, "diagnose", text, _run)
    parser.add_argument(
        "what",
        nargs="*",
        metavar="RUN",
        help="folders of runs; or a word with options of its own (diagnose WORD --help): theory, the paper's "
        "propositions on sampled groups; modality, a model's answers without one medium",
    )
    add_wheel_options(parser)
    runs = parser.add_argument_group("RUN…")
    runs.add_argument("--out", type=Path, metavar="DIR", help="numbers, cases and plots (default RUN/diagnosis)")
    runs.add_argument(
        "--cases", type=int, default=10, metavar="N", help="print the N strongest of each kind (default %(default)s)"
    )
    files = parser.add_argument_group("one predictions file")
    files.add_argument("--gold", type=Path, metavar="FILE", help="manifest with the labels (default: RUN is diagnosed)")
    files.add_argument(
        "--pred", type=Path, metavar="FILE", help="predictions of both modes (default: RUN is diagnosed)"
    )
    files.add_argument(
        "--json", type=Path, metavar="OUT", help="write the numbers there too (default: they are only printed)"
    )
    _add_theory(parser)
    _add_modality(parser)


def _add_theory(diagnose: argparse.ArgumentParser) -> None:
    text = "The paper's propositions on sampled groups of answers: how often each holds, in numbers and as a plot."
    parser = add_kind(diagnose, "theory", text, _run_theory)
    parser.add_argument(
        "--groups", type=int, default=1000, metavar="N", help="sampled groups of each family (default %(default)s)"
    )
    parser.add_argument(
        "--json", type=Path, metavar="OUT", help="write the numbers there too (default: they are only printed)"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw them, .svg or .png (default: no plot)")


def _add_modality(diagnose: argparse.ArgumentParser) -> None:
    text = (
        "What each medium is worth: a model answers the same clips with everything, without pictures, without sound, "
        "without the subtitle, and by the subtitle alone."
    )
    parser = add_kind(diagnose, "modality", text, _run_modality)
    parser.add_argument("--manifest", type=Path, required=True, metavar="FILE", help="the clips, with labels")
    parser.add_argument("--model", required=True, metavar="MODEL", help="a run, a checkpoint's folder or a Hub id")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of the answers, resumed if it exists"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="the first N clips with labels (default all)")
    add_wheel_options(parser)
    answers = parser.add_argument_group("how it answers")
    add_mode_option(answers)
    add_length_option(answers)
    add_engine_options(answers)


def _run(options: argparse.Namespace) -> int:
    for word in ("theory", "modality"):
        if word in options.what:
            raise InputError(f"diagnose: {word} stands first; write: mer-r1 diagnose {word} …")
    if options.what:
        if options.gold is not None or options.pred is not None:
            raise InputError("diagnose: give RUN folders, or --gold and --pred, not both")
        return _run_folders([Path(folder) for folder in options.what], options)
    if options.gold is None or options.pred is None:
        raise InputError(
            "diagnose: RUN folders are needed, or --gold and --pred; or run `mer-r1 diagnose theory` or `modality`"
        )
    return _run_files(options)


def _run_files(options: argparse.Namespace) -> int:
    from rich.console import Console

    from mer_r1.analysis.paradox import diagnose
    from mer_r1.data.gold import read_gold
    from mer_r1.data.predictions import read_predictions
    from mer_r1.display.diagnosis import print_diagnosis
    from mer_r1.emotion.wheel import load_wheels

    validate_outputs({"--json": (options.json, "JSON")}, (options.gold, options.pred))
    truth, wheels = read_gold(options.gold), load_wheels(options.wheels, options.protocol)
    rows = read_predictions(options.pred, wheels.protocol.parser)
    try:
        found = diagnose(truth, rows, wheels, name=options.gold.stem)
    except InputError as error:
        raise InputError(f"{options.pred}: {error}") from None
    print_diagnosis(found, Console())
    if options.json is not None:
        write_json(options.json, found.to_json())
    return int(any(found.failed.values()))


def _run_folders(folders: Sequence[Path], options: argparse.Namespace) -> int:
    from rich.console import Console

    from mer_r1.analysis.runs import diagnose_runs
    from mer_r1.display.diagnosis import print_runs
    from mer_r1.display.diagnosis_plots import draw
    from mer_r1.emotion.wheel import load_wheels
    from mer_r1.evaluation.runs import read_runs

    if options.cases < 0:
        raise InputError(f"--cases {options.cases}: give 0 or more")
    wheels, systems = load_wheels(options.wheels, options.protocol), read_runs(folders)
    out = options.out or folders[0] / "diagnosis"
    found = diagnose_runs(systems, wheels)
    write_json(out / "diagnosis.json", found.to_json())
    write_json_lines(out / "cases.jsonl", [asdict(case) for case in found.cases])
    drawn = draw(found, out)
    console = Console(highlight=False)
    print_runs(found, console, options.cases)
    names = ", ".join(path.stem for path in drawn if path.suffix == ".svg")
    console.print(f"\nNumbers: {out / 'diagnosis.json'}\nCases: {out / 'cases.jsonl'}", markup=False, soft_wrap=True)
    console.print(f"Plots (.svg, .png): {names}", markup=False, soft_wrap=True)
    return int(any(num for item in found.sets.values() for num in item.failed.values()))


def _run_theory(options: argparse.Namespace) -> int:
    num_groups, plot = options.groups, options.plot
    if num_groups < 1:
        raise InputError(f"--groups {num_groups}: give at least 1")
    if plot is not None and plot.suffix not in (".svg", ".png"):
        raise InputError(f"{plot}: a plot is written as .svg or .png; end its name so")
    from rich.console import Console

    from mer_r1.display.theory import draw, print_theory
    from mer_r1.emotion.wheel import WheelSet
    from mer_r1.rl.theory import DRAWN, sample_families, summary

    validate_outputs({"--json": (options.json, "JSON")})
    families = sample_families(num_groups, THEORY_SEED, WheelSet.load())
    summaries = {name: summary(measured) for name, measured in families.items()}
    result = {"num_groups": num_groups, "seed": THEORY_SEED, "families": summaries}
    print_theory(result, Console())
    if options.json is not None:
        write_json(options.json, result)
    if plot is not None:
        if not len(families[DRAWN].rho_N):
            raise InputError(f"--groups: none of {num_groups} groups ({DRAWN}) varies enough to draw; give more")
        draw(families[DRAWN], plot)
    return 0


def _run_modality(options: argparse.Namespace) -> int:
    from mer_r1.analysis.modality import Modality
    from mer_r1.commands import benchmark
    from mer_r1.display.modality import print_run
    from mer_r1.emotion.wheel import load_wheels
    from mer_r1.evaluation.suite import Request

    request = Request(
        options.model,
        options.manifest,
        options.out,
        modes=modes_of(options),
        limit=options.limit,
        max_new_tokens=options.max_new_tokens,
        fast=options.fast,
        engine=engine_of(options),
    )
    return benchmark.run(Modality(load_wheels(options.wheels, options.protocol)), request, print_run)
