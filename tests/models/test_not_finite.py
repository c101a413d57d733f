"""Weights that are not numbers: sampling stops with an error that says so, and no merged checkpoint is written."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from mer_r1.generation.local import LocalGenerator
from mer_r1.models.decoding import NotFiniteError, is_drawable
from mer_r1.models.loading import export_model, load_backbone
from mer_r1.models.lora import add_lora, save_adapter
from mer_r1.models.qwen2_5_omni import OmniBackbone
from mer_r1.models.sampler import LocalSampler
from mer_r1.models.text_model import TextModel
from mer_r1.models.types import Sampling
from mer_r1.prompting.response import RESPONSE_FORMATS
from mer_r1.recipe import LoraSection
from mer_r1.rl.data import RlBatch, RlExample
from mer_r1.rl.rollouts import make_rollouts
from tests.media_samples import prompts_of_all_kinds, saying
from tests.text_models import write_text_model

MESSAGE = "the model's scores are not finite numbers"
NAN, INF = math.nan, math.inf


@contextmanager
def damaged(module: nn.Module, name: str, value: float) -> Iterator[None]:
    """Within the block one number of the parameters whose name begins with `name` is `value`."""
    weight = next(weight for key, weight in module.named_parameters() if key.startswith(name))
    with torch.no_grad():
        kept = weight.view(-1)[3].clone()
        weight.view(-1)[3] = value
        try:
            yield
        finally:
            weight.view(-1)[3] = kept


def test_a_row_can_be_drawn_from_when_its_largest_logit_is_a_number() -> None:
    rows = [[0.0, 1.0], [0.0, -INF], [0.0, NAN], [NAN, NAN], [INF, 0.0], [-INF, -INF]]
    assert is_drawable(torch.tensor(rows)).tolist() == [True, True, False, False, False, False]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("embed_tokens", NAN),  # the head's too, for they are tied
        ("layers.0.mlp.down_proj", NAN),
        ("layers.1.self_attn.v_proj.weight", INF),
        ("layers.1.mlp.up_proj", -INF),
        ("norm", INF),
    ],
)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_one_weight_that_is_no_number_ends_sampling(
    tiny: OmniBackbone, name: str, value: float, temperature: float
) -> None:
    with damaged(tiny.language_model, name, value), pytest.raises(NotFiniteError, match=MESSAGE) as caught:
        tiny.generate(tiny.encode(tiny.collate(prompts_of_all_kinds(tiny)[:2])), 2, Sampling(4, temperature))
    assert caught.value.rows == (0, 1, 2, 3)


@pytest.mark.slow
def test_only_the_clips_whose_scores_are_no_numbers_are_failed_rows(tiny: OmniBackbone, samples: list[Sample]) -> None:
    """The sound tower is damaged: whoever has no sound is answered as ever."""
    asked = [*samples[:2], Sample("text", subtitle="I am happy."), Sample("more", subtitle="I am sad.")]
    generator = LocalGenerator(tiny, 4)
    sound = {row.id: row for row in generator.generate(asked, "fast")}
    with damaged(tiny.model.get_encoder("audio"), "layers.0", NAN):
        rows = {row.id: row for row in generator.generate(asked, "fast")}
    heard = {sample.id for sample in samples[:2] if _has_sound(sound[sample.id])}
    assert heard
    assert {row.id for row in rows.values() if row.status == "error"} == heard
    assert all(MESSAGE in str(rows[name].error) for name in heard)
    assert all(rows[name].raw == sound[name].raw for name in rows.keys() - heard)


def _has_sound(row: Any) -> bool:
    return row.media.audio_s is not None


def test_a_row_that_has_ended_is_not_asked_for_its_scores(tiny: OmniBackbone, monkeypatch: pytest.MonkeyPatch) -> None:
    from mer_r1.models import backbone as module

    asked: list[int] = []

    def unsound_once_ended(logits_BV: torch.Tensor) -> torch.Tensor:
        asked.append(len(logits_BV))
        return torch.tensor([len(asked) == 1, True])

    monkeypatch.setattr(module, "is_drawable", unsound_once_ended)
    with saying([[tiny.tokenizer.eos_token_id], [*tiny.text_ids("happy"), tiny.tokenizer.eos_token_id]]):
        made = tiny.generate(tiny.encode(tiny.collate(prompts_of_all_kinds(tiny)[:2])), 1, Sampling(3))
    assert asked == [2, 2]
    assert made.rows()[0] == [tiny.tokenizer.eos_token_id]


def test_rollouts_of_such_a_policy_end_with_the_name_of_the_sample(tiny: OmniBackbone) -> None:
    prompts, response_format = prompts_of_all_kinds(tiny)[:2], RESPONSE_FORMATS["think_answer"]
    asked = RlBatch(tuple(RlExample(prompt, ("happy",), Sample(prompt.id)) for prompt in prompts))
    message = f"sample '{prompts[0].id}': {MESSAGE}"
    with damaged(tiny.language_model, "norm", NAN), pytest.raises(InputError, match=message):
        make_rollouts(LocalSampler(tiny), [asked], response_format, Sampling(3), 2, "key")


def test_a_model_of_free_prompts_says_so_too(tmp_path: Path) -> None:
    model = TextModel.load(str(write_text_model(tmp_path, template=True)))
    assert model.answer(["Words: happy, calm"])
    with torch.no_grad():
        model.model.model.layers[0].mlp.up_proj.weight[0, 0] = NAN
    with pytest.raises(InputError, match=f"{tmp_path}: {MESSAGE}"):
        model.answer(["Words: happy, calm"])


@pytest.fixture
def adapter(fresh_tiny: OmniBackbone, tmp_path: Path) -> Path:
    save_adapter(add_lora(fresh_tiny.model, LoraSection(r=2)), tmp_path / "adapter")
    return tmp_path / "adapter"


def _write(path: Path, names: Sequence[str], value: float) -> str:
    """Write `value` into one number of each tensor whose name ends with one of `names`; the first one's name."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    found: list[str] = [name for name in sorted(tensors) if name.endswith(tuple(names))]
    for name in found:
        tensors[name].view(-1)[0] = value
    save_file(tensors, path, {"format": "pt"})
    return found[0]


