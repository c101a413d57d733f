"""Parity with TRL 1.16: the same rollouts and rewards give its loss and its gradient, step by step.

Both trainers run as they are, GrpoTrainer here and trl.GRPOTrainer there, from one checkpoint on the CPU in float32;
only what was sampled is fixed, by a stand-in for `generate` on one side and TRL's `rollout_func` on the other. TRL's
advantages, old log-probabilities, reference, loss and accumulation are its own code. Every optimiser step is compared,
and from the second on the policy has left the one that sampled, so clipping and KL are at work.

Where a case corrects the mismatch of a sampler, both are given the same log-probabilities as sampled: those of the
starting policy, moved. TRL takes them as vLLM's, whose engine is all that is stood in for.

Some things are set alike by hand. TRL knows no suppressed ids, so none is suppressed here. Its use_bias_correction_kl
is what `kl` "k3_corrected" is here. It calls an answer truncated that does not end with the end token, so the same ones
are called so here. And both take plain SGD: Adam's first step is the gradient's sign, which makes a rounding error near
0 as large as the learning rate.

Tolerances: 1e-5 of the gradient's norm, and for the loss 1e-5 of an advantage's unit, since a mean of normalised
advantages is near 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mer_r1.data.sample import Sample
from mer_r1.emotion.wheel import WheelSet
from mer_r1.media import read_clip
from mer_r1.metrics.rewards import score_response
from mer_r1.models.backbone import pad_right
from mer_r1.models.causal_lm import CausalLMBackbone, load_causal_lm
from mer_r1.models.tiny.text import tiny_text
from mer_r1.models.types import Encoded, Generated
from mer_r1.prompting.response import parse_response
from mer_r1.recipe import Recipe
from mer_r1.rl.data import RlPrompts

if TYPE_CHECKING:
    from transformers import Trainer

pytestmark = [
    pytest.mark.slow,
    # TRL says of the hook that hands it rollouts that it may change.
    pytest.mark.filterwarnings("ignore:You are using 'rollout_func':UserWarning"),
    # TRL 1.16 asks the model by a name that transformers 5.23 keeps as an alias.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]

LAMBDA_FMT = 0.1
SAMPLES = (
    Sample("short", subtitle="No!", labels=("happy",)),
    Sample("long", subtitle="It is awful news, and they did it without me. I could not do anything.", labels=("sad",)),
    Sample("two", subtitle="We talked for a while.", labels=("angry", "worried")),
    Sample("flat", subtitle="I told them how it goes.", labels=("happy", "proud")),
)
# Groups of four: right and wrong answers, malformed ones, of many lengths; the last group has no signal.
ANSWERS = {
    "short": (
        "<think>A smile.</think><answer>happy, sad</answer>",
        "<think>No.</think><answer>happy</answer>",
        "happy",
        "<think>They did it without me, and I could not do anything.</think><answer>angry, sad, worried</answer>",
    ),
    "long": (
        "<think>It is awful.</think><answer>sad</answer>",
        "<think>Awful news, and it was not in my hands at all.</think><answer>sad, happy, calm</answer>",
        "<answer>sad</answer>",
        "<think>So that was the day.</think><answer>happy</answer>",
    ),
    "two": (
        "<think>Loud.</think><answer>angry</answer>",
        "<think>Loud and fast.</think><answer>angry, worried</answer>",
        "<think></think><answer>calm</answer>",
        "<think>A while.",
    ),
    "flat": ("<think>a</think><answer>happy</answer>", "<think>I told them how it goes.</think><answer>happy</answer>")
    * 2,
}
REWARD_WEIGHTS = {
    "baseline": {"f1": 1.0, "format": LAMBDA_FMT},
    "dr_grpo": {"f1": 1.0, "format": LAMBDA_FMT},
    "rd": {"recall": 1.0, "precision": 1.0, "format": LAMBDA_FMT},
    "gdpo": {"recall": 1.0, "precision": 1.0, "format": LAMBDA_FMT},
}


@dataclass(frozen=True)
class Case:
    """What a run is asked for. `rl` has the names that both sides have, `trl` what TRL calls otherwise.

    From the second of `rounds` on, the reference is not the policy that sampled. With a `mismatch` another sampler did,
    and the correction of that name is bounded by CAP.
    """

    objective: str
    rl: dict[str, Any]
    trl: dict[str, Any] = field(default_factory=dict)
    accumulation: int = 1
    num_samples: int = 4
    rounds: int = 1
    kl: str = "k3"
    mismatch: str | None = None

    @property
    def num_steps(self) -> int:
        """Optimiser steps: every round of rollouts serves NUM_ITERATIONS."""
        return self.rounds * NUM_ITERATIONS


SEQUENCE = {"importance_sampling_level": "sequence"}
CASES = {
    "baseline": Case("baseline", {"loss_type": "grpo", "beta": 0.0}),
    "baseline, KL": Case("baseline", {"loss_type": "grpo", "beta": 0.5, "temperature": 1.3}, rounds=2),
    "one group": Case("baseline", {"loss_type": "grpo", "beta": 0.0}, num_samples=1),
    "batch std": Case("rd", {"loss_type": "bnpo", "beta": 0.0, "scale_rewards": "batch"}),
    "dr_grpo": Case("dr_grpo", {"loss_type": "dr_grpo", "beta": 0.0}, {"scale_rewards": "none"}),
    "dr_grpo, KL": Case(
        "baseline", {"loss_type": "dr_grpo", "beta": 0.5, "scale_rewards": "none", "epsilon_high": 0.1}, accumulation=2
    ),
    "dapo": Case("baseline", {"loss_type": "dapo", "beta": 0.0, "epsilon_high": 0.1}, accumulation=2),
    "dapo, KL": Case("baseline", {"loss_type": "dapo", "beta": 0.5, "epsilon_high": 0.1}, accumulation=4),
    "KL corrected": Case("baseline", {"loss_type": "grpo", "beta": 0.5}, rounds=2, kl="k3_corrected"),
    "sequence": Case("baseline", {"loss_type": "grpo", "beta": 0.5, **SEQUENCE}, rounds=2),
    "sequence, dapo": Case("baseline", {"loss_type": "dapo", "beta": 0.5, **SEQUENCE}, accumulation=2),
    "delta": Case("baseline", {"loss_type": "grpo", "beta": 0.0, "delta": 1.03}),
    "truncated": Case("baseline", {"loss_type": "grpo", "beta": 0.5, "mask_truncated_completions": True}, rounds=2),
    "truncated, dapo": Case(
        "baseline", {"loss_type": "dapo", "beta": 0.0, "mask_truncated_completions": True}, accumulation=2
    ),
    "gdpo": Case("gdpo", {"loss_type": "dapo", "beta": 0.0}, {"multi_objective_aggregation": "normalize_then_sum"}, 2),
    "token_truncate": Case("baseline", {"loss_type": "grpo", "beta": 0.5}, rounds=2, mismatch="token_truncate"),
    "token_mask, dapo": Case(
        "baseline", {"loss_type": "dapo", "beta": 0.0, "mask_truncated_completions": True}, {}, 2, mismatch="token_mask"
    ),
    "sequence_truncate, sequence": Case(
        "baseline", {"loss_type": "grpo", "beta": 0.5, **SEQUENCE}, mismatch="sequence_truncate"
    ),
    "sequence_mask": Case("baseline", {"loss_type": "grpo", "beta": 0.5}, rounds=2, mismatch="sequence_mask"),
    "sequence_mask, dapo": Case("baseline", {"loss_type": "dapo", "beta": 0.0}, {}, 4, mismatch="sequence_mask"),
}
CAP = 1.5
EPSILON, NUM_ITERATIONS, LEARNING_RATE = 0.02, 2, 0.05


@dataclass
class Run:
    """What a trainer did: per optimiser step its loss, its gradient by parameter, and the logged numbers."""

    losses: list[float] = field(default_factory=list)
    gradients: list[dict[str, Tensor]] = field(default_factory=list)
    logs: list[dict[str, float]] = field(default_factory=list)
    _parts: list[float] = field(default_factory=list)

    def train(self, trainer: Trainer) -> Run:
        """Train to the end, watching."""
        from transformers import TrainerCallback

        run, step = self, trainer.training_step

        class Watch(TrainerCallback):
            def on_pre_optimizer_step(self, *args: Any, model: Any, **kwargs: Any) -> None:
                run.gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
                run.losses.append(sum(run._parts))
                run._parts.clear()

            def on_log(self, *args: Any, logs: dict[str, float], **kwargs: Any) -> None:
                run.logs.append(logs)

        def training_step(*args: Any, **kwargs: Any) -> Tensor:
            loss: Tensor = step(*args, **kwargs)
            run._parts.append(float(loss))
            return loss

        trainer.training_step = training_step
        trainer.add_callback(Watch())
        trainer.train()
        return self


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A random language model of two layers, which both sides load."""
    path = tmp_path_factory.mktemp("parity") / "model"
    texts = [*(sample.subtitle or "" for sample in SAMPLES), *(text for group in ANSWERS.values() for text in group)]
    backbone = tiny_text(texts, hidden_size=64, num_layers=2, vocab_size=400)
    backbone.model.save_pretrained(path)
    backbone.save(path)
    return path


