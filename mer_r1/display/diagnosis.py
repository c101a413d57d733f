"""The diagnosis of runs, or of one predictions file, as tables on the console, in percent where it is a share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mer_r1.analysis.paradox import GAPS, HALVES, VERDICTS, Diagnosis
from mer_r1.analysis.runs import RunsDiagnosis, SystemOnSet
from mer_r1.analysis.tables import Estimate
from mer_r1.data.sample import MODES
from mer_r1.display.score import print_failed, print_wheels
from mer_r1.text import MISSING, interval, number, p_value, percent, printable, signed

SCORES = tuple((key, 100) for key, _ in GAPS)
CONFIDENCES = (("confidence_gold_first", 1), ("confidence_gold", 1), ("margin_first", 1), ("margin", 1))
ROWS = (  # key, title, what it is multiplied by
    ("recall", "recall, %", 100),
    ("precision", "precision, %", 100),
    ("f1", "F1, %", 100),
    ("num_categories", "categories an answer", 1),
    ("answer_words", "words an answer", 1),
    ("confidence_gold_first", "log-confidence on gold, first word", 1),
    ("confidence_gold", "the same, mean over words", 1),
    ("margin_first", "margin over hard others, first word", 1),
    ("margin", "the same, mean over words", 1),
)
SCORE_HEADS = tuple(name for _, name in GAPS)
CONFIDENCE_HEADS = ("on gold\nfirst", "on gold\nmean", "margin\nfirst", "margin\nmean")


def print_runs(found: RunsDiagnosis, console: Console, num_cases: int) -> None:
    """All tables; `num_cases` of each kind of case."""
    if found.sets:
        _print_gaps(found, console)
        _print_calibration(found, console)
        _print_pair(found, console)
        _print_leak(found, console)
        if num_cases:
            _print_cases(found, console, num_cases)
    for name, series in found.dynamics.items():
        ends = [
            f"{key.removeprefix('reward/')} {number(row.values[0])} → {number(row.values[-1])}"
            for key, row in series.items()
        ]
        console.print(f"{found.systems[name]}, reward over training: {', '.join(ends)}", markup=False)
    for note in found.notes:
        console.print(note, markup=False)
    signatures = [item.paradox.signature for _, _, item in _rows(found) if item.paradox]
    if signatures:
        print_wheels(signatures[0], console)
    for signature in dict.fromkeys(signatures):
        console.print(signature, markup=False, soft_wrap=True)


def print_diagnosis(found: Diagnosis, console: Console) -> None:
    """Fast against slow of one predictions file."""
    heads = ("", "fast", "slow", "fast − slow", "95 % interval")
    table = _table(f"Fast and slow thinking on {found.n} clips, mean over wheels", heads, 1)
    for key, title, scale in ROWS:
        levels = [_scaled(getattr(level, key), scale) for level in (found.fast, found.slow)]
        delta = found.delta.get(key)
        bounds = escape(interval(delta.low, delta.high, scale=scale)) if delta else ""
        table.add_row(title, *levels, _scaled(delta.value, scale) if delta else "", bounds)
    table.add_section()
    kept = found.retained_hit_rate
    table.add_row("retained hit rate, %", "", percent(kept.value), "", escape(interval(kept.low, kept.high)))
    console.print(table)
    console.print(found.finding, markup=False, highlight=False)
    for mode, level in (("fast", found.fast), ("slow", found.slow)):
        if level.missing or level.unanswered:
            line = f"{mode}: {level.missing} clips without a prediction, {level.unanswered} unfinished or empty"
            console.print(f"{line} (counted by the words they hold, if any)", markup=False, highlight=False)
        print_failed(found.failed[mode], "left-out", console)
    num_mean, num_first = found.fast.num_with_confidence, found.fast.num_with_confidence_first
    if not num_mean and not num_first:
        console.print("The predictions hold no category confidences: write them with `mer-r1 predict`.", markup=False)
    elif num_first < num_mean:
        console.print(
            f"{num_first} of {num_mean} clips have confidences at the first word (0.1.0 wrote the mean alone)",
            markup=False,
        )
    print_wheels(found.signature, console)
    console.print(found.signature, markup=False, highlight=False, soft_wrap=True)


def _scaled(value: float | None, scale: int) -> str:
    return number(None if value is None else scale * value)


def _rows(found: RunsDiagnosis) -> Iterator[tuple[str, str, SystemOnSet]]:
    """(title of the set, title of the system, its numbers), the set's title once."""
    for item in found.sets.values():
        for index, (name, numbers) in enumerate(item.systems.items()):
            yield item.title if index == 0 else "", found.systems[name], numbers


def _table(title: str, heads: Sequence[str], num_left: int) -> Table:
    table = Table(title=title, title_justify="left")
    for index, head in enumerate(heads):
        table.add_column(head, justify="left" if index < num_left else "right", overflow="fold")
    return table


