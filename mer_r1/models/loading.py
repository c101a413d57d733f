"""A backbone of whatever kind a checkpoint is: a family of LOADERS, or a causal language model that only reads.

The kind is config.json's `model_type`; a new family is one file and one line of LOADERS. A folder with an adapter of
PEFT is its base, loaded from where adapter_config.json says, with the adapter merged into the weights: for inference
and for a plain checkpoint (`export_model`), not to resume training. On a base that is quantised the adapter stays
beside the weights, as it was when it learned on such a base.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from mer_r1.errors import InputError, first_line
from mer_r1.media import MediaBudget
from mer_r1.model_settings import SETTINGS_FILE, looks_like_hub_id, model_folder
from mer_r1.models.backbone import Backbone
from mer_r1.models.causal_lm import load_causal_lm
from mer_r1.models.checkpoint import (
    RUN_FIX,
    folder_kind,
    require_source,
    settings_of,
)
from mer_r1.models.gemma4 import load_gemma4
from mer_r1.models.lora import (
    ADAPTER_CONFIG,
    adapter_base,
    attached,
    first_not_finite,
    merged,
    peft_is_behind,
    require_plain,
)
from mer_r1.models.quantization import is_stored_quantised, quantize
from mer_r1.models.qwen2_5_omni import load_omni
from mer_r1.models.qwen2_5_vl import load_vision
from mer_r1.models.qwen3_omni import load_omni3
from mer_r1.models.qwen3_vl import load_qwen3_vl, load_qwen3_vl_moe
from mer_r1.recipe import Quantization

LOADERS: dict[str, Callable[[str, MediaBudget | None, str | None, bool], Backbone]] = {
    "gemma4": load_gemma4,
    "qwen2_5_omni": load_omni,
    "qwen2_5_omni_thinker": load_omni,
    "qwen2_5_vl": load_vision,
    "qwen3_omni_moe": load_omni3,
    "qwen3_omni_moe_thinker": load_omni3,
    "qwen3_vl": load_qwen3_vl,
    "qwen3_vl_moe": load_qwen3_vl_moe,
}
"""model_type -> loader (source, media budget, name of the prompt template, with or without weights).

