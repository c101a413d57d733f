"""Fast against slow thinking on a set whose gold is a valence: the four sentiment sets of MER-R1 Figure 1(b).

WAF as `metrics.sentiment` computes it, fast - slow by the paired bootstrap. The sentiments are those that the benchmark
kept (sentiment.jsonl), so that the two WAF are its own; of a run without them the built-in lexicon reads the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mer_r1.analysis.tables import Estimate, estimate
from mer_r1.data.gold import Gold
from mer_r1.data.sample import MODES, Mode, Sample
from mer_r1.evaluation.runs import EvaluatedSet
from mer_r1.evaluation.sentiment import GIVEN, LEXICON
from mer_r1.metrics.sentiment import SentimentReport, compare_sentiment, lexicon_sentiment, sentiment_score
from mer_r1.metrics.signature import parts_of
from mer_r1.metrics.statistics import or_none


@dataclass(frozen=True)
class SentimentGap:
    """WAF of both modes of a system on the same `n` clips, fractions; `delta` is fast minus slow.

    `judge` says who turned words into a sentiment, as the benchmark's signature does.
    """

    n: int
    judge: str
    fast: float | None
    slow: float | None
    delta: Estimate

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def has_valence(samples: Sequence[Sample]) -> bool:
    """Whether the gold of any sample is a valence."""
    return any(sample.valence is not None for sample in samples)


def sentiment_gap(counted: Sequence[Sample], answers: EvaluatedSet, protocol: str) -> SentimentGap | None:
    """The gap of one system on the samples that count; None where a mode was not asked, or no sample has a valence.

    A sample whose answer was kept without a sentiment, as "official" keeps those of valence 0, is left out.
    """
    unjudged = {
        key[0] for key in answers.predictions if answers.sentiments is not None and key not in answers.sentiments
    }
    gold = Gold.of([sample for sample in counted if sample.id not in unjudged])
    if not gold.valence or any(not answers.of_mode(mode) for mode in MODES):
        return None
    fast, slow = (_report(gold, answers, mode, protocol) for mode in MODES)
    row = compare_sentiment(slow, fast)["waf"]
    delta = estimate(row.delta, row.low, row.high)
    return SentimentGap(fast.n, _judge(answers), or_none(fast.waf), or_none(slow.waf), delta)


def _report(gold: Gold, answers: EvaluatedSet, mode: Mode, protocol: str) -> SentimentReport:
    kept = answers.sentiments
    words = {
        identity: lexicon_sentiment(row.labels) if kept is None else kept.get((identity, mode), "")
        for identity, row in answers.of_mode(mode).items()
        if identity in gold.valence
    }
    return sentiment_score(
        gold.valence, words, backend=_judge(answers), protocol=protocol, mode=mode, clusters=gold.clusters
    )


def _judge(answers: EvaluatedSet) -> str:
    """The judge of the benchmark's signature; the lexicon where no sentiments were kept."""
    if answers.sentiments is None:
        return LEXICON
    records = (answers.scores.of_mode(mode) for mode in MODES)
    judges = (parts_of(record.signature).get("judge") for record in records if record)
    return next(filter(None, judges), GIVEN)
