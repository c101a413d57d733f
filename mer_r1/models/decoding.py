"""Answers id by id: the model's forward over the newest ids, the draw of the next one, and when to stop.

Shape letters: B answers, Q newest ids, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from mer_r1.errors import InputError
from mer_r1.models.group_attention import NO_MASK_SHAPE, DecodeLayout, answer_cache
from mer_r1.models.packed_step import PackedStep, can_pack
from mer_r1.models.types import Encoded, Sampling

LAST = slice(-1, None)
PACK_AFTER = 8
"""Steps of an answer before weights are packed, which takes about as long as these save."""


class NotFiniteError(InputError):
    """The model's scores for the next id are not numbers, so no answer can be drawn; `rows` are the answers concerned.

    One NaN in a weight makes all scores NaN, and the argmax of NaN is id 0, "!" in Qwen's vocabulary.
    """

    def __init__(self, rows: Sequence[int]) -> None:
        super().__init__(
            "the model's scores are not finite numbers: its weights hold NaN or infinity, or overflow in their "
            "precision; copy the checkpoint again, or take an earlier one"
        )
        self.rows = tuple(rows)


def is_drawable(logits_BV: Tensor) -> Tensor:
    """Whether a row has a distribution to draw from, (B,): no NaN, no +inf, and not -inf alone."""
    return logits_BV.amax(-1).isfinite()


class Decoder:
    """The model's forward over the newest ids of every answer, on a CPU from packed weights where these can be made.

    `wrapped_model` is called, `model` within it has the LM head, and `position_argument` makes positions (3, B, Q) what
    the forward takes.
    """

    def __init__(
        self, wrapped_model: Any, model: Any, position_argument: Callable[[Tensor], Tensor], layout: DecodeLayout
    ) -> None:
        self._wrapped_model, self._model = wrapped_model, model
        self._position_argument, self._layout = position_argument, layout
        # Without autograd's bookkeeping a step is a few percent faster; gathered weights must not become such tensors.
        self._is_whole = all(kind.__name__ != "FSDPModule" for kind in type(wrapped_model).__mro__)

    def start(self, encoded: Encoded, num_generations: int, room: int) -> None:
        """Make room for `room` ids of every answer."""
        self._cache = answer_cache(len(encoded.keys), room)
        first_P = encoded.prompts.positions_3PT.amax(dim=(0, 2)) + 1
        self._next_B1 = first_P.repeat_interleave(num_generations)[:, None]
        self._no_mask = torch.ones(NO_MASK_SHAPE, dtype=torch.bool, device=first_P.device)
        self._num_steps = 0
        self._packed: PackedStep | None = None

    def step(self, ids_BQ: Tensor) -> Tensor:
        """Logits (B, V) in float32 of what follows the Q new ids."""
        num = ids_BQ.shape[1]
        positions_BQ = self._next_B1 + torch.arange(num, device=ids_BQ.device)
        self._next_B1 = self._next_B1 + num
        position_argument = self._position_argument(positions_BQ.expand(3, -1, -1))
        if self._num_steps == PACK_AFTER and can_pack(self._wrapped_model, self._model):
            self._packed = PackedStep(self._model)
        self._num_steps += 1
        if self._packed is not None:
            return self._packed(ids_BQ, position_argument, self._cache, self._layout)
        with torch.inference_mode(self._is_whole), head_reads(self._model, LAST):
            logits: Tensor = self._wrapped_model(
                input_ids=ids_BQ,
                attention_mask=self._no_mask,
                position_ids=position_argument,
                past_key_values=self._cache,
                use_cache=True,
                layout=self._layout,
            ).logits
        return logits[:, -1].float()


def draw(logits_BV: Tensor, sampling: Sampling, uniform_B: Tensor) -> Tensor:
    """One id per row (B,): the first whose cumulative probability exceeds the row's uniform draw."""
    if sampling.temperature == 0:
        return logits_BV.argmax(-1)
    cumulative = limited_probabilities(logits_BV, sampling).cumsum(-1)
    target = uniform_B.double()[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True)[:, 0].clamp_max(logits_BV.shape[-1] - 1)


