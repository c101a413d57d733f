"""A small random Qwen2.5-Omni Thinker: the official classes, a tokenizer of its own, built offline in seconds.

Every line that runs on the 7B model runs on this one. About 1.4 M parameters; 4 frames of 56 x 56 become 8 tokens,
a second of sound 25. It is not pretrained: it learns MiniMER from nothing and knows nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mer_r1.media import TINY_BUDGET
from mer_r1.models.qwen2_5_omni import OmniBackbone
from mer_r1.prompting.steps import BOX

_TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_STEP_TAGS = (*(f"<{close}step{number}>" for number in (1, 2, 3) for close in ("", "/")), BOX, "}")
CONTROL = {
    "image_token": "<|IMAGE|>",
    "audio_token": "<|AUDIO|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}
# A model of this width learns slowly from the usual 0.02. Each part of a configuration has its own.
SPREAD = {"initializer_range": 0.08}
VISION = {
    "depth": 2,
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_heads": 4,
    "out_hidden_size": 128,
    **SPREAD,
}
AUDIO = {
    "num_mel_bins": 40,
    "encoder_layers": 2,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 192,
    "d_model": 96,
    "output_dim": 128,
    **SPREAD,
}
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'video' %}<|vision_bos|><|VIDEO|><|vision_eos|>"
    "{% elif part.type == 'image' %}<|vision_bos|><|IMAGE|><|vision_eos|>"
    "{% elif part.type == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_tokenizer(texts: Iterable[str], vocab_size: int = 900, control: Mapping[str, str] = CONTROL) -> Any:
    """A byte-level BPE as Qwen's, trained on `texts`; the answer tags are one token each, and so are `control`'s.

    So are the marks of three steps and a box where `texts` have them.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    shown = [*texts, "user\nassistant\nsystem\nEmotions?"]
    stepped = any(_STEP_TAGS[0] in text for text in shown)
    shown += ["Steps? Emotion?"] if stepped else []
    inner.train_from_iterator((text.replace("<", "\n<").replace(">", ">\n") for text in shown), trainer)
    inner.add_tokens([*_TAGS, *_STEP_TAGS] if stepped else list(_TAGS))
    inner.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=dict(control),
        padding_side="left",
    )


def tiny_processor(texts: Iterable[str]) -> Any:
    """The official processor over the tiny tokenizer, with 40 mel bins."""
    from transformers import Qwen2_5OmniProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor, WhisperFeatureExtractor

    return Qwen2_5OmniProcessor(
        image_processor=Qwen2VLImageProcessor(),
        video_processor=Qwen2VLVideoProcessor(cap_pixels_per_frame=False),
        feature_extractor=WhisperFeatureExtractor(feature_size=40, chunk_length=30),
        tokenizer=tiny_tokenizer(texts),
        chat_template=CHAT_TEMPLATE,
    )


def text_config(tokenizer: Any) -> dict[str, Any]:
    """The language model of the tiny models: 128 wide, 3 layers deep, tied embeddings."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
        "tie_word_embeddings": True,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        **SPREAD,
    }


def tiny_config(tokenizer: Any) -> Any:
    """The Thinker's configuration: `text_config` and towers of 2 layers."""
    from transformers import Qwen2_5OmniThinkerConfig

    return Qwen2_5OmniThinkerConfig(
        text_config=text_config(tokenizer),
        vision_config={**VISION, "fullatt_block_indexes": [0, 1]},
        audio_config=AUDIO,
        audio_token_index=control_id(tokenizer, "audio_token"),
        image_token_index=control_id(tokenizer, "image_token"),
        video_token_index=control_id(tokenizer, "video_token"),
        **mark_ids(tokenizer),
        tie_word_embeddings=True,
        **SPREAD,
    )


def mark_ids(tokenizer: Any) -> dict[str, int]:
    """The ids that a Thinker's configuration has of the marks around media and of the user's turn."""
    return {
        "audio_start_token_id": control_id(tokenizer, "audio_bos_token"),
        "audio_end_token_id": control_id(tokenizer, "audio_eos_token"),
        "vision_start_token_id": control_id(tokenizer, "vision_bos_token"),
        "vision_end_token_id": control_id(tokenizer, "vision_eos_token"),
        "user_token_id": tokenizer.encode("user")[0],
    }


def control_id(tokenizer: Any, name: str) -> int:
    """The id of a control token by its name in CONTROL."""
    return int(tokenizer.convert_tokens_to_ids(CONTROL[name]))


def write_tiny(folder: Path, texts: Iterable[str], seed: int = 0) -> Path:
    """Write a random tiny Thinker with its processor to `folder`, ready to load; returns the folder.

    `texts` are what its tokenizer is trained on: text of another kind costs it more tokens.
    """
    from transformers import Qwen2_5OmniThinkerForConditionalGeneration

    processor = tiny_processor(texts)
    with seeded(seed):
        model = Qwen2_5OmniThinkerForConditionalGeneration(tiny_config(processor.tokenizer))
    return OmniBackbone(model, processor, TINY_BUDGET, "brief").write(folder)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the block torch draws from `seed` on the CPU; what it drew before goes on behind it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
