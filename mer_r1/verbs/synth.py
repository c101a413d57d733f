"""`mer-r1 synth`: the MiniMER corpus as files."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mer_r1.errors import InputError
from mer_r1.synthetic.corpus import Plan, write_corpus


def run(out: Path, num: int = 800, seed: int = 0, seconds: float = 1.0, workers: int | None = None) -> int:
    """Make `num` clips in `out` with manifests train.jsonl, val.jsonl and test.jsonl; 0 when done."""
    if not 0.5 <= seconds <= 60:
        raise InputError(f"--seconds {seconds}: give 0.5 to 60")
    if seed < 0:
        raise InputError(f"--seed {seed}: give 0 or more")
    if workers is not None and workers < 0:
        raise InputError(f"--workers {workers}: give 0 or more")
    console = Console()
    with Progress(
        TextColumn("Making clips"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    ) as bars:
        task = bars.add_task("clips", total=num)
        plan = Plan(num, seed, seconds)
        count = min(os.cpu_count() or 1, 8) if workers is None else workers
        manifests = write_corpus(plan, out, count, lambda done: bars.update(task, completed=done))
        bars.update(task, completed=num)
    for path in manifests.values():
        console.print(f"{path}", highlight=False)
    return 0
