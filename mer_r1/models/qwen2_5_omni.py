"""Qwen2.5-Omni's Thinker, the paper's backbone: a Hub id or a folder, the official processor, one code path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mer_r1.models.thinker import ThinkerBackbone

_VOICES_FILE = "spk_dict.pt"


@dataclass
class OmniBackbone(ThinkerBackbone):
    """A Qwen2.5-Omni Thinker of any size."""

    model_type = "qwen2_5_omni"
    title = "Qwen2.5-Omni Thinker"
    example = "Qwen/Qwen2.5-Omni-7B"
    architecture = "Qwen2_5OmniModel"

    @classmethod
    def classes(cls) -> tuple[Any, Any]:
        import transformers

        return transformers.Qwen2_5OmniThinkerForConditionalGeneration, transformers.Qwen2_5OmniProcessor

    @staticmethod
    def sound_tokens(num_windows: int) -> int:
        """Windows are halved by a convolution and by a pooling: 25 tokens a second."""
        return ((num_windows - 1) // 2 + 1 - 2) // 2 + 1

    def _save_weights(self, folder: Path, weights: dict[str, Tensor]) -> None:
        super()._save_weights(folder, weights)
        torch.save({}, folder / _VOICES_FILE)  # transformers' whole class asks for it, voice or none


load_omni = OmniBackbone.load
