"""Models of any size without weights: every line of a step runs on shapes and dtypes, and no number is computed.

Weights, and all that is computed from them, are torch's fake tensors, which hold no memory. Ids, masks, grids and
positions stay real, so the code that reads their values runs as it is. What it reads of the model's own numbers, the
next id above all, is given (`given_answers`).
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from mer_r1.models import backbone as backbone_module
from mer_r1.models import group_attention
from mer_r1.models.backbone import Backbone

_ONE_CALL = "flash_in_one_call"


def _attention_in_one_call(*given: Any, **options: Any) -> Any:
    """A tower's attention over all of its windows, as a kernel with variable lengths computes it."""
    lengths = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")
    return sdpa_attention_forward(*given, **{name: value for name, value in options.items() if name not in lengths})


AttentionInterface.register(_ONE_CALL, _attention_in_one_call)


def make_fake(backbone: Backbone) -> None:
    """Put fake tensors in the place of a backbone's weights on the meta device, adapters among them."""
    made: dict[int, tuple[Tensor, Tensor]] = {}
    mode = FakeTensorMode(allow_non_fake_inputs=True)

    def fake(tensor: Tensor) -> Tensor:
        if id(tensor) not in made:  # a head that is the embedding table stays it
            with mode:
                empty = torch.empty_like(tensor, device="cpu")
            is_weight = isinstance(tensor, nn.Parameter)
            made[id(tensor)] = tensor, nn.Parameter(empty, tensor.requires_grad) if is_weight else empty
        return made[id(tensor)][1]

    for module in backbone.wrapped_model.modules():
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                held[name] = None if tensor is None else fake(tensor)
    towers: Sequence[Any] = backbone.towers()
    for tower in towers:
        if hasattr(tower, "config"):
            tower.config._attn_implementation = _ONE_CALL


class HeldMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes that fake tensors hold within the block, now and at the most, weights left out.

    A tensor of the shape of a weight that learns is taken for a copy of it or its gradient, and left out too.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        learned = [weight.shape for weight in model.parameters() if weight.requires_grad]
        self._left_out = {*learned, *(shape[::-1] for shape in learned)}
        self._held: dict[int, weakref.ref[Any]] = {}
        for tensor in (*model.parameters(), *model.buffers()):
            self._hold(tensor, 0)

    def start_again(self) -> None:
        """What was held at the most is what is held now."""
        self.most = self.now

    def _hold(self, tensor: Tensor, size: int) -> None:
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._held:
            return

        def free(_: Any) -> None:
            del self._held[key]
            self.now -= size

        self._held[key] = weakref.ref(storage, free)
        self.now += size
        self.most = max(self.most, self.now)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.index.Tensor and isinstance(args[0], FakeTensor):
            args = args[0], [part for index in args[1] for part in _places(index)]
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, FakeTensor):
                is_of_weight = tensor.ndim > 1 and tensor.shape in self._left_out
                self._hold(tensor, 0 if is_of_weight else tensor.untyped_storage().nbytes())
        return made


def _places(index: Tensor | None) -> tuple[Tensor | None, ...]:
    """A real mask as the indices that it chooses: as many as it really chooses."""
    is_mask = index is not None and index.dtype == torch.bool and not isinstance(index, FakeTensor)
    return index.nonzero().unbind(1) if is_mask and index is not None else (index,)


@contextmanager
def given_answers(ident: int) -> Iterator[None]:
    """Within the block every id that is drawn is `ident`, and attention runs as on a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbone_module, "draw", lambda logits_BV, *_: torch.full((len(logits_BV),), ident))
        patch.setattr(backbone_module, "is_drawable", lambda logits_BV: torch.ones(len(logits_BV), dtype=torch.bool))
        patch.setattr(group_attention, "_takes_shared_keys", lambda bias, _: bias is None)
        yield
