"""GRPO with MER-R1's objectives, on transformers' Trainer (MER-R1 Section 4, Eq. 3 and 12).

A step: prompts are encoded once (towers frozen), `num_generations` slow responses are sampled for each, scored by the
functions the evaluator uses, compared within their group, and the policy loss is taken on them. With num_iterations > 1
the same rollouts serve that many optimiser steps.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.metrics.open_vocabulary import set_statistics
from mer_r1.models.backbone import Backbone, Encoded, Prompt, PromptBatch, Sampling, chosen_log_probs
from mer_r1.recipe import RlSection
from mer_r1.response import read_labels
from mer_r1.rl.advantages import REWARDS, advantages, needs_calibration
from mer_r1.rl.calibration import category_tokens
from mer_r1.rl.losses import policy_loss
from mer_r1.rl.rollouts import RolloutBatch, as_rows, make_rollouts, score_rollouts
from mer_r1.sample import Sample
from mer_r1.training import RunTrainer


@dataclass(frozen=True)
class RlBatch:
    """Prompts of one device batch with their gold words."""

    prompts: PromptBatch
    ids: tuple[str, ...]
    gold: tuple[tuple[str, ...], ...]


class RlPrompts(torch.utils.data.Dataset[tuple[Prompt, tuple[str, ...]]]):
    """Prompts with gold words, as the protocol's parser reads them.

    Raises InputError for a sample whose gold no wheel counts: it has no reward.
    """

    def __init__(self, samples: Sequence[Sample], prompts: Sequence[Prompt], wheels: WheelSet) -> None:
        parser = wheels.protocol.parser
        self._gold = [read_labels(sample.labels, parser)[0] for sample in samples]
        for sample, gold in zip(samples, self._gold, strict=True):
            if not any(set_statistics(gold, (), wheels).num_gold):
                raise InputError(
                    f"sample {sample.id!r}: no label maps to a category of the {wheels.source} wheels; run mer-r1 check"
                )
        self._prompts = prompts

    def __len__(self) -> int:
        return len(self._gold)

    def __getitem__(self, index: int) -> tuple[Prompt, tuple[str, ...]]:
        return self._prompts[index], self._gold[index]


class _Repeated(torch.utils.data.Sampler[int]):
    """A shuffled order in which every `block` of indices comes `times` times running."""

    def __init__(self, size: int, block: int, times: int, seed: int) -> None:
        self._size, self._block, self._times = size, block, times
        self._seed, self._epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """The Trainer says which epoch begins; its order follows from that alone, so a resumed run goes on with it."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._size // self._block * self._block * self._times

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        order = torch.randperm(self._size, generator=generator).tolist()
        for start in range(0, self._size - self._block + 1, self._block):
            for _ in range(self._times):
                yield from order[start : start + self._block]


@dataclass
class _Rolled:
    """Rollouts kept for num_iterations; advantages and old log-probabilities come with the first policy pass."""

    batch: RolloutBatch
    prompts: PromptBatch
    encoded: Encoded
    reference_log_probs_BR: Tensor | None
    advantages_B: Tensor | None = None
    old_log_probs_BR: Tensor | None = None


