"""A checkpoint's folder is enough to load it; what is none is refused by name."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mer_r1.errors import InputError
from mer_r1.media import TINY_BUDGET, MediaBudget
from mer_r1.models.omni import OmniBackbone, load_omni
from mer_r1.models.tiny import write_tiny
from mer_r1.synthetic.corpus import minimer_texts
from tests.media_samples import ANSWERS, answer_logits, prompts_of_all_kinds


def test_a_saved_model_answers_as_before(fresh_tiny: OmniBackbone, tmp_path: Path) -> None:
    with torch.no_grad():
        fresh_tiny.model.model.norm = getattr(fresh_tiny.model.model, "norm", None)
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


def _refused(source: Path | str, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        load_omni(str(source))
    message = str(caught.value)
    assert str(source) in message
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    _refused(tmp_path, "config.json is missing")


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_text("x")
    _refused(tmp_path / "model.bin")


def test_a_checkpoint_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    _refused(tmp_path, "'llama'", "qwen2_5_omni_thinker")


@pytest.mark.parametrize("text", ["{", "[]", "", "3", "\udcff"])
def test_a_damaged_configuration_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    _refused(tmp_path, "config.json", "damaged")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "processor_config.json", "mer_r1.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "not text"])
def test_a_checkpoint_with_a_lost_or_damaged_file_is_refused(
    tiny_folder: Path, tmp_path: Path, name: str, damage: str
) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    path = folder / name
    if damage == "missing":
        path.unlink()
        if name == "mer_r1.json":
            return  # not needed, see above
    else:
        path.write_bytes(path.read_bytes()[:10] if damage == "cut" else b"\xff\xfe\x00")
    _refused(folder)


@pytest.mark.parametrize("settings", [{"budget": {"frames": 3}, "prompt_style": "brief"}, {"prompt_style": "none"}, []])
def test_settings_that_say_nothing_known_are_refused(tiny_folder: Path, tmp_path: Path, settings: object) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    (folder / "mer_r1.json").write_text(json.dumps(settings))
    _refused(folder)


def test_a_hub_id_that_cannot_be_had_is_refused() -> None:
    _refused("nobody/no-such-model", "Hub id")


def test_a_tied_head_stays_tied(tiny: OmniBackbone) -> None:
    assert tiny.model.lm_head.weight is tiny.model.get_input_embeddings().weight
