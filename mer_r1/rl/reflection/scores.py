"""Reflective Emotional Reward: a judge answers two questions about the steps of an answer (EMO-R3).

Shape letters: P prompts, G rollouts of a group, B = P x G rollouts.

Two short questions follow every rollout that keeps to `set_steps`:

    coherence     text alone: steps 1 and 2, and the sample's candidates. Which one emotion does this text speak of?
                  1 when the answer names the gold label and no other candidate, 0.5 when it names none, else 0
    consistency   the picture or clip, and step 1: does this text describe what is shown?
                  1 for yes, 0 for no, 0.5 for neither or both

    reflection = (coherence + consistency) / 2

Without candidates the words of the wheels stand for them: coherence is 1 when every emotion word of the answer shares
a category with the gold words in some wheel. One rule for what cannot be asked: a half whose steps are missing, or that
has nothing to show, scores NEUTRAL and asks nothing. (The authors' code asks it to answer "None" there, in which it
then finds "no" for one half and nothing for the other; and it adds the halves where the paper averages them.)

No question holds the gold label: coherence shows all candidates in the manifest's order, consistency shows none; nor
does either hold the subtitle. The judge is the policy as it stands, or a model at an endpoint (judges.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from mer_r1.data.labels import split_labels
from mer_r1.data.sample import Sample
from mer_r1.emotion.wheel import WheelSet
from mer_r1.metrics.accuracy import normal
from mer_r1.metrics.open_vocabulary import set_statistics
from mer_r1.prompting.steps import steps_of
from mer_r1.prompting.templates import PromptTemplate
from mer_r1.rl.rollouts import RolloutBatch

Half = Literal["coherence", "consistency"]

NEUTRAL = 0.5
QUESTIONS: dict[Half, PromptTemplate] = {
    "coherence": PromptTemplate(
        system="",
        subtitle="Text: {subtitle}",
        question="Which one emotion does this text speak of? Answer with one word.",
        choices="Choose among these: {candidates}.",
    ),
    "consistency": PromptTemplate(
        system="",
        subtitle="Text: {subtitle}",
        question="Does this text describe what is shown here? Answer yes or no.",
    ),
}

_WORD = re.compile(r"[^\W\d_]+(?:[-'][^\W\d_]+)*")


class StepQuestion(NamedTuple):
    """One half's question about the steps of a rollout: its row in the batch, and the text of the steps."""

    row: int
    text: str


class Judge(Protocol):
    """Answers questions about rollouts. `samples` are those of the batch's prompts, in order."""

    def readable(self, text: str) -> str:
        """Text of a policy as it may stand in a question: data, with nothing in it that is more than text."""

    def shows(self, batch: RolloutBatch, samples: Sequence[Sample]) -> list[bool]:
        """Whether there is anything to show of each prompt."""

    def answer(
        self, half: Half, questions: Sequence[StepQuestion], batch: RolloutBatch, samples: Sequence[Sample], step: int
    ) -> list[str]:
        """The answers as written, in order. Raises InputError where there is none: a failure is never a score."""


@dataclass(frozen=True)
class Reflection:
    """Scores (P, G, 3) of coherence, consistency and reflection, and the judge's answers about each rollout."""

    scores_PG3: Tensor
    answers: list[dict[str, str]]

    @property
    def neutral_share(self) -> float:
        """The share of halves that are scored NEUTRAL."""
        return float((self.scores_PG3[..., :2] == NEUTRAL).float().mean())


def reflect(judge: Judge, batch: RolloutBatch, samples: Sequence[Sample], wheels: WheelSet, step: int) -> Reflection:
    """Ask the judge about a batch's rollouts, and score its answers. Raises InputError where the judge fails."""
    scores_B2 = torch.full((len(batch.rows), 2), NEUTRAL)
    answers: list[dict[str, str]] = [{} for _ in batch.rows]
    for index, (half, questions) in enumerate(questions_of(judge, batch, samples).items()):
        given = judge.answer(half, questions, batch, samples, step) if questions else []
        for question, answer in zip(questions, given, strict=True):
            prompt = batch.prompt_of(question.row)
            answers[question.row][half] = answer
            scores_B2[question.row, index] = (
                consistency_score(answer)
                if half == "consistency"
                else coherence_score(answer, batch.golds[prompt], samples[prompt].candidates, wheels)
            )
    scores_B3 = torch.cat([scores_B2, scores_B2.mean(1, keepdim=True)], dim=1)
    return Reflection(scores_B3.view(len(batch.ids), -1, 3), answers)


def questions_of(judge: Judge, batch: RolloutBatch, samples: Sequence[Sample]) -> dict[Half, list[StepQuestion]]:
    """What can be asked of a batch's rollouts, by half, in the order of their rows."""
    asked: dict[Half, list[StepQuestion]] = {"coherence": [], "consistency": []}
    shows = judge.shows(batch, samples)
    for row, text in enumerate(batch.texts):
        first, second, _ = (judge.readable(step or "").strip() for step in steps_of(text))
        if first and second:
            asked["coherence"].append(StepQuestion(row, f"{first}\n{second}"))
        if first and shows[batch.prompt_of(row)]:
            asked["consistency"].append(StepQuestion(row, first))
    return asked


def coherence_score(answer: str, gold: Sequence[str], candidates: Sequence[str], wheels: WheelSet) -> float:
    """1, NEUTRAL or 0 for what a judge calls the emotion of steps 1 and 2; see the module."""
    if candidates:
        named = _named(answer, candidates)
        right = named <= {normal(label) for label in gold}
    else:
        words = [word for word in split_labels(answer) if wheels.reaches(word)]
        named = set(words or filter(wheels.reaches, _WORD.findall(answer.lower())))
        right = all(any(set_statistics(gold, (word,), wheels).overlap) for word in named)
    return (1.0 if right else 0.0) if named else NEUTRAL


def consistency_score(answer: str) -> float:
    """1 for yes, 0 for no, NEUTRAL for neither or both; words count, so that "none" is not "no"."""
    yes, no = (word in _WORD.findall(answer.lower()) for word in ("yes", "no"))
    return NEUTRAL if yes == no else float(yes)


def _named(answer: str, candidates: Sequence[str]) -> set[str]:
    """The candidates that stand in an answer as words of their own; of two that overlap the longer one."""
    longest_first = sorted(map(normal, candidates), key=len, reverse=True)
    pattern = "|".join(map(re.escape, longest_first))
    return set(re.findall(rf"(?<!\w)(?:{pattern})(?!\w)", " ".join(answer.lower().split())))