def limited_probabilities(logits_BV: Tensor, sampling: Sampling) -> Tensor:
    """What is drawn from, up to a factor a row: the softmax at the temperature, 0 where a limit of `sampling` forbids.

    As transformers' warpers, in their order: `top_k` keeps the k likeliest and all that are as likely as the last of
    them, `top_p` the likeliest of these whose predecessors hold less than it, `min_p` those of at least that share of
    the likeliest one.
    """
    probabilities_BV = (logits_BV.double() / sampling.temperature).softmax(-1)
    if 0 < sampling.top_k < probabilities_BV.shape[-1]:
        least_B1 = probabilities_BV.topk(sampling.top_k).values[:, -1:]
        probabilities_BV = probabilities_BV.masked_fill(probabilities_BV < least_B1, 0.0)
    if sampling.top_p < 1:
        ordered_BV, order_BV = probabilities_BV.sort(dim=-1, descending=True)
        beyond_BV = ordered_BV.cumsum(-1) - ordered_BV >= sampling.top_p * ordered_BV.sum(-1, keepdim=True)
        kept_BV = ordered_BV.masked_fill(beyond_BV, 0.0)
        probabilities_BV = torch.zeros_like(probabilities_BV).scatter(-1, order_BV, kept_BV)
    if sampling.min_p > 0:
        least_B1 = sampling.min_p * probabilities_BV.amax(-1, keepdim=True)
        probabilities_BV = probabilities_BV.masked_fill(probabilities_BV < least_B1, 0.0)
    return probabilities_BV


class StopText:
    """Says, id by id, which rows are finished: the end token, or a text that a tokenizer may cut in any way.

    Keeps the last ids of every row, long enough to hold what it waits for, and decodes those of rows that are not
    finished. A row is finished when it has written `stop` `num_stops` times; a stop before `after` does not count. With
    `one_more` it is finished by the next id, whatever that is: `behind_stop_B` says which rows' last id was such a one.
    """

    def __init__(
        self,
        tokenizer: Any,
        stop: str,
        num_rows: int,
        device: torch.device,
        num_stops: int = 1,
        after: str = "",
        one_more: bool = False,
    ) -> None:
        self._tokenizer, self._stop, self._after = tokenizer, stop, after
        self._eos = int(tokenizer.eos_token_id)
        ids = tokenizer.encode(stop, add_special_tokens=False)
        # One id is the stop alone only where nothing merges with it: Qwen's vocabulary has "}", and "}\n" and ")}" too.
        self._single = ids[0] if len(ids) == 1 and ids[0] in tokenizer.added_tokens_decoder and not after else None
        self._tail: list[list[int]] = [[] for _ in range(num_rows)]
        self._waits = [after != ""] * num_rows
        self._left_B = torch.full((num_rows,), num_stops, device=device)
        self._one_more = one_more
        self.behind_stop_B = torch.zeros(num_rows, dtype=torch.bool, device=device)

    def __call__(self, ids_B: Tensor) -> Tensor:
        self.behind_stop_B = stopped_B = self._left_B <= 0  # padding behind a finished row changes nothing
        if self._single is not None:
            self._left_B -= (ids_B == self._single).long()
        else:
            left = self._left_B.tolist()
            for row, ident in enumerate(ids_B.tolist()):
                if left[row] <= 0:
                    continue
                tail = self._tail[row] = [*self._tail[row], ident][-2 * len(self._after + self._stop) :]
                text = self._tokenizer.decode(tail, skip_special_tokens=True)
                if self._waits[row]:
                    _, begun, text = text.partition(self._after)
                    self._waits[row] = not begun
                    self._tail[row] = tail[-1:] if begun else tail
                if self._stop in text:
                    self._tail[row] = []
                    self._left_B[row] -= 1
        return (ids_B == self._eos) | (stopped_B if self._one_more else self._left_B <= 0)


def stopped(finished: StopText, ids: Sequence[int]) -> list[int]:
    """The ids of one answer up to where a `StopText` of one row ends it."""
    for number, ident in enumerate(ids, 1):
        if finished(torch.tensor([ident])).item():
            return [*ids[:number]]
    return [*ids]


def kept_cache(layers: Sequence[Any]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Keys and values of a cache's layers in the precision in which the model multiplies them.

    Autocast leaves keys in float32, and a new cache of transformers takes values up to their keys' precision.
    """

    def narrow(states: Tensor) -> Tensor:
        kind = states.device.type
        return states.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else states

    return tuple(narrow(layer.keys) for layer in layers), tuple(narrow(layer.values) for layer in layers)


@contextmanager
def head_reads(model: Any, positions: slice | Tensor) -> Iterator[None]:
    """Within the block the LM head reads only these positions; the rest of its output is not made."""
    handle = model.get_output_embeddings().register_forward_pre_hook(lambda _, args: (args[0][:, positions],))
    try:
        yield
    finally:
        handle.remove()
