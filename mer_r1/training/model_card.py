"""The README.md beside a trained model: what it is, what it learned from, how to ask it, what it is not for.

Made from the recipe, the run's facts and the model's folder, with no clock and no path of a disk, so equal runs give
equal cards. The front matter is what the Hugging Face Hub reads. Its base model is a Hub id or is not named: of a model
that goes back to a folder, the text says so without the path. It names a licence only if the facts do, since a base
model's terms apply to what is trained from it, and data sets only by ids of the Hub.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Protocol

import yaml

from mer_r1.data.files import write_text
from mer_r1.model_settings import (
    SETTINGS_FILE,
    TOY_NOTE,
    ModelFacts,
    TrainingData,
    folder_settings,
    looks_like_hub_id,
    model_facts,
)
from mer_r1.prompting.templates import PROMPT_TEMPLATES
from mer_r1.recipe import TINY, Recipe
from mer_r1.text import MISSING, with_interval
from mer_r1.training.card_usage import Loading, usage


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
class CardScore:
    """The scores of one mode on one set: a measure's name -> (value, low, high), fractions; `signature` says how."""

    set: str
    mode: str
    measures: Mapping[str, tuple[float, float | None, float | None]]
    signature: str


@dataclass(frozen=True)
class Published:
    """What a card says beyond its run, where it is published.

    `hub_id` is where the model will be, `datasets` are ids of the Hub; `run` is the run's folder where it is not the
    one that the model's lies in.
    """

    hub_id: str = ""
    datasets: tuple[str, ...] = ()
    scores: tuple[CardScore, ...] = ()
    run: Path | None = None


_THINKER, _VL = "Qwen2_5OmniThinkerForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration"
_VL3 = "Qwen3VLForConditionalGeneration", "Qwen3VLMoeForConditionalGeneration"
_GEMMA = "Gemma4ForConditionalGeneration"
_THINKER3 = "Qwen3OmniMoeThinkerForConditionalGeneration"
_OMNI, _OMNI3 = (
    Loading(name, processor, "video-text-to-text", "pictures, sound and subtitle")
    for name, processor in ((_THINKER, "Qwen2_5OmniProcessor"), (_THINKER3, "Qwen3OmniMoeProcessor"))
)
_KINDS = {
    _THINKER: _OMNI,
    "Qwen2_5OmniModel": _OMNI,  # as the official checkpoint names itself
    _THINKER3: _OMNI3,
    "Qwen3OmniMoeForConditionalGeneration": _OMNI3,
    _VL: Loading(_VL, "AutoProcessor", "video-text-to-text", "pictures and subtitle"),
    **{name: Loading(name, "AutoProcessor", "video-text-to-text", "pictures and subtitle", True) for name in _VL3},
    _GEMMA: Loading(_GEMMA, "AutoProcessor", "video-text-to-text", "pictures, sound and subtitle", True),
}
_CAUSAL = Loading("AutoModelForCausalLM", "AutoTokenizer", "text-generation", "subtitle")
_FORMS = {
    "think_answer": "<think>reasoning</think><answer>word, word</answer>",
    "answer_think_answer": "<answer>word, word</answer><think>reasoning</think><answer>word, word</answer>",
    "set_steps": "<step1>what is seen</step1><step2>what it does to a person</step2>"
    "<step3>pleasant or not, stirred or calm</step3>\\boxed{label}",
}


def write_card(folder: Path, recipe: Recipe, facts: RunFacts, published: Published | None = None) -> Path:
    """Write `folder`/README.md and return its path. An adapter's folder gets an adapter's card."""
    published = published or Published()
    path = folder / "README.md"
    write_text(path, card_text(folder, recipe, facts, published))
    return path


