"""`score`: gold labels and predictions of a corpus -> the whole report of open-vocabulary recognition.

    words of each field -> categories per wheel -> counts -> P, R, F1, HIT, their intervals, the best constant answers

Convention: protocol "official" is that of MER-UniBench (see open_vocabulary.py): an unknown word is dropped, a sample
whose gold reaches no category of a wheel is left out of that wheel, a gold sample without prediction counts as an empty
one. What the protocol drops is counted in the report. `parser` says how a raw string becomes words ("official": the
scoring code's way; "lenient": this package's). Fractions, not percent. Paper: MER-R1 Section 5, Appendix B.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mer_r1.errors import InputError
from mer_r1.metrics.constant_answer import ConstantAnswer, best_constant_answers, by_frequency
from mer_r1.metrics.open_vocabulary import (
    MEASURES,
    OpenVocabularyScore,
    StatisticsArrays,
    bootstrap_measures,
    stack,
    statistics_of_sets,
    terms,
    wheel_scores,
)
from mer_r1.metrics.signature import signature, wheels_part
from mer_r1.metrics.statistics import Difference, Interval, bootstrap_intervals, paired_bootstrap
from mer_r1.response import PARSERS

if TYPE_CHECKING:
    from mer_r1.emotion.wheel import WheelSet

Labels = str | Sequence[str] | None
Words = tuple[str, ...]

PROTOCOL = "official"
TASK = "open_vocabulary"
LEVEL = 0.95
NUM_RESAMPLES = 1000


@dataclass(frozen=True)
class ScoreReport:
    """Everything `mer-r1 score` says about one set of predictions.

    `n` gold samples; `missing` of them have no prediction and `malformed` one without a readable answer (both count as
    empty answers); `unscorable_gold` reach no category in any wheel. `unmapped_predictions` counts predicted words that
    reach none (`unmapped_words`: how often each, the most frequent first; `unscorable_words` the same of gold).
    `arrays` and `clusters` hold what any other resampling needs, in the order of the gold samples.
    """

    signature: str
    protocol: str
    task: str
    n: int
    malformed: int
    missing: int
    unmapped_predictions: int
    unscorable_gold: int
    open_vocabulary: OpenVocabularyScore
    wheel_names: tuple[str, ...]
    intervals: dict[str, Interval]
    constant_baselines: tuple[ConstantAnswer, ...]
    unmapped_words: dict[str, int]
    unscorable_words: dict[str, int]
    arrays: StatisticsArrays = field(repr=False, compare=False)
    clusters: tuple[str | None, ...] | None = field(repr=False, compare=False)

    @property
    def num_clusters(self) -> int | None:
        """Clusters that the intervals resample, a sample without one being its own; None when no sample has one."""
        if self.clusters is None:
            return None
        return len(set(self.clusters) - {None}) + self.clusters.count(None)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values: fractions from 0 to 1, NaN as None."""
        score = self.open_vocabulary
        wheels = {
            name: {"n": wheel.n, **_numbers(wheel)} for name, wheel in zip(self.wheel_names, score.wheels, strict=True)
        }
        plain = ("signature", "protocol", "task", "n", "malformed", "missing", "unmapped_predictions")
        return {
            **{name: getattr(self, name) for name in plain},
            "unscorable_gold": self.unscorable_gold,
            "open_vocabulary": {**_numbers(score), "wheels": wheels},
            "intervals": {
                "level": LEVEL,
                "num_resamples": NUM_RESAMPLES,
                "num_clusters": self.num_clusters,
                **{name: [_or_none(bound) for bound in bounds] for name, bounds in self.intervals.items()},
            },
            "constant_baselines": [{"words": list(c.words), **_numbers(c)} for c in self.constant_baselines],
            "unmapped_words": self.unmapped_words,
            "unscorable_words": self.unscorable_words,
        }


