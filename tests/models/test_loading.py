"""A checkpoint's folder is enough to load it, as what it is; what is none is refused by name."""

import json
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file

from mer_r1.errors import InputError
from mer_r1.media import TINY_BUDGET, MediaBudget
from mer_r1.models.backbone import Backbone
from mer_r1.models.causal_lm import CausalLMBackbone
from mer_r1.models.loading import load_backbone
from mer_r1.models.qwen2_5_omni import OmniBackbone, load_omni
from mer_r1.models.qwen2_5_vl import VisionBackbone
from mer_r1.models.tiny.omni import write_tiny
from mer_r1.synthetic.corpus import minimer_texts
from tests.media_samples import ANSWERS, answer_logits, prompts_of_all_kinds

KINDS: dict[str, type[Backbone]] = {"omni": OmniBackbone, "vision": VisionBackbone, "words": CausalLMBackbone}


@pytest.fixture(scope="module")
def folders(tiny_folder: Path, vision_folder: Path, words_folder: Path) -> dict[str, Path]:
    """A checkpoint of each kind."""
    return {"omni": tiny_folder, "vision": vision_folder, "words": words_folder}


def _same_weights(one: Backbone, other: Backbone) -> bool:
    first, second = one.model.state_dict(), other.model.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_a_saved_model_answers_as_before(fresh_tiny: OmniBackbone, tmp_path: Path) -> None:
    with torch.no_grad():
        for parameter in fresh_tiny.model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    changed = replace(fresh_tiny, budget=replace(fresh_tiny.budget, num_frames=2), prompt_style="full")
    changed.model.save_pretrained(tmp_path)
    changed.save(tmp_path)
    again = load_omni(str(tmp_path))
    assert (again.budget, again.prompt_style) == (changed.budget, "full")
    texts = [*ANSWERS, *ANSWERS, *ANSWERS][:8]
    assert torch.equal(
        answer_logits(again, prompts_of_all_kinds(again), texts),
        answer_logits(changed, prompts_of_all_kinds(changed), texts),
    )


def test_given_settings_win_over_saved_ones(tiny_folder: Path, tiny: OmniBackbone) -> None:
    assert (tiny.budget, tiny.prompt_style) == (TINY_BUDGET, "brief")
    given = load_omni(str(tiny_folder), MediaBudget(num_frames=6), "full")
    assert (given.budget, given.prompt_style) == (MediaBudget(num_frames=6), "full")


def test_a_folder_without_settings_is_shown_samples_in_full(tiny_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "hub"))
    (folder / "mer_r1.json").unlink()
    loaded = load_omni(str(folder))
    assert (loaded.budget, loaded.prompt_style) == (MediaBudget(), "full")


