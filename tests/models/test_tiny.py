"""Tiny models: the same from the same seed, small, and leaving the world's random numbers alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mer_r1.models.tiny.gemma4 import write_tiny_gemma4
from mer_r1.models.tiny.omni import tiny_tokenizer, write_tiny
from mer_r1.models.tiny.omni3 import write_tiny_omni3
from mer_r1.models.tiny.qwen3_vl import write_tiny_qwen3_vl
from mer_r1.models.tiny.text import tiny_text, write_tiny_text
from mer_r1.models.tiny.vision import write_tiny_vision
from mer_r1.synthetic.corpus import minimer_texts

WRITERS = {
    "gemma4": (write_tiny_gemma4, 1.17e6),
    "omni": (write_tiny, 1.4e6),
    "omni3": (write_tiny_omni3, 1.7e6),
    "vision": (write_tiny_vision, 1.2e6),
    "qwen3_vl": (write_tiny_qwen3_vl, 1.6e6),
    "text": (write_tiny_text, 0.7e6),
}


@pytest.mark.parametrize("kind", list(WRITERS))
def test_a_seed_always_writes_the_same_model(kind: str, tmp_path: Path) -> None:
    write: Callable[..., Path] = WRITERS[kind][0]
    state = torch.random.get_rng_state()
    first, again, other = (
        write(tmp_path / name, minimer_texts(20), seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert torch.equal(state, torch.random.get_rng_state())

    def read(folder: Path, name: str) -> bytes:
        return (folder / name).read_bytes()

    assert read(first, "model.safetensors") == read(again, "model.safetensors") != read(other, "model.safetensors")
    assert read(first, "tokenizer.json") == read(again, "tokenizer.json") == read(other, "tokenizer.json")


@pytest.mark.parametrize("kind", list(WRITERS))
def test_a_tiny_model_has_about_the_parameters_it_says(kind: str, tmp_path: Path) -> None:
    from safetensors import safe_open

    write, wanted = WRITERS[kind]
    with safe_open(write(tmp_path / "model", minimer_texts(300)) / "model.safetensors", "pt") as file:
        num = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118 not a dict
    assert num == pytest.approx(wanted, rel=0.05)


def test_a_text_model_has_the_size_that_is_asked_for() -> None:
    torch.set_num_threads(1)
    backbone = tiny_text(
        minimer_texts(20), hidden_size=512, num_layers=6, num_heads=4, num_key_value_heads=4, max_positions=99
    )
    config = backbone.model.config
    asked = (config.hidden_size, config.num_hidden_layers, config.num_attention_heads, config.num_key_value_heads)
    assert asked == (512, 6, 4, 4)
    assert (config.intermediate_size, config.max_position_embeddings) == (1536, 99)
    assert len(backbone.model.model.layers) == 6
    default = tiny_text(minimer_texts(20), hidden_size=512, num_layers=1).model.config
    assert (default.num_attention_heads, default.num_key_value_heads) == (8, 4)


def test_a_text_model_tells_prompts_apart() -> None:
    """Random weights are spread widely enough: the next ids of two prompts differ in probability."""
    backbone = tiny_text(minimer_texts(20))
    ids = torch.tensor([backbone.text_ids("happy, calm")[:3], backbone.text_ids("awful news, sad")[:3]])
    with torch.no_grad():
        first, second = backbone.model(input_ids=ids).logits[:, -1].softmax(-1)
    assert float((first - second).abs().sum()) > 0.1


def test_the_marks_of_three_steps_are_tokens_where_the_texts_have_them() -> None:
    text = "<step1>A dog.</step1><step2>It warms.</step2><step3>Pleasant.</step3>\\boxed{joy}"
    plain, stepped = tiny_tokenizer(minimer_texts(20)), tiny_tokenizer([*minimer_texts(20), text])
    marks = [f"<{close}step{number}>" for number in (1, 2, 3) for close in ("", "/")]
    for mark in (*marks, "\\boxed{", "}"):
        assert len(stepped.encode(mark)) == 1
    assert min(len(plain.encode(mark)) for mark in (*marks, "\\boxed{")) > 1
    assert stepped.decode(stepped.encode(text)) == plain.decode(plain.encode(text)) == text
