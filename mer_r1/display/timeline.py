"""Emotions over time: a row a window in the terminal, and a figure of the categories, fast and slow.

A category's value in a window is its probability at the answer's words, averaged in the log (Eq. 1), as predictions
hold it; where a model's confidence is not known, 1 where a word of the answer reaches the category and 0 elsewhere.
Windows overlap; in the figure each is drawn around its middle, as far as to its neighbours'.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise, zip_longest
from pathlib import Path
from textwrap import wrap
from typing import Any

from rich.console import Console
from rich.markup import escape

from mer_r1.data.sample import MODES, Mode, Prediction
from mer_r1.display.grid import print_line
from mer_r1.display.plots import PRINTED, Colours, save, style
from mer_r1.display.predictions import CONFIDENCE_NOTE
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.generation.timeline import PredictedWindow
from mer_r1.text import printable

PLOT_ENDINGS = (".png", ".svg")
_TIME_WIDTH, _NARROWEST = 19, 16
_LONGEST_CELL = 400
_HARDLY_S = 0.1
_TICKS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)


class TimelinePrinter:
    """Prints the windows of a clip as they come, one line each under a head; `says`: with the words said in each."""

    def __init__(self, console: Console, *, says: bool = True) -> None:
        self._console, self._says = console, says
        self._has_head = False
        self.has_confidence = False
        self.heard_s: float | None = None

    def add(self, window: PredictedWindow) -> None:
        """Print the next window: its seconds, words of each mode with confidence, the beginning of what is said.

        Answers that are wider than their column take more lines.
        """
        num_cells = len(window.predictions) + self._says
        width = max(_NARROWEST, (self._console.width - _TIME_WIDTH - 2 * num_cells) // num_cells)
        if not self._has_head:
            heads = [f"{prediction.mode} thinking" for prediction in window.predictions]
            self._print(("time", *heads, *(["words said"] if self._says else [])), width, "bold")
            self._has_head = True
        self.has_confidence |= any(prediction.confidence for prediction in window.predictions)
        answers = [answer_words(prediction) for prediction in window.predictions]
        said = [printable(window.subtitle or "", width)] if self._says else []
        self._print((span(window.start_s, window.end_s), *answers, *said), width)
        media = window.predictions[0].media
        if media is not None and (media.audio_taken_s or 0.0) < (media.audio_s or 0.0) - _HARDLY_S:
            self.heard_s = media.audio_taken_s

    def _print(self, cells: Sequence[str], width: int, style: str | None = None) -> None:
        first, *others = cells
        parts = [[first], *(wrap(printable(cell, _LONGEST_CELL), width) for cell in others)]
        for time, *texts in zip_longest(*parts, fillvalue=""):
            line = f"{time:<{_TIME_WIDTH}}" + "".join(f"  {text:<{width}}" for text in texts)
            print_line(line.rstrip(), self._console, style)


def print_windows(
    windows: Iterable[PredictedWindow], title: str, words_from: str, wheel: int, plot: Path | None
) -> bool:
    """Print the windows of one clip as they come, and draw them into `plot`; whether something failed.

    A clip of which a part cannot be read is printed as far as it goes, and then why it ends.
    """
    console = Console(emoji=False, highlight=False)
    origin = f"  [dim]words from {escape(printable(words_from, 200))}[/dim]" if words_from else ""
    console.print(f"[bold]{escape(printable(title, 200))}[/bold]{origin}", soft_wrap=True)
    printer, found, failed = TimelinePrinter(console, says=bool(words_from)), list[PredictedWindow](), False
    try:
        for window in windows:
            printer.add(window)
            failed |= any(prediction.status == "error" for prediction in window.predictions)
            if plot is not None:
                found.append(window)
    except InputError as error:
        print_line(f"failed: {printable(error, 400)}", console, "red")
        failed = True
    if printer.has_confidence:
        console.print(f"[dim]{CONFIDENCE_NOTE}[/dim]")
    if printer.heard_s is not None:
        console.print(f"[dim]Of a window's sound this model is given the first {printer.heard_s:g} s.[/dim]")
    if plot is not None and found:
        print_line(f"Plot: {plot_timeline(found, Path(title).name, plot, wheel)}", console)
    console.print()
    return failed


def answer_words(prediction: Prediction) -> str:
    """The words of an answer with their confidence in percent, or why there are none."""
    if prediction.status == "error":
        return f"failed: {prediction.error or ''}"
    shares = prediction.confidence or {}
    words = (f"{word} {shares[word]:.0%}" if word in shares else word for word in prediction.labels)
    return ", ".join(words) or f"no emotion word ({prediction.status})"


def clock(seconds: float) -> str:
    """A time of a clip: 0:02.5, 1:05, 1:02:03."""
    minutes, hundredths = divmod(round(seconds * 100), 6000)
    hours, minutes = divmod(minutes, 60)
    second = f"{hundredths // 100:02d}" + f"{hundredths % 100 / 100:.2f}"[1:].rstrip("0").rstrip(".")
    return f"{hours}:{minutes:02d}:{second}" if hours else f"{minutes}:{second}"


def span(start_s: float, end_s: float) -> str:
    """A window's seconds."""
    return f"{clock(start_s)}–{clock(end_s)}"


