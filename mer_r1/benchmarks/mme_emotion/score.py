"""Judgements -> MME-Emotion's numbers (MER-R1 Table 2, Appendix B.2).

    Rec = score of the last step     Rea = mean score of the steps before it, 0 where there is none
    CoT = (Rec + Rea) / 2            of a task: the means over its judged answers

Overall, "micro" is the mean over all judged answers, which is what the published "Mean" columns are, and "macro" the
mean over tasks. What could not be judged stands in no number and is counted beside; `bounds` say between which values a
number would lie if all of it were judged, with 0 for every one and with 1 for every one. Intervals are those of
metrics.statistics over answers. Fractions from 0 to 1, NaN (null in JSON) where nothing is judged.

Shape letters: N answers, T tasks, B resamples; R = T + 2 rows (the tasks, micro, macro) of three measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mer_r1.benchmarks.mme_emotion.judge import Judgement
from mer_r1.benchmarks.mme_emotion.questions import NAME, TASKS
from mer_r1.metrics.signature import signature, wheels_part
from mer_r1.metrics.statistics import Floats, Interval, bootstrap_intervals, or_none
from mer_r1.text import printable

MEASURES = ("rec", "rea", "cot")


@dataclass(frozen=True)
class Counts:
    """Answers: asked for (`n`), judged, of these blank, and not judged, by why (`missing`: there is no answer)."""

    n: int
    judged: int
    blank: int
    unjudged: int
    no_clip: int
    missing: int


@dataclass(frozen=True)
class Row:
    """The three measures of a task or of all: values, intervals and bounds, each in the order of MEASURES."""

    values: tuple[float, ...]
    intervals: tuple[Interval, ...]
    bounds: tuple[tuple[float, float], ...]

    def as_json(self) -> dict[str, Any]:
        """Values by measure, beside them `intervals` and `bounds`."""
        return {
            **{name: or_none(value) for name, value in zip(MEASURES, self.values, strict=True)},
            "intervals": {name: _pair(pair) for name, pair in zip(MEASURES, self.intervals, strict=True)},
            "bounds": {name: _pair(pair) for name, pair in zip(MEASURES, self.bounds, strict=True)},
        }


@dataclass(frozen=True)
class MmeReport:
    """All numbers of one system: `tasks` in the order of TASKS, those that have questions; `micro`, `macro`."""

    tasks: dict[str, Row]
    counts: dict[str, Counts]
    micro: Row
    macro: Row
    total: Counts
    signature: str

    @property
    def complete(self) -> bool:
        """Whether every question has an answer and every clip that was wanted was there."""
        return not (self.total.missing or self.total.no_clip)

    def as_json(self, title: str, mode: str) -> dict[str, Any]:
        """The metrics.json of a benchmark's folder."""
        sets = {name: {mode: {**vars(self.counts[name]), **row.as_json()}} for name, row in self.tasks.items()}
        means = {"micro": self.micro.as_json(), "macro": self.macro.as_json(), **vars(self.total)}
        return {
            "title": title,
            "benchmark": NAME,
            "complete": self.complete,
            "sets": sets,
            "means": {mode: means},
            "signature": self.signature,
        }


@dataclass(frozen=True)
class Judging:
    """How it was judged, for the signature: the models of both stages, the prompts, what stage 2 saw."""

    model: str
    steps_model: str
    prompts_sha256: str
    num_frames: int
    num_clues: int


