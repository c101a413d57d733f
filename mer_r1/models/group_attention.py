"""Attention of a group: many answers behind one prompt, the prompt read once.

Shape letters: S ids of the flat sequence, N sequences of a grid, R columns, P prompts, T prompt columns, G answers
of a prompt, H heads, J key-value heads, D head width.

The language model runs over one flat sequence that holds P prompts and their answers without padding. Only attention
must know which id belongs to which: a prompt attends to itself, an answer to its prompt and to itself, both
causally, and in a layer with a sliding window (Gemma) as near as that is, counted over prompt and answer. Two layouts
say so:

    GroupLayout    a pass over prompts and whole answers, for scoring and learning
    DecodeLayout   one more id of every answer, prompts' keys and values kept once and shared by their G answers

Models of transformers call `group_attention` through AttentionInterface under the name GROUP; a layout travels as the
keyword `layout` of the model's forward, so that a recomputed layer (gradient checkpointing) meets it again. Without a
layout the call is transformers' own SDPA attention.

Exactness: an answer's softmax runs over the same keys in the same order as if it stood alone behind its prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from mer_r1.errors import InputError

GROUP = "mer_r1_group"


@dataclass(frozen=True, eq=False)
class Grid:
    """N sequences of the flat sequence as a rectangle: `index_NR` their indices, `mask_NR` true on real ones.

    `prompt_N` says which prompt a sequence continues; empty for the prompts themselves.
    """

    index_NR: Tensor
    mask_NR: Tensor
    prompt_N: Tensor

    @cached_property
    def is_whole(self) -> bool:
        """Whether no column is padding."""
        return bool(self.mask_NR.all())


def make_grid(starts: Sequence[int], lengths: Sequence[int], prompts: Sequence[int], device: torch.device) -> Grid:
    """The grid of sequences that lie at `starts` with `lengths`; padding on the right points to a sequence's start."""
    columns = torch.arange(max(lengths, default=0))
    length_N1, start_N1 = torch.tensor(lengths).view(-1, 1), torch.tensor(starts).view(-1, 1)
    mask = columns < length_N1
    index = torch.where(mask, start_N1 + columns, start_N1)
    return Grid(index.to(device), mask.to(device), torch.tensor(prompts, dtype=torch.long).to(device))