def _print_gaps(found: RunsDiagnosis, console: Console) -> None:
    """A table of what the answers say and one of their confidences, for both do not fit 80 columns.

    A column of WAF stands only where there is a set of sentiment.
    """
    has_waf = any(item.sentiment for item in found.sets.values())
    waf, waf_head = ((("waf", 100),), ("WAF",)) if has_waf else ((), ())
    answers = (*SCORES, ("num_categories", 1), *waf), (*SCORE_HEADS, "categories", *waf_head)
    parts = {
        f"Fast − slow, with 95 % intervals ({', '.join((*SCORE_HEADS, *waf_head))} in points)": answers,
        "Log-confidence, fast − slow, with 95 % intervals, at the first word and as the mean over words": (
            CONFIDENCES,
            CONFIDENCE_HEADS,
        ),
    }
    for heading, (measures, heads) in parts.items():
        table = _table(heading, ("set", "system", *heads), 2)
        for item in found.sets.values():
            shown = {name: delta for name, delta in item.gaps.items() if any(key in delta for key, _ in measures)}
            for index, (name, delta) in enumerate(shown.items()):
                cells = [_delta(delta[key], scale) if key in delta else MISSING for key, scale in measures]
                table.add_row(escape(item.title) if index == 0 else "", escape(found.systems[name]), *cells)
        if table.row_count:
            console.print(table)


def _print_calibration(found: RunsDiagnosis, console: Console) -> None:
    heads = ("set", "system", "retained\n%", "ECE\nfast", "ECE\nslow", "paradox\nrecall", "paradox\nprecision")
    table = _table("What slow retains of fast; calibration at the first word (0 is best)", heads, 2)
    for title, system, numbers in _rows(found):
        of = numbers.paradox
        retained = percent(of.retained_hit_rate.value if of else None, 1)
        errors = [number(item.every.ece.value if (item := numbers.reliability[mode]) else None, 3) for mode in MODES]
        verdicts = [VERDICTS[half.shows] for half in of.halves] if of else [MISSING] * len(HALVES)
        table.add_row(escape(title), escape(system), retained, *errors, *verdicts)
    console.print(table)


def _print_pair(found: RunsDiagnosis, console: Console) -> None:
    if not found.pair:
        return
    reference, tuned = (escape(found.systems[name]) for name in found.pair)
    parts = ((SCORES, SCORE_HEADS, "in points"), (CONFIDENCES, CONFIDENCE_HEADS, "log-confidence"))
    for measures, heads, what in parts:  # two tables, so that 80 columns hold them
        title = f"Slow answers: {tuned} − {reference}, {what}, with 95 % intervals"
        table = _table(title, ("set", *heads), 1)
        for item in found.sets.values():
            if item.pair:
                table.add_row(escape(item.title), *(_delta(item.pair.delta[key], scale) for key, scale in measures))
        if table.row_count:
            console.print(table)


def _print_leak(found: RunsDiagnosis, console: Console) -> None:
    heads = ("set", "clips", "names gold", "shuffled", "F1", "shuffled", "constant", "p")
    table = _table("Label leak: the subtitle's own words as the answer, %", heads, 1)
    for item in found.sets.values():
        if leak := item.leak:
            shares = [leak[key]["names_gold"] for key in ("found", "shuffled")]
            f1 = [leak["found"]["f1"], leak["shuffled"]["f1"], leak["constant"] and leak["constant"]["f1"]]
            cells = [str(leak["n"]), *(percent(value, 1) for value in (*shares, *f1)), p_value(leak["p_value"])]
            table.add_row(escape(item.title), *cells)
    if table.row_count:
        console.print(table)


def _print_cases(found: RunsDiagnosis, console: Console, num_cases: int) -> None:
    for kind, rule in found.rules.items():
        rows = sorted((case for case in found.cases if case.kind == kind), key=lambda case: -case.strength)
        if not rows:
            continue
        table = _table(f"{escape(rule.title)}: {len(rows)} clips", ("strength", "set", "clip", "categories"), 0)
        table.caption, table.caption_justify = escape(rule.rule), "left"
        for column in table.columns[1:]:
            column.justify = "left"
        for row in rows[:num_cases]:
            named = ", ".join(dict.fromkeys(name for names in row.categories.values() for name in names))
            title = found.sets[row.set].title
            table.add_row(number(row.strength, 3), escape(title), escape(printable(row.id)), escape(printable(named)))
        console.print(table)


def _delta(row: Estimate, scale: int) -> str:
    if row.value is None or row.bounds is None:
        return MISSING
    digits = 1 if scale == 100 else 2
    return escape(f"{signed(scale * row.value, digits)}\n{interval(row.low, row.high, digits, scale=scale)}")