@pytest.mark.slow
def test_the_tiny_model_of_a_seed_is_always_the_same(tiny_folder: Path, tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    same = write_tiny(tmp_path / "same", minimer_texts(300))
    other = write_tiny(tmp_path / "other", minimer_texts(300), seed=1)
    assert torch.equal(state, torch.random.get_rng_state())

    def weights(folder: Path) -> bytes:
        return (folder / "model.safetensors").read_bytes()

    assert weights(same) == weights(tiny_folder) != weights(other)
    assert (same / "tokenizer.json").read_bytes() == (tiny_folder / "tokenizer.json").read_bytes()


def test_loading_draws_no_random_number(tiny_folder: Path) -> None:
    state = torch.random.get_rng_state()
    load_omni(str(tiny_folder))
    assert torch.equal(state, torch.random.get_rng_state())


def _refused(source: Path | str, *parts: str, load: Callable[[str], Backbone] = load_omni) -> None:
    with pytest.raises(InputError) as caught:
        load(str(source))
    message = str(caught.value)
    assert str(source) in message
    assert "\n" not in message
    for part in parts:
        assert part in message


LOADERS = pytest.mark.parametrize("load", [load_omni, load_backbone])


@LOADERS
def test_a_folder_without_a_checkpoint_is_refused(load: Callable[[str], Backbone], tmp_path: Path) -> None:
    _refused(tmp_path, "no checkpoint here (config.json is missing)", load=load)


@LOADERS
def test_a_file_in_place_of_a_folder_is_refused(load: Callable[[str], Backbone], tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_text("x")
    _refused(tmp_path / "model.bin", load=load)


@LOADERS
@pytest.mark.parametrize("source", ["runs/none/model", "./none", "none"])
def test_a_folder_that_does_not_exist_is_refused(load: Callable[[str], Backbone], source: str) -> None:
    _refused(source, "no such folder", load=load)


def test_a_checkpoint_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    _refused(tmp_path, "'llama'", "qwen2_5_omni_thinker")


WITHOUT_SIZES = (
    '{"model_type": "qwen2_5_omni_thinker"}',
    '{"model_type": "qwen2_5_omni"}',
    '{"model_type": "qwen2_5_omni", "thinker_config": []}',
    '{"model_type": "qwen2_5_omni", "thinker_config": {"thinker_config": {"text_config": {}}}}',
)


@LOADERS
@pytest.mark.parametrize("text", ["{", "[]", "", "3", "\udcff", "{}", '{"model_type": 3}', *WITHOUT_SIZES])
def test_a_damaged_configuration_is_refused(load: Callable[[str], Backbone], tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    _refused(tmp_path, "config.json", "damaged", load=load)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "processor_config.json", "mer_r1.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "not text"])
def test_a_checkpoint_with_a_lost_or_damaged_file_is_refused(
    folders: dict[str, Path], tmp_path: Path, kind: str, name: str, damage: str
) -> None:
    folder = Path(shutil.copytree(folders[kind], tmp_path / "model"))
    path = folder / name
    if not path.exists() or (damage == "missing" and name == "mer_r1.json"):
        return  # words need no processor, and nothing needs the settings, see above
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:10] if damage == "cut" else b"\xff\xfe\x00")
    _refused(folder, load=load_backbone)


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_size_that_is_no_number_is_refused(folders: dict[str, Path], tmp_path: Path, kind: str) -> None:
    folder = Path(shutil.copytree(folders[kind], tmp_path / "model"))
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(re.sub(r'"hidden_size": \d+', '"hidden_size": "x"', config))
    _refused(folder, "hidden_size", load=load_backbone)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_checkpoint_without_all_its_weights_is_refused(folders: dict[str, Path], tmp_path: Path, kind: str) -> None:
    folder = Path(shutil.copytree(folders[kind], tmp_path / "model"))
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in weights if name.endswith("layers.1.self_attn.q_proj.weight"))
    del weights[lost]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    _refused(folder, "1 weights are missing", "layers.1.self_attn.q_proj.weight", load=load_backbone)


@pytest.mark.slow
def test_weights_of_another_size_are_refused_in_one_line(
    folders: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(folders[next(iter(KINDS))], tmp_path / "model"))
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("layers.1.self_attn.q_proj.weight"))
    weights[name] = weights[name][1:].contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    _refused(folder, "layers.1.self_attn.q_proj.weight is of size", "by config.json", load=load_backbone)
    assert "LOAD REPORT" not in capfd.readouterr().err


@pytest.mark.parametrize("kind", list(KINDS))
def test_weights_in_a_pickle_are_refused(folders: dict[str, Path], tmp_path: Path, kind: str) -> None:
    folder = Path(shutil.copytree(folders[kind], tmp_path / "model"))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    _refused(folder, "safetensors", load=load_backbone)


@pytest.mark.parametrize("settings", [{"budget": {"frames": 3}, "prompt_style": "brief"}, {"prompt_style": "none"}, []])
def test_settings_that_say_nothing_known_are_refused(tiny_folder: Path, tmp_path: Path, settings: object) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    (folder / "mer_r1.json").write_text(json.dumps(settings))
    _refused(folder)


