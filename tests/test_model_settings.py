"""What a model's folder says without torch: which model it is, whether a toy, and what is no Hub id."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from mer_r1.media import MediaBudget
from mer_r1.model_settings import (
    TOY_NOTE,
    ModelFacts,
    TrainingData,
    folder_settings,
    looks_like_hub_id,
    model_facts,
    write_settings,
)


def write_model(folder: Path, shapes: dict[str, list[int]], architecture: str = "SomeModel") -> Path:
    """The heads of a model's files, without the weights themselves."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    for number, (name, shape) in enumerate(shapes.items()):
        head = json.dumps({"__metadata__": {}, name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}}).encode()
        (folder / f"model-{number}.safetensors").write_bytes(struct.pack("<Q", len(head)) + head)
    return folder


def write_run(run: Path, source: str, manifest: str, rows: int) -> Path:
    """A trained run of a small model."""
    write_model(run / "model", {"a": [1000, 1400]})
    (run / "recipe.yaml").write_text(f"kind: sft\nmodel:\n  source: {source}\ndata:\n  train: {manifest}\n")
    (run / "run.json").write_text(json.dumps({"rows": rows}))
    return run


def test_a_small_model_that_learned_from_drawn_clips_is_a_toy_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "corpus.json").write_text('{"corpus": "MiniMER"}')
    first = write_run(tmp_path / "sft", "tiny", str(tmp_path / "data" / "train.jsonl"), 5600)
    run = write_run(tmp_path / "rl", str(first), str(tmp_path / "mine" / "other.jsonl"), 12)
    for source in (run, run / "model"):
        facts = model_facts(str(source))
        assert facts.is_toy
        assert facts.base == "tiny"
        assert [data.drawn for data in facts.data] == ["", "MiniMER"]
        assert facts.line == (
            f"{source} (SomeModel, 1.4 M parameters, learned from 12 rows of other.jsonl and 5,600 rows of drawn clips "
            f"of MiniMER). {TOY_NOTE}"
        )


def test_a_large_model_is_no_toy_and_its_files_are_counted_together(tmp_path: Path) -> None:
    facts = model_facts(str(write_model(tmp_path / "large", {"a": [70_000, 50_000], "b": [60_000, 60_000]})))
    assert (facts.num_parameters, facts.size, facts.is_toy) == (7_100_000_000, "7.1 B parameters", False)
    assert TOY_NOTE not in facts.line


def test_an_adapter_has_the_size_of_its_base_and_its_own(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", {"a": [1000, 1000]})
    adapter = write_model(tmp_path / "adapter", {"b": [10, 10]})
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    facts = model_facts(str(adapter))
    assert (facts.num_parameters, facts.base) == (1_000_100, str(base))
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/base"}')
    assert model_facts(str(adapter)).num_parameters is None


def test_a_model_that_is_elsewhere_is_known_by_its_name_alone() -> None:
    assert model_facts("Qwen/Qwen2.5-Omni-7B") == ModelFacts("Qwen/Qwen2.5-Omni-7B")
    assert model_facts("Qwen/Qwen2.5-Omni-7B").line == "Qwen/Qwen2.5-Omni-7B"


@pytest.mark.parametrize("name", ["config.json", "model-0.safetensors", "../recipe.yaml", "../run.json"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[1]", b"\xff" * 40, b"[" * 100_000, b"data: 3\nmodel: [\n"])
def test_a_damaged_file_only_leaves_its_facts_out(tmp_path: Path, name: str, content: bytes) -> None:
    run = write_run(tmp_path / "run", "tiny", "train.jsonl", 5)
    (run / "model" / name).write_bytes(content)
    facts = model_facts(str(run))
    assert "\n" not in facts.line
    known = [facts.architecture == "SomeModel", facts.size == "1.4 M parameters", *[d.rows == 5 for d in facts.data]]
    assert sum(known) == 3 - 1


def test_a_run_that_names_itself_as_its_source_ends(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", str(tmp_path / "run"), "train.jsonl", 5)
    assert model_facts(str(run)).data == (TrainingData("train.jsonl", 5),)


def test_what_looks_like_a_path_is_never_asked_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    for path in (
        "runs/x",
        "./x/y",
        "../x",
        "~/x",
        "/x/y",
        "models/mine",
        "a/b/c",
        "gpt2",
        "a/",
        "x/weights.safetensors",
    ):
        assert not looks_like_hub_id(path), path
    for name in ("Qwen/Qwen2.5-Omni-7B", "openai-community/gpt2", "someone/my_model.v2"):
        assert looks_like_hub_id(name), name


def test_a_published_checkpoint_is_read_under_the_budget_of_its_kind_and_a_trained_one_under_its_own(
    tmp_path: Path,
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen3_omni_moe_thinker"}')
    budget, style = folder_settings(tmp_path)
    assert (budget.size_multiple, budget.max_pixels, budget.audio_tokens_per_s, style) == (32, 256 * 32**2, 13, "full")
    write_settings(tmp_path, MediaBudget(num_frames=2), "brief")
    assert folder_settings(tmp_path) == (MediaBudget(num_frames=2), "brief")
    (tmp_path / "mer_r1.json").unlink()
    (tmp_path / "config.json").write_text('{"model_type": "qwen2_5_omni"}')
    assert folder_settings(tmp_path) == (MediaBudget(), "full")