def category_series(
    windows: Sequence[PredictedWindow], mode: Mode, wheels: WheelSet, wheel: int = 0
) -> dict[str, list[float]]:
    """Category -> its value in every window, from 0 to 1; NaN where a window has no answer of this mode."""
    categories = wheels.categories_of[wheel]
    series: dict[str, list[float]] = {category: [] for category in categories}
    for window in windows:
        found = next((row for row in window.predictions if row.mode == mode), None)
        values = _values(found, wheels, wheel)
        for category in categories:
            series[category].append(math.nan if values is None else values.get(category, 0.0))
    return series


def _values(prediction: Prediction | None, wheels: WheelSet, wheel: int) -> dict[str, float] | None:
    if prediction is None or prediction.status == "error":
        return None
    logs = (prediction.categories or {}).get(wheels.names[wheel])
    if logs is not None:
        return {category: math.exp(value) for category, value in logs.items()}
    return dict.fromkeys(wheels.categories(prediction.labels)[wheel], 1.0) if prediction.labels else None


def timeline_figure(windows: Sequence[PredictedWindow], title: str, wheel: int = 0, colours: Colours = PRINTED) -> Any:
    """A matplotlib figure of one wheel's categories over time, a panel a mode. Raises InputError without matplotlib."""
    wheels = WheelSet.load(protocol="corrected")
    modes = [mode for mode in MODES if any(row.mode == mode for window in windows for row in window.predictions)]
    categories = wheels.categories_of[wheel]
    width = min(16.0, max(7.0, 3.0 + 0.12 * len(windows)))
    settings = {
        "font.size": 9.5, "axes.titlesize": 10, "axes.titlelocation": "left", "xtick.labelcolor": colours.muted,
        "figure.facecolor": colours.paper, "axes.facecolor": colours.grid,
    }  # fmt: skip
    with style("timeline", colours, settings) as new:
        from matplotlib.colors import LinearSegmentedColormap

        figure = new(figsize=(width, 0.7 + len(modes) * (0.5 + 0.24 * len(categories))), layout="constrained")
        figure.suptitle(printable(title, 80), x=0.01, ha="left", fontsize=11)
        shades = LinearSegmentedColormap.from_list("sure", [colours.paper, "#56b4e9", "#0072b2", "#08306b"])
        panels = figure.subplots(len(modes), 1, sharex=True, squeeze=False)[:, 0]
        for panel, mode in zip(panels, modes, strict=True):
            series = category_series(windows, mode, wheels, wheel)
            rows = [series[category] for category in categories]
            drawn = panel.pcolormesh(
                _edges(windows), range(len(categories) + 1), rows, cmap=shades, vmin=0, vmax=1, rasterized=True
            )
            panel.set_title(f"{mode} thinking")
            panel.set_yticks([index + 0.5 for index in range(len(categories))], categories)
            panel.invert_yaxis()
        panels[-1].set_xlabel("time in the clip" + ("; grey: no answer" if _lacks_answers(windows) else ""))
        length_s = windows[-1].end_s
        tick_s = next((step for step in _TICKS_S if length_s / step <= 10), _TICKS_S[-1])
        panels[-1].set_xticks([k * tick_s for k in range(int(length_s / tick_s) + 1)])
        panels[-1].xaxis.set_major_formatter(lambda value, _: clock(value))
        bar = figure.colorbar(drawn, ax=list(panels), fraction=0.03, pad=0.01)
        bar.set_label(f"probability, {wheels.short_names[wheel]}'s categories")
        bar.outline.set_visible(False)
    return figure


def _lacks_answers(windows: Sequence[PredictedWindow]) -> bool:
    return any(row.status == "error" or not (row.labels or row.categories) for w in windows for row in w.predictions)


def _edges(windows: Sequence[PredictedWindow]) -> list[float]:
    """Where one window is drawn and the next one begins, one more than there are windows."""
    middles = [(window.start_s + window.end_s) / 2 for window in windows]
    between = [(one + other) / 2 for one, other in pairwise(middles)]
    return [windows[0].start_s, *between, windows[-1].end_s]


def validate_plot(path: Path) -> None:
    """Raises InputError for a name that ends in no kind of plot that is written."""
    if path.suffix not in PLOT_ENDINGS:
        raise InputError(f"--plot {path}: give a name that ends in {' or '.join(PLOT_ENDINGS)}")


def plot_timeline(windows: Sequence[PredictedWindow], title: str, path: Path, wheel: int = 0) -> Path:
    """Write the figure to `path`, as its name ends; the path. Raises InputError for another ending."""
    validate_plot(path)
    return save(timeline_figure(windows, title, wheel), path)
