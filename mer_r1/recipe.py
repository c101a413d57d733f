"""Recipes: what to train on what, as YAML of at most 30 lines, checked before anything runs.

An unknown key is an error that names the nearest known one; `section.key=value` overrides a key from the command line.
So is an idle key: one that nothing reads in this recipe and that was given another value than its default, which would
make a run look like what it is not. `Recipe.idle_keys` says which keys are idle; a resolved recipe is written without
them.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from mer_r1.errors import InputError
from mer_r1.objectives import (
    OBJECTIVES,
    BetaSchedule,
    FastThinking,
    ImportanceLevel,
    KlEstimator,
    LengthPenalty,
    LossType,
    MismatchCorrection,
    ScaleRewards,
    SharedTokens,
    keys_of,
    misnamed,
    needs_calibration,
    needs_reflection,
)
from mer_r1.yaml_text import names_in, override, read_yaml

TINY = ("tiny", "tiny-vision")  # models that a run builds itself
TargetKind = Literal["slow", "fast", "label"]
ProtocolName = Literal["official", "corrected"]
Quantization = Literal["nf4", "int8"]
Positive = Annotated[int, Field(gt=0)]
# "~" at the beginning is the user's folder, as on the command line.
HomeText = Annotated[str, AfterValidator(os.path.expanduser)]
HomePath = Annotated[Path, AfterValidator(lambda path: Path(os.path.expanduser(path)))]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LoraSection(_Section):
    """Names of PEFT's LoraConfig. The adapters sit on the language model's linear layers, never on the towers."""

    r: Positive = 64
    lora_alpha: Positive = 128
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

    def require_targets(self, known: Iterable[str]) -> None:
        """Raises InputError for a target that is none of the `known` names of a language model's layers."""
        if unknown := sorted(set(self.target_modules) - {*known}):
            raise InputError(
                f"model.lora.target_modules: {unknown[0]!r} is no linear layer of the language model; "
                f"choose from {', '.join(sorted({*known}))}"
            )


class ModelSection(_Section):
    """`source`: one of TINY, a folder, or a Hub id. Media keys: those of MediaBudget; None keeps the checkpoint's.

    `quantization` holds the language model's layers in 4 or 8 bits (models/quantization.py) under the adapters of
    `lora`.
    """

    source: HomeText
    lora: LoraSection | None = None
    quantization: Quantization | None = None
    prompt_style: str | None = None
    num_frames: Positive | None = None
    fps: float | None = None
    max_pixels: Positive | None = None
    min_pixels: Positive | None = None
    max_audio_s: float | None = None
    train_towers: bool = False

    def media_changes(self) -> dict[str, Any]:
        """The media keys that are set."""
        keys = ("num_frames", "fps", "max_pixels", "min_pixels", "max_audio_s")
        return {key: getattr(self, key) for key in keys if getattr(self, key) is not None}


class DataSection(_Section):
    """Manifests, and how many processes prepare them. `keep_features`: compute once, keep beside the run.

    `unreadable`: what a clip that cannot be read does in the middle of training: "stop" the run with an error, or
    "skip" the clip and count it. `uncountable`: what RL does with a row on whose gold no answer can be paid, as labels
    that reach no category: "drop" it, counted, "keep" it with advantage 0, or "stop". `num` counts rows that are used.
    `eval` is scored every optim.eval_steps.
    """

    train: HomePath
    num: Positive | None = None
    eval: HomePath | None = None
    eval_num: Positive | None = None
    unreadable: Literal["stop", "skip"] = "stop"
    uncountable: Literal["drop", "keep", "stop"] = "drop"
    workers: int = Field(default=2, ge=0)
    keep_features: bool = False


class OptimSection(_Section):
    """Names and meanings of transformers' TrainingArguments; `batch_size` is per device, in prompts.

    `not_finite`: what a step does whose gradient is no number: "stop" the run with an error, or "skip" it, counted.
    """

    learning_rate: float = Field(gt=0)
    max_steps: Positive | Literal[-1] = -1
    num_train_epochs: float = Field(default=1.0, gt=0)
    batch_size: Positive = 1
    gradient_accumulation_steps: Positive = 1
    warmup_steps: int | float = Field(default=0, ge=0)
    lr_scheduler_type: Literal["cosine", "linear", "constant", "constant_with_warmup", "inverse_sqrt"] = "cosine"
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    adam_beta2: float = Field(default=0.999, gt=0, lt=1)
    bf16: bool = False
    gradient_checkpointing: bool = False
    save_steps: Positive = 200
    logging_steps: Positive = 10
    eval_steps: Positive | None = None
    report_to: tuple[str, ...] = ()
    not_finite: Literal["stop", "skip"] = "stop"


