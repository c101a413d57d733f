"""Tokenizers without a model: byte-level ones that cut words in other ways, and two that are not byte-level."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from transformers.convert_slow_tokenizer import bytes_to_unicode

from mer_r1.media import MediaBudget
from mer_r1.models.qwen2_5_omni import OmniBackbone
from tests.small_wheels import WORDS

LETTER_OF = bytes_to_unicode()


class Words(OmniBackbone):
    """A backbone that is only a tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__(None, SimpleNamespace(tokenizer=tokenizer), MediaBudget(), "brief")

    def __post_init__(self) -> None:
        """There is no model to set up."""

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")


class Pieces:
    """A byte-level tokenizer that cuts nothing itself: ids below 256 are bytes, `add` gives any longer piece an id."""

    added_tokens_decoder: dict[int, Any] = {}  # noqa: RUF012
    all_special_ids: Sequence[int] = ()
    name_or_path = "pieces"

    def __init__(self) -> None:
        self.pieces = [bytes([byte]) for byte in range(256)]

    def add(self, piece: bytes) -> int:
        if piece not in self.pieces:
            self.pieces.append(piece)
        return self.pieces.index(piece)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return list(text.encode())

    def __call__(self, texts: Sequence[str], add_special_tokens: bool = True) -> dict[str, list[list[int]]]:
        return {"input_ids": [self.encode(text) for text in texts]}

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        return b"".join(self.pieces[ident] for ident in ids).decode("utf-8", "replace")

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str]:
        return ["".join(LETTER_OF[byte] for byte in self.pieces[ident]) for ident in ids]


def glued_tokenizer() -> Any:
    """One that cuts `<answer>happy` as Qwen's may, `>happy` in one piece."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    words = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+")
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    texts = [f"<think>I see.</think><answer>{word}, {word}</answer>" for word in WORDS]
    inner.train_from_iterator(texts * 20, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|end|>", pad_token="<|pad|>")


def sentence_pieces() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.Unigram())
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=60, show_progress=False, unk_token="<unk>", special_tokens=["<unk>"])
    inner.train_from_iterator(["happy, sad and angry"] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, name_or_path="spiece")


def whole_words() -> Any:
    """All its letters are those of a byte-level vocabulary, but spaces are not kept."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: index for index, word in enumerate(["[UNK]", ",", *WORDS, "ease"])}
    inner = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(tokenizer_object=inner)