class GrpoTrainer(RunTrainer):
    """The run's trainer with rollouts and the policy loss."""

    def __init__(self, backbone: Backbone, rl: RlSection, wheels: WheelSet, **kwargs: Any) -> None:
        self.backbone, self.rl, self.wheels = backbone, rl, wheels
        self.sampling = Sampling(rl.max_completion_length, rl.temperature, rl.top_p)
        self.coefficients = {"lambda_cali": rl.lambda_cali, "lambda_fmt": rl.lambda_fmt}
        self._kept: list[_Rolled] = []
        self._micro_step = 0
        super().__init__(model=backbone.model, data_collator=self._collate, **kwargs)
        self.model_accepts_loss_kwargs = False
        if self.args.save_steps % rl.num_iterations:
            raise InputError(
                f"optim.save_steps: {self.args.save_steps} is no multiple of rl.num_iterations ({rl.num_iterations}); "
                "a checkpoint does not hold the rollouts that the next step would use again"
            )
        # Now that the model lies on its device:
        self.tokens = category_tokens(backbone, wheels) if needs_calibration(rl.objective) else None
        self.reference = replace(backbone, model=frozen_copy(backbone.model)) if rl.beta > 0 else None

    def _collate(self, rows: Sequence[tuple[Prompt, tuple[str, ...]]]) -> dict[str, RlBatch]:
        prompts, gold = zip(*rows, strict=True)
        return {"batch": RlBatch(self.backbone.collate(prompts), tuple(p.id for p in prompts), gold)}

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        size = len(self.train_dataset if train_dataset is None else train_dataset)
        block = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps
        return _Repeated(size, min(block, size), self.rl.num_iterations, self.args.seed)

    def _rolled(self, batch: RlBatch) -> _Rolled:
        """New rollouts, or the kept ones of the same prompts while num_iterations lasts."""
        accumulated = self.args.gradient_accumulation_steps
        place = self._micro_step % accumulated
        is_new = self._micro_step // accumulated % self.rl.num_iterations == 0
        self._micro_step += 1
        if is_new:
            if place == 0:
                self._kept.clear()
            model = self.backbone.model
            model.eval()
            with torch.no_grad():
                encoded = self.backbone.encode(batch.prompts)
            rolled = make_rollouts(self.backbone, encoded, batch.gold, self.rl.num_generations, self.sampling)
            model.train()
            self._kept.append(
                _Rolled(rolled, batch.prompts, encoded, self._reference_log_probs(batch, encoded, rolled))
            )
        kept: _Rolled = self._kept[place]
        return kept

    @torch.no_grad()
    def _reference_log_probs(self, batch: RlBatch, encoded: Encoded, rolled: RolloutBatch) -> Tensor | None:
        """log p (B, R) under the reference, which reads its own embeddings; the frozen towers' outputs are shared."""
        if self.reference is None:
            return None
        ids_BR = rolled.generated.ids_BR
        own = self.reference.with_own_words(batch.prompts, encoded).repeat(self.rl.num_generations)
        inputs = self.reference.score_inputs(own, ids_BR, rolled.mask_BR)
        logits = self.reference.response_logits(self.reference.model, inputs, ids_BR.shape[1])
        return chosen_log_probs(logits / self.rl.temperature, ids_BR)

    def _judge(self, rolled: _Rolled, ids: tuple[str, ...], logits_BRV: Tensor, log_probs_BR: Tensor) -> None:
        """Rewards and advantages of new rollouts, from the policy pass that the loss makes anyway."""
        batch, rl = rolled.batch, self.rl
        rewards_PGK = score_rollouts(
            self.backbone, batch, logits_BRV.detach(), rl.num_generations, self.wheels, self.tokens
        )
        advantages_PG = advantages(rewards_PGK, rl.objective, self.coefficients)
        rolled.advantages_B, rolled.old_log_probs_BR = advantages_PG.flatten(), log_probs_BR.detach()
        self.measure(group_health(batch, rewards_PGK, advantages_PG))
        self.measure({"entropy": mean_entropy(logits_BRV.detach() / rl.temperature, batch.mask_BR)})
        if self.is_world_process_zero():
            rows = as_rows(batch, ids, rewards_PGK, advantages_PG, self.state.global_step + 1)
            self._append(self.run.rollouts, (asdict(row) for row in rows))

    def compute_loss(self, model: Any, inputs: dict[str, RlBatch], *args: Any, **kwargs: Any) -> Tensor:
        rolled = self._rolled(inputs["batch"])
        batch, ids_BR = rolled.batch, rolled.batch.generated.ids_BR
        prompts = self.backbone.with_own_words(rolled.prompts, rolled.encoded)
        score = self.backbone.score_inputs(prompts.repeat(self.rl.num_generations), ids_BR, batch.mask_BR)
        num_response = ids_BR.shape[1]
        logits = self.backbone.response_logits(model, score, num_response)
        log_probs = chosen_log_probs(logits / self.rl.temperature, ids_BR)
        if rolled.advantages_B is None or rolled.old_log_probs_BR is None:
            self._judge(rolled, inputs["batch"].ids, logits, log_probs)
        assert rolled.advantages_B is not None
        assert rolled.old_log_probs_BR is not None
        result = policy_loss(
            log_probs,
            rolled.old_log_probs_BR,
            rolled.reference_log_probs_BR,
            rolled.advantages_B,
            batch.mask_BR,
            self.rl.epsilon,
            self.rl.beta,
        )
        self.measure({"kl": float(result.kl), "clip_share": float(result.clip_share)})
        return result.loss


def frozen_copy(model: Any) -> Any:
    """A copy of the policy as it stands, for the KL term."""
    reference = copy.deepcopy(model).eval()
    for parameter in reference.parameters():
        parameter.requires_grad_(False)
    return reference


def mean_entropy(logits_BRV: Tensor, mask_BR: Tensor) -> float:
    """Mean over response tokens of the distribution's entropy, in nats."""
    log_p = torch.log_softmax(logits_BRV, dim=-1)
    entropy_BR = -(log_p.exp() * log_p.clamp_min(-1e4)).sum(-1)
    return float((entropy_BR * mask_BR).sum() / mask_BR.sum())


def group_health(batch: RolloutBatch, rewards_PGK: Tensor, advantages_PG: Tensor) -> dict[str, float]:
    """Numbers that say whether a step taught anything: mean rewards, groups without signal, answers and lengths."""
    means = rewards_PGK.flatten(0, 1).nanmean(0).tolist()
    responses = batch.responses
    return {
        **{f"reward/{name}": mean for name, mean in zip(REWARDS, means, strict=True)},
        "groups_without_signal": float((advantages_PG == 0).all(1).float().mean()),
        "answer_words": sum(len(response.labels) for response in responses) / len(responses),
        "answered_share": sum(response.status == "ok" for response in responses) / len(responses),
        "response_tokens": float(batch.mask_BR.sum(1).float().mean()),
    }
