"""A run -> one offline HTML page: everything inline, no script, nothing fetched, all text of files escaped.

What stands on the page is decided here, how it looks in templates/. Nothing is evaluated: the numbers are those of
metrics.json; only the verdicts on single words are looked up in the wheels, which the page names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.manifest import read_manifest
from mer_r1.metrics.signature import wheels_part
from mer_r1.report.cases import Case, Word, choose_clips, choose_group, compared, judge_words, missed_words
from mer_r1.report.pictures import NUM_BINS, ClipPicture, picture
from mer_r1.report.plots import (
    MISSING,
    Figure,
    colour_index,
    f1_plot,
    gap_plot,
    log_plot,
    pair_plot,
    plane_plot,
    without_plot,
)
from mer_r1.response import parse_response
from mer_r1.run_folder import Json, Run, System, interval_of, number_at, read_groups, value_at
from mer_r1.sample import Mode, Sample

MODES: tuple[Mode, ...] = ("fast", "slow")
MAX_REASONING_LETTERS = 1_200
REWARDS = {
    "recall": "recall",
    "precision": "precision",
    "f1": "F1",
    "format": "format",
    "calibration_plus": "R⁺",
    "calibration_minus": "R⁻",
}
LARGE_LOGS = (
    ("reward/recall", "Recall reward of the sampled answers", "recall reward"),
    ("reward/precision", "Precision reward of the sampled answers", "precision reward"),
)
SMALL_LOGS = (
    ("loss", "SFT loss", "loss"),
    ("answer_words", "Words an answer", "words"),
    ("entropy", "Entropy of the policy", "nats a token"),
    ("kl", "Distance from the SFT model", "KL"),
    ("groups_without_signal", "Groups without signal (all advantages 0)", "share"),
    ("reward/format", "Format reward", "format reward"),
)
PAIRS = (
    ("num_categories", "Categories an answer names, mean over wheels.", "categories"),
    ("confidence_gold", "Confidence on the right categories.", "log-confidence"),
    ("margin", "Margin of the right categories over the three hardest wrong ones.", "log-confidence"),
)


@dataclass(frozen=True)
class Answer:
    """One system's answer of one mode to a clip, judged."""

    system: System
    mode: Mode
    words: list[Word]
    missed: list[str]
    reasoning: str
    status: str


@dataclass(frozen=True)
class ShownClip:
    """A clip of the page, with the answers to it."""

    sample: Sample
    picture: ClipPicture
    answers: list[Answer]


@dataclass(frozen=True)
class ShownRollout:
    """A sampled answer, its rewards by title, its advantage, and that as a share of the group's largest."""

    words: list[Word]
    reasoning: str
    rewards: dict[str, float | None]
    advantage: float
    share: float


def render(run: Run) -> str:
    """The page. Raises InputError when jinja2 or matplotlib is missing."""
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup
    except ModuleNotFoundError:
        raise InputError(MISSING) from None
    folder = Path(__file__).parent / "templates"
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "signed": signed, "clock": clock}
    environment.globals["svg"] = lambda figure: Markup(figure.svg)  # made here, from escaped text
    style = Markup((folder / "style.css").read_text(encoding="utf-8"))
    return environment.get_template("page.html.j2").render(style=style, **context(run))


def context(run: Run) -> Json:
    """Everything that the template names."""
    from mer_r1 import __version__

    wheels = WheelSet.load(protocol="corrected")
    systems, metrics = run.systems, run.metrics
    pair = compared(systems)
    return {
        "title": _text(metrics.get("title")) or run.folder.name,
        "systems": systems,
        "names": {system.name for system in systems},
        "colour": {system.name: colour_index(system.name, systems) for system in systems},
        "modes": MODES,
        "num_train": number_at(metrics, "corpus", "train"),
        "num_test": number_at(metrics, "corpus", "test"),
        "seed": number_at(metrics, "corpus", "seed"),
        "is_minimer": bool(run.test) and all(sample.id.startswith("minimer-") for sample in run.test),
        "signature": _text(metrics.get("signature")),
        "constant": _constant(metrics.get("constant")),
        "best_f1": max((s.number(mode, "f1") or 0.0 for s in systems for mode in MODES), default=0.0),
        "findings": [(system, _text(value_at(system.numbers, "diagnosis", "finding"))) for system in systems],
        "retained": [(system, *_retained(system)) for system in systems if _retained(system)[0] is not None],
        **_figures(systems, metrics),
        "pair": pair,
        "cases": [(case, _clips(case, pair, wheels)) for case in choose_clips(run.test, pair, wheels)] if pair else [],
        "wheels": wheels_part(wheels.source, wheels.sha256),
        "num_bins": NUM_BINS,
        "group": _group(run, wheels),
        "stages": _stages(metrics.get("seconds")),
        "versions": _versions(systems),
        "recipes": [(system, system.recipe) for system in systems if system.recipe],
        "version": __version__,
    }


