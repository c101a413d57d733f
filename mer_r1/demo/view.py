"""Answers and clips as HTML, in the style of style.css. Every text of a model, a file or a visitor is escaped.

The templates escape by themselves; what they take as HTML is made in this package alone: the SVG of wheels, the path of
a sound's outline and data URIs of frames.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mer_r1.data.sample import MODES, Mode, Prediction
from mer_r1.demo.model import Answers, Question
from mer_r1.display.timeline import answer_words, category_series, clock, span
from mer_r1.display.wheel_shapes import Sector, draw_wheel, hue_of
from mer_r1.emotion.wheel import WheelSet
from mer_r1.generation.timeline import PredictedWindow
from mer_r1.prompting.response import parse_response
from mer_r1.report.pictures import NUM_BINS, jpeg_uri, outline
from mer_r1.text import percent, printable

FOLDER = Path(__file__).parent
TITLES: Mapping[Mode, tuple[str, str]] = {
    "fast": ("Fast thinking", "answers at once"),
    "slow": ("Slow thinking", "reasons first"),
}
RINGS: tuple[Mode, ...] = ("slow", "fast")
"""What the wheel's rings are of, from the outer one."""
STATUS = {
    "truncated": "The answer was cut at its largest length.",
    "no_answer": "The text holds no emotion word.",
}
MAX_SIDE = 160
MAX_TEXT = 20_000
_HALF_TAG = re.compile(r"</?[a-z0-9]*\Z")


@dataclass(frozen=True)
class Word:
    """A word of an answer: `share` is its confidence where it is known; `hue` colours its bar, None is grey."""

    text: str
    category: str | None
    hue: int | None
    share: float | None


@dataclass(frozen=True)
class Cell:
    """A category's probability in one window, and what a pointer over it shows."""

    share: float
    tip: str


@dataclass(frozen=True)
class TimeRow:
    """A category over time."""

    name: str
    hue: int | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Card:
    """One mode's answer, whole or as far as it is written."""

    mode: Mode
    title: str
    subtitle: str
    words: tuple[Word, ...]
    reasoning: str
    is_writing: bool
    note: str = ""
    error: str = ""
    raw: str = ""


def answers_html(answers: Answers, formats: Mapping[Mode, str], *, is_whole: bool) -> str:
    """The cards of both modes beside each other."""
    cards = [_card(mode, answers, formats[mode], is_whole=is_whole) for mode in MODES]
    return _render("answers.html.j2", cards=cards, problem=answers.problem)


def wheel_html(answers: Answers) -> str:
    """The wheels of whole answers, and the predictions as they are; empty where there is none."""
    if not answers.predictions:
        return ""
    found = answers.predictions
    finished = {mode: found[mode] for mode in RINGS if mode in found and found[mode].categories}
    rows = [
        json.dumps(asdict(answers.predictions[mode]), ensure_ascii=False, indent=2)
        for mode in MODES
        if mode in answers.predictions
    ]
    return _render("wheel.html.j2", wheels=_wheels(finished), modes=list(finished), rows=rows)


def question_html(question: Question) -> str:
    """What the model sees of a clip: frames at their seconds, the sound's outline, the words, and how much of each."""
    clip, facts = question.clip, question.clip.facts
    frames = []
    if clip.frames_THWC is not None:
        times: tuple[float | None, ...] = facts.frame_times_s
        times = (*times, *(None,) * (len(clip.frames_THWC) - len(times)))
        frames = [(jpeg_uri(frame, MAX_SIDE), time) for frame, time in zip(clip.frames_THWC, times, strict=True)]
    return _render(
        "seen.html.j2", question=question, facts=facts, frames=frames, num_bins=NUM_BINS,
        sound="" if clip.waveform_N is None else outline(clip.waveform_N),
    )  # fmt: skip


