"""A long job shown to a person: a bar for each stage and an honest estimate of what is left of the whole.

What is left is estimated by the pace of the last minute, or of the last four reports where these took longer, so that
another program which takes the processor is seen within that time, and so is its end. The stages of a job begin with
seconds measured on two idle CPU cores. Where the output is not a terminal, stages are announced in plain lines.
"""

from __future__ import annotations

import json
import time
from collections import deque
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
)

from mer_r1.data.files import write_json
from mer_r1.distributed import is_first_process

LINE_EVERY_S = 20.0
RECENT_S, RECENT_REPORTS = 60.0, 4
_FIRST_S = 5.0  # shorter, it says little


class Pace:
    """Seconds that a unit of work takes at present.

    Counting begins at the first report: what a resumed job had done before says nothing.
    """

    def __init__(self) -> None:
        self._reports: deque[tuple[float, float]] = deque()

    def add(self, done: float) -> None:
        """Report how much is done in all."""
        now = time.monotonic()
        self._reports.append((now, done))
        while len(self._reports) > RECENT_REPORTS and now - self._reports[1][0] >= RECENT_S:
            self._reports.popleft()

    @property
    def seconds(self) -> float | None:
        """None where too little was seen."""
        if not self._reports:
            return None
        (began, done_before), (now, done) = self._reports[0], self._reports[-1]
        return (now - began) / (done - done_before) if now - began >= _FIRST_S and done > done_before else None

    def left(self, rest: float) -> str:
        """The time that `rest` takes at this pace; empty where it is not known."""
        return "" if self.seconds is None else f"about {in_words(self.seconds * rest)} left"


def in_words(seconds: float) -> str:
    """A time that is not known exactly: 40 s, 7 min, 3.5 h."""
    if seconds < 90:
        return f"{max(5, round(seconds / 5) * 5)} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


Report = Callable[[int, int], None]
"""Called with what is done and what there is to do."""


@contextmanager
def progress_bar(title: str, *, stderr: bool = False) -> Iterator[Report]:
    """A bar with what is done and the time that remains; of several processes the first one shows its own.

    It appears with its first report, so an error before leaves none behind. On `stderr` it is removed at the end, and
    shown in a terminal only.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
    console = Console(stderr=stderr)
    hidden = not is_first_process() or (stderr and not console.is_terminal)
    bars = Progress(*columns, console=console, transient=stderr, disable=hidden)
    task, pace = bars.add_task(title, total=None, left=""), Pace()

    def report(done: int, total: int) -> None:
        bars.start()
        pace.add(done)
        bars.update(task, completed=done, total=total, left=pace.left(total - done))

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
        TextColumn("{task.fields[left]}"),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(), disable=not is_first_process()) as bars:
        reading = bars.add_task("Reading clips", total=None, left="", note="", visible=reads_clips)
        steps = bars.add_task("Training", total=None, left="", note="")
        reading_pace, pace = Pace(), Pace()

        def progress(step: int, total: int, logs: dict[str, float]) -> None:
            note = "  ".join(f"{key.removeprefix('reward/')} {logs[key]:.3f}" for key in _LOGGED if key in logs)
            pace.add(step)
            bars.update(steps, completed=step, total=total, left=pace.left(total - step), note=note)

        def prepared(done: int, total: int, _: dict[str, float]) -> None:
            reading_pace.add(done)
            bars.update(reading, completed=done, total=total, left=reading_pace.left(total - done))

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
    _pace: Pace = field(init=False, default_factory=Pace)  # of this stage, in seconds of the reference machine
    _slowness: float = field(init=False, default=1.0)  # how many times the reference's seconds were taken of late

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
        self.console.print(f"About {in_words(sum(self.expected_s.values()))} on two idle CPU cores.")
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Within the block `report` is about this stage; its seconds are kept when the block ends."""
        self._name, self._started = name, time.monotonic()
        self._last_line, self._pace = self._started, Pace()
        if self.console.is_terminal:
            self._task = self._bars.add_task(name, total=None, note=self._left(0.0))
        else:
            self.console.print(f"{name} ... ({self._left(0.0)})")
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - self._started, 1)
            self.total_s[name] = round(self.total_s.get(name, 0.0) + self.seconds[name], 1)
            if self._pace.seconds is None and self.seconds[name] > 0.1 * self.expected_s[name]:  # else done before
                self._slowness = self.seconds[name] / self.expected_s[name]
            write_json(self.record, self.total_s)
        if self._task is not None:
            total = self._bars.tasks[self._task].total or 1
            self._bars.update(self._task, total=total, completed=total, note="")
            self._task = None
        else:
            self.console.print(f"{name} done in {self.seconds[name]:.0f} s")

    def report(self, done: int, total: int, note: str = "") -> None:
        """Tell how far the current stage is."""
        share = done / max(total, 1)
        self._pace.add(share * self.expected_s[self._name])
        text = f"{note}  {self._left(share)}".strip()
        if self._task is not None:
            self._bars.update(self._task, total=total, completed=done, note=text)
        elif time.monotonic() - self._last_line > LINE_EVERY_S:
            self._last_line = time.monotonic()
            self.console.print(f"  {done}/{total}  {text}")

    def _left(self, share: float) -> str:
        """What is left of the job, at the pace of late."""
        expected, names = self.expected_s[self._name], list(self.expected_s)
        later = sum(self.expected_s[name] for name in names[names.index(self._name) + 1 :])
        self._slowness = self._pace.seconds or self._slowness
        return f"about {in_words(self._slowness * (later + expected * (1 - share)))} left"
