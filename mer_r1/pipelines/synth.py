"""`mer-r1 synth`: the MiniMER corpus as files, clips or pictures."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mer_r1.errors import InputError
from mer_r1.synthetic.corpus import Plan, write_corpus
from mer_r1.synthetic.pictures import PicturePlan, write_pictures
from mer_r1.synthetic.subtitles import TARGETS


def run(
    out: Path,
    num: int = 800,
    seed: int = 0,
    seconds: float | None = None,
    workers: int | None = None,
    form: str | None = None,
    pictures: bool = False,
) -> int:
    """Make `num` clips in `out` with manifests train.jsonl, val.jsonl and test.jsonl; 0 when done.

    `seconds` (1 unless given) is a clip's length, `form` (think_answer unless given) the response format of its
    reasoning. With `pictures` pictures are made instead, which have neither, and other.jsonl beside the three
    manifests.
    """
    _check(seed, seconds, workers, form, pictures)
    count = min(os.cpu_count() or 1, 8) if workers is None else workers
    kind = "pictures" if pictures else "clips"
    console = Console()
    with Progress(
        TextColumn(f"Making {kind}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    ) as bars:
        task = bars.add_task(kind, total=num)

        def progress(done: int) -> None:
            bars.update(task, completed=done)

        if pictures:
            manifests = write_pictures(PicturePlan(num, seed), out, count, progress)
        else:
            plan = Plan(num, seed, 1.0 if seconds is None else seconds, form or "think_answer")
            manifests = write_corpus(plan, out, count, progress)
        progress(num)
    for path in manifests.values():
        console.print(f"{path}", highlight=False)
    return 0


def _check(seed: int, seconds: float | None, workers: int | None, form: str | None, pictures: bool) -> None:
    if seconds is not None and not 0.5 <= seconds <= 60:
        raise InputError(f"--seconds {seconds}: give 0.5 to 60")
    if seed < 0:
        raise InputError(f"--seed {seed}: give 0 or more")
    if workers is not None and workers < 0:
        raise InputError(f"--workers {workers}: give 0 or more")
    if form is not None and form not in TARGETS:
        raise InputError(f"--form {form}: give one of {', '.join(TARGETS)}")
    if pictures and seconds is not None:
        raise InputError(f"--seconds {seconds}: a picture has no length; leave it out with --pictures")
    if pictures and form is not None:
        raise InputError(f"--form {form}: a picture's reasoning is always set_steps; leave it out with --pictures")
