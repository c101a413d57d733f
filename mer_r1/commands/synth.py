"""`mer-r1 synth`: the MiniMER corpus as files."""

from __future__ import annotations

import argparse
from pathlib import Path

from mer_r1.commands.options import Commands, add_command
from mer_r1.errors import InputError
from mer_r1.threads import num_workers


def add(commands: Commands) -> None:
    """Add `mer-r1 synth`."""
    text = "Make the MiniMER corpus, clips or pictures with known emotions, and manifests."
    parser = add_command(commands, "synth", text, _run)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the corpus")
    parser.add_argument(
        "--num",
        type=int,
        default=800,
        metavar="N",
        help="clips or pictures in all splits together (default %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of all that is drawn (default %(default)s)"
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="length of a clip, 0.5 to 60 (default 1)")
    parser.add_argument(
        "--workers", type=int, default=num_workers(), metavar="N", help="processes that make them (default one a core)"
    )
    parser.add_argument(
        "--form",
        metavar="FORM",
        help="response format of a clip's reasoning: think_answer, or set_steps with step tags and a box "
        "(default think_answer)",
    )
    parser.add_argument("--pictures", action="store_true", help="make pictures: scenes with a face, one label each")


def _run(options: argparse.Namespace) -> int:
    _validate(options)
    from mer_r1.display.progress import progress_bar
    from mer_r1.synthetic.corpus import Plan, write_corpus
    from mer_r1.synthetic.pictures import PicturePlan, write_pictures

    out, num, seed, workers = options.out, options.num, options.seed, options.workers
    with progress_bar(f"Making {'pictures' if options.pictures else 'clips'}") as bar:
        if options.pictures:
            manifests = write_pictures(PicturePlan(num, seed), out, workers, lambda done: bar(done, num))
        else:
            plan = Plan(num, seed, 1.0 if options.seconds is None else options.seconds, options.form or "think_answer")
            manifests = write_corpus(plan, out, workers, lambda done: bar(done, num))
        bar(num, num)
    for path in manifests.values():
        print(path)
    return 0


def _validate(options: argparse.Namespace) -> None:
    from mer_r1.synthetic.subtitles import TARGETS

    if options.seconds is not None and not 0.5 <= options.seconds <= 60:
        raise InputError(f"--seconds {options.seconds}: give 0.5 to 60")
    for name in ("seed", "workers"):
        if (value := getattr(options, name)) < 0:
            raise InputError(f"--{name} {value}: give 0 or more")
    if options.form is not None and options.form not in TARGETS:
        raise InputError(f"--form {options.form}: give one of {', '.join(TARGETS)}")
    if options.pictures and options.seconds is not None:
        raise InputError(f"--seconds {options.seconds}: a picture has no length; leave it out with --pictures")
    if options.pictures and options.form is not None:
        raise InputError(
            f"--form {options.form}: a picture's reasoning is always set_steps; leave it out with --pictures"
        )
