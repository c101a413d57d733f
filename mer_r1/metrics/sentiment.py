"""WAF and accuracy of positive / negative / neutral sentiment by two protocols, and a lexicon for words.

                       official                                 corrected
    gold valence > 0   positive                                 positive
    gold valence < 0   negative                                 negative
    gold valence 0     left out                                 neutral
    answer             "positive", any other is negative        "positive", "negative", "neutral", any other is wrong
    WAF                sum over the classes of (support / n) * F1,   F1 = 2TP / (2TP + FP + FN), 0 for 0/0
    accuracy           share of samples whose two sides agree

Convention: "official" is MER-UniBench's (`calculate_dimension_zeroshot`; the F1 is scikit-learn's
`f1_score(average="weighted")`). It is a two-class score, in which "neutral", an invalid word ("Positive", "mixed") and
a missing answer cost nothing on negative gold. "corrected" is this package's: there an invalid or missing answer is a
fourth kind that no gold has. Both count such answers beside the score. The official code stops where an answer is
missing or no sample is left; here a missing answer is scored as in the table, and no sample gives NaN.

Both protocols, the constants and the bootstrap read one table of confusion (gold class x kind of answer). Shape
letters: N samples, B resamples, C classes, A kinds of answer, M measures; 12 = 3 classes x 4 kinds, in that order.

`lexicon_sentiment` is this package's own and offline: no number made with it is MER-UniBench's, whose words are turned
into a sentiment by a language model.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from mer_r1.emotion.compiled import NEUTRAL
from mer_r1.emotion.protocol import OFFICIAL, protocol_of
from mer_r1.emotion.wheel import WheelSet
from mer_r1.emotion.words import normalise
from mer_r1.errors import InputError
from mer_r1.metrics.classes import class_measures
from mer_r1.metrics.signature import counted_part, signature
from mer_r1.metrics.statistics import (
    LEVEL,
    NUM_RESAMPLES,
    Difference,
    Floats,
    Interval,
    Measures,
    bootstrap_intervals,
    or_none,
    paired_bootstrap,
)

SENTIMENTS = ("positive", "negative", "neutral")
SHAPE = (3, 4)  # gold classes, in the order of SENTIMENTS; kinds of answer, the same and _OTHER
_OTHER = 3
MEASURES = ("waf", "accuracy")

VALENCE: dict[str, dict[int, tuple[str, ...]]] = {
    "w1": {+1: ("joy",), 0: ("surprise",), -1: ("sadness", "anger", "fear", "disgust")},
    "w2": {+1: ("love", "joy"), 0: ("surprise",), -1: ("anger", "sadness", "fear")},
    "w3": {+1: ("joyful", "powerful", "peaceful"), -1: ("mad", "scared", "sad")},
    "w4": {+1: ("joy", "trust"), 0: ("surprise", "anticipation"), -1: ("fear", "sadness", "disgust", "anger")},
    "w5": {
        +1: ("happiness", "tenderness", "relief"),
        0: ("surprise",),
        -1: ("sadness", "shame", "fear", "disgust", "anger"),
    },
}
"""Built-in wheel -> valence -> categories. "neutral", which every wheel has under "corrected", is 0."""


@dataclass(frozen=True)
class SentimentReport:
    """Sentiment of one set of predictions: fractions, NaN when `n` is 0.

    `n` samples are scored; `zero_gold` have a valence of 0, which "official" leaves out of them. Of the n, `invalid`
    have an answer that is none of SENTIMENTS and `missing` have none. `backend` says who turned words into a sentiment,
    `prompt` by which of evaluation.sentiment.PROMPTS, where it was a model.
    `constants`: WAF of answering one class of the protocol to all. `terms_N12` and `clusters` hold what any other
    resampling needs, in the order of the scored gold.
    """

    signature: str
    protocol: str
    backend: str
    n: int
    waf: float
    accuracy: float
    invalid: int
    missing: int
    zero_gold: int
    intervals: dict[str, Interval]
    constants: dict[str, float]
    terms_N12: Floats = field(repr=False, compare=False)
    clusters: tuple[str | None, ...] | None = field(repr=False, compare=False)
    prompt: str | None = None

    @property
    def headline(self) -> str:
        """The measure that MER-UniBench prints."""
        return "waf"

    @property
    def counted(self) -> int:
        """Samples that count, those that are in `n`."""
        return self.n

    @property
    def whole(self) -> int:
        """All samples with a valence."""
        return self.n + self.zero_gold if self.protocol == OFFICIAL.name else self.n

    @property
    def measures(self) -> dict[str, float]:
        """WAF and accuracy."""
        return {name: float(getattr(self, name)) for name in MEASURES}

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values, NaN as None."""
        plain = ("signature", "protocol", "backend", "prompt", "n", "invalid", "missing", "zero_gold")
        return {
            **{name: getattr(self, name) for name in plain},
            **{name: or_none(getattr(self, name)) for name in MEASURES},
            "intervals": {
                "level": LEVEL,
                "num_resamples": NUM_RESAMPLES,
                **{name: bounds.to_json() for name, bounds in self.intervals.items()},
            },
            "constants": {name: or_none(value) for name, value in self.constants.items()},
        }


