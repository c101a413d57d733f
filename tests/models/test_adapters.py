"""An adapter's folder is loaded as its base with the adapter in its weights; one that does not fit is refused."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mer_r1.errors import InputError
from mer_r1.models.backbone import Backbone
from mer_r1.models.loading import export_model, load_backbone
from mer_r1.models.lora import language_model_layers, peft_is_behind
from mer_r1.models.tiny.text import tiny_text
from tests.media_samples import make_clip, prompt_of


@torch.no_grad()
def _logits(backbone: Backbone) -> Tensor:
    return backbone.encode(backbone.collate([prompt_of(backbone, make_clip(0, 0), "No!")])).logits_PV


def _write_adapter(base: Path, folder: Path, **options: Any) -> Tensor:
    """Write a LoRA adapter of `base` that changes it to `folder`; the logits of the base with the adapter on it."""
    import peft

    backbone = load_backbone(str(base))
    layers = re.escape(language_model_layers(backbone.model))
    options = {"target_modules": rf"{layers}\.\d+\.self_attn\.[qv]_proj"} | options
    config = peft.LoraConfig(r=2, base_model_name_or_path=None, **options)
    with torch.random.fork_rng(devices=[]), peft_is_behind():
        torch.manual_seed(0)
        adapted = peft.get_peft_model(backbone.model, config)
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                torch.nn.init.normal_(parameter, std=0.3)
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(str(folder))
    return _logits(replace(backbone, prompt_style="brief"))


@pytest.fixture(scope="module", params=["omni", "vision", "qwen3_vl", "words"])
def base(
    request: pytest.FixtureRequest, tiny_folder: Path, vision_folder: Path, qwen3_vl_folder: Path, words_folder: Path
) -> Path:
    folders = {"omni": tiny_folder, "vision": vision_folder, "qwen3_vl": qwen3_vl_folder, "words": words_folder}
    return folders[request.param]


@pytest.mark.slow
def test_an_adapter_of_another_kind_of_model_is_refused_though_it_would_fit(
    tiny_folder: Path, vision_folder: Path, tmp_path: Path
) -> None:
    _write_adapter(vision_folder, tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": str(tiny_folder)}))
    learned_on = "it was learned on a Qwen2_5_VLForConditionalGeneration, and the base is a Qwen2_5OmniThinker"
    with pytest.raises(InputError, match=learned_on):
        load_backbone(str(tmp_path / "adapter"))


@pytest.mark.slow
def test_an_adapter_is_merged_into_its_base(base: Path, tmp_path: Path) -> None:
    adapted = _write_adapter(base, tmp_path / "adapter")
    state = torch.random.get_rng_state()
    loaded = load_backbone(str(tmp_path / "adapter"))
    assert torch.equal(state, torch.random.get_rng_state())
    bare = load_backbone(str(base))
    assert type(loaded) is type(bare)
    assert (loaded.budget, loaded.prompt_style, loaded.model.training) == (bare.budget, "brief", False)
    assert not any("lora" in name for name, _ in loaded.model.named_parameters())
    torch.testing.assert_close(_logits(loaded), adapted, atol=1e-4, rtol=0)
    assert float((adapted - _logits(bare)).abs().max()) > 1e-2


@pytest.mark.slow
def test_the_settings_of_an_adapter_win_over_its_bases(words_folder: Path, tmp_path: Path) -> None:
    _write_adapter(words_folder, tmp_path)
    other: Any = replace(load_backbone(str(words_folder)), prompt_style="full")
    other.save(tmp_path)
    assert load_backbone(str(tmp_path)).prompt_style == "full"
    assert load_backbone(str(tmp_path), prompt_style="brief").prompt_style == "brief"


@pytest.fixture
def adapter(words_folder: Path, tmp_path: Path) -> Path:
    _write_adapter(words_folder, tmp_path / "adapter")
    return tmp_path / "adapter"


def _refused(folder: Path, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        load_backbone(str(folder))
    message = str(caught.value)
    assert message.startswith(str(folder))
    assert "\n" not in message
    for part in parts:
        assert part in message


def _rename_base(adapter: Path, base: object) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": base}))


@pytest.mark.parametrize("base", [None, "", 3])
def test_an_adapter_that_names_no_base_is_refused(adapter: Path, base: object) -> None:
    _rename_base(adapter, base)
    _refused(adapter, "adapter_config.json: names no base_model_name_or_path")


def test_an_adapter_whose_base_is_gone_is_refused(adapter: Path) -> None:
    _rename_base(adapter, "./gone/model")
    _refused(adapter, "adapter_config.json", "./gone/model does not exist")


def test_an_adapter_of_an_adapter_is_refused(adapter: Path) -> None:
    _rename_base(adapter, str(adapter))
    _refused(adapter, "is an adapter too")


@pytest.mark.slow
def test_an_adapter_of_another_base_is_refused(adapter: Path, tmp_path: Path) -> None:
    deeper, wider = (tiny_text(["No!"], num_layers=layers, hidden_size=size) for layers, size in ((4, 128), (3, 64)))
    for number, other in enumerate((deeper, wider)):
        base = tmp_path / f"base{number}"
        other.model.save_pretrained(base)
        other.save(base)
        _rename_base(adapter, str(base))
        _refused(adapter, "cannot be merged into its base", "learned on in adapter_config.json")


@pytest.mark.parametrize("damage", ["missing", "cut", "pickle"])
def test_an_adapter_without_whole_weights_is_refused(adapter: Path, damage: str) -> None:
    path = adapter / "adapter_model.safetensors"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        path.unlink()
    if damage == "pickle":
        torch.save({}, adapter / "adapter_model.bin")
    messages = {
        "missing": "(adapter_model.safetensors); copy it again",
        "cut": "cannot be merged",
        "pickle": "is a pickle",
    }
    _refused(adapter, messages[damage])


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_damaged_adapter_configuration_is_named(adapter: Path, text: str) -> None:
    (adapter / "adapter_config.json").write_text(text)
    _refused(adapter, "adapter_config.json: not the configuration of an adapter")


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"r": "two"}, {"peft_type": "NONE_SUCH"}, {"unknown_key": 1, "peft_type": None}])
def test_an_adapter_configuration_that_says_nothing_known_is_refused(adapter: Path, change: dict[str, object]) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    _refused(adapter, "cannot be merged")


@pytest.mark.slow
def test_a_folder_that_holds_a_checkpoint_too_is_an_adapter(words_folder: Path, adapter: Path) -> None:
    """As transformers takes it: never a checkpoint with half of an adapter on it."""
    alone = _logits(load_backbone(str(adapter)))
    for name in ("config.json", "model.safetensors"):
        shutil.copy(words_folder / name, adapter / name)
    assert torch.equal(_logits(load_backbone(str(adapter))), alone)


WRITTEN_BY = {
    "the whole Omni": "base_model.model.thinker.model.",
    "the whole Omni of transformers 5.21": "base_model.model.thinker.model.language_model.",
    "Automodel at first": "thinker.base_model.model.model.",
    "transformers up to 5.20": "base_model.model.model.",
    "transformers 5.21": "base_model.model.model.language_model.",
    "no PEFT": "model.language_model.",
    "no PEFT, of the whole Omni": "thinker.model.",
}
"""By a layout's name what stands before `layers` in its keys."""