class SftSection(_Section):
    """`targets`: the paper trains "slow" alone; with "fast" beside it both ways of answering are taught.

    "label" teaches the answer without a chain of thought, from its first token (EMO-R3's cold start). `reflection`
    teaches beside them to answer the judge's questions (rl/reflection/lessons.py), which a tiny model does not know.
    """

    targets: tuple[TargetKind, ...] = Field(default=("slow",), min_length=1)
    reflection: bool = False


class ReflectionSection(_Section):
    """Who judges the steps of an answer (rl/reflection/): the policy itself, or a model at a chat endpoint.

    `key_env` names the environment variable that holds the endpoint's key.
    """

    judge: Literal["policy", "endpoint"] = "policy"
    url: str | None = None
    model: str | None = None
    key_env: str | None = None

    @model_validator(mode="after")
    def _address_goes_with_endpoint(self) -> ReflectionSection:
        if self.judge == "endpoint" and not (self.url and self.model):
            raise ValueError("judge: endpoint needs url and model; give both")
        if self.judge == "policy" and (self.url or self.model or self.key_env):
            raise ValueError("url, model and key_env belong to an endpoint; set judge: endpoint, or remove them")
        return self


def _known_objective(name: str) -> str:
    if name not in OBJECTIVES:
        close = difflib.get_close_matches(name, OBJECTIVES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(OBJECTIVES)}"
        raise ValueError(f"no such objective; {hint}")
    if problem := misnamed(OBJECTIVES[name]):
        raise ValueError(problem)
    return name