def sentiment_score(
    gold: Mapping[str, float],
    answers: Mapping[str, str],
    *,
    backend: str,
    protocol: str = "official",
    judge: str | None = None,
    name: str = "gold",
    parser: str | None = None,
    mode: str | None = None,
    clusters: Mapping[str, str] | None = None,
) -> SentimentReport:
    """Score answers (id -> word) against valences (id -> number); `judge` stands for `backend` in the signature.

    Raises InputError for an unknown protocol, an answer without gold, or a valence that is not finite.
    """
    measures = MEASURES_OF[protocol_of(protocol).name]
    if strangers := [identity for identity in answers if identity not in gold]:
        raise InputError(f"answer {strangers[0]!r} has no gold valence; score it against the gold it belongs to")
    if endless := [identity for identity, valence in gold.items() if not math.isfinite(valence)]:
        raise InputError(f"valence of {endless[0]!r} is not finite; leave it out where it is not known")
    scored = [identity for identity, valence in gold.items() if is_scored(valence, protocol)]
    classes = [0 if gold[identity] > 0 else 1 if gold[identity] < 0 else 2 for identity in scored]
    kinds = [_kind_of(answers.get(identity)) for identity in scored]
    terms_N12 = confusion_terms(classes, kinds)
    cluster_names = tuple(clusters.get(identity) for identity in scored) if clusters else None
    waf, accuracy = measures(terms_N12.sum(axis=0)[None])[0].tolist()
    intervals = bootstrap_intervals(terms_N12, measures, cluster_names, num_resamples=NUM_RESAMPLES, level=LEVEL)
    missing = sum(identity not in answers for identity in scored)
    return SentimentReport(
        signature=signature(
            set=name,
            n=counted_part(len(scored), len(gold)),
            protocol=protocol,
            parser=parser,
            mode=mode,
            judge=judge or backend,
        ),
        protocol=protocol,
        backend=backend,
        n=len(scored),
        waf=waf,
        accuracy=accuracy,
        invalid=kinds.count(_OTHER) - missing,
        missing=missing,
        zero_gold=sum(valence == 0 for valence in gold.values()),
        intervals=dict(zip(MEASURES, intervals, strict=True)),
        constants=_constants(classes, protocol),
        terms_N12=terms_N12,
        clusters=cluster_names,
    )


def compare_sentiment(first: SentimentReport, second: SentimentReport) -> dict[str, Difference]:
    """Second minus first of each measure, by the paired bootstrap.

    Raises ValueError for reports of different gold or protocols.
    """
    gold = [report.terms_N12.reshape(-1, *SHAPE).sum(axis=2) for report in (first, second)]
    if first.protocol != second.protocol or not np.array_equal(*gold):
        raise ValueError("the two reports are of different gold or protocols; score both against one gold by one")
    measures = MEASURES_OF[first.protocol]
    rows = paired_bootstrap(first.terms_N12, second.terms_N12, measures, first.clusters)
    return dict(zip(MEASURES, rows, strict=True))


def is_scored(valence: float, protocol: str) -> bool:
    """Whether gold of this valence counts: "official" leaves 0 out."""
    return protocol != OFFICIAL.name or valence != 0