def timeline_html(windows: Sequence[PredictedWindow], seconds: float, *, is_growing: bool, problem: str = "") -> str:
    """The categories of the first wheel in every window, from the first to the last that is there."""
    wheels = wheel_set()
    series = category_series(windows, "fast", wheels)
    spans = [span(window.start_s, window.end_s) for window in windows]
    rows = []
    for index, (name, shares) in enumerate(series.items()):
        known = [0.0 if math.isnan(share) else share for share in shares]
        cells = [Cell(share, f"{at}: {name} {percent(share, 0)} %") for at, share in zip(spans, known, strict=True)]
        rows.append(TimeRow(name, hue_of(name, 360 * index // len(series)), tuple(cells)))
    step = max(1, math.ceil(len(windows) / 8))
    marks = [clock(round(window.start_s, 1)) if not index % step else "" for index, window in enumerate(windows)]
    lines = [
        (at, answer_words(window.predictions[0]), window.subtitle or "")
        for at, window in zip(spans, windows, strict=True)
    ]
    share = min(1.0, windows[-1].end_s / seconds) if windows else 0.0
    return _render(
        "timeline.html.j2", rows=rows, marks=marks, lines=lines, title=wheels.titles[0], share=share,
        is_growing=is_growing, problem=printable(problem, 400),
    )  # fmt: skip


def problem_html(problem: str) -> str:
    """What went wrong, in one line."""
    return _render("problem.html.j2", problem=printable(problem, 400))


def head_html(name: str, facts: str, place: str, note: str) -> str:
    """The page's head: which model answers, and what a toy is worth."""
    return _render("head.html.j2", name=name, facts=facts, place=place, note=note)


def style() -> str:
    """The style sheet."""
    return (FOLDER / "style.css").read_text(encoding="utf-8")


def _card(mode: Mode, answers: Answers, response_format: str, *, is_whole: bool) -> Card:
    prediction, text = answers.predictions.get(mode), answers.texts.get(mode, "")
    title, subtitle = TITLES[mode]
    if prediction is None:
        begun = parse_response(_HALF_TAG.sub("", text), response_format)
        is_writing = not is_whole and not answers.problem
        return Card(mode, title, subtitle, _words(begun.labels, {}), begun.reasoning[:MAX_TEXT], is_writing)
    words = _words(prediction.labels, prediction.confidence or {})
    if prediction.status == "error":
        return Card(mode, title, subtitle, (), "", False, error=printable(prediction.error or "", 400))
    raw = prediction.raw[:MAX_TEXT] if prediction.status != "ok" else ""
    note = STATUS.get(prediction.status, "")
    return Card(mode, title, subtitle, words, prediction.reasoning.strip()[:MAX_TEXT], False, note, raw=raw)


def _words(labels: tuple[str, ...], confidence: Mapping[str, float]) -> tuple[Word, ...]:
    made = []
    for label in labels:
        ways = wheel_set().explain(label)
        category = ways[0].category if ways else None
        hue = None if category is None else hue_of(category, 215)
        made.append(Word(printable(label), category, hue, confidence.get(label)))
    return tuple(made)


def _wheels(finished: Mapping[Mode, Prediction]) -> list[tuple[str, str]]:
    """Each wheel's title and picture."""
    if not finished:
        return []
    wheels, drawn = wheel_set(), []
    for name, title, categories in zip(wheels.names, wheels.titles, wheels.categories_of, strict=True):
        shares = {mode: (row.categories or {}).get(name, {}) for mode, row in finished.items()}
        sectors = [
            _sector(category, {mode: found.get(category) for mode, found in shares.items()}) for category in categories
        ]
        said = "; ".join(sector.tip for sector in sectors)
        drawn.append((title, draw_wheel(f"{title}, confidence in percent: {said}.", sectors)))
    return drawn


def _sector(category: str, logs: Mapping[Mode, float | None]) -> Sector:
    shares = {mode: None if log is None else math.exp(log) for mode, log in logs.items()}
    values = " · ".join(percent(share, 0) for share in shares.values())
    tip = ", ".join(f"{mode} {percent(share, 0)}" for mode, share in shares.items())
    return Sector(category, shares.get("slow"), shares.get("fast"), values, f"{category}: {tip}")


@cache
def wheel_set() -> WheelSet:
    """The wheels that answers are shown by; they know "neutral" too."""
    return WheelSet.load(protocol="corrected")


@cache
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(FOLDER / "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _render(template: str, **values: Any) -> str:
    page = str(_environment().get_template(template).render(**values))
    # Gradio's component is a template of the browser's, which must find none of its own marks in a text.
    return page.replace("{", "&#123;").replace("$", "&#36;").replace("@", "&#64;")
