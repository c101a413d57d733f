"""A small random Qwen2.5-VL: the official classes and the tiny tokenizer, built offline in seconds.

About 1.2 M parameters; 4 frames of 56 x 56 become 8 tokens. Time positions lie as far apart as in the published models.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mer_r1.media import TINY_BUDGET
from mer_r1.models.qwen2_5_vl import VisionBackbone
from mer_r1.models.tiny.omni import (
    CHAT_TEMPLATE,
    CONTROL,
    VISION,
    control_id,
    seeded,
    text_config,
    tiny_tokenizer,
)

_SEEN = ("image_token", "video_token", "vision_bos_token", "vision_eos_token")


def tiny_vision_processor(texts: Iterable[str]) -> Any:
    """The official processor over the tiny tokenizer."""
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(),
        video_processor=Qwen2VLVideoProcessor(cap_pixels_per_frame=False),
        tokenizer=tiny_tokenizer(texts, control={name: CONTROL[name] for name in _SEEN}),
        chat_template=CHAT_TEMPLATE,
    )


def tiny_vision_config(tokenizer: Any) -> Any:
    """The model's configuration: `text_config` and a tower of 2 layers."""
    from transformers import Qwen2_5_VLConfig

    image, video, begin, end = (control_id(tokenizer, name) for name in _SEEN)
    return Qwen2_5_VLConfig(
        text_config={**text_config(tokenizer), "bos_token_id": None},
        vision_config={**VISION, "fullatt_block_indexes": [1], "tokens_per_second": 2},
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=begin,
        vision_end_token_id=end,
        tie_word_embeddings=True,
    )


def write_tiny_vision(folder: Path, texts: Iterable[str], seed: int = 0) -> Path:
    """Write a random tiny Qwen2.5-VL with its processor to `folder`, ready to load; returns the folder.

    `texts` are what its tokenizer is trained on: text of another kind costs it more tokens.
    """
    from transformers import Qwen2_5_VLForConditionalGeneration

    processor = tiny_vision_processor(texts)
    with seeded(seed):
        model = Qwen2_5_VLForConditionalGeneration(tiny_vision_config(processor.tokenizer))
    return VisionBackbone(model, processor, TINY_BUDGET, "brief").write(folder)
