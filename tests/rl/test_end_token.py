"""The id behind an answer: drawn, scored, kept out of the texts, and paid for through the format reward."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mer_r1.data.sample import Sample
from mer_r1.emotion.wheel import WheelSet
from mer_r1.models.packing import GroupPass
from mer_r1.models.qwen2_5_omni import OmniBackbone
from mer_r1.models.sampler import LocalSampler
from mer_r1.models.types import Prompt, Sampling
from mer_r1.objectives import REWARDS
from mer_r1.pipelines.train import train
from mer_r1.prompting.response import RESPONSE_FORMATS, ResponseFormat
from mer_r1.recipe import Recipe, RlSection
from mer_r1.rl.data import RlBatch, RlExample
from mer_r1.rl.rollouts import RolloutBatch, contexts, make_rollouts, step_key, text_rewards
from mer_r1.rl.step import Rewarded, advantages_of, loss_of, read_rollouts, rewards_before_pass, score_first_pass
from tests.media_samples import saying
from tests.training.runs import Stopped, lines, make_recipe

WHEELS = WheelSet.load("builtin")
FORMATS = {
    "think_answer": "<think>A smile.</think><answer>happy</answer>",
    "answer_think_answer": "<answer>sad</answer><think>So.</think><answer>happy</answer>",
    "set_steps": "<step1>a {b}</step1><step2>c</step2><step3>d</step3>\\boxed{happy}",
}


def rolled(
    backbone: OmniBackbone, prompt: Prompt, rows: Sequence[list[int]], response_format: ResponseFormat, room: int = 99
) -> RolloutBatch:
    """Rollouts of one prompt that write these ids."""
    asked, sampling = RlBatch((RlExample(prompt, ("happy",), Sample("a")),)), Sampling(room, end_token=True)
    with saying(rows):
        (batch,) = make_rollouts(LocalSampler(backbone), [asked], response_format, sampling, len(rows), "key")
    return batch


@pytest.mark.parametrize("name", FORMATS)
def test_one_id_follows_the_answer_and_the_format_is_paid_where_it_is_the_end(
    tiny: OmniBackbone, prompts: Sequence[Prompt], name: str
) -> None:
    end, text, response_format = tiny.tokenizer.eos_token_id, FORMATS[name], RESPONSE_FORMATS[name]
    ids = tiny.text_ids(text)
    more = tiny.text_ids(" so")[0]
    closing = ids[-1]  # a second closing tag or brace is no end either
    batch = rolled(tiny, prompts[0], [[*ids, last] for last in (end, more, closing)], response_format)
    assert batch.rows == [[*ids, last] for last in (end, more, closing)]
    assert batch.written == [ids] * 3
    assert batch.texts == [text] * 3
    assert batch.ended == [True, False, False]
    assert [response.well_formed for response in batch.responses] == [True, False, False]
    assert len({replace(response, well_formed=True) for response in batch.responses}) == 1
    rewards = text_rewards(batch, WHEELS)[0]
    assert rewards[:, REWARDS.index("format")].tolist() == [1, 0, 0]
    assert rewards[:, REWARDS.index("recall")].tolist() == [1, 1, 1]


def test_an_answer_that_fills_its_room_or_ends_early_has_no_id_behind_it(
    tiny: OmniBackbone, prompts: Sequence[Prompt]
) -> None:
    """max_completion_length counts the end: an answer that just fits without it has not ended."""
    end, response_format = tiny.tokenizer.eos_token_id, RESPONSE_FORMATS["think_answer"]
    ids = tiny.text_ids(FORMATS["think_answer"])
    cut, early = tiny.text_ids("<think>A long"), [*tiny.text_ids("<think>A"), end]
    batch = rolled(tiny, prompts[0], [[*ids, end], cut, early], response_format, room=len(ids))
    assert batch.rows[0] == ids
    assert len(batch.rows[1]) == len(ids)
    assert batch.rows[2] == early
    assert batch.written == batch.rows
    assert batch.ended == [False, False, True]
    assert not any(response.well_formed for response in batch.responses)


def test_answers_are_drawn_as_without_it_and_one_id_longer(
    taught: OmniBackbone, samples: list[Sample], prompts: Sequence[Prompt]
) -> None:
    """Several answers a prompt, each by its own draws; a model that was taught to end does."""
    examples = (RlExample(prompt, item.labels, item) for prompt, item in zip(prompts[:3], samples[:3], strict=True))
    asked, response_format, sampler = RlBatch(tuple(examples)), RESPONSE_FORMATS["think_answer"], LocalSampler(taught)
    (plain,), (ended,) = (
        make_rollouts(sampler, [asked], response_format, Sampling(80, end_token=end), 3, step_key(0, 1))
        for end in (False, True)
    )
    assert plain.ended is None
    assert ended.texts == plain.texts
    assert ended.written == plain.rows == plain.written
    longer = [len(row) - len(short) for row, short in zip(ended.rows, plain.rows, strict=True)]
    assert set(longer) <= {0, 1}
    assert sum(longer) >= 5
    assert ended.ended is not None
    assert sum(ended.ended) >= 5


def test_the_end_can_be_drawn_and_no_other_control_id(tiny: OmniBackbone) -> None:
    end = tiny.tokenizer.eos_token_id
    assert tiny.suppressed_V[end] == 0
    assert tiny.suppressed_V[sorted(tiny.control_ids - {end})].isinf().all()


def test_the_pass_scores_the_id_behind_the_answer_and_calibrates_without_it(
    tiny: OmniBackbone, prompts: Sequence[Prompt]
) -> None:
    end = tiny.tokenizer.eos_token_id
    ids, response_format = tiny.text_ids("<think>A smile.<answer>happy</answer>"), RESPONSE_FORMATS["think_answer"]
    closes = tiny.text_ids("</think>")[0]  # were it text, the answer would be part of the thought
    batch = rolled(tiny, prompts[0], [[*ids, end], [*ids, closes]], response_format)
    where = contexts(tiny, batch, response_format, calibrate=True)
    assert [list(branch.ids) for branch in where.slow] == batch.rows
    assert where.answers[0] == where.answers[1]
    assert len(where.fast) == 1


def _recipe(source: Path, corpus: dict[str, Path], **rl: Any) -> Recipe:
    section = {"num_generations": 3, "max_completion_length": 48, "num_iterations": 2, **rl}
    optim = {"max_steps": 4, "save_steps": 2, "batch_size": 2, "learning_rate": 1e-3}
    return make_recipe("rl", source, corpus["train"], optim, rl=section)


def test_a_run_logs_the_share_that_ends_and_goes_on_exactly_after_a_stop(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path
) -> None:
    recipe = _recipe(taught_folder, corpus)
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    train(recipe, whole)

    def stop(done: int, total: int, metrics: dict[str, float]) -> None:
        if done == 3:
            raise Stopped

    with pytest.raises(Stopped):
        train(recipe, resumed, stop)
    train(recipe, resumed)
    rows, logged = lines(whole / "rollouts.jsonl"), lines(whole / "metrics.jsonl")
    assert rows == lines(resumed / "rollouts.jsonl")
    assert logged == lines(resumed / "metrics.jsonl")
    first = [row["ended"] for row in rows if row["step"] == 1]
    assert logged[0]["ended_share"] == pytest.approx(sum(first) / len(first))
    assert any(first)
    for row in rows:
        assert row["ended"] or row["rewards"]["format"] == 0


def test_without_the_key_nothing_of_it_is_there(taught_folder: Path, corpus: dict[str, Path], tmp_path: Path) -> None:
    train(_recipe(taught_folder, corpus, end_token=False), tmp_path)
    assert {row["ended"] for row in lines(tmp_path / "rollouts.jsonl")} == {None}
    assert not any("ended_share" in row for row in lines(tmp_path / "metrics.jsonl"))


def test_the_loss_makes_the_end_likelier(tiny: OmniBackbone, prompts: Sequence[Prompt]) -> None:
    """Of two answers that differ in the id behind them alone, by the format reward alone."""
    learner = replace(tiny, model=copy.deepcopy(tiny.model), wrapped_model=None)
    end, response_format = tiny.tokenizer.eos_token_id, RESPONSE_FORMATS["think_answer"]
    ids = tiny.text_ids(FORMATS["think_answer"])
    batch = rolled(learner, prompts[0], [[*ids, end], [*ids, ids[0]]], response_format)
    branches, rl = contexts(learner, batch, response_format, False), RlSection(objective="rd_ad", beta=0.0)
    rewards_PGK = rewards_before_pass(batch, None, WHEELS, rl)
    advantages_PG = advantages_of(rewards_PGK, rl)
    assert advantages_PG[0, 0] > 0 > advantages_PG[0, 1]

    def passed() -> GroupPass:
        return read_rollouts(learner, learner.model, batch, branches, 1.0)

    before = passed()
    rewarded = Rewarded(batch, branches, rewards_PGK, None, advantages_PG, None, num_tokens=1.0, step=1)
    loss_of(score_first_pass(rewarded, before, None, WHEELS, rl), before, 0.0, rl).loss.backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for weight in learner.model.parameters():
            if weight.grad is not None:
                weight -= 0.1 * weight.grad
        after = passed()
    moved_BR = after.log_probs_BR - before.log_probs_BR.detach()
    assert moved_BR[0, len(ids)] > 0 > moved_BR[1, len(ids)]
