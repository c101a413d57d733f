"""Closed sets: one gold class a sample, one class an answer; accuracy, UAR, weighted and macro F1, confusion matrix.

                with TP, support (gold) and predicted counts of each class that has gold
    accuracy    share of samples whose answer is the gold class ("WA" in speech emotion)
    UAR         plain mean of the classes' recalls: balanced accuracy
    weighted F1 mean of the classes' F1 by their support,   F1 = 2TP / (support + predicted), 0 for 0/0
    macro F1    plain mean of the classes' F1

Convention: the classes are the candidates of the gold and its labels. Two texts are one class where they are equal as
the parser of answers reads a word (case, white space and marks around it do not matter); synonyms are not, and no wheel
is asked. An answer is its first label. One that is no class ("no class"), and none at all, is wrong: it is in no
column of a class and lowers recall alone. Classes without gold are in no mean, so systems are averaged over the same
ones. The numbers are scikit-learn's: `accuracy_score`, `balanced_accuracy_score` and `f1_score(average=..)`, macro with
`labels=` the classes that have gold. Where the official wheels would decide what two words have in common, score by
them (corpus_score.py).

Shape letters: N samples, B resamples, C classes; 3C = TP, support and predicted of each class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mer_r1.data.labels import corrected_labels, read_labels, split_labels
from mer_r1.errors import InputError
from mer_r1.metrics.signature import counted_part, signature
from mer_r1.metrics.statistics import (
    LEVEL,
    NUM_RESAMPLES,
    Difference,
    Floats,
    Interval,
    bootstrap_intervals,
    or_none,
    paired_bootstrap,
    ratio,
)

MEASURES = ("accuracy", "uar", "weighted_f1", "macro_f1")
NO_CLASS, NO_ANSWER = "(no class)", "(no answer)"  # no class is called so: the parser takes parentheses off
PARSER = "first-label"


@dataclass(frozen=True)
class ClassScore:
    """The numbers of one class; `n` is its support."""

    n: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class ClassReport:
    """The numbers of one set of predictions, fractions, NaN when no sample has a class.

    `counted` of the `whole` gold samples have a label. `missing` of them have no prediction. `confusion` maps a gold
    class to how often each class, NO_CLASS and NO_ANSWER was answered. `constant` has the measures of answering the
    most frequent class (`constant_label`) to all.
    """

    signature: str
    counted: int
    whole: int
    missing: int
    measures: dict[str, float]
    intervals: dict[str, Interval]
    classes: dict[str, ClassScore]
    confusion: dict[str, dict[str, int]]
    constant_label: str
    constant: dict[str, float]
    terms: Floats = field(repr=False, compare=False)
    clusters: tuple[str | None, ...] | None = field(repr=False, compare=False)
    gold_key: tuple[object, ...] = field(repr=False, compare=False)

    @property
    def headline(self) -> str:
        """The main measure."""
        return "accuracy"

    def answered(self, column: str) -> int:
        """How often a column of the confusion matrix was answered."""
        return sum(row[column] for row in self.confusion.values())

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values, NaN as None."""
        return {
            "signature": self.signature,
            "task": "classes",
            "n": self.whole,
            "counted": self.counted,
            "missing": self.missing,
            "no_class": self.answered(NO_CLASS),
            "no_answer": self.answered(NO_ANSWER),
            **{name: or_none(value) for name, value in self.measures.items()},
            "classes": {
                name: {key: or_none(value) for key, value in vars(item).items()} | {"n": item.n}
                for name, item in self.classes.items()
            },
            "confusion": self.confusion,
            "constant": {"label": self.constant_label, **{k: or_none(v) for k, v in self.constant.items()}},
            "intervals": {
                "level": LEVEL,
                "num_resamples": NUM_RESAMPLES,
                **{name: bounds.to_json() for name, bounds in self.intervals.items()},
            },
        }


def score_classes(
    gold: Mapping[str, Any],
    predictions: Mapping[str, Any],
    *,
    candidates: Sequence[str] = (),
    name: str = "gold",
    mode: str | None = None,
    clusters: Mapping[str, str] | None = None,
) -> ClassReport:
    """Score predictions against gold labels; both map a sample's id to a list of labels, a text, or None.

    `candidates` are classes beside those of the gold. Raises InputError for gold of several labels, and where no gold
    has one.
    """
    truth = {identity: label for identity, value in gold.items() if (label := gold_class(identity, value)) is not None}
    if not truth:
        raise InputError("no gold row has a label; give each its class")
    named = tuple(dict.fromkeys(map(class_form, candidates)))
    classes = (*named, *sorted(set(truth.values()) - set(named)))
    answers = {identity: answered_class(predictions.get(identity), classes) for identity in truth}
    confusion = {row: dict.fromkeys((*classes, NO_CLASS, NO_ANSWER), 0) for row in classes if row in truth.values()}
    for identity, label in truth.items():
        answer = answers[identity]
        confusion[label][answer if answer in classes else NO_CLASS if answer else NO_ANSWER] += 1
    terms_N3C = _terms(list(truth.values()), list(answers.values()), classes)
    cluster_names = tuple(clusters.get(identity) for identity in truth) if clusters else None
    sums_B3C = terms_N3C.sum(axis=0)[None]
    most = Counter(truth.values()).most_common(1)[0][0]
    always = _terms(list(truth.values()), [most] * len(truth), classes).sum(axis=0)[None]
    bounds = bootstrap_intervals(terms_N3C, measures, cluster_names)
    return ClassReport(
        signature=signature(set=name, n=counted_part(len(truth), len(gold)), parser=PARSER, mode=mode),
        counted=len(truth),
        whole=len(gold),
        missing=sum(identity not in predictions for identity in truth),
        measures=_named(sums_B3C),
        intervals=dict(zip(MEASURES, bounds, strict=True)),
        classes={row: _of_class(row, confusion) for row in confusion},
        confusion=confusion,
        constant_label=most,
        constant=_named(always),
        terms=terms_N3C,
        clusters=cluster_names,
        gold_key=(classes, tuple(truth.items())),
    )


