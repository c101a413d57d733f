"""A language model's weights in 4 or 8 bits, for a GPU that does not hold them in 16.

    nf4     each weight is one of 16 numbers, the quantiles of a normal distribution, times a scale that 64 weights
            share; the scales have 8 bits and share scales in turn: 0.516 byte a weight (QLoRA, arXiv 2305.14314). By
            bitsandbytes.
    int8    each weight has 8 bits, and its row a scale: 1 byte a weight. Unlike LLM.int8() the inputs keep their
            precision: there, which of them are rounded depends on the rows beside them, and what is sampled would not
            be what is scored.

A product dequantises its weight to the precision of its inputs, so a model is as exact within itself as one that is not
quantised: packed and repeated passes agree to rounding. Quantised are the linear layers of the decoder alone, where the
adapters sit. The towers, which read a prompt once, keep their precision, and so do the embeddings and the LM head,
whose rounding would move every log-probability and confidence.

A checkpoint that is stored in few bits (bitsandbytes, AWQ, GPTQ) says itself which of its layers are quantised and how,
and transformers loads it. It answers; it is neither trained nor exported.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mer_r1.errors import InputError
from mer_r1.models.lora import language_model_layers
from mer_r1.recipe import Quantization


def quantize(model: Any, kind: Quantization, device: torch.device) -> None:
    """Quantise the decoder's linear layers in place; they then lie on `device`, all else where it was.

    Raises InputError where bitsandbytes is not installed, and for a model most of whose decoder would stay as it is.
    """
    require_quantization(kind)
    if is_stored_quantised(model):
        raise InputError(f"{model.name_or_path}: is quantised already; leave the quantisation out")
    layers = model.get_submodule(language_model_layers(model))
    linear = {name: module for name, module in layers.named_modules() if type(module) is nn.Linear}
    total = sum(parameter.numel() for parameter in layers.parameters())
    if 2 * sum(module.weight.numel() for module in linear.values()) < total:
        raise InputError(
            f"{model.name_or_path}: cannot be quantised: most of its weights are experts in one tensor a layer, which "
            "stay as they are; take it as it is, on more memory, or a dense model"
        )
    make = _nf4 if kind == "nf4" else _int8
    for name, module in linear.items():
        layers.set_submodule(name, make(module, device))
    model.quantization = kind


def quantization_of(model: Any) -> str | None:
    """What `quantize` made of a model, or the method of its checkpoint; None where its weights are whole."""
    if is_stored_quantised(model):
        return str(getattr(model.quantization_method, "value", model.quantization_method))
    return getattr(model, "quantization", None)


def require_quantization(kind: Quantization) -> None:
    """Raises InputError where bitsandbytes is needed and not installed."""
    if kind == "nf4":
        _bitsandbytes()


def stored_quantization(source: str) -> dict[str, Any] | None:
    """How the weights of a folder or a Hub id are quantised, by its config.json; None where they are not.

    A configuration that cannot be had says nothing here: what is wrong shows when the model is loaded.
    """
    from transformers.utils import cached_file

    try:
        tree = json.loads(Path(str(cached_file(source, "config.json"))).read_text(encoding="utf-8"))
        parts = [tree, *(value for value in tree.values() if isinstance(value, dict))]
    except (OSError, ValueError, AttributeError):
        return None
    return next((part["quantization_config"] for part in parts if part.get("quantization_config")), None)


def quantised_config(source: str, model_class: Any, quantised: dict[str, Any]) -> Any:
    """The configuration by which transformers loads a checkpoint that is `quantised`.

    Of a whole Omni's it takes the Thinker's part, and leaves behind what stands beside it. Modules that are not
    quantised are listed by the names that they had when the checkpoint was written, mostly without `model.`.
    """
    import transformers

    kind = getattr(model_class, "config_class", None) or transformers.AutoConfig
    config = kind.from_pretrained(source, trust_remote_code=False)
    config.quantization_config = quantised | {
        key: [*quantised[key], *(rf"(.*\.)?{re.escape(name.removeprefix('thinker.'))}" for name in quantised[key])]
        for key in ("modules_to_not_convert", "llm_int8_skip_modules")
        if quantised.get(key)
    }
    return config


def use_plain_kernels(model: Any) -> None:
    """Keep bitsandbytes from its kernels for a CPU, which sample in bfloat16, and then let no gradient pass."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def is_stored_quantised(model: Any) -> bool:
    """Whether a model comes from a checkpoint that holds quantised weights."""
    return bool(getattr(model, "is_quantized", False))


def _bitsandbytes() -> Any:
    try:
        import bitsandbytes
    except ImportError:
        raise InputError("quantisation to nf4 needs bitsandbytes; pip install 'mer-r1[quantization]'") from None
    return bitsandbytes


def _nf4(linear: nn.Linear, device: torch.device) -> nn.Linear:
    kinds = _bitsandbytes().nn
    weight = linear.weight.detach()
    sizes = linear.in_features, linear.out_features, linear.bias is not None
    made: nn.Linear = kinds.Linear4bit(*sizes, compute_dtype=weight.dtype, quant_type="nf4", device="meta")
    made.weight = kinds.Params4bit(weight, requires_grad=False, quant_type="nf4", module=made).to(device)
    made.register_parameter("bias", _frozen(linear.bias, device))
    use_plain_kernels(made)
    return made


def _int8(linear: nn.Linear, device: torch.device) -> nn.Linear:
    return Int8Linear(linear.weight.detach().to(device), _frozen(linear.bias, device))


def _frozen(bias: Any, device: torch.device) -> nn.Parameter | None:
    return None if bias is None else nn.Parameter(bias.detach().to(device), requires_grad=False)


class Int8Linear(nn.Linear):
    """A linear layer whose weight (O, I) is kept in 8 bits; neither it nor the bias learns."""

    def __init__(self, weight_OI: Tensor, bias: nn.Parameter | None) -> None:
        super().__init__(weight_OI.shape[1], weight_OI.shape[0], bias=bias is not None, device="meta")
        largest_O1 = weight_OI.float().abs().amax(1, keepdim=True)
        scale_O1 = torch.where(largest_O1 > 0, largest_O1 / 127, 1.0)
        self.weight = nn.Parameter((weight_OI / scale_O1).round().to(torch.int8), requires_grad=False)
        self.register_buffer("scale", scale_O1)
        self.register_parameter("bias", bias)

    def forward(self, inputs: Tensor) -> Tensor:
        product: Tensor = _Int8Product.apply(inputs, self.weight, self.scale)  # type: ignore[no-untyped-call]
        return product if self.bias is None else product + self.bias


class _Int8Product(torch.autograd.Function):
    """inputs W^T. The gradient dequantises W anew: kept in 16 bits, it would cost what quantisation saves."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight_OI: Tensor, scale_O1: Tensor) -> Tensor:
        ctx.save_for_backward(weight_OI, scale_O1)
        return inputs @ _dequantized(weight_OI, scale_O1, inputs.dtype).T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        weight_OI, scale_O1 = ctx.saved_tensors
        return gradients[0] @ _dequantized(weight_OI, scale_O1, gradients[0].dtype), None, None


def _dequantized(weight_OI: Tensor, scale_O1: Tensor, dtype: torch.dtype) -> Tensor:
    return weight_OI.to(dtype).mul_(scale_O1)