def percent(value: float | None) -> str:
    """A fraction in percent, one decimal; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.1f}"


def signed(value: float | None) -> str:
    """A number with its sign, two decimals; a dash where there is none."""
    return "–" if value is None else f"{value:+.2f}".replace("-", "−")


def clock(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _figures(systems: Sequence[System], metrics: Json) -> Json:
    rl = [system for system in systems if system.name != "sft"]
    sft = [system for system in systems if system.name == "sft"]
    pairs = [pair_plot(systems, key, caption, label) for key, caption, label in PAIRS]
    large = [log_plot(rl, key, caption, label) for key, caption, label in LARGE_LOGS]
    small = [
        log_plot(sft if key == "loss" else rl, key, caption, label, smooth=key != "loss", width=3.6, height=2.2)
        for key, caption, label in SMALL_LOGS
    ]
    width = 4.6 if metrics.get("without") is None else 3.8  # two or three beside each other
    result = [
        f1_plot(systems, number_at(metrics, "constant", "f1"), width),
        plane_plot(systems, width),
        without_plot(metrics.get("without"), systems, width),
    ]
    return {
        "result_figures": _present(result),
        "paradox_figures": _present([gap_plot(systems), *pairs]),
        "large_logs": _present(large),
        "small_logs": _present(small),
    }


def _present(figures: Sequence[Figure | None]) -> list[Figure]:
    return [figure for figure in figures if figure is not None]


def _constant(value: Any) -> Json | None:
    if not isinstance(value, dict) or number_at(value, "f1") is None:
        return None
    words = value.get("words")
    shown = [str(word) for word in words] if isinstance(words, list) else []
    return {"words": ", ".join(shown), **{key: number_at(value, key) for key in ("recall", "precision", "f1", "hit")}}


def _retained(system: System) -> tuple[float | None, tuple[float, float] | None]:
    rate = system.number("diagnosis", "retained_hit_rate")
    return rate, interval_of(value_at(system.numbers, "diagnosis", "retained_hit_rate_interval"))


def _clips(case: Case, systems: Sequence[System], wheels: WheelSet) -> list[ShownClip]:
    return [ShownClip(sample, picture(sample), _answers(sample, systems, wheels)) for sample in case.samples]


def _answers(sample: Sample, systems: Sequence[System], wheels: WheelSet) -> list[Answer]:
    answers = []
    for system in systems:
        for mode in MODES:
            row = system.predictions.get((sample.id, mode))
            if row is None:
                continue
            words = judge_words(row.labels, sample.labels, wheels, row.confidence)
            missed = missed_words(row.labels, sample.labels, wheels)
            answers.append(Answer(system, mode, words, missed, _cut(row.reasoning), row.status))
    return answers


def _group(run: Run, wheels: WheelSet) -> Json | None:
    """The group of rollouts to show, of the last system that has any."""
    for system in reversed(run.systems):
        rows = choose_group(read_groups(system.folder / "rollouts.jsonl"))
        if not rows:
            continue
        sample = _training_sample(run.folder / "data" / "train.jsonl", str(rows[0].get("id")))
        gold = sample.labels if sample else ()
        largest = max(abs(float(row["advantage"])) for row in rows) or 1.0
        shown = [_rollout(row, gold, wheels, largest) for row in rows]
        return {
            "system": system,
            "step": rows[0].get("step"),
            "id": str(rows[0].get("id")),
            "sample": sample,
            "picture": picture(sample) if sample else None,
            "rows": sorted(shown, key=lambda rollout: -rollout.advantage),
            "rewards": [title for title in REWARDS.values() if any(row.rewards[title] is not None for row in shown)],
        }
    return None


def _rollout(row: Json, gold: Sequence[str], wheels: WheelSet, largest: float) -> ShownRollout:
    labels = row.get("labels")
    words = [str(word) for word in labels] if isinstance(labels, list) else []
    advantage = float(row["advantage"])
    return ShownRollout(
        words=judge_words(words, gold, wheels),
        reasoning=_cut(parse_response(_text(row.get("text"))).reasoning),
        rewards={title: number_at(row["rewards"], key) for key, title in REWARDS.items()},
        advantage=advantage,
        share=abs(advantage) / largest,
    )


def _training_sample(path: Path, identity: str) -> Sample | None:
    if not path.exists():
        return None
    return next((sample for sample in read_manifest(path) if sample.id == identity), None)


def _stages(seconds: Any) -> list[tuple[str, float, float]]:
    """(stage, seconds, share of the longest)."""
    if not isinstance(seconds, dict):
        return []
    known = [(str(key), value) for key in seconds if (value := number_at(seconds, key)) is not None]
    longest = max((value for _, value in known), default=0.0) or 1.0
    return [(stage, value, value / longest) for stage, value in known]


def _versions(systems: Sequence[System]) -> dict[str, str]:
    """Versions that the runs wrote down; where runs differ, all of them."""
    found: dict[str, dict[str, None]] = {}
    for system in systems:
        versions = value_at(system.run, "versions")
        for key, value in versions.items() if isinstance(versions, dict) else ():
            found.setdefault(str(key), {})[str(value)] = None
    return {key: ", ".join(values) for key, values in found.items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _cut(text: str) -> str:
    text = text.strip()
    return text if len(text) <= MAX_REASONING_LETTERS else text[: MAX_REASONING_LETTERS - 2].rstrip() + " …"
