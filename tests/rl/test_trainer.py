"""RL runs: what a step writes, moves and reuses; a stopped run goes on exactly; the KL term's anchor holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mer_r1.data.manifest import read_manifest
from mer_r1.data.sample import Sample
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.metrics.corpus_score import score
from mer_r1.metrics.rewards import score_response
from mer_r1.models.backbone import chosen_log_probs
from mer_r1.models.features import read_prompts
from mer_r1.models.group_attention import GroupLayout
from mer_r1.models.qwen2_5_omni import OmniBackbone, load_omni
from mer_r1.models.types import Prompt
from mer_r1.objectives import OBJECTIVES, REWARDS
from mer_r1.pipelines.train import train
from mer_r1.prompting.response import parse_response
from mer_r1.recipe import Recipe, read_recipe
from mer_r1.rl import losses, rollouts, trainer
from mer_r1.rl import step as rl_step
from mer_r1.rl.advantages import advantages
from mer_r1.rl.data import RlPrompts
from mer_r1.rl.rollouts import RolloutBatch
from tests.training.runs import lines, make_recipe, run_stopped_at, weights

GROUP_METRICS = {
    "frac_reward_zero_std",
    "answer_words",
    "answered_share",
    "response_tokens",
    "entropy",
    "kl",
    "clip_ratio",
}


def _recipe(source: Path, corpus: dict[str, Path], optim: dict[str, Any] | None = None, **rl: Any) -> Recipe:
    section = {"num_generations": 3, "max_completion_length": 64, **rl}
    return make_recipe(
        "rl", source, corpus["train"], {"max_steps": 3, "lr_scheduler_type": "constant", **(optim or {})}, rl=section
    )


@pytest.fixture(scope="module")
def three_steps(taught_folder: Path, corpus: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a plain run."""
    return train(_recipe(taught_folder, corpus), tmp_path_factory.mktemp("plain")).parent


def test_a_step_writes_its_rollouts_and_its_group_metrics(three_steps: Path) -> None:
    made, metrics = lines(three_steps / "rollouts.jsonl"), lines(three_steps / "metrics.jsonl")
    assert Counter(row["step"] for row in made) == {1: 6, 2: 6, 3: 6}
    for step in (1, 2, 3):
        group = [row for row in made if row["step"] == step]
        assert sorted(Counter(row["id"] for row in group).values()) == [3, 3]
        means = {name: [row["rewards"][name] for row in group if row["rewards"][name] is not None] for name in REWARDS}
        logged = metrics[step - 1]
        assert logged["step"] == step
        assert logged.keys() >= GROUP_METRICS | {
            "loss",
            "grad_norm",
            *(f"reward/{name}" for name, all_ in means.items() if all_),
        }
        for name, values in means.items():
            if values:
                assert logged[f"reward/{name}"] == pytest.approx(sum(values) / len(values), abs=1e-5)
        recorded = torch.tensor([[float("nan") if v is None else v for v in row["rewards"].values()] for row in group])
        expected = advantages(recorded.view(2, 3, -1), "mer_r1", {"lambda_cali": 0.1, "lambda_fmt": 0.1}).flatten()
        assert [row["advantage"] for row in group] == pytest.approx(expected.tolist(), abs=1e-4)
    assert any(row["rewards"]["calibration_plus"] for row in made)


def test_an_objective_without_calibration_logs_none(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path
) -> None:
    train(_recipe(taught_folder, corpus, {"max_steps": 1}, objective="rd_ad"), tmp_path)
    rewards = [row["rewards"] for row in lines(tmp_path / "rollouts.jsonl")]
    assert {reward["calibration_plus"] for reward in rewards} == {None}
    assert all(0 <= reward[name] <= 1 for reward in rewards for name in ("recall", "precision", "f1", "format"))


def test_the_language_model_learns_and_frozen_towers_do_not(taught_folder: Path, three_steps: Path) -> None:
    before, after = (load_file(run / "model" / "model.safetensors") for run in (taught_folder, three_steps))
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    towers = {name for name in before if name.startswith(("thinker.visual.", "thinker.audio_tower."))}
    assert len(towers) > 20
    assert not moved & towers
    assert moved >= {name for name in before if name.startswith("thinker.model.layers.")}


