"""A decoding step of Qwen2's language models on a CPU, from weights packed once an answer.

A step multiplies every weight with one row an answer. PyTorch's float32 product (MKL) arranges the weights anew at each
call; oneDNN's takes them packed, which halves its time at 8 rows (docs/log.md). The step computes what the module's
forward does, with queries, keys and values in one product and the sums fused into the products. The packed copies are
of the weights as they stand when they are made, and take as much memory again, so they live no longer than an answer.

The operators are those that torch.compile writes for packed weights; they have no public name. Where they are missing,
or the model is another, the module's own forward is called.

Shape letters: B answers, Q newest ids, H heads, J key-value heads, D head width, V vocabulary.
"""

from __future__ import annotations

import platform
from typing import Any, cast

import torch
from torch import Tensor, nn

from mer_r1.models.group_attention import DecodeLayout

LANGUAGE_MODELS = ("Qwen2Model", "Qwen2_5_VLTextModel", "Qwen2_5OmniThinkerTextModel")
"""Of transformers: one structure, and positions of answers are alike on all axes of M-RoPE."""
MOST_BYTES = 2**30
"""Of weights that are packed: the copy of a large model might not fit beside it."""


def can_pack(wrapped_model: Any, model: Any) -> bool:
    """Whether a step of `wrapped_model` can be computed from packed weights of `model`.

    It must be a plain float32 model of a known structure on an x86 CPU, no wrapper, adapter or hook in it, and no
    autocast around it.
    """
    language_model, head = model.get_decoder(), model.get_output_embeddings()
    if wrapped_model is not model or type(language_model).__name__ not in LANGUAGE_MODELS:
        return False
    if platform.machine().lower() not in ("x86_64", "amd64") or not _has_operators():
        return False
    if torch.is_autocast_enabled("cpu") or language_model.config.hidden_act != "silu":
        return False
    parts: list[nn.Module] = [module for part in (language_model, head) for module in part.modules()]
    tensors = {id(weight): weight for module in parts for weight in module.parameters(recurse=False)}.values()
    return (
        all(type(weight) is nn.Parameter and _is_plain(weight) for weight in tensors)
        and sum(weight.nbytes for weight in tensors) <= MOST_BYTES
        and not any(module._forward_hooks or module._forward_pre_hooks for module in (model, *parts))
        and all(type(module) is nn.Linear for layer in language_model.layers for module in _products(layer))
        and all(layer.self_attn.sliding_window is None for layer in language_model.layers)
    )


def _has_operators() -> bool:
    names = ("_linear_pointwise", "_reorder_linear_weight")
    return hasattr(torch.ops, "mkldnn") and all(hasattr(torch.ops.mkldnn, name) for name in names)


def _is_plain(weight: Tensor) -> bool:
    return weight.dtype == torch.float32 and weight.device.type == "cpu"


def _products(layer: Any) -> tuple[Any, ...]:
    attention, mlp = layer.self_attn, layer.mlp
    projections = attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj
    return (*projections, mlp.gate_proj, mlp.up_proj, mlp.down_proj)


class PackedStep:
    """The language model of `model` and its head, for the newest ids of every answer."""

    @torch.inference_mode()
    def __init__(self, model: Any) -> None:
        self._language_model = model.get_decoder()
        self._layers = [_PackedLayer(layer) for layer in self._language_model.layers]
        norm = self._language_model.norm
        self._norm, self._head = _Normed(norm), _Product(model.get_output_embeddings(), norm=norm)

    @torch.inference_mode()
    def __call__(self, ids_BQ: Tensor, positions: Tensor, cache: Any, layout: DecodeLayout) -> Tensor:
        """Logits (B, V) of what follows. `positions` are the module's argument; `cache` takes the new keys."""
        new = ids_BQ.shape[1]
        states = self._language_model.embed_tokens(ids_BQ.reshape(-1))  # of two axes, as products take them fastest
        cos, sin = self._language_model.rotary_emb(states, positions)
        if cos.ndim == 4:  # of every axis; all alike
            cos, sin = cos[0], sin[0]
        half = sin.shape[-1] // 2
        rotation = cos[:, None], torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)[:, None]
        for layer, entries in zip(self._layers, cache.layers, strict=True):
            states = layer(states, rotation, entries, layout)
        return self._head(self._norm(states[new - 1 :: new]))


class _PackedLayer:
    def __init__(self, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._number, self._width, self._scaling = attention.layer_idx, attention.head_dim, attention.scaling
        self._num_keys = attention.k_proj.out_features // self._width
        norm, inner = layer.input_layernorm, layer.post_attention_layernorm
        self._norm, self._inner_norm = _Normed(norm), _Normed(inner)
        self._qkv = _Product(attention.q_proj, attention.k_proj, attention.v_proj, norm=norm)
        self._out, self._down = _Product(attention.o_proj), _Product(mlp.down_proj)
        self._gate, self._up = _Product(mlp.gate_proj, norm=inner), _Product(mlp.up_proj, norm=inner)

    def __call__(self, states: Tensor, rotation: tuple[Tensor, Tensor], entries: Any, layout: DecodeLayout) -> Tensor:
        cos, sin = rotation  # B, 1, Q, D
        shape = len(cos), cos.shape[2], -1, self._width
        heads = self._qkv(self._norm(states)).view(shape).transpose(1, 2)
        unrotated, value = heads[:, : -self._num_keys], heads[:, -self._num_keys :]
        rotated = torch.addcmul(unrotated * cos, unrotated.roll(self._width // 2, -1), sin)
        keys, values = entries.update(rotated[:, -self._num_keys :], value)
        mixed = layout.attend(self._number, rotated[:, : -self._num_keys], keys, values, self._scaling)
        states = self._out.plus(mixed.reshape(len(states), -1), states)
        inner = self._inner_norm(states)
        return self._down.plus(self._up.times(inner, self._gate.swish(inner)), states)


class _Product:
    """Linear modules of one input, joined and packed, the norm's weights multiplied in."""

    def __init__(self, *modules: nn.Linear, norm: Any = None) -> None:
        weight = torch.cat([module.weight for module in modules])
        weight = weight if norm is None else weight * norm.weight
        biases: list[Tensor] = [module.bias for module in modules if module.bias is not None]
        assert len(biases) in (0, len(modules))
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        self._bias = torch.cat(biases) if biases else None

    def __call__(self, states: Tensor, act: str = "none") -> Tensor:
        return cast(Tensor, torch.ops.mkldnn._linear_pointwise(states, self._weight, self._bias, act, [], ""))

    def swish(self, states: Tensor) -> Tensor:
        return self(states, "swish")

    def plus(self, states: Tensor, other: Tensor) -> Tensor:
        return self._joined(states, other, "add")

    def times(self, states: Tensor, other: Tensor) -> Tensor:
        return self._joined(states, other, "mul")

    def _joined(self, states: Tensor, other: Tensor, how: str) -> Tensor:
        return cast(Tensor, torch.ops.mkldnn._linear_pointwise.binary(states, other, self._weight, self._bias, how))


class _Normed:
    """RMSNorm in few operations, as each costs microseconds; its weights are in the product behind it."""

    def __init__(self, norm: Any) -> None:
        self._epsilon = torch.tensor(norm.variance_epsilon)
        self._share = 1 / len(norm.weight)

    def __call__(self, states: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(states, dim=-1, keepdim=True)
        return states * torch.addcmul(self._epsilon, length, length, value=self._share).rsqrt_()
