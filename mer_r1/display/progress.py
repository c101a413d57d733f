"""A long job shown to a person: a bar for each stage and an honest estimate of what is left of the whole.

The estimate starts from seconds measured on two CPU cores and is corrected by how fast this machine turns out to be.
Where the output is not a terminal, stages are announced in plain lines instead of bars.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mer_r1.data.files import write_json
from mer_r1.distributed import is_first_process

LINE_EVERY_S = 20.0


Report = Callable[[int, int], None]
"""Called with what is done and what there is to do."""


@contextmanager
def progress_bar(title: str, *, stderr: bool = False) -> Iterator[Report]:
    """A bar with what is done and the time that remains; of several processes the first one shows its own.

    It appears with its first report, so an error before leaves none behind. On `stderr` it is removed at the end, and
    shown in a terminal only.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=stderr)
    hidden = not is_first_process() or (stderr and not console.is_terminal)
    bars = Progress(*columns, console=console, transient=stderr, disable=hidden)
    task = bars.add_task(title, total=None)

    def report(done: int, total: int) -> None:
        bars.start()
        bars.update(task, completed=done, total=total)

    try:
        yield report
    finally:
        if bars.live.is_started:  # else it would print an empty line
            bars.stop()


LogReport = Callable[[int, int, dict[str, float]], None]
"""Called with what is done, what there is to do, and what was logged."""
_LOGGED = ("loss", "reward/recall", "reward/precision", "reward/accuracy", "reward/reflection", "kl")


@contextmanager
def training_bars(*, reads_clips: bool) -> Iterator[tuple[LogReport, LogReport]]:
    """Bars of a training for `train`: of its steps and of the clips it reads first; shown by the first process."""
    columns = (
        TextColumn("{task.description:<14}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(), disable=not is_first_process()) as bars:
        reading = bars.add_task("Reading clips", total=None, note="", visible=reads_clips)
        steps = bars.add_task("Training", total=None, note="")

        def progress(step: int, total: int, logs: dict[str, float]) -> None:
            note = "  ".join(f"{key.removeprefix('reward/')} {logs[key]:.3f}" for key in _LOGGED if key in logs)
            bars.update(steps, completed=step, total=total, note=note)

        def prepared(done: int, total: int, _: dict[str, float]) -> None:
            bars.update(reading, completed=done, total=total)

        yield progress, prepared


@dataclass
class Stages:
    """The stages of a job. `expected_s` maps each stage's name to its seconds on the reference machine, in order.

    `record` keeps the seconds of a job that is stopped and resumed: `total_s` adds up what each stage took in all.
    """

    expected_s: dict[str, float]
    record: Path
    console: Console = field(default_factory=Console)
    seconds: dict[str, float] = field(default_factory=dict)
    total_s: dict[str, float] = field(init=False)
    _bars: Progress = field(init=False)
    _started: float = field(init=False)
    _name: str = field(init=False, default="")
    _task: TaskID | None = field(init=False, default=None)
    _last_line: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        try:
            self.total_s = json.loads(self.record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self.total_s = {}
        self._bars = Progress(
            TextColumn("{task.description:<34}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=self.console,
        )

    def __enter__(self) -> Stages:
        if self.console.is_terminal:
            self._bars.start()
        self.console.print(f"About {self._minutes(sum(self.expected_s.values()))} on two CPU cores.")
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Within the block `report` is about this stage; its seconds are kept when the block ends."""
        self._name, self._started = name, time.monotonic()
        self._last_line = self._started
        if self.console.is_terminal:
            self._task = self._bars.add_task(name, total=None, note=self._left(0.0))
        else:
            self.console.print(f"{name} ... ({self._left(0.0)})")
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - self._started, 1)
            self.total_s[name] = round(self.total_s.get(name, 0.0) + self.seconds[name], 1)
            write_json(self.record, self.total_s)
        if self._task is not None:
            total = self._bars.tasks[self._task].total or 1
            self._bars.update(self._task, total=total, completed=total, note="")
            self._task = None
        else:
            self.console.print(f"{name} done in {self.seconds[name]:.0f} s")

    def report(self, done: int, total: int, note: str = "") -> None:
        """Tell how far the current stage is."""
        text = f"{note}  {self._left(done / max(total, 1))}".strip()
        if self._task is not None:
            self._bars.update(self._task, total=total, completed=done, note=text)
        elif time.monotonic() - self._last_line > LINE_EVERY_S:
            self._last_line = time.monotonic()
            self.console.print(f"  {done}/{total}  {text}")

    def _left(self, share: float) -> str:
        """What is left of the job, from the finished stages' speed and, once it says something, the current one's."""
        spent = time.monotonic() - self._started
        expected = self.expected_s[self._name]
        done = [
            name for name, taken in self.seconds.items() if taken > 0.1 * self.expected_s[name]
        ]  # others were finished by an earlier call
        known = sum(self.expected_s[name] for name in done)
        used = sum(self.seconds[name] for name in done)
        if share > 0.05:
            known, used = known + expected * share, used + spent
        pace = used / known if known else 1.0
        names = list(self.expected_s)
        later = sum(self.expected_s[name] for name in names[names.index(self._name) + 1 :])
        return f"about {self._minutes(pace * (later + expected * (1 - share)))} left"

    @staticmethod
    def _minutes(seconds: float) -> str:
        if seconds < 90:
            return f"{max(5, round(seconds / 5) * 5)} s"
        return f"{seconds / 60:.0f} min"
