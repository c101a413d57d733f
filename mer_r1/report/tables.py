"""The tables of scores: one a set, and the matrix of several sets side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mer_r1.data.sample import MODES, Mode
from mer_r1.emotion.wheel import WheelSet
from mer_r1.metrics.constant_answer import ConstantAnswer
from mer_r1.metrics.corpus_score import score_signature
from mer_r1.report.measured import REPORTED, ModeScore, Result
from mer_r1.report.score_plots import NAMES
from mer_r1.report.sets import PageSet, ShownSystem


@dataclass(frozen=True)
class ScoreRow:
    """A line of a table of one set."""

    system: ShownSystem
    mode: Mode
    is_first: bool
    is_last: bool
    score: ModeScore


@dataclass(frozen=True)
class SetTable:
    """The scores of one set: `headline` is its measure, `counts` says what was not answered.

    `left_out` samples are in none of the scores, for an answer failed, and `uncounted` ones, for their gold reaches no
    category.
    """

    page_set: PageSet
    headline: str
    rows: list[ScoreRow]
    constant: ConstantAnswer | None
    best: float | None
    signatures: list[str]
    left_out: int
    uncounted: int
    counts: list[str]


@dataclass(frozen=True)
class MatrixRow:
    """A system and mode: its headline number of each set, and their plain mean where there are all."""

    system: ShownSystem
    mode: Mode
    is_first: bool
    values: list[float | None]
    mean: float | None


@dataclass(frozen=True)
class Matrix:
    """Several sets side by side; `headlines` are their measures, `best` the best number of each."""

    sets: Sequence[PageSet]
    headlines: list[str]
    rows: list[MatrixRow]
    best: list[float | None]


def set_table(page_set: PageSet, measured: Sequence[Result], wheels: WheelSet) -> SetTable:
    """The table of one set, of what was measured on it."""
    rows = []
    for item in measured:
        own = list(item.modes)
        rows += [ScoreRow(item.system, mode, mode == own[0], mode == own[-1], item.modes[mode]) for mode in own]
    headline = rows[0].score.headline if rows else "f1"
    constants = [c for c in rows[0].score.report.constant_baselines if c.measure == headline] if rows else []
    known = [value for row in rows if (value := row.score.value(headline)) is not None]
    modes = dict.fromkeys(row.mode for row in rows)
    signatures = [row.score.reported_signature for row in rows if row.score.reported is not None]
    if headline != "waf":
        unscorable = rows[0].score.report.unscorable_gold if rows else 0
        signatures.append(score_signature(wheels, page_set.name, len(page_set.scored), "+".join(modes), unscorable))
    return SetTable(
        page_set=page_set,
        headline=headline,
        rows=rows,
        constant=max(constants, key=lambda answer: float(getattr(answer, headline)), default=None),
        best=max(known, default=None),
        signatures=list(dict.fromkeys(filter(None, signatures))),
        left_out=len(page_set.samples) - len(page_set.scored),
        uncounted=rows[0].score.report.unscorable_gold if rows and headline not in REPORTED else 0,
        counts=[line for row in rows if (line := _counted(row))]
        + [f"{item.system.title}: {item.problem}" for item in measured if item.problem],
    )


def _counted(row: ScoreRow) -> str:
    """What was not answered, in words."""
    score = row.score
    counts = (
        (score.missing, "without an answer"),
        (score.failed, "failed, to be asked again"),
        (score.report.unanswered, "unfinished or empty"),
        (score.report.refusals, "of these refusals"),
        (score.extra, "answers without a sample"),
    )
    line = ", ".join(f"{count} {what}" for count, what in counts if count)
    problem = f"{NAMES[score.headline]} left out: {score.reported_problem}" if score.reported_problem else ""
    line = ", ".join(part for part in (line, problem) if part)
    return f"{row.system.title}, {row.mode}: {line}" if line else ""


def sets_matrix(systems: Sequence[ShownSystem], sets: Sequence[PageSet], measured: Sequence[Result]) -> Matrix | None:
    """The headline measure of every system and mode on several sets; None of fewer than two."""
    if len(sets) < 2:
        return None
    found = {(m.system.index, mode, m.page_set.index): m.modes[mode] for m in measured for mode in m.modes}
    headlines = {m.page_set.index: s.headline for m in measured for s in m.modes.values()}
    rows = []
    for system in systems:
        modes = [mode for mode in MODES if any((system.index, mode, page_set.index) in found for page_set in sets)]
        for mode in modes:
            values: list[float | None] = []
            for page_set in sets:
                score = found.get((system.index, mode, page_set.index))
                values.append(None if score is None else score.value(headlines[page_set.index]))
            known = [value for value in values if value is not None]
            mean = sum(known) / len(known) if len(known) == len(sets) else None
            rows.append(MatrixRow(system, mode, mode == modes[0], values, mean))
    columns = zip(*(row.values for row in rows), strict=True)
    best = [max((value for value in column if value is not None), default=None) for column in columns]
    return Matrix(sets, [headlines[item.index] for item in sets], rows, best)