def card_text(folder: Path, recipe: Recipe, facts: RunFacts, published: Published) -> str:
    """The card of the model in `folder`."""
    is_adapter = (folder / "adapter_config.json").is_file()
    base = _hub_base(recipe, facts)
    name = facts.architecture or _saved_class(folder)
    kind = _KINDS.get(name, _CAUSAL if name.endswith(("ForCausalLM", "LMHeadModel")) else None)
    reads = facts.reads or (kind.reads if kind else "")
    model = model_facts(str(folder))
    run = published.run or folder.parent
    data = model_facts(str(run)).data if (run / "recipe.yaml").is_file() else ()
    sections = [
        _front_matter(recipe, facts, base, is_adapter, kind, reads, published),
        _what(recipe, facts, base, is_adapter, reads),
        _toy(model, data),
        _training(recipe, facts, model),
        _results(published.scores),
        _loading(folder, recipe, kind, base, is_adapter, published.hub_id),
        _USE,
        _licence(facts, base),
        _citation(recipe),
        f"## Recipe\n\n```yaml\n{portable_yaml(recipe)}```\n",
    ]
    return "\n".join(filter(None, sections))


def _hub_base(recipe: Recipe, facts: RunFacts) -> str:
    """The Hub id at the root of the model; "" where only a folder is known."""
    base = str(facts.base_model or recipe.model.source)
    return base if base not in TINY and looks_like_hub_id(base) and not Path(base).exists() else ""


def _base_named(recipe: Recipe, base: str) -> str:
    """The base as a text names it, without a path."""
    if base:
        return f"[`{base}`](https://huggingface.co/{base})"
    return "an untrained model of this package" if recipe.model.source in TINY else "a model in a folder of its trainer"


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


def _front_matter(
    recipe: Recipe,
    facts: RunFacts,
    base: str,
    is_adapter: bool,
    kind: Loading | None,
    reads: str,
    published: Published,
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
    if base:
        front |= {"base_model": base, "base_model_relation": "adapter" if is_adapter else "finetune"}
    if facts.license:
        front["license"] = facts.license
    if published.datasets:
        front["datasets"] = [*published.datasets]
    if published.scores:
        measures = dict.fromkeys(name for score in published.scores for name in score.measures)
        front["metrics"] = [*measures]
        name = published.hub_id.rpartition("/")[2] or f"mer-r1-{recipe.kind}"
        results = [_model_index(score, kind) for score in published.scores]
        front["model-index"] = [{"name": name, "results": results}]
    return f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n"


def _model_index(score: CardScore, kind: Loading | None) -> dict[str, Any]:
    """One result in the Hub's form; a value in percent, its signature beside it."""
    return {
        "task": {"type": kind.pipeline if kind else "text-generation", "name": "open-vocabulary emotion recognition"},
        "dataset": {"type": score.set, "name": score.set},
        "metrics": [
            {
                "type": name,
                "value": round(100 * value, 2),
                "name": f"{name}, {score.mode} thinking",
                "args": {"signature": score.signature},
            }
            for name, (value, _, _) in score.measures.items()
        ],
    }


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
        f"{made} {_base_named(recipe, base)}, trained by {how} with mer-r1. It is given {shown} and "
        "answers with its reasoning and open-vocabulary words for the emotions that it reads there"
        + (f":\n\n```\n{form}\n```\n" if form else ".\n")
    )


def _toy(model: ModelFacts, data: Sequence[TrainingData]) -> str:
    """What a toy model is not, and that its clips are drawn; "" for a model of another size and data."""
    drawn = [*dict.fromkeys(item.drawn for item in data if item.drawn)]
    said = [f"With {model.size} this model reads no real people. {TOY_NOTE}"] if model.is_toy else []
    if drawn:
        said.append(f"Its training data are clips that a program has drawn ({', '.join(drawn)}): no person is in them.")
    return "> " + " ".join(said) + "\n" if said else ""


