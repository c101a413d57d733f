"""Small random language models that read subtitles: Qwen2's class and the tiny tokenizer, of any width and depth.

The default has about 0.7 M parameters. Larger ones (hidden_size 512, num_layers 6) serve measurements, whose cost does
not depend on what a model knows.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mer_r1.media import TINY_BUDGET
from mer_r1.models.causal_lm import CausalLMBackbone
from mer_r1.models.tiny.omni import CHAT_TEMPLATE, seeded, tiny_tokenizer


def tiny_text(
    texts: Iterable[str],
    *,
    hidden_size: int = 128,
    num_layers: int = 3,
    num_heads: int | None = None,
    num_key_value_heads: int | None = None,
    max_positions: int = 4096,
    vocab_size: int = 900,
    seed: int = 0,
) -> CausalLMBackbone:
    """A random Qwen2 in float32 and evaluation mode, with a tokenizer of `texts` and at most `vocab_size` BPE tokens.

    Heads are 32 wide up to a hidden size of 256, else 64, two to a key-value head, where their numbers are not given;
    the feed-forward is three times as wide as the model; embeddings are tied.
    """
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = tiny_tokenizer(texts, vocab_size, control={})
    tokenizer.chat_template = CHAT_TEMPLATE
    num_heads = num_heads or hidden_size // (32 if hidden_size <= 256 else 64)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=3 * hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=num_key_value_heads or max(1, num_heads // 2),
        max_position_embeddings=max_positions,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.9 / hidden_size**0.5,  # 0.08 at a width of 128: the spread at which the others learn well
    )
    with seeded(seed):
        model = Qwen2ForCausalLM(config).eval()
    return CausalLMBackbone(model, tokenizer, TINY_BUDGET, "brief")


def write_tiny_text(folder: Path, texts: Iterable[str], seed: int = 0) -> Path:
    """Write the default `tiny_text` to `folder`, ready to load; returns the folder."""
    return tiny_text(texts, seed=seed).write(folder)
