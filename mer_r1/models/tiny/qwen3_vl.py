"""A small random Qwen3-VL: the official classes and the tiny tokenizer, built offline in seconds.

About 1.6 M parameters; 4 frames of 64 x 64 become 8 tokens. Its tower's two layers both add to the language model's
first layers (deepstack). Control tokens are called as in the published models: vLLM writes them by name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from mer_r1.media import TINY_BUDGET
from mer_r1.models.qwen3_vl import Qwen3VLBackbone, Qwen3VLMoeBackbone
from mer_r1.models.tiny.omni import CHAT_TEMPLATE, SPREAD, VISION, seeded, text_config, tiny_tokenizer
from mer_r1.models.tiny.omni import CONTROL as OMNI_CONTROL

BUDGET = replace(TINY_BUDGET, size_multiple=32, min_pixels=64 * 64, max_pixels=64 * 64)
CONTROL = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
}

_EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 48,
    "norm_topk_prob": True,
    "tie_word_embeddings": False,
}


def tiny_qwen3_vl_processor(texts: Iterable[str]) -> Any:
    """The official processor over the tiny tokenizer."""
    from transformers import Qwen2VLImageProcessor, Qwen3VLProcessor, Qwen3VLVideoProcessor

    template = CHAT_TEMPLATE
    names = ("image_token", "video_token", "vision_bos_token", "vision_eos_token")
    for name, token in zip(names, CONTROL.values(), strict=True):
        template = template.replace(OMNI_CONTROL[name], token)
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(patch_size=16),
        video_processor=Qwen3VLVideoProcessor(cap_pixels_per_frame=False),
        tokenizer=tiny_tokenizer([*texts, "<0.5 seconds>"], control=CONTROL),
        chat_template=template,
    )


def tiny_qwen3_vl_config(tokenizer: Any, experts: bool = False) -> Any:
    """The model's configuration: `text_config`, with `experts` 4 for its feed-forward, and a tower of 2 layers."""
    from transformers import Qwen3VLConfig, Qwen3VLMoeConfig

    text = text_config(tokenizer)
    rope = {**text["rope_parameters"], "mrope_section": [6, 5, 5], "mrope_interleaved": True}
    text |= {"rope_parameters": rope, "head_dim": 32, "bos_token_id": None}
    image, video, begin, end = (int(tokenizer.convert_tokens_to_ids(token)) for token in CONTROL.values())
    return (Qwen3VLMoeConfig if experts else Qwen3VLConfig)(
        text_config=text | (_EXPERTS if experts else {}),
        vision_config={**VISION, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]},
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=begin,
        vision_end_token_id=end,
        tie_word_embeddings=not experts,
        **SPREAD,
    )


def write_tiny_qwen3_vl(folder: Path, texts: Iterable[str], seed: int = 0, experts: bool = False) -> Path:
    """Write a random tiny Qwen3-VL with its processor to `folder`, ready to load; returns the folder.

    `texts` are what its tokenizer is trained on: text of another kind costs it more tokens. With `experts` its layers
    have 4, of which a router chooses 2.
    """
    import transformers

    backbone = Qwen3VLMoeBackbone if experts else Qwen3VLBackbone
    processor = tiny_qwen3_vl_processor(texts)
    with seeded(seed):
        model = getattr(transformers, backbone.model_class)(tiny_qwen3_vl_config(processor.tokenizer, experts))
    return backbone(model, processor, BUDGET, "brief").write(folder)
