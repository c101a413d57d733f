"""What every backbone gives: prompts made ready, the towers run once, answers sampled, answers scored.

Shape letters: P prompts, B sequences (prompts x generations), T prompt and R response tokens, D width, V vocabulary.
Prompts are padded on the left and responses on the right, so a response always starts at the same column; positions
are explicit and those of a response continue from its prompt's largest position + 1, on all three axes of M-RoPE.

Ids that stand for media or for the chat's frame are never a model's words: they are suppressed (-inf) alike when
sampling and when scoring, so the sampled distribution is the scored one.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.modeling_outputs import MoeModelOutputWithPast

from mer_r1.data.files import atomic_folder, disk_full_named
from mer_r1.data.sample import Clip, Sample
from mer_r1.errors import InputError
from mer_r1.media import MediaBudget
from mer_r1.model_settings import SETTINGS_FILE, write_settings
from mer_r1.models.decoding import LAST, Decoder, NotFiniteError, StopText, draw, head_reads, is_drawable, kept_cache
from mer_r1.models.group_attention import GROUP, DecodeLayout
from mer_r1.models.lora import save_adapter
from mer_r1.models.types import ChatPrompt, Encoded, Generated, Prompt, PromptBatch, Sampling
from mer_r1.prompting.response import RESPONSE_FORMATS, ResponseFormat
from mer_r1.prompting.templates import NO_CANDIDATES, PROMPT_TEMPLATES, PromptTemplate, without_control

_OPENED_THOUGHTS = re.compile(r"<think>\s*\Z")


@dataclass
class Backbone(ABC):
    """A language model with towers, its processor, and how a sample is shown to it.

    A family says how a sample becomes a prompt, what its towers are, and which ids stand for media. `wrapped_model` is
    what is called to run the model: the model itself, or the PEFT wrapper around it. `template_override` is asked
    instead of the template that `prompt_style` names.
    """

    model: Any
    processor: Any
    budget: MediaBudget
    prompt_style: str
    wrapped_model: Any = None
    template_override: PromptTemplate | None = None

    @property
    def tokenizer(self) -> Any:
        return self.processor.tokenizer

    @property
    def device(self) -> torch.device:
        """Where the model is; the CPU for one that was loaded without weights."""
        device = cast(torch.device, self.model.device)
        return torch.device("cpu") if device.type == "meta" else device

    reads: ClassVar[str]
    """What of a sample the family takes, in words."""

    has_engine: ClassVar[bool] = True
    """Whether vLLM is known to read the family's prompts as the model does."""

    @property
    def template(self) -> PromptTemplate:
        """The words around a sample."""
        return self.template_override or PROMPT_TEMPLATES[self.prompt_style]

    @property
    def response_format(self) -> ResponseFormat:
        """The form of answer that the prompt asks for."""
        return RESPONSE_FORMATS[self.template.response_format]

    @property
    def language_model(self) -> Any:
        """The decoder inside the model, without its head."""
        return self.model.get_decoder()

    @property
    def num_position_axes(self) -> int:
        """3 for M-RoPE, 1 for a model that counts its ids."""
        return 3

    def __post_init__(self) -> None:
        self.wrapped_model = self.model if self.wrapped_model is None else self.wrapped_model
        self.language_model.config._attn_implementation = GROUP

    def texts_of(self, sample: Sample) -> tuple[str | None, tuple[str, ...]]:
        """A sample's subtitle and candidates as data: what would become a control token in them is taken out.

        Raises InputError, naming the sample, where the prompt template needs candidates and there are none.
        """
        if self.template.needs_candidates and not sample.candidates:
            raise InputError(f"sample {sample.id!r}: {NO_CANDIDATES}")
        candidates = [without_control(self.tokenizer, self.control_ids, label) for label in sample.candidates]
        return without_control(self.tokenizer, self.control_ids, sample.subtitle), tuple(candidates)

    @abstractmethod
    def prepare(self, sample: Sample, clip: Clip) -> Prompt:
        """Turn one sample and its decoded media into a prompt."""

    @abstractmethod
    def chat_prompt(self, sample: Sample, clip: Clip) -> ChatPrompt:
        """The same prompt for an engine that runs the processor itself. Raises InputError as `prepare` does."""

    @torch.no_grad()
    def encode(self, batch: PromptBatch) -> Encoded:
        """Run the towers and the language model over the prompts, once.

        The model's own forward does it, so that a model whose weights are spread over devices gathers them.
        """
        batch = batch.to(self.device)
        read: list[dict[str, Any]] = []
        handle = self.language_model.register_forward_pre_hook(
            lambda _, args, given: read.append(given), with_kwargs=True
        )
        try:
            with head_reads(self.model, LAST):
                state = self.wrapped_model(
                    input_ids=batch.input_ids_PT,
                    attention_mask=batch.mask_PT,
                    position_ids=self.position_argument(batch.positions_3PT),
                    past_key_values=DynamicCache(),  # by a configuration, layers of a window would forget
                    use_cache=True,
                    **self.media_arguments(batch),
                )
        finally:
            handle.remove()
        keys, values = kept_cache(state.past_key_values.layers)
        return Encoded(
            batch,
            read[0]["inputs_embeds"] if self.towers() else None,
            _as_read(keys, self.language_model.config),
            _as_read(values, self.language_model.config),
            state.logits[:, -1].float(),
            _deepstack(read[0]),
        )

    @torch.no_grad()
    def encode_media(self, batch: PromptBatch) -> Encoded:
        """The prompts with the towers run and the language model left out: neither cache nor logits.

        For prompts whose answers another engine draws. The model's own forward does it, as in `encode`.
        """
        batch = batch.to(self.device)
        no_logits_PV = torch.zeros((len(batch.mask_PT), 0), device=self.device)
        if not self.towers():
            return Encoded(batch, None, (), (), no_logits_PV)
        read: list[dict[str, Any]] = []

        def left_out(*_: Any, **given: Any) -> _LeftOut:
            read.append(given)
            return _LeftOut(last_hidden_state=given["inputs_embeds"][:, -1:])

        self.language_model.forward = left_out
        try:
            self.wrapped_model(
                input_ids=batch.input_ids_PT,
                attention_mask=batch.mask_PT,
                position_ids=self.position_argument(batch.positions_3PT),
                use_cache=False,
                **self.media_arguments(batch),
            )
        finally:
            del self.language_model.forward
        return Encoded(batch, read[0]["inputs_embeds"], (), (), no_logits_PV, _deepstack(read[0]))

    def position_argument(self, positions_3BT: Tensor) -> Tensor:
        """Positions as the model's forward takes them."""
        return positions_3BT if self.num_position_axes == 3 else positions_3BT[0]

    def set_towers_trainable(self, trainable: bool) -> None:
        """Freeze the media towers, or let them learn."""
        for tower in self.towers():
            tower.requires_grad_(trainable)

    def write(self, folder: Path) -> Path:
        """Write all that it takes to load the model to `folder`, whole or not at all; returns the folder."""
        with disk_full_named(folder), atomic_folder(folder) as temporary:
            self.save_checkpoint(temporary)
        return folder

    def save_checkpoint(self, folder: Path, weights: Mapping[str, Tensor] | None = None) -> None:
        """Write all that it takes to load the model, or its adapter: weights, configuration, processor and settings.

        `weights` are what was gathered of a model that several processes hold, under the names of its modules.
        """
        if self.wrapped_model is not self.model:
            save_adapter(self.wrapped_model, folder, weights)
        else:
            tied = self.model.get_expanded_tied_weights_keys(all_submodels=True)  # gathered weights come twice
            weights = self.model.state_dict() if weights is None else weights
            self._save_weights(folder, {name: tensor for name, tensor in weights.items() if name not in tied})
        self.save(folder)
        mode = (folder / SETTINGS_FILE).stat().st_mode
        for path in folder.glob("*.safetensors"):  # its library lets nobody but the owner read them
            path.chmod(mode)

    def _save_weights(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """Write weights and configuration as the family's official checkpoints are laid out."""
        self.model.save_pretrained(folder, state_dict=weights)

    def save_config(self, folder: Path) -> None:
        """Write the configuration as the family's official checkpoints have it, without weights."""
        self.model.config.save_pretrained(folder)

    def save(self, folder: Path) -> None:
        """Write the processor and the settings beside a checkpoint, so that the folder is enough to load."""
        self.processor.save_pretrained(folder)
        write_settings(folder, self.budget, self.prompt_style)

    def official_name(self, name: str) -> str:
        """What the family's official checkpoint calls a weight of the model."""
        return name

    def official_weights(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """Weights of the model as the family's official checkpoint holds them, one after another."""
        return ((self.official_name(name), weight) for name, weight in weights)

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
        """Pad P prompts on the left and stack their media, on the CPU."""
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
        return PromptBatch(ids, mask, positions, stack_media([prompt.media for prompt in prompts]))

    @cached_property
    def suppressed_V(self) -> Tensor:
        """0 where an id may be answered, -inf on the ids of media and of the chat's frame."""
        bias = torch.zeros(self.model.config.get_text_config().vocab_size, device=self.device)
        bias[list(self.suppressed_ids)] = float("-inf")
        return bias

    @cached_property
    def suppressed_ids(self) -> tuple[int, ...]:
        """The ids of media and of the chat's frame, and those that only pad the embedding table."""
        banned = self.control_ids - {self.tokenizer.eos_token_id}
        banned |= set(self.tokenizer.get_added_vocab().values()) & set(self.placeholder_ids())
        return (*sorted(banned), *range(len(self.tokenizer), self.model.config.get_text_config().vocab_size))

    @cached_property
    def control_ids(self) -> frozenset[int]:
        """Ids of the chat's frame and of media: all that the tokenizer's file declares special, named or not."""
        declared = {ident for ident, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        return frozenset(declared | set(self.tokenizer.all_special_ids))

    @abstractmethod
    def placeholder_ids(self) -> Sequence[int]:
        """Ids that stand for a medium."""

    def picture_ids(self) -> Sequence[int]:
        """Of these the ids of a picture and of a video's frames."""
        config = self.model.config
        return [ident for ident in self.placeholder_ids() if ident in (config.image_token_id, config.video_token_id)]

    def media_span(self, ids_T: Tensor, placeholders: Sequence[int]) -> slice:
        """Of a prompt that has some of these placeholders the ids from the first to the last of them."""
        media = torch.isin(ids_T, ids_T.new_tensor(list(placeholders))).nonzero()[:, 0]
        return slice(int(media[0]), int(media[-1]) + 1)

    def chat_text(self, chat: Sequence[Mapping[str, Any]]) -> str:
        """The text of a chat up to where the assistant's turn begins.

        A template that opens a block of thoughts there (Qwen3's Thinking models) does not get it opened: `<think>` is
        the first that a model writes of its answer, whatever its family, and the prefill of fast thinking closes it.
        """
        text = str(self.processor.apply_chat_template(list(chat), add_generation_prompt=True, tokenize=False))
        return _OPENED_THOUGHTS.sub("", text)

    def text_ids(self, text: str) -> list[int]:
        """The ids of text as it stands, no token added."""
        return cast(list[int], self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of response ids, without the ids that end or pad it."""
        return cast(str, self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def full_inputs(self, batch: PromptBatch, response_ids_BR: Tensor, response_mask_BR: Tensor) -> dict[str, Tensor]:
        """Arguments of a forward over [prompt | response], one row each, that runs the towers too: the plain pass."""
        batch = batch.to(self.device)
        return {
            "input_ids": torch.cat([batch.input_ids_PT, response_ids_BR], dim=1),
            "attention_mask": torch.cat([batch.mask_PT, response_mask_BR], dim=1),
            "position_ids": self.position_argument(
                torch.cat([batch.positions_3PT, next_positions(batch.positions_3PT, response_ids_BR.shape[1])], dim=2)
            ),
            **self.media_arguments(batch),
        }

    def response_logits(self, model: nn.Module, inputs: dict[str, Tensor], num_response: int) -> Tensor:
        """Logits (B, R, V) in float32 that predict each of the last `num_response` ids, suppressed ids at -inf.

        Only those positions pass through the LM head. `model` is the backbone's own or a wrapper of it (DDP, PEFT).
        """
        with head_reads(getattr(model, "module", model), slice(-num_response - 1, None)):
            logits: Tensor = model(**inputs, use_cache=False).logits
        return logits[:, :-1].float() + self.suppressed_V

    @torch.no_grad()
    def generate(
        self,
        encoded: Encoded,
        num_generations: int,
        sampling: Sampling,
        prefill: str = "",
        stop: str = "</answer>",
        num_stops: int = 1,
        stop_after: str = "",
        uniform_BR: Tensor | None = None,
        each: Callable[[Tensor], None] | None = None,
    ) -> Generated:
        """Sample `num_generations` answers for each prompt; copies of a prompt are neighbours in the result.

        All answers read the one cache of their prompt. Sampling continues until every row has written `stop` as often
        as `num_stops` says, or the end token, or `max_new_tokens` are written; a `stop` before `stop_after` does not
        count. With `sampling.end_token` a row goes on for one id behind its last stop. `uniform_BR` are the draws, in
        [0, 1), one for each id; without it they come from torch's global generator. `each` is called with the ids (B,)
        of every step as they are drawn; what it raises ends the sampling. Raises NotFiniteError where the model's
        scores for a row are not numbers.
        """
        padding_PT = encoded.prompts.mask_PT == 0
        bias_PT = torch.zeros(padding_PT.shape, device=self.device).masked_fill(padding_PT, -torch.inf)
        layout = DecodeLayout(encoded.keys, encoded.values, bias_PT)
        decoder = Decoder(self.wrapped_model, self.model, self.position_argument, layout)
        prefill_ids = self.text_ids(prefill)
        decoder.start(encoded, num_generations, len(prefill_ids) + sampling.max_new_tokens)
        logits_BV = encoded.logits_PV.repeat_interleave(num_generations, dim=0)
        rows = len(logits_BV)
        if prefill_ids:
            logits_BV = decoder.step(torch.tensor(prefill_ids, device=self.device).expand(rows, -1))
        if uniform_BR is None:
            uniform_BR = torch.rand(rows, sampling.max_new_tokens, dtype=torch.float64)
        uniform_BR = uniform_BR.to(self.device)
        open_B = torch.ones(rows, dtype=torch.bool, device=self.device)
        sound_B = open_B  # looked at after the last step: to ask a GPU at every step takes time
        ids, kept = [], []
        after = "" if stop_after in prefill else stop_after
        finished = StopText(self.tokenizer, stop, rows, self.device, num_stops, after, sampling.end_token)
        for index in range(sampling.max_new_tokens):
            logits_BV = logits_BV + self.suppressed_V
            sound_B = sound_B & (is_drawable(logits_BV) | ~open_B)
            chosen_B = draw(logits_BV, sampling, uniform_BR[:, index])
            chosen_B = torch.where(open_B, chosen_B, self.tokenizer.pad_token_id)
            ids.append(chosen_B)
            kept.append(open_B)
            if each is not None:
                each(chosen_B)
            open_B = open_B & sound_B & ~finished(chosen_B)
            if index + 1 == sampling.max_new_tokens or not open_B.any():
                break
            logits_BV = decoder.step(chosen_B[:, None])
        if not sound_B.all():
            raise NotFiniteError((~sound_B).nonzero()[:, 0].tolist())
        behind_stop_B = finished.behind_stop_B if sampling.end_token else None
        return Generated(torch.stack(ids, dim=1), torch.stack(kept, dim=1).long(), ~open_B, behind_stop_B)


class _LeftOut(MoeModelOutputWithPast):
    """What a language model that was left out gives: all that a family's model may ask one for."""

    shared_kv_states = None


def _as_read(kept: Sequence[Tensor], config: Any) -> tuple[Tensor, ...]:
    """The cached keys, or values, that every layer reads: its own, else those of the last layer of its kind."""
    behind = range(len(kept), config.num_hidden_layers)
    last = dict(zip(config.layer_types, kept, strict=False)) if behind else {}
    return (*kept, *(last[config.layer_types[number]] for number in behind))


def _deepstack(given: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """What a language model was given to add behind its first layers, laid out as the prompts are: (P, T, D) each."""
    features = given.get("deepstack_visual_embeds")
    if features is None:
        return ()
    embeds_PTD, where_PT1 = given["inputs_embeds"], given["visual_pos_masks"][..., None]
    return tuple(torch.zeros_like(embeds_PTD).masked_scatter(where_PT1, one.to(embeds_PTD.dtype)) for one in features)


def next_positions(positions_3BT: Tensor, num: int) -> Tensor:
    """Positions (3, B, num) of what follows a prompt: they continue from its largest, alike on all axes."""
    first_B = positions_3BT.amax(dim=(0, 2)) + 1
    return (first_B[:, None] + torch.arange(num, device=first_B.device))[None].expand(3, -1, -1)


def chosen_log_probs(logits_BRV: Tensor, ids_BR: Tensor) -> Tensor:
    """log p of each id, (B, R)."""
    return logits_BRV.gather(-1, ids_BR[..., None])[..., 0] - logits_BRV.logsumexp(-1)


def stack_media(media: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Join the media of several prompts along their first axis; on the others what is shorter is padded at its end."""
    joined: dict[str, list[Tensor]] = {}
    for arrays in media:
        for name, value in arrays.items():
            joined.setdefault(name, []).append(value)
    stacked = {}
    for name, values in joined.items():
        sizes = [max(axis) for axis in zip(*(value.shape[1:] for value in values), strict=True)]
        fill = -1 if name.endswith("_position_ids") else 0  # of a patch that is none
        stacked[name] = torch.cat([_padded(value, sizes, fill) for value in values])
    return stacked


def _padded(value: Tensor, sizes: Sequence[int], fill: int) -> Tensor:
    """An array with `fill` at the end of each axis but the first, up to its size."""
    gaps = [size - own for size, own in zip(sizes, value.shape[1:], strict=True)]
    edges = [edge for gap in reversed(gaps) for edge in (0, gap)]
    return nn.functional.pad(value, edges, value=fill) if any(gaps) else value


def join_left(parts: Sequence[Tensor]) -> Tensor:
    """Rows (P, T) of different lengths under each other, padded with 0 on the left."""
    length = max(part.shape[1] for part in parts)
    return torch.cat([nn.functional.pad(part, (length - part.shape[1], 0)) for part in parts])


def pad_right(rows: Sequence[Sequence[int]], fill: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(ids, mask) of shape (B, R) from lists of ids of different lengths."""
    length = max((len(row) for row in rows), default=0)
    ids = torch.full((len(rows), length), fill, dtype=torch.long)
    mask = torch.zeros((len(rows), length), dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[index, : len(row)] = 1
    return ids.to(device), mask.to(device)
