"""`score`: gold labels and predictions of a corpus -> the whole report of open-vocabulary recognition.

    words of each field -> categories per wheel -> counts -> P, R, F1, HIT, their intervals, the best constant answers

Convention: under the protocol "official", MER-UniBench's (see open_vocabulary.py), an unknown word is dropped, and a
sample whose gold reaches no category of a wheel is left out of that wheel; "corrected" is docs/scoring.md's. A gold
sample without prediction counts as an empty answer; the caller leaves out those whose answer failed. Where the official
code would stop, at a field that is no list of words or at the text "[", the row is counted as malformed and scored by
the words that it holds. What is dropped or passed over is counted in the report. Fractions, not percent.
Source: MER-R1 Section 5, Appendix B.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from os import PathLike
from typing import Any, Literal, get_args

from mer_r1.data.gold import Gold
from mer_r1.data.labels import is_misread, read_labels
from mer_r1.data.predictions import ModePredictions
from mer_r1.emotion.compiled import pack
from mer_r1.emotion.wheel import MappedWords, WheelSet, load_wheels
from mer_r1.errors import InputError
from mer_r1.metrics.constant_answer import ConstantAnswer, best_constant_answers, by_frequency
from mer_r1.metrics.open_vocabulary import (
    MEASURES,
    OpenVocabularyScore,
    StatisticsArrays,
    bootstrap_measures,
    stack,
    statistics_of,
    terms,
    wheel_scores,
)
from mer_r1.metrics.signature import counted_part, signature, wheels_part
from mer_r1.metrics.statistics import (
    LEVEL,
    NUM_RESAMPLES,
    Difference,
    Floats,
    Interval,
    bootstrap_intervals,
    or_none,
    paired_bootstrap,
)
from mer_r1.text import printable

Labels = Any
"""A label field: a list of words, a raw string, or None. Anything else is counted as malformed."""
ScoreTask = Literal["auto", "open-vocabulary", "basic"]
Words = tuple[str, ...]

NUM_UNKNOWN_TRIED = 32  # as constant answers, the most frequent of the gold words that no wheel knows
NUM_WORDS_KEPT = 200
WORD_LENGTH_KEPT = 100


@dataclass(frozen=True)
class ScoreReport:
    """Everything `mer-r1 score` says about one set of predictions.

    `n` gold samples. `missing` of them have no prediction; of `malformed` ones a field is not what the protocol can
    read (`malformed_ids`); `unanswered` have a prediction that is None or that the caller says was not finished, and
    `refusals` are those of them that refuse to answer; of `misread` ones the official parser reads other words than the
    corrected one. All are scored by the words they hold. `extra_predictions` have no gold and are left out.
    `unmapped_predictions` counts predicted words that reach no wheel (`unmapped_words`: how often each, the most
    frequent first), and `unmapped_gold_words` has the same of gold; `unscorable_gold` are the samples that no wheel
    counts. `arrays` and `clusters` hold what any other resampling needs, in the order of the gold samples; reports with
    the same `gold_key` may be compared.
    """

    signature: str
    protocol: str
    task: str
    n: int
    malformed_ids: tuple[str, ...]
    missing_ids: tuple[str, ...]
    unanswered: int
    refusals: int
    misread: int
    extra_predictions: int
    unmapped_predictions: int
    unscorable_gold: int
    open_vocabulary: OpenVocabularyScore
    wheel_names: tuple[str, ...]
    intervals: dict[str, Interval]
    constant_baselines: tuple[ConstantAnswer, ...]
    unmapped_words: dict[str, int]
    unmapped_gold_words: dict[str, int]
    arrays: StatisticsArrays = field(repr=False, compare=False)
    clusters: tuple[str | None, ...] | None = field(repr=False, compare=False)
    gold_key: tuple[object, ...] = field(repr=False, compare=False)

    @property
    def malformed(self) -> int:
        """Samples of which a field is not what the protocol can read."""
        return len(self.malformed_ids)

    @property
    def missing(self) -> int:
        """Samples without a prediction."""
        return len(self.missing_ids)

    @property
    def whole(self) -> int:
        """All samples, those that no wheel counts among them."""
        return self.n

    @property
    def counted(self) -> int:
        """Samples that some wheel counts."""
        return self.n - self.unscorable_gold

    @property
    def headline(self) -> str:
        """The measure that MER-UniBench prints for the task: HIT for basic emotions, else F1."""
        return "hit" if self.task == "basic" else "f1"

    @property
    def measures(self) -> dict[str, float]:
        """Each measure's mean over the wheels; fractions, NaN where it is not defined."""
        return {name: float(getattr(self.open_vocabulary, name)) for name in MEASURES}

    @property
    def num_clusters(self) -> int | None:
        """Clusters that the intervals resample, a sample without one being its own; None when no sample has one."""
        if self.clusters is None:
            return None
        return len(set(self.clusters) - {None}) + self.clusters.count(None)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values: fractions from 0 to 1, NaN as None; of words that reach no wheel the first 200."""
        score = self.open_vocabulary
        wheels = {
            name: {"n": wheel.n, **_numbers(wheel)} for name, wheel in zip(self.wheel_names, score.wheels, strict=True)
        }
        plain = ("signature", "protocol", "task", "n", "counted", "malformed", "missing", "unanswered", "refusals")
        return {
            **{name: getattr(self, name) for name in plain},
            "misread": self.misread,
            "extra_predictions": self.extra_predictions,
            "unmapped_predictions": self.unmapped_predictions,
            "unscorable_gold": self.unscorable_gold,
            "open_vocabulary": {**_numbers(score), "wheels": wheels},
            "intervals": {
                "level": LEVEL,
                "num_resamples": NUM_RESAMPLES,
                "num_clusters": self.num_clusters,
                **{name: bounds.to_json() for name, bounds in self.intervals.items()},
            },
            "constant_baselines": [
                {"measure": c.measure, "words": list(c.words), **_numbers(c)} for c in self.constant_baselines
            ],
            "unmapped_words": _frequent(self.unmapped_words),
            "unmapped_gold_words": _frequent(self.unmapped_gold_words),
        }


def score(
    gold: Mapping[str, Labels],
    predictions: Mapping[str, Labels],
    wheels: str | PathLike[str] | WheelSet = "builtin",
    *,
    protocol: str | None = None,
    task: ScoreTask = "auto",
    strict: bool = False,
    name: str = "gold",
    mode: str | None = None,
    clusters: Mapping[str, str] | None = None,
    unanswered: AbstractSet[str] = frozenset(),
    refused: AbstractSet[str] = frozenset(),
) -> ScoreReport:
    """Score predictions against gold labels; both map a sample's id to a list of words, a raw string, or None.

    `protocol` is "official" (default) or "corrected"; a `WheelSet` brings the one it was compiled for. The task "basic"
    puts HIT before F1, "auto" takes it where every gold field is one word. `name` and `mode` stand in the signature.
    `clusters` maps ids to the cluster that the intervals resample. `unanswered` are ids of unfinished answers,
    `refused` those of them that refuse.

    Raises InputError for an unknown protocol or name of wheels, and when no prediction belongs to the gold; with
    `strict` also for a malformed field, a missing prediction and one without gold.
    """
    wheels = load_wheels(wheels, protocol)
    fields = _read(gold, predictions, wheels.protocol.parser, strict)
    mapped_gold, mapped = ([wheels.map_words(words) for words in side] for side in (fields.gold, fields.predicted))
    arrays = stack([statistics_of(*pair, wheels) for pair in zip(mapped_gold, mapped, strict=True)])
    cluster_names = tuple(clusters.get(identity) for identity in gold) if clusters else None
    unmapped = _unmapped(mapped)
    bounds = bootstrap_intervals(_flat_terms(arrays), bootstrap_measures, cluster_names)
    unscorable = int((~arrays.num_gold_NW.any(axis=1)).sum())
    return ScoreReport(
        signature=score_signature(wheels, name, len(gold), mode, unscorable),
        protocol=wheels.protocol.name,
        task=_task(task, fields.gold),
        n=len(gold),
        malformed_ids=tuple(fields.errors),
        missing_ids=fields.missing,
        unanswered=sum(i in unanswered or predictions.get(i, "") is None for i in gold),
        refusals=len(refused & gold.keys()),
        misread=sum(is_misread(predictions[identity]) for identity in gold if identity in predictions),
        extra_predictions=len(fields.extra),
        unmapped_predictions=sum(unmapped.values()),
        unscorable_gold=unscorable,
        open_vocabulary=wheel_scores(arrays),
        wheel_names=wheels.names,
        intervals=dict(zip(MEASURES, bounds, strict=True)),
        constant_baselines=_constants(fields.gold, mapped_gold, wheels),
        unmapped_words=unmapped,
        unmapped_gold_words=_unmapped(mapped_gold),
        arrays=arrays,
        clusters=cluster_names,
        gold_key=(wheels.sha256, wheels.protocol.name, tuple(gold), tuple(mapped_gold)),
    )


def score_mode(
    gold: Gold, found: ModePredictions, wheels: WheelSet, name: str, task: ScoreTask = "auto"
) -> ScoreReport:
    """`score` of the answers of one mode; raises InputError as it does."""
    return score(
        gold.labels,
        found.labels,
        wheels,
        task=task,
        name=name,
        mode=found.mode,
        clusters=gold.clusters,
        unanswered=found.unanswered,
        refused=found.refused,
    )


def compare(first: ScoreReport, second: ScoreReport) -> dict[str, Difference]:
    """Second minus first of each measure, by the paired bootstrap; an F1 of 0/0 counts as 0.

    Raises ValueError for reports of different gold, wheels or protocols.
    """
    if first.gold_key != second.gold_key:
        raise ValueError("the two reports are of different gold, or of different wheels; score both against one gold")
    one, other = (_flat_terms(report.arrays) for report in (first, second))
    rows = paired_bootstrap(one, other, bootstrap_measures, first.clusters)
    return dict(zip(MEASURES, rows, strict=True))


def difference_json(differences: Mapping[str, Difference]) -> dict[str, dict[str, float | None]]:
    """Differences as JSON values, NaN as None."""
    return {
        name: {key: or_none(value) for key, value in vars(difference).items()}
        for name, difference in differences.items()
    }


@dataclass(frozen=True)
class _Fields:
    """The words of both sides in the order of the gold, and by id what is wrong with a field."""

    gold: list[Words]
    predicted: list[Words]
    errors: dict[str, str]
    missing: tuple[str, ...]
    extra: tuple[str, ...]

    def validate_strict(self) -> None:
        """Raises InputError for what `strict` does not pass over."""
        for identity, error in self.errors.items():
            raise InputError(f"{identity!r}: {error}; fix it, or do not be strict")
        if self.missing:
            raise InputError(f"gold {self.missing[0]!r} has no prediction; give one, or do not be strict")
        if self.extra:
            raise InputError(f"prediction {self.extra[0]!r} has no gold sample; leave it out, or do not be strict")


def _read(gold: Mapping[str, Labels], predictions: Mapping[str, Labels], parser: str, strict: bool) -> _Fields:
    """Raises InputError when no prediction belongs to the gold, and for any error when `strict`."""
    extra = tuple(identity for identity in predictions if identity not in gold)
    if extra and len(extra) == len(predictions):
        raise InputError(f"prediction {extra[0]!r} has no gold sample, nor has any other; give the gold it belongs to")
    fields = _Fields([], [], {}, tuple(identity for identity in gold if identity not in predictions), extra)
    for identity, labels in gold.items():
        words, error = read_labels(labels, parser)
        predicted, predicted_error = read_labels(predictions.get(identity), parser)
        fields.gold.append(words)
        fields.predicted.append(predicted)
        if error or predicted_error:
            fields.errors[identity] = f"gold {error}" if error else f"predicted {predicted_error}"
    if strict:
        fields.validate_strict()
    return fields


def score_signature(wheels: WheelSet, name: str, n: int, mode: str | None, unscorable: int = 0) -> str:
    """The signature of what is counted with these wheels over the set `name`: `n` samples without the unscorable."""
    protocol, hash_part = wheels.protocol, wheels_part(wheels.source, wheels.sha256)
    counted = counted_part(n - unscorable, n)
    return signature(set=name, n=counted, wheels=hash_part, protocol=protocol.name, parser=protocol.parser, mode=mode)


def _task(task: ScoreTask, gold: Sequence[Words]) -> str:
    if task not in get_args(ScoreTask):
        raise InputError(f"task {task!r} is not known; use one of: {', '.join(get_args(ScoreTask))}")
    if task != "auto":
        return task
    return "basic" if gold and all(len(words) == 1 for words in gold) else "open-vocabulary"


def _flat_terms(arrays: StatisticsArrays) -> Floats:
    """(N, 4W): a row a sample, as the bootstrap adds them up; N may be 0."""
    table = terms(arrays)
    return table.reshape(len(table), table.shape[1] * table.shape[2])


def _constants(
    gold_words: Sequence[Words], mapped_gold: Sequence[MappedWords], wheels: WheelSet
) -> tuple[ConstantAnswer, ...]:
    """Where an unknown word is a category of its own, the most frequent of them are made categories of every wheel."""
    counted = wheels.protocol.oov == "count"
    own = {word: n for n, word in enumerate(islice(_unmapped(mapped_gold), NUM_UNKNOWN_TRIED))} if counted else {}
    widened = [(*names, *own) for names in wheels.categories_of]

    @cache
    def packed(mapped: MappedWords) -> int:
        indices = [own[word] for word in mapped[1] if word in own]
        ids = zip(wheels.unpack(mapped[0]), wheels.categories_of, strict=True)
        return pack([[*reached, *(len(names) + n for n in indices)] for reached, names in ids], widened)

    return best_constant_answers(
        [packed(mapped) if own else mapped[0] for mapped in mapped_gold],
        [len(set(unmapped) - own.keys()) if counted else 0 for _, unmapped in mapped_gold],
        {word: packed(wheels.map_words((word,))) for word in by_frequency(gold_words)},
        widened,
    )


def _unmapped(samples: Iterable[MappedWords]) -> dict[str, int]:
    """How often each word that reaches no category stands in the corpus, repeats within a sample counted once."""
    counts = Counter(word for _, unmapped in samples if unmapped for word in dict.fromkeys(unmapped))
    return dict(counts.most_common())


def _frequent(counts: Mapping[str, int]) -> dict[str, int]:
    """The most frequent words, cut to what a person reads."""
    return {printable(word, WORD_LENGTH_KEPT): count for word, count in islice(counts.items(), NUM_WORDS_KEPT)}


def _numbers(score: object) -> dict[str, float | None]:
    return {name: or_none(getattr(score, name)) for name in MEASURES}
