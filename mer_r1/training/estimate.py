"""What a run will cost, before anything is loaded: its model's size and prompts, memory of a GPU, seconds of a step.

Numbers come from cost.py and are estimates.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mer_r1.errors import InputError
from mer_r1.media import TINY_BUDGET, MediaBudget, audio_tokens, most_tokens
from mer_r1.model_settings import folder_settings, published_settings
from mer_r1.published_models import PUBLISHED
from mer_r1.recipe import TINY, ModelSection, Recipe, read_recipe, recipe_names
from mer_r1.training import cost
from mer_r1.training.gpus import Card, find_card
from mer_r1.training.model_shape import KNOWN, Shape, shape_of

GIB = 2**30
_CHARACTERS_A_TOKEN = 4  # of English under Qwen's tokenizer, rounded down
_FRAME_TOKENS = 40  # the chat's own tokens and a subtitle of one sentence


@dataclass(frozen=True)
class Origin:
    """A recipe's model: its size, if it can be known, its media budget and prompt template, and their origin."""

    shape: Shape | None
    budget: MediaBudget
    prompt_style: str
    remark: str


@dataclass(frozen=True)
class Work:
    """Tokens of a group's packed pass, those with the prompt repeated, and how many times the FLOPs these take."""

    packed_tokens: float
    repeated_tokens: float
    times: float


@dataclass(frozen=True)
class Costs:
    """What a run costs on `num_gpus` of `card`, with answers of `answer` tokens.

    Of the model's parameters `active` are in use for a token, and `in_experts` are experts', chosen or not.
    `memory` is bytes of one GPU at the fullest moment and `seconds` those of one optimiser step, both by part. `fix` is
    advice where the run does not fit, None where it does. `seconds` is None where the card's speed is not known,
    `steps` where neither recipe nor data say; `work` is None in SFT.
    """

    card: Card
    num_gpus: int
    answer: int
    parameters: int
    active: int
    in_experts: int
    trained: int
    memory: dict[str, float]
    fix: str | None
    prompts: int
    seconds: dict[str, float] | None
    work: Work | None
    steps: int | None

    @property
    def step_s(self) -> float | None:
        """Seconds of one optimiser step."""
        return None if self.seconds is None else sum(self.seconds.values())

    @property
    def hours(self) -> float | None:
        """Of the whole run."""
        return None if self.steps is None or self.step_s is None else self.steps * self.step_s / 3600


@dataclass(frozen=True)
class _Place:
    card: Card
    num_gpus: int
    answer_tokens: int


@dataclass(frozen=True)
class Estimate:
    """The recipe's model, the most tokens of a prompt, the rows that are learned from (None: not known), and the costs;
    None where the model's size is not known."""

    origin: Origin
    tokens: cost.Tokens
    num_rows: int | None
    costs: Costs | None


def default_gpus(recipe: Recipe) -> int:
    """How many GPUs an estimate takes where it is not told: 8, and 1 for adapters and models of under a billion."""
    shape = find_origin(recipe.model).shape
    return 1 if recipe.model.lora or (shape and shape.parameters < 1e9) else 8


def estimate(
    recipe: Recipe,
    rows: int | None = None,
    card: Card | None = None,
    num_gpus: int | None = None,
    answer_tokens: int = cost.ANSWER_TOKENS,
) -> Estimate:
    """What `recipe` costs with `rows` rows to learn from, on `num_gpus` (None: `default_gpus`) of `card` (an h100).

    `rows` is data.num where it is None. `answer_tokens` is the expected length of an answer, for the hours; memory is
    that of the longest. Raises InputError for a number below 1, a model's folder that cannot be read, a model with
    experts that is to be quantised, and adapters on layers that the model does not have.
    """
    num_gpus = default_gpus(recipe) if num_gpus is None else num_gpus
    for name, value in (("--gpus", num_gpus), ("--answer-tokens", answer_tokens)):
        if value < 1:
            raise InputError(f"{name} {value}: give a number above 0")
    origin = find_origin(recipe.model)
    if recipe.model.quantization and origin.shape and origin.shape.text.experts:
        raise InputError(
            f"model.quantization: {recipe.model.source} has experts, most of its weights, which stay as they are; "
            "remove it, or take a dense model"
        )
    tokens = prompt_tokens(origin)
    rows = recipe.data.num if rows is None else rows
    placed = _Place(card or find_card(), num_gpus, answer_tokens)
    costs = None if origin.shape is None else _costs(recipe, origin.shape, tokens, placed, rows)
    return Estimate(origin, tokens, rows, costs)


def find_origin(model: ModelSection) -> Origin:
    """Size and budget of a recipe's model, from its folder, from the table of known ones, or from the recipe it awaits.

    A source runs/NAME that is not there yet is taken for the run, merged or not, of the package's recipe NAME.
    """
    source = Path(model.source)
    folder = next((index for index in (source / "model", source) if _is_model(index)), None)
    awaited = source.name.removesuffix("-merged")
    if folder is not None:
        shape, remark = _folder_shape(folder)
        origin = Origin(shape, *folder_settings(folder), remark)
    elif model.source in KNOWN:
        is_tiny = model.source in TINY
        budget, style = (TINY_BUDGET, "brief") if is_tiny else published_settings(PUBLISHED[model.source]["model_type"])
        origin = Origin(KNOWN[model.source], budget, style, model.source)
    elif awaited in recipe_names() and not source.exists():
        origin = find_origin(read_recipe(awaited).model)
        remark = f"{model.source} is not there yet; taken for what recipe {awaited} makes of {origin.remark}"
        origin = replace(origin, remark=remark)
    else:
        remark = f"{model.source} is not here, so its size is not known; no costs (known: {', '.join(KNOWN)})"
        origin = Origin(None, MediaBudget(), "full", remark)
    budget = replace(origin.budget, **model.media_changes())
    return replace(origin, budget=budget, prompt_style=model.prompt_style or origin.prompt_style)


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() or (folder / "adapter_config.json").is_file()


