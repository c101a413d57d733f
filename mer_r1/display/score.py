"""What `mer-r1 score` prints: the headline first, then wheels, constant answers, counts and the signature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mer_r1.data.predictions import UNSTATED
from mer_r1.display.confusion import confusion_grid, print_confusion
from mer_r1.display.grid import Grid, print_grid, print_line, print_title
from mer_r1.emotion.official import is_here
from mer_r1.emotion.protocol import OFFICIAL, protocol_of
from mer_r1.evaluation.answered import FailedRule
from mer_r1.evaluation.compare import Comparison
from mer_r1.evaluation.score import FileScore, ModeReports
from mer_r1.evaluation.sentiment import not_unibench
from mer_r1.metrics.classes import NO_ANSWER, NO_CLASS, ClassReport
from mer_r1.metrics.constant_answer import ConstantAnswer
from mer_r1.metrics.corpus_score import ScoreReport
from mer_r1.metrics.open_vocabulary import MEASURES
from mer_r1.metrics.sentiment import SentimentReport
from mer_r1.metrics.statistics import Difference, Interval
from mer_r1.text import interval, p_value, percent, points, printable

TITLES = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "hit": "HIT",
    "waf": "WAF",
    "accuracy": "accuracy",
    "uar": "UAR",
    "weighted_f1": "weighted F1",
    "macro_f1": "macro F1",
}
NUM_WORDS_SHOWN = 8


def print_file_score(file: FileScore, rule: FailedRule, console: Console) -> None:
    """The scores of every mode, and slow minus fast where both are there. `rule`: what failed answers cost."""
    for name, scored in file.modes.items():
        if name != UNSTATED:
            console.print(f"mode {printable(name)}", style="bold", markup=False, highlight=False)
        _print_mode(scored, rule, console)
    if file.slow_minus_fast is not None:
        _print_differences("Slow minus fast, paired bootstrap", file.slow_minus_fast, console)


def print_details(comparison: Comparison, rule: FailedRule, console: Console) -> None:
    """The whole report of every row, and below it the differences of every measure."""
    for row in comparison.rows:
        mode = "" if row.mode == UNSTATED else f", mode {printable(row.mode)}"
        print_line(f"\n{row.system.name}{mode}", console, "bold")
        _print_mode(row.reports, rule, console)
        if row.differences:
            title = f"{row.system.name} minus {comparison.first}{mode}, paired bootstrap, p as it is"
            _print_differences(title, row.differences, console)


def title_of(reports: ModeReports) -> str:
    """What the main measures are of: how many clips count, of how many, and in which unit."""
    counted, whole = reports.main.counted, reports.main.whole
    clips = f"{whole:,} clips" if counted == whole else f"{counted:,} of {whole:,} clips"
    if reports.words is not None:
        return f"{clips}, mean over wheels, in %"
    if reports.sentiment is None:
        return f"{clips}, one class each, in %"
    return f"{clips}, sentiment by {printable(reports.sentiment.backend)}, in %"


def print_wheels(signature: str, console: Console) -> None:
    """`wheels_line`, where there is one."""
    if line := wheels_line(signature):
        console.print(line, markup=False, highlight=False)


def wheels_line(signature: str) -> str | None:
    """That the built-in wheels are not the benchmark's, and what its own need; None for a score by other wheels."""
    if "|wheels:builtin@" not in signature:
        return None
    first = "" if is_here("official") else "run mer-r1 wheels download official once and "
    return (
        "Built-in wheels, not MER-UniBench's; by the benchmark's own a verdict can turn. For those, "
        f"{first}add --wheels official"
    )


def _print_mode(mode: ModeReports, rule: FailedRule, console: Console) -> None:
    sentiment = mode.sentiment
    if mode.classes is not None:
        _print_classes(mode.classes, title_of(mode), console)
    elif mode.words is not None:
        print_title(title_of(mode), console)
        _print_report(mode.words, console, sentiment)
    elif sentiment is not None:
        print_title(title_of(mode), console)
        table = _table("score", "95 % interval")
        _add_waf(table, sentiment)
        console.print(table)
    for line in _sentiment_lines(sentiment) if sentiment else ():
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if mode.strangers:
        console.print(mode.strangers, markup=False, highlight=False, style="yellow")
    print_failed(mode.failed, rule, console)