def confusion_terms(classes: Sequence[int], kinds: Sequence[int]) -> Floats:
    """What a corpus adds up: (N, 12), the one cell of gold class and kind of answer that a sample falls in."""
    terms_N12 = np.zeros((len(classes), SHAPE[0] * SHAPE[1]))
    cells_N = np.array(classes, dtype=np.int64) * SHAPE[1] + np.array(kinds, dtype=np.int64)
    terms_N12[np.arange(len(classes)), cells_N] = 1
    return terms_N12


def official_measures(sums_B12: Floats) -> Floats:
    """Sums of `confusion_terms` -> (B, M) of WAF and accuracy, two classes; NaN where no sample counts."""
    table_B24 = sums_B12.reshape(len(sums_B12), *SHAPE)[:, :2]
    return _waf_and_accuracy(np.stack([table_B24[:, :, 0], table_B24[:, :, 1:].sum(axis=2)], axis=2))


def corrected_measures(sums_B12: Floats) -> Floats:
    """Sums of `confusion_terms` -> (B, M) of WAF and accuracy, three classes; NaN where no sample counts."""
    return _waf_and_accuracy(sums_B12.reshape(len(sums_B12), *SHAPE))


MEASURES_OF: dict[str, Measures] = {"official": official_measures, "corrected": corrected_measures}


def _waf_and_accuracy(table_BCA: Floats) -> Floats:
    """(B, 2) of a table whose first C kinds of answer are the classes themselves."""
    hits_BC = np.diagonal(table_BCA, axis1=1, axis2=2)
    predicted_BC = table_BCA[:, :, : table_BCA.shape[1]].sum(axis=1)
    accuracy_B, _, waf_B, _ = class_measures(hits_BC, table_BCA.sum(axis=2), predicted_BC).T
    return np.stack([waf_B, accuracy_B], axis=1)


def _kind_of(answer: str | None) -> int:
    """An answer's index in SENTIMENTS, _OTHER for one that is missing or none of them."""
    return SENTIMENTS.index(answer) if answer in SENTIMENTS else _OTHER


def _constants(classes: Sequence[int], protocol: str) -> dict[str, float]:
    """WAF of one answer to all: of "positive" and "negative", and of "neutral" where it is a class of its own."""
    words = SENTIMENTS[:2] if protocol == OFFICIAL.name else SENTIMENTS
    totals = {word: confusion_terms(classes, [_kind_of(word)] * len(classes)).sum(axis=0)[None] for word in words}
    return {word: float(MEASURES_OF[protocol](sums)[0, 0]) for word, sums in totals.items()}


def lexicon_sentiment(words: Iterable[str]) -> str:
    """positive, negative or neutral, by the valence of the words' categories in the built-in wheels (VALENCE).

    A word takes the valence that most of the categories it reaches have; two valences that share the lead make it
    neutral. The answer is the side with more words, each counted once; equal sides, and no known word, are neutral.
    """
    wheels, valence_of = _lexicon()
    reached = {word: wheels.lookup(word) for word in {normalise(word) for word in words}}
    total = sum(_word_valence(ids, valence_of) for ids in reached.values() if ids is not None)
    return "positive" if total > 0 else "negative" if total < 0 else "neutral"


def lexicon_sha256() -> str:
    """The hash of the wheels that `lexicon_sentiment` reads, for signatures."""
    return _lexicon()[0].sha256


def _word_valence(ids: Sequence[Iterable[int]], valence_of: Sequence[Sequence[int]]) -> int:
    """One vote for each category that the word reaches; `ids` are category ids per wheel."""
    votes = Counter(valence_of[wheel][index] for wheel, reached in enumerate(ids) for index in reached)
    lead = votes.most_common(2)
    return lead[0][0] if lead and (len(lead) == 1 or lead[0][1] > lead[1][1]) else 0


@cache
def _lexicon() -> tuple[WheelSet, tuple[tuple[int, ...], ...]]:
    """The built-in wheels, and the valence of each category id of each wheel."""
    wheels = WheelSet.load("builtin", protocol="corrected")  # with "neutral", which is a sentiment too
    valence_of = []
    for name, categories in zip(wheels.names, wheels.categories_of, strict=True):
        placed = {category: valence for valence, names in VALENCE[name].items() for category in names} | {NEUTRAL: 0}
        assert set(placed) == set(categories), f"VALENCE and wheel {name} name different categories"
        valence_of.append(tuple(placed[category] for category in categories))
    return wheels, tuple(valence_of)
