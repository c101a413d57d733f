"""A language model as a backbone: any causal one of transformers, which reads a sample's subtitle and nothing else.

It is trained and sampled as the other families are, and answers samples. A model that answers free prompts, as a
judge's, is text_model.py.

A prompt is one chat of the tokenizer's template, the prompt template's system text and question around the subtitle. A
template that takes no system turn gets that text at the head of the user's, and a tokenizer without template the text
as it stands. What a model writes of its thoughts is part of its answer, so a template's own thinking switch is left
alone. Positions count from 0, the same on all three axes, of which the model takes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mer_r1.data.sample import Clip, MediaFacts, Sample
from mer_r1.errors import InputError
from mer_r1.media import MediaBudget
from mer_r1.models.backbone import Backbone
from mer_r1.models.checkpoint import CAUSAL_FIX, read_parts, settings_of
from mer_r1.models.group_attention import GroupLayout
from mer_r1.models.packing import Branch, pack, uncapped
from mer_r1.models.types import ChatPrompt, Prompt, PromptBatch


@dataclass
class CausalLMBackbone(Backbone):
    """A causal language model; its processor is its tokenizer."""

    reads = "subtitle"

    @property
    def tokenizer(self) -> Any:
        return self.processor

    @property
    def num_position_axes(self) -> int:
        return 1

    def placeholder_ids(self) -> Sequence[int]:
        return ()

    def towers(self) -> Sequence[Any]:
        return ()

    def prepare(self, sample: Sample, clip: Clip) -> Prompt:
        """One sample's subtitle as ids and positions. `clip` is not read, and the facts say that nothing was seen.

        Raises InputError, naming the sample, where there is no subtitle.
        """
        ids_T = torch.tensor(self._ids(sample), dtype=torch.long)
        return Prompt(sample.id, ids_T, torch.arange(len(ids_T)).expand(3, -1), {}, MediaFacts())

    def chat_prompt(self, sample: Sample, clip: Clip) -> ChatPrompt:
        """One sample's subtitle as ids. Raises InputError as `prepare` does."""
        ids = self._ids(sample)
        return ChatPrompt(sample.id, ids, ids, MediaFacts())

    def _ids(self, sample: Sample) -> list[int]:
        subtitle, candidates = self.texts_of(sample)
        if not (subtitle and subtitle.strip()):
            raise InputError(
                f"sample {sample.id}: no subtitle, and this model can only read; "
                "give a subtitle, or take a model that sees and hears (Qwen2.5-Omni)"
            )
        template = self.template
        user = template.text(subtitle, candidates)
        whole = f"{template.system}\n{user}" if template.system else user
        if not self.tokenizer.chat_template:
            return list(self.tokenizer(f"{whole}\n")["input_ids"])
        turns = [("system", template.system), ("user", user)] if template.system else [("user", user)]
        return self.text_ids(self._chat(turns) or self._chat([("user", whole)], must=True))

    def _chat(self, turns: Sequence[tuple[str, str]], must: bool = False) -> str:
        """The template's text of a chat; "" where the template does not take it, unless it `must` take it."""
        from jinja2 import TemplateError

        chat = [{"role": role, "content": text} for role, text in turns]
        try:
            return self.chat_text(chat)
        except TemplateError:
            if must:
                raise
            return ""


def load_causal_lm(
    source: str, budget: MediaBudget | None = None, prompt_style: str | None = None, weights: bool = True
) -> CausalLMBackbone:
    """Load a causal language model from a folder or a Hub id, with the settings saved beside it or the given ones.

    Without `weights` its model is on the meta device, enough to make prompts and to read answers.

    Raises InputError for a folder that is no whole checkpoint of this kind, a Hub id that cannot be loaded, a model
    whose table of embeddings is smaller than its vocabulary, and one whose answers cannot share their prompt.
    """
    shown_as = settings_of(source, budget, prompt_style)
    import transformers

    classes = transformers.AutoModelForCausalLM, transformers.AutoTokenizer
    model, tokenizer = read_parts(source, "causal language model", CAUSAL_FIX, *classes, "auto", weights)
    if not getattr(model, "_supports_attention_backend", False):
        raise InputError(
            f"{source}: the attention of a model of kind {model.config.model_type!r} cannot be exchanged, which is "
            f"needed to read a prompt once for all its answers; {CAUSAL_FIX}"
        )
    num_embeddings = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > num_embeddings:
        raise InputError(
            f"{source}: its tokenizer has {len(tokenizer)} tokens and its model embeds {num_embeddings}; "
            "copy both from one checkpoint"
        )
    if tokenizer.eos_token_id is None:
        raise InputError(f"{source}: its tokenizer names no end token (eos_token); name it in tokenizer_config.json")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked, so any will do
    backbone = CausalLMBackbone(model, tokenizer, *shown_as)
    if weights:
        try:
            _require_shareable(backbone)
        except InputError as error:
            raise InputError(f"{source}: {error}; {CAUSAL_FIX}") from None
    return backbone


class _Windows(GroupLayout):
    """A layout that notes the window of each layer that attends by it."""

    def __init__(self, layout: GroupLayout) -> None:
        super().__init__(layout.prompts, layout.answers, layout.size)
        self.seen: list[int | None] = []

    def attend(self, *args: Any) -> Tensor:
        self.seen.append(args[-1])
        return super().attend(*args)


@torch.no_grad()
def _require_shareable(backbone: CausalLMBackbone) -> None:
    """Raises InputError for a model that answers otherwise behind a shared prompt than alone.

    A packed pass over a few ids: attention that is another than a layout's says so (group_attention.py). Every layer
    must attend by it, in the window that the configuration names: others mix ids in ways of their own. What a model
    does to its logits behind the head it would do to log-probabilities (packing.py), but for a cap, which is known.
    """
    config, end = backbone.language_model.config, backbone.tokenizer.eos_token_id
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * config.num_hidden_layers
    if other := sorted({*kinds} - {"full_attention", "sliding_attention"}):
        raise InputError(f"its layers of kind {', '.join(other)} cannot share a prompt between answers")
    ids_12 = torch.full((1, 2), end, device=backbone.device)
    prompt = PromptBatch(ids_12, torch.ones_like(ids_12), torch.arange(2).expand(3, 1, -1).to(backbone.device), {})
    packed = pack(prompt, [Branch(0, (end, end))])
    layout, made = _Windows(packed.layout), list[Tensor]()
    handle = backbone.model.get_output_embeddings().register_forward_hook(lambda _, __, logits: made.append(logits))
    try:
        with uncapped(backbone.model):
            arguments = packed.arguments(backbone) | {"layout": layout}
            logits = backbone.model(**arguments, use_cache=False).logits
    finally:
        handle.remove()
    if layout.seen != [window if kind == "sliding_attention" else None for kind in kinds]:
        raise InputError("its layers do not attend in the windows that its configuration names")
    if not torch.allclose(logits, made[0].to(logits.dtype), rtol=0, atol=0, equal_nan=True):
        raise InputError("it scales its logits behind the head, where log-probabilities are read")
