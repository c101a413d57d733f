"""A long job shown to a person: a bar for each stage and an honest estimate of what is left of the whole.

What is left is estimated by the pace of the last minute, or of the last four reports where these took longer, so that
another program which takes the processor is seen within that time, and so is its end. The stages of a job begin with
seconds measured on two idle CPU cores. Where the output is not a terminal, stages are announced in plain lines.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from mer_r1.data.files import write_json
from mer_r1.display.grid import print_line
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


def line_of(done: int, total: int, left: str, numbers: Iterable[str] = (), room: int | None = None) -> str:
    """What is done of how much, the time left, and behind them as many numbers as fit into `room` characters."""
    text = f"{done}/{total}  {left}".rstrip()
    for number in numbers:
        longer = f"{text}  {number}"
        if room is not None and len(longer) > room:
            break
        text = longer
    return text


def bar_width(console: Console) -> int:
    """The narrower the terminal, the shorter a bar: the numbers say more."""
    return 24 if console.width >= 100 else 12 if console.width >= 70 else 6


class _Label(ProgressColumn):
    """A task's description, shortened where the line has no room for it."""

    def get_table_column(self) -> Column:
        return Column(no_wrap=False)  # which lets the column shrink

    def render(self, task: Task) -> Text:
        return Text(task.description, no_wrap=True, overflow="ellipsis")


def bars_on(console: Console, **options: Any) -> Progress:
    """Bars of a label, a bar and a text (the task's field `text`), a line each; what is too long is the label."""
    text = TextColumn("{task.fields[text]}", markup=False, table_column=Column(no_wrap=True))
    return Progress(_Label(), BarColumn(bar_width(console)), text, console=console, **options)


def room_beside(console: Console, label_width: int) -> int:
    """The characters that `bars_on` leaves for a bar's text."""
    return max(0, console.width - label_width - bar_width(console) - 2)


class Bars:
    """The parts of a job by title, each a bar with what is done, the time left and its latest numbers.

    Each appears with its first report, so an error before leaves none behind. Where the output is no terminal a part is
    a plain line now and then: its first report, its last, and between them one every LINE_EVERY_S or every hundredth of
    the time that it has taken, whichever is longer.
    """

    def __init__(self, console: Console, *, hidden: bool = False, transient: bool = False) -> None:
        self._console, self._hidden = console, hidden
        self._bars = bars_on(console, transient=transient)
        self._parts: dict[str, _Part] = {}

    def report(self, title: str, done: int, total: int, numbers: Sequence[str] = ()) -> None:
        """Tell how far a part is."""
        if self._hidden:
            return
        now = time.monotonic()
        part = self._parts.setdefault(title, _Part(began=now))
        part.pace.add(done)
        is_done = done >= total
        left = _took(now - part.began) if is_done else part.pace.left(total - done)
        if self._console.is_terminal:
            self._show(title, part, done, total, left, numbers)
        elif is_done or now >= part.next_line:
            part.next_line = now + max(LINE_EVERY_S, (now - part.began) / 100)
            print_line(f"{title} {line_of(done, total, left, numbers)}", self._console)

    def _show(self, title: str, part: _Part, done: int, total: int, left: str, numbers: Sequence[str]) -> None:
        if part.task is None:
            self._bars.start()
            part.task = self._bars.add_task(title, text="")
        room = room_beside(self._console, max(map(len, self._parts)))
        text = line_of(done, total, left, numbers, room)
        self._bars.update(part.task, completed=done, total=total, text=text)

    def stop(self) -> None:
        """Leave the terminal as it is."""
        if self._bars.live.is_started:  # else it would print an empty line
            self._bars.stop()


@dataclass
class _Part:
    began: float
    next_line: float = 0.0
    pace: Pace = field(default_factory=Pace)
    task: TaskID | None = None


@contextmanager
def bars(console: Console | None = None, *, transient: bool = False, hidden: bool = False) -> Iterator[Bars]:
    """Bars that end with the block; of several processes the first one shows its own."""
    shown = Bars(console or Console(), transient=transient, hidden=hidden or not is_first_process())
    try:
        yield shown
    finally:
        shown.stop()


def _took(seconds: float) -> str:
    return f"in {seconds:.0f} s" if seconds < 90 else f"in {in_words(seconds)}"


Report = Callable[[int, int], None]
"""Called with what is done and what there is to do."""


@contextmanager
def progress_bar(title: str, *, stderr: bool = False) -> Iterator[Report]:
    """A bar of one part. On `stderr` it is removed at the end, and shown in a terminal only."""
    console = Console(stderr=stderr)
    with bars(console, transient=stderr, hidden=stderr and not console.is_terminal) as shown:
        yield partial(shown.report, title)


LogReport = Callable[[int, int, dict[str, float]], None]
"""Called with what is done, what there is to do, and what was logged."""
_LOGGED = ("loss", "reward/recall", "reward/precision", "reward/accuracy", "reward/reflection", "kl")


@contextmanager
def training_bars() -> Iterator[tuple[LogReport, LogReport]]:
    """Bars of a training for `train`: of its steps and of the clips it reads first."""
    with bars() as shown:

        def progress(step: int, total: int, logs: dict[str, float]) -> None:
            numbers = [f"{key.removeprefix('reward/')} {logs[key]:.3f}" for key in _LOGGED if key in logs]
            shown.report("Training", step, total, numbers)

        def prepared(done: int, total: int, _: dict[str, float]) -> None:
            shown.report("Reading clips", done, total)

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
        self._bars = bars_on(self.console)

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
            self._task = self._bars.add_task(name, total=None, text=self._left(0.0))
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
            total = int(self._bars.tasks[self._task].total or 1)
            text = line_of(total, total, _took(self.seconds[name]))
            self._bars.update(self._task, total=total, completed=total, text=text)
            self._task = None
        else:
            self.console.print(f"{name} done in {self.seconds[name]:.0f} s")

    def report(self, done: int, total: int, note: str = "") -> None:
        """Tell how far the current stage is."""
        share = done / max(total, 1)
        self._pace.add(share * self.expected_s[self._name])
        left, numbers = self._left(share), note.split("  ") if note else []
        if self._task is not None:
            room = room_beside(self.console, max(map(len, self.expected_s)))
            text = line_of(done, total, left, numbers, room)
            self._bars.update(self._task, total=total, completed=done, text=text)
        elif time.monotonic() - self._last_line > LINE_EVERY_S:
            self._last_line = time.monotonic()
            print_line(f"  {line_of(done, total, left, numbers)}", self.console)

    def _left(self, share: float) -> str:
        """What is left of the job, at the pace of late."""
        expected, names = self.expected_s[self._name], list(self.expected_s)
        later = sum(self.expected_s[name] for name in names[names.index(self._name) + 1 :])
        self._slowness = self._pace.seconds or self._slowness
        return f"about {in_words(self._slowness * (later + expected * (1 - share)))} left"
