"""`mer-r1 export`: any model, or an adapter with its base, in the official layout and with its card."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

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


def test_an_adapter_s_run_becomes_a_folder_that_loads_and_has_a_card(
    lora_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "merged"
    assert main(["merge", str(lora_run), "--out", str(out)]) == 0  # the earlier name
    assert load_omni(str(out)).model.num_parameters() > 0
    card = (out / "README.md").read_text()
    assert "library_name: transformers" in card
    assert "optimiser steps: 7" in card
    assert str(tmp_path) not in card
    assert f"Model: {out}" in capsys.readouterr().out


def test_the_model_folder_alone_is_enough(lora_run: Path, tmp_path: Path) -> None:
    assert main(["export", str(lora_run / "model"), "--out", str(tmp_path / "merged")]) == 0
    assert (tmp_path / "merged" / "model.safetensors").is_file()
    assert "optimiser steps: 7" in (tmp_path / "merged" / "README.md").read_text()


def test_a_damaged_record_is_one_line_and_leaves_nothing(
    lora_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (lora_run / "run.json").write_text("{")
    assert main(["export", str(lora_run), "--out", str(tmp_path / "merged")]) == 2
    assert capsys.readouterr().err.endswith("run.json: cannot be read as JSON; remove it or write it again\n")
    assert not (tmp_path / "merged").exists()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [None, "bfloat16", "float16", "float32"])
def test_a_folder_of_the_earlier_layout_is_written_as_the_official_one(
    tiny: OmniBackbone, tmp_path: Path, dtype: str | None
) -> None:
    tiny.model.save_pretrained(tmp_path / "old")
    tiny.save(tmp_path / "old")
    out = tmp_path / "new"
    assert main(["export", str(tmp_path / "old"), "--out", str(out), *(["--dtype", dtype] if dtype else [])]) == 0
    weights = load_file(out / "model.safetensors")
    assert {name.partition(".")[0] for name in weights} == {"thinker"}
    wanted = getattr(torch, dtype or "float32")
    assert {value.dtype for value in weights.values()} == {wanted}
    config = json.loads((out / "config.json").read_text())
    assert (config["model_type"], config["dtype"]) == ("qwen2_5_omni", dtype or "float32")
    loaded = load_omni(str(out))
    assert (loaded.budget, loaded.prompt_style, loaded.model.dtype) == (tiny.budget, tiny.prompt_style, wanted)
    before, after = tiny.model.state_dict(), loaded.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], before[name].to(wanted)) for name in before)
    assert not (out / "README.md").exists()


def test_what_is_no_model_or_cannot_be_written_is_one_line_and_leaves_nothing(
    tiny: OmniBackbone, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torn = Path(shutil.copytree(tiny_folder, tmp_path / "torn"))
    weights = load_file(torn / "model.safetensors")
    weights["thinker.model.norm.weight"][3] = torch.inf
    save_file(weights, torn / "model.safetensors", metadata={"format": "pt"})
    large = Path(shutil.copytree(tiny_folder, tmp_path / "large"))
    weights["thinker.model.norm.weight"][3] = 1e9
    save_file(weights, large / "model.safetensors", metadata={"format": "pt"})
    out = tmp_path / "out"
    for source, options, message in (
        (tmp_path, [], "no checkpoint here (config.json is missing)"),
        (tmp_path / "none", [], "no such folder; give a run"),
        (torn, [], "norm.weight would hold NaN or infinity: the model does"),
        (large, ["--dtype", "float16"], "torch.float16 is too small for it"),
        (tiny_folder, ["--dtype", "int8"], "invalid choice: 'int8'"),
        (tiny_folder, ["--out", str(torn)], f"{torn}: exists already; give another --out"),
    ):
        before = sorted(tmp_path.iterdir())
        try:
            status = main(["export", str(source), "--out", str(out), *options])
        except SystemExit as end:  # argparse's way
            status = int(end.code or 0)
        printed = capsys.readouterr().err
        assert (status, printed.count("\n")) == (2, 1), printed
        assert message in printed
        assert sorted(tmp_path.iterdir()) == before


def test_a_full_disk_leaves_nothing(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)  # the last file but those of the processor
    assert main(["export", str(tiny_folder), "--out", str(tmp_path / "out")]) == 2
    assert "no space left on the disk" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