class RlSection(_Section):
    """Names of TRL's GRPOConfig where TRL has the thing. `objective` names an entry of objectives.OBJECTIVES.

    `end_token`: an answer is paid for ending. One id behind its last tag is drawn and scored too, which
    `max_completion_length` counts; where it is not the end token the answer earns no format reward. `top_k` (0: all),
    `top_p` and `min_p` limit what answers are drawn from, in this order, behind the temperature; what is scored is the
    whole distribution at that temperature, as in TRL, so with them a ratio of 1 and the KL estimates are those of other
    draws. `mask_truncated_completions` leaves answers that were cut at max_completion_length out of the loss; their
    rewards stay in their group. `kl` is the estimator of the KL term (rl/kl.py) and `beta_schedule` "decay" lets beta
    fall linearly to a quarter in the first half of the run. `importance_sampling_level` and `delta`, the upper bound of
    a bad answer's ratio (dual clip), are of the loss (rl/losses.py). `soft_punish_cache`, TRL's name, is the number of
    last tokens over which the reward `overlong` falls to -1; None is a fifth of max_completion_length.
    `dynamic_sampling` is how often a step replaces prompts whose answers all have advantage 0 (rl/dynamic_sampling.py).
    `shared_tokens` says whether an id that opens words of two categories counts for both (the paper's reading) or for
    neither. `calibration_floor`, in nat: a group whose calibration rewards spread less than this counts as without
    spread, for that much is noise of bfloat16. `fast` is what calibration compares with: the answer behind the response
    format's empty reasoning, or behind a prompt that asks for the answer alone.

    `sampler` is who draws the answers: the policy by our own loop ("local"), or a vLLM engine that holds its weights.
    `vllm_gpu_memory_utilization` is the share of each GPU that the engine may take, weights included, and
    `vllm_enable_sleep_mode` gives it back between two samplings; both are for GPUs alone. `vllm_max_model_length` is
    the room for a prompt and its answer, by default that of the media budget, 2,048 ids of text, and an answer.
    `mismatch` says how the loss is corrected for what the engine's log-probabilities differ from the policy's
    (rl/mismatch.py), with TRL's names and its bound `mismatch_cap`. A step whose mean |difference| a token is above
    `max_mismatch`, in nat, ends the run; None is 0.1 under optim.bf16 and 0.005 in float32.
    """

    objective: Annotated[str, AfterValidator(_known_objective)] = "mer_r1"
    num_generations: Positive = 4
    max_completion_length: Positive = 1024
    end_token: bool = True
    sampler: Literal["local", "vllm"] = "local"
    vllm_gpu_memory_utilization: float = Field(default=0.3, gt=0, lt=1)
    vllm_enable_sleep_mode: bool = False
    vllm_max_model_length: Positive | None = None
    mismatch: MismatchCorrection = "sequence_mask"
    mismatch_cap: float = Field(default=3.0, gt=1)
    max_mismatch: float | None = Field(default=None, gt=0)
    temperature: float = Field(default=1.0, gt=0)
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    mask_truncated_completions: bool = False
    dynamic_sampling: int = Field(default=0, ge=0)
    kl: KlEstimator = "k3_corrected"
    beta: float = Field(default=0.04, ge=0)
    beta_schedule: BetaSchedule = "constant"
    importance_sampling_level: ImportanceLevel = "token"
    epsilon: float = Field(default=0.2, gt=0)
    epsilon_high: float | None = Field(default=None, gt=0)
    delta: float | None = Field(default=None, gt=0)
    loss_type: LossType = "grpo"
    scale_rewards: ScaleRewards = "group"
    num_iterations: Positive = 1
    lambda_cali: float = Field(default=0.1, ge=0)
    lambda_fmt: float = Field(default=0.1, ge=0)
    lambda_rer: float = Field(default=0.1, ge=0)
    length_penalty: LengthPenalty = "none"
    soft_punish_cache: Positive | None = None
    shared_tokens: SharedTokens = "count"
    calibration_floor: float = Field(default=0.02, ge=0)
    fast: FastThinking = "prefill"
    reflection: ReflectionSection = ReflectionSection()
    wheels: HomeText = "builtin"
    protocol: ProtocolName = "official"

    @model_validator(mode="after")
    def _group_is_a_group(self) -> RlSection:
        if self.num_generations < 2:
            raise ValueError("num_generations must be at least 2: an advantage compares the answers of a group")
        return self

    @model_validator(mode="after")
    def _cache_fits(self) -> RlSection:
        if self.soft_punish_cache is not None and self.soft_punish_cache > self.max_completion_length:
            raise ValueError(
                f"soft_punish_cache: {self.soft_punish_cache} tokens are more than max_completion_length has "
                f"({self.max_completion_length}); lower it"
            )
        return self

    @model_validator(mode="after")
    def _engine_draws_from_what_is_scored(self) -> RlSection:
        """An engine's log-probabilities are those behind its limits, ours of the whole distribution."""
        limits = {"top_k": self.top_k > 0, "top_p": self.top_p < 1, "min_p": bool(self.min_p)}
        for key in limits if self.sampler == "vllm" else ():
            if limits[key]:
                raise ValueError(
                    f"{key}: with sampler vllm answers are drawn from the whole distribution, which is what the loss "
                    f"reads; behind a limit the mismatch would count what the limit leaves out; remove {key}, or set "
                    "sampler: local"
                )
        return self

    @model_validator(mode="after")
    def _delta_lies_above_the_clip(self) -> RlSection:
        """Below it, delta would take from what the clip lets good answers gain, which neither TRL nor PPO means."""
        high = 1 + (self.epsilon if self.epsilon_high is None else self.epsilon_high)
        if self.delta is not None and self.delta <= high:
            raise ValueError(f"delta: {self.delta} must lie above 1 + epsilon_high ({high:g}); 3 and 4 are usual")
        return self


