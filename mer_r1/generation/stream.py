"""One sample's answers as they are written: the text so far of every mode, then the prediction that `generate` gives.

A checkpoint on this machine hands out every id as it is drawn, a server every event of its stream. vLLM on this machine
gives whole answers alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from mer_r1.data.sample import Mode, Prediction, Sample
from mer_r1.generation.generator import FastByPrompt, Generator

Wrote: TypeAlias = Callable[[Mode, str], None]
"""Called with (mode, text so far), prefill included, from any thread. What it raises ends the generation."""


@runtime_checkable
class Streaming(Protocol):
    """A generator that tells what it is writing."""

    def stream(self, sample: Sample, modes: Sequence[Mode], wrote: Wrote) -> Iterator[Prediction]:
        """The prediction of each mode as it is finished, in any order; errors as in `Generator.generate`."""


def stream(generator: Generator, sample: Sample, modes: Sequence[Mode], wrote: Wrote) -> Iterator[Prediction]:
    """As `Streaming.stream`; of a generator that cannot, the predictions alone."""
    if isinstance(generator, FastByPrompt):
        for mode in modes:
            yield from stream(generator.of(mode), sample, [mode], wrote)
    elif isinstance(generator, Streaming):
        yield from generator.stream(sample, modes, wrote)
    else:
        for mode in modes:
            yield from generator.generate([sample], mode)
