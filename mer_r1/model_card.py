"""The README.md beside a trained model: what it is, what it learned from, how to load it, what it is not for.

Made from the recipe and the run's facts alone, with no clock and no absolute path, so equal runs give equal cards. The
front matter is what the Hugging Face Hub reads; it names a licence only if the facts do, since a base model's terms go
on to what is trained from it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import yaml

from mer_r1.files import write_text
from mer_r1.recipe import Recipe

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_OMNI = ("Qwen2_5OmniThinkerForConditionalGeneration", "Qwen2_5OmniProcessor")
_PROCESSORS = {_OMNI[0]: _OMNI[1], "Qwen2_5_VLForConditionalGeneration": "AutoProcessor"}


def write_card(folder: Path, recipe: Recipe, facts: Mapping[str, Any]) -> Path:
    """Write `folder`/README.md and return its path. An adapter's folder gets an adapter's card.

    Facts, all optional: `base_model` (the Hub id at the root; else the recipe's source where that is one), `rows` (of
    the manifest that were learned from), `steps`, `wheels` (their signature), `versions` (name -> version), `license`.
    """
    is_adapter = (folder / "adapter_config.json").is_file()
    base = str(facts.get("base_model") or recipe.model.source)
    sections = [
        _front_matter(recipe, facts, base, is_adapter),
        _what(recipe, base, is_adapter),
        _training(recipe, facts),
        _loading(folder, recipe, base, is_adapter),
        _USE,
        _licence(facts, base),
        f"## Recipe\n\n```yaml\n{portable_yaml(recipe)}```\n",
    ]
    path = folder / "README.md"
    write_text(path, "\n".join(sections))
    return path


def portable_yaml(recipe: Recipe) -> str:
    """The resolved recipe, an absolute path in it cut down to its last part."""
    return yaml.safe_dump(_portable(recipe.model_dump(mode="json")), sort_keys=False, allow_unicode=True)


def _portable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _portable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_portable(inner) for inner in value]
    return _name(value) if isinstance(value, str) else value


def _name(text: str) -> str:
    """Text as it is, or the last part of an absolute path."""
    windows = PureWindowsPath(text)
    if text.startswith("~") or PurePosixPath(text).is_absolute():
        return PurePosixPath(text).name
    return windows.name if windows.is_absolute() else text


def _is_hub_id(text: str) -> bool:
    return bool(_HUB_ID.fullmatch(text)) and not text.startswith("runs/") and not Path(text).exists()


def _front_matter(recipe: Recipe, facts: Mapping[str, Any], base: str, is_adapter: bool) -> str:
    tags = ["emotion-recognition", "multimodal", "video", "audio", "mer-r1", recipe.kind]
    if recipe.kind == "rl":
        tags.append(recipe.rl.objective.replace("_", "-"))
    front: dict[str, Any] = {
        "library_name": "peft" if is_adapter else "transformers",
        "pipeline_tag": "video-text-to-text",
        "tags": [*dict.fromkeys([*tags, *(["lora"] if recipe.model.lora else [])])],
    }
    if _is_hub_id(base):
        front |= {"base_model": base, "base_model_relation": "adapter" if is_adapter else "finetune"}
    if facts.get("license"):
        front["license"] = str(facts["license"])
    return f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n"


def _what(recipe: Recipe, base: str, is_adapter: bool) -> str:
    made = "A LoRA adapter for" if is_adapter else "A fine-tuned version of"
    how = (
        f"reinforcement learning with the objective `{recipe.rl.objective}`"
        if recipe.kind == "rl"
        else f"supervised fine-tuning on {' and '.join(recipe.sft.targets)} answers"
    )
    return (
        f"# Emotion model, {recipe.kind.upper()}\n\n"
        f"{made} `{_name(base)}`, trained by {how} with mer-r1. It is shown a clip (pictures, sound, subtitle) and "
        "answers with its reasoning and open-vocabulary words for the emotions that it reads there:\n\n"
        "```\n<think>reasoning</think><answer>word, word</answer>\n```\n"
    )


def _training(recipe: Recipe, facts: Mapping[str, Any]) -> str:
    lines = [f"- data: manifest `{recipe.data.train.name}`{_rows(facts)}"]
    if recipe.kind == "rl":
        wheels = facts.get("wheels") or f"{_name(recipe.rl.wheels)}, protocol {recipe.rl.protocol}"
        lines += [f"- objective: `{recipe.rl.objective}`, {recipe.rl.num_generations} answers a prompt"]
        lines += [f"- emotion wheels: {wheels}"]
    if facts.get("steps"):
        lines.append(f"- optimiser steps: {facts['steps']}")
    lines.append(f"- seed: {recipe.seed}")
    if versions := facts.get("versions"):
        lines.append("- versions: " + ", ".join(f"{name} {value}" for name, value in versions.items()))
    return "## Training\n\n" + "\n".join(lines) + "\n"


def _rows(facts: Mapping[str, Any]) -> str:
    return f", {facts['rows']} rows" if facts.get("rows") else ""


def _loading(folder: Path, recipe: Recipe, base: str, is_adapter: bool) -> str:
    name = _class_name(folder)
    processor = _PROCESSORS.get(name, "AutoProcessor")
    lines = [f"from transformers import {name}, {processor}"]
    if is_adapter:
        lines += [
            "from peft import PeftModel",
            "",
            f'model = {name}.from_pretrained("{_name(base)}", dtype="auto")',
            'model = PeftModel.from_pretrained(model, "FOLDER_OR_HUB_ID")',
        ]
    else:
        lines += ["", f'model = {name}.from_pretrained("FOLDER_OR_HUB_ID", dtype="auto")']
    lines.append(f'processor = {processor}.from_pretrained("FOLDER_OR_HUB_ID")')
    text = "\n".join(lines)
    return (
        f"## Loading\n\n```python\n{text}\n```\n\n"
        "`mer_r1.json` beside the weights holds the prompt style and how much of a clip is shown; `mer-r1 predict` "
        "follows it.\n"
    )


def _class_name(folder: Path) -> str:
    """The class of the checkpoint in `folder`; for an adapter alone, the paper's."""
    config = folder / "config.json"
    if config.is_file():
        names = json.loads(config.read_text(encoding="utf-8")).get("architectures") or []
        if names and str(names[0]).isidentifier():
            return str(names[0])
    return _OMNI[0]


_USE = """## Intended use and limits

For research on how emotion is shown and described in video, speech and text. The model describes what annotators would
be likely to call an expression; it does not know what a person feels. Faces, voices and words mean different things in
different people, cultures and situations, and the data it learned from does not cover them evenly, so expect errors and
unequal errors between groups. Its reasoning is text that was rewarded for its answer, not a record of how the answer
came about. Do not use it to judge, rank or monitor people: at work, in education, in hiring, in policing, at borders or
in health care. Some of these uses are restricted or forbidden by law in some places.
"""


def _licence(facts: Mapping[str, Any], base: str) -> str:
    stated = f"Stated by the one who trained it: {facts['license']}. " if facts.get("license") else ""
    return (
        f"## Licence\n\n{stated}The terms of the base model `{_name(base)}` and of the training data go on to this "
        "model; read them before you use or share it. This card grants nothing.\n"
    )
