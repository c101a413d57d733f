"""Does the subtitle alone give the label away? Its words, taken for an answer, against chance. No model is asked.

    found     the words (and pairs of neighbouring words) of the subtitle that a wheel knows, scored as an answer
    shuffled  the same after the subtitles are dealt out anew between the clips, NUM_SHUFFLES times: the mean
    constant  the best answer that is the same for every clip (metrics/constant_answer.py)
    p_value   (1 + #{F1 shuffled >= F1 found}) / (1 + NUM_SHUFFLES), one-sided: words fit their own clip no better

`names_gold` is the share of clips of which the subtitle reaches a gold category, mean over wheels. Words stand for what
they are, not for what they mean in the sentence ("not happy" names happy): this bounds what a look at the words gives
away, `mer-r1 diagnose modality` asks a model.

Source: our own check; MER-UniBench gives a model the subtitle with the clip (MER-R1 Appendix B). Precision, recall and
F1 as the scorer counts them. Convention: over clips with a subtitle and gold in some wheel; words that no
wheel knows are left out on both sides, under either protocol; the seed is fixed.
Shape letters: N clips, W wheels, C categories of all wheels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from mer_r1.analysis.tables import Mask, category_bits, gold_categories
from mer_r1.data.sample import Sample
from mer_r1.emotion.compiled import shifts
from mer_r1.emotion.wheel import WheelSet
from mer_r1.metrics.corpus_score import score
from mer_r1.metrics.open_vocabulary import StatisticsArrays, bootstrap_measures, mean_over_wheels, measures, terms
from mer_r1.metrics.statistics import bootstrap_intervals, or_none
from mer_r1.text import percent

NUM_SHUFFLES = 200
KEYS = ("precision", "recall", "f1")
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


def subtitle_leak(samples: Sequence[Sample], wheels: WheelSet, *, seed: int = 0) -> dict[str, Any] | None:
    """What the subtitles give away, as JSON values (fractions; undefined is None); None where no clip has one and gold.

    `{"n", "without_subtitle", "names_any", "names_gold", "found": {measure, "intervals"}, "shuffled": {..},
    "constant": {"words", ..}, "p_value", "finding"}`.
    """
    asked = [sample for sample in samples if gold_categories(sample.labels, wheels)]
    kept = [sample for sample in asked if sample.subtitle and sample.subtitle.strip()]
    if not kept:
        return None
    gold_NC = category_bits([gold_categories(sample.labels, wheels) for sample in kept], wheels)
    named_NC = category_bits(
        [wheels.map_words(known_words(sample.subtitle or "", wheels))[0] for sample in kept], wheels
    )
    arrays = _counts(gold_NC, named_NC, wheels)
    table = terms(arrays).reshape(len(kept), -1)
    bounds = bootstrap_intervals(table, bootstrap_measures, [sample.cluster for sample in kept])
    generator = np.random.default_rng(seed)
    dealt = [_counts(gold_NC, generator.permutation(named_NC), wheels) for _ in range(NUM_SHUFFLES)]
    shuffled = [_scores(item) for item in dealt]
    found = _scores(arrays)
    as_good = sum((row["f1"] or 0.0) >= (found["f1"] or 0.0) for row in shuffled)
    result = {
        "n": len(kept),
        "without_subtitle": len(asked) - len(kept),
        "names_any": float(named_NC.any(axis=1).mean()),
        "found": {
            **found,
            "intervals": {key: pair.to_json() for key, pair in zip(KEYS, bounds[:3], strict=True)},
        },
        "shuffled": {key: float(np.mean([row[key] or 0.0 for row in shuffled])) for key in (*KEYS, "names_gold")},
        "constant": _constant(kept, wheels),
        "p_value": (1 + as_good) / (1 + NUM_SHUFFLES),
    }
    return result | {"finding": _finding(result)}


def known_words(text: str, wheels: WheelSet) -> list[str]:
    """The words of a text, and the pairs of neighbouring ones, that reach a category of some wheel."""
    words = _WORD.findall(text.replace("’", "'"))
    pairs = [f"{first} {second}" for first, second in pairwise(words)]
    return [word for word in (*words, *pairs) if wheels.reaches(word)]


def _counts(gold_NC: Mask, named_NC: Mask, wheels: WheelSet) -> StatisticsArrays:
    starts = shifts(wheels.categories_of)
    sums = (np.add.reduceat(table, starts, axis=1, dtype=np.int64) for table in (gold_NC & named_NC, gold_NC, named_NC))
    return StatisticsArrays(*sums)


def _scores(arrays: StatisticsArrays) -> dict[str, float | None]:
    values = mean_over_wheels(measures(terms(arrays).sum(axis=0)[None], undefined_f1=0.0))[0].tolist()
    counted = arrays.num_gold_NW > 0
    named = ((arrays.overlap_NW > 0) & counted).sum(axis=0) / np.maximum(1, counted.sum(axis=0))
    return {**{key: or_none(value) for key, value in zip(KEYS, values[:3], strict=True)}, "names_gold": named.mean()}


def _constant(kept: Sequence[Sample], wheels: WheelSet) -> dict[str, Any] | None:
    """The best constant answer of up to three words; None where gold has no word to make one of."""
    answers = score({sample.id: sample.labels for sample in kept}, {}, wheels).constant_baselines
    best = max((row for row in answers if row.measure == "f1"), key=lambda row: row.f1, default=None)
    if best is None:
        return None
    return {"words": list(best.words), **{key: or_none(getattr(best, key)) for key in KEYS}}


def _finding(result: dict[str, Any]) -> str:
    named, chance = (percent(result[key]["names_gold"], 1) for key in ("found", "shuffled"))
    head = f"The subtitle’s own words name a gold category in {named} % of the clips"
    if result["p_value"] <= 0.05:
        return f"{head}, dealt out at random in {chance} %: they give away more than chance."
    return f"{head}, dealt out at random in {chance} %: no more than chance."
