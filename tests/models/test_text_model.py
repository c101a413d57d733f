"""A local language model: one prompt has one answer, alone or in a batch; what is no such model is refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from mer_r1.errors import InputError
from mer_r1.models.text_model import TextModel
from tests.text_models import write_text_model

PROMPTS = ["happy", "Words: sad, angry\nSentiment:", "calm " * 50, "a b c", "Words: happy", "\ud800", "neutral or"]
KINDS = {True: "chat template", False: "plain prompt"}


@pytest.fixture(scope="module", params=list(KINDS), ids=list(KINDS.values()))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model's folder, with and without a chat template."""
    return write_text_model(tmp_path_factory.mktemp("random") / "model", template=request.param)


@pytest.fixture(scope="module")
def model(folder: Path) -> TextModel:
    return TextModel.load(str(folder))


@pytest.mark.slow
def test_a_prompt_has_one_answer_alone_and_in_a_batch(model: TextModel) -> None:
    alone = [model.answer([prompt])[0] for prompt in PROMPTS]
    assert len(set(alone)) > len(PROMPTS) // 2  # the prompts can be told apart
    assert model.answer(PROMPTS) == alone
    assert model.answer(PROMPTS, batch_size=3) == alone
    assert model.answer(PROMPTS[::-1]) == alone[::-1]
    assert model.answer([]) == []


def test_an_answer_ends_after_the_tokens_it_may_have(model: TextModel) -> None:
    few, many = (model.answer(PROMPTS, max_new_tokens=number) for number in (2, 20))
    assert max(map(len, few)) < max(map(len, many))


def test_a_model_is_read_in_float32_whatever_it_was_saved_in(folder: Path, tmp_path: Path) -> None:
    model = TextModel.load(str(folder))
    model.model.to(torch.bfloat16).train().save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    again = TextModel.load(str(tmp_path))
    assert again.model.dtype == torch.float32
    assert not again.model.training


def test_sampling_settings_of_a_checkpoint_change_no_answer(model: TextModel, folder: Path, tmp_path: Path) -> None:
    wild = Path(shutil.copytree(folder, tmp_path / "wild"))
    settings = {"do_sample": True, "temperature": 9.0, "top_p": 0.9, "repetition_penalty": 9.0, "max_new_tokens": 1}
    (wild / "generation_config.json").write_text(json.dumps(settings))
    assert TextModel.load(str(wild)).answer(PROMPTS) == model.answer(PROMPTS)


def test_a_tokenizer_without_a_padding_token_pads_with_another(model: TextModel, folder: Path, tmp_path: Path) -> None:
    bare = Path(shutil.copytree(folder, tmp_path / "bare"))
    config = json.loads((bare / "tokenizer_config.json").read_text())
    (bare / "tokenizer_config.json").write_text(json.dumps({**config, "pad_token": None}))
    loaded = TextModel.load(str(bare))
    assert loaded.tokenizer.pad_token_id is None
    assert loaded.answer(PROMPTS) == model.answer(PROMPTS)


@pytest.mark.slow
@pytest.mark.parametrize("template", list(KINDS), ids=list(KINDS.values()))
def test_a_taught_model_says_what_it_was_taught(template: bool, tmp_path: Path) -> None:
    """The plain model continues after its line, as such models do; the other one would after the end of its turn."""
    taught = {"Words: happy, calm": " positive", "Words: worried": " negative"}
    more = "<|im_end|> or" if template else "\nWords:"
    answers = {prompt: word + more for prompt, word in taught.items()}
    model = TextModel.load(str(write_text_model(tmp_path, template=template, answers=answers)))
    assert model.answer(list(taught)) == ["positive", "negative"]


def test_a_chat_model_is_asked_as_a_user_and_told_not_to_think(tmp_path: Path) -> None:
    model = TextModel.load(str(write_text_model(tmp_path, template=True)))
    asked = model.tokenizer.decode(model._ids("happy?"))
    assert asked == "<|im_start|>user\nhappy?<|im_end|>\n<|im_start|>assistant\n"


def _refused(source: Path | str, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        TextModel.load(str(source))
    message = str(caught.value)
    assert message.startswith(str(source))
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_what_is_no_folder_of_a_model_is_refused(tmp_path: Path) -> None:
    _refused(tmp_path, "config.json is missing", "give the folder")
    (tmp_path / "model.bin").write_text("x")
    _refused(tmp_path / "model.bin", "config.json is missing")
    _refused(tmp_path / "none", "no such folder")
    _refused("./none", "no such folder")
    _refused("runs/none/model", "no such folder")
    _refused("no-such-model", "no such folder", "Hub id")


def test_a_hub_id_that_cannot_be_had_is_refused() -> None:
    _refused("nobody/no-such-model", "cannot be loaded", "Hub id")


def test_a_model_of_another_kind_is_refused(tmp_path: Path, folder: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    for kind in ("vit", "no_such_kind"):
        (other / "config.json").write_text(json.dumps({"model_type": kind}))
        _refused(other, "cannot be loaded as a causal language model")


@pytest.mark.parametrize("text", ["{", "[]", "", "3", "{}", '{"model_type": 3}'])
def test_a_damaged_configuration_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    _refused(tmp_path, "config.json: not a model configuration")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "not text", "empty"])
def test_a_model_with_a_lost_or_damaged_file_is_refused(folder: Path, tmp_path: Path, name: str, damage: str) -> None:
    torn = Path(shutil.copytree(folder, tmp_path / "torn"))
    path = torn / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"cut": path.read_bytes()[:10], "not text": b"\xff\xfe\x00", "empty": b"{}"}[damage])
    _refused(torn)


def test_a_model_without_all_its_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    torn = Path(shutil.copytree(folder, tmp_path / "torn"))
    config = json.loads((torn / "config.json").read_text())
    (torn / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3, "layer_types": None}))
    _refused(torn, "weights are missing, such as model.layers.2.")


def test_weights_in_a_pickle_are_refused(model: TextModel, folder: Path, tmp_path: Path) -> None:
    pickled = Path(shutil.copytree(folder, tmp_path / "pickled"))
    (pickled / "model.safetensors").unlink()
    torch.save(model.model.state_dict(), pickled / "pytorch_model.bin")
    _refused(pickled, "safetensors")


def test_code_of_a_checkpoint_is_not_run(folder: Path, tmp_path: Path) -> None:
    foreign = Path(shutil.copytree(folder, tmp_path / "foreign"))
    code = f"open({str(tmp_path / 'ran')!r}, 'w')\n"
    (foreign / "modeling_own.py").write_text(code + "class OwnModel: pass\nclass OwnConfig: pass\n")
    names = {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnModel"}
    (foreign / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": names}))
    _refused(foreign)
    assert not (tmp_path / "ran").exists()
