"""Qwen3-Omni's Thinker (30B-A3B, Instruct and Thinking): a mixture of experts that sees, hears and reads.

It differs from Qwen2.5-Omni's in what its own classes do: frames in cells of 32 x 32 pixels, 13 tokens a second of
sound, features of pictures that are added again behind the first layers (deepstack), and experts, of which a router
chooses some for every token. transformers holds a layer's experts in two tensors, the official checkpoint each expert
by itself.

Positions are M-RoPE's, 13 a second of a video's time, in whole numbers as vLLM counts them. transformers keeps the
fractions of a time, so its own positions in and behind a video whose times are no thirteenths lie up to 1 further.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mer_r1.models.thinker import ThinkerBackbone

_EXPERTS = re.compile(r"(.+\.experts\.)(gate_up_proj|down_proj)")


@dataclass
class Omni3Backbone(ThinkerBackbone):
    """A Qwen3-Omni Thinker of any size."""

    model_type = "qwen3_omni_moe"
    title = "Qwen3-Omni Thinker"
    example = "Qwen/Qwen3-Omni-30B-A3B-Instruct"
    architecture = "Qwen3OmniMoeForConditionalGeneration"

    @classmethod
    def classes(cls) -> tuple[Any, Any]:
        import transformers

        return transformers.Qwen3OmniMoeThinkerForConditionalGeneration, transformers.Qwen3OmniMoeProcessor

    @staticmethod
    def sound_tokens(num_windows: int) -> int:
        """Of every 100 windows three convolutions make 13 tokens."""
        whole, rest = divmod(num_windows, 100)
        return 13 * whole + -(-rest // 8)

    def official_weights(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """The weights by the official checkpoint's names, every expert's by themselves."""
        for name, weight in super().official_weights(weights):
            if (fused := _EXPERTS.fullmatch(name)) is None:
                yield name, weight
                continue
            experts, kind = fused.groups()
            names = ("gate_proj", "up_proj") if kind == "gate_up_proj" else (kind,)
            for number, expert in enumerate(weight):
                for part, matrix in zip(names, expert.chunk(len(names)), strict=True):
                    yield f"{experts}{number}.{part}.weight", matrix


load_omni3 = Omni3Backbone.load
