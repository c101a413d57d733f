"""Whoever generates answers: the protocol of a local checkpoint, an endpoint, or a benchmark's generator around one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from mer_r1.data.sample import Clip, Mode, Prediction, Sample
from mer_r1.errors import first_line
from mer_r1.media import MediaBudget
from mer_r1.prompting.templates import PromptTemplate

UNREADABLE = (ValueError, OSError, RuntimeError, MemoryError)  # InputError, and what decoders and processors raise

NOT_NUMBERS = re.compile(r"\s*!{8,}\s*")  # the argmax of NaN is id 0, "!" in the vocabularies of Qwen and GPT


class Generator(Protocol):
    """Generates the prediction of samples, one mode at a time."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """JSON values: everything that decides an answer (model, prompt, media budget, sampling)."""

    def generate(self, samples: Sequence[Sample], mode: Mode) -> Iterator[Prediction]:
        """One prediction of each sample, as they come, in any order.

        What fails for one sample is a prediction with status "error"; what fails for all raises InputError.
        """


Show: TypeAlias = Callable[[Sample, Clip], tuple[Sample, Clip]]
"""What is shown of a sample and its decoded media."""


class PromptedGenerator(Generator, Protocol):
    """A generator that says how a sample is shown to the model."""

    @property
    def template(self) -> PromptTemplate:
        """The prompt template that it asks by."""

    @property
    def budget(self) -> MediaBudget:
        """How much of a clip the model is shown. Raises InputError where a server decides, which is sent the file."""

    def showing(self, show: Show) -> PromptedGenerator:
        """The same model, shown something else of every sample. Raises InputError as `budget` does."""


class ModelGenerator(PromptedGenerator, Protocol):
    """A generator of a checkpoint on this machine, which is loaded once for all prompts that it is asked by."""

    def with_template(self, template: PromptTemplate) -> ModelGenerator:
        """The same model with another prompt template."""

    def showing(self, show: Show) -> ModelGenerator:
        """The same model, shown something else of every sample."""


class FastByPrompt:
    """Slow answers of one generator, fast ones of another, whose prompt asks for the answer alone."""

    def __init__(self, slow: PromptedGenerator, fast: PromptedGenerator) -> None:
        self._of: dict[Mode, PromptedGenerator] = {"slow": slow, "fast": fast}

    @property
    def settings(self) -> Mapping[str, Any]:
        return {**self._of["slow"].settings, "fast": self._of["fast"].settings["prompt"]}

    @property
    def template(self) -> PromptTemplate:
        """The prompt template of slow thinking."""
        return self._of["slow"].template

    @property
    def budget(self) -> MediaBudget:
        """The media budget of both; as theirs."""
        return self._of["slow"].budget

    def showing(self, show: Show) -> FastByPrompt:
        """The same models, shown something else of every sample."""
        return FastByPrompt(self._of["slow"].showing(show), self._of["fast"].showing(show))

    def of(self, mode: Mode) -> PromptedGenerator:
        """The generator of the mode."""
        return self._of[mode]

    def generate(self, samples: Sequence[Sample], mode: Mode) -> Iterator[Prediction]:
        """As the generator of the mode."""
        return self._of[mode].generate(samples, mode)


def failed(identity: str, mode: Mode, error: Exception) -> Prediction:
    """The prediction of a sample for which nothing could be generated."""
    return Prediction(identity, mode, "", "", (), "error", error=first_line(error))