class Recipe(_Section):
    """One training run."""

    kind: Literal["sft", "rl"]
    model: ModelSection
    data: DataSection
    optim: OptimSection
    sft: SftSection = SftSection()
    rl: RlSection = RlSection()
    seed: int = Field(default=0, ge=0, lt=2**32)

    def as_yaml(self) -> str:
        """The resolved recipe without its idle keys, as it stands in a run's folder."""
        tree = self.model_dump(mode="json")
        for key in self.idle_keys():
            section, name = key.split(".")
            del tree[section][name]
        return yaml.safe_dump({name: value for name, value in tree.items() if value != {}}, sort_keys=False)

    def idle_keys(self) -> dict[str, str]:
        """The keys (section.key) that nothing reads in this recipe, each with the reason as half a sentence."""
        return dict(_idle_keys(self))

    @model_validator(mode="after")
    def _sections_agree(self) -> Recipe:
        if self.model.lora and self.model.train_towers:
            raise ValueError("model.train_towers: adapters learn with frozen towers; remove one of the two keys")
        if self.model.quantization and not self.model.lora:
            raise ValueError(
                "model.quantization: weights of so few bits do not learn, and adapters on them do; give model.lora, or "
                "remove it"
            )
        if self.model.quantization and self.kind == "rl" and self.rl.sampler == "vllm":
            raise ValueError(
                "rl.sampler: vllm is given whole weights at every step, which model.quantization does not keep; use "
                "local, or remove model.quantization"
            )
        if self.data.keep_features and self.data.unreadable == "skip":
            raise ValueError(
                "data.unreadable: with keep_features every clip is read before training; remove one of the two keys"
            )
        if (self.data.eval is None) != (self.optim.eval_steps is None):
            raise ValueError("data.eval and optim.eval_steps go together: give both or neither")
        if self.kind == "rl" and self.rl.scale_rewards == "batch" and needs_calibration(self.rl.objective):
            raise ValueError(
                f"rl.scale_rewards: batch needs all rewards of a step before its first pass, and {self.rl.objective} "
                "reads confidences in that pass; use group or none"
            )
        late = needs_calibration(self.rl.objective) or needs_reflection(self.rl.objective)
        if self.kind == "rl" and self.rl.dynamic_sampling and late:
            raise ValueError(
                f"rl.dynamic_sampling: {self.rl.objective} pays confidences or a judge's scores, which are not known "
                "when answers are sampled; remove it, or choose an objective that pays texts"
            )
        if self.kind == "rl" and self.optim.save_steps % self.rl.num_iterations:
            raise ValueError(
                f"optim.save_steps: {self.optim.save_steps} is no multiple of rl.num_iterations "
                f"({self.rl.num_iterations}); a checkpoint does not hold the rollouts that a next step would use again"
            )
        return self

    @model_validator(mode="after")
    def _keys_are_read(self, info: ValidationInfo) -> Recipe:
        for key, reason in _given_idle_keys(self).items() if info.context is not _KEEP_IDLE else ():
            raise ValueError(f"{key} does nothing: {reason}; {_fix(key)}")
        return self


_KEEP_IDLE: dict[str, Any] = {}  # the validation's context where idle keys are dropped instead of refused


def _idle_keys(recipe: Recipe) -> Iterator[tuple[str, str]]:
    rl = recipe.rl
    other: type[_Section] = RlSection if recipe.kind == "sft" else SftSection
    for name in other.model_fields:
        section = "rl" if recipe.kind == "sft" else "sft"
        yield f"{section}.{name}", f"an {recipe.kind} recipe reads no {section} section"
    if recipe.data.eval is None:
        yield "data.eval_num", "there is no data.eval"
    if recipe.optim.lr_scheduler_type == "constant":
        yield "optim.warmup_steps", "lr_scheduler_type constant has no warm-up, constant_with_warmup has"
    if recipe.kind == "sft":
        yield "data.uncountable", "SFT learns every row as it stands"
        return
    for name, is_read in keys_of(rl.objective).items():
        if not is_read:
            yield f"rl.{name}", f"objective {rl.objective} does not read it (read by {_readers(name)})"
    if rl.sampler == "local":
        engine = ("vllm_gpu_memory_utilization", "vllm_enable_sleep_mode", "vllm_max_model_length")
        for name in ("mismatch", "mismatch_cap", "max_mismatch", *engine):
            yield f"rl.{name}", "with rl.sampler local the policy itself draws the answers"
    elif rl.mismatch == "none":
        yield "rl.mismatch_cap", "rl.mismatch is none"
    if rl.beta == 0:
        for name in ("beta_schedule", "kl"):
            yield f"rl.{name}", "rl.beta is 0"
    if rl.num_iterations == 1:
        for name in ("epsilon", "epsilon_high", "delta", "importance_sampling_level"):
            yield f"rl.{name}", "with rl.num_iterations 1 the ratio is always 1"


