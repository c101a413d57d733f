"""WAF and accuracy of positive / negative sentiment, as MER-UniBench counts them, and a lexicon for words.

    gold valence 0          the sample is left out (as one without valence is)
    truth                   valence > 0
    prediction              the word is exactly "positive"; every other answer counts as negative
    WAF                     sum over the two classes of (support / n) * F1,   F1 = 2TP / (2TP + FP + FN), 0 for 0/0
    accuracy                share of samples whose two sides agree

Convention: so it is a two-class score, and "neutral", an invalid word ("Positive", "mixed") and a missing answer cost
nothing on negative gold. Invalid and missing answers are counted beside it. The official code stops where an answer is
missing or no sample is left; here the first is counted and the second gives NaN. Source: MER-UniBench
(`calculate_dimension_zeroshot`); the F1 is scikit-learn's `f1_score(average="weighted")`.

`lexicon_sentiment` is this package's own and offline: no number made with it is MER-UniBench's, whose words are turned
into a sentiment by a language model. Shape letters: N samples, B resamples, M measures.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mer_r1.errors import InputError
from mer_r1.metrics.signature import signature
from mer_r1.metrics.statistics import Interval, bootstrap_intervals

if TYPE_CHECKING:
    from mer_r1.emotion.wheel import WheelSet

Floats = NDArray[np.float64]

SENTIMENTS = ("positive", "negative", "neutral")
MEASURES = ("waf", "accuracy")
PROTOCOL = "waf"
LEVEL = 0.95
NUM_RESAMPLES = 1000

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
"""Built-in wheel -> valence -> categories. "neutral", which every wheel has, is 0."""


@dataclass(frozen=True)
class SentimentReport:
    """Sentiment of one set of predictions: fractions, NaN when `n` is 0.

    `n` samples have a valence other than 0 and `zero_gold` one of 0. Of the n, `invalid` have an answer that is none of
    SENTIMENTS and `missing` have none. `backend` says who turned words into a sentiment. `constants`: WAF of answering
    "positive" or "negative" to all.
    """

    signature: str
    backend: str
    n: int
    waf: float
    accuracy: float
    invalid: int
    missing: int
    zero_gold: int
    intervals: dict[str, Interval]
    constants: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values, NaN as None."""
        plain = ("signature", "backend", "n", "invalid", "missing", "zero_gold")
        return {
            **{name: getattr(self, name) for name in plain},
            **{name: _or_none(getattr(self, name)) for name in MEASURES},
            "intervals": {
                "level": LEVEL,
                "num_resamples": NUM_RESAMPLES,
                **{name: [_or_none(bound) for bound in bounds] for name, bounds in self.intervals.items()},
            },
            "constants": {name: _or_none(value) for name, value in self.constants.items()},
        }


def sentiment_score(
    gold: Mapping[str, float],
    answers: Mapping[str, str],
    *,
    backend: str,
    judge: str | None = None,
    name: str = "gold",
    parser: str | None = None,
    mode: str | None = None,
    clusters: Mapping[str, str] | None = None,
) -> SentimentReport:
    """Score answers (id -> word) against valences (id -> number); `judge` stands for `backend` in the signature.

    Raises InputError for an answer without gold or a valence that is not finite.
    """
    if strangers := [identity for identity in answers if identity not in gold]:
        raise InputError(f"answer {strangers[0]!r} has no gold valence; score it against the gold it belongs to")
    if endless := [identity for identity, valence in gold.items() if not math.isfinite(valence)]:
        raise InputError(f"valence of {endless[0]!r} is not finite; leave it out where it is not known")
    scored = [identity for identity, valence in gold.items() if valence != 0]
    truth_N = np.array([gold[identity] > 0 for identity in scored], dtype=bool)
    predicted_N = np.array([answers.get(identity) == "positive" for identity in scored], dtype=bool)
    terms_N4 = confusion_terms(truth_N, predicted_N)
    cluster_names = [clusters.get(identity) for identity in scored] if clusters else None
    waf, accuracy = measures(terms_N4.sum(axis=0)[None])[0].tolist()
    intervals = bootstrap_intervals(terms_N4, measures, cluster_names, num_resamples=NUM_RESAMPLES, level=LEVEL)
    return SentimentReport(
        signature=signature(
            set=name, n=len(scored), protocol=PROTOCOL, parser=parser, mode=mode, judge=judge or backend
        ),
        backend=backend,
        n=len(scored),
        waf=waf,
        accuracy=accuracy,
        invalid=sum(identity in answers and answers[identity] not in SENTIMENTS for identity in scored),
        missing=sum(identity not in answers for identity in scored),
        zero_gold=len(gold) - len(scored),
        intervals=dict(zip(MEASURES, intervals, strict=True)),
        constants={
            word: _waf(confusion_terms(truth_N, np.full_like(truth_N, word == "positive"))) for word in SENTIMENTS[:2]
        },
    )


