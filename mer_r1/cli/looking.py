"""Looking at what came out: `diagnose`, `report`."""

from __future__ import annotations

import argparse
from pathlib import Path

from mer_r1.cli.options import Verbs, add_verb, add_wheel_options
from mer_r1.errors import InputError


def diagnose(verbs: Verbs) -> None:
    """Add `mer-r1 diagnose`."""
    parser = add_verb(verbs, "diagnose", "The thinking paradox measured: fast against slow on the same clips.")
    parser.add_argument(
        "what", nargs="?", choices=("theory",), help="theory: the paper's propositions on sampled groups"
    )
    parser.add_argument("--gold", type=Path)
    parser.add_argument("--pred", type=Path, help="predictions of both modes")
    add_wheel_options(parser)
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the numbers there too")
    parser.add_argument("--groups", type=int, default=1000, metavar="N", help="theory: sampled groups of each family")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="theory: draw them, .svg or .png")

    def command(options: argparse.Namespace) -> int:
        if options.what == "theory":
            from mer_r1.verbs import theory

            theory.run(options.groups, options.json, options.plot)
            return 0
        if options.gold is None or options.pred is None:
            raise InputError("diagnose: --gold and --pred are needed; or ask for `mer-r1 diagnose theory`")
        from mer_r1.verbs import diagnose

        diagnose.run(options.gold, options.pred, options.wheels, options.json, protocol=options.protocol)
        return 0

    parser.set_defaults(command=command)


def report(verbs: Verbs) -> None:
    """Add `mer-r1 report`."""
    parser = add_verb(verbs, "report", "One offline HTML page of a finished run.")
    parser.add_argument("run", type=Path, help="a folder made by quickstart")
    parser.add_argument("--out", type=Path, help="the page (default RUN/report.html)")

    def command(options: argparse.Namespace) -> int:
        from mer_r1.verbs import report

        print(report.run(options.run, options.out))
        return 0

    parser.set_defaults(command=command)