def _responses(backbone: CausalLMBackbone, ident: str) -> list[list[int]]:
    """Ids of a group's answers; the first and the last end with the end token, as those that ended by themselves."""
    end, rows = int(backbone.tokenizer.eos_token_id), [backbone.text_ids(text) for text in ANSWERS[ident]]
    return [[*rows[0], end], *rows[1:-1], [*rows[-1], end]]


@torch.no_grad()
def _sampled(backbone: CausalLMBackbone, samples: Sequence[Sample], case: Case) -> dict[str, list[list[float]]]:
    """Log-probabilities as another sampler than the policy might give them: the policy's, moved at random."""
    generator, found = torch.Generator().manual_seed(1), dict[str, list[list[float]]]()
    for sample in samples:
        prompt = backbone.prepare(sample, read_clip(sample, backbone.budget)).input_ids_T.tolist()
        found[sample.id] = []
        for row in _responses(backbone, sample.id):
            logits_RV = backbone.model(torch.tensor([prompt + row])).logits[0, len(prompt) - 1 : -1]
            log_probs_RV = (logits_RV / case.rl.get("temperature", 1.0)).log_softmax(-1)
            log_probs_R = log_probs_RV.gather(-1, torch.tensor(row)[:, None])[:, 0]
            found[sample.id].append((log_probs_R + 0.2 * torch.randn(len(row), generator=generator)).tolist())
    return found


