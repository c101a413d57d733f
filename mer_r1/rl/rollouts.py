"""One batch of rollouts: sampled, scored, compared within their groups.

Shape letters: P prompts, G rollouts of a group, B = P x G rollouts, R response tokens, K objectives.

This is the plain repeated pass: every response is scored behind its own copy of the prompt's embeddings, and the fast
context of a response is one more such row. It is the reference that any faster pass has to equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

import torch
from torch import Tensor

from mer_r1.emotion.wheel import WheelSet
from mer_r1.models.backbone import Backbone, Encoded, Generated, Sampling, pad_right
from mer_r1.response import PROFILES, parse_response
from mer_r1.rewards import score_response
from mer_r1.rl.advantages import REWARDS
from mer_r1.rl.calibration import Answer, CategoryTokens, calibration_rewards, gather_anchors, locate_answer
from mer_r1.sample import Response, Rollout

PROFILE = PROFILES["think_answer"]


@dataclass(frozen=True)
class RolloutBatch:
    """Sampled responses of P groups. `rows` are the ids without padding; `repeated` the prompts, one row a response."""

    repeated: Encoded
    generated: Generated
    rows: list[list[int]]
    texts: list[str]
    responses: list[Response]
    golds: list[tuple[str, ...]]

    @property
    def mask_BR(self) -> Tensor:
        return self.generated.mask_BR


@torch.no_grad()
def make_rollouts(
    backbone: Backbone, encoded: Encoded, gold: Sequence[tuple[str, ...]], num_generations: int, sampling: Sampling
) -> RolloutBatch:
    """Sample `num_generations` slow responses for each prompt."""
    generated = backbone.generate(encoded, num_generations, sampling, stop=PROFILE.stop)
    rows = [ids[: int(mask.sum())] for ids, mask in zip(generated.ids_BR.tolist(), generated.mask_BR, strict=True)]
    texts = [backbone.decode(row) for row in rows]
    return RolloutBatch(
        repeated=encoded.repeat(num_generations),
        generated=generated,
        rows=rows,
        texts=texts,
        responses=[parse_response(text, PROFILE.name) for text in texts],
        golds=[labels for labels in gold for _ in range(num_generations)],
    )


def score_rollouts(
    backbone: Backbone,
    batch: RolloutBatch,
    slow_logits_BRV: Tensor,
    num_generations: int,
    wheels: WheelSet,
    tokens: CategoryTokens | None,
) -> Tensor:
    """Rewards (P, G, K) in the order of REWARDS; with `tokens` the calibration pair as well, else NaN there.

    `slow_logits_BRV` are the policy's own logits of the responses, which the policy loss needs anyway.
    """
    rewards_BK = torch.full((len(batch.rows), len(REWARDS)), torch.nan)
    for row, (response, labels) in enumerate(zip(batch.responses, batch.golds, strict=True)):
        score = score_response(response, labels, wheels)
        rewards_BK[row, :4] = torch.tensor([score.recall, score.precision, score.f1, score.format])
    if tokens is not None:
        rewards_BK[:, 4:] = torch.tensor(calibration_pairs(backbone, batch, slow_logits_BRV, wheels, tokens))
    return rewards_BK.view(-1, num_generations, len(REWARDS)).to(backbone.device)


@torch.no_grad()
def calibration_pairs(
    backbone: Backbone, batch: RolloutBatch, slow_logits_BRV: Tensor, wheels: WheelSet, tokens: CategoryTokens
) -> list[tuple[float, float]]:
    """(R+, R-) of every rollout: one more pass over [prompt | prefill | the same answer ids] gives the fast side."""
    pairs = [(torch.nan, torch.nan)] * len(batch.rows)
    located: dict[int, Answer] = {}
    for index, row in enumerate(batch.rows):
        if answer := locate_answer(backbone, row):
            located[index] = answer
    if not located:
        return pairs
    spliced = [[*answer.prefill_ids, *batch.rows[index][answer.start :]] for index, answer in located.items()]
    ids, mask = pad_right(spliced, int(backbone.tokenizer.pad_token_id), backbone.device)
    inputs = backbone.score_inputs(batch.repeated.take(list(located)), ids, mask)
    fast_logits = backbone.response_logits(backbone.model, inputs, ids.shape[1])
    for order, (index, answer) in enumerate(located.items()):
        shift = len(answer.prefill_ids) - answer.start
        slow = gather_anchors(slow_logits_BRV, [(index, anchor) for anchor in answer.anchors])
        fast = gather_anchors(fast_logits, [(order, anchor + shift) for anchor in answer.anchors])
        pairs[index] = calibration_rewards(
            answer.words,
            tokens.log_confidence(slow),
            tokens.log_confidence(fast),
            wheels.map_set(batch.golds[index]),
            tokens,
            wheels,
        )
    return pairs


def as_rows(
    batch: RolloutBatch, ids: Sequence[str], rewards_PGK: Tensor, advantages_PG: Tensor, step: int
) -> list[Rollout]:
    """The batch as lines for rollouts.jsonl."""
    num_generations = advantages_PG.shape[1]
    rows = []
    for index, (text, response) in enumerate(zip(batch.texts, batch.responses, strict=True)):
        prompt, place = divmod(index, num_generations)
        values = rewards_PGK[prompt, place].tolist()
        rewards = {name: None if isnan(value) else value for name, value in zip(REWARDS, values, strict=True)}
        advantage = float(advantages_PG[prompt, place])
        rows.append(Rollout(step, ids[prompt], text, response.labels, response.status, rewards, advantage))
    return rows