def score(judgements: Sequence[Judgement], missing: Sequence[str], judging: Judging, mode: str | None) -> MmeReport:
    """The report on `judgements`; `missing` names the task of every question without an answer."""
    present = {judgement.task for judgement in judgements} | set(missing)
    names = [name for name in TASKS if name in present]
    terms_NK, open_T = _terms(judgements, names)
    values, low, high = (_measures(_sums(terms_NK, open_T, share)) for share in (None, 0.0, 1.0))
    intervals = bootstrap_intervals(terms_NK, _measures)
    rows = [
        Row(
            tuple(values[0, at : at + 3].tolist()),
            intervals[at : at + 3],
            tuple(zip(low[0, at : at + 3].tolist(), high[0, at : at + 3].tolist(), strict=True)),
        )
        for at in range(0, 3 * len(names) + 6, 3)
    ]
    counts = {name: _counts([j for j in judgements if j.task == name], missing.count(name)) for name in names}
    total = _counts(judgements, len(missing))
    return MmeReport(
        dict(zip(names, rows, strict=False)), counts, rows[-2], rows[-1], total, _signature(total.judged, judging, mode)
    )


def _terms(judgements: Sequence[Judgement], names: Sequence[str]) -> tuple[Floats, Floats]:
    """(N, 3 T): of a judged answer 1, Rec and Rea in its task's columns; and (T,) how many are not judged."""
    judged = [judgement for judgement in judgements if judgement.status == "judged"]
    terms_NK, open_T = np.zeros((len(judged), 3 * len(names))), np.zeros(len(names))
    for row, judgement in zip(terms_NK, judged, strict=True):
        at = 3 * names.index(judgement.task)
        row[at : at + 3] = (1.0, judgement.rec, judgement.rea)
    for judgement in judgements:
        open_T[names.index(judgement.task)] += judgement.status != "judged"
    return terms_NK, open_T


def _sums(terms_NK: Floats, open_T: Floats, share: float | None) -> Floats:
    """(1, 3 T): the terms added up, with what is not judged counted as `share`, or not at all for None."""
    sums_T3 = terms_NK.sum(axis=0).reshape(-1, 3)
    if share is not None:
        sums_T3 = sums_T3 + open_T[:, None] * np.array([1.0, share, share])
    sums_1K: Floats = sums_T3.reshape(1, -1)
    return sums_1K


def _measures(sums_BK: Floats) -> Floats:
    """(B, 3 T) sums -> (B, 3 R): Rec, Rea, CoT of each task, then of micro and macro."""
    sums_BT3 = sums_BK.reshape(len(sums_BK), -1, 3)
    sums_BR3 = np.concatenate([sums_BT3, sums_BT3.sum(axis=1, keepdims=True)], axis=1)
    with np.errstate(invalid="ignore"):
        means_BR2 = sums_BR3[:, :, 1:] / sums_BR3[:, :, :1]
    macro_B12 = means_BR2[:, :-1].sum(axis=1, keepdims=True) / max(1, sums_BT3.shape[1])
    means_BR2 = np.concatenate([means_BR2, macro_B12], axis=1)
    measures_BR3 = np.concatenate([means_BR2, means_BR2.mean(axis=2, keepdims=True)], axis=2)
    flat_BM: Floats = measures_BR3.reshape(len(sums_BK), -1)
    return flat_BM


def _counts(judgements: Sequence[Judgement], num_missing: int) -> Counts:
    of = [judgement.status for judgement in judgements]
    blank = sum(judgement.status == "judged" and not judgement.steps for judgement in judgements)
    return Counts(
        n=len(judgements) + num_missing,
        judged=of.count("judged"),
        blank=blank,
        unjudged=of.count("unjudged"),
        no_clip=of.count("no_clip"),
        missing=num_missing,
    )


def _signature(num: int, judging: Judging, mode: str | None) -> str:
    """The signature with what stage 2 saw; `steps` is there where another model makes the steps."""
    whole = signature(set=NAME, n=num, mode=mode, judge=wheels_part(judging.model, judging.prompts_sha256))
    head, mark, version = whole.rpartition("|version:")
    other = "_".join(printable(judging.steps_model).replace("|", "_").replace(":", "_").split())
    steps = "" if judging.steps_model == judging.model else f"|steps:{other}"
    return f"{head}{steps}|frames:{judging.num_frames}|clues:{judging.num_clues}{mark}{version}"


def _pair(pair: tuple[float, float]) -> list[float | None]:
    return [or_none(pair[0]), or_none(pair[1])]