def print_failed(num: int, rule: FailedRule, console: Console) -> None:
    """How many answers failed, and what became of them; nothing where none did."""
    if num:
        console.print(failed_answers(num, rule), style="bold red", markup=False, highlight=False)


def failed_answers(num: int, rule: FailedRule) -> str:
    """How many answers failed, and what became of them, in words."""
    fate = "are in no number" if rule == "left-out" else "count as empty ones (--failed as-empty)"
    return f"{num} answers failed and {fate}"


def _table(*heads: str) -> Table:
    """A table whose columns are of numbers, but for the first, which has no head."""
    table = Table("")
    for head in heads:
        table.add_column(head, justify="right")
    return table


def _print_report(report: ScoreReport, console: Console, sentiment: SentimentReport | None) -> None:
    """The report for people, headline first, in percent; of sentiment one more line of the first table."""
    score, bounds = report.open_vocabulary, report.intervals
    head = _table("score", "95 % interval")
    measures = sorted(MEASURES, key=lambda name: name != report.headline)
    for name in measures:
        style = "bold" if name == report.headline else ""
        head.add_row(TITLES[name], percent(getattr(score, name)), _range(bounds[name]), style=style)
    if sentiment is not None:
        head.add_section()
        _add_waf(head, sentiment)
    console.print(head)
    rows = _table("n", *(TITLES[name] for name in measures))
    for name, wheel in zip(report.wheel_names, score.wheels, strict=True):
        rows.add_row(name, str(wheel.n), *(percent(getattr(wheel, measure)) for measure in measures))
    console.print(rows)
    if report.constant_baselines:
        _print_constants(report, measures, console)
    for line in _count_lines(report):
        console.print(line, markup=False, highlight=False)
    print_wheels(report.signature, console)
    print_line(report.signature, console)


def _print_classes(report: ClassReport, title: str, console: Console) -> None:
    """The measures, the confusion matrix, each class, and what is counted beside them."""
    print_title(title, console)
    head = _table("score", "95 % interval")
    for name, value in report.measures.items():
        head.add_row(TITLES[name], percent(value), _range(report.intervals[name]))
    console.print(head)
    print_confusion(matrix_of(report), console)
    rows = tuple(
        (printable(name), str(item.n), *map(percent, (item.precision, item.recall, item.f1)))
        for name, item in report.classes.items()
    )
    print_grid(Grid("Each class", ("", "n", "precision", "recall", "F1"), rows, num_names=1), console)
    for line in class_lines(report):
        console.print(line, markup=False, highlight=False)
    print_line(report.signature, console)


def matrix_of(report: ClassReport, of: str = "") -> Grid:
    """The confusion matrix; answers that are no class, and none at all, have a column where there are some."""
    columns = [
        name for name in next(iter(report.confusion.values())) if name in report.classes or report.answered(name)
    ]
    confusion = {gold: {name: counts[name] for name in columns} for gold, counts in report.confusion.items()}
    recalls = {name: item.recall for name, item in report.classes.items()}
    return confusion_grid(f"{of}Gold down, answers across", confusion, recalls)


def class_lines(report: ClassReport) -> Iterator[str]:
    """What is counted beside the measures, and what the most frequent class would score."""
    best = ", ".join(f"{TITLES[name]} {percent(value)}" for name, value in report.constant.items())
    yield f'always "{printable(report.constant_label)}": {best}'
    if unlabelled := report.whole - report.counted:
        yield f"{unlabelled} gold samples have no label and are not scored"
    if num := report.answered(NO_CLASS):
        yield f"{num} answers are no class and count as wrong"
    if num := report.answered(NO_ANSWER):
        missing = f", {report.missing} of them without a prediction" if report.missing else ""
        yield f"{num} gold samples have no answer{missing}, and count as wrong"