def compare_classes(first: ClassReport, second: ClassReport) -> dict[str, Difference]:
    """Second minus first of each measure, by the paired bootstrap. Raises ValueError for reports of different gold."""
    if first.gold_key != second.gold_key:
        raise ValueError("the two reports are of different gold; score both against one")
    rows = paired_bootstrap(first.terms, second.terms, measures, first.clusters)
    return dict(zip(MEASURES, rows, strict=True))


def measures(sums_B3C: Floats) -> Floats:
    """Sums over samples -> (B, 4) of MEASURES; NaN where no sample counts."""
    return class_measures(*np.split(sums_B3C, 3, axis=1))


def class_measures(hits_BC: Floats, support_BC: Floats, predicted_BC: Floats) -> Floats:
    """(B, 4) of MEASURES from the TP, the support and the predicted count of each class."""
    n_B = support_BC.sum(axis=1)
    has_gold_BC = support_BC > 0
    num_B = has_gold_BC.sum(axis=1).astype(np.float64)
    whole_BC = support_BC + predicted_BC
    f1_BC = np.divide(2 * hits_BC, whole_BC, out=np.zeros_like(whole_BC), where=whole_BC > 0)
    recall_BC = np.divide(hits_BC, support_BC, out=np.zeros_like(support_BC), where=has_gold_BC)
    weighted_B = (support_BC * f1_BC).sum(axis=1)
    macro_B = (has_gold_BC * f1_BC).sum(axis=1)
    rows = ((hits_BC.sum(axis=1), n_B), (recall_BC.sum(axis=1), num_B), (weighted_B, n_B), (macro_B, num_B))
    return np.stack([ratio(above, below) for above, below in rows], axis=1)


def gold_class(identity: str, value: Any) -> str | None:
    """The class of a gold field; None where it has no label. Raises InputError for several."""
    if error := read_labels(value, "corrected")[1]:
        raise InputError(f"{identity!r}: {error}; give its class as a text")
    texts = _texts(value)
    labels = dict.fromkeys(map(class_form, texts)) if isinstance(value, list | tuple) else corrected_labels(value)
    if len(labels) > 1:
        raise InputError(f"{identity!r}: {len(labels)} labels, where a class is one; give one a row, or another --task")
    return class_form(texts[0]) if texts else None


def answered_class(value: Any, classes: Sequence[str]) -> str | None:
    """The class of an answer: its first label as a whole where that is a class, else the first word; None for none."""
    texts = _texts(value)
    if not texts:
        return None
    if (whole := class_form(texts[0])) in classes:
        return whole
    words = corrected_labels(value if isinstance(value, str) else texts)
    return words[0] if words else None


def class_form(text: str) -> str:
    """A label as the parser of answers reads it, where that is one word; a text that it would split stays whole."""
    words = split_labels(text)
    return words[0] if len(words) == 1 else " ".join(text.lower().split())


def _texts(value: Any) -> list[str]:
    """The texts of a label field that are not blank."""
    items = [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else ()
    return [item for item in items if isinstance(item, str) and item.strip()]


def _terms(truth: Sequence[str], answers: Sequence[str | None], classes: Sequence[str]) -> Floats:
    """What a corpus adds up, (N, 3C)."""
    index = {name: n for n, name in enumerate(classes)}
    terms_N3C = np.zeros((len(truth), 3, len(classes)))
    for n, (label, answer) in enumerate(zip(truth, answers, strict=True)):
        terms_N3C[n, 1, index[label]] = 1
        if answer in index:
            terms_N3C[n, 2, index[answer]] = 1
            terms_N3C[n, 0, index[label]] = answer == label
    return terms_N3C.reshape(len(truth), -1)


def _named(sums_B3C: Floats) -> dict[str, float]:
    return dict(zip(MEASURES, measures(sums_B3C)[0].tolist(), strict=True))


def _of_class(name: str, confusion: Mapping[str, Mapping[str, int]]) -> ClassScore:
    hits, n = confusion[name][name], sum(confusion[name].values())
    predicted = sum(row[name] for row in confusion.values())
    return ClassScore(n, hits / predicted if predicted else 0.0, hits / n, 2 * hits / (n + predicted))
