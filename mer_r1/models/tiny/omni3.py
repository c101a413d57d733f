"""A small random Qwen3-Omni Thinker: the official classes and the tiny tokenizer, built offline in seconds.

About 1.7 M parameters, 1.6 M of them in use for a token: 4 experts a layer, of which a router chooses 2. 4 frames of
64 x 64 become 8 tokens, a second of sound 13.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from mer_r1.media import TINY_BUDGET
from mer_r1.models.qwen3_omni import Omni3Backbone
from mer_r1.models.tiny.omni import (
    AUDIO,
    CHAT_TEMPLATE,
    SPREAD,
    VISION,
    control_id,
    mark_ids,
    seeded,
    text_config,
    tiny_tokenizer,
)

_SIDE = 64
BUDGET = replace(TINY_BUDGET, max_pixels=_SIDE**2, min_pixels=_SIDE**2, size_multiple=32, audio_tokens_per_s=13)


def tiny_omni3_processor(texts: Iterable[str]) -> Any:
    """The official processor over the tiny tokenizer, with 40 mel bins."""
    from transformers import (
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
        Qwen3OmniMoeProcessor,
        WhisperFeatureExtractor,
    )

    return Qwen3OmniMoeProcessor(
        image_processor=Qwen2VLImageProcessor(patch_size=16),
        video_processor=Qwen2VLVideoProcessor(patch_size=16, cap_pixels_per_frame=False),
        feature_extractor=WhisperFeatureExtractor(feature_size=40, chunk_length=30),
        tokenizer=tiny_tokenizer(texts),
        chat_template=CHAT_TEMPLATE,
    )


def tiny_omni3_config(tokenizer: Any) -> Any:
    """The Thinker's configuration: `text_config` with experts in place of its feed-forward, towers of 2 layers."""
    from transformers import Qwen3OmniMoeThinkerConfig

    text = text_config(tokenizer)
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "head_dim": 32}
    rope = {**text["rope_parameters"], "mrope_section": [6, 5, 5], "mrope_interleaved": True}
    return Qwen3OmniMoeThinkerConfig(
        text_config={**text, **experts, "rope_parameters": rope, "tie_word_embeddings": False},
        vision_config={
            **VISION,
            "deepstack_visual_indexes": [0, 1],
            "num_position_embeddings": 64,
            "image_size": 128,  # vLLM reads what published configurations have beside transformers' fields
            "apply_vit_abs_pos_embed": True,
        },
        audio_config={**AUDIO, "downsample_hidden_size": 32},
        position_id_per_seconds=13,
        audio_token_id=control_id(tokenizer, "audio_token"),
        image_token_id=control_id(tokenizer, "image_token"),
        video_token_id=control_id(tokenizer, "video_token"),
        **mark_ids(tokenizer),
        **SPREAD,
    )


def write_tiny_omni3(folder: Path, texts: Iterable[str], seed: int = 0) -> Path:
    """Write a random tiny Qwen3-Omni Thinker with its processor to `folder`, ready to load; returns the folder.

    `texts` are what its tokenizer is trained on: text of another kind costs it more tokens.
    """
    from transformers import Qwen3OmniMoeThinkerForConditionalGeneration

    processor = tiny_omni3_processor(texts)
    with seeded(seed):
        model = Qwen3OmniMoeThinkerForConditionalGeneration(tiny_omni3_config(processor.tokenizer))
    return Omni3Backbone(model, processor, BUDGET, "brief").write(folder)
