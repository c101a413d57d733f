"""The README.md beside a trained model: what it is, what it learned from, how to load it, what it is not for.

Made from the recipe and the run's facts alone, with no clock and no absolute path, so equal runs give equal cards. The
front matter is what the Hugging Face Hub reads; it names a licence only if the facts do, since a base model's terms go
on to what is trained from it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import yaml

from mer_r1.data.files import write_text
from mer_r1.prompting.templates import PROMPT_TEMPLATES
from mer_r1.recipe import Recipe

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class _Kind:
    """How a class of checkpoints is loaded (model and processor or tokenizer), and what it reads of a clip."""

    model: str
    reader: str
    pipeline: str
    reads: str


_OMNI, _VL = "Qwen2_5OmniThinkerForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration"
_KINDS = {
    _OMNI: _Kind(_OMNI, "Qwen2_5OmniProcessor", "video-text-to-text", "pictures, sound and subtitle"),
    _VL: _Kind(_VL, "AutoProcessor", "video-text-to-text", "pictures and subtitle"),
}
_CAUSAL = _Kind("AutoModelForCausalLM", "AutoTokenizer", "text-generation", "subtitle")
_FORMS = {
    "think_answer": "<think>reasoning</think><answer>word, word</answer>",
    "answer_think_answer": "<answer>word, word</answer><think>reasoning</think><answer>word, word</answer>",
    "set_steps": "<step1>what is seen</step1><step2>what it does to a person</step2>"
    "<step3>pleasant or not, stirred or calm</step3>\\boxed{label}",
}


def write_card(folder: Path, recipe: Recipe, facts: Mapping[str, Any]) -> Path:
    """Write `folder`/README.md and return its path. An adapter's folder gets an adapter's card.

    Facts, all optional: `base_model` (the Hub id at the root; else the recipe's source where that is one), `rows` (of
    the manifest that were learned from), `steps`, `wheels` (their signature), `versions` (name -> version), `license`,
    `architecture` (the model's class; else that of `folder`/config.json), `response_format` (of its answers), `reads`
    (what it is given of a clip, a phrase; else what its class can read). What is not known is not said.
    """
    is_adapter = (folder / "adapter_config.json").is_file()
    base = str(facts.get("base_model") or recipe.model.source)
    kind = _kind(str(facts.get("architecture") or _saved_class(folder)))
    reads = str(facts.get("reads") or (kind.reads if kind else ""))
    sections = [
        _front_matter(recipe, facts, base, is_adapter, kind, reads),
        _what(recipe, facts, base, is_adapter, reads),
        _training(recipe, facts),
        _loading(kind, base, is_adapter),
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


def _front_matter(
    recipe: Recipe, facts: Mapping[str, Any], base: str, is_adapter: bool, kind: _Kind | None, reads: str
) -> str:
    media = [tag for tag, word in (("video", "pictures"), ("audio", "sound")) if word in reads]
    tags = ["emotion-recognition", *(["multimodal", *media] if media else []), "mer-r1", recipe.kind]
    if recipe.kind == "rl":
        tags.append(recipe.rl.objective.replace("_", "-"))
    front: dict[str, Any] = {
        "library_name": "peft" if is_adapter else "transformers",
        **({"pipeline_tag": kind.pipeline} if kind else {}),
        "tags": [*dict.fromkeys([*tags, *(["lora"] if recipe.model.lora else [])])],
    }
    if _is_hub_id(base):
        front |= {"base_model": base, "base_model_relation": "adapter" if is_adapter else "finetune"}
    if facts.get("license"):
        front["license"] = str(facts["license"])
    return f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n"


def _what(recipe: Recipe, facts: Mapping[str, Any], base: str, is_adapter: bool, reads: str) -> str:
    made = "A LoRA adapter for" if is_adapter else "A fine-tuned version of"
    how = (
        f"reinforcement learning with the objective `{recipe.rl.objective}`"
        if recipe.kind == "rl"
        else f"supervised fine-tuning on {' and '.join(recipe.sft.targets)} answers"
    )
    shown = f"the {reads} of a clip" if reads else "a clip"
    style = PROMPT_TEMPLATES.get(recipe.model.prompt_style or "")
    form = _FORMS.get(str(facts.get("response_format") or (style.response_format if style else "")))
    return (
        f"# Emotion model, {recipe.kind.upper()}\n\n"
        f"{made} `{_name(base)}`, trained by {how} with mer-r1. It is given {shown} and "
        "answers with its reasoning and open-vocabulary words for the emotions that it reads there"
        + (f":\n\n```\n{form}\n```\n" if form else ".\n")
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


def _loading(kind: _Kind | None, base: str, is_adapter: bool) -> str:
    return (
        f"## Loading\n\n{_loading_lines(kind, base, is_adapter)}\n\n"
        "`mer_r1.json` beside the weights holds the prompt template and how much of a clip is shown; `mer-r1 predict` "
        "follows it.\n"
    )


def _loading_lines(kind: _Kind | None, base: str, is_adapter: bool) -> str:
    if kind is None:
        on_top = ", then the adapter with PEFT's `PeftModel`" if is_adapter else ""
        return (
            f"Load it with the transformers class of `{_name(base)}`{on_top}; `mer-r1 predict` finds the class itself."
        )
    start = _name(base) if is_adapter else "FOLDER_OR_HUB_ID"
    lines = [f"from transformers import {kind.model}, {kind.reader}"]
    if is_adapter:
        lines.append("from peft import PeftModel")
    lines += ["", f'model = {kind.model}.from_pretrained("{start}", dtype="auto")']
    if is_adapter:
        lines.append('model = PeftModel.from_pretrained(model, "FOLDER_OR_HUB_ID")')
    reader = "tokenizer" if kind is _CAUSAL else "processor"
    lines.append(f'{reader} = {kind.reader}.from_pretrained("FOLDER_OR_HUB_ID")')
    return "\n".join(["```python", *lines, "```"])


def _kind(architecture: str) -> _Kind | None:
    """How a class is loaded; None for one that is not known."""
    is_causal = architecture.endswith(("ForCausalLM", "LMHeadModel"))
    return _KINDS.get(architecture, _CAUSAL if is_causal else None)


def _saved_class(folder: Path) -> str:
    """The class of the checkpoint in `folder`; "" where it does not say."""
    config = folder / "config.json"
    if not config.is_file():
        return ""
    names = json.loads(config.read_text(encoding="utf-8")).get("architectures") or []
    return str(names[0]) if names else ""


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
