"""Prompts without spread give their place to others, alike after a stop, and every one is counted."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from mer_r1.models.qwen2_5_omni import OmniBackbone
from mer_r1.models.sampler import LocalSampler
from mer_r1.models.types import Encoded, Prompt, Sampling
from mer_r1.pipelines.train import train
from mer_r1.prompting.response import RESPONSE_FORMATS
from mer_r1.recipe import Recipe
from mer_r1.rl.data import RlBatch, RlExample
from mer_r1.rl.dynamic_sampling import OpenBatch, spare_indices, stand_ins
from mer_r1.rl.rollouts import RolloutBatch, make_rollouts, step_key
from tests.training.runs import lines, make_recipe, run_stopped_at, weights

IDS = [f"clip {number}" for number in range(20)]


def _recipe(source: Path, corpus: dict[str, Path], optim: dict[str, Any] | None = None, **rl: Any) -> Recipe:
    section = {"objective": "baseline", "num_generations": 2, "max_completion_length": 48, "beta": 0.0, **rl}
    steps = {"max_steps": 3, "lr_scheduler_type": "constant", "batch_size": 3, **(optim or {})}
    return make_recipe("rl", source, corpus["train"], steps, rl=section)


def test_spare_prompts_follow_from_seed_and_step_and_are_not_of_the_step() -> None:
    taken = {"clip 3", "clip 7"}
    spare = spare_indices(0, 1, IDS, taken)
    assert sorted(spare) == [index for index in range(20) if IDS[index] not in taken]
    assert spare == spare_indices(0, 1, IDS, taken)
    assert spare != spare_indices(0, 2, IDS, taken)
    assert spare != spare_indices(1, 1, IDS, taken)
    assert spare == [index for index in spare_indices(0, 1, IDS, ()) if IDS[index] not in taken]


def test_a_place_goes_to_the_same_sample_whatever_process_names_it() -> None:
    assert stand_ins(["b", "a", "c"], [7, 3, 5, 1]) == {"a": 7, "b": 3, "c": 5}
    assert stand_ins(["c", "b", "a"], [7, 3, 5, 1]) == stand_ins(["a", "b", "c"], [7, 3, 5, 1])
    assert stand_ins(["b", "a"], [7]) == {"a": 7}
    assert stand_ins(["b", "a", "a"], [7, 3, 5]) == {"a": 7, "b": 3}  # as many as the next round leaves out


@pytest.mark.parametrize("end_token", [True, False])
def test_a_batch_with_replaced_prompts_is_that_of_its_own_prompts(
    taught: OmniBackbone, samples: list[Sample], prompts: Sequence[Prompt], end_token: bool
) -> None:
    """Ids, gold, answers, stops, and what the pass reads: two of three places are filled, the later one first."""
    examples = [RlExample(prompt, sample.labels, sample) for prompt, sample in zip(prompts, samples, strict=False)]

    def sampled(numbers: Sequence[int]) -> tuple[RlBatch, RolloutBatch]:
        batch = RlBatch(tuple(examples[number] for number in numbers))
        sampling, response_format = Sampling(40, end_token=end_token), RESPONSE_FORMATS["think_answer"]
        (made,) = make_rollouts(LocalSampler(taught), [batch], response_format, sampling, 2, step_key(0, 1))
        generated = replace(made.generated, log_probs_BR=-made.generated.ids_BR / 1000)  # as an engine gives them
        return batch, replace(made, generated=generated)

    def encode(batch: RlBatch) -> Encoded:
        return taught.encode(taught.collate(batch.prompts))

    first, others = sampled([0, 1, 2]), sampled([5, 4])
    batch = OpenBatch(*first, [False, True, False])
    assert batch.lacking() == {samples[0].id: 0, samples[2].id: 2}
    assert batch.rollouts(taught, encode) is first[1]
    batch.put([2, 0], *others, [True, False])
    assert batch.lacking() == {samples[4].id: 0}
    made, (_, wanted) = batch.rollouts(taught, encode), sampled([4, 1, 5])
    assert batch.batch().ids == made.ids == wanted.ids
    assert (made.golds, made.rows, made.texts) == (wanted.golds, wanted.rows, wanted.texts)
    assert (made.responses, made.ended, made.written) == (wanted.responses, wanted.ended, wanted.written)
    assert (made.ended is not None) == end_token
    assert torch.equal(made.generated.ids_BR, wanted.generated.ids_BR)
    assert torch.equal(made.generated.mask_BR, wanted.generated.mask_BR)
    assert torch.equal(made.generated.stopped_B, wanted.generated.stopped_B)
    assert made.generated.log_probs_BR is not None
    mask_BR = made.generated.mask_BR
    assert torch.equal(made.generated.log_probs_BR * mask_BR, -wanted.generated.ids_BR / 1000 * mask_BR)
    assert torch.equal(made.encoded.prompts.input_ids_PT, wanted.encoded.prompts.input_ids_PT)
    assert made.encoded.embeds_PTD is not None
    assert wanted.encoded.embeds_PTD is not None
    torch.testing.assert_close(made.encoded.embeds_PTD, wanted.encoded.embeds_PTD)


Groups = dict[int, dict[str, list[dict[str, Any]]]]  # a step's rollouts by sample


def _groups(run: Path) -> Groups:
    groups: Groups = defaultdict(lambda: defaultdict(list))
    for row in lines(run / "rollouts.jsonl"):
        groups[row["step"]][row["id"]].append(row)
    return groups


def _lack_spread(step: dict[str, list[dict[str, Any]]]) -> set[str]:
    return {ident for ident, rows in step.items() if all(row["advantage"] == 0 for row in rows)}


def test_only_prompts_without_spread_are_replaced_and_all_are_counted(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path
) -> None:
    """Of the first step, whose policy is the same in all runs."""
    runs = {rounds: tmp_path / str(rounds) for rounds in (0, 1, 4)}
    for rounds, run in runs.items():
        train(_recipe(taught_folder, corpus, {"max_steps": 1}, dynamic_sampling=rounds), run)
    plain, once, often = (_groups(run)[1] for run in runs.values())
    lacking = _lack_spread(plain)
    assert 0 < len(lacking) < 3
    for found in (once, often):
        assert found.keys() & plain.keys() == plain.keys() - lacking
        assert len(found) == 3
        for ident in found.keys() & plain.keys():
            assert [row["text"] for row in found[ident]] == [row["text"] for row in plain[ident]]
            assert [row["advantage"] for row in found[ident]] == [row["advantage"] for row in plain[ident]]
    assert lines(runs[1] / "metrics.jsonl")[0]["replaced_prompts"] == len(lacking)
    assert len(_lack_spread(often)) <= len(_lack_spread(once))
    assert not _lack_spread(often)
    assert lines(runs[4] / "metrics.jsonl")[0]["frac_reward_zero_std"] == 0
    assert "replaced_prompts" not in lines(runs[0] / "metrics.jsonl")[0]


def test_a_stopped_run_goes_on_with_the_same_prompts(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path
) -> None:
    recipe = _recipe(taught_folder, corpus, {"save_steps": 1, "bf16": True}, dynamic_sampling=2)
    train(recipe, tmp_path / "whole")
    run_stopped_at(recipe, tmp_path / "resumed", 2)
    train(recipe, tmp_path / "resumed")
    whole, resumed = (lines(tmp_path / name / "rollouts.jsonl") for name in ("whole", "resumed"))
    assert resumed == whole
    assert weights(tmp_path / "whole") == weights(tmp_path / "resumed")
    assert sum(row.get("replaced_prompts", 0) for row in lines(tmp_path / "whole" / "metrics.jsonl")) > 0


def _copy(corpus: dict[str, Path], folder: Path) -> Path:
    """The train manifest of a copy of the corpus that a test may spoil."""
    shutil.copytree(corpus["train"].parent, folder)
    return folder / corpus["train"].name


def test_a_stand_in_that_cannot_be_read_is_counted_and_the_place_keeps_its_prompt(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path
) -> None:
    """All prompts that are not of the step are spoilt; what is read in the stead of one is of the step already."""
    train(_recipe(taught_folder, corpus, {"max_steps": 1}), tmp_path / "plain")
    plain = _groups(tmp_path / "plain")[1]
    manifest = _copy(corpus, tmp_path / "corpus")
    for row in lines(manifest):
        for kind in ("video", "audio"):
            if row["id"] not in plain and row.get(kind):
                (manifest.parent / row[kind]).write_bytes(b"not media")
    recipe = _recipe(taught_folder, {"train": manifest}, {"max_steps": 1}, dynamic_sampling=1)
    data = recipe.data.model_copy(update={"keep_features": False, "unreadable": "skip"})
    train(recipe.model_copy(update={"data": data}), tmp_path / "run")
    found, (first, *_) = _groups(tmp_path / "run")[1], lines(tmp_path / "run" / "metrics.jsonl")
    assert found == plain
    assert "replaced_prompts" not in first
    assert first["unreadable"] == len(_lack_spread(plain))


def test_a_prompt_that_cannot_be_paid_stands_in_for_none(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path
) -> None:
    """Its answers never differ in advantage. No prompt outside of the step has countable gold."""
    train(_recipe(taught_folder, corpus, {"max_steps": 1}), tmp_path / "plain")
    plain = _groups(tmp_path / "plain")[1]
    manifest = _copy(corpus, tmp_path / "corpus")
    rows = [row if row["id"] in plain else {**row, "labels": ["qwertz"]} for row in lines(manifest)]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recipe = _recipe(taught_folder, {"train": manifest}, {"max_steps": 1}, dynamic_sampling=3)
    data = recipe.data.model_copy(update={"uncountable": "keep"})
    train(recipe.model_copy(update={"data": data}), tmp_path / "run")
    assert _lack_spread(plain)
    assert _groups(tmp_path / "run")[1] == plain
    assert "replaced_prompts" not in lines(tmp_path / "run" / "metrics.jsonl")[0]


def test_where_no_prompt_is_left_to_stand_in_the_recipe_is_refused(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"rl\.dynamic_sampling: a step takes 8 prompts and data\.train has 8"):
        train(_recipe(taught_folder, corpus, {"batch_size": 8}, dynamic_sampling=1), tmp_path)