def _rewrite(folder: Path, theirs: str, ours: str = "", more: dict[str, Tensor] | None = None) -> None:
    """Give an adapter's keys, its targets and its patterns the names of another trainer.

    `theirs` stands where `ours` stood; without it in the place of all before `layers`.
    """
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "adapter_model.safetensors")
    ours = ours or next(iter(weights)).partition("layers.")[0]
    assert all(key.startswith(ours) for key in weights)
    renamed = {theirs + key.removeprefix(ours): value for key, value in weights.items()}
    save_file(renamed | (more or {}), folder / "adapter_model.safetensors")
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["target_modules"] = r"^(thinker\.model)(?=\.).*\.(q_proj|v_proj)$"
    ours, theirs = (name.replace("base_model.model.", "") for name in (ours, theirs))
    for pattern in ("rank_pattern", "alpha_pattern"):
        config[pattern] = {theirs + key.removeprefix(ours): value for key, value in config[pattern].items()}
    path.write_text(json.dumps(config))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "kind"),
    [
        *((layout, {}) for layout in WRITTEN_BY),
        *(("the whole Omni", {name: True}) for name in ("use_dora", "use_rslora")),
    ],
)
def test_an_adapter_of_another_trainer_is_merged(
    layout: str, kind: dict[str, Any], tiny_folder: Path, tmp_path: Path
) -> None:
    first = "layers.0.self_attn.q_proj"
    patterns = {"rank_pattern": {first: 3}, "alpha_pattern": {first: 24}}
    adapted = _write_adapter(tiny_folder, tmp_path, **patterns, **kind)
    voice = {"base_model.model.talker.model.layers.0.mlp.lora_A.weight": torch.ones(1)}
    _rewrite(tmp_path, WRITTEN_BY[layout], more=voice)
    torch.testing.assert_close(_logits(load_backbone(str(tmp_path))), adapted, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_an_adapter_of_a_tower_is_not_taken_for_the_language_models(tiny_folder: Path, tmp_path: Path) -> None:
    """Both have layers.0.self_attn.q_proj."""
    adapted = _write_adapter(tiny_folder, tmp_path, target_modules=r".*audio_tower\.layers\.\d+\.self_attn\.[qv]_proj")
    _rewrite(tmp_path, "base_model.model.thinker.audio_tower.")
    torch.testing.assert_close(_logits(load_backbone(str(tmp_path))), adapted, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_layers_that_were_saved_whole_come_with_the_adapter(tiny_folder: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*tie_word_embeddings")
        adapted = _write_adapter(tiny_folder, tmp_path / "adapter", modules_to_save=["embed_tokens", "lm_head"])
    _rewrite(tmp_path / "adapter", "base_model.model.thinker.", "base_model.model.")
    torch.testing.assert_close(_logits(load_backbone(str(tmp_path / "adapter"))), adapted, atol=1e-4, rtol=0)
    merged = load_backbone(str(export_model(str(tmp_path / "adapter"), tmp_path / "merged")))
    torch.testing.assert_close(_logits(replace(merged, prompt_style="brief")), adapted, atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_an_adapter_of_the_head_or_the_embeddings_leaves_the_other_as_it_is(
    target: str, tiny_folder: Path, tmp_path: Path
) -> None:
    """The tiny model has one tensor for both, and merging adds to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(tie_word_embeddings|save_embedding_layers)")
        adapted = _write_adapter(tiny_folder, tmp_path / "adapter", target_modules=[target])
    torch.testing.assert_close(_logits(load_backbone(str(tmp_path / "adapter"))), adapted, atol=1e-4, rtol=0)
    merged = load_backbone(str(export_model(str(tmp_path / "adapter"), tmp_path / "merged")))
    torch.testing.assert_close(_logits(replace(merged, prompt_style="brief")), adapted, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_a_key_without_a_layer_or_an_adapter_that_is_no_lora_is_refused(adapter: Path) -> None:
    import peft
    from safetensors.torch import load_file, save_file

    weights = load_file(adapter / "adapter_model.safetensors")
    key = next(iter(weights))
    for odd in (f"base_model.model.decoder.{key}", key.replace("layers.0", "layers.40")):
        save_file(weights | {odd: weights[key].clone()}, adapter / "adapter_model.safetensors")
        _refused(adapter, str(adapter), f"{odd} is of none of its layers")
    save_file({"base_model.model.talker.lora_A.weight": torch.ones(1)}, adapter / "adapter_model.safetensors")
    _refused(adapter, "it holds no LoRA weights")
    save_file(weights, adapter / "adapter_model.safetensors")
    config = json.loads((adapter / "adapter_config.json").read_text())
    base = config["base_model_name_or_path"]
    peft.IA3Config(target_modules=["q_proj"], feedforward_modules=[], base_model_name_or_path=base).save_pretrained(
        str(adapter)
    )
    _refused(adapter, "it is of kind IA3, and LoRA alone can be")