@pytest.mark.slow
@pytest.mark.parametrize("value", [NAN, INF])
def test_an_adapter_with_a_weight_that_is_no_number_is_neither_loaded_nor_merged(
    adapter: Path, tmp_path: Path, value: float
) -> None:
    name = _write(adapter / "adapter_model.safetensors", ["1.self_attn.q_proj.lora_B.weight"], value)
    for load in (lambda: load_backbone(str(adapter)), lambda: export_model(str(adapter), tmp_path / "out")):
        with pytest.raises(InputError, match=rf"adapter_model\.safetensors: {name} holds NaN or infinity; take an"):
            load()
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_merge_that_overflows_is_refused(adapter: Path, tmp_path: Path) -> None:
    for part in ("lora_A.weight", "lora_B.weight"):
        _write(adapter / "adapter_model.safetensors", [part], 3e38)
    with pytest.raises(
        InputError, match=r"adapter: model\.(language_model\.)?layers.*would hold NaN .*torch.float32 is too small"
    ):
        export_model(str(adapter), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_base_with_a_weight_that_is_no_number_is_not_merged(adapter: Path, tiny_folder: Path, tmp_path: Path) -> None:
    base = shutil.copytree(tiny_folder, tmp_path / "base")
    name = _write(base / "model.safetensors", ["layers.1.mlp.up_proj.weight"], NAN)
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": str(base)}))
    with pytest.raises(
        InputError, match=rf"adapter: .*{name.removeprefix('thinker.model.')} would hold .* base {base} does"
    ):
        export_model(str(adapter), tmp_path / "out")
    assert not (tmp_path / "out").exists()