def test_a_hub_that_cannot_be_reached_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its library would wait between six questions for every file."""
    asked = []

    class Unreachable:
        def head(self, url: str, **_: Any) -> None:
            asked.append(url)
            raise ConnectionError("no network")

    def never(seconds: float) -> None:
        raise AssertionError(f"waited {seconds} s for another question")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "get_session", Unreachable)
    monkeypatch.setattr(time, "sleep", never)
    for _ in range(2):
        _refused("nobody/no-such-model", "Hub id", load=load_backbone)
    assert asked == [huggingface_hub.constants.ENDPOINT]


@LOADERS
def test_a_hub_id_that_cannot_be_had_is_refused(load: Callable[[str], Backbone]) -> None:
    _refused("nobody/no-such-model", "Hub id", load=load)


def test_a_tied_head_stays_tied(tiny: OmniBackbone) -> None:
    assert tiny.model.lm_head.weight is tiny.model.get_input_embeddings().weight


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_folder_is_loaded_as_what_it_is_with_its_settings(
    folders: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    loaded = load_backbone(str(folders[kind]))
    assert type(loaded) is KINDS[kind]
    assert (loaded.budget, loaded.prompt_style, loaded.model.training) == (TINY_BUDGET, "brief", False)
    changed: Any = replace(loaded, budget=MediaBudget(num_frames=6), prompt_style="full")
    changed.model.save_pretrained(tmp_path)
    changed.save(tmp_path)
    again = load_backbone(str(tmp_path))
    assert (type(again), again.budget, again.prompt_style) == (KINDS[kind], MediaBudget(num_frames=6), "full")
    assert _same_weights(again, loaded)
    given = load_backbone(str(tmp_path), TINY_BUDGET, "brief")
    assert (given.budget, given.prompt_style) == (TINY_BUDGET, "brief")


def test_the_thinker_of_a_whole_omni_model_is_loaded(tiny_folder: Path, tiny: OmniBackbone, tmp_path: Path) -> None:
    """Published checkpoints hold the talker too."""
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "whole"))
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {"talker.x": torch.ones(1)}, folder / "model.safetensors", metadata={"format": "pt"})
    loaded = load_backbone(str(folder))
    assert type(loaded) is OmniBackbone
    assert _same_weights(loaded, tiny)


def test_a_hub_id_is_loaded_as_what_it_is(vision_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "0" * 40
    repository = tmp_path / "models--someone--tiny"
    shutil.copytree(vision_folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    loaded = load_backbone("someone/tiny")
    assert (type(loaded), loaded.budget, loaded.prompt_style) == (VisionBackbone, TINY_BUDGET, "brief")
    (repository / "snapshots" / commit / "mer_r1.json").unlink()
    assert load_backbone("someone/tiny").budget == MediaBudget()


SEEING: dict[str, dict[str, Any]] = {
    "gemma3": {},
    "gemma3n": {},
    "gemma4_unified": {},
    "llama4": {},
    "mllama": {},
    "phi4_multimodal": {},
    "qwen2_vl": {},
    "qwen3_5": {},
    "qwen3_5_moe": {},
    "minicpmo": {"vision_config": {}, "audio_config": {}},  # as is what comes with code of its own
    "phi4mm": {"speech_lora": {}},
    "qwen3": {"vision_config": {}},
}


@pytest.mark.parametrize("kind", list(SEEING))
def test_a_model_that_sees_or_hears_is_no_text_model(tmp_path: Path, words_folder: Path, kind: str) -> None:
    """It would be given a sample's subtitle alone."""
    folder = Path(shutil.copytree(words_folder, tmp_path / "other"))
    (folder / "config.json").write_text(json.dumps({"model_type": kind, **SEEING[kind]}))
    for weights in (True, False):
        _refused(
            folder,
            f"kind {kind!r} sees or hears",
            "qwen2_5_omni, qwen2_5_omni_thinker, qwen2_5_vl",
            load=lambda source, weights=weights: load_backbone(source, weights=weights),  # type: ignore[misc]
        )


def test_a_kind_that_transformers_does_not_know_is_refused(tmp_path: Path, words_folder: Path) -> None:
    folder = Path(shutil.copytree(words_folder, tmp_path / "other"))
    (folder / "config.json").write_text(json.dumps({"model_type": "newest"}))
    _refused(folder, "does not know models of kind 'newest'", "pip install -U transformers", load=load_backbone)


def test_a_hub_id_that_sees_or_hears_is_no_text_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "models--someone--seeing"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("0" * 40)
    (kept / "snapshots" / ("0" * 40)).mkdir(parents=True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    config = kept / "snapshots" / ("0" * 40) / "config.json"
    config.write_text(json.dumps({"model_type": "gemma3n"}))
    _refused("someone/seeing", "'gemma3n' sees or hears", "qwen2_5_omni", load=load_backbone)
    config.write_text(json.dumps({"vision_config": {}}))
    _refused("someone/seeing", "configuration cannot be read", "Hub id", load=load_backbone)


@pytest.mark.slow
def test_what_is_neither_of_the_kinds_is_refused(tmp_path: Path, words_folder: Path) -> None:
    folder = Path(shutil.copytree(words_folder, tmp_path / "other"))
    (folder / "config.json").write_text(json.dumps({"model_type": "vit"}))
    _refused(folder, "cannot be loaded as a causal language model", load=load_backbone)


def test_code_of_a_checkpoint_is_not_run(words_folder: Path, tmp_path: Path) -> None:
    foreign = Path(shutil.copytree(words_folder, tmp_path / "foreign"))
    code = f"open({str(tmp_path / 'ran')!r}, 'w')\nclass OwnModel: pass\nclass OwnConfig: pass\n"
    (foreign / "modeling_own.py").write_text(code)
    names = {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnModel"}
    (foreign / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": names}))
    _refused(foreign, load=load_backbone)
    assert not (tmp_path / "ran").exists()
