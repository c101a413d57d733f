"""`mer-r1 merge`: a run's adapter becomes a plain model with its card."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mer_r1.commands import main
from mer_r1.models.qwen2_5_omni import OmniBackbone, load_omni
from mer_r1.recipe import LoraSection, Recipe


@pytest.fixture
def lora_run(fresh_tiny: OmniBackbone, tiny_folder: Path, tmp_path: Path) -> Path:
    """A run's folder with an adapter, a recipe and facts, as training leaves it."""
    from mer_r1.models.lora import add_lora, save_adapter

    folder = tmp_path / "run"
    save_adapter(add_lora(fresh_tiny.model, LoraSection(r=2)), folder / "model")
    fresh_tiny.save(folder / "model")
    tree = {
        "kind": "rl",
        "model": {"source": str(tiny_folder), "lora": {"r": 2}},
        "data": {"train": "train.jsonl"},
        "optim": {"learning_rate": 1e-4},
    }
    (folder / "recipe.yaml").write_text(Recipe.model_validate(tree).as_yaml())
    (folder / "run.json").write_text(json.dumps({"steps": 7, "versions": {"mer_r1": "0"}}))
    return folder


def test_a_run_is_merged_into_a_folder_that_loads_and_has_a_card(
    lora_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "merged"
    assert main(["merge", str(lora_run), "--out", str(out)]) == 0
    assert load_omni(str(out)).model.num_parameters() > 0
    card = (out / "README.md").read_text()
    assert "library_name: transformers" in card
    assert "optimiser steps: 7" in card
    assert str(tmp_path) not in card
    assert f"Model: {out}" in capsys.readouterr().out


@pytest.mark.slow
def test_the_model_folder_alone_is_enough(lora_run: Path, tmp_path: Path) -> None:
    assert main(["merge", str(lora_run / "model"), "--out", str(tmp_path / "merged")]) == 0
    assert (tmp_path / "merged" / "model.safetensors").is_file()


def test_what_is_no_adapter_is_named_with_the_fix(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for source, message in ((tiny_folder, "holds no adapter"), (tmp_path / "none", "no such folder")):
        assert main(["merge", str(source), "--out", str(tmp_path / "merged")]) == 2
        printed = capsys.readouterr().err
        assert message in printed
        assert "give a run trained with model.lora" in printed
