"""What travels between a sample and a model's answer: prompts, batches, caches, generated ids.

Shape letters: P prompts, B sequences (prompts x generations), J key-value heads, T prompt and R response tokens,
D width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mer_r1.data.sample import MediaFacts


@dataclass(frozen=True)
class Prompt:
    """One sample made ready: CPU tensors. `media` holds the processor's arrays under the model's argument names."""

    id: str
    input_ids_T: Tensor
    positions_3T: Tensor
    media: dict[str, Tensor]
    facts: MediaFacts


@dataclass(frozen=True)
class ChatPrompt:
    """One sample for an engine that runs the processor itself: the chat's ids and the media that they speak of.

    `chat_ids` hold one id for each medium, `input_ids` what the model reads, as `Prompt.input_ids_T`. Frames (uint8)
    are as the media budget takes them, `frames_per_s` of them a second; the sound is mono at 16 kHz.
    """

    id: str
    chat_ids: list[int]
    input_ids: list[int]
    facts: MediaFacts
    frames_THWC: NDArray[np.uint8] | None = None
    frames_per_s: float = 0.0
    waveform_N: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class PromptBatch:
    """P prompts padded on the left. `mask_PT` is 1 on real tokens."""

    input_ids_PT: Tensor
    mask_PT: Tensor
    positions_3PT: Tensor
    media: dict[str, Tensor]

    def to(self, device: torch.device) -> PromptBatch:
        """The same, ids and positions on a device; media go there when they are used, in the model's precision."""
        return PromptBatch(
            self.input_ids_PT.to(device), self.mask_PT.to(device), self.positions_3PT.to(device), self.media
        )


@dataclass(frozen=True)
class Encoded:
    """P prompts read once: towers and language model have run, nothing of it is done again for an answer.

    `embeds_PTD` is what the language model read, media in place (None for a model without towers); `deepstack` are the
    features (P, T, D) that a model with deepstack adds behind each of its first layers, 0 where no picture is; `keys`
    and `values` are its cache, per layer (P, J, T, D); `logits_PV` predict the first id of an answer.
    """

    prompts: PromptBatch
    embeds_PTD: Tensor | None
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    logits_PV: Tensor
    deepstack: tuple[Tensor, ...] = ()

    def without_cache(self) -> Encoded:
        """What a later pass needs: the cache is as large as the prompt is long, times layers."""
        return replace(self, keys=(), values=(), logits_PV=self.logits_PV[:, :0])


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn, with transformers' names. Temperature 0 is greedy; `top_k` 0 is no limit.

    With `end_token` an answer that has written its stop draws one id more, which should be the end token;
    `max_new_tokens` counts it.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    end_token: bool = False


@dataclass(frozen=True)
class Generated:
    """B responses: the ids after the prefill, padded on the right; mask 1 on real ids.

    A response ends with its stop, or where `behind_stop_B` is True with the one id that was drawn behind it; None where
    none was to be drawn. A response that is not in `stopped_B` was cut at its largest length. `log_probs_BR` are the
    log-probabilities with which the ids were drawn, as their sampler gives them (NaN where it gives none, anything on
    padding); None where the policy itself drew them, so that they are the same by construction.
    """

    ids_BR: Tensor
    mask_BR: Tensor
    stopped_B: Tensor
    behind_stop_B: Tensor | None = None
    log_probs_BR: Tensor | None = None

    def rows(self) -> list[list[int]]:
        """The ids of every response, without padding."""
        return [ids[: int(mask.sum())] for ids, mask in zip(self.ids_BR.tolist(), self.mask_BR, strict=True)]
