"""The README.md beside a trained model: what it is, what it learned from, how to load it, what it is not for.

Made from the recipe and the run's facts alone, with no clock and no absolute path, so equal runs give equal cards. The
front matter is what the Hugging Face Hub reads; it names a licence only if the facts do, since a base model's terms
apply to what is trained from it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Protocol

import yaml

from mer_r1.data.files import write_text
from mer_r1.prompting.templates import PROMPT_TEMPLATES
from mer_r1.recipe import Recipe


class RunFacts(Protocol):
    """What a card says of a run, as `evaluation.records.RunRecord` holds it; what is empty is not written.

    `base_model` is the Hub id at the root (else the recipe's source), `rows` those of the manifest that were learned
    from, `wheels` their signature, `architecture` the model's class (else that of the folder's config.json),
    `response_format` that of its answers, `reads` a phrase of what it is given of a clip (else what its class reads).
    """

    base_model: str | None
    rows: int | None
    steps: int | None
    wheels: str
    versions: dict[str, str]
    license: str
    architecture: str
    response_format: str
    reads: str


@dataclass(frozen=True)
class _Kind:
    """How a class of checkpoints is loaded (model and processor or tokenizer), and what it reads of a clip."""

    model: str
    reader: str
    pipeline: str
    reads: str


_THINKER, _VL = "Qwen2_5OmniThinkerForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration"
_OMNI = _Kind(_THINKER, "Qwen2_5OmniProcessor", "video-text-to-text", "pictures, sound and subtitle")
_KINDS = {
    _THINKER: _OMNI,
    "Qwen2_5OmniModel": _OMNI,  # as the official checkpoint names itself
    _VL: _Kind(_VL, "AutoProcessor", "video-text-to-text", "pictures and subtitle"),
}
_CAUSAL = _Kind("AutoModelForCausalLM", "AutoTokenizer", "text-generation", "subtitle")
_FORMS = {
    "think_answer": "<think>reasoning</think><answer>word, word</answer>",
    "answer_think_answer": "<answer>word, word</answer><think>reasoning</think><answer>word, word</answer>",
    "set_steps": "<step1>what is seen</step1><step2>what it does to a person</step2>"
    "<step3>pleasant or not, stirred or calm</step3>\\boxed{label}",
}


def write_card(folder: Path, recipe: Recipe, facts: RunFacts) -> Path:
    """Write `folder`/README.md and return its path. An adapter's folder gets an adapter's card."""
    is_adapter = (folder / "adapter_config.json").is_file()
    base = str(facts.base_model or recipe.model.source)
    name = facts.architecture or _saved_class(folder)
    kind = _KINDS.get(name, _CAUSAL if name.endswith(("ForCausalLM", "LMHeadModel")) else None)
    reads = facts.reads or (kind.reads if kind else "")
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


def _front_matter(recipe: Recipe, facts: RunFacts, base: str, is_adapter: bool, kind: _Kind | None, reads: str) -> str:
    media = [tag for tag, word in (("video", "pictures"), ("audio", "sound")) if word in reads]
    tags = ["emotion-recognition", *(["multimodal", *media] if media else []), "mer-r1", recipe.kind]
    if recipe.kind == "rl":
        tags.append(recipe.rl.objective.replace("_", "-"))
    front: dict[str, Any] = {
        "library_name": "peft" if is_adapter else "transformers",
        **({"pipeline_tag": kind.pipeline} if kind else {}),
        "tags": [*dict.fromkeys([*tags, *(["lora"] if recipe.model.lora else [])])],
    }
    is_hub_id = re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", base) and not base.startswith("runs/")
    if is_hub_id and not Path(base).exists():
        front |= {"base_model": base, "base_model_relation": "adapter" if is_adapter else "finetune"}
    if facts.license:
        front["license"] = facts.license
    return f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n"


def _what(recipe: Recipe, facts: RunFacts, base: str, is_adapter: bool, reads: str) -> str:
    made = "A LoRA adapter for" if is_adapter else "A fine-tuned version of"
    how = (
        f"reinforcement learning with the objective `{recipe.rl.objective}`"
        if recipe.kind == "rl"
        else f"supervised fine-tuning on {' and '.join(recipe.sft.targets)} answers"
    )
    shown = f"the {reads} of a clip" if reads else "a clip"
    style = PROMPT_TEMPLATES.get(recipe.model.prompt_style or "")
    form = _FORMS.get(facts.response_format or (style.response_format if style else ""))
    return (
        f"# Emotion model, {recipe.kind.upper()}\n\n"
        f"{made} `{_name(base)}`, trained by {how} with mer-r1. It is given {shown} and "
        "answers with its reasoning and open-vocabulary words for the emotions that it reads there"
        + (f":\n\n```\n{form}\n```\n" if form else ".\n")
    )


def _training(recipe: Recipe, facts: RunFacts) -> str:
    lines = [f"- data: manifest `{recipe.data.train.name}`" + (f", {facts.rows} rows" if facts.rows else "")]
    if recipe.kind == "rl":
        wheels = facts.wheels or f"{_name(recipe.rl.wheels)}, protocol {recipe.rl.protocol}"
        lines += [f"- objective: `{recipe.rl.objective}`, {recipe.rl.num_generations} answers a prompt"]
        lines += [f"- emotion wheels: {wheels}"]
    if facts.steps:
        lines.append(f"- optimiser steps: {facts.steps}")
    lines.append(f"- seed: {recipe.seed}")
    if facts.versions:
        lines.append("- versions: " + ", ".join(f"{name} {value}" for name, value in facts.versions.items()))
    return "## Training\n\n" + "\n".join(lines) + "\n"


def _loading(kind: _Kind | None, base: str, is_adapter: bool) -> str:
    if kind is None:
        on_top = ", then the adapter with PEFT's `PeftModel`" if is_adapter else ""
        lines = [
            f"Load it with the transformers class of `{_name(base)}`{on_top}; `mer-r1 predict` finds the class itself."
        ]
    else:
        start = _name(base) if is_adapter else "FOLDER_OR_HUB_ID"
        lines = ["```python", f"from transformers import {kind.model}, {kind.reader}"]
        lines += ["from peft import PeftModel"] if is_adapter else []
        lines += ["", f'model = {kind.model}.from_pretrained("{start}", dtype="auto")']
        lines += ['model = PeftModel.from_pretrained(model, "FOLDER_OR_HUB_ID")'] if is_adapter else []
        reader = "tokenizer" if kind is _CAUSAL else "processor"
        lines += [f'{reader} = {kind.reader}.from_pretrained("FOLDER_OR_HUB_ID")', "```", *_serving(kind, is_adapter)]
    return "\n".join(
        [
            "## Loading\n",
            *lines,
            "\n`mer_r1.json` beside the weights holds the prompt template and how much of a clip is shown; "
            "`mer-r1 predict` follows it.\n",
        ]
    )


def _serving(kind: _Kind, is_adapter: bool) -> list[str]:
    if is_adapter:
        return ["\n`mer-r1 export FOLDER --out DIR` writes adapter and base as one model, which vLLM serves."]
    media = (
        ""
        if kind is _CAUSAL
        else """ --trust-request-mm-kwargs \\
  --limit-mm-per-prompt '{"video": 1, "audio": 1, "image": 1}'"""
    )
    clip = '--subtitle "I won!"' if kind is _CAUSAL else "clip.mp4"
    return [
        "\nOr behind an address, asked as it was taught:\n",
        f"```bash\nvllm serve FOLDER --served-model-name mine{media}",
        f"mer-r1 predict {clip} --model FOLDER --url http://localhost:8000/v1 --served-as mine\n```",
    ]


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


def _licence(facts: RunFacts, base: str) -> str:
    stated = f"Stated by the one who trained it: {facts.license}. " if facts.license else ""
    return (
        f"## Licence\n\n{stated}The terms of the base model `{_name(base)}` and of the training data go on to this "
        "model; read them before you use or share it. This card grants nothing.\n"
    )