class GroupLayout:
    """Where prompts and answers lie in the flat sequence of `size` ids. Answers of like length share a grid.

    No dataclass, like DecodeLayout: FSDP2 copies dataclasses among a forward's arguments, at every layer.
    """

    def __init__(self, prompts: Grid, answers: tuple[Grid, ...], size: int) -> None:
        self.prompts, self.answers, self.size = prompts, answers, size
        self._bias: dict[tuple[int, torch.dtype, int | None], Tensor] = {}

    @cached_property
    def order_S(self) -> Tensor:
        """For every flat index, its index when the grids' columns are concatenated."""
        order = torch.zeros(self.size, dtype=torch.long, device=self.prompts.index_NR.device)
        offset = 0
        for grid in (self.prompts, *self.answers):
            indices = offset + torch.arange(grid.index_NR.numel(), device=order.device)
            order[grid.index_NR[grid.mask_NR]] = indices[grid.mask_NR.flatten()]
            offset += grid.index_NR.numel()
        return order

    @cached_property
    def is_dense(self) -> bool:
        """Whether the grids, concatenated, already are the flat sequence, without padding."""
        grids = (self.prompts, *self.answers)
        return all(grid.is_whole for grid in grids) and torch.equal(
            self.order_S, torch.arange(self.size, device=self.order_S.device)
        )

    @cached_property
    def _index(self) -> Tensor:
        """The flat indices of all grids' columns, concatenated."""
        return torch.cat([grid.index_NR.flatten() for grid in (self.prompts, *self.answers)])

    def _rectangles(self, states_1HSD: Tensor) -> list[Tensor]:
        """(N, H, R, D) of every grid, prompts first."""
        flat_SHD = states_1HSD.squeeze(0).transpose(0, 1)
        columns = flat_SHD if self.is_dense else flat_SHD.index_select(0, self._index)
        shapes = [grid.index_NR.shape for grid in (self.prompts, *self.answers)]
        pieces = torch.split(columns, [shape.numel() for shape in shapes])
        return [
            piece.view(*shape, *piece.shape[1:]).transpose(1, 2) for piece, shape in zip(pieces, shapes, strict=True)
        ]

    def bias(self, which: int, dtype: torch.dtype, window: int | None = None) -> Tensor:
        """0 where an answer of grid `which` attends, -inf elsewhere: (N or 1, 1, R, T + R).

        With a window an id sees itself and those before it that are nearer than that.
        """
        grid = self.answers[which]
        columns = grid.index_NR.shape[1]
        if window is not None and window >= self.prompts.index_NR.shape[1] + columns:
            window = None
        if (which, dtype, window) not in self._bias:
            causal_1RR = torch.ones(1, columns, columns, dtype=torch.bool, device=grid.index_NR.device).tril()
            prompt_NT = self.prompts.mask_NR[:1] if self.prompts.is_whole else self.prompts.mask_NR[grid.prompt_N]
            seen_NRT = prompt_NT[:, None].expand(-1, columns, -1)
            if window is not None:
                causal_1RR = causal_1RR.triu(1 - window)
                ends_N1 = prompt_NT.sum(1, keepdim=True)
                place_NR1 = (ends_N1 + torch.arange(columns, device=ends_N1.device))[..., None]
                seen_NRT = seen_NRT & (place_NR1 - torch.arange(prompt_NT.shape[1], device=ends_N1.device) < window)
            self._bias[which, dtype, window] = _bias(
                torch.cat([seen_NRT, causal_1RR.expand(len(seen_NRT), -1, -1)], dim=-1), dtype
            )
        return self._bias[which, dtype, window]

    def _prompt_bias(self, dtype: torch.dtype, window: int) -> Tensor:
        """The same for prompts, (1, 1, T, T); padding on the right is where no real column looks."""
        if (-1, dtype, window) not in self._bias:
            size = self.prompts.index_NR.shape[1]
            near_1TT = torch.ones(1, size, size, dtype=torch.bool, device=self.prompts.index_NR.device).tril()
            self._bias[-1, dtype, window] = _bias(near_1TT.triu(1 - window), dtype)
        return self._bias[-1, dtype, window]

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scaling: float | None,
        dropout: float,
        window: int | None = None,
    ) -> Tensor:
        """Attention over the flat sequence: (1, H, S, D) and (1, J, S, D) in, (1, S, H, D) out."""
        (prompt_q, *answer_q), (prompt_k, *answer_k), (prompt_v, *answer_v) = map(self._rectangles, (query, key, value))
        options: dict[str, Any] = {"scale": scaling, "dropout_p": dropout}
        if window is None or window >= prompt_q.shape[2]:
            # Padding stands on the right, where no real column of a causal prompt looks.
            outputs = [_sdpa(prompt_q, prompt_k, prompt_v, None, is_causal=True, **options)]
        else:
            outputs = [_sdpa(prompt_q, prompt_k, prompt_v, self._prompt_bias(query.dtype, window), **options)]
        for which, grid in enumerate(self.answers):
            keys = torch.cat([_of_prompt(prompt_k, grid), answer_k[which]], dim=2)
            values = torch.cat([_of_prompt(prompt_v, grid), answer_v[which]], dim=2)
            outputs.append(_sdpa(answer_q[which], keys, values, self.bias(which, query.dtype, window), **options))
        rows = torch.cat([output.transpose(1, 2).flatten(0, 1) for output in outputs])
        return (rows if self.is_dense else rows.index_select(0, self.order_S))[None]


def _bias(allowed_NRC: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where it is allowed, -inf elsewhere: (N, 1, R, C)."""
    bias = torch.zeros(allowed_NRC.shape, dtype=dtype, device=allowed_NRC.device)
    return bias.masked_fill(~allowed_NRC, -torch.inf)[:, None]


def _of_prompt(states_PJTD: Tensor, grid: Grid) -> Tensor:
    """Every answer's prompt: (N, J, T, D)."""
    if len(states_PJTD) == 1:
        return states_PJTD.expand(len(grid.prompt_N), -1, -1, -1)
    return states_PJTD.index_select(0, grid.prompt_N)


def _sdpa(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, **options: Any) -> Tensor:
    """PyTorch's SDPA with grouped keys."""
    shared = query.shape[1] // key.shape[1]
    if shared > 1 and not _takes_shared_keys(bias, query.device):
        key, value, shared = key.repeat_interleave(shared, dim=1), value.repeat_interleave(shared, dim=1), 1
    return nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=bias, enable_gqa=shared > 1, **options
    )


def _takes_shared_keys(bias: Tensor | None, device: torch.device) -> bool:
    """Whether SDPA takes fewer key than query heads. CUDA's fused kernels do so without a mask only."""
    return bias is None or device.type == "cpu"


