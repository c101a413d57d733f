"""The published configurations of the models that estimates and measurements know by name, as far as they are shapes.

What config.json of each says and transformers' classes would not: sizes, and whether the head is the embedding table.
Ids of tokens, which come from a tokenizer, are left out. A model of random weights can be built from them.
"""

from __future__ import annotations

from typing import Any


def _text(hidden: int, mlp: int, layers: int, heads: int, kv_heads: int, vocab: int = 151936) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocab,
    }


def _rope(section: tuple[int, int, int], theta: float, **kind: bool) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": theta, "mrope_section": list(section), **kind}}


def _omni(text: dict[str, Any]) -> dict[str, Any]:
    out = text["hidden_size"]
    return {
        "model_type": "qwen2_5_omni_thinker",
        "text_config": text | _rope((16, 24, 24), 1e6),
        "vision_config": _VISION | {"out_hidden_size": out},
        "audio_config": _AUDIO | {"output_dim": out},
        "tie_word_embeddings": False,
    }


def _vl3(text: dict[str, Any], vision: dict[str, Any], tied: bool) -> dict[str, Any]:
    rope = _rope((24, 20, 20), 5e6, mrope_interleaved=True)
    return {
        "model_type": "qwen3_vl",
        "text_config": {"model_type": "qwen3_vl_text", "head_dim": 128, **text, **rope, "tie_word_embeddings": tied},
        "vision_config": vision | {"out_hidden_size": text["hidden_size"]},
        "tie_word_embeddings": tied,
    }


def _gemma4(hidden: int, kv_heads: int, layers: int, full_every: int, sharing: int, wide: bool) -> dict[str, Any]:
    """Every so many layers one attends to all ids; the last `sharing` have no keys of their own."""
    kinds = [*(full_every - 1) * ["sliding_attention"], "full_attention"]
    return {
        "model_type": "gemma4",
        "text_config": {
            **_text(hidden, 4 * hidden, layers, 8, kv_heads, 262144),
            "head_dim": 256,
            "global_head_dim": 512,
            "hidden_size_per_layer_input": 256,
            "num_kv_shared_layers": sharing,
            "use_double_wide_mlp": wide,
            "layer_types": layers // full_every * kinds,
            "tie_word_embeddings": True,
        },
        "vision_config": {
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 16,
            "num_attention_heads": 12,
            "head_dim": 64,
            "position_embedding_size": 10240,
        },
        "audio_config": {
            "hidden_size": 1024,
            "num_hidden_layers": 12,
            "num_attention_heads": 8,
            "subsampling_conv_channels": [128, 32],
            "conv_kernel_size": 5,
            "output_proj_dims": 1536,
        },
        "tie_word_embeddings": True,
    }


_VISION = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16}
_AUDIO = {
    "encoder_layers": 32,
    "d_model": 1280,
    "encoder_ffn_dim": 5120,
    "encoder_attention_heads": 20,
    "num_mel_bins": 128,
}
_VISION3 = {
    "depth": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_heads": 16,
    "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [8, 16, 24],
}
_VISION3_SMALL = _VISION3 | {
    "depth": 24,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "deepstack_visual_indexes": [5, 11, 17],
}

PUBLISHED: dict[str, dict[str, Any]] = {
    "Qwen/Qwen2.5-Omni-7B": _omni(_text(3584, 18944, 28, 28, 4, 152064)),
    "Qwen/Qwen2.5-Omni-3B": _omni(_text(2048, 11008, 36, 16, 2)),
    "Qwen/Qwen2.5-VL-3B-Instruct": {
        "model_type": "qwen2_5_vl",
        "text_config": _text(2048, 11008, 36, 16, 2) | _rope((16, 24, 24), 1e6) | {"tie_word_embeddings": True},
        "vision_config": _VISION | {"out_hidden_size": 2048},
        "tie_word_embeddings": True,
    },
    "Qwen/Qwen3-Omni-30B-A3B-Instruct": {
        "model_type": "qwen3_omni_moe_thinker",
        "text_config": {
            "model_type": "qwen3_omni_moe_text",
            **_text(2048, 768, 48, 32, 4, 152064),
            "head_dim": 128,
            "moe_intermediate_size": 768,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            **_rope((24, 20, 20), 1e6, mrope_interleaved=True),
        },
        "vision_config": _VISION3 | {"out_hidden_size": 2048},
        "audio_config": _AUDIO | {"output_dim": 2048, "downsample_hidden_size": 480},
        "position_id_per_seconds": 13,
        "tie_word_embeddings": False,
    },
    "google/gemma-4-E2B-it": _gemma4(1536, kv_heads=1, layers=35, full_every=5, sharing=20, wide=True),
    "google/gemma-4-E4B-it": _gemma4(2560, kv_heads=2, layers=42, full_every=6, sharing=18, wide=False),
    "Qwen/Qwen3-VL-2B-Instruct": _vl3(_text(2048, 6144, 28, 16, 8), _VISION3_SMALL, tied=True),
    "Qwen/Qwen3-VL-4B-Instruct": _vl3(_text(2560, 9728, 36, 32, 8), _VISION3_SMALL, tied=True),
    "Qwen/Qwen3-VL-8B-Instruct": _vl3(_text(4096, 12288, 36, 32, 8), _VISION3, tied=False),
    "Qwen/Qwen3-VL-32B-Instruct": _vl3(_text(5120, 25600, 64, 64, 8), _VISION3, tied=False),
}
"""Hub id -> what transformers' class of that model is made from."""
PUBLISHED["Qwen/Qwen3-Omni-30B-A3B-Thinking"] = PUBLISHED["Qwen/Qwen3-Omni-30B-A3B-Instruct"]