Any other is a causal language model.
"""
_OF_A_MEDIUM = re.compile("vision|visual|image|img|video|audio|speech|sound")


def load_backbone(
    source: str,
    budget: MediaBudget | None = None,
    prompt_style: str | None = None,
    weights: bool = True,
    *,
    quantization: Quantization | None = None,
    device: str | torch.device = "cpu",
) -> Backbone:
    """Load a folder or a Hub id as what it is, with the settings saved beside it or the given ones.

    A model that has no loader of its own is taken as a causal language model. Without `weights` the model is on the
    meta device: prompts can be made and answers read, for an engine that has the weights. With `quantization` its
    layers lie on `device`, quantised; all else is on the CPU.
    Raises InputError for a folder that holds no whole checkpoint or adapter, a Hub id that cannot be had, a model that
    sees or hears and has no loader, and one that cannot be quantised or is already.
    """
    folder = Path(source)
    require_source(source)
    if (folder / ADAPTER_CONFIG).is_file():  # whatever else is there: transformers reads such a folder so, too
        if not weights:
            raise InputError(
                f"{folder}: an adapter, which an engine does not load; run `mer-r1 export {folder} --out DIR`, and "
                "give that folder"
            )
        return _load_adapted(folder, budget, prompt_style, quantization, device)
    if folder.exists():
        folder_kind(folder, RUN_FIX)
    config = _config(source)
    load = LOADERS.get(config["model_type"])
    if load is None:
        _require_text(source, config)
        load = load_causal_lm
    backbone = load(source, budget, prompt_style, weights)
    if quantization:
        quantize(backbone.model, quantization, torch.device(device))
    return backbone


def export_model(source: str, out: Path, dtype: Literal["bfloat16", "float16", "float32"] | None = None) -> Path:
    """Write a model in the layout of its family's official checkpoint, with processor and settings; returns `out`.

    `source` is a run's folder, a checkpoint's or an adapter's, or a Hub id; an adapter is merged into its base, in the
    base's own precision. Weights are then written in `dtype`, or as they are. Raises InputError where `source` is no
    model or a quantised one, an adapter's base is missing or an adapter too, `out` exists, or a weight would not be
    finite.
    """
    if out.exists():
        raise InputError(f"{out}: exists already; give another --out, or remove it")
    folder = Path(model_folder(source))
    with peft_is_behind():
        backbone = load_backbone(str(folder))
    if is_stored_quantised(backbone.model):
        raise InputError(
            f"{folder}: its weights, or those of the adapter's base, are quantised, and a checkpoint holds whole ones; "
            f"give the checkpoint that they were made of, for an adapter in {ADAPTER_CONFIG}"
        )
    if dtype:
        backbone.model.to(getattr(torch, dtype))
    if name := first_not_finite(backbone.model.named_parameters()):
        base = f" or its base {adapter_base(folder)}" if (folder / ADAPTER_CONFIG).is_file() else ""
        raise InputError(
            f"{folder}: {name} would hold NaN or infinity: the model{base} does, or {backbone.model.dtype} is too "
            "small for it; copy it again, or take bfloat16 or float32"
        )
    return backbone.write(out)


def _config(source: str) -> Mapping[str, Any]:
    """The configuration as it is written. Raises InputError where it cannot be read or names no kind of model."""
    from transformers import PreTrainedConfig

    try:
        config: dict[str, Any] = PreTrainedConfig.get_config_dict(source)[0]
        config["model_type"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{source}: its configuration cannot be read ({first_line(error)}); "
            "give a folder, or a Hub id such as Qwen/Qwen2.5-Omni-7B while online"
        ) from error
    return config


def _require_text(source: str, config: Mapping[str, Any]) -> None:
    """Raises InputError for a kind that transformers does not know, and for a model that sees or hears.

    Read as text, the latter would be given a sample's subtitle alone. transformers lists its own such kinds; one that
    comes with code of its own has a part that is named after a medium.
    """
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES

    kind = config["model_type"]
    towers = [name for name, part in config.items() if isinstance(part, dict) and _OF_A_MEDIUM.search(name)]
    if towers or kind in MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES:
        raise InputError(
            f"{source}: a model of kind {kind!r} sees or hears, and there is no loader for it; take one of kind "
            f"{', '.join(LOADERS)}, or a language model, which reads the subtitle alone"
        )
    if kind not in transformers.CONFIG_MAPPING:
        raise InputError(
            f"{source}: transformers {transformers.__version__} does not know models of kind {kind!r}, and code that "
            "comes with a checkpoint is not run; pip install -U transformers, or take another model"
        )


def _load_adapted(
    folder: Path,
    budget: MediaBudget | None,
    prompt_style: str | None,
    quantization: Quantization | None,
    device: str | torch.device,
) -> Backbone:
    """The base of an adapter, with the adapter merged into its weights, or beside them where these are quantised.

    Raises InputError, naming the adapter's configuration, where the base is no whole model.
    """
    base, path = adapter_base(folder), folder / ADAPTER_CONFIG
    if (Path(base) / ADAPTER_CONFIG).is_file():
        raise InputError(f"{path}: its base_model_name_or_path {base} is an adapter too; name a whole model there")
    if not Path(base).exists() and not looks_like_hub_id(base):
        raise InputError(f"{path}: its base_model_name_or_path {base} does not exist; write there where the base is")
    if (folder / SETTINGS_FILE).exists():
        budget, prompt_style = settings_of(str(folder), budget, prompt_style)
    backbone = load_backbone(base, budget, prompt_style, quantization=quantization, device=device)
    if quantization or is_stored_quantised(backbone.model):
        require_plain(folder)
        backbone.wrapped_model = attached(backbone.model, folder)
    else:
        backbone.model = merged(backbone.model, folder)
    return backbone
