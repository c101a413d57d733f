"""What is printed of MME-Emotion: CoT of each task; Rec, Rea, CoT of all; MER-R1's Table 2 beside, in percent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mer_r1.benchmarks.mme_emotion.benchmark import MmeOutcome
from mer_r1.benchmarks.mme_emotion.questions import NAME, TASKS, TITLE
from mer_r1.benchmarks.mme_emotion.score import MmeReport
from mer_r1.benchmarks.published import published
from mer_r1.display.benchmark import print_closing
from mer_r1.display.grid import print_line
from mer_r1.text import number, percent, printable, with_interval

HEADS = ("Rec", "Rea", "CoT")
BESIDE = ("AffectGPT", "Baseline", "MER-R1")


def print_run(outcome: MmeOutcome, console: Console) -> None:
    """The reports of the modes judged now, or how to have the answers judged; then what is incomplete."""
    reports = outcome.reports
    if reports:
        name = outcome.run.request.model_name
        print_mme({f"{name} ({mode})": report for mode, report in reports.items()}, console)
    else:
        line = f"{outcome.run.out}: the answers are written; --judge-url and --judge-model have them judged"
        print_line(line, console)
    print_closing(outcome, console)


def print_mme(reports: Mapping[str, MmeReport], console: Console) -> None:
    """A column a report and a published system, the overall numbers with their intervals, counts, signatures."""
    table = Table(title=f"{TITLE}: CoT of each task, then all answers, in %", title_justify="left")
    table.add_column("")
    theirs = published()[NAME].rows_of(*BESIDE)
    for title in reports:
        table.add_column(escape(printable(title)), justify="right")
    for row in theirs:
        table.add_column(f"{row.model}\n(published)", justify="right", style="dim")
    for index, head in enumerate((*TASKS, *HEADS)):
        if index == len(TASKS):
            table.add_section()
        own = (_value(report, head) for report in reports.values())
        table.add_row(
            head, *own, *(number(row.values[index], 1) for row in theirs), style="bold" if head == "CoT" else ""
        )
    console.print(table)
    note = f"{published()[NAME].source}. {published()[NAME].note} Numbers of two judges are not comparable."
    print_line(note, console, "dim")
    for title, report in reports.items():
        for line in _lines(report):
            print_line(f"{printable(title)}: {line}", console)


def _value(report: MmeReport, head: str) -> str:
    if head in HEADS:
        return percent(report.micro.values[HEADS.index(head)], 1)
    return percent(report.tasks[head].values[-1], 1) if head in report.tasks else ""


def _lines(report: MmeReport) -> Iterator[str]:
    for name, row in (("mean over answers", report.micro), ("mean over tasks", report.macro)):
        parts = zip(HEADS, row.values, row.intervals, strict=True)
        yield f"{name} " + ", ".join(f"{head} {with_interval(x, *bounds, 1)}" for head, x, bounds in parts)
    total = report.total
    yield (
        f"{total.judged} of {total.n} judged ({total.blank} blank answers among them), {total.unjudged} unjudged, "
        f"{total.no_clip} without their clip, {total.missing} without an answer"
    )
    if total.unjudged or total.no_clip:
        bounds = zip(HEADS, report.micro.bounds, strict=True)
        spans = ", ".join(f"{head} {percent(low, 1)} to {percent(high, 1)}" for head, (low, high) in bounds)
        yield f"were they judged, the mean over answers would lie within {spans}"
    yield report.signature
