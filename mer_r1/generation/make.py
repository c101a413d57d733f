"""The generator that a command line or a caller names: a checkpoint here, or a model behind an address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mer_r1.errors import InputError
from mer_r1.generation.generator import FastByPrompt, Generator
from mer_r1.media import MediaBudget
from mer_r1.objectives import FastThinking
from mer_r1.prompting.templates import PROMPT_TEMPLATES, PromptTemplate
from mer_r1.text import printable

if TYPE_CHECKING:
    from mer_r1.models.backbone import Backbone

DEFAULT_MODEL = "runs/quickstart/mer_r1"


@dataclass(frozen=True)
class Service:
    """Where a model is served and what it takes there: the options of `EndpointGenerator` that commands have.

    With `served_as`, the name there, the model is named by its run or folder, which says how samples are shown to it.
    `prompt_style` names another prompt template; `budget` are values of MediaBudget in the place of the folder's, or
    without a folder of the default. Frames and sound are sent as they are taken where a folder or a budget is given,
    and as files otherwise.
    """

    url: str
    key_env: str | None = None
    sound: bool = True
    num_workers: int = 8
    served_as: str | None = None
    prompt_style: str | None = None
    budget: Mapping[str, float | None] = field(default_factory=dict)


def validate_generator(
    model: str, service: Service | None = None, *, max_new_tokens: int = 1024, fast: FastThinking = "prefill"
) -> None:
    """Raises InputError for what `make_generator` finds wrong without loading a model, before anything is written."""
    if max_new_tokens < 1:
        raise InputError(f"--max-new-tokens {max_new_tokens}: give 1 or more")
    if service is not None:
        make_generator(model, service, max_new_tokens=max_new_tokens, fast=fast)  # which sends no request yet
        return
    from mer_r1.models.checkpoint import require_source

    require_source(model)


def make_generator(
    model: str | Backbone,
    service: Service | None = None,
    *,
    max_new_tokens: int = 1024,
    template: PromptTemplate | None = None,
    fast: FastThinking = "prefill",
) -> Generator:
    """The generator of `model`: a run, a checkpoint's folder, a Hub id or a loaded one; with `service` see there.

    `template` is the prompt template; None is the model's own. `fast` is how fast thinking is asked for: by the
    response format's prefill, or by a prompt for the answer alone. Raises InputError for a number below 1, an address
    or key that cannot be used, a model that cannot be loaded, and a template without such a prompt.
    """
    if max_new_tokens < 1:
        raise InputError(f"--max-new-tokens {max_new_tokens}: give 1 or more")
    if service is not None:
        if not isinstance(model, str):
            raise InputError("a model at an address is given by its name there, not as a loaded one")
        return _at_address(model, service, max_new_tokens, template, fast)
    if model == DEFAULT_MODEL and not Path(DEFAULT_MODEL).exists():
        raise InputError(f"{model}: there is no run here yet; run `mer-r1 quickstart`, or give --model RUN")
    from mer_r1.generation.local import LocalGenerator

    local = LocalGenerator(model, max_new_tokens, template)
    return (
        local if fast == "prefill" else FastByPrompt(local, local.with_template(local.backbone.template.answer_only()))
    )


def _at_address(
    model: str, service: Service, max_new_tokens: int, template: PromptTemplate | None, fast: FastThinking
) -> Generator:
    from mer_r1.generation.endpoint import DEFAULT_TEMPLATE, EndpointGenerator
    from mer_r1.generation.served import read_served

    folder = None if service.served_as is None else read_served(model)
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
    )
    if fast == "prefill":
        return served(template=template)
    return FastByPrompt(served(template=template), served(template=template.answer_only()))