def score(
    gold: Mapping[str, Labels],
    predictions: Mapping[str, Labels],
    wheels: str | WheelSet = "builtin",
    *,
    parser: str = "official",
    name: str = "gold",
    mode: str | None = None,
    clusters: Mapping[str, str] | None = None,
    malformed: Collection[str] = (),
) -> ScoreReport:
    """Score predictions against gold labels; both map a sample's id to a list of words, a raw string, or None.

    `name` and `mode` stand in the signature. `clusters` maps ids to the cluster that the intervals resample.
    `malformed` are ids to count as malformed beside those whose prediction is None.

    Raises InputError for a prediction without gold, an unknown parser or an unknown name of wheels.
    """
    if parser not in PARSERS:
        raise InputError(f"parser {parser!r} is not known; use one of: {', '.join(PARSERS)}")
    if strangers := [identity for identity in predictions if identity not in gold]:
        raise InputError(f"prediction {strangers[0]!r} has no gold sample; score it against the gold it belongs to")
    wheels = load_wheels(wheels)
    gold_words = [PARSERS[parser](labels) for labels in gold.values()]
    predicted_words = [PARSERS[parser](predictions.get(identity)) for identity in gold]
    gold_sets = [wheels.map_set(words) for words in gold_words]
    counts = [statistics_of_sets(g, wheels.map_set(p)) for g, p in zip(gold_sets, predicted_words, strict=True)]
    arrays = stack(counts, len(wheels.names))
    cluster_names = tuple(clusters.get(identity) for identity in gold) if clusters else None
    unmapped = _unmapped(predicted_words, wheels)
    hash_part = wheels_part(wheels.source, wheels.sha256)
    return ScoreReport(
        signature=signature(set=name, n=len(gold), wheels=hash_part, protocol=PROTOCOL, parser=parser, mode=mode),
        protocol=PROTOCOL,
        task=TASK,
        n=len(gold),
        malformed=len({identity for identity, labels in predictions.items() if labels is None} | set(malformed)),
        missing=sum(identity not in predictions for identity in gold),
        unmapped_predictions=sum(unmapped.values()),
        unscorable_gold=sum(not any(sets) for sets in gold_sets),
        open_vocabulary=wheel_scores(arrays),
        wheel_names=wheels.names,
        intervals=_intervals(arrays, cluster_names),
        constant_baselines=_constants(gold_words, gold_sets, wheels),
        unmapped_words=unmapped,
        unscorable_words=_unmapped(gold_words, wheels),
        arrays=arrays,
        clusters=cluster_names,
    )


def compare(first: ScoreReport, second: ScoreReport) -> dict[str, Difference]:
    """Second minus first of each measure, by the paired bootstrap; both must come from the same gold."""
    tables = [terms(report.arrays).reshape(report.n, -1) for report in (first, second)]
    rows = paired_bootstrap(
        tables[0], tables[1], bootstrap_measures, first.clusters, num_resamples=NUM_RESAMPLES, level=LEVEL
    )
    return dict(zip(MEASURES, rows, strict=True))


def difference_json(differences: Mapping[str, Difference]) -> dict[str, dict[str, float | None]]:
    """Differences as JSON values, NaN as None."""
    return {
        name: {key: _or_none(value) for key, value in vars(difference).items()}
        for name, difference in differences.items()
    }


def load_wheels(wheels: str | WheelSet) -> WheelSet:
    """The wheel set of that name, or the one given."""
    if not isinstance(wheels, str):
        return wheels
    from mer_r1.emotion.wheel import WheelSet

    return WheelSet.load(wheels)


def reaches(word: str, wheels: WheelSet) -> bool:
    """Whether a word has a category in any wheel."""
    ids = wheels.lookup(word)
    return ids is not None and any(i >= 0 for i in ids)


def _intervals(arrays: StatisticsArrays, clusters: tuple[str | None, ...] | None) -> dict[str, Interval]:
    table = terms(arrays)
    rows = bootstrap_intervals(
        table.reshape(len(table), table.shape[1] * table.shape[2]),
        bootstrap_measures,
        clusters,
        num_resamples=NUM_RESAMPLES,
        level=LEVEL,
    )
    return dict(zip(MEASURES, rows, strict=True))


def _constants(
    gold_words: Sequence[Words], gold_sets: Sequence[tuple[frozenset[int], ...]], wheels: WheelSet
) -> tuple[ConstantAnswer, ...]:
    looked_up = ((word, wheels.lookup(word)) for word in by_frequency(gold_words))
    word_ids = {word: ids for word, ids in looked_up if ids is not None}
    return best_constant_answers(gold_sets, word_ids, [len(categories) for categories in wheels.categories_of])


def _unmapped(words: Iterable[Words], wheels: WheelSet) -> dict[str, int]:
    """How often each word that reaches no category stands in the corpus, repeats within a sample counted once."""
    counts = Counter(word for sample in words for word in dict.fromkeys(sample))
    return {word: count for word, count in counts.most_common() if not reaches(word, wheels)}


def _numbers(score: object) -> dict[str, float | None]:
    return {name: _or_none(getattr(score, name)) for name in MEASURES}


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
