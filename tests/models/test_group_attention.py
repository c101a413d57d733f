"""Attention of a group against a dense mask written out place by place, and what it will not do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mer_r1.errors import InputError
from mer_r1.models.causal_lm import CausalLMBackbone
from mer_r1.models.group_attention import DecodeLayout, Grid, GroupLayout, answer_cache, group_attention, make_grid
from mer_r1.models.qwen2_5_omni import OmniBackbone
from tests.media_samples import ANSWERS, answer_log_probs, make_clip, prompt_of, prompts_of_all_kinds
from tests.tolerance import logit_tolerance

CPU = torch.device("cpu")


class Shape(NamedTuple):
    """Lengths of prompts, (prompt, length) of answers, how many answers go into the first grid, heads."""

    prompts: list[int]
    answers: list[tuple[int, int]]
    split: int
    key_heads: int
    shared: int
    width: int
    scaling: float | None


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Any shape; answers in any order, of a prompt many or none."""
    prompts = draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
    whose = st.integers(0, len(prompts) - 1)
    answers = draw(st.lists(st.tuples(whose, st.integers(1, 6)), max_size=7))
    split = draw(st.integers(0, len(answers)))
    heads, shared, width = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 8]))
    return Shape(prompts, answers, split, heads, shared, width, draw(st.sampled_from([None, 0.3])))


def _layout(shape: Shape) -> tuple[GroupLayout, list[tuple[int, int, int]]]:
    """The layout, and (begin, length, prompt or -1) of every sequence."""
    lengths = [*shape.prompts, *(length for _, length in shape.answers)]
    begins = [sum(lengths[:index]) for index in range(len(lengths))]
    owners = [-1] * len(shape.prompts) + [prompt for prompt, _ in shape.answers]
    all_ = list(zip(begins, lengths, owners, strict=True))
    prompts, answers = all_[: len(shape.prompts)], all_[len(shape.prompts) :]
    parts = [part for part in (answers[: shape.split], answers[shape.split :]) if part]
    grids = tuple(_grid(part, [owner for *_, owner in part]) for part in parts)
    return GroupLayout(_grid(prompts, []), grids, sum(lengths)), all_


WINDOWS = st.sampled_from([None, 1, 2, 4])


def _grid(part: Sequence[tuple[int, int, int]], owners: Sequence[int]) -> Grid:
    return make_grid([begin for begin, *_ in part], [length for _, length, _ in part], owners, CPU)


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def _dense(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor, scaling: float | None) -> Tensor:
    """Softmax attention of (H, S, D) over (J, S, D) under a mask (S, S): (S, H, D)."""
    shared = len(query) // len(key)
    key, value = key.repeat_interleave(shared, 0), value.repeat_interleave(shared, 0)
    scores = query @ key.transpose(1, 2) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    return (scores.masked_fill(~allowed, -torch.inf).softmax(-1) @ value).transpose(0, 1)


