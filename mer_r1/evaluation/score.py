"""`mer-r1 score`: MER-UniBench's numbers of a predictions file, and beside them what they hide.

The files are read as score_input.py says, with `--style` the raw answers of any model (answer_styles.py), which the
signature then names. Predictions of several modes are scored mode by mode, over the same clips: answered.py says which
answers count. Gold rows with a `valence` can be scored for
sentiment too (sentiment.py): by the `sentiment` that prediction rows carry, or by a backend that the user names. Two
systems on one gold are compared by the paired bootstrap.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from mer_r1.data.files import write_json
from mer_r1.display.score import print_both, print_differences, print_failed
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.evaluation.answered import Answered, FailedRule, answered
from mer_r1.evaluation.score_files import UNSTATED, Gold, ModePredictions, only, read_gold, read_modes, refuse_faults
from mer_r1.evaluation.sentiment import SentimentChoice, Task, sentiment_reports
from mer_r1.metrics.corpus_score import ScoreReport, compare, difference_json, load_wheels, score
from mer_r1.metrics.sentiment import SentimentReport, compare_sentiment
from mer_r1.metrics.statistics import Difference
from mer_r1.text import printable

Report = TypeVar("Report", ScoreReport, SentimentReport)


@dataclass(frozen=True)
class Settings:
    """How files are scored. `wheels` is a name of wheels or a folder of tables; `mode` None takes every mode.

    `style` is a style of answering by which labels are read out of the rows' `raw`; None takes their `labels`.
    `failed` says what a failed answer costs (answered.py).
    """

    wheels: str = "builtin"
    protocol: str = "official"
    task: Task = "auto"
    strict: bool = False
    mode: str | None = None
    style: str | None = None
    failed: FailedRule = "left-out"
    sentiment: SentimentChoice = field(default_factory=SentimentChoice)


@dataclass(frozen=True)
class Scored:
    """The reports of one mode, of which at least one is there, and how many of its answers failed."""

    words: ScoreReport | None
    sentiment: SentimentReport | None
    failed: int

    def to_json(self) -> dict[str, Any]:
        """The report of open vocabulary, and that of sentiment under its own key, its intervals beside the others."""
        if self.sentiment is None:
            assert self.words is not None, "a mode has a report of one kind or both"
            return self.words.to_json() | {"failed": self.failed}
        feelings = self.sentiment.to_json()
        alone = {name: feelings[name] for name in ("signature", "protocol", "n", "missing")}
        head = self.words.to_json() if self.words else {**alone, "task": "sentiment", "intervals": {}}
        return {
            **head,
            "failed": self.failed,
            "intervals": head["intervals"] | feelings["intervals"],
            "sentiment": feelings,
        }

    def minus(self, other: Scored) -> dict[str, Difference]:
        """This system minus the other, of every measure that both have, by the paired bootstrap."""
        words = compare(other.words, self.words) if self.words and other.words else {}
        sentiment = compare_sentiment(other.sentiment, self.sentiment) if self.sentiment and other.sentiment else {}
        return words | sentiment


def run(gold: Path, pred: Path, settings: Settings | None = None, json_out: Path | None = None) -> dict[str, Any]:
    """Score `pred` against `gold`, print the table, write `json_out`, and return what it holds.

    One mode (or one named): the report itself. Several: `{"modes": {mode: report}, "differences": {..}}` with slow
    minus fast by the paired bootstrap where both are there. Where sentiment is computed a report has the key
    `sentiment`, and nothing of open vocabulary for the task "sentiment", or "auto" and no gold row with labels.

    Raises InputError that names file and line for any wrong row.
    """
    settings = settings or Settings()
    _validate_not_overwriting(json_out, gold, pred, settings.sentiment.out)
    truth = read_gold(gold)
    wheels = load_wheels(settings.wheels, settings.protocol)
    modes = _modes(gold, truth, pred, wheels, settings)
    counted = _counted(truth, settings, (pred, modes))
    scored = _scored(gold, truth, pred, modes, counted.ids, counted.failed[0], wheels, settings)
    console = Console()
    for name, reports in scored.items():
        if name != UNSTATED:
            console.print(f"mode {printable(name)}", style="bold", markup=False, highlight=False)
        print_both(reports.words, reports.sentiment, console)
        print_failed(reports.failed, settings.failed, console)
    if len(scored) == 1:
        result = next(iter(scored.values())).to_json()
    else:
        result = {"modes": {name: reports.to_json() for name, reports in scored.items()}, "differences": {}}
        if {"fast", "slow"} <= set(scored):
            differences = scored["slow"].minus(scored["fast"])
            result["differences"]["slow - fast"] = difference_json(differences)
            print_differences("Slow minus fast, paired bootstrap", differences, console)
    if json_out is not None:
        write_json(json_out, result)
    return result


def run_compare(
    gold: Path, first: Path, second: Path, settings: Settings | None = None, json_out: Path | None = None
) -> dict[str, Any]:
    """Score two systems on the same gold, print and return both and the second minus the first.

    `{"first": report, "second": report, "difference": {measure: {"delta", "low", "high", "p_value"}}}`; where the files
    share several modes, `{"modes": {mode: ...}}` of these.

    Raises InputError as `run` does, and when the files have no mode in common and more than one to choose from.
    """
    settings = settings or Settings()
    if settings.sentiment.out:
        raise InputError("--sentiment-out keeps the answers to one file; score each by --pred, then compare these")
    _validate_not_overwriting(json_out, gold, first, second)
    truth = read_gold(gold)
    wheels = load_wheels(settings.wheels, settings.protocol)
    console, result = Console(), {}
    read = [_modes(gold, truth, path, wheels, settings) for path in (first, second)]
    files = list(zip((first, second), _shared(first, second, read[0], read[1], console), strict=True))
    counted = _counted(truth, settings, *files)
    one, other = (
        _scored(gold, truth, path, modes, counted.ids, failed, wheels, settings)
        for (path, modes), failed in zip(files, counted.failed, strict=True)
    )
    titles = (first.name, second.name) if first.name != second.name else (str(first), str(second))
    for (name, alone), other_one in zip(one.items(), other.values(), strict=True):
        pair, name = (alone, other_one), name if name in other else UNSTATED
        for title, reports in zip(titles, pair, strict=True):
            mode = "" if name == UNSTATED else f", mode {printable(name)}"
            console.print(f"{title}{mode}", style="bold", markup=False, highlight=False, soft_wrap=True)
            print_both(reports.words, reports.sentiment, console)
            print_failed(reports.failed, settings.failed, console)
        differences = pair[1].minus(pair[0])
        print_differences(f"{titles[1]} minus {titles[0]}, paired bootstrap", differences, console)
        result[name] = {
            "first": {"file": titles[0], **pair[0].to_json()},
            "second": {"file": titles[1], **pair[1].to_json()},
            "difference": difference_json(differences),
        }
    whole: dict[str, Any] = next(iter(result.values())) if len(result) == 1 else {"modes": result}
    if json_out is not None:
        write_json(json_out, whole)
    return whole


def score_files(gold: Path, pred: Path, settings: Settings | None = None) -> dict[str, ScoreReport]:
    """The open-vocabulary report of each mode of a predictions file. Raises InputError as `run` does."""
    settings = settings or Settings()
    wheels, truth = load_wheels(settings.wheels, settings.protocol), read_gold(gold)
    modes = read_modes(pred, settings.mode, settings.style)
    counted = _counted(truth, settings, (pred, modes))
    truth, left_out = only(truth, counted.ids), truth.labels.keys() - set(counted.ids)
    return {name: _report(gold, truth, pred, mode, left_out, wheels, settings) for name, mode in modes.items()}


def _validate_not_overwriting(out: Path | None, *files: Path | None) -> None:
    if out is not None and out.resolve() in {path.resolve() for path in files if path is not None}:
        raise InputError(f"{out}: --json would overwrite what is scored or kept; give another file")


def any_failed(result: Mapping[str, Any]) -> bool:
    """Whether an answer failed, of what `run` or `run_compare` returned."""
    parts = [*result.get("modes", {}).values(), *(result[name] for name in ("first", "second") if name in result)]
    return bool(result.get("failed")) or any(map(any_failed, parts))


def _modes(gold: Path, truth: Gold, pred: Path, wheels: WheelSet, settings: Settings) -> dict[str, ModePredictions]:
    modes = read_modes(pred, settings.mode, settings.style)
    if settings.strict:
        refuse_faults(gold, truth, pred, modes, wheels.protocol.parser)
    return modes


def _counted(truth: Gold, settings: Settings, *files: tuple[Path, Mapping[str, ModePredictions]]) -> Answered[str]:
    """Which clips count. Under "as-empty" the failed answers are put in as empty ones."""
    statuses = [{name: mode.statuses for name, mode in modes.items()} for _, modes in files]
    counted = answered(truth.labels, *statuses, rule=settings.failed)
    if not counted.ids:
        raise InputError(
            f"{files[0][0]}: no clip has an answer that did not fail in every mode; ask them again, name one mode with "
            "--mode, or count failed answers with --failed as-empty"
        )
    if settings.failed == "as-empty":
        for (_, modes), failed in zip(files, counted.failed, strict=True):
            for name, of_mode in failed.items():
                modes[name].put_in_empty(of_mode)
    return counted


def _scored(
    gold: Path,
    truth: Gold,
    pred: Path,
    modes: Mapping[str, ModePredictions],
    ids: Collection[str],
    failed: Mapping[str, Collection[str]],
    wheels: WheelSet,
    settings: Settings,
) -> dict[str, Scored]:
    """Every report of every mode asked for, over the clips of these ids."""
    truth, left_out = only(truth, ids), truth.labels.keys() - set(ids)
    feelings = sentiment_reports(
        truth, modes, settings.sentiment, settings.task, gold=gold, pred=pred, protocol=wheels.protocol
    )
    if settings.sentiment.name:  # otherwise the words were not read for it
        feelings = {name: _with_template(report, settings.style) for name, report in feelings.items()}
    alone = settings.task == "sentiment" or (
        settings.task == "auto" and bool(feelings) and not any(truth.labels.values())
    )
    return {
        name: Scored(
            None if alone else _report(gold, truth, pred, mode, left_out, wheels, settings),
            feelings.get(name),
            len(failed[name]),
        )
        for name, mode in modes.items()
    }


def _report(
    gold: Path,
    truth: Gold,
    pred: Path,
    mode: ModePredictions,
    left_out: Collection[str],
    wheels: WheelSet,
    settings: Settings,
) -> ScoreReport:
    try:
        report = score(
            truth.labels,
            {identity: labels for identity, labels in mode.labels.items() if identity not in left_out},
            wheels,
            task="auto" if settings.task == "sentiment" else settings.task,
            name=gold.stem,
            mode=mode.mode,
            clusters=truth.clusters,
            unanswered=mode.unanswered,
        )
    except InputError as error:
        raise InputError(f"{pred}: {error}") from None
    return _with_template(report, settings.style)


def _with_template(report: Report, style: str | None) -> Report:
    """The report with the style by which words were read out of texts in its signature."""
    if style is None:
        return report
    before, version, number = report.signature.rpartition("|version:")
    return replace(report, signature=f"{before}|extract:{style}{version}{number}")


def _shared(
    first: Path,
    second: Path,
    one: dict[str, ModePredictions],
    other: dict[str, ModePredictions],
    console: Console,
) -> tuple[dict[str, ModePredictions], dict[str, ModePredictions]]:
    """What is compared with what, in one order: the modes that both files have, or the only one of each."""
    if both := [name for name in one if name in other]:
        if left := sorted((one.keys() | other.keys()) - set(both)):
            console.print(
                f"not compared: {printable(', '.join(left))}, which one file has", markup=False, highlight=False
            )
        return {name: one[name] for name in both}, {name: other[name] for name in both}
    if len(one) == len(other) == 1:
        return one, other
    raise InputError(
        f"{first} has the modes {printable(', '.join(one))} and {second} {printable(', '.join(other))}; "
        "name one that both have with --mode"
    )
