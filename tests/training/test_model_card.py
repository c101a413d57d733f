"""The model card: true to the recipe, equal for equal runs, readable by the Hub, no path of anybody's disk."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from mer_r1.data.sample import Sample
from mer_r1.evaluation.records import RunRecord
from mer_r1.media import read_clip
from mer_r1.recipe import Recipe
from mer_r1.training.model_card import CardScore, Published, portable_yaml, write_card

OMNI3, WHOLE3 = "Qwen3OmniMoeThinkerForConditionalGeneration", "Qwen3OmniMoeForConditionalGeneration"
OMNI, VL = "Qwen2_5OmniThinkerForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration"
VL3 = "Qwen3VLForConditionalGeneration"
GEMMA = "Gemma4ForConditionalGeneration"
FACTS = {"rows": 26101, "steps": 3262, "wheels": "official@1a2b3c4d", "versions": {"mer_r1": "0.1.0", "torch": "2.9"}}


def recipe_of(**keys: Any) -> Recipe:
    tree: dict[str, Any] = {
        "kind": "rl",
        "model": {"source": "Qwen/Qwen2.5-Omni-7B"},
        "data": {"train": "/home/somebody/corpus/train.jsonl"},
        "optim": {"learning_rate": 2e-6},
        "seed": 5,
    }
    return Recipe.model_validate(tree | keys)


def card_of(folder: Path, recipe: Recipe, facts: dict[str, Any] | None = None) -> tuple[dict[str, Any], str]:
    """(front matter, text below it)."""
    text = write_card(folder, recipe, RunRecord.model_validate(facts or {})).read_text(encoding="utf-8")
    empty, front, body = text.split("---\n", 2)
    assert empty == ""
    return yaml.safe_load(front), body


def test_the_front_matter_says_what_the_hub_asks(tmp_path: Path) -> None:
    front, _ = card_of(tmp_path, recipe_of(), {**FACTS, "architecture": OMNI})
    assert (front["library_name"], front["pipeline_tag"]) == ("transformers", "video-text-to-text")
    assert (front["base_model"], front["base_model_relation"]) == ("Qwen/Qwen2.5-Omni-7B", "finetune")
    assert {"emotion-recognition", "mer-r1", "rl"} <= set(front["tags"])
    assert len(front["tags"]) == len(set(front["tags"]))
    assert "license" not in front


def test_a_licence_is_named_only_when_it_is_given(tmp_path: Path) -> None:
    front, body = card_of(tmp_path, recipe_of(), {"license": "apache-2.0"})
    assert front["license"] == "apache-2.0"
    assert "This card grants nothing" in body


def test_the_card_holds_data_objective_wheels_seed_versions_and_the_whole_recipe(tmp_path: Path) -> None:
    recipe = recipe_of(rl={"objective": "mer_r1_b2", "num_generations": 8})
    _, body = card_of(tmp_path, recipe, FACTS)
    for line in (
        "- data: manifest `train.jsonl`, 26101 rows",
        "- objective: `mer_r1_b2`, 8 answers a prompt",
        "- emotion wheels: official@1a2b3c4d",
        "- optimiser steps: 3262",
        "- seed: 5",
        "- versions: mer_r1 0.1.0, torch 2.9",
    ):
        assert line in body.splitlines()
    block = body.split("```yaml\n")[1].split("```")[0]
    assert Recipe.model_validate(yaml.safe_load(block)) == recipe_of(
        rl={"objective": "mer_r1_b2", "num_generations": 8}, data={"train": "train.jsonl"}
    )


def test_no_absolute_path_gets_into_a_card(tmp_path: Path) -> None:
    recipe = recipe_of(
        model={"source": "/home/somebody/runs/sft/model"},
        data={"train": "/home/somebody/a/train.jsonl", "eval": "~/somebody/b/test.jsonl"},
        optim={"learning_rate": 2e-6, "eval_steps": 10},
        rl={"wheels": "C:\\somebody\\tables"},
    )
    (tmp_path / "adapter_config.json").write_text("{}")
    front, body = card_of(tmp_path, recipe, {})
    assert "somebody" not in json.dumps(front) + body
    assert "base_model" not in front
    assert {"  train: train.jsonl", "  eval: test.jsonl", "  wheels: tables"} <= set(portable_yaml(recipe).splitlines())


def test_relative_paths_stay_as_the_recipe_has_them(tmp_path: Path) -> None:
    front, body = card_of(tmp_path, recipe_of(model={"source": "runs/sft"}, data={"train": "corpus/train.jsonl"}))
    assert "base_model" not in front
    assert "train: corpus/train.jsonl" in body


def test_the_hub_id_at_the_root_may_be_given_for_a_model_that_began_at_a_run(tmp_path: Path) -> None:
    front, _ = card_of(tmp_path, recipe_of(model={"source": "runs/sft"}), {"base_model": "Qwen/Qwen2.5-Omni-7B"})
    assert front["base_model"] == "Qwen/Qwen2.5-Omni-7B"


def test_an_adapter_loads_through_peft_and_a_whole_model_does_not(tmp_path: Path) -> None:
    _, whole = card_of(tmp_path, recipe_of(), {"architecture": OMNI})
    assert 'Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained("FOLDER_OR_HUB_ID"' in whole
    assert "peft" not in whole
    (tmp_path / "adapter_config.json").write_text("{}")
    learned = recipe_of(model={"source": "Qwen/Qwen2.5-Omni-7B", "lora": {}})
    front, adapter = card_of(tmp_path, learned, {"architecture": OMNI})
    assert (front["library_name"], front["base_model_relation"]) == ("peft", "adapter")
    assert "lora" in front["tags"]
    assert 'from_pretrained("Qwen/Qwen2.5-Omni-7B"' in adapter
    assert "PeftModel.from_pretrained(model" in adapter


@pytest.mark.parametrize(
    ("name", "processor"),
    [
        (OMNI, "Qwen2_5OmniProcessor"),
        (VL, "AutoProcessor"),
    ],
)
def test_the_loading_lines_are_python_and_name_the_checkpoint_s_class(
    name: str, processor: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [name]}))
    _, body = card_of(tmp_path, recipe_of())
    code = body.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    assert f"from transformers import {name}, {processor}" in code


@pytest.mark.parametrize("is_adapter", [False, True])
@pytest.mark.parametrize("by_config", [False, True])
@pytest.mark.parametrize(
    ("architecture", "model", "reader", "pipeline", "reads"),
    [
        (OMNI, OMNI, "Qwen2_5OmniProcessor", "video-text-to-text", "pictures, sound and subtitle"),
        (VL, VL, "AutoProcessor", "video-text-to-text", "pictures and subtitle"),
        ("Qwen2_5OmniModel", OMNI, "Qwen2_5OmniProcessor", "video-text-to-text", "pictures, sound and subtitle"),
        (WHOLE3, OMNI3, "Qwen3OmniMoeProcessor", "video-text-to-text", "pictures, sound and subtitle"),
        ("Qwen3ForCausalLM", "AutoModelForCausalLM", "AutoTokenizer", "text-generation", "subtitle"),
    ],
)
def test_every_kind_of_model_gets_its_own_loading_lines_tags_and_description(
    architecture: str,
    model: str,
    reader: str,
    pipeline: str,
    reads: str,
    by_config: bool,
    is_adapter: bool,
    tmp_path: Path,
) -> None:
    facts: dict[str, Any] = {} if by_config else {"architecture": architecture, "reads": reads}
    if by_config:
        (tmp_path / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    if is_adapter:
        (tmp_path / "adapter_config.json").write_text("{}")
    front, body = card_of(tmp_path, recipe_of(model={"source": "some/base"}), facts)
    code = body.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    start = "some/base" if is_adapter else "FOLDER_OR_HUB_ID"
    assert f"from transformers import {model}, {reader}\n" in code
    assert f'model = {model}.from_pretrained("{start}"' in code
    assert f'= {reader}.from_pretrained("FOLDER_OR_HUB_ID")' in code
    assert ("PeftModel" in code) == is_adapter
    assert ("vllm serve FOLDER" in body) != is_adapter
    assert ("mer-r1 export FOLDER" in body) == is_adapter
    assert front["pipeline_tag"] == pipeline
    assert [tag in front["tags"] for tag in ("video", "audio")] == ["pictures" in reads, "sound" in reads]
    assert f"is given the {reads} of a clip and" in body


def test_what_the_run_read_goes_before_what_its_class_can_read(tmp_path: Path) -> None:
    front, body = card_of(tmp_path, recipe_of(), {"architecture": OMNI, "reads": "sound and subtitle"})
    assert "is given the sound and subtitle of a clip" in body
    assert "video" not in front["tags"]


def test_the_answers_form_is_the_response_format_s(tmp_path: Path) -> None:
    first = "```\n<answer>word, word</answer><think>reasoning</think><answer>word, word</answer>\n```"
    last = "```\n<think>reasoning</think><answer>word, word</answer>\n```"
    assert last in card_of(tmp_path, recipe_of(), {"response_format": "think_answer"})[1]
    assert first in card_of(tmp_path, recipe_of(), {"response_format": "answer_think_answer"})[1]
    styled = recipe_of(model={"source": "some/base", "prompt_style": "full_first"})
    assert first in card_of(tmp_path, styled)[1]
    assert "<think>" not in card_of(tmp_path, recipe_of())[1]


@pytest.mark.parametrize("is_adapter", [False, True])
def test_a_model_of_unknown_kind_is_called_nothing_that_it_may_not_be(is_adapter: bool, tmp_path: Path) -> None:
    if is_adapter:
        (tmp_path / "adapter_config.json").write_text("{}")
    for facts in ({}, {"architecture": "SomethingElse"}):
        front, body = card_of(tmp_path, recipe_of(model={"source": "some/base"}), dict(facts))
        assert "pipeline_tag" not in front
        assert not {"video", "audio", "multimodal"} & set(front["tags"])
        assert "Omni" not in body
        assert "```python" not in body
        assert ("PeftModel" in body) == is_adapter


def test_equal_runs_give_equal_cards(tmp_path: Path) -> None:
    texts = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        texts.append(write_card(tmp_path / name, recipe_of(), RunRecord.model_validate(FACTS)).read_bytes())
    assert texts[0] == texts[1]


def test_sft_says_what_it_was_taught_and_names_no_objective(tmp_path: Path) -> None:
    front, body = card_of(tmp_path, recipe_of(kind="sft", sft={"targets": ["slow", "fast"]}))
    assert "supervised fine-tuning on slow and fast answers" in body
    assert "- objective" not in body
    assert "rl" not in front["tags"]


def test_intended_use_and_limits_are_written(tmp_path: Path) -> None:
    _, body = card_of(tmp_path, recipe_of())
    assert "## Intended use and limits" in body
    assert "does not know what a person feels" in body


def test_the_hub_reads_metrics_results_and_data_sets(tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    scores = (
        CardScore(
            "mer2023", "slow", {"f1": (0.767, 0.75, 0.78), "precision": (0.5, None, None)}, "set:mer2023|mode:slow"
        ),
        CardScore("mer2023", "fast", {"f1": (0.7, None, None)}, "set:mer2023|mode:fast"),
    )
    facts = RunRecord.model_validate({**FACTS, "architecture": OMNI, "license": "apache-2.0"})
    published = Published("me/emotions", ("owner/clips",), scores)
    card = hub.ModelCard.load(write_card(tmp_path, recipe_of(), facts, published))
    assert (card.data.base_model, card.data.license) == ("Qwen/Qwen2.5-Omni-7B", "apache-2.0")
    assert (card.data.datasets, card.data.metrics) == (["owner/clips"], ["f1", "precision"])
    assert card.data.model_name == "emotions"
    first = card.data.eval_results[0]
    assert (first.dataset_name, first.metric_type, first.metric_value) == ("mer2023", "f1", 76.7)
    assert first.metric_args == {"signature": "set:mer2023|mode:slow"}
    assert "| mer2023 | slow | 76.70 [75.00, 78.00] | 50.00 | `set:mer2023\\|mode:slow` |" in card.text
    assert 'from_pretrained("me/emotions"' in card.text


@pytest.mark.parametrize("source", ["runs/sft", "/home/somebody/sft/model", "tiny"])
def test_a_base_that_is_a_folder_is_named_without_its_path(source: str, tmp_path: Path) -> None:
    front, body = card_of(tmp_path, recipe_of(model={"source": source}), {"architecture": OMNI})
    assert "base_model" not in front
    prose = body.split("## Recipe")[0]
    assert source not in prose.replace("tiny model", "")
    assert ("an untrained model of this package" if source == "tiny" else "a model in a folder of its trainer") in prose


def test_the_paper_is_cited_whose_method_was_used(tmp_path: Path) -> None:
    assert "arXiv:2606.27652" in card_of(tmp_path, recipe_of())[1]
    assert "fang2026emor3" in card_of(tmp_path, recipe_of(rl={"objective": "emo_r3", "reflection": {}}))[1]


def test_a_toy_is_called_one_and_drawn_clips_are_named(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    recipe = recipe_of(data={"train": str(tmp_path / "corpus" / "train.jsonl")})
    (run / "recipe.yaml").write_text(recipe.as_yaml())
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "corpus.json").write_text('{"corpus": "MiniMER"}')
    _, body = card_of(run / "model", recipe)
    assert "reads no real people" not in body
    assert "clips that a program has drawn (MiniMER): no person is in them" in body
    save_file({"w": np.zeros((1000, 100), np.float32)}, run / "model" / "model.safetensors")
    _, body = card_of(run / "model", recipe)
    assert "With 0.1 M parameters this model reads no real people. A toy:" in body
    assert "- size: 0.1 M parameters" in body.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "style"), [(OMNI, "full"), (OMNI, "brief"), (OMNI3, "full"), (VL3, "full"), (GEMMA, "full")]
)
def test_the_example_runs_and_shows_the_prompt_that_was_taught(
    name: str,
    style: str,
    tiny_folder: Path,
    omni3_folder: Path,
    qwen3_vl_folder: Path,
    gemma4_folder: Path,
    samples: list[Sample],
    tmp_path: Path,
) -> None:
    from mer_r1.model_settings import write_settings
    from mer_r1.models.loading import load_backbone

    folder = tmp_path / "model"
    shutil.copytree({OMNI: tiny_folder, OMNI3: omni3_folder, VL3: qwen3_vl_folder, GEMMA: gemma4_folder}[name], folder)
    backbone = load_backbone(str(folder), prompt_style=style)
    write_settings(folder, backbone.budget, style)
    _, body = card_of(folder, recipe_of(), {"architecture": name})
    film = next(
        row for row in samples if row.video and not row.audio and read_clip(row, backbone.budget).waveform_N is not None
    )
    code = body.split("```python\n")[1].split("```")[0]
    code = code.replace('"FOLDER_OR_HUB_ID"', repr(str(folder))).replace('"clip.mp4"', repr(str(film.video)))
    names: dict[str, Any] = {}
    exec(code.replace("max_new_tokens=1024", "max_new_tokens=2"), names)
    asked = replace(film, subtitle="I won the prize!")
    clip = read_clip(asked, backbone.budget)
    assert names["inputs"]["input_ids"][0].tolist() == backbone.prepare(asked, clip).input_ids_T.tolist()
