"""LoRA: small trainable matrices at the language model's linear layers, saved apart from it (loading.py merges them).

A layer W becomes W + (lora_alpha / r) B A, A of (r, in), B of (out, r); only A and B learn (Hu et al. 2021). PEFT
does the work. The towers have linear layers of the same names, so targets are chosen by their path in the model, not
by their name: adapters sit in the language model alone.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from mer_r1.errors import InputError
from mer_r1.recipe import LoraSection

if TYPE_CHECKING:
    from peft import PeftModel

ADAPTER_CONFIG = "adapter_config.json"


def language_model_layers(model: Any) -> str:
    """Where the language model's layers stand in a model: `model.language_model.layers`, or `model.layers`."""
    return "model.language_model.layers" if hasattr(model.model, "language_model") else "model.layers"


def add_lora(model: Any, lora: LoraSection, base: str | None = None) -> PeftModel:
    """Put adapters on the language model's layers, in place, and freeze all else; their start changes no output.

    `model` keeps its class and can be called as before. The result wraps it (`save_adapter`). `base` is
    what an adapter's folder names as the model it belongs to; by default what `model` was loaded from. Adapters are
    float32 on a base of any precision. Raises InputError for a target that no layer has.
    """
    from peft import LoraConfig, get_peft_model

    path = language_model_layers(model)
    layers = model.get_submodule(path)
    linear = {name.rpartition(".")[2] for name, module in layers.named_modules() if isinstance(module, nn.Linear)}
    if unknown := sorted(set(lora.target_modules) - linear):
        raise InputError(
            f"model.lora.target_modules: {unknown[0]!r} is no linear layer of the language model; "
            f"choose from {', '.join(sorted(linear))}"
        )
    names = "|".join(map(re.escape, lora.target_modules))
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=rf"{re.escape(path)}\.\d+\.(.+\.)?({names})",
    )
    with peft_is_behind():
        wrapped: PeftModel = get_peft_model(model, config)
    wrapped.peft_config["default"].base_model_name_or_path = base or model.name_or_path
    return wrapped


def save_adapter(wrapped: PeftModel, folder: Path) -> None:
    """Write the adapters and their configuration to `folder`; nothing is asked of the Hub."""
    wrapped.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # a form to fill in; model_card.py writes a card


def adapter_base(folder: Path) -> str:
    """What an adapter's folder names as its base. Raises InputError that names the file."""
    path = folder / ADAPTER_CONFIG
    if not path.is_file():
        raise InputError(
            f"{folder}: holds no adapter ({ADAPTER_CONFIG} is missing); give a run trained with model.lora"
        )
    try:
        base = json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: not the configuration of an adapter; it is damaged, copy it again") from None
    if not isinstance(base, str) or not base:
        raise InputError(f"{path}: names no base_model_name_or_path; write the base's folder or Hub id there")
    return base


@contextmanager
def peft_is_behind() -> Iterator[None]:
    """Within the block PEFT may read an attribute that transformers 5 calls deprecated, without a warning to users."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.* is deprecated", FutureWarning)
        yield