def _training(recipe: Recipe, facts: RunFacts, model: ModelFacts) -> str:
    lines = [f"- data: manifest `{recipe.data.train.name}`" + (f", {facts.rows} rows" if facts.rows else "")]
    if recipe.kind == "rl":
        wheels = facts.wheels or f"{_name(recipe.rl.wheels)}, protocol {recipe.rl.protocol}"
        lines += [f"- objective: `{recipe.rl.objective}`, {recipe.rl.num_generations} answers a prompt"]
        lines += [f"- emotion wheels: {wheels}"]
    if recipe.model.quantization:
        lines.append(f"- learned beside the base's layers in {recipe.model.quantization}")
    if facts.steps:
        lines.append(f"- optimiser steps: {facts.steps}")
    lines.append(f"- seed: {recipe.seed}")
    if model.size:
        lines.append(f"- size: {model.size}")
    if facts.versions:
        lines.append("- versions: " + ", ".join(f"{name} {value}" for name, value in facts.versions.items()))
    return "## Training\n\n" + "\n".join(lines) + "\n"


def _results(scores: Sequence[CardScore]) -> str:
    if not scores:
        return ""
    names = [*dict.fromkeys(name for score in scores for name in score.measures)]
    lines = [
        "## Results",
        "",
        "In percent, with the 95 % interval over clusters of samples.",
        "",
        "| set | mode | " + " | ".join(names) + " | signature |",
        "|" + "---|" * (len(names) + 3),
    ]
    for score in scores:
        cells = [with_interval(*score.measures[name]) if name in score.measures else MISSING for name in names]
        signature = score.signature.replace("|", "\\|")
        lines.append(f"| {score.set} | {score.mode} | " + " | ".join(cells) + f" | `{signature}` |")
    return "\n".join(lines) + "\n"


def _loading(folder: Path, recipe: Recipe, kind: Loading | None, base: str, is_adapter: bool, hub_id: str) -> str:
    source = hub_id or "FOLDER_OR_HUB_ID"
    if kind is None:
        on_top = ", then the adapter with PEFT's `PeftModel`" if is_adapter else ""
        of = f"`{base}`" if base else "its base model"
        lines = [f"Load it with the transformers class of {of}{on_top}; `mer-r1 predict` finds the class itself."]
    else:
        budget, saved = folder_settings(folder)
        style = saved if (folder / SETTINGS_FILE).is_file() else recipe.model.prompt_style or saved
        template = PROMPT_TEMPLATES.get(style, PROMPT_TEMPLATES["full"])
        below = (base or "BASE_MODEL") if is_adapter else None
        lines = ["```python", *usage(kind, template, budget, source, below), "```", *_serving(kind, is_adapter)]
    return "\n".join(
        [
            "## Loading\n",
            *lines,
            "\n`mer_r1.json` beside the weights holds the prompt template and how much of a clip is shown; "
            "`mer-r1 predict` follows it.\n",
        ]
    )


def _serving(kind: Loading, is_adapter: bool) -> list[str]:
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
    of = f"the base model `{base}`" if base else "the base model"
    return (
        f"## Licence\n\n{stated}The terms of {of} and of the training data go on to this "
        "model; read them before you use or share it. This card grants nothing.\n"
    )


_MER_R1 = """@article{han2026merr1,
  title   = {{MER-R1: Multimodal Emotion Reasoning via Slow-Fast Thinking Synergy}},
  author  = {Han, Zhiyuan and Zhu, Beier and Tong, Wenwen and Qin, Chengwei and Wang, Xinyi and Zhang, Jiayu and
             Chen, Jiangnan and Guo, Hewei and Ran, Dongchuan and Lu, Lewei and Yang, Xun},
  journal = {arXiv preprint arXiv:2606.27652},
  year    = {2026}
}"""
_EMO_R3 = """@inproceedings{fang2026emor3,
  title     = {{EMO-R3: Reflective Reinforcement Learning for Emotional Reasoning in Multimodal Large Language Models}},
  author    = {Fang, Yiyang and Huang, Wenke and Fu, Pei and Yang, Yihao and Su, Kehua and Luo, Zhenbo and
               Luan, Jian and Ye, Mang},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages     = {745--755},
  year      = {2026}
}"""


def _citation(recipe: Recipe) -> str:
    """The paper whose method was used: EMO-R3's where steps are rewarded, else MER-R1's."""
    steps = recipe.kind == "rl" and recipe.rl.objective.startswith("emo_r3")
    return f"## Citation\n\n```bibtex\n{_EMO_R3 if steps else _MER_R1}\n```\n"
