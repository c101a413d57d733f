"""What every backbone gives: prompts made ready, the towers run once, answers sampled, answers scored.

Shape letters: P prompts, B sequences (prompts x generations), T prompt and R response tokens, D width, V vocabulary.
Prompts are padded on the left and responses on the right, so a response always starts at the same column; positions
are explicit and those of a response continue from its prompt's largest position + 1, on all three axes of M-RoPE.

Ids that stand for media or for the chat's frame are never a model's words: they are suppressed (-inf) alike when
sampling and when scoring, so the sampled distribution is the scored one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn

from mer_r1.media import MediaBudget
from mer_r1.sample import Clip, MediaFacts, Sample


@dataclass(frozen=True)
class Prompt:
    """One sample made ready: CPU tensors. `media` holds the processor's arrays under the model's argument names."""

    id: str
    input_ids_T: Tensor
    positions_3T: Tensor
    media: dict[str, Tensor]
    facts: MediaFacts


@dataclass(frozen=True)
class PromptBatch:
    """P prompts padded on the left. `mask_PT` is 1 on real tokens."""

    input_ids_PT: Tensor
    mask_PT: Tensor
    positions_3PT: Tensor
    media: dict[str, Tensor]


@dataclass(frozen=True)
class Encoded:
    """P prompts after the towers: what the language model reads."""

    embeds_PTD: Tensor
    mask_PT: Tensor
    positions_3PT: Tensor

    def take(self, rows: Sequence[int]) -> Encoded:
        """Some of the prompts."""
        chosen = list(rows)
        return Encoded(self.embeds_PTD[chosen], self.mask_PT[chosen], self.positions_3PT[:, chosen])

    def repeat(self, times: int) -> Encoded:
        """Every prompt `times` times, copies side by side."""
        return Encoded(
            self.embeds_PTD.repeat_interleave(times, dim=0),
            self.mask_PT.repeat_interleave(times, dim=0),
            self.positions_3PT.repeat_interleave(times, dim=1),
        )


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn. Temperature 0 is greedy."""

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True)
class Generated:
    """B responses: the ids after the prefill, up to and with the stop, padded on the right; mask 1 on real ids."""

    ids_BR: Tensor
    mask_BR: Tensor