class DecodeLayout:
    """P prompts whose keys and values are kept once; the batch holds G answers of each, neighbours, as rows.

    `keys` and `values` are per layer (P, J, T, D), each of a width D of their own; `bias_PT` is 0 on real prompt
    columns, -inf on padding.
    """

    def __init__(self, keys: tuple[Tensor, ...], values: tuple[Tensor, ...], bias_PT: Tensor) -> None:
        self.keys, self.values, self.bias_PT = keys, values, bias_PT
        self._is_padded = bool((bias_PT != 0).any())

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None = None
    ) -> Tensor:
        """(B, H, Q, D) queries of the newest Q ids over prompt and answer ids (B, J, R, D): (B, Q, H, D)."""
        prompt_k, prompt_v = self.keys[layer], self.values[layer]
        prompts, heads, columns, width = prompt_k.shape
        rows, _, new, _ = query.shape
        shape = prompts, rows // prompts, heads, -1, width  # P, G, J, H/J x Q, D
        grouped = query.reshape(shape)
        by_head = grouped.reshape(rows * heads, -1, width)
        to_prompt = grouped.transpose(1, 2).reshape(prompts * heads, -1, width)
        scores_prompt = torch.bmm(to_prompt, prompt_k.flatten(0, 1).transpose(1, 2))
        scores_answer = torch.bmm(by_head, key.flatten(0, 1).transpose(1, 2))
        parts = (
            scores_prompt.view(prompts, heads, rows // prompts, -1, columns),
            scores_answer.view(prompts, rows // prompts, heads, -1, key.shape[2]).transpose(1, 2),
        )
        scores = torch.cat(parts, dim=-1).to(torch.promote_types(query.dtype, torch.float32))
        scores *= width**-0.5 if scaling is None else scaling
        if self._is_padded:
            scores[..., :columns] += self.bias_PT[:, None, None, None]
        if new > 1 or (window is not None and window < scores.shape[-1]):
            column_C = torch.arange(scores.shape[-1], device=query.device)
            back_QC = column_C[-new:, None] - column_C
            hidden_QC = back_QC < 0  # one of the newest ids does not look at a later one
            if window is not None:
                hidden_QC |= back_QC >= window
            scores.masked_fill_(hidden_QC.repeat(grouped.shape[3] // new, 1), -torch.inf)
        weights = scores.softmax(dim=-1).to(query.dtype)  # P, J, G, H/J x Q, T + R
        to_answer = weights[..., columns:].transpose(1, 2).reshape(rows * heads, -1, key.shape[2])
        from_answer = torch.bmm(to_answer, value.flatten(0, 1)).view(*shape[:-1], value.shape[3])
        from_prompt = torch.bmm(weights[..., :columns].reshape(prompts * heads, -1, columns), prompt_v.flatten(0, 1))
        mixed = from_prompt.view(prompts, heads, rows // prompts, -1, value.shape[3]).transpose(1, 2) + from_answer
        return mixed.reshape(rows, -1, new, value.shape[3]).transpose(1, 2)


class _AnswerLayer(DynamicLayer):
    """Keys and values of the answers alone, in room made once for all ids to come."""

    is_initialized: bool

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room, self._used = room, 0

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        key_states = key_states.to(value_states.dtype)  # under autocast rotation leaves keys wider than values
        if not self.is_initialized:
            shape = *key_states.shape[:2], self._room
            self.keys = key_states.new_empty(*shape, key_states.shape[3])
            self.values = value_states.new_empty(*shape, value_states.shape[3])
            self.is_initialized = True
        end = self._used + key_states.shape[2]
        self.keys[:, :, self._used : end] = key_states
        self.values[:, :, self._used : end] = value_states
        self._used = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self) -> int:
        return self._used


def answer_cache(num_layers: int, room: int) -> Cache:
    """A cache for `room` ids of every answer, to be used with a DecodeLayout."""
    return Cache(layers=[_AnswerLayer(room) for _ in range(num_layers)])


def group_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    layout: GroupLayout | DecodeLayout | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention function: by the layout where there is one, else plain SDPA.

    Raises InputError where the model's attention is another than the layout's: capped, in both directions, by a mask of
    the model's own, or by layers that do not hand the layout on.
    """
    is_lost = layout is None and attention_mask is not None and attention_mask.shape == NO_MASK_SHAPE
    if odd := [name for name in ("softcap", "s_aux") if kwargs.get(name) is not None]:
        raise _cannot_share(module, f"attention with {odd[0]}")
    if is_lost and key.shape[2] > 1:
        raise _cannot_share(module, "attention that is not handed its arguments")
    if layout is not None and attention_mask is not None and attention_mask.shape != NO_MASK_SHAPE:
        raise _cannot_share(module, "attention with a mask of its own")
    if layout is not None and not getattr(module, "is_causal", True):
        raise _cannot_share(module, "attention in both directions")
    if layout is None:
        plain: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return plain
    window: int | None = kwargs.get("sliding_window")
    if isinstance(layout, DecodeLayout):
        layer: Any = module.layer_idx
        return layout.attend(layer, query, key, value, scaling, window), None
    return layout.attend(query, key, value, scaling, dropout, window), None


def _cannot_share(module: nn.Module, what: str) -> InputError:
    return InputError(f"{type(module).__name__}: {what} cannot share a prompt between answers")


# A mask of four axes is taken as it stands, so no mask is made where a layout says what attends to what.
NO_MASK_SHAPE = (1, 1, 1, 1)
AttentionInterface.register(GROUP, group_attention)
AttentionMaskInterface.register(GROUP, sdpa_mask)
