"""GRPO with MER-R1's objectives, on transformers' Trainer (MER-R1 Section 4, Eq. 3 and 12).

Shape letters: P prompts, G rollouts of a group, B = P x G rollouts, R response ids, K objectives.

An optimiser step: the towers and the prompts of all its micro-batches run once, `num_generations` slow responses are
sampled for each prompt, and the text is scored by the functions the evaluator uses; where the objective pays for it, a
judge reads the steps of every response again (reflection.py). Then, micro-batch by micro-batch, one packed pass gives
the log-probabilities of the policy and, where the objective asks for it, the confidences of slow and fast thinking;
rewards become advantages within their groups, and the loss follows. With num_iterations > 1 the same rollouts serve
that many optimiser steps.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mer_r1.data.sample import Sample
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.metrics.rewards import score_response
from mer_r1.models.backbone import Backbone
from mer_r1.models.category_confidence import CategoryTokens, category_tokens
from mer_r1.models.packing import GroupPass, Packed, group_pass, pack
from mer_r1.models.types import Encoded, PromptBatch, Sampling
from mer_r1.objectives import confidence_level, needs_calibration, needs_initial_answer, needs_reflection
from mer_r1.prompting.response import parse_response
from mer_r1.recipe import Recipe
from mer_r1.rl.advantages import REWARDS, advantages
from mer_r1.rl.data import BlockOrder, RlExample
from mer_r1.rl.losses import policy_loss, scheduled_beta
from mer_r1.rl.reflection.judges import make_judge
from mer_r1.rl.reflection.scores import Reflection, reflect
from mer_r1.rl.rollouts import (
    Contexts,
    RolloutBatch,
    as_rows,
    calibration,
    contexts,
    make_rollouts,
    text_rewards,
    uniform_draws,
)
from mer_r1.training.trainer import RunTrainer

_PLUS, _MINUS = REWARDS.index("calibration_plus"), REWARDS.index("calibration_minus")
_REFLECTION = [REWARDS.index(name) for name in ("coherence", "consistency", "reflection")]


@dataclass(frozen=True)
class RlBatch:
    """Prompts of one micro-batch with their gold words and the samples they were made of."""

    prompts: PromptBatch
    ids: tuple[str, ...]
    golds: tuple[tuple[str, ...], ...]
    samples: tuple[Sample, ...]


@dataclass
class _Rolled:
    """Rollouts of a micro-batch. Advantages and old log-probabilities come with its first policy pass."""

    batch: RolloutBatch
    where: Contexts
    rewards_PGK: Tensor
    num_tokens: float
    step: int
    reflection: Reflection | None = None
    reference_log_probs_BR: Tensor | None = None
    advantages_B: Tensor | None = None
    old_log_probs_BR: Tensor | None = None


class GrpoTrainer(RunTrainer):
    """The run's trainer with rollouts and the policy loss."""

    def __init__(self, backbone: Backbone, recipe: Recipe, wheels: WheelSet, **kwargs: Any) -> None:
        self.backbone, self.rl, self.wheels = backbone, recipe.rl, wheels
        rl = recipe.rl
        self.response_format = backbone.response_format
        self.sampling = Sampling(rl.max_completion_length, rl.temperature, rl.top_p)
        self.coefficients = {name: getattr(rl, name) for name in ("lambda_cali", "lambda_fmt", "lambda_rer")}
        self._towers_learn, self.steps_a_batch = recipe.model.train_towers, rl.num_iterations
        self._kept: list[_Rolled] = []
        super().__init__(recipe=recipe, model=backbone.wrapped_model, collate=self._collate, **kwargs)
        self._validate_recipe()
        reflects = needs_reflection(rl.objective)
        self.judge = make_judge(backbone, rl.reflection, recipe.seed, self.run.path) if reflects else None
        self.reference = self._make_reference() if rl.beta > 0 else None

    @cached_property
    def tokens(self) -> CategoryTokens | None:
        """The token table of calibration, made at the first step: only then does a sharded model lie on its device."""
        if not needs_calibration(self.rl.objective):
            return None
        return category_tokens(self.backbone, self.wheels, self.rl.shared_tokens)

    def _validate_recipe(self) -> None:
        if self.args.save_steps % self.rl.num_iterations:
            raise InputError(
                f"optim.save_steps: {self.args.save_steps} is no multiple of rl.num_iterations "
                f"({self.rl.num_iterations}); a checkpoint does not hold the rollouts that a next step would use again"
            )
        if self.rl.scale_rewards == "batch" and needs_calibration(self.rl.objective):
            raise InputError(
                f"rl.scale_rewards: batch needs all rewards of a step before its first pass, and {self.rl.objective} "
                "reads confidences in that pass; use group or none"
            )
        if needs_initial_answer(self.rl.objective) and self.response_format.fallback is None:
            raise InputError(
                f"rl.objective: {self.rl.objective} pays a first answer; set model.prompt_style=full_first"
            )
        if needs_reflection(self.rl.objective) and self.response_format.name != "set_steps":
            raise InputError(
                f"rl.objective: {self.rl.objective} pays the steps of an answer, "
                f"and {self.response_format.name} has none; "
                "set model.prompt_style=set (set_clips for clips)"
            )
        if self.is_fsdp_enabled:
            self._validate_sharding()
        size, block = len(self.train_dataset), self._prompts_a_step()
        if size < block and (self.args.world_size > 1 or self.rl.num_iterations > 1):
            raise InputError(
                f"data.train: {size} samples are fewer than one step takes ({block}, on {self.args.world_size} "
                "processes); lower optim.batch_size or optim.gradient_accumulation_steps"
            )

    def _validate_sharding(self) -> None:
        """Answers differ in length, so a process that gathers weights for every id would wait for others in vain."""
        plugin = self.accelerator.state.fsdp_plugin
        if self._towers_learn:
            raise InputError(
                "model.train_towers: a process whose clips have no sound would wait for the others' towers in vain; "
                "under FSDP keep the towers frozen, or use DDP"
            )
        if plugin.fsdp_version != 2 or plugin.reshard_after_forward:
            raise InputError(
                "accelerate's FSDP settings: RL needs fsdp_version: 2 and fsdp_reshard_after_forward: false "
                "(accelerate launch --fsdp_version 2 --fsdp_reshard_after_forward false)"
            )

    def _prompts_a_step(self) -> int:
        args = self.args
        return int(args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size)

    def _make_reference(self) -> Backbone | None:
        """The policy as it stands, frozen. With adapters none is needed: the policy without them is the reference."""
        if self._has_adapters():
            return None
        reference = copy.deepcopy(self.backbone.model).eval().requires_grad_(False)
        if self.args.bf16:
            _halve_linear(reference)
        return replace(self.backbone, model=reference.to(self.args.device), wrapped_model=None)

    def _has_adapters(self) -> bool:
        return self.backbone.wrapped_model is not self.backbone.model

    def _collate(self, rows: Sequence[RlExample]) -> RlBatch:
        prompts = [row.prompt for row in rows]
        ids, golds = tuple(prompt.id for prompt in prompts), tuple(row.gold for row in rows)
        return RlBatch(self.backbone.collate(prompts), ids, golds, tuple(row.sample for row in rows))

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        size = len(self.train_dataset if train_dataset is None else train_dataset)
        return BlockOrder(size, min(self._prompts_a_step(), size), self.rl.num_iterations, self.args.seed)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], Any]:
        """A step's micro-batches, their rollouts made: new ones, or the kept ones while num_iterations lasts."""
        samples, _ = super().get_batch_samples(*args, **kwargs)
        if samples and self.state.global_step % self.steps_a_batch == 0:
            self._kept = self._roll_out([inputs["batch"] for inputs in samples])
        return [{"batch": rolled} for rolled in self._kept[: len(samples)]], None

    def _roll_out(self, batches: Sequence[RlBatch]) -> list[_Rolled]:
        step, rl = self.state.global_step + 1, self.rl
        self.backbone.wrapped_model.eval()
        made = []
        for batch in batches:
            draws = uniform_draws(self.args.seed, step, batch.ids, rl.num_generations, rl.max_completion_length)
            made.append(self._make_rollouts(batch, self.sampling, draws))
        tokens = self._from_all([sum(len(row) for batch in made for row in batch.rows)])
        num_tokens = sum(tokens) / (len(made) * len(tokens))
        rewards = [text_rewards(batch, self.wheels, rl.length_penalty) for batch in made]
        rolled = [
            _Rolled(
                batch,
                contexts(self.backbone, batch, self.response_format, self.tokens is not None),
                own,
                num_tokens,
                step,
            )
            for batch, own in zip(made, rewards, strict=True)
        ]
        self._reflect(rolled, batches)
        for one in rolled:
            one.reference_log_probs_BR = self._reference_log_probs(one)
        if self.tokens is None:  # the text decides all, and batch statistics run over all processes
            self._judge_texts(rolled)
        self.backbone.wrapped_model.train()
        return rolled

    def _make_rollouts(self, batch: RlBatch, sampling: Sampling, uniform_BR: Tensor) -> RolloutBatch:
        """Responses of a batch; one autocast over all of it, so that weights are taken to bfloat16 once."""
        with self.accelerator.autocast():
            return make_rollouts(
                self.backbone, batch.prompts, batch.ids, batch.golds, self.response_format, sampling, uniform_BR
            )

    def _reflect(self, rolled: Sequence[_Rolled], batches: Sequence[RlBatch]) -> None:
        """The rewards that a judge gives a step's rollouts. Raises InputError, in all processes, where it fails."""
        if self.judge is None:
            return
        began, problem = time.perf_counter(), None
        try:
            with self.accelerator.autocast():
                for one, batch in zip(rolled, batches, strict=True):
                    one.reflection = reflect(self.judge, one.batch, batch.samples, self.wheels, one.step)
                    one.rewards_PGK[..., _REFLECTION] = one.reflection.scores_PG3
        except InputError as error:
            problem = f"rl.reflection: {error}"
        for found in self._from_all([problem]):
            if found:
                raise InputError(found)
        self.measure({"reflection_s": time.perf_counter() - began})

    def _judge_texts(self, rolled: Sequence[_Rolled]) -> None:
        """Advantages of a step whose objective the texts decide, in the light of the whole step."""
        own = torch.cat([one.rewards_PGK for one in rolled])
        everyone = self._from_all([own])
        before = sum(len(part) for part in everyone[: self.args.process_index])
        all_PG = advantages(torch.cat(everyone), self.rl.objective, self.coefficients, self.rl.scale_rewards)
        for one in rolled:
            one.advantages_B = all_PG[before : before + len(one.rewards_PGK)].flatten().to(self.backbone.device)
            before += len(one.rewards_PGK)

    @torch.no_grad()
    def _reference_log_probs(self, rolled: _Rolled) -> Tensor | None:
        """log p (B, R) under the reference."""
        if self.rl.beta == 0:
            return None
        packed = pack(rolled.batch.encoded.prompts, rolled.where.slow)
        if self.reference is not None:
            with self.accelerator.autocast():  # as the policy, whose forward the accelerator has wrapped
                return self._pass(self.reference, self.reference.wrapped_model, packed, rolled).log_probs_BR
        with self.backbone.wrapped_model.disable_adapter():
            return self._pass(self.backbone, self.backbone.wrapped_model, packed, rolled).log_probs_BR

    def _pass(self, backbone: Backbone, model: Any, packed: Packed, rolled: _Rolled, tokens: Any = None) -> GroupPass:
        encoded: Encoded | None = None if self._towers_learn else rolled.batch.encoded
        return group_pass(backbone, model, packed, encoded, self.rl.temperature, tokens)

    def compute_loss(self, model: Any, inputs: dict[str, _Rolled], *args: Any, **kwargs: Any) -> Tensor:
        rolled, rl = inputs["batch"], self.rl
        is_first = rolled.old_log_probs_BR is None
        tokens = self.tokens if is_first else None
        packed = pack(rolled.batch.encoded.prompts, rolled.where.slow, rolled.where.fast if tokens else ())
        result = self._pass(self.backbone, model, packed, rolled, tokens)
        if is_first:
            rolled.old_log_probs_BR = result.log_probs_BR.detach()
            self._judge(rolled, result)
        assert rolled.old_log_probs_BR is not None
        assert rolled.advantages_B is not None
        beta = scheduled_beta(rl.beta, rl.beta_schedule, self.state.global_step, self.state.max_steps)
        loss = policy_loss(
            result.log_probs_BR,
            rolled.old_log_probs_BR,
            rolled.reference_log_probs_BR,
            rolled.advantages_B,
            packed.mask_BR,
            rl.epsilon,
            beta,
            loss_type=rl.loss_type,
            epsilon_high=rl.epsilon_high,
            num_tokens=rolled.num_tokens,
            max_completion_length=rl.max_completion_length,
        )
        numbers = ("kl", "clip_ratio", "clip_ratio_low", "clip_ratio_high")
        self.measure({name: float(getattr(loss, name)) for name in numbers}, float(packed.mask_BR.sum()))
        return loss.loss

    def _judge(self, rolled: _Rolled, result: GroupPass) -> None:
        """Rewards and advantages of new rollouts, their numbers, and their lines."""
        batch, words = rolled.batch, None
        if self.tokens is not None:
            level = confidence_level(self.rl.objective)
            found = calibration(batch, rolled.where, result.confidences, self.tokens, self.wheels, level)
            pairs_PG2 = found.pairs_B2.view(*rolled.rewards_PGK.shape[:2], 2)
            rolled.rewards_PGK[..., [_PLUS, _MINUS]] = pairs_PG2
            advantages_PG = advantages(rolled.rewards_PGK, self.rl.objective, self.coefficients, self.rl.scale_rewards)
            rolled.advantages_B = advantages_PG.flatten().to(self.backbone.device)
            words = found.words
        assert rolled.advantages_B is not None
        advantages_PG = rolled.advantages_B.view(rolled.rewards_PGK.shape[:2]).cpu()
        known = dict(zip(REWARDS, (~rolled.rewards_PGK.isnan()).sum((0, 1)).tolist(), strict=True))
        for name, value in group_metrics(batch, rolled.rewards_PGK, advantages_PG).items():
            self.measure({name: value}, known.get(name.removeprefix("reward/"), 1))
        if rolled.reflection is not None:
            self.measure({"reflection_neutral": rolled.reflection.neutral_share}, len(batch.rows))
        num_ids = float(batch.generated.mask_BR.sum())
        self.measure({"entropy": float(result.entropy_BR.sum()) / num_ids}, num_ids)
        said = rolled.reflection.answers if rolled.reflection else None
        rows = self._from_all(as_rows(batch, rolled.rewards_PGK, advantages_PG, words, rolled.step, said))
        if self.is_world_process_zero():
            self._append(self.run.rollouts, (asdict(row) for row in rows))

    def evaluate_batch(self, inputs: dict[str, RlBatch]) -> list[tuple[dict[str, float], float]]:
        """Rewards of the greedy slow answer of every sample."""
        batch = inputs["batch"]
        greedy = replace(self.sampling, temperature=0.0)
        draws = torch.zeros(len(batch.ids), greedy.max_new_tokens)
        made = self._make_rollouts(batch, greedy, draws)
        scores = []
        for text, gold in zip(made.texts, batch.golds, strict=True):
            score = score_response(parse_response(text, self.response_format.name), gold, self.wheels)
            scores.append(({name: getattr(score, name) for name in ("recall", "precision", "f1", "accuracy")}, 1.0))
        return scores


def _halve_linear(model: Any) -> None:
    """Hold the weights of linear layers in bfloat16, to which autocast would take them at every use."""
    table = model.get_input_embeddings().weight
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module.weight is not table:
            module.to(torch.bfloat16)


def group_metrics(batch: RolloutBatch, rewards_PGK: Tensor, advantages_PG: Tensor) -> dict[str, float]:
    """Numbers that say whether a step taught anything: mean rewards, groups without signal, answers and lengths."""
    means = rewards_PGK.flatten(0, 1).nanmean(0).tolist()
    responses = batch.responses
    return {
        **{f"reward/{name}": mean for name, mean in zip(REWARDS, means, strict=True)},
        "frac_reward_zero_std": float((advantages_PG == 0).all(1).float().mean()),
        "answer_words": sum(len(response.labels) for response in responses) / len(responses),
        "answered_share": sum(response.status == "ok" for response in responses) / len(responses),
        "response_tokens": sum(map(len, batch.rows)) / len(batch.rows),
    }