@dataclass
class Backbone(ABC):
    """A language model with towers, its processor, and how a sample is shown to it.

    A family says how a sample becomes a prompt, what its towers are, and which ids stand for media.
    """

    model: Any
    processor: Any
    budget: MediaBudget
    prompt_style: str

    @property
    def tokenizer(self) -> Any:
        return self.processor.tokenizer

    @property
    def device(self) -> torch.device:
        return cast(torch.device, self.model.device)

    @abstractmethod
    def prepare(self, sample: Sample, clip: Clip) -> Prompt:
        """Turn one sample and its decoded media into a prompt."""

    @abstractmethod
    def encode(self, batch: PromptBatch) -> Encoded:
        """Run the towers, once, and place their outputs in the prompt's embeddings."""

    def set_towers_trainable(self, trainable: bool) -> None:
        """Freeze the media towers, or let them learn."""
        for tower in self.towers():
            tower.requires_grad_(trainable)

    @abstractmethod
    def towers(self) -> Sequence[nn.Module]:
        """The modules that turn media into embeddings."""

    def media_arguments(self, batch: PromptBatch) -> dict[str, Tensor]:
        """The batch's media under the model's argument names, on the model's device and in its precision."""
        return {
            name: value.to(self.device, self.model.dtype if value.is_floating_point() else value.dtype)
            for name, value in batch.media.items()
        }

    def collate(self, prompts: Sequence[Prompt]) -> PromptBatch:
        """Pad P prompts on the left and stack their media, on the model's device."""
        length = max(len(prompt.input_ids_T) for prompt in prompts)
        shape = (len(prompts), length)
        ids = torch.full(shape, int(self.tokenizer.pad_token_id))
        mask = torch.zeros(shape, dtype=torch.long)
        positions = torch.zeros((3, *shape), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            start = length - len(prompt.input_ids_T)
            ids[row, start:] = prompt.input_ids_T
            mask[row, start:] = 1
            positions[:, row, start:] = prompt.positions_3T
        to = self.device
        return PromptBatch(ids.to(to), mask.to(to), positions.to(to), _stack_media([p.media for p in prompts]))

    @cached_property
    def suppressed_V(self) -> Tensor:
        """0 where an id may be answered, -inf on the ids of media and of the chat's frame."""
        bias = torch.zeros(self.model.config.get_text_config().vocab_size, device=self.device)
        banned = self.control_ids - {self.tokenizer.eos_token_id}
        banned |= set(self.tokenizer.get_added_vocab().values()) & set(self.placeholder_ids())
        bias[sorted(banned)] = float("-inf")
        bias[len(self.tokenizer) :] = float("-inf")  # rows that pad the embedding table
        return bias

    @cached_property
    def control_ids(self) -> frozenset[int]:
        """Ids of the chat's frame and of media: all that the tokenizer's file declares special, named or not."""
        declared = {ident for ident, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        return frozenset(declared | set(self.tokenizer.all_special_ids))

    @abstractmethod
    def placeholder_ids(self) -> Sequence[int]:
        """Ids that stand for a medium."""

    def text_ids(self, text: str) -> list[int]:
        """The ids of text as it stands, no token added."""
        return cast(list[int], self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of response ids, without the ids that end or pad it."""
        return cast(str, self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def with_own_words(self, batch: PromptBatch, encoded: Encoded) -> Encoded:
        """`encoded` with its words read from this model's embedding table, with gradient; media stay as they are."""
        is_media_PT = torch.isin(batch.input_ids_PT, batch.input_ids_PT.new_tensor(self.placeholder_ids()))
        words_PTD = self.model.get_input_embeddings()(batch.input_ids_PT)
        return replace(encoded, embeds_PTD=torch.where(is_media_PT[..., None], encoded.embeds_PTD, words_PTD))

    def score_inputs(self, encoded: Encoded, response_ids_BR: Tensor, response_mask_BR: Tensor) -> dict[str, Tensor]:
        """Arguments of a forward over [prompt | response], one row each: the plain repeated pass."""
        embeds = self.model.get_input_embeddings()(response_ids_BR)
        return {
            "inputs_embeds": torch.cat([encoded.embeds_PTD, embeds], dim=1),
            "attention_mask": torch.cat([encoded.mask_PT, response_mask_BR], dim=1),
            "position_ids": torch.cat(
                [encoded.positions_3PT, next_positions(encoded.positions_3PT, response_ids_BR.shape[1])], dim=2
            ),
        }

    def full_inputs(self, batch: PromptBatch, response_ids_BR: Tensor, response_mask_BR: Tensor) -> dict[str, Tensor]:
        """Arguments of a forward over [prompt | response] that runs the towers too, so that they can learn."""
        return {
            "input_ids": torch.cat([batch.input_ids_PT, response_ids_BR], dim=1),
            "attention_mask": torch.cat([batch.mask_PT, response_mask_BR], dim=1),
            "position_ids": torch.cat(
                [batch.positions_3PT, next_positions(batch.positions_3PT, response_ids_BR.shape[1])], dim=2
            ),
            **self.media_arguments(batch),
        }

    def response_logits(self, model: nn.Module, inputs: dict[str, Tensor], num_response: int) -> Tensor:
        """Logits (B, R, V) in float32 that predict each of the last `num_response` ids, suppressed ids at -inf.

        Only those positions pass through the LM head. `model` is the backbone's own or a wrapper of it (DDP, PEFT).
        """
        with _head_reads_last(getattr(model, "module", model), num_response + 1):
            logits: Tensor = model(**inputs, use_cache=False).logits
        return logits[:, :-1].float() + self.suppressed_V

    @torch.no_grad()
    def generate(
        self, encoded: Encoded, num_generations: int, sampling: Sampling, prefill: str = "", stop: str = "</answer>"
    ) -> Generated:
        """Sample `num_generations` answers for each prompt; copies of a prompt are neighbours in the result.

        The prompt (and `prefill`) passes through the model once, its cache is expanded, and sampling goes on until
        every row has written `stop` or the end token, or `max_new_tokens` are written.
        """
        rows = encoded.mask_PT.shape[0]
        prefill_ids = torch.tensor(self.text_ids(prefill), device=self.device, dtype=torch.long).expand(rows, -1)
        inputs = self.score_inputs(encoded, prefill_ids, torch.ones_like(prefill_ids))
        language_model = self.model.model.language_model
        state = language_model(**inputs, use_cache=True)
        cache, hidden = state.past_key_values, state.last_hidden_state[:, -1:]
        cache.batch_repeat_interleave(num_generations)
        hidden = hidden.repeat_interleave(num_generations, dim=0)
        mask = inputs["attention_mask"].repeat_interleave(num_generations, dim=0)
        position = inputs["position_ids"][:, :, -1:].repeat_interleave(num_generations, dim=1)
        open_B = torch.ones(len(mask), dtype=torch.bool, device=self.device)
        ids, kept = [], []
        finished = StopText(self, stop, len(mask))
        for _ in range(sampling.max_new_tokens):
            logits = self.model.lm_head(hidden[:, -1]).float() + self.suppressed_V
            chosen_B = draw(logits, sampling)
            chosen_B = torch.where(open_B, chosen_B, self.tokenizer.pad_token_id)
            ids.append(chosen_B)
            kept.append(open_B)
            open_B = open_B & ~finished(chosen_B)
            if not open_B.any():
                break
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
            position = position + 1
            state = language_model(
                inputs_embeds=self.model.get_input_embeddings()(chosen_B[:, None]),
                attention_mask=mask,
                position_ids=position,
                past_key_values=cache,
                use_cache=True,
            )
            hidden = state.last_hidden_state
        return Generated(torch.stack(ids, dim=1), torch.stack(kept, dim=1).long())


def next_positions(positions_3BT: Tensor, num: int) -> Tensor:
    """Positions (3, B, num) of what follows a prompt: they go on from its largest, alike on all axes."""
    first_B = positions_3BT.amax(dim=(0, 2)) + 1
    return (first_B[:, None] + torch.arange(num, device=first_B.device))[None].expand(3, -1, -1)


def chosen_log_probs(logits_BRV: Tensor, ids_BR: Tensor) -> Tensor:
    """log p of each id, (B, R)."""
    return logits_BRV.gather(-1, ids_BR[..., None])[..., 0] - logits_BRV.logsumexp(-1)


def draw(logits_BV: Tensor, sampling: Sampling) -> Tensor:
    """One id per row (B,)."""
    if sampling.temperature == 0:
        return logits_BV.argmax(-1)
    probabilities = (logits_BV / sampling.temperature).softmax(-1)
    if sampling.top_p < 1:
        ordered, order = probabilities.sort(dim=-1, descending=True)
        beyond = ordered.cumsum(-1) - ordered >= sampling.top_p
        probabilities = torch.zeros_like(probabilities).scatter(-1, order, ordered.masked_fill(beyond, 0.0))
    return probabilities.multinomial(1)[:, 0]


class StopText:
    """Says, id by id, which rows are finished: the end token, or a text that a tokenizer may cut in any way.

    Keeps the last ids of every row, long enough to hold `stop`, and decodes them only where the newest id could end it.
    """

    def __init__(self, backbone: Backbone, stop: str, num_rows: int) -> None:
        self._backbone, self._stop = backbone, stop
        self._eos = int(backbone.tokenizer.eos_token_id)
        ids = backbone.text_ids(stop)
        self._single = ids[0] if len(ids) == 1 else None
        self._tail: list[list[int]] = [[] for _ in range(num_rows)]

    def __call__(self, ids_B: Tensor) -> Tensor:
        finished = ids_B == self._eos
        if self._single is not None:
            return finished | (ids_B == self._single)
        for row, ident in enumerate(ids_B.tolist()):
            tail = self._tail[row] = [*self._tail[row], ident][-2 * len(self._stop) :]
            if self._stop in self._backbone.decode(tail):
                finished[row] = True
        return finished


@contextmanager
def _head_reads_last(model: Any, num_positions: int) -> Iterator[None]:
    """Within the block the LM head reads only the last positions; the rest of its output is not made."""
    handle = model.get_output_embeddings().register_forward_pre_hook(lambda _, args: (args[0][:, -num_positions:],))
    try:
        yield
    finally:
        handle.remove()


def _stack_media(media: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Join the media of several prompts along their first axis; sounds of different length are padded at their end."""
    joined: dict[str, list[Tensor]] = {}
    for arrays in media:
        for name, value in arrays.items():
            joined.setdefault(name, []).append(value)
    stacked = {}
    for name, values in joined.items():
        if name in ("input_features", "feature_attention_mask"):
            longest = max(value.shape[-1] for value in values)
            values = [nn.functional.pad(value, (0, longest - value.shape[-1])) for value in values]
        stacked[name] = torch.cat(values)
    return stacked


def pad_right(rows: Sequence[Sequence[int]], fill: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(ids, mask) of shape (B, R) from lists of ids of different lengths."""
    length = max((len(row) for row in rows), default=0)
    ids = torch.full((len(rows), length), fill, dtype=torch.long)
    mask = torch.zeros((len(rows), length), dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[index, : len(row)] = 1
    return ids.to(device), mask.to(device)
