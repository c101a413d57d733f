"""GRPO with MER-R1's objectives, on transformers' Trainer (MER-R1 Section 4, Eq. 3 and 12).

Shape letters: P prompts, G rollouts of a group, B = P x G rollouts, R response ids, K rewards.

An optimiser step: the towers and the prompts of all its micro-batches run once, `num_generations` slow responses are
sampled for each prompt, and the text is scored by the functions the evaluator uses; with rl.dynamic_sampling prompts
whose answers do not differ in advantage are replaced, and read again with their micro-batch; where the objective pays
for it, a judge reads the steps of every response again (reflection/). Then, micro-batch by micro-batch, one packed pass
gives the log-probabilities of the policy and, where the objective reads them, the confidences of slow and fast
thinking; the loss follows. With num_iterations > 1 the same rollouts serve that many optimiser steps.

What a step computes is in step.py. Here are the Trainer's hooks, what several processes share, and what is logged.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.metrics.rewards import score_response
from mer_r1.models.backbone import Backbone
from mer_r1.models.category_confidence import CategoryTokens, category_tokens
from mer_r1.models.packing import GroupPass
from mer_r1.models.sampler import LocalSampler, Sampler, collated, policy_weights
from mer_r1.models.types import Encoded, Sampling
from mer_r1.objectives import needs_calibration, needs_initial_answer, needs_reflection
from mer_r1.prompting.response import parse_response
from mer_r1.recipe import Recipe
from mer_r1.rl.data import BlockOrder, RlBatch, RlExample, RlPrompts
from mer_r1.rl.dynamic_sampling import OpenBatch, groups_with_spread, spare_indices, stand_ins
from mer_r1.rl.kl import scheduled_beta
from mer_r1.rl.mismatch import MAX_MISMATCH_BF16, MAX_MISMATCH_FLOAT32, total
from mer_r1.rl.reflection.judges import make_judge
from mer_r1.rl.reflection.scores import Reflection, reflect
from mer_r1.rl.rollouts import Contexts, RolloutBatch, contexts, make_rollouts, step_key
from mer_r1.rl.step import (
    Rewarded,
    Scored,
    advantages_of,
    loss_of,
    measurements,
    num_loss_tokens,
    read_rollouts,
    rewards_before_pass,
    rollout_rows,
    score_first_pass,
)
from mer_r1.training.arguments import error_of, raise_unreadable
from mer_r1.training.trainer import RunTrainer


class GrpoTrainer(RunTrainer):
    """The run's trainer with rollouts and the policy loss."""

    def __init__(
        self, backbone: Backbone, recipe: Recipe, wheels: WheelSet, sampler: Sampler | None = None, **kwargs: Any
    ) -> None:
        """`sampler` draws the rollouts; by default the policy itself does."""
        self.backbone, self.rl, self.wheels = backbone, recipe.rl, wheels
        self.sampler = LocalSampler(backbone) if sampler is None else sampler
        rl = recipe.rl
        self.response_format = backbone.response_format
        length, min_p = rl.max_completion_length, rl.min_p or 0.0
        self.sampling = Sampling(length, rl.temperature, rl.top_p, rl.top_k, min_p, rl.end_token)
        self._prompts: RlPrompts = kwargs["train_dataset"]
        self._towers_learn, self.steps_a_batch = recipe.model.train_towers, rl.num_iterations
        self._kept: list[Rewarded | Scored] = []  # of the step's micro-batches, in order
        self._max_mismatch = rl.max_mismatch or (MAX_MISMATCH_BF16 if recipe.optim.bf16 else MAX_MISMATCH_FLOAT32)
        super().__init__(recipe=recipe, model=backbone.wrapped_model, collate=self._collate, **kwargs)
        self._validate()
        reflects = needs_reflection(rl.objective)
        self.judge = make_judge(backbone, rl.reflection, recipe.seed, self.run.path) if reflects else None
        self.reference = self._make_reference() if rl.beta > 0 else None

    @cached_property
    def tokens(self) -> CategoryTokens | None:
        """The token table of calibration, made at the first step: only then does a sharded model lie on its device."""
        if not needs_calibration(self.rl.objective):
            return None
        return category_tokens(self.backbone, self.wheels, self.rl.shared_tokens)

    def _validate(self) -> None:
        """What the recipe cannot know: the response format of the model's prompts, processes, the number of samples."""
        if needs_initial_answer(self.rl.objective) and self.response_format.fallback is None:
            raise InputError(
                f"rl.objective: {self.rl.objective} pays a first answer; set model.prompt_style=full_first"
            )
        if needs_reflection(self.rl.objective) and self.response_format.name != "set_steps":
            raise InputError(
                f"rl.objective: {self.rl.objective} pays the steps of an answer, and {self.response_format.name} has "
                "none; set model.prompt_style=set (set_clips for clips)"
            )
        if self.is_fsdp_enabled:
            self._validate_sharding()
        size, block = len(self.train_dataset), self._prompts_a_step()
        if self.rl.dynamic_sampling and size <= block:
            raise InputError(
                f"rl.dynamic_sampling: a step takes {block} prompts and data.train has {size}, so none can stand in; "
                "lower optim.batch_size, or remove it"
            )
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
        if self.backbone.wrapped_model is not self.backbone.model:
            return None
        reference = copy.deepcopy(self.backbone.model).eval().requires_grad_(False)
        table = reference.get_input_embeddings().weight
        for module in reference.modules() if self.args.bf16 else ():
            if isinstance(module, torch.nn.Linear) and module.weight is not table:
                module.to(torch.bfloat16)  # autocast would convert it at every use
        return replace(self.backbone, model=reference.to(self.args.device), wrapped_model=None)

    def _collate(self, rows: Sequence[RlExample]) -> RlBatch:
        return RlBatch(tuple(rows))

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        size = len(self.train_dataset if train_dataset is None else train_dataset)
        return BlockOrder(size, min(self._prompts_a_step(), size), self.rl.num_iterations, self.args.seed)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], Any]:
        """A step's micro-batches, by index: their rollouts are new, or the kept ones while num_iterations lasts."""
        samples, _ = super().get_batch_samples(*args, **kwargs)
        if samples and self.state.global_step % self.steps_a_batch == 0:
            self._kept = list(self._new_rollouts([inputs["batch"] for inputs in samples]))
        return [{"index": index} for index in range(min(len(samples), len(self._kept)))], None

    def _new_rollouts(self, batches: Sequence[RlBatch]) -> list[Rewarded]:
        """Rollouts of a step's micro-batches, and all that is known of them before the policy's first pass."""
        step, rl = self.state.global_step + 1, self.rl
        self.backbone.wrapped_model.eval()
        began = time.perf_counter()
        with self._newest_weights():
            if rl.sampler == "vllm":  # which raises where its weights are not the policy's
                self.measure({"sampling/update_s": time.perf_counter() - began, "sampling/weights_equal": 1.0})
            made = self._sample(batches, step)
            if rl.dynamic_sampling:
                batches, made = self._with_spread(batches, made, step)
        tokens = self._from_all([sum(num_loss_tokens(rollouts, rl) for rollouts in made)])
        num_tokens = sum(tokens) / (len(made) * len(tokens))
        reflections = self._reflections(made, batches, step)
        pairs = zip(made, reflections, strict=True)
        rewards = [rewards_before_pass(rollouts, reflection, self.wheels, rl) for rollouts, reflection in pairs]
        advantages = self._advantages_before_pass(rewards)
        rewarded = []
        parts = zip(batches, made, reflections, rewards, advantages, strict=True)
        for batch, rollouts, reflection, rewards_PGK, advantages_PG in parts:
            fast = self.backbone.collate(batch.fast_prompts) if batch.fast_prompts else None
            branches = contexts(self.backbone, rollouts, self.response_format, self.tokens is not None, fast)
            rewarded.append(
                Rewarded(
                    rollouts=rollouts,
                    contexts=branches,
                    rewards_PGK=rewards_PGK,
                    reflection=reflection,
                    advantages_PG=advantages_PG,
                    reference_log_probs_BR=self._reference_log_probs(rollouts, branches),
                    num_tokens=num_tokens,
                    step=step,
                )
            )
        self.backbone.wrapped_model.train()
        return rewarded

    @contextmanager
    def _newest_weights(self) -> Iterator[None]:
        """Within the block the sampler has the policy's weights; behind it, it may rest."""
        self.sampler.update(policy_weights(self.backbone))
        yield
        self.sampler.rest()

    def _sample(self, batches: Sequence[RlBatch], step: int) -> list[RolloutBatch]:
        """Answers of a step's prompts, by the draws that are theirs."""
        key = step_key(self.args.seed, step)
        return self._make_rollouts(batches, self.sampling, self.rl.num_generations, key)

    def _with_spread(
        self, batches: Sequence[RlBatch], made: Sequence[RolloutBatch], step: int
    ) -> tuple[list[RlBatch], list[RolloutBatch]]:
        """A step's micro-batches and their answers, prompts without spread replaced (dynamic_sampling.py).

        All processes call it together. Raises InputError, in all, for a sample that cannot be read.
        """
        open_batches = [
            OpenBatch(batch, rollouts, groups_with_spread(rollouts, self.wheels, self.rl))
            for batch, rollouts in zip(batches, made, strict=True)
        ]
        taken = self._prompts.unpaid.union(self._from_all([ident for batch in batches for ident in batch.ids]))
        spare = spare_indices(self.args.seed, step, self._prompts.ids, taken)
        for _ in range(self.rl.dynamic_sampling):
            lacking = self._from_all([ident for batch in open_batches for ident in batch.lacking()])
            chosen = stand_ins(lacking, spare)
            spare = spare[len(chosen) :]
            items = [
                {slot: self.train_dataset[chosen[ident]] for ident, slot in batch.lacking().items() if ident in chosen}
                for batch in open_batches
            ]
            raise_unreadable(self._from_all([error_of(item) for found in items for item in found.values()]))
            for batch, found in zip(open_batches, items, strict=True):
                read = {slot: item.value for slot, item in found.items() if not item.num_unreadable}
                if num_unread := len(found) - len(read):
                    self.count("unreadable", num_unread)  # what is read in its stead may stand in the step already
                if read:
                    fresh = RlBatch(tuple(read.values()))
                    (rollouts,) = self._sample([fresh], step)
                    batch.put(list(read), fresh, rollouts, groups_with_spread(rollouts, self.wheels, self.rl))
                    self.count("replaced_prompts", len(read))
        final = [batch.batch() for batch in open_batches]
        return final, [batch.rollouts(self.backbone, self._encode) for batch in open_batches]

    def _encode(self, batch: RlBatch) -> Encoded:
        """The prompts of a batch with the towers run."""
        with self.accelerator.autocast():
            return self.backbone.encode_media(collated(self.backbone, batch.prompts))

    def _make_rollouts(
        self, batches: Sequence[RlBatch], sampling: Sampling, num_generations: int, key: str
    ) -> list[RolloutBatch]:
        """Responses of batches; one autocast over all of it, so that weights are taken to bfloat16 once."""
        with self.accelerator.autocast():
            return make_rollouts(self.sampler, batches, self.response_format, sampling, num_generations, key)

    def _reflections(
        self, made: Sequence[RolloutBatch], batches: Sequence[RlBatch], step: int
    ) -> Sequence[Reflection | None]:
        """Scores of a judge, where there is one. Raises InputError, in all processes, where it fails."""
        if self.judge is None:
            return [None] * len(made)
        began, problem, found = time.perf_counter(), None, []
        try:
            with self.accelerator.autocast():
                for rollouts, batch in zip(made, batches, strict=True):
                    found.append(reflect(self.judge, rollouts, batch.samples, self.wheels, step))
        except InputError as error:
            problem = f"rl.reflection: {error}"
        for message in self._from_all([problem]):
            if message:
                raise InputError(message)
        self.measure({"reflection_s": time.perf_counter() - began})
        return found

    def _advantages_before_pass(self, rewards: Sequence[Tensor]) -> Sequence[Tensor | None]:
        """Advantages of a step's micro-batches by the statistics of all processes; None while confidences are due."""
        if self.tokens is not None:
            return [None] * len(rewards)
        local = torch.cat([*rewards])
        everyone = self._from_all([local])
        start = sum(len(part) for part in everyone[: self.args.process_index])
        local_PG = advantages_of(torch.cat(everyone), self.rl)[start : start + len(local)]
        return torch.split(local_PG, [len(part) for part in rewards])

    @torch.no_grad()
    def _reference_log_probs(self, rollouts: RolloutBatch, branches: Contexts) -> Tensor | None:
        """log p (B, R) under the reference."""
        if self.rl.beta == 0:
            return None
        if self.reference is not None:
            with self.accelerator.autocast():  # as the policy, whose forward the accelerator has wrapped
                return self._pass(self.reference, self.reference.wrapped_model, rollouts, branches).log_probs_BR
        with self.backbone.wrapped_model.disable_adapter():
            return self._pass(self.backbone, self.backbone.wrapped_model, rollouts, branches).log_probs_BR

    def _pass(
        self, backbone: Backbone, model: Any, rollouts: RolloutBatch, branches: Contexts, tokens: Any = None
    ) -> GroupPass:
        towers, temperature = self._towers_learn, self.rl.temperature
        return read_rollouts(backbone, model, rollouts, branches, temperature, run_towers=towers, tokens=tokens)

    def compute_loss(self, model: Any, inputs: dict[str, int], *args: Any, **kwargs: Any) -> Tensor:
        kept = self._kept[inputs["index"]]
        if isinstance(kept, Rewarded):
            passed = self._pass(self.backbone, model, kept.rollouts, kept.contexts, self.tokens)
            scored = score_first_pass(kept, passed, self.tokens, self.wheels, self.rl)
            self._kept[inputs["index"]] = scored
            for name, value, weight in measurements(scored, passed):
                self.measure({name: value}, weight)
            rows = self._from_all(rollout_rows(scored))
            if self.is_world_process_zero():
                self._append(self.run.rollouts, (asdict(row) for row in rows))
            if inputs["index"] == len(self._kept) - 1:
                self._watch_sampler()
        else:
            scored = kept
            passed = self._pass(self.backbone, model, scored.rewarded.rollouts, scored.rewarded.contexts)
        beta = scheduled_beta(self.rl.beta, self.rl.beta_schedule, self.state.global_step, self.state.max_steps)
        loss = loss_of(scored, passed, beta, self.rl)
        numbers = ("kl", "clip_ratio", "clip_ratio_low", "clip_ratio_high", "clip_ratio_dual")
        tokens = num_loss_tokens(scored.rewarded.rollouts, self.rl)
        self.measure({name: float(getattr(loss, name)) for name in numbers}, tokens)
        return loss.loss

    def _watch_sampler(self) -> None:
        """Measure the mismatch of a step whose micro-batches have all had their first pass.

        Raises InputError, in all processes and before the weights move, where it is above rl.max_mismatch.
        """
        parts = [kept.mismatch for kept in self._kept if isinstance(kept, Scored) and kept.mismatch is not None]
        if not parts:
            return
        found = total(self._from_all(parts))
        if self.is_world_process_zero():
            self.measure(found.of_tokens(), found.tokens)
            self.measure(found.of_weights(), found.weights)
        if found.mean_difference > self._max_mismatch:
            raise InputError(
                f"{self.run.path}: step {self.state.global_step + 1}: the sampler's log-probabilities are not the "
                f"policy's: mean |difference| {found.mean_difference:.2g} nat over {found.tokens} tokens, above "
                f"rl.max_mismatch ({self._max_mismatch:g}); largest {found.largest:.2g}, Pearson {found.pearson:.6f}; "
                "the engine may hold stale weights (a head tied to the embeddings is sent by a name of its own), count "
                "positions otherwise (M-RoPE), suppress other ids or compute in another precision; only if it is the "
                "precision, raise rl.max_mismatch; the last checkpoint is whole"
            )

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """As every trainer's, by the sampler."""
        with self._newest_weights():
            return super().evaluate(*args, **kwargs)

    def evaluate_batch(self, inputs: dict[str, RlBatch]) -> list[tuple[dict[str, float], float]]:
        """Rewards of the greedy slow answer of every sample."""
        batch = inputs["batch"]
        greedy = replace(self.sampling, temperature=0.0, end_token=False)
        (made,) = self._make_rollouts([batch], greedy, 1, "")
        scores = []
        for text, gold in zip(made.texts, batch.golds, strict=True):
            score = score_response(parse_response(text, self.response_format.name), gold, self.wheels)
            values = {name: getattr(score, name) for name in ("recall", "precision", "f1", "accuracy")}
            scores.append((values if gold else dict.fromkeys(values, float("nan")), 1.0))
        return scores
