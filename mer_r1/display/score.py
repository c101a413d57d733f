"""What `mer-r1 score` prints: the headline first, then wheels, constant answers, counts and the signature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mer_r1.display.numbers import interval, p_value, percent, points
from mer_r1.emotion.protocol import protocol_of
from mer_r1.evaluation.answered import FailedRule
from mer_r1.evaluation.sentiment import count_lines, sentiment_table
from mer_r1.metrics.constant_answer import ConstantAnswer
from mer_r1.metrics.corpus_score import ScoreReport
from mer_r1.metrics.open_vocabulary import MEASURES
from mer_r1.metrics.sentiment import SentimentReport
from mer_r1.metrics.statistics import Difference
from mer_r1.text import printable

TITLES = {"precision": "precision", "recall": "recall", "f1": "F1", "hit": "HIT", "waf": "WAF", "accuracy": "accuracy"}
NUM_WORDS_SHOWN = 8


def print_both(report: ScoreReport | None, sentiment: SentimentReport | None, console: Console) -> None:
    """The reports of one mode, of which at least one is there."""
    if report is not None:
        print_report(report, console, sentiment)
    elif sentiment is not None:
        table = sentiment_table(sentiment)
        _add_waf(table, sentiment)
        console.print(table)
    for line in count_lines(sentiment) if sentiment else ():
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_failed(num: int, rule: FailedRule, console: Console) -> None:
    """How many answers of a mode failed, and what became of them; nothing where none did."""
    if num:
        fate = "and are in no number" if rule == "left-out" else "and count as empty ones (--failed as-empty)"
        console.print(f"{num} answers failed {fate}", style="bold red", markup=False, highlight=False)


def print_report(report: ScoreReport, console: Console, sentiment: SentimentReport | None = None) -> None:
    """The report for people, headline first, in percent; of sentiment one more line of the first table."""
    score, bounds = report.open_vocabulary, report.intervals
    head = Table(title="Mean over wheels, in %", title_justify="left")
    for title in ("", "score", "95 % interval"):
        head.add_column(title, justify="right" if title else "left")
    measures = sorted(MEASURES, key=lambda name: name != report.headline)
    for name in measures:
        style = "bold" if name == report.headline else ""
        head.add_row(TITLES[name], percent(getattr(score, name)), _range(bounds[name]), style=style)
    if sentiment is not None:
        head.add_section()
        _add_waf(head, sentiment)
    console.print(head)
    rows = Table()
    for title in ("", "n", *(TITLES[name] for name in measures)):
        rows.add_column(title, justify="right" if title else "left")
    for name, wheel in zip(report.wheel_names, score.wheels, strict=True):
        rows.add_row(name, str(wheel.n), *(percent(getattr(wheel, measure)) for measure in measures))
    console.print(rows)
    if report.constant_baselines:
        _print_constants(report, measures, console)
    for line in _count_lines(report):
        console.print(line, markup=False, highlight=False)
    console.print(report.signature, markup=False, highlight=False, soft_wrap=True)


def print_differences(title: str, differences: Mapping[str, Difference], console: Console) -> None:
    """Paired differences in points."""
    table = Table(title=escape(title), title_justify="left")
    for head in ("", "points", "95 % interval", "p"):
        table.add_column(head, justify="right" if head else "left")
    for name, row in differences.items():
        table.add_row(TITLES[name], points(row.delta, 2), _range((row.low, row.high)), p_value(row.p_value))
    console.print(table)


def _print_constants(report: ScoreReport, measures: list[str], console: Console) -> None:
    table = Table(title="Best constant answers on this gold", title_justify="left")
    for title in ("", "best", *(TITLES[name] for name in measures)):
        table.add_column(title, justify="right" if title in TITLES.values() else "left")
    for said, best in _constants(report).items():
        words, of = escape(f'always "{printable(", ".join(said))}"'), ", ".join(TITLES[c.measure] for c in best)
        table.add_row(words, of, *(percent(getattr(best[0], name)) for name in measures))
    console.print(table)


def _constants(report: ScoreReport) -> dict[tuple[str, ...], list[ConstantAnswer]]:
    """The constant answers by their words, the shorter first: the best for F1 and the best for HIT may be the same."""
    by_words: dict[tuple[str, ...], list[ConstantAnswer]] = {}
    for constant in sorted(report.constant_baselines, key=lambda c: len(c.words)):
        by_words.setdefault(constant.words, []).append(constant)
    return by_words


def _add_waf(table: Table, sentiment: SentimentReport) -> None:
    table.add_row("sentiment WAF", percent(sentiment.waf), _range(sentiment.intervals["waf"]), style="bold")


def _count_lines(report: ScoreReport) -> Iterator[str]:
    dropped = "are dropped" if protocol_of(report.protocol).oov == "drop" else "are categories of their own"
    yield f"{report.n} gold samples, {report.missing} without a prediction (counted as empty answers)"
    if report.malformed:
        yield f"{report.malformed} malformed rows, scored by the words they hold, if any"
    if report.unanswered:
        yield f"{report.unanswered} unfinished or empty answers, scored by the words they hold, if any"
    if report.extra_predictions:
        yield f"{report.extra_predictions} predictions without a gold sample are left out"
    yield f"{report.unscorable_gold} gold samples reach no wheel and are not scored"
    if report.unmapped_gold_words:
        num_words = sum(report.unmapped_gold_words.values())
        yield f"{num_words} gold words reach no wheel and {dropped}{_words(report.unmapped_gold_words)}"
    yield f"{report.unmapped_predictions} predicted words reach no wheel and {dropped}{_words(report.unmapped_words)}"


def _words(counts: dict[str, int]) -> str:
    listed = [f"{printable(word)} {count}" for word, count in list(counts.items())[:NUM_WORDS_SHOWN]]
    return f" ({', '.join(listed)}{', ...' if len(counts) > len(listed) else ''})" if listed else ""


def _range(bounds: tuple[float, float]) -> str:
    return escape(interval(*bounds))
