"""Predictions files scored against a gold file: MER-UniBench's numbers, and beside them what they hide.

Each mode of a file is scored over the same clips, by the rule of answered.py. Gold rows with a `valence` can be scored
for sentiment too (sentiment.py): by the `sentiment` that prediction rows carry, or by a backend that the user names.
With a label extractor (prompting/label_extractors.py) the labels are read out of the raw answers of any model; the
signature names it. Two modes, or two systems on one gold, are compared by the paired bootstrap.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from mer_r1.data.gold import Gold, read_gold
from mer_r1.data.ids import unmatched
from mer_r1.data.labels import read_labels
from mer_r1.data.predictions import ModePredictions, read_modes
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.evaluation.answered import FailedRule, answered
from mer_r1.evaluation.sentiment import SentimentChoice, sentiment_reports
from mer_r1.metrics.classes import ClassReport, compare_classes, score_classes
from mer_r1.metrics.corpus_score import ScoreReport, ScoreTask, compare, difference_json, score_mode
from mer_r1.metrics.sentiment import SentimentReport, compare_sentiment
from mer_r1.metrics.statistics import Difference, Interval
from mer_r1.prompting.label_extractors import extract_labels, validate_style
from mer_r1.text import printable

AnyReport = ScoreReport | SentimentReport | ClassReport
Report = TypeVar("Report", ScoreReport, SentimentReport, ClassReport)
Modes = Mapping[str, ModePredictions]
Json = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """How files are scored. `wheels` is a name of wheels or a folder of tables; `mode` None takes every mode.

    `style` names the label extractor that reads labels out of the rows' `raw`; None takes their `labels`.
    `failed` says what a failed answer costs. `strict`: the first field that the protocol cannot read, clip without an
    answer, or answer without gold is an error.
    """

    wheels: str = "builtin"
    protocol: str = "official"
    task: ScoreTask | Literal["sentiment", "classes"] = "auto"
    strict: bool = False
    mode: str | None = None
    style: str | None = None
    failed: FailedRule = "left-out"
    sentiment: SentimentChoice = field(default_factory=SentimentChoice)


@dataclass(frozen=True)
class ModeReports:
    """The reports of one mode, of which at least one is there, and how many of its answers failed.

    `strangers` says which ids are not in the gold and how they probably differ; None where all are.
    """

    words: ScoreReport | None
    sentiment: SentimentReport | None
    failed: int
    classes: ClassReport | None = None
    strangers: str | None = None

    def to_json(self) -> Json:
        """The report of open vocabulary, and that of sentiment under its own key, its intervals beside the others."""
        if self.sentiment is None:
            return self.main.to_json() | {"failed": self.failed}
        sentiment = self.sentiment.to_json()
        alone = {name: sentiment[name] for name in ("signature", "protocol", "n", "missing")}
        head = self.words.to_json() if self.words else {**alone, "task": "sentiment", "intervals": {}}
        intervals = head["intervals"] | sentiment["intervals"]
        return {**head, "failed": self.failed, "intervals": intervals, "sentiment": sentiment}

    @property
    def _kinds(self) -> dict[str, AnyReport]:
        """The reports that are there by what they are of, the main one first."""
        kinds: dict[str, AnyReport | None] = {
            "classes": self.classes,
            "words": self.words,
            "sentiment": self.sentiment,
        }
        return {name: report for name, report in kinds.items() if report is not None}

    @property
    def main(self) -> AnyReport:
        """The report that the headline is of."""
        return next(iter(self._kinds.values()))

    @property
    def headline(self) -> str:
        """The main measure."""
        return self.main.headline

    @property
    def signatures(self) -> dict[str, str]:
        """The signature of each report by what it is of, the main one first."""
        return {name: report.signature for name, report in self._kinds.items()}

    @property
    def measures(self) -> dict[str, float]:
        """All measures, the headline first; fractions, NaN where one is not defined."""
        found = {name: value for report in self._kinds.values() for name, value in report.measures.items()}
        return {self.headline: found[self.headline]} | found

    @property
    def intervals(self) -> dict[str, Interval]:
        """The 95 % interval of each measure."""
        return {name: bounds for report in self._kinds.values() for name, bounds in report.intervals.items()}

    def minus(self, other: ModeReports) -> dict[str, Difference]:
        """This system minus the other, of every measure that both have, by the paired bootstrap."""
        words = compare(other.words, self.words) if self.words and other.words else {}
        sentiment = compare_sentiment(other.sentiment, self.sentiment) if self.sentiment and other.sentiment else {}
        classes = compare_classes(other.classes, self.classes) if self.classes and other.classes else {}
        return words | sentiment | classes


@dataclass(frozen=True)
class FileScore:
    """The scores of a predictions file by mode; the key is UNSTATED where its rows name no mode."""

    modes: dict[str, ModeReports]

    @property
    def words(self) -> dict[str, ScoreReport]:
        """The open-vocabulary reports by mode."""
        return {name: item.words for name, item in self.modes.items() if item.words is not None}

    @cached_property
    def slow_minus_fast(self) -> dict[str, Difference] | None:
        """Slow minus fast of each measure, by the paired bootstrap; None where one of them is not there."""
        both = {"fast", "slow"} <= self.modes.keys()
        return self.modes["slow"].minus(self.modes["fast"]) if both else None

    @property
    def exit_status(self) -> int:
        """1 where an answer failed, otherwise 0."""
        return int(any(item.failed for item in self.modes.values()))

    def to_json(self) -> Json:
        """The report of the one mode, or `{"modes": {mode: report}, "differences": {"slow - fast": ..}}`."""
        if len(self.modes) == 1:
            return next(iter(self.modes.values())).to_json()
        delta = self.slow_minus_fast
        differences = {} if delta is None else {"slow - fast": difference_json(delta)}
        return {"modes": {name: item.to_json() for name, item in self.modes.items()}, "differences": differences}


def score_file(gold: Path, pred: Path, settings: Settings | None = None) -> FileScore:
    """Score `pred` against `gold`.

    A report of sentiment is there where gold has valences and there are sentiments or a backend; none of words for the
    task "sentiment", or "auto" and no gold row with labels. Raises InputError that names file and line of a wrong row.
    """
    files = Scorer(gold, settings or Settings())
    return FileScore(files.scored((pred, files.read(pred)))[0])


class Scorer:
    """A gold file, and how predictions files are scored against it. Raises InputError that names file and line."""

    def __init__(self, gold: Path, settings: Settings) -> None:
        self.path, self.settings = gold, settings
        self.gold = read_gold(gold)
        self.wheels = WheelSet.load(settings.wheels, protocol=settings.protocol)
        if settings.style is not None:
            validate_style(settings.style)
        self.extract = None if settings.style is None else partial(extract_labels, style=settings.style)

    @property
    def is_sentiment_alone(self) -> bool:
        """Whether no words are scored: by the task, or because the gold has none."""
        task = self.settings.task
        return task == "sentiment" or (
            task == "auto" and bool(self.gold.valence) and not any(self.gold.labels.values())
        )

    def read(self, pred: Path) -> dict[str, ModePredictions]:
        """The modes of a predictions file. Raises InputError where none of its ids is of the gold."""
        by_sentiment = self.is_sentiment_alone and self.settings.sentiment.name is None
        modes = read_modes(pred, self.settings.mode, self.extract, by_sentiment=by_sentiment)
        ids = dict.fromkeys(identity for mode in modes.values() for identity in mode.statuses)
        if self.gold.labels.keys().isdisjoint(ids):
            raise InputError(f"{pred}: no prediction belongs to the gold; {self._strangers(pred, ids)}")
        if self.settings.strict:
            validate_strict(self.path, self.gold, pred, modes, self.wheels.protocol.parser)
        return modes

    def scored(self, *files: tuple[Path, Modes]) -> list[dict[str, ModeReports]]:
        """The scores of each file by mode, over the clips that count in all."""
        rule = self.settings.failed
        statuses = [{name: mode.statuses for name, mode in modes.items()} for _, modes in files]
        counted = answered(self.gold.labels, *statuses, rule=rule)
        kept, left_out = self.gold.only(counted.ids), self.gold.labels.keys() - set(counted.ids)
        choice, task = self.settings.sentiment, self.settings.task
        needs_valence = bool(self.gold.valence and (choice.name or choice.out or task == "sentiment"))
        if not counted.ids or (needs_valence and not kept.valence):
            clip = "clip with a valence" if needs_valence else "clip"
            raise InputError(
                f"{files[0][0]}: no {clip} has an answer that did not fail in every mode; ask them again, name one "
                "mode with --mode, or count failed answers with --failed as-empty"
            )
        result = []
        for (pred, modes), failed in zip(files, counted.failed, strict=True):
            if rule == "as-empty":
                modes = {name: mode.with_empty(failed[name]) for name, mode in modes.items()}
            result.append(self._of_file(kept, pred, modes, left_out, failed))
        return result

    def _of_file(
        self, gold: Gold, pred: Path, modes: Modes, left_out: Collection[str], failed: Mapping[str, Collection[str]]
    ) -> dict[str, ModeReports]:
        settings = self.settings
        strangers = {name: self._strangers(pred, mode.statuses) for name, mode in modes.items()}
        sentiment = sentiment_reports(
            gold, modes, settings.sentiment, settings.task, gold=self.path, pred=pred, protocol=self.wheels.protocol
        )
        if settings.task == "classes":
            return {
                name: ModeReports(None, None, len(failed[name]), self._classes(gold, mode), strangers[name])
                for name, mode in modes.items()
            }
        if settings.sentiment.name:  # otherwise the words were not read for it
            sentiment = {name: _with_style(report, settings.style) for name, report in sentiment.items()}
        unlabelled = not any(self.gold.labels.values())
        alone = settings.task == "sentiment" or (settings.task == "auto" and bool(sentiment) and unlabelled)
        return {
            name: ModeReports(
                words=None if alone else self._words(gold, pred, mode.without(left_out)),
                sentiment=sentiment.get(name),
                failed=len(failed[name]),
                strangers=strangers[name],
            )
            for name, mode in modes.items()
        }

    def _strangers(self, pred: Path, ids: Iterable[str]) -> str | None:
        """Which ids of a predictions file the gold does not have, in words."""
        name, known = (pred.name, self.path.name) if pred.name != self.path.name else (str(pred), str(self.path))
        return unmatched(ids, self.gold.labels, name, known)

    def _classes(self, gold: Gold, mode: ModePredictions) -> ClassReport:
        candidates = [item for of_row in gold.candidates.values() for item in of_row]
        try:
            report = score_classes(
                gold.labels,
                mode.labels,
                candidates=candidates,
                name=self.path.stem,
                mode=mode.mode,
                clusters=gold.clusters,
            )
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from None
        return _with_style(report, self.settings.style)

    def _words(self, gold: Gold, pred: Path, mode: ModePredictions) -> ScoreReport:
        task = self.settings.task
        known: ScoreTask = "auto" if task == "sentiment" or task == "classes" else task
        try:
            report = score_mode(gold, mode, self.wheels, self.path.stem, known)
        except InputError as error:
            raise InputError(f"{pred}: {error}") from None
        return _with_style(report, self.settings.style)


def validate_strict(path: Path, gold: Gold, pred: Path, modes: Modes, parser: str) -> None:
    """Raises InputError that names file and line of the first thing that `strict` does not pass over."""
    sides = [(path, gold.labels, gold.line)] + [(pred, mode.labels, mode.line) for mode in modes.values()]
    for side, labels, line in sides:
        for identity, value in labels.items():
            if error := read_labels(value, parser)[1]:
                raise InputError(f"{side}:{line[identity]}: {error}; fix it, or leave out --strict")
    for mode in modes.values():
        named = f" in mode {printable(mode.mode)}" if mode.mode else ""
        if failed := [identity for identity in gold.labels if identity in mode.failed]:
            raise InputError(
                f'{pred}: the answer to "{printable(failed[0])}"{named} failed, {len(failed)} in all; ask again, or '
                "leave out --strict"
            )
        if missing := [identity for identity in gold.labels if identity not in mode.labels]:
            raise InputError(
                f'{pred}: no prediction for "{printable(missing[0])}" (line {gold.line[missing[0]]} of {path}){named}, '
                f"{len(missing)} missing in all; give them, or leave out --strict"
            )
        for identity, number in mode.line.items():
            if identity not in gold.labels:
                raise InputError(
                    f'{pred}:{number}: id "{printable(identity)}" is not in {path}; leave it out, or leave out --strict'
                )


def _with_style(report: Report, style: str | None) -> Report:
    """The report with the label extractor in its signature."""
    if style is None:
        return report
    before, version, number = report.signature.rpartition("|version:")
    return replace(report, signature=f"{before}|extract:{style}{version}{number}")
