"""Recall and precision of every category of every wheel: which emotions a system reads well.

    recall(c) = hits / num_gold       precision(c) = hits / num_predicted

over clips, where hits are the clips that have c in gold and answer. Convention: words are mapped as the scorer maps
them (MER-UniBench, MER-R1 Appendix B); a clip whose gold reaches no category of a wheel is left out of that wheel, as
there; a clip without a prediction counts as an empty answer, and one whose answer failed (an error) is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mer_r1.analysis.tables import gold_categories
from mer_r1.data.sample import Prediction, Sample
from mer_r1.emotion.compiled import shifts
from mer_r1.emotion.wheel import WheelSet


@dataclass(frozen=True)
class CategoryScore:
    """Clips with the category in gold, in the answer, and in both."""

    n_gold: int
    n_predicted: int
    hits: int

    @property
    def recall(self) -> float | None:
        """A fraction; None where no gold has the category."""
        return self.hits / self.n_gold if self.n_gold else None

    @property
    def precision(self) -> float | None:
        """A fraction; None where no answer has the category."""
        return self.hits / self.n_predicted if self.n_predicted else None


def category_scores(
    samples: Sequence[Sample], predictions: Mapping[str, Prediction], wheels: WheelSet
) -> dict[str, dict[str, CategoryScore]]:
    """{wheel: {category: score}} of the answers of one mode, given by id."""
    pairs: Counter[tuple[int, int]] = Counter()
    for sample in samples:
        row = predictions.get(sample.id)
        if row is None or row.status != "error":
            pairs[gold_categories(sample.labels, wheels), wheels.map_words(row.labels if row else ())[0]] += 1
    scores: dict[str, dict[str, CategoryScore]] = {}
    starts = shifts(wheels.categories_of)
    for wheel, names, start in zip(wheels.names, wheels.categories_of, starts, strict=True):
        mask = (1 << len(names)) - 1 << start
        counted = {pair: count for pair, count in pairs.items() if pair[0] & mask}
        scores[wheel] = {name: _score(counted, start + index) for index, name in enumerate(names)}
    return scores


def _score(counted: Mapping[tuple[int, int], int], bit: int) -> CategoryScore:
    gold = predicted = both = 0
    for (right, answered), count in counted.items():
        in_gold, in_answer = right >> bit & 1, answered >> bit & 1
        gold += count * in_gold
        predicted += count * in_answer
        both += count * (in_gold & in_answer)
    return CategoryScore(gold, predicted, both)
