"""`mer-r1 score`: MER-UniBench's open-vocabulary numbers from a predictions file, and sentiment where gold has it.

Gold rows: `{"id", "labels": [..] | "raw string"}`; the other keys of a manifest may stand beside, and `cluster` makes
the intervals clustered. Prediction rows: `{"id", "labels": [..] | "raw string" | null, "mode"?, "status"?}`; further
keys are let be unless they look like a slip of one of these. A row with status "error" is no prediction (the clip
counts as missing) and a later row of the same clip takes its place. Predictions of several modes are scored mode by
mode. Gold rows with a `valence` can be scored for sentiment too (sentiment.py): by the `sentiment` that prediction rows
carry, or by a backend that the user names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mer_r1.errors import InputError
from mer_r1.files import read_json_lines, write_json
from mer_r1.manifest import KEYS, id_faults, shown, unknown_keys
from mer_r1.metrics.corpus_score import Labels, ScoreReport, compare, difference_json, load_wheels, score
from mer_r1.metrics.open_vocabulary import MEASURES
from mer_r1.metrics.sentiment import SentimentReport
from mer_r1.metrics.statistics import Difference
from mer_r1.sample import Prediction, Status
from mer_r1.verbs.sentiment import SentimentChoice, Task, count_lines, sentiment_reports, sentiment_table

UNSTATED = "unstated"
MAX_VALENCE = 1000  # any scale of a data set, and no infinity
PREDICTION_KEYS = (*Prediction.__dataclass_fields__, "sentiment")
TITLES = dict(zip(MEASURES, ("precision", "recall", "F1", "HIT"), strict=True))
NUM_WORDS_SHOWN = 8


@dataclass
class ModePredictions:
    """The predictions of one mode (None: unstated): labels by id, ids of malformed answers, the line of each id.

    `sentiment` holds the word of those rows that carry one.
    """

    mode: str | None = None
    labels: dict[str, Labels] = field(default_factory=dict)
    sentiment: dict[str, str] = field(default_factory=dict)
    malformed: set[str] = field(default_factory=set)
    line: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Gold:
    """The gold file: labels by id in file order, and the cluster and the valence of those ids that have one."""

    labels: dict[str, Labels]
    clusters: dict[str, str]
    valence: dict[str, float] = field(default_factory=dict)


def run(
    gold: Path,
    pred: Path,
    wheels: str = "builtin",
    json_out: Path | None = None,
    *,
    mode: str | None = None,
    parser: str = "official",
    task: Task = "auto",
    sentiment: SentimentChoice | None = None,
) -> dict[str, Any]:
    """Score `pred` against `gold`, print the table, write `json_out`, and return what it holds.

    One mode (or `mode` named): the report itself. Several: `{"modes": {mode: report}, "differences": {..}}` with slow
    minus fast by the paired bootstrap where both are there. Where sentiment is computed a report has the key
    `sentiment`, and nothing of open vocabulary for the task "sentiment", or "auto" and no gold row with labels.

    Raises InputError that names file and line for any wrong row.
    """
    truth = read_gold(gold)
    modes = _modes(pred, truth, mode)
    choice = sentiment or SentimentChoice()
    feelings = sentiment_reports(truth, modes, choice, task, gold=gold, pred=pred, parser=parser)
    alone = task == "sentiment" or (task == "auto" and bool(feelings) and not any(truth.labels.values()))
    reports = {} if alone else _reports(truth, modes, wheels, parser, gold.stem)
    console = Console()
    for name in modes:
        if name != UNSTATED:
            console.print(f"mode {shown(name)}", style="bold", markup=False, highlight=False)
        _print(reports.get(name), feelings.get(name), console)
    results = {name: _result(reports.get(name), feelings.get(name)) for name in modes}
    if len(results) == 1:
        result = next(iter(results.values()))
    else:
        result = {"modes": results, "differences": {}}
        if {"fast", "slow"} <= set(reports):
            differences = compare(reports["fast"], reports["slow"])
            result["differences"]["slow - fast"] = difference_json(differences)
            _print_differences(differences, console)
    if json_out is not None:
        write_json(json_out, result)
    return result


def score_files(
    gold: Path, pred: Path, wheels: str = "builtin", *, mode: str | None = None, parser: str = "official"
) -> dict[str, ScoreReport]:
    """The report of each mode of a predictions file, or of the one named. Raises InputError as `run` does."""
    truth = read_gold(gold)
    return _reports(truth, _modes(pred, truth, mode), wheels, parser, gold.stem)


def _modes(pred: Path, truth: Gold, mode: str | None) -> dict[str, ModePredictions]:
    """The modes of a predictions file in the order of their names, or the one named."""
    modes = read_predictions(pred, truth)
    if mode is not None and mode not in modes:
        raise InputError(f"{pred}: no predictions of mode {mode!r}; it has {', '.join(sorted(modes))}")
    return {name: predictions for name, predictions in sorted(modes.items()) if mode in (None, name)}


def _reports(
    truth: Gold, modes: dict[str, ModePredictions], wheels: str, parser: str, set_name: str
) -> dict[str, ScoreReport]:
    table = load_wheels(wheels)
    return {
        name: score(
            truth.labels,
            predictions.labels,
            table,
            parser=parser,
            name=set_name,
            mode=predictions.mode,
            clusters=truth.clusters,
            malformed=predictions.malformed,
        )
        for name, predictions in modes.items()
    }


def _result(report: ScoreReport | None, sentiment: SentimentReport | None) -> dict[str, Any]:
    if sentiment is None:
        assert report is not None, "a mode has a report of one kind or both"
        return report.to_json()
    alone = {"signature": sentiment.signature, "task": "sentiment", "n": sentiment.n}
    return {**(report.to_json() if report else alone), "sentiment": sentiment.to_json()}


def read_gold(path: Path) -> Gold:
    """Gold labels by id. Raises InputError that names file and line."""
    labels: dict[str, Labels] = {}
    clusters: dict[str, str] = {}
    valences: dict[str, float] = {}
    line: dict[str, int] = {}
    for number, row in read_json_lines(path):
        _first(path, number, _gold_faults(row))
        identity, cluster, valence = row["id"], row.get("cluster"), row.get("valence")
        if identity in line:
            place = f"line {line[identity]} already"
            raise InputError(f'{path}:{number}: id "{shown(identity)}" stands on {place}; keep one row a clip')
        line[identity] = number
        labels[identity] = row.get("labels")
        if cluster is not None:
            clusters[identity] = cluster
        if valence is not None:
            valences[identity] = float(valence)
    if not labels:
        raise InputError(f'{path}: no rows; write one {{"id", "labels"}} a line')
    return Gold(labels, clusters, valences)


def read_predictions(path: Path, gold: Gold) -> dict[str, ModePredictions]:
    """Predictions by mode. Raises InputError that names file and line."""
    modes: dict[str, ModePredictions] = {}
    num_rows = 0
    for number, row in read_json_lines(path):
        num_rows += 1
        _first(path, number, _prediction_faults(row))
        identity, status = row["id"], row.get("status") or "ok"
        mode = modes.setdefault(row.get("mode") or UNSTATED, ModePredictions(row.get("mode") or None))
        if identity not in gold.labels:
            raise InputError(f'{path}:{number}: id "{shown(identity)}" is not in the gold file; give its own gold')
        if identity in mode.line:
            place = f"line {mode.line[identity]} already" + (
                f" in mode {shown(row['mode'])}" if row.get("mode") else ""
            )
            raise InputError(f'{path}:{number}: id "{shown(identity)}" stands on {place}; keep one row a clip and mode')
        if status == "error":
            continue
        mode.line[identity] = number
        mode.labels[identity] = row["labels"]
        if row.get("sentiment") is not None:
            mode.sentiment[identity] = row["sentiment"]
        if status != "ok":
            mode.malformed.add(identity)
    if not num_rows:
        raise InputError(f'{path}: no predictions; write one {{"id", "labels"}} a line')
    return modes


def _first(path: Path, number: int, faults: list[str]) -> None:
    if faults:
        raise InputError(f"{path}:{number}: {faults[0]}")


def _gold_faults(row: dict[str, Any]) -> list[str]:
    faults = [*unknown_keys(row, KEYS), *id_faults(row), *_label_faults(row.get("labels"))]
    if not isinstance(row.get("cluster"), str | None):
        faults.append("cluster must be a text in quotes; name the speaker or dialogue")
    valence = row.get("valence")
    if valence is not None and (type(valence) not in (int, float) or not abs(valence) <= MAX_VALENCE):
        faults.append(f"valence must be a number from {-MAX_VALENCE} to {MAX_VALENCE}; leave it out where not known")
    return faults


def _prediction_faults(row: dict[str, Any]) -> list[str]:
    faults = list(id_faults(row))
    for key in row:
        close = get_close_matches(key, PREDICTION_KEYS, n=1, cutoff=0.75)
        if key not in PREDICTION_KEYS and close:
            faults.append(f'unknown key "{shown(key)}"; did you mean "{close[0]}"?')
    if "labels" not in row:
        faults.append("no labels; give a list of words, the raw answer, or null where the model gave none")
    faults += _label_faults(row.get("labels"))
    if not isinstance(row.get("mode"), str | None):
        faults.append('mode must be a text, such as "fast" or "slow"')
    if not isinstance(row.get("sentiment"), str | None):
        faults.append('sentiment must be a text: "positive", "negative" or "neutral"')
    if row.get("status") is not None and row["status"] not in get_args(Status):
        faults.append(f"status must be one of {', '.join(get_args(Status))}")
    return faults


def _label_faults(labels: object) -> Iterator[str]:
    if labels is None or isinstance(labels, str):
        return
    if not isinstance(labels, list):
        yield 'labels must be a list of words or a text; write ["happy", "calm"]'
        return
    for place, word in enumerate(labels):
        if not isinstance(word, str):
            yield f"labels[{place}] must be a word in quotes"


def _print(report: ScoreReport | None, sentiment: SentimentReport | None, console: Console) -> None:
    if report is not None:
        print_report(report, console, sentiment)
    elif sentiment is not None:
        table = sentiment_table(sentiment)
        _add_waf(table, sentiment)
        console.print(table)
    for line in count_lines(sentiment) if sentiment else ():
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _add_waf(table: Table, sentiment: SentimentReport) -> None:
    table.add_row("sentiment WAF", _percent(sentiment.waf), _range(sentiment.intervals["waf"]), style="bold")


def print_report(report: ScoreReport, console: Console, sentiment: SentimentReport | None = None) -> None:
    """The report for people, headline first, in percent; of sentiment one more line of the first table."""
    score_, bounds = report.open_vocabulary, report.intervals
    head = Table(title="Mean over wheels, in %", title_justify="left")
    for title in ("", "score", "95 % interval"):
        head.add_column(title, justify="right" if title else "left")
    for name in MEASURES:
        style = "bold" if name == "f1" else ""
        head.add_row(TITLES[name], _percent(getattr(score_, name)), _range(bounds[name]), style=style)
    if sentiment is not None:
        head.add_section()
        _add_waf(head, sentiment)
    console.print(head)
    rows = Table()
    for title in ("", "n", *TITLES.values()):
        rows.add_column(title, justify="right" if title else "left")
    for name, wheel in zip(report.wheel_names, score_.wheels, strict=True):
        rows.add_row(name, str(wheel.n), *(_percent(getattr(wheel, measure)) for measure in MEASURES))
    rows.add_section()
    for constant in report.constant_baselines:
        words = f'always "{shown(", ".join(constant.words))}"'
        rows.add_row(escape(words), str(report.n), *(_percent(getattr(constant, measure)) for measure in MEASURES))
    console.print(rows)
    for line in _count_lines(report):
        console.print(line, markup=False, highlight=False)
    console.print(report.signature, markup=False, highlight=False, soft_wrap=True)


def _count_lines(report: ScoreReport) -> Iterator[str]:
    yield f"{report.n} gold samples, {report.missing} without a prediction (counted as empty answers)"
    yield f"{report.malformed} malformed answers (scored by the words they hold, if any)"
    yield f"{report.unscorable_gold} gold samples reach no wheel and are not scored{_words(report.unscorable_words)}"
    yield f"{report.unmapped_predictions} predicted words reach no wheel and are dropped{_words(report.unmapped_words)}"


def _words(counts: dict[str, int]) -> str:
    listed = [f"{shown(word)} {count}" for word, count in list(counts.items())[:NUM_WORDS_SHOWN]]
    return f" ({', '.join(listed)}{', ...' if len(counts) > len(listed) else ''})" if listed else ""


def _print_differences(differences: dict[str, Difference], console: Console) -> None:
    table = Table(title="Slow minus fast, paired bootstrap", title_justify="left")
    for title in ("", "points", "95 % interval", "p"):
        table.add_column(title, justify="right" if title else "left")
    for name, row in differences.items():
        p_value = "n/a" if row.p_value != row.p_value else f"{row.p_value:.3f}"
        table.add_row(TITLES[name], _percent(row.delta), _range((row.low, row.high)), p_value)
    console.print(table)


def _percent(value: float) -> str:
    return "n/a" if value != value else f"{100 * value:.2f}"


def _range(bounds: tuple[float, float]) -> str:
    return escape(f"[{_percent(bounds[0])}, {_percent(bounds[1])}]")