def test_gradient_checkpointing_ends_in_the_same_weights(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And computes the layers of the policy's pass twice."""
    attend, calls = GroupLayout.attend, Counter[bool]()
    ends = {}
    for saving in (False, True):

        def counted(self: GroupLayout, *args: Any, saving: bool = saving) -> torch.Tensor:
            calls[saving] += 1
            return attend(self, *args)

        monkeypatch.setattr(GroupLayout, "attend", counted)
        recipe = _recipe(taught_folder, corpus, {"max_steps": 1, "gradient_checkpointing": saving}, beta=0.0)
        ends[saving] = load_file(train(recipe, tmp_path / str(saving)) / "model.safetensors")
    assert calls[True] == 2 * calls[False] > 0
    for name, value in ends[False].items():
        torch.testing.assert_close(ends[True][name], value, atol=1e-5, rtol=0)


def test_a_run_in_bfloat16_keeps_its_weights_in_float32_and_learns(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path
) -> None:
    model = train(
        _recipe(taught_folder, corpus, {"max_steps": 2, "bf16": True, "gradient_checkpointing": True}), tmp_path
    )
    before, after = (load_file(path / "model.safetensors") for path in (taught_folder / "model", model))
    assert {value.dtype for value in after.values()} == {torch.float32}
    assert any(not torch.equal(before[name], after[name]) for name in before)
    first, second = lines(tmp_path / "metrics.jsonl")[:2]
    assert 0 < first["grad_norm"] < 100
    assert first["kl"] == 0  # the reference reads in the same precision as the policy
    assert 1e-3 < second["kl"] < 1


class _Spy:
    """Stands for policy_loss and make_rollouts, and keeps what the one was given and the other made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.drawn: list[torch.Tensor] = []
        self._real, self._make = losses.policy_loss, rollouts.make_rollouts
        monkeypatch.setattr(rl_step, "policy_loss", self)
        monkeypatch.setattr(trainer, "make_rollouts", self.make_rollouts)

    def make_rollouts(self, *args: Any) -> list[RolloutBatch]:
        made = self._make(*args)
        self.drawn += [batch.generated.ids_BR for batch in made]
        return made

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls.append(tuple(a.detach().clone() if isinstance(a, torch.Tensor) else a for a in args))
        return self._real(*args, **kwargs)

    def largest_log_ratios(self) -> list[float]:
        """max |log p - log p_old| over the tokens of each step."""
        return [float((new - old)[mask.bool()].abs().max()) for new, old, _, _, mask, *_ in self.calls]

    def tokens(self, call: int, argument: int) -> torch.Tensor:
        """An argument of one call on its real tokens."""
        chosen: torch.Tensor = self.calls[call][argument][self.calls[call][4].bool()]
        return chosen


def test_rollouts_serve_num_iterations_steps(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = _Spy(monkeypatch)
    train(_recipe(taught_folder, corpus, {"max_steps": 4}, num_iterations=2), tmp_path)
    assert Counter(row["step"] for row in lines(tmp_path / "rollouts.jsonl")) == {1: 6, 3: 6}
    ratios = spy.largest_log_ratios()
    assert ratios[0] == ratios[2] == 0.0
    assert min(ratios[1], ratios[3]) > 1e-4
    for first, second in ((0, 1), (2, 3)):
        assert torch.equal(spy.calls[first][3], spy.calls[second][3])  # advantages
        assert torch.equal(spy.tokens(first, 1), spy.tokens(second, 1))  # old log-probabilities
    assert not torch.equal(spy.calls[0][1], spy.calls[2][1])


def test_accumulated_micro_batches_each_reuse_their_own_rollouts(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = _Spy(monkeypatch)
    optim = {"max_steps": 2, "batch_size": 1, "gradient_accumulation_steps": 2}
    train(_recipe(taught_folder, corpus, optim, num_iterations=2), tmp_path)
    assert Counter(row["step"] for row in lines(tmp_path / "rollouts.jsonl")) == {1: 6}
    assert len(spy.calls) == 4
    for first, second in ((0, 2), (1, 3)):
        assert torch.equal(spy.tokens(first, 1), spy.tokens(second, 1))
    assert spy.largest_log_ratios()[:2] == [0.0, 0.0]


def test_the_old_policy_is_the_one_that_sampled(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Log-probabilities are taken at the sampling temperature."""
    spy = _Spy(monkeypatch)
    train(_recipe(taught_folder, corpus, {"max_steps": 1}, temperature=1.7), tmp_path)
    taught = load_omni(str(taught_folder / "model"))
    expected = _log_probs(taught, corpus, tmp_path, spy, temperature=1.7)
    torch.testing.assert_close(spy.tokens(0, 1), expected, atol=2e-4, rtol=0)


def _log_probs(
    backbone: OmniBackbone, corpus: dict[str, Path], out: Path, spy: _Spy, call: int = 0, temperature: float = 1.0
) -> torch.Tensor:
    """log p under `backbone` of what was drawn in step `call` + 1, from the ids and the clips alone."""
    samples = {sample.id: sample for sample in read_manifest(corpus["train"])}
    rows = [row for row in lines(out / "rollouts.jsonl") if row["step"] == call + 1]
    prompts = [*read_prompts(backbone, [samples[row["id"]] for row in rows])]
    ids, mask = spy.drawn[call], spy.calls[call][4]
    with torch.no_grad():
        inputs = backbone.full_inputs(backbone.collate(prompts), ids, mask)
        logits = backbone.response_logits(backbone.model, inputs, ids.shape[1]) / temperature
    return chosen_log_probs(logits, ids)[mask.bool()]


def test_the_reference_stays_the_model_that_training_began_with(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In all it reads: its own embeddings too, however far the policy's have gone."""
    spy = _Spy(monkeypatch)
    train(_recipe(taught_folder, corpus, {"learning_rate": 1e-3, "max_steps": 4}), tmp_path)
    began = load_omni(str(taught_folder / "model"))
    for call in (0, 3):
        expected = _log_probs(began, corpus, tmp_path, spy, call)
        torch.testing.assert_close(spy.tokens(call, 2), expected, atol=1e-3, rtol=0)


def test_a_run_resumed_in_its_first_and_in_its_second_epoch_ends_as_an_uninterrupted_one(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path
) -> None:
    """An epoch has four batches of two; rollouts, weights and log are the same to the last bit."""
    recipes = {
        save_steps: _recipe(taught_folder, corpus, {"max_steps": 6, "save_steps": save_steps}, num_generations=2)
        for save_steps in (2, 5)
    }
    train(recipes[2], tmp_path / "whole")
    for save_steps, stop_at in ((2, 4), (5, 6)):
        out = tmp_path / f"resumed from {save_steps}"
        run_stopped_at(recipes[save_steps], out, stop_at)
        train(recipes[save_steps], out)
        whole, resumed = (lines(folder / "rollouts.jsonl") for folder in (tmp_path / "whole", out))
        assert [(row["step"], row["id"]) for row in resumed] == [(row["step"], row["id"]) for row in whole]
        assert resumed == whole
        whole, resumed = (lines(folder / "metrics.jsonl") for folder in (tmp_path / "whole", out))
        assert resumed[:-1] == whole[:-1]
        assert weights(tmp_path / "whole") == weights(out)


def test_towers_learn_where_the_recipe_says_so(taught_folder: Path, corpus: dict[str, Path], tmp_path: Path) -> None:
    recipe = _recipe(taught_folder, corpus, {"max_steps": 2})
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"train_towers": True})})
    before, after = (
        load_file(path / "model.safetensors") for path in (taught_folder / "model", train(recipe, tmp_path))
    )
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    for tower in ("thinker.visual.", "thinker.audio_tower."):
        weights_of = {name for name in before if name.startswith(tower)}
        assert len(moved & weights_of) > 0.9 * len(weights_of) > 10


