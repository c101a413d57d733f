"""One batch of rollouts: sampled, arranged for the packed pass, scored by its texts.

Shape letters: P prompts, G rollouts of a group, B = P x G rollouts, R response ids, K rewards.

What a rollout draws follows from the run's seed, the step, its sample's id and its index in the group, and from
nothing else: not from the batch it stands in, the number of processes, or what was drawn before. So a run that is
resumed, or runs on other processes, samples the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mer_r1.data.sample import Response
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.metrics.rewards import score_response
from mer_r1.models.backbone import Backbone
from mer_r1.models.decoding import NotFiniteError
from mer_r1.models.packing import Branch
from mer_r1.models.sampler import Sampled, Sampler, Stop, draws, prompt_key
from mer_r1.models.token_offsets import LocatedAnswer, fast_branch, locate_answer
from mer_r1.models.types import Encoded, Generated, PromptBatch, Sampling
from mer_r1.objectives import REWARDS, LengthPenalty
from mer_r1.prompting.response import RESPONSE_FORMATS, ResponseFormat, parse_response
from mer_r1.rl.data import RlBatch
from mer_r1.text import printable


@dataclass(frozen=True)
class RolloutBatch:
    """Sampled responses of P groups, one row each, a group's rows side by side.

    `rows` are the ids without padding, all of which are scored. Where an id was drawn behind the stop, `ended` says
    whether a row's last id is the end token; a response that has not ended is not well formed.
    """

    ids: tuple[str, ...]
    golds: tuple[tuple[str, ...], ...]
    encoded: Encoded
    generated: Generated
    rows: list[list[int]]
    texts: list[str]
    responses: list[Response]
    ended: list[bool] | None = None

    @property
    def num_generations(self) -> int:
        """G."""
        return len(self.rows) // len(self.ids)

    @property
    def written(self) -> list[list[int]]:
        """The ids of the texts: those of `rows` without one that was drawn behind the stop."""
        return written_ids(self.rows, self.generated)

    def prompt_of(self, row: int) -> int:
        """The prompt that a row answers."""
        return row // self.num_generations


def uniform_draws(
    seed: int, step: int, ids: Sequence[str], num_generations: int, length: int, question: str = ""
) -> Tensor:
    """Draws (B, length) in [0, 1) of the rollouts of samples `ids` at a step, float64 on the CPU.

    `question` names what is asked of the rollouts afterwards, which has draws of its own.
    """
    key = step_key(seed, step)
    return draws([prompt_key(f"{question} {key}" if question else key, i) for i in ids], num_generations, length)


def step_key(seed: int, step: int) -> str:
    """What the rollouts of a step draw by, with their sample's id and their index in the group."""
    return f"{seed} {step}"


def make_rollouts(
    sampler: Sampler,
    batches: Sequence[RlBatch],
    response_format: ResponseFormat,
    sampling: Sampling,
    num_generations: int,
    key: str,
) -> list[RolloutBatch]:
    """Sample `num_generations` slow responses of every prompt, batch by batch; `key` is what they draw by.

    Raises InputError, naming the sample, where the policy's scores are not numbers.
    """
    stop = Stop(response_format.stop, response_format.stops("slow"), response_format.stop_after)
    try:
        made = sampler.sample([batch.prompts for batch in batches], num_generations, sampling, stop, key)
    except NotFiniteError as error:
        ids = [ident for batch in batches for ident in batch.ids]
        raise InputError(f"sample {printable(ids[error.rows[0] // num_generations])!r}: {error}") from None
    pairs = zip(batches, made, strict=True)
    return [read_answers(sampler.backbone, batch, sampled, response_format) for batch, sampled in pairs]


def read_answers(backbone: Backbone, batch: RlBatch, sampled: Sampled, response_format: ResponseFormat) -> RolloutBatch:
    """The answers of a batch with their texts taken apart."""
    encoded, generated = sampled
    rows = generated.rows()
    texts = [backbone.decode(row) for row in written_ids(rows, generated)]
    responses = [parse_response(text, response_format.name) for text in texts]
    ended = None
    if generated.behind_stop_B is not None:
        ended = [row[-1] == backbone.tokenizer.eos_token_id for row in rows]
        pairs = zip(responses, ended, strict=True)
        responses = [replace(response, well_formed=response.well_formed and end) for response, end in pairs]
    return RolloutBatch(batch.ids, batch.golds, encoded, generated, rows, texts, responses, ended)


def written_ids(rows: Sequence[list[int]], generated: Generated) -> list[list[int]]:
    """The ids of the texts: the rows of `generated` without one that was drawn behind the stop."""
    if generated.behind_stop_B is None:
        return [*rows]
    return [row[:-1] if has_more else row for row, has_more in zip(rows, generated.behind_stop_B.tolist(), strict=True)]


def text_rewards(batch: RolloutBatch, wheels: WheelSet, length_penalty: LengthPenalty = "none") -> Tensor:
    """Rewards (P, G, K) that the text alone decides, in the order of REWARDS; NaN for the others."""
    rewards_BK = torch.full((len(batch.rows), len(REWARDS)), torch.nan)
    for row, response in enumerate(batch.responses):
        gold = batch.golds[batch.prompt_of(row)]
        score = score_response(response, gold, wheels, length_penalty=length_penalty)
        rewards_BK[row] = torch.tensor([getattr(score, name, torch.nan) for name in REWARDS])
    return rewards_BK.view(len(batch.ids), -1, len(REWARDS))


def soft_overlong(length: int, max_completion_length: int, cache: int) -> float:
    """DAPO's soft overlong punishment (Eq. 13): 0 up to max - cache tokens, from there on a line to -1 at max."""
    return -max(0, length - (max_completion_length - cache)) / cache


@dataclass(frozen=True)
class Contexts:
    """The branches of a batch. Where calibration is asked for, `answers` holds the rows with an answer to calibrate
    and `fast_of` the number of the row's fast branch; rollouts of one prompt with the same answer share one. With
    `fast_prompts`, which ask for the answer alone, the fast branch of prompt p stands behind prompt P + p.
    """

    slow: list[Branch]
    fast: list[Branch]
    answers: dict[int, LocatedAnswer]
    fast_of: dict[int, int]
    fast_prompts: PromptBatch | None = None


def contexts(
    backbone: Backbone,
    batch: RolloutBatch,
    response_format: ResponseFormat,
    calibrate: bool,
    fast_prompts: PromptBatch | None = None,
) -> Contexts:
    """What the packed pass reads of a batch: every response and, to calibrate, every distinct fast context."""
    if fast_prompts is not None:
        response_format = RESPONSE_FORMATS["answer_only"]
    located = {
        row: answer
        for row, ids in enumerate(batch.written)
        if calibrate and (answer := locate_answer(backbone, ids, response_format))
    }
    slow, fast_number, fast_of = [], dict[Branch, int](), dict[int, int]()
    for row, ids in enumerate(batch.rows):
        prompt = batch.prompt_of(row)
        if row not in located:
            slow.append(Branch(prompt, tuple(ids)))
            continue
        fast = fast_branch(ids, located[row])
        slow.append(Branch(prompt, tuple(ids), located[row].anchors, fast.targets))
        behind = prompt if fast_prompts is None else prompt + len(batch.ids)
        branch = Branch(behind, fast.ids, fast.anchors, fast.targets)
        fast_of[row] = fast_number.setdefault(branch, len(fast_number))
    return Contexts(slow, list(fast_number), located, fast_of, fast_prompts)
