"""The two questions of scores.py with their answers, for a model too small to know what it is asked.

A pretrained model can judge a text; the tiny one has to be taught. From a sample's annotated steps:

    coherence     steps 1 and 2                      -> its labels
    consistency   its media and its own step 1       -> yes   (every second sample)
                  its media and the next other one   -> no    (the others)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from mer_r1.models.backbone import Backbone
from mer_r1.models.types import Prompt
from mer_r1.prompting.steps import steps_of
from mer_r1.prompting.templates import PromptTemplate
from mer_r1.rl.reflection.scores import QUESTIONS
from mer_r1.training.sft import SftExamples, Target


@dataclass(frozen=True)
class Lessons:
    """Samples that are shown by one prompt template, and what each is to answer."""

    template: PromptTemplate
    samples: tuple[Sample, ...]
    answers: tuple[str, ...]


def lessons(samples: Sequence[Sample]) -> tuple[Lessons, Lessons]:
    """(coherence, consistency). Raises InputError, naming it, for a sample whose reasoning has no first two steps."""
    steps = [_first_two(sample) for sample in samples]
    reported = tuple(
        Sample(sample.id, subtitle=f"{first}\n{second}", candidates=sample.candidates)
        for sample, (first, second) in zip(samples, steps, strict=True)
    )
    shown, answers = [], []
    for index, sample in enumerate(samples):
        others = (steps[(index + ahead) % len(steps)][0] for ahead in range(1, len(steps)))
        text = steps[index][0]
        if index % 2:
            text = next((other for other in others if other != text), text)
        shown.append(replace(sample, subtitle=text))
        answers.append("yes" if text == steps[index][0] else "no")
    return (
        Lessons(QUESTIONS["coherence"], reported, tuple(", ".join(sample.labels) for sample in samples)),
        Lessons(QUESTIONS["consistency"], tuple(shown), tuple(answers)),
    )


def _first_two(sample: Sample) -> tuple[str, str]:
    first, second, _ = steps_of(sample.reasoning or "")
    if first is None or second is None:
        raise InputError(
            f"sample {sample.id!r}: its reasoning has no first two steps to ask about; write it as three steps, "
            "or leave sft.reflection out"
        )
    return first.strip(), second.strip()


def lesson_examples(backbone: Backbone, prompts: Sequence[Prompt], answers: Sequence[str]) -> SftExamples:
    """Each lesson once, its answer learned from the first id to the end of the turn."""
    eos = int(backbone.tokenizer.eos_token_id)
    return SftExamples(prompts, [Target((), (*backbone.text_ids(answer), eos)) for answer in answers])
