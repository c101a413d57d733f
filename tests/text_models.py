"""Tiny local language models for tests: random ones, and ones taught what to answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    "{% if enable_thinking is not defined or enable_thinking %}<think>{% endif %}"
)
SENTENCES = ("Words: happy, calm", "Words: worried, angry", "Sentiment: positive", "Sentiment: negative or neutral")


def write_text_model(
    folder: Path, *, template: bool, answers: Mapping[str, str] | None = None, texts: Sequence[str] = SENTENCES
) -> Path:
    """Write a Qwen2 of some thousand parameters with a tokenizer of `texts`; returns the folder.

    With `answers` (prompt -> what follows it) it is trained until it gives them; else it is random, and different
    prompts have different answers.
    """
    import torch

    from mer_r1.models.tiny.omni import tiny_tokenizer

    torch.set_num_threads(1)
    from transformers import Qwen2Config, Qwen2ForCausalLM  # after mer_r1.models, which makes torchvision importable

    tokenizer = tiny_tokenizer(texts, vocab_size=400)
    if template:
        tokenizer.chat_template = TEMPLATE
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.1 if answers else 1.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Qwen2ForCausalLM(config)
        if answers:
            _teach(model, tokenizer, answers)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _teach(model: Any, tokenizer: Any, answers: Mapping[str, str], num_steps: int = 80) -> None:
    import torch

    rows = []
    for prompt, answer in answers.items():
        head = prompt
        if tokenizer.chat_template:
            chat = [{"role": "user", "content": prompt}]
            head = tokenizer.apply_chat_template(
                chat, tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
        asked, said = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (head, answer))
        said = [*said, tokenizer.eos_token_id]
        rows.append((torch.tensor([asked + said]), torch.tensor([[-100] * len(asked) + said])))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(num_steps):
        loss = sum(model(input_ids=ids, labels=labels).loss for ids, labels in rows)
        assert isinstance(loss, torch.Tensor)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if loss.item() < 0.02 * len(rows):
            break
