"""A model's folder is laid out as its family's official checkpoints are, so that engines and trainers take it as it is.

vLLM maps the Thinker's weights from the prefix `thinker.` and reads the configuration that a whole one holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import mer_r1.models  # noqa: F401  before transformers, which needs torchvision to import

# isort: split
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoProcessor,
    Qwen2_5OmniForConditionalGeneration,
    Qwen2_5OmniProcessor,
    Qwen2_5OmniThinkerForConditionalGeneration,
)

from mer_r1.generation.local import LocalGenerator
from mer_r1.models.loading import load_backbone
from mer_r1.models.qwen2_5_omni import OmniBackbone
from mer_r1.models.types import Prompt
from tests.media_samples import ANSWERS, answer_logits

OMNI = re.compile(
    r"thinker\.(lm_head\.weight|model\.(embed_tokens\.weight|norm\.weight|layers\.\d+\..+)"
    r"|visual\.(patch_embed|blocks\.\d+|merger)\..+"
    r"|audio_tower\.(conv[12]|layers\.\d+|ln_post|proj|audio_bos_eos_token)\..+)"
)


def _config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config


def _same(one: Any, other: Any) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _logits(model: Any, backbone: OmniBackbone, prompts: Sequence[Prompt]) -> torch.Tensor:
    answers = [ANSWERS[0]] * len(prompts)
    return answer_logits(replace(backbone, model=model.eval(), wrapped_model=None), list(prompts), answers)


@pytest.fixture
def old_folder(tiny: OmniBackbone, tmp_path: Path) -> Path:
    """The tiny Thinker as it was written before: its own configuration, and its weights without prefix."""
    folder = tmp_path / "old"
    tiny.model.save_pretrained(folder, save_original_format=False)
    weights = load_file(folder / "model.safetensors")
    bare = {
        re.sub(r"^model\.(?=visual|audio_tower)|(?<=^model\.)language_model\.", "", name): value
        for name, value in weights.items()
    }
    save_file(bare, folder / "model.safetensors", metadata={"format": "pt"})
    tiny.save(folder)
    return folder


def test_a_thinker_is_written_as_a_whole_omni_without_voice(tiny_folder: Path) -> None:
    config = _config(tiny_folder)
    assert (config["model_type"], config["architectures"]) == ("qwen2_5_omni", ["Qwen2_5OmniModel"])
    assert (config["dtype"], config["enable_audio_output"]) == ("float32", False)
    thinker = config["thinker_config"]
    assert thinker["model_type"] == "qwen2_5_omni_thinker"
    assert thinker["tie_word_embeddings"] is thinker["text_config"]["tie_word_embeddings"] is True
    weights = load_file(tiny_folder / "model.safetensors")
    assert [name for name in weights if not OMNI.fullmatch(name)] == []
    assert "thinker.lm_head.weight" not in weights
    assert (tiny_folder / "chat_template.jinja").is_file()
    assert len({path.stat().st_mode for path in tiny_folder.iterdir()}) == 1  # who may read one may read the weights
    assert json.loads((tiny_folder / "generation_config.json").read_text())["eos_token_id"] is not None


def test_transformers_classes_take_the_folder_and_give_the_same_logits(
    tiny_folder: Path, tiny: OmniBackbone, prompts: Sequence[Prompt]
) -> None:
    thinker, found = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(tiny_folder, output_loading_info=True)
    assert not any(found.values())
    whole = Qwen2_5OmniForConditionalGeneration.from_pretrained(tiny_folder)
    assert not hasattr(whole, "talker")
    wanted = _logits(tiny.model, tiny, prompts[:2])
    for model in (thinker, whole.thinker):
        assert _same(model, tiny.model)
        assert model.lm_head.weight is model.get_input_embeddings().weight
        assert torch.equal(_logits(model, tiny, prompts[:2]), wanted)
    assert isinstance(AutoProcessor.from_pretrained(tiny_folder), Qwen2_5OmniProcessor)


def test_a_head_of_its_own_is_written_and_said(fresh_tiny: OmniBackbone, tmp_path: Path) -> None:
    model = fresh_tiny.model
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach() + 1)
    model.config.tie_word_embeddings = False  # the text's own configuration goes on saying that it is tied
    fresh_tiny.write(tmp_path / "untied")
    thinker = _config(tmp_path / "untied")["thinker_config"]
    assert thinker["tie_word_embeddings"] is thinker["text_config"]["tie_word_embeddings"] is False
    assert "thinker.lm_head.weight" in load_file(tmp_path / "untied" / "model.safetensors")
    assert _same(load_backbone(str(tmp_path / "untied")).model, model)


@pytest.mark.parametrize("prefix", ["", "thinker."])
def test_a_folder_of_the_earlier_layout_is_loaded_and_written_as_the_official_one(
    old_folder: Path, tiny_folder: Path, tiny: OmniBackbone, tmp_path: Path, prefix: str
) -> None:
    """A Thinker that came from a published checkpoint was written with the prefix already."""
    path = old_folder / "model.safetensors"
    weights = load_file(path)
    assert _config(old_folder)["model_type"] == "qwen2_5_omni_thinker"
    assert not [name for name in weights if name.startswith("thinker.")]
    save_file({f"{prefix}{name}": value for name, value in weights.items()}, path, metadata={"format": "pt"})
    loaded = load_backbone(str(old_folder))
    assert _same(loaded.model, tiny.model)
    assert (loaded.budget, loaded.prompt_style) == (tiny.budget, tiny.prompt_style)
    new = loaded.write(tmp_path / "new")
    assert {file.name for file in new.iterdir()} == {file.name for file in tiny_folder.iterdir()}
    assert _config(new)["architectures"] == ["Qwen2_5OmniModel"]
    for name in ("model.safetensors", "mer_r1.json", "chat_template.jinja"):
        assert (new / name).read_bytes() == (tiny_folder / name).read_bytes(), name


def test_predictions_know_the_weights_again_in_either_layout(old_folder: Path, tiny: OmniBackbone) -> None:
    old = LocalGenerator(load_backbone(str(old_folder)))
    assert old.settings == LocalGenerator(tiny).settings


def test_the_other_families_have_their_official_names(vision_folder: Path, words_folder: Path) -> None:
    seen = load_file(vision_folder / "model.safetensors")
    assert _config(vision_folder)["architectures"] == ["Qwen2_5_VLForConditionalGeneration"]
    assert {name.partition(".")[0] for name in seen} == {"visual", "model"}
    assert not [name for name in seen if re.match(r"model\.(visual|language_model)\.", name)]
    read = load_file(words_folder / "model.safetensors")
    assert _config(words_folder)["architectures"] == ["Qwen2ForCausalLM"]
    assert {name.partition(".")[0] for name in read} == {"model"}