def _sgd(model: Any) -> tuple[Any, Any]:
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)


def _longest(backbone: CausalLMBackbone) -> int:
    """Two more than any answer has: dr_grpo divides by it."""
    return 2 + max(len(row) for ident in ANSWERS for row in _responses(backbone, ident))


def _ours(folder: Path, case: Case, out: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    from mer_r1.rl.trainer import GrpoTrainer
    from mer_r1.training.run_folder import RunFolder

    backbone, samples = load_causal_lm(str(folder)), SAMPLES[: case.num_samples]
    monkeypatch.setattr(CausalLMBackbone, "suppressed_V", torch.zeros(backbone.model.config.vocab_size))
    prompts = [backbone.prepare(sample, read_clip(sample, backbone.budget)) for sample in samples]
    answers = {tuple(prompt.input_ids_T.tolist()): prompt.id for prompt in prompts}
    sampled = _sampled(backbone, samples, case) if case.mismatch else {}

    def generate(encoded: Encoded, num_generations: int, *args: Any, **kwargs: Any) -> Generated:
        batch = encoded.prompts
        keys = [tuple(ids[mask.bool()].tolist()) for ids, mask in zip(batch.input_ids_PT, batch.mask_PT, strict=True)]
        rows = [row for key in keys for row in _responses(backbone, answers[key])]
        stopped = torch.tensor([row[-1] == backbone.tokenizer.eos_token_id for row in rows])
        made = Generated(*pad_right(rows, 0, backbone.device), stopped)
        if not case.mismatch:
            return made
        log_probs = [torch.tensor(row) for key in keys for row in sampled[answers[key]]]
        return replace(made, log_probs_BR=pad_sequence(log_probs, batch_first=True))

    monkeypatch.setattr(backbone, "generate", generate)
    recipe = Recipe.model_validate(
        {
            "kind": "rl",
            "model": {"source": str(folder)},
            "data": {"train": str(folder), "workers": 0},
            "optim": {
                "learning_rate": LEARNING_RATE,
                "max_steps": case.num_steps,
                "batch_size": case.num_samples // case.accumulation,
                "gradient_accumulation_steps": case.accumulation,
                "max_grad_norm": 1e9,
                "logging_steps": 1,
                "save_steps": 100 * NUM_ITERATIONS,
            },
            "rl": {
                "objective": case.objective,
                "num_generations": 4,
                "max_completion_length": _longest(backbone),
                "epsilon": EPSILON,
                "num_iterations": NUM_ITERATIONS,
                "lambda_fmt": LAMBDA_FMT,
                **({"kl": case.kl} if case.rl["beta"] else {}),
                **case.rl,
            },
        }
    )
    if case.mismatch:  # of a sampler that is stood in for, so that the recipe has none
        section = {"mismatch": case.mismatch, "mismatch_cap": CAP, "max_mismatch": 10.0}
        recipe = recipe.model_copy(update={"rl": recipe.rl.model_copy(update=section)})
    wheels = WheelSet.load(recipe.rl.wheels, protocol=recipe.rl.protocol)
    out.mkdir()
    trainer = GrpoTrainer(
        backbone,
        recipe,
        wheels,
        run=RunFolder(out),
        train_dataset=RlPrompts(samples, prompts, wheels),
        optimizers=_sgd(backbone.model),
    )
    return Run().train(trainer)


def _reward(name: str, wheels: WheelSet) -> Any:
    """One of the rewards of a text, as a function that TRL calls."""

    def reward(completions: Sequence[str], gold: Sequence[Sequence[str]], **_: Any) -> list[float]:
        pairs = zip(completions, gold, strict=True)
        return [
            float(getattr(score_response(parse_response(text), tuple(words), wheels), name)) for text, words in pairs
        ]

    return reward


def _theirs(folder: Path, case: Case, out: Path) -> Run:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import GRPOConfig, GRPOTrainer

    backbone, samples = load_causal_lm(str(folder)), SAMPLES[: case.num_samples]
    prompt_ids = {
        sample.id: backbone.prepare(sample, read_clip(sample, backbone.budget)).input_ids_T.tolist()
        for sample in samples
    }

    sampled = _sampled(backbone, samples, case) if case.mismatch else {}

    def rollouts(prompts: Sequence[str], trainer: Any) -> dict[str, Any]:
        groups = prompts[::4]
        return {
            "prompt_ids": [prompt_ids[ident] for ident in prompts],
            "completion_ids": [row for ident in groups for row in _responses(backbone, ident)],
            "logprobs": [row for ident in groups for row in sampled[ident]] if sampled else None,
        }

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    weights = REWARD_WEIGHTS[case.objective]
    config = GRPOConfig(
        output_dir=str(out),
        use_cpu=True,
        bf16=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        activation_checkpointing=False,
        learning_rate=LEARNING_RATE,
        max_steps=case.num_steps,
        per_device_train_batch_size=4 * case.num_samples // case.accumulation,
        gradient_accumulation_steps=case.accumulation,
        max_grad_norm=1e9,
        logging_steps=1,
        num_generations=4,
        max_completion_length=_longest(backbone),
        epsilon=EPSILON,
        num_iterations=NUM_ITERATIONS,
        use_bias_correction_kl=case.kl == "k3_corrected",
        reward_weights=list(weights.values()),
        **{**case.rl, **case.trl},
        **(
            {"vllm_importance_sampling_mode": case.mismatch, "vllm_importance_sampling_clip_max": CAP}
            if sampled
            else {}
        ),
    )
    wheels = WheelSet.load("builtin")
    trainer = GRPOTrainer(
        model,
        [_reward(name, wheels) for name in weights],
        config,
        Dataset.from_list([{"prompt": sample.id, "gold": list(sample.labels)} for sample in samples]),
        processing_class=backbone.tokenizer,
        rollout_func=rollouts,
        optimizers=_sgd(model),
    )
    if sampled:  # what it does with the log-probabilities of an engine, of which it asks no more than to take weights
        trainer.use_vllm, trainer._last_loaded_step = True, -1
        trainer.vllm_generation = MagicMock()
    return Run().train(trainer)


def _flat(gradient: dict[str, Tensor]) -> Tensor:
    return torch.cat([gradient[name].flatten() for name in sorted(gradient)]).double()


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_are_those_of_trl(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    case = CASES[name]
    ours, theirs = _ours(folder, case, tmp_path / "ours", monkeypatch), _theirs(folder, case, tmp_path / "trl")
    assert len(ours.losses) == len(theirs.losses) == case.num_steps
    for step in range(case.num_steps):
        assert ours.losses[step] == pytest.approx(theirs.losses[step], abs=1e-5)
        expected = _flat(theirs.gradients[step])
        difference = float((_flat(ours.gradients[step]) - expected).norm()) / float(expected.norm())
        assert difference <= 1e-5
        if case.accumulation == 1:  # TRL mixes the groups of micro-batches, and these are means of their means
            _compare_logs(case, ours.logs[step], theirs.logs[step], step % NUM_ITERATIONS == 0)


def _compare_logs(case: Case, ours: dict[str, float], theirs: dict[str, float], is_first: bool) -> None:
    """Means over tokens. In all steps but the first after sampling, answers are clipped on both edges.

    TRL counts clipped sequences where the ratio is theirs, and takes the entropy of what the loss reads.
    """
    if not case.rl.keys() & SEQUENCE.keys():
        assert ours["clip_ratio"] == pytest.approx(theirs["clip_ratio/region_mean"], abs=1e-6)
    assert ours["kl"] == pytest.approx(theirs.get("kl", 0.0), rel=1e-4, abs=1e-8)
    if case.mismatch and is_first:
        assert 0.01 < ours["sampling/frac_capped"] < 0.8
        for name in ("sampling_logp_difference/mean", "sampling_logp_difference/max", "importance_sampling_ratio/mean"):
            assert ours[f"sampling/{name}"] == pytest.approx(theirs[f"sampling/{name}"], rel=1e-4), name
    if not is_first:
        assert min(theirs["clip_ratio/low_mean"], theirs["clip_ratio/high_mean"]) > 0.02
        assert (ours["clip_ratio_dual"] > 0.02) == ("delta" in case.rl)
    elif "mask_truncated_completions" not in case.rl:
        assert ours["entropy"] == pytest.approx(theirs["entropy"], rel=1e-5)
