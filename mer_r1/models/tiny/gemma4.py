"""A small random Gemma 4: the official classes and the tiny tokenizer, built offline in seconds.

About 1.2 M parameters; 4 frames of 96 x 96 become 16 tokens, a second of sound 25. Of its six layers two in three look
back a window shorter than a prompt, and the last two read the keys and values of earlier ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from mer_r1.media import TINY_BUDGET
from mer_r1.models.gemma4 import Gemma4Backbone
from mer_r1.models.tiny.omni import SPREAD, seeded, tiny_tokenizer

BUDGET = replace(TINY_BUDGET, size_multiple=48, frames_multiple=1, min_pixels=96 * 96, max_pixels=96 * 96)
CONTROL = {
    "image_token": "<|image|>",
    "audio_token": "<|audio|>",
    "boi_token": "<|image>",
    "eoi_token": "<image|>",
    "boa_token": "<|audio>",
    "eoa_token": "<audio|>",
    "sot_token": "<|turn>",
    "eot_token": "<turn|>",
}
CHAT_TEMPLATE = (
    "{% for message in messages %}<|turn>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'video' %}<|video|>{% elif part.type == 'image' %}<|image|>"
    "{% elif part.type == 'audio' %}<|audio|>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<turn|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|turn>model\n{% endif %}"
)


def tiny_gemma4_processor(texts: Iterable[str]) -> Any:
    """The official processor over the tiny tokenizer, with 40 mel bins."""
    from transformers import (
        Gemma4AudioFeatureExtractor,
        Gemma4ImageProcessor,
        Gemma4Processor,
        Gemma4VideoProcessor,
    )

    return Gemma4Processor(
        feature_extractor=Gemma4AudioFeatureExtractor(feature_size=40),
        image_processor=Gemma4ImageProcessor(),
        tokenizer=tiny_tokenizer([*texts, "model"], control=CONTROL),
        video_processor=Gemma4VideoProcessor(),
        chat_template=CHAT_TEMPLATE,
    )


def tiny_gemma4_config(tokenizer: Any) -> Any:
    """The model's configuration: 6 layers of 96, towers of 2 layers."""
    from transformers import Gemma4Config

    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    ids = {name: int(tokenizer.convert_tokens_to_ids(token)) for name, token in CONTROL.items()}
    return Gemma4Config(
        text_config={
            "vocab_size": len(tokenizer),
            "vocab_size_per_layer_input": len(tokenizer),
            "hidden_size": 96,
            "intermediate_size": 192,
            "num_hidden_layers": 6,
            "layer_types": 2 * ["sliding_attention", "sliding_attention", "full_attention"],
            "sliding_window": 24,
            "num_kv_shared_layers": 2,
            "use_double_wide_mlp": True,
            "hidden_size_per_layer_input": 16,
            "head_dim": 24,
            "global_head_dim": 48,
            "final_logit_softcapping": 30.0,
            "max_position_embeddings": 4096,
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": ids["eot_token"],
            "bos_token_id": None,
            **heads,
            **SPREAD,
        },
        vision_config={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "head_dim": 16,
            "position_embedding_size": 64,
            **SPREAD,
        },
        audio_config={
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "subsampling_conv_channels": [40, 8],  # the first is what it takes for the number of mel bins
            "output_proj_dims": 64,
            **SPREAD,
        },
        image_token_id=ids["image_token"],
        video_token_id=int(tokenizer.convert_tokens_to_ids("<|video|>")),
        audio_token_id=ids["audio_token"],
        boi_token_id=ids["boi_token"],
        eoi_token_id=ids["eoi_token"],
        boa_token_id=ids["boa_token"],
        eoa_token_index=ids["eoa_token"],
        tie_word_embeddings=True,
        **SPREAD,
    )


def write_tiny_gemma4(folder: Path, texts: Iterable[str], seed: int = 0) -> Path:
    """Write a random tiny Gemma 4 with its processor to `folder`, ready to load; returns the folder.

    `texts` are what its tokenizer is trained on: text of another kind costs it more tokens.
    """
    from transformers import Gemma4ForConditionalGeneration

    processor = tiny_gemma4_processor(texts)
    with seeded(seed):
        model = Gemma4ForConditionalGeneration(tiny_gemma4_config(processor.tokenizer))
    return Gemma4Backbone(model, processor, BUDGET, "brief").write(folder)