def _print_differences(title: str, differences: Mapping[str, Difference], console: Console) -> None:
    """Paired differences in points."""
    print_title(title, console)
    table = _table("points", "95 % interval", "p")
    for name, row in differences.items():
        table.add_row(TITLES[name], points(row.delta, 2), _range((row.low, row.high)), p_value(row.p_value))
    console.print(table)


def _print_constants(report: ScoreReport, measures: list[str], console: Console) -> None:
    print_title("Best constant answers on this gold", console)
    table = Table()
    for title in ("", "best", *(TITLES[name] for name in measures)):
        table.add_column(title, justify="right" if title in TITLES.values() else "left")
    by_words: dict[tuple[str, ...], list[ConstantAnswer]] = {}  # the best for F1 and the best for HIT may be the same
    for constant in sorted(report.constant_baselines, key=lambda c: len(c.words)):
        by_words.setdefault(constant.words, []).append(constant)
    for words, best in by_words.items():
        answer, of = escape(f'always "{printable(", ".join(words))}"'), ", ".join(TITLES[c.measure] for c in best)
        table.add_row(answer, of, *(percent(getattr(best[0], name)) for name in measures))
    console.print(table)


def _add_waf(table: Table, sentiment: SentimentReport) -> None:
    table.add_row("sentiment WAF", percent(sentiment.waf), _range(sentiment.intervals["waf"]), style="bold")


def _count_lines(report: ScoreReport) -> Iterator[str]:
    dropped = "are dropped" if protocol_of(report.protocol).oov == "drop" else "are categories of their own"
    such_as = f', such as "{printable(report.missing_ids[0])}"' if report.missing_ids else ""
    yield f"{report.n} gold samples, {report.missing} without a prediction (counted as empty answers){such_as}"
    if report.malformed:
        yield f"{report.malformed} malformed rows, scored by the words they hold, if any"
    if report.unanswered:
        refusals = f", {report.refusals} of them refusals" if report.refusals else ""
        yield f"{report.unanswered} unfinished or empty answers{refusals}, scored by the words they hold, if any"
    if report.misread:
        yield f"{report.misread} answers hold other words to the official parser than to the corrected one"
    if report.extra_predictions:
        yield f"{report.extra_predictions} predictions without a gold sample are left out"
    yield f"{report.unscorable_gold} gold samples reach no wheel and are not scored"
    if report.unmapped_gold_words:
        num_words = sum(report.unmapped_gold_words.values())
        yield f"{num_words} gold words reach no wheel and {dropped}{_words(report.unmapped_gold_words)}"
    yield f"{report.unmapped_predictions} predicted words reach no wheel and {dropped}{_words(report.unmapped_words)}"


def _sentiment_lines(report: SentimentReport) -> Iterator[str]:
    """What stands below the table of sentiment, the signature last."""
    official = report.protocol == OFFICIAL.name
    zero, others = ("left out", "as negative, as neutral does") if official else ("gold neutral", "as wrong")
    yield f"{report.n} clips are scored for sentiment, {report.zero_gold} of valence 0 are {zero}"
    yield f"{report.invalid} invalid and {report.missing} missing answers count {others}"
    constants = (f'always "{word}" {percent(waf)}' for word, waf in report.constants.items() if waf == waf)
    if why := not_unibench(report.backend, report.prompt):
        yield why
    yield f"accuracy {percent(report.accuracy)}; WAF of {', '.join(constants)}" if report.n else "nothing to score"
    yield report.signature


def _words(counts: dict[str, int]) -> str:
    listed = [f"{printable(word)} {count}" for word, count in list(counts.items())[:NUM_WORDS_SHOWN]]
    return f" ({', '.join(listed)}{', ...' if len(counts) > len(listed) else ''})" if listed else ""


def _range(bounds: Interval | tuple[float, float]) -> str:
    return escape(interval(*bounds))