def _readers(name: str) -> str:
    """The objectives that read a key, in words."""
    readers, others = (
        [objective for objective in OBJECTIVES if keys_of(objective)[name] is reads] for reads in (True, False)
    )
    return ", ".join(readers) if len(readers) <= len(others) else f"all but {', '.join(others)}"


def _given_idle_keys(recipe: Recipe) -> dict[str, str]:
    """The idle keys whose value is not the default: nobody gave the others, or it makes no difference."""
    return {key: reason for key, reason in recipe.idle_keys().items() if _value_of(recipe, key) != _default_of(key)}


def _value_of(recipe: Recipe, key: str) -> Any:
    section, name = key.split(".")
    return getattr(getattr(recipe, section), name)


def _default_of(key: str) -> Any:
    section, name = key.split(".")
    kind: Any = Recipe.model_fields[section].annotation
    return kind.model_fields[name].default


def _fix(key: str) -> str:
    default = _default_of(key)
    return "remove it" if isinstance(default, BaseModel) else f"remove it, or set it to {json.dumps(default)}"


def _lines(error: ValidationError, where: str) -> str:
    """The first problem of a recipe as one line."""
    problem = error.errors()[0]
    path = ".".join(str(part) for part in problem["loc"] if not str(part).startswith(("constrained", "literal")))
    if problem["type"] == "extra_forbidden":
        section: Any = Recipe
        for part in problem["loc"][:-1]:
            section = section.model_fields[part].annotation
        known = list(section.model_fields)
        if len(problem["loc"]) == 1 and (owner := _owner(path)):
            return f"{where}: {path}: unknown key; did you mean {owner}.{path}?"
        close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
        return f"{where}: {path}: unknown key; {hint}"
    if problem["type"] == "missing":
        return f"{where}: {path}: is missing; add it"
    if problem["type"] == "path_type":
        return f"{where}: {path}: is no path (found {problem['input']!r}); give one, or leave the key out"
    message = problem["msg"].removeprefix("Value error, ")
    found = (
        "" if isinstance(problem["input"], dict) else f" (found {problem['input']!r})"
    )  # a whole section says nothing
    return f"{where}: {path}: {message}{found}" if path else f"{where}: {message}"


def _owner(key: str) -> str | None:
    """The one section that has this key; None where none has, or several have."""
    sections: dict[str, Any] = {name: field.annotation for name, field in Recipe.model_fields.items()}
    owners = [name for name, section in sections.items() if key in getattr(section, "model_fields", ())]
    return owners[0] if len(owners) == 1 else None


def recipe_names() -> list[str]:
    """The recipes that come with the package."""
    return names_in(resources.files("mer_r1.recipes"))


def read_recipe(source: str, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe file, or one of the package's by name, and apply overrides.

    Raises InputError: one line that names the file, the key, what is wrong and the fix.
    """
    return _read(source, overrides)


def read_recipe_without_idle_keys(source: str, overrides: Iterable[str] = ()) -> tuple[Recipe, dict[str, str]]:
    """The same, but idle keys are no error: they are set back to their defaults, and returned with the reasons.

    For a recipe that serves several objectives, and for one that an earlier version wrote.
    """
    recipe = _read(source, overrides, _KEEP_IDLE)
    dropped = _given_idle_keys(recipe)
    for key in dropped:
        section, name = key.split(".")
        changed = getattr(recipe, section).model_copy(update={name: _default_of(key)})
        recipe = recipe.model_copy(update={section: changed})
    return recipe, dropped


def _read(source: str, overrides: Iterable[str], context: dict[str, Any] | None = None) -> Recipe:
    tree = read_yaml(source, resources.files("mer_r1.recipes"), "recipe")
    if not isinstance(tree, dict):
        raise InputError(
            f"{source}: a recipe is a mapping of sections; write kind, model, data and optim (docs/training.md)"
        )
    for assignment in overrides:
        override(tree, assignment)
    try:
        return Recipe.model_validate(tree, context=context)
    except ValidationError as error:
        raise InputError(_lines(error, source)) from None