def _folder_shape(folder: Path) -> tuple[Shape | None, str]:
    """The size of the checkpoint in a folder, or of the base of the adapter in it."""
    if (folder / "config.json").is_file():
        return shape_of(_read_json(folder / "config.json"), str(folder / "config.json")), str(folder)
    base = str(_read_json(folder / "adapter_config.json").get("base_model_name_or_path"))
    origin = find_origin(ModelSection(source=base))
    return origin.shape, f"the adapter {folder} on {origin.remark}"


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        value = None
    if not isinstance(value, dict):
        raise InputError(f"{path}: not a model configuration; the checkpoint is damaged, copy it again")
    return value


def prompt_tokens(origin: Origin) -> cost.Tokens:
    """The most tokens of a prompt, by kind; those of its text are an estimate. No tower, no tokens of its medium."""
    from mer_r1.prompting.templates import PROMPT_TEMPLATES

    shape, sound = origin.shape, audio_tokens(origin.budget.max_audio_s, origin.budget)
    video = most_tokens(origin.budget) - sound
    style = PROMPT_TEMPLATES.get(origin.prompt_style)
    if style is None:
        raise InputError(
            f"model.prompt_style: {origin.prompt_style!r} is none of {', '.join(PROMPT_TEMPLATES)}; choose one of them"
        )
    characters = len(style.system) + len(style.text("x", ("x",)))
    text = round(characters / _CHARACTERS_A_TOKEN) + _FRAME_TOKENS
    return cost.Tokens(
        video=0 if shape and shape.vision is None else video,
        audio=0 if shape and shape.audio is None else sound,
        text=text,
    )


def _costs(recipe: Recipe, shape: Shape, tokens: cost.Tokens, place: _Place, rows: int | None) -> Costs:
    if recipe.model.lora:
        recipe.model.lora.require_targets(shape.text.targets)
    longest = recipe.rl.max_completion_length if recipe.kind == "rl" else place.answer_tokens
    answer, card, num_gpus = min(place.answer_tokens, longest), place.card, place.num_gpus

    def memory(number: int) -> dict[str, float]:
        parts = cost.memory(shape, recipe, tokens, longest, number)
        engine = cost.engine_bytes(recipe, parts["activations"], card.memory_gib)
        return parts | ({"engine": engine} if engine else {})

    seconds = None
    if card.speed is not None:
        seconds = cost.step_seconds(shape, recipe, tokens, answer, card.speed, num_gpus)
    return Costs(
        card,
        num_gpus,
        answer,
        parameters=shape.parameters,
        active=shape.active,
        in_experts=shape.text.in_experts,
        trained=cost.trained_parameters(shape, recipe),
        memory=memory(num_gpus),
        fix=_fix(recipe, shape, memory, num_gpus, card.memory_gib * GIB),
        prompts=recipe.optim.batch_size * recipe.optim.gradient_accumulation_steps * num_gpus,
        seconds=seconds,
        work=_work(recipe, shape, tokens, answer) if recipe.kind == "rl" else None,
        steps=cost.num_steps(recipe, rows, num_gpus),
    )


def _fix(
    recipe: Recipe, shape: Shape, memory: Callable[[int], dict[str, float]], num_gpus: int, room: float
) -> str | None:
    """Advice where the memory of `num_gpus` does not hold in `room` bytes each."""

    def fits(number: int) -> bool:
        return sum(memory(number).values()) <= room

    if fits(num_gpus):
        return None
    parts = memory(num_gpus)
    if sum(parts.values()) - parts.get("engine", 0.0) <= room:
        return "lower rl.vllm_gpu_memory_utilization, or set rl.vllm_enable_sleep_mode=true"
    enough = next((number for number in (2, 4, 8, 16, 32, 64) if number > num_gpus and fits(number)), None)
    growing = sum(parts[name] for name in ("activations", "KV cache"))  # with the batch, a prompt and its answers
    is_held = sum(parts.values()) - growing <= room
    if recipe.optim.batch_size > 1 and is_held and (recipe.model.lora or num_gpus == 1):
        return "lower optim.batch_size and raise optim.gradient_accumulation_steps"
    if enough:
        return f"{enough} GPUs hold it"
    if recipe.model.lora is None:
        return "train adapters (model.lora)"
    if recipe.model.quantization is None and not shape.text.in_experts:  # experts are not quantised
        return "hold the model in 4 bits (model.quantization=nf4)"
    return "take shorter prompts and answers" if is_held else "take a GPU of more memory"


def _work(recipe: Recipe, shape: Shape, tokens: cost.Tokens, answer: int) -> Work:
    num, fast = recipe.rl.num_generations, cost.fast_tokens(recipe)
    packed = cost.pass_work(recipe, tokens.prompt, answer)
    repeated = cost.repeated_work(tokens.prompt, num, answer, fast)
    head = num * (answer + fast)
    times = cost.forward_flops(shape.text, *repeated, head) / cost.forward_flops(shape.text, *packed, head)
    return Work(packed[0], repeated[0], times)