@pytest.mark.slow
@settings(max_examples=60)
@given(shapes(), WINDOWS)
@example(Shape([2, 1], [], 0, 1, 1, 1, None), None)  # padding at the end alone
@example(Shape([2], [(0, 3), (0, 3), (0, 1)], 3, 1, 2, 2, None), None)
@example(Shape([4, 3], [(0, 3), (1, 3), (0, 1)], 3, 1, 2, 2, None), 2)
def test_a_group_attends_as_a_dense_mask_says(shape: Shape, window: int | None) -> None:
    """A prompt to itself, an answer to its prompt and to itself, causally, as near as a window says; the gradients
    too.
    """
    torch.manual_seed(0)
    layout, sequences = _layout(shape)
    near = window or layout.size
    size, heads = layout.size, shape.key_heads * shape.shared
    query = _random(1, heads, size, shape.width)
    key, value = (_random(1, shape.key_heads, size, shape.width) for _ in range(2))
    allowed = torch.zeros(size, size, dtype=torch.bool)
    for begin, length, owner in sequences:
        for index in range(begin, begin + length):
            allowed[index, max(begin, index + 1 - near) : index + 1] = True
            if owner >= 0:
                start, span, _ = sequences[owner]
                hidden = max(0, span + index - begin + 1 - near)
                allowed[index, start + hidden : start + span] = True
    expected = _dense(query[0], key[0], value[0], allowed, shape.scaling)
    made = layout.attend(query, key, value, shape.scaling, 0.0, window)
    torch.testing.assert_close(made[0], expected, atol=1e-10, rtol=0)
    weights = torch.randn_like(expected)
    for ours, theirs in zip(
        *(torch.autograd.grad((out * weights).sum(), (query, key, value)) for out in (made[0], expected)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)


@pytest.mark.slow
@settings(max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    group=st.integers(1, 4),
    steps=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    key_heads=st.integers(1, 3),
    shared=st.integers(1, 3),
    scaling=st.sampled_from([None, 0.3]),
    window=WINDOWS,
    value_width=st.sampled_from([4, 3]),
)
def test_decoding_attends_as_a_dense_mask_says(
    lengths: list[int],
    group: int,
    steps: list[int],
    key_heads: int,
    shared: int,
    scaling: float | None,
    window: int | None,
    value_width: int,
) -> None:
    """Step after step, some of several ids at once: each to the real columns of its prompt and to its row's own."""
    torch.manual_seed(0)
    prompts, columns, rows, total, width = len(lengths), max(lengths), len(lengths) * group, sum(steps), 4
    real_PT = torch.arange(columns) >= columns - torch.tensor(lengths)[:, None]
    padded = [torch.randn(prompts, key_heads, columns, size).double() for size in (width, value_width)]
    own_k, own_v = (torch.randn(rows, key_heads, total, size).double() for size in (width, value_width))
    query = torch.randn(rows, key_heads * shared, total, width).double()
    bias_PT = torch.zeros(real_PT.shape).masked_fill(~real_PT, -torch.inf)
    layout = DecodeLayout((padded[0],), (padded[1],), bias_PT)
    cache, done, made = answer_cache(1, total), 0, []
    for new in steps:
        part = slice(done, done + new)
        done += new
        kept_k, kept_v = cache.update(own_k[:, :, part], own_v[:, :, part], 0)
        assert cache.get_seq_length() == done
        made.append(layout.attend(0, query[:, :, part], kept_k, kept_v, scaling, window))
    for row in range(rows):
        prompt = row // group
        keys, values = (
            torch.cat([shown[prompt, :, real_PT[prompt]], own[row]], dim=1)
            for shown, own in zip(padded, (own_k, own_v), strict=True)
        )
        allowed = torch.ones(total, total, dtype=torch.bool).tril()
        allowed = torch.cat([torch.ones(total, lengths[prompt], dtype=torch.bool), allowed], dim=1)
        if window is not None:
            allowed = allowed.triu(lengths[prompt] + 1 - window)
        expected = _dense(query[row], keys, values, allowed, scaling)
        torch.testing.assert_close(torch.cat(made, dim=1)[row], expected, atol=1e-10, rtol=0)


def test_room_for_answers_is_made_once_and_all_answers_of_a_prompt_read_the_same_keys() -> None:
    cache = answer_cache(2, 5)
    first, _ = cache.update(torch.ones(2, 1, 2, 3), torch.ones(2, 1, 2, 3), 1)
    then, values = cache.update(torch.full((2, 1, 1, 3), 2.0), torch.full((2, 1, 1, 3), 3.0), 1)
    assert first.data_ptr() == then.data_ptr()
    assert then[0, 0, :, 0].tolist() == [1, 1, 2]
    assert values[1, 0, :, 2].tolist() == [1, 1, 3]
    assert cache.get_seq_length(1) == 3


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_without_a_layout_attention_is_transformers_own(tiny: OmniBackbone, attention: str) -> None:
    prompts = prompts_of_all_kinds(tiny)
    texts = [ANSWERS[row % len(ANSWERS)] for row in range(len(prompts))]
    config = tiny.language_model.config
    ours, name = answer_log_probs(tiny, prompts, texts), config._attn_implementation
    assert name not in ("sdpa", "eager")
    try:
        config._attn_implementation = attention
        theirs = answer_log_probs(tiny, prompts, texts)
    finally:
        config._attn_implementation = name
    tolerance = logit_tolerance(tiny.model, theirs) if attention == "eager" else 0
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=0)


class _Attention(nn.Module):
    """Stands for a layer's attention."""

    layer_idx = 0


@pytest.mark.parametrize("odd", ["softcap", "s_aux"])
@pytest.mark.parametrize("decoding", [False, True])
def test_attention_that_is_not_full_cannot_share_a_prompt(odd: str, decoding: bool) -> None:
    states = torch.zeros(1, 1, 3, 4)
    layout: Any = GroupLayout(make_grid([0], [3], [], CPU), (), 3)
    if decoding:
        layout = DecodeLayout((states,), (states,), torch.zeros(1, 3))

    def attend(**odd_one: Any) -> None:
        group_attention(_Attention(), states, states, states, None, layout=layout, **odd_one)

    attend(**{odd: None})
    with pytest.raises(InputError, match=f"^_Attention: attention with {odd} cannot share a prompt between answers$"):
        attend(**{odd: 4})


def test_capped_scores_are_refused_at_once(words: CausalLMBackbone) -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
    config = Gemma2Config(vocab_size=len(words.tokenizer), hidden_size=16, num_hidden_layers=2, **heads)
    odd = replace(words, model=Gemma2ForCausalLM(config).eval(), wrapped_model=None)
    with pytest.raises(InputError, match="softcap"):
        odd.encode(odd.collate([prompt_of(odd, make_clip(0, 0))]))
