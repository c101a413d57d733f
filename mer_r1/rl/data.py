"""What the RL trainer reads: prompts with their gold words, in an order that every process derives alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from mer_r1.data.sample import Sample
from mer_r1.emotion.wheel import WheelSet
from mer_r1.metrics.countable import gold_words, uncountable
from mer_r1.models.types import Prompt


@dataclass(frozen=True)
class RlExample:
    """One prompt with its gold words, () where no answer to it can be paid, and the sample that it was made of.

    `fast` is the prompt that asks for the answer alone, where calibration compares with that (rl.fast: prompt).
    """

    prompt: Prompt
    gold: tuple[str, ...]
    sample: Sample
    fast: Prompt | None = None


@dataclass(frozen=True)
class RlBatch:
    """Examples of one micro-batch. Their prompts are put together where they are used: some may be replaced before."""

    examples: tuple[RlExample, ...]

    @property
    def prompts(self) -> list[Prompt]:
        return [example.prompt for example in self.examples]

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(example.prompt.id for example in self.examples)

    @property
    def golds(self) -> tuple[tuple[str, ...], ...]:
        return tuple(example.gold for example in self.examples)

    @property
    def samples(self) -> tuple[Sample, ...]:
        return tuple(example.sample for example in self.examples)

    @property
    def fast_prompts(self) -> list[Prompt]:
        """The prompts for the answer alone; none where calibration compares with a prefill."""
        return [example.fast for example in self.examples if example.fast is not None]


class RlPrompts(torch.utils.data.Dataset[RlExample]):
    """Prompts with gold words, as the protocol's parser reads them.

    A sample that has no reward under the objective (metrics/countable.py) has the gold (); `unpaid` are their ids.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        prompts: Sequence[Prompt],
        wheels: WheelSet,
        objective: str = "mer_r1",
        fast: Sequence[Prompt] | None = None,
    ) -> None:
        self._gold = [
            () if uncountable(sample, wheels, objective) else gold_words(sample, wheels) for sample in samples
        ]
        self.ids = tuple(sample.id for sample in samples)
        self.unpaid = frozenset(ident for ident, gold in zip(self.ids, self._gold, strict=True) if not gold)
        self._samples, self._prompts, self._fast = samples, prompts, fast

    def __len__(self) -> int:
        return len(self._gold)

    def __getitem__(self, index: int) -> RlExample:
        fast = None if self._fast is None else self._fast[index]
        return RlExample(self._prompts[index], self._gold[index], self._samples[index], fast)


class BlockOrder(torch.utils.data.Sampler[int]):
    """A shuffled order in which every `block` of indices comes `times` times in a row; a last part is left out."""

    def __init__(self, size: int, block: int, times: int, seed: int) -> None:
        self._size, self._block, self._times = size, block, times
        self._seed, self._epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """The Trainer says which epoch begins; its order follows from that alone, so a resumed run has the same."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._size // self._block * self._block * self._times

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        order = torch.randperm(self._size, generator=generator).tolist()
        for start in range(0, self._size - self._block + 1, self._block):
            for _ in range(self._times):
                yield from order[start : start + self._block]