def confusion_terms(truth_N: NDArray[np.bool_], predicted_N: NDArray[np.bool_]) -> Floats:
    """What a corpus adds up: (N, 4) of [true positive, false positive, false negative, true negative], one 1 a row."""
    columns = (truth_N & predicted_N, ~truth_N & predicted_N, truth_N & ~predicted_N, ~truth_N & ~predicted_N)
    return np.stack(columns, axis=1).astype(np.float64)


def measures(sums_B4: Floats) -> Floats:
    """Sums of `confusion_terms` -> (B, M) of WAF and accuracy; NaN where no sample counts."""
    both_positive, false_positive, false_negative, both_negative = sums_B4.T
    n = sums_B4.sum(axis=1)
    waf = np.zeros_like(n)
    for hits, others in ((both_positive, false_negative), (both_negative, false_positive)):
        whole = 2 * hits + false_positive + false_negative
        f1 = np.divide(2 * hits, whole, out=np.zeros_like(n), where=whole > 0)
        waf += (hits + others) * f1
    both = np.stack([waf, both_positive + both_negative], axis=1)
    undefined = np.full_like(both, np.nan)
    return np.asarray(np.divide(both, n[:, None], out=undefined, where=n[:, None] > 0), dtype=np.float64)


def lexicon_sentiment(words: Iterable[str]) -> str:
    """positive, negative or neutral, by the valence of the words' categories in the built-in wheels (VALENCE).

    A word takes the valence that most of its wheels give it; two valences that share the lead make it neutral. The
    answer is the side with more words, each counted once; equal sides, and no known word, are neutral.
    """
    wheels, valence_of = _lexicon()
    ids = {word.lower().strip(): wheels.lookup(word) for word in words}
    total = sum(_word_valence(places, valence_of) for places in ids.values() if places is not None)
    return "positive" if total > 0 else "negative" if total < 0 else "neutral"


def lexicon_sha256() -> str:
    """The hash of the wheels that `lexicon_sentiment` reads, for signatures."""
    return _lexicon()[0].sha256


def _word_valence(places: Sequence[int], valence_of: Sequence[Sequence[int]]) -> int:
    votes = Counter(valence_of[wheel][place] for wheel, place in enumerate(places) if place >= 0)
    lead = votes.most_common(2)
    return lead[0][0] if lead and (len(lead) == 1 or lead[0][1] > lead[1][1]) else 0


@cache
def _lexicon() -> tuple[WheelSet, tuple[tuple[int, ...], ...]]:
    """The built-in wheels, and the valence of each category id of each wheel."""
    from mer_r1.emotion.wheel import NEUTRAL, WheelSet

    wheels = WheelSet.load("builtin")
    valence_of = []
    for name, categories in zip(wheels.names, wheels.categories_of, strict=True):
        placed = {category: valence for valence, names in VALENCE[name].items() for category in names} | {NEUTRAL: 0}
        assert set(placed) == set(categories), f"VALENCE and wheel {name} name different categories"
        valence_of.append(tuple(placed[category] for category in categories))
    return wheels, tuple(valence_of)


def _waf(terms_N4: Floats) -> float:
    return float(measures(terms_N4.sum(axis=0)[None])[0, 0])


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
