"""Models with random weights over the tiny tokenizers: the tiny ones, and any of a published shape.

Those of a published shape are what measurements need of it, on a device or on none ("meta"): the official classes,
widths and depth. Nothing is loaded. The tokenizer is the tiny one, so a text has more tokens than with the real one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
import transformers

from mer_r1.media import TINY_BUDGET, MediaBudget
from mer_r1.model_settings import published_settings
from mer_r1.models.backbone import Backbone
from mer_r1.models.gemma4 import Gemma4Backbone
from mer_r1.models.qwen2_5_omni import OmniBackbone
from mer_r1.models.qwen2_5_vl import VisionBackbone
from mer_r1.models.qwen3_omni import Omni3Backbone
from mer_r1.models.qwen3_vl import Qwen3VLBackbone
from mer_r1.models.tiny import gemma4, omni, omni3, qwen3_vl, vision
from mer_r1.published_models import PUBLISHED


class _Family(NamedTuple):
    """A tiny model's name, its parts, and the budget by which it is shown clips."""

    tiny: str
    backbone: Callable[..., Backbone]
    model_class: Any
    make_processor: Callable[[Iterable[str]], Any]
    make_config: Callable[[Any], Any]
    budget: MediaBudget = TINY_BUDGET


_FAMILIES = {
    "qwen2_5_omni_thinker": _Family(
        "tiny",
        OmniBackbone,
        transformers.Qwen2_5OmniThinkerForConditionalGeneration,
        omni.tiny_processor,
        omni.tiny_config,
    ),
    "qwen2_5_vl": _Family(
        "tiny-vision",
        VisionBackbone,
        transformers.Qwen2_5_VLForConditionalGeneration,
        vision.tiny_vision_processor,
        vision.tiny_vision_config,
    ),
    "qwen3_omni_moe_thinker": _Family(
        "tiny-omni3",
        Omni3Backbone,
        transformers.Qwen3OmniMoeThinkerForConditionalGeneration,
        omni3.tiny_omni3_processor,
        omni3.tiny_omni3_config,
        omni3.BUDGET,
    ),
    "gemma4": _Family(
        "tiny-gemma4",
        Gemma4Backbone,
        transformers.Gemma4ForConditionalGeneration,
        gemma4.tiny_gemma4_processor,
        gemma4.tiny_gemma4_config,
        gemma4.BUDGET,
    ),
    "qwen3_vl": _Family(
        "tiny-qwen3-vl",
        Qwen3VLBackbone,
        transformers.Qwen3VLForConditionalGeneration,
        qwen3_vl.tiny_qwen3_vl_processor,
        qwen3_vl.tiny_qwen3_vl_config,
        qwen3_vl.BUDGET,
    ),
}
NAMES = (*(family.tiny for family in _FAMILIES.values()), *PUBLISHED)
"""Of the models that can be made: the tiny ones, and Hub ids."""


def random_backbone(
    name: str, texts: Iterable[str], device: torch.device, dtype: torch.dtype = torch.bfloat16
) -> Backbone:
    """A model of NAMES with random weights, in evaluation mode; `texts` are what its tokenizer is trained on."""
    published = PUBLISHED.get(name)
    if published is None:
        family = next(family for family in _FAMILIES.values() if family.tiny == name)
    else:
        family = _FAMILIES[published["model_type"]]
    processor = family.make_processor(texts)
    config = family.make_config(processor.tokenizer)
    shown_as = family.budget, "brief"
    if published is not None:
        config = _with_shape(config, published)
        shown_as = published_settings(published["model_type"])
        if hasattr(processor, "feature_extractor"):
            extractor, heard = processor.feature_extractor, config.audio_config
            mels = getattr(heard, "num_mel_bins", None) or heard.subsampling_conv_channels[0]  # as Gemma says it
            processor.feature_extractor = type(extractor)(**extractor.to_dict() | {"feature_size": mels})
    with device:
        model = family.model_class._from_config(config, dtype=dtype)
    return family.backbone(model.eval(), processor, *shown_as)


def _with_shape(tiny: Any, published: dict[str, Any]) -> Any:
    """The published configuration, with the ids of tokens that the tiny one has."""
    ids = {key: value for key, value in tiny.to_dict().items() if key.endswith(("_token_id", "_token_index"))}
    text = tiny.get_text_config()
    ends = {"pad_token_id": text.pad_token_id, "eos_token_id": text.eos_token_id, "bos_token_id": None}
    shape = {key: value for key, value in published.items() if key != "model_type"}
    return type(tiny)(**ids, **{**shape, "text_config": {**shape["text_config"], **ends}})
