"""Accuracy of answers chosen from candidates: the share that names the gold label, by the function the reward calls.

    accuracy    mean over samples of `data.labels.names_gold`: exactly one label, and a gold one (hard match)
    recall      the same over the samples of one gold label; `balanced` is its plain mean over the labels
    constant    what always saying the most frequent gold label would score
    mean        plain mean of the accuracies of several sets (EMO-R3's A^I, A^O and A)

Convention: an answer without a label is wrong, and counted as `unparsed`. The confusion's columns are the candidates,
"other" (several labels, or one that is no candidate) and "none" (no label). Intervals are the percentile bootstrap over
samples, or over clusters where there are some; those of a mean draw all sets' samples at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mer_r1.data.labels import corrected_labels, names_gold, split_labels
from mer_r1.data.sample import Sample
from mer_r1.metrics.signature import signature
from mer_r1.metrics.statistics import LEVEL, Floats, Interval, bootstrap_intervals, ratio

OTHER, NONE = "other", "none"
PARSER = "one-label"


@dataclass(frozen=True)
class LabelRecall:
    """Of the `n` samples of a gold label, the share that was named."""

    n: int
    recall: float
    interval: Interval


@dataclass(frozen=True)
class AccuracyReport:
    """The numbers of one set in one mode. `right` and `clusters` are those of the samples, for `mean_accuracy`."""

    n: int
    accuracy: float
    interval: Interval
    balanced: float
    unparsed: int
    other: int
    recalls: dict[str, LabelRecall]
    confusion: dict[str, dict[str, int]]
    constant_label: str
    constant: float
    signature: str
    right: tuple[bool, ...] = field(repr=False)
    clusters: tuple[str | None, ...] = field(repr=False)

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "n": self.n,
            "accuracy": self.accuracy,
            "balanced": self.balanced,
            "unparsed": self.unparsed,
            "other": self.other,
            "constant": {"label": self.constant_label, "accuracy": self.constant},
            "recalls": {
                label: {"n": item.n, "recall": item.recall, "interval": item.interval.to_json()}
                for label, item in self.recalls.items()
            },
            "confusion": self.confusion,
            "intervals": {"level": LEVEL, "accuracy": self.interval.to_json()},
            "signature": self.signature,
        }


def score_accuracy(
    samples: Sequence[Sample], answers: Mapping[str, Sequence[str]], *, name: str, mode: str
) -> AccuracyReport:
    """Score the labels in `answers` by id; a sample without an answer there counts as unparsed.

    Raises ValueError for no samples, and for a sample without labels.
    """
    if not samples or not all(sample.labels for sample in samples):
        raise ValueError("every sample needs a gold label, and there must be one; leave out those without")
    predicted = [corrected_labels(answers.get(sample.id)) for sample in samples]
    right = tuple(names_gold(labels, sample.labels) for labels, sample in zip(predicted, samples, strict=True))
    columns = candidates_of(samples)
    rows = [
        labels[0] if is_right else normal(sample.labels[0])
        for sample, labels, is_right in zip(samples, predicted, right, strict=True)
    ]
    in_order = [*(column for column in columns if column in rows), *(row for row in rows if row not in columns)]
    confusion = {row: dict.fromkeys((*columns, OTHER, NONE), 0) for row in in_order}
    for row, labels in zip(rows, predicted, strict=True):
        is_candidate = len(labels) == 1 and labels[0] in columns
        confusion[row][labels[0] if is_candidate else OTHER if labels else NONE] += 1
    clusters = tuple(sample.cluster for sample in samples)
    overall, *of_labels = _intervals(right, rows, tuple(confusion), clusters)
    counts = Counter(rows)
    named = Counter(row for row, is_right in zip(rows, right, strict=True) if is_right)
    recalls = {
        row: LabelRecall(counts[row], named[row] / counts[row], interval)
        for row, interval in zip(confusion, of_labels, strict=True)
    }
    most, times = Counter(normal(sample.labels[0]) for sample in samples).most_common(1)[0]
    return AccuracyReport(
        n=len(samples),
        accuracy=sum(right) / len(samples),
        interval=overall,
        balanced=sum(item.recall for item in recalls.values()) / len(recalls),
        unparsed=sum(row[NONE] for row in confusion.values()),
        other=sum(row[OTHER] for row in confusion.values()),
        recalls=recalls,
        confusion=confusion,
        constant_label=most,
        constant=times / len(samples),
        signature=signature(set=name, n=len(samples), parser=PARSER, mode=mode),
        right=right,
        clusters=clusters,
    )


def mean_accuracy(reports: Sequence[AccuracyReport]) -> tuple[float, Interval]:
    """The plain mean of the sets' accuracies and its interval. Raises ValueError for no set."""
    if not reports:
        raise ValueError("no set to take the mean of; give one or more")
    if len(reports) == 1:
        return reports[0].accuracy, reports[0].interval
    terms_NK = np.zeros((sum(report.n for report in reports), 2 * len(reports)))
    clusters: list[tuple[int, str] | None] = []
    for index, report in enumerate(reports):
        rows = slice(len(clusters), len(clusters) + report.n)
        terms_NK[rows, 2 * index], terms_NK[rows, 2 * index + 1] = report.right, 1
        clusters += [None if cluster is None else (index, cluster) for cluster in report.clusters]

    def mean(sums_BK: Floats) -> Floats:
        means: Floats = ratio(sums_BK[:, ::2], sums_BK[:, 1::2]).mean(axis=1, keepdims=True)
        return means

    return sum(report.accuracy for report in reports) / len(reports), bootstrap_intervals(terms_NK, mean, clusters)[0]


def candidates_of(samples: Sequence[Sample]) -> tuple[str, ...]:
    """All candidates of the samples, in the order of first appearance and in normal form."""
    return tuple(dict.fromkeys(normal(label) for sample in samples for label in sample.candidates))


def normal(label: str) -> str:
    """A label as the parser of answers reads it."""
    words = split_labels(label)
    return words[0] if words else label


def gold_error(sample: Sample) -> str | None:
    """Why no answer chosen from a sample's candidates can be right as they are shown; None where one can."""
    if not sample.labels or not sample.candidates:
        return f"has no {'candidates' if sample.labels else 'labels'}"
    several = next((label for label in (*sample.candidates, *sample.labels) if len(split_labels(label)) != 1), None)
    if several is not None:
        return f"has the label {several!r}, which is not read as one word"
    known = candidates_of([sample])
    outside = next((label for label in sample.labels if normal(label) not in known), None)
    return None if outside is None else f"has the label {outside!r} outside its candidates"


def _intervals(
    right: Sequence[bool], rows: Sequence[str], labels: Sequence[str], clusters: Sequence[str | None]
) -> tuple[Interval, ...]:
    """Of the accuracy, and of the recall of each label."""
    of_label_NL = np.array([[row == label for label in labels] for row in rows], dtype=np.float64)
    right_N = np.array(right, dtype=np.float64)[:, None]
    num = 1 + len(labels)
    terms_NK = np.concatenate([right_N, right_N * of_label_NL, np.ones_like(right_N), of_label_NL], axis=1)
    return bootstrap_intervals(terms_NK, lambda sums_BK: ratio(sums_BK[:, :num], sums_BK[:, num:]), clusters)
