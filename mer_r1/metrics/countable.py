"""Which gold can be counted: a row on which no answer can be paid teaches RL nothing.

By what the objective pays, a row's gold is uncountable where

    NO_LABELS     it has none
    NO_CATEGORY   recall, precision or F1 is paid and no label reaches a category of the wheels ("neutral", "polite")
    NO_ANSWER     the one right label is paid, and no answer chosen from the row's candidates can name it
"""

from __future__ import annotations

from mer_r1.data.labels import read_labels
from mer_r1.data.sample import Sample
from mer_r1.emotion.wheel import WheelSet
from mer_r1.metrics.accuracy import gold_error
from mer_r1.metrics.open_vocabulary import set_statistics
from mer_r1.objectives import needs_choice, needs_reflection, needs_wheels

NO_LABELS = "no labels"
NO_CATEGORY = "no label reaches a category of the wheels"
NO_ANSWER = "no answer among the candidates is right"


def gold_words(sample: Sample, wheels: WheelSet) -> tuple[str, ...]:
    """A sample's gold words, as the parser of the wheels' protocol reads them."""
    return read_labels(sample.labels, wheels.protocol.parser)[0]


def uncountable(sample: Sample, wheels: WheelSet, objective: str) -> str | None:
    """Why no answer to a sample can be paid under an objective; None where one can.

    Without candidates coherence pays categories too.
    """
    gold = gold_words(sample, wheels)
    if not gold:
        return NO_LABELS
    if sample.candidates and needs_choice(objective) and gold_error(sample):
        return NO_ANSWER
    asks_wheels = needs_wheels(objective) or (needs_reflection(objective) and not sample.candidates)
    if asks_wheels and not any(set_statistics(gold, (), wheels).num_gold):
        return NO_CATEGORY
    return None
