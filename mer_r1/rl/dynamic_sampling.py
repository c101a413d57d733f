"""Dynamic sampling (DAPO): a step learns from prompts whose answers differ in reward.

A group whose answers all have advantage 0 gives no gradient, and a batch of many such groups a noisy one. DAPO draws
further prompts of its data loader until the batch is full of groups with spread. Here a prompt without spread gives its
place to one of a shuffled order of the others, `rl.dynamic_sampling` times at most; what then has no spread stays.

The order follows from the seed and the step alone, and the places are filled in the order of their samples' ids. So the
steps of an epoch stay what they are, a resumed run needs no state, and one process and two learn from the same prompts.
What differs from DAPO: a replaced prompt is not used up, and one that stands in comes again in its own turn.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mer_r1.data.sample import Response
from mer_r1.emotion.wheel import WheelSet
from mer_r1.models.backbone import Backbone, pad_right
from mer_r1.models.sampler import seeded_generator
from mer_r1.models.types import Encoded, Generated
from mer_r1.recipe import RlSection
from mer_r1.rl.data import RlBatch
from mer_r1.rl.rollouts import RolloutBatch
from mer_r1.rl.step import advantages_of, has_spread, rewards_before_pass


def groups_with_spread(rollouts: RolloutBatch, wheels: WheelSet, rl: RlSection) -> list[bool]:
    """Whether the answers of each prompt differ in advantage."""
    found_P: list[bool] = has_spread(advantages_of(rewards_before_pass(rollouts, None, wheels, rl), rl)).tolist()
    return found_P


def spare_indices(seed: int, step: int, ids: Sequence[str], taken: Collection[str]) -> list[int]:
    """Indices of the samples `ids` that a step may take beside those `taken`, in an order of the seed and the step."""
    order = torch.randperm(len(ids), generator=seeded_generator(f"spare {seed} {step}")).tolist()
    return [index for index in order if ids[index] not in taken]


def stand_ins(lacking: Sequence[str], spare: Sequence[int]) -> dict[str, int]:
    """The spare index that takes the place of each sample, in whatever order the processes name them.

    The last get none where there are fewer. A sample that stands twice in a step, for one that cannot be read, is
    named twice.
    """
    return dict(zip(sorted(set(lacking)), spare, strict=False))


class OpenBatch:
    """A micro-batch whose prompts may still be replaced, with the answers of each."""

    def __init__(self, batch: RlBatch, rollouts: RolloutBatch, spread: Sequence[bool]) -> None:
        self._examples, self._spread = list(batch.examples), list(spread)
        self._whole: RolloutBatch | None = rollouts
        self._groups = [(rollouts, place) for place in range(len(rollouts.ids))]

    def lacking(self) -> dict[str, int]:
        """The slots without spread, by the id of the sample that stands there."""
        return {self._examples[slot].prompt.id: slot for slot, found in enumerate(self._spread) if not found}

    def put(self, slots: Sequence[int], batch: RlBatch, rollouts: RolloutBatch, spread: Sequence[bool]) -> None:
        """Give slots the prompts of a batch and their answers, in its order."""
        self._whole = None
        for place, slot in enumerate(slots):
            self._examples[slot], self._spread[slot] = batch.examples[place], spread[place]
            self._groups[slot] = (rollouts, place)

    def batch(self) -> RlBatch:
        """The prompts as they stand now."""
        return RlBatch(tuple(self._examples))

    def rollouts(self, backbone: Backbone, encode: Callable[[RlBatch], Encoded]) -> RolloutBatch:
        """Their answers. Where prompts were replaced all are read once more, so that towers and padding are theirs."""
        if self._whole is not None:
            return self._whole
        rows, texts, responses, ended = list[list[int]](), list[str](), list[Response](), list[bool]()
        stopped, behind_stop, log_probs = list[Tensor](), list[Tensor](), list[Tensor]()
        for made, place in self._groups:
            part = slice(place * made.num_generations, (place + 1) * made.num_generations)
            rows += made.rows[part]
            texts += made.texts[part]
            responses += made.responses[part]
            ended += made.ended[part] if made.ended is not None else []
            stopped.append(made.generated.stopped_B[part])
            if made.generated.behind_stop_B is not None:
                behind_stop.append(made.generated.behind_stop_B[part])
            if made.generated.log_probs_BR is not None:
                log_probs += made.generated.log_probs_BR[part]
        padded, batch = pad_right(rows, backbone.tokenizer.pad_token_id, backbone.device), self.batch()
        return RolloutBatch(
            ids=batch.ids,
            golds=batch.golds,
            encoded=encode(batch).without_cache(),
            generated=Generated(
                *padded,
                stopped_B=torch.cat(stopped),
                behind_stop_B=torch.cat(behind_stop) if behind_stop else None,
                log_probs_BR=pad_sequence(log_probs, batch_first=True)[:, : padded[0].shape[1]] if log_probs else None,
            ),
            rows=rows,
            texts=texts,
            responses=responses,
            ended=ended or None,
        )