def test_an_epoch_takes_every_prompt_once_in_an_order_of_its_own(
    taught_folder: Path, corpus: dict[str, Path], samples: list[Sample], tmp_path: Path
) -> None:
    train(_recipe(taught_folder, corpus, {"max_steps": 8}, num_generations=2, max_completion_length=8), tmp_path)
    rows = lines(tmp_path / "rollouts.jsonl")
    epochs = [[row["id"] for row in rows[start : start + 16 : 2]] for start in (0, 16)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(sample.id for sample in samples)
    assert epochs[0] != epochs[1]


def test_a_recipe_can_name_every_objective_and_no_other() -> None:
    for objective in OBJECTIVES:
        assert read_recipe("minimer-rl", [f"rl.objective={objective}"]).rl.objective == objective
    with pytest.raises(InputError, match="mer_r2"):
        read_recipe("minimer-rl", ["rl.objective=mer_r2"])


def test_a_sample_whose_gold_reaches_no_category_has_no_gold(samples: list[Sample], prompts: Sequence[Prompt]) -> None:
    odd = RlPrompts([*samples, Sample("odd", labels=("zzz",))], [*prompts, prompts[0]], WheelSet.load("builtin"))
    assert [bool(odd[index].gold) for index in range(len(odd))] == [True] * len(samples) + [False]


def test_gold_is_read_by_the_parser_of_the_protocol(prompts: Sequence[Prompt]) -> None:
    """So that a gold answer earns 1 from what the evaluator gives 1."""
    wheels = WheelSet.load(protocol="corrected")
    samples = [Sample("a", labels=("Happy and sad.",)), Sample("b", labels=("no such word",))]
    found = RlPrompts(samples, prompts, wheels)
    assert [found[index].gold for index in range(2)] == [("happy", "sad"), ("no such word",)]
    answer = parse_response("<think>x</think><answer>happy and sad.</answer>")
    gold, said = {"a": list(samples[0].labels)}, {"a": "happy and sad."}
    assert score_response(answer, found[0].gold, wheels).f1 == score(gold, said, wheels).open_vocabulary.f1 == 1.0


def test_a_step_makes_the_better_answers_of_a_group_likelier_and_the_worse_ones_less_so(
    taught_folder: Path, corpus: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen where the same rollouts are used again: advantage and change of log p go together."""
    spy = _Spy(monkeypatch)
    optim = {"learning_rate": 1e-4, "max_steps": 2, "batch_size": 8}
    train(_recipe(taught_folder, corpus, optim, num_iterations=2, beta=0.0), tmp_path)
    new, old, _, advantage, mask = spy.calls[1][:5]
    change = (new - old).masked_fill(mask == 0, 0.0).sum(1) / mask.sum(1)
    assert float(advantage.abs().max()) > 0.5
    assert float(change[advantage > 0].mean()) > 0 > float(change[advantage < 0].mean())
