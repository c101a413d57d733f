"""The generator that a command line or a caller names: a checkpoint here, or a model behind an address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from mer_r1.errors import InputError
from mer_r1.generation.generator import FastByPrompt, ModelGenerator, PromptedGenerator
from mer_r1.media import MediaBudget
from mer_r1.objectives import FastThinking
from mer_r1.prompting.templates import PROMPT_TEMPLATES, PromptTemplate
from mer_r1.recipe import Quantization
from mer_r1.text import printable

if TYPE_CHECKING:
    from mer_r1.generation.endpoint import ConfidenceReader
    from mer_r1.models.backbone import Backbone

DEFAULT_MODEL = "runs/quickstart/mer_r1"


@dataclass(frozen=True)
class Service:
    """Where a model is served and what it takes there: the options of `EndpointGenerator` that commands have.

    With `served_as`, the name there, the model is named by its run or folder, which says how samples are shown to it.
    `prompt_style` names another prompt template; `budget` are values of MediaBudget in the place of the folder's, or
    without a folder of the default. Frames and sound are sent as they are taken where a folder or a budget is given,
    and as files otherwise. With a folder `confidence` has the words' confidence read, by further requests.
    """

    url: str
    key_env: str | None = None
    sound: bool = True
    num_workers: int = 8
    served_as: str | None = None
    prompt_style: str | None = None
    budget: Mapping[str, float | None] = field(default_factory=dict)
    confidence: bool = False


EngineName = Literal["local", "vllm"]


@dataclass(frozen=True)
class Engine:
    """What runs a checkpoint on this machine: our own loop, or vLLM, where `tensor_parallel` GPUs share each layer.

    Our own loop can hold the language model's layers in 4 or 8 bits (`quantization`).
    """

    name: EngineName = "local"
    tensor_parallel: int = 1
    quantization: Quantization | None = None

    def __post_init__(self) -> None:
        """Raises InputError for values that cannot be, and for those that do not go together."""
        if self.name not in get_args(EngineName):
            raise InputError(f"engine {self.name!r} is not known; use one of: {', '.join(get_args(EngineName))}")
        if self.tensor_parallel < 1 or (self.tensor_parallel > 1 and self.name != "vllm"):
            raise InputError(f"--tensor-parallel {self.tensor_parallel}: give 1 or more, with --engine vllm")
        if self.quantization not in (None, *get_args(Quantization)):
            known = ", ".join(get_args(Quantization))
            raise InputError(f"--quantization {self.quantization!r}: is not known; use one of: {known}")
        if self.quantization and self.name == "vllm":
            raise InputError(
                "--quantization: goes without --engine vllm, which loads a checkpoint as it is stored; give vLLM one "
                "that is stored quantised"
            )


LOCAL = Engine()


def validate_generator(
    model: str,
    service: Service | None = None,
    *,
    max_new_tokens: int = 1024,
    fast: FastThinking = "prefill",
    engine: Engine = LOCAL,
) -> None:
    """Raises InputError for what `make_generator` finds wrong without loading a model, before anything is written."""
    if max_new_tokens < 1:
        raise InputError(f"--max-new-tokens {max_new_tokens}: give 1 or more")
    if service is not None:
        make_generator(model, service, max_new_tokens=max_new_tokens, fast=fast, engine=engine)  # sends no request yet
        return
    from mer_r1.models.checkpoint import require_source

    _require_default(model)
    require_source(model)
    require_engine(engine)


def _require_default(model: str | Backbone) -> None:
    """Raises InputError where the default model is asked for and not there."""
    if model == DEFAULT_MODEL and not Path(DEFAULT_MODEL).exists():
        raise InputError(f"{model}: there is no run here yet; run `mer-r1 quickstart`, or give --model RUN")


def require_engine(engine: Engine) -> None:
    """Raises InputError where what an engine needs is not installed, or vLLM not of a tested version."""
    if engine.name == "vllm":
        from mer_r1.models.vllm_engine import require_vllm

        require_vllm()
    if engine.quantization:
        from mer_r1.models.quantization import require_quantization

        require_quantization(engine.quantization)


def make_generator(
    model: str | Backbone,
    service: Service | None = None,
    *,
    max_new_tokens: int = 1024,
    template: PromptTemplate | None = None,
    fast: FastThinking = "prefill",
    engine: Engine = LOCAL,
) -> PromptedGenerator:
    """The generator of `model`: a run, a checkpoint's folder, a Hub id or a loaded one; with `service` see there.

    `template` is the prompt template; None is the model's own. `fast` is how fast thinking is asked for: by the
    response format's prefill, or by a prompt for the answer alone. `engine` runs a model on this machine. Raises
    InputError for a number below 1, an address or key that cannot be used, a model that cannot be loaded, a template
    without such a prompt, and where vLLM is to be used and cannot be.
    """
    if max_new_tokens < 1:
        raise InputError(f"--max-new-tokens {max_new_tokens}: give 1 or more")
    if service is not None:
        if not isinstance(model, str):
            raise InputError("a model at an address is given by its name there, not as a loaded one")
        if engine != LOCAL:
            raise InputError("--engine and --quantization go without --url: a model at an address runs there")
        return _at_address(model, service, max_new_tokens, template, fast)
    made = make_model_generator(model, engine, max_new_tokens, template)
    return made if fast == "prefill" else FastByPrompt(made, made.with_template(made.template.answer_only()))


def make_model_generator(
    model: str | Backbone,
    engine: Engine = LOCAL,
    max_new_tokens: int = 1024,
    template: PromptTemplate | None = None,
) -> ModelGenerator:
    """The generator of a checkpoint on this machine, by the engine that is asked for.

    Raises InputError for a model that cannot be loaded, and where vLLM is to be used and cannot be.
    """
    _require_default(model)
    if engine.name == "vllm":
        if not isinstance(model, str):
            raise InputError("vLLM loads a model itself; give its folder, not a loaded one")
        from mer_r1.generation.engine import EngineGenerator, EngineModel

        return EngineGenerator(EngineModel(model, max_new_tokens, engine.tensor_parallel), max_new_tokens, template)
    from mer_r1.generation.local import LocalGenerator, load_model

    if isinstance(model, str):
        model = load_model(model, engine.quantization)
    elif engine.quantization:
        raise InputError(
            "a loaded model stays as it is; give its folder, or load it with `load_model(…, quantization)`"
        )
    return LocalGenerator(model, max_new_tokens, template)


def close_engine(engine: Engine) -> None:
    """Give back the memory of vLLM, where it answered; a generator of it opens it anew when it is asked again."""
    if engine.name == "vllm":
        from mer_r1.generation import engine as module

        module.close_engine()


def _at_address(
    model: str, service: Service, max_new_tokens: int, template: PromptTemplate | None, fast: FastThinking
) -> PromptedGenerator:
    from mer_r1.generation.endpoint import DEFAULT_TEMPLATE, EndpointGenerator
    from mer_r1.generation.served import read_served

    folder = None if service.served_as is None else read_served(model)
    if service.confidence and folder is None:
        raise InputError("--confidence goes with --served-as; give the model's folder and its name at the address")
    shown = MediaBudget() if folder is None else folder.budget
    given: dict[str, Any] = dict(service.budget)
    style = service.prompt_style or (folder.prompt_style if folder else None)
    if style not in (None, *PROMPT_TEMPLATES):
        source = "--prompt-style" if service.prompt_style else model
        raise InputError(f"{source}: prompt template {printable(style)!r} is none of {', '.join(PROMPT_TEMPLATES)}")
    template = template or (PROMPT_TEMPLATES[style] if style else DEFAULT_TEMPLATE)
    served = partial(
        EndpointGenerator,
        service.url,
        service.served_as or model,
        key_env=service.key_env,
        max_new_tokens=max_new_tokens,
        num_workers=service.num_workers,
        sound=service.sound and (folder is None or folder.hears),
        budget=replace(shown, **given) if folder or given else None,
        suppressed=folder.suppressed if folder else (),
        confidence=_reader_of(folder.folder) if folder and service.confidence else None,
    )
    if fast == "prefill":
        return served(template=template)
    return FastByPrompt(served(template=template), served(template=template.answer_only()))


def _reader_of(folder: Path) -> ConfidenceReader:
    from mer_r1.generation.served_confidence import served_confidence

    return served_confidence(folder)
