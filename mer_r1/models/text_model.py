"""A local language model that answers free prompts in text: any causal one of transformers, a folder or a Hub id.

For evaluation, which reads an answer's sentiment from other models' texts; the backbone that answers samples and is
trained is causal_lm.py. Convention: greedy unless a temperature is given, without the sampling settings or penalties
that come with a checkpoint, so that a prompt has one answer; sampled answers follow from a fixed seed and the batch. A
prompt is one user turn of the tokenizer's chat template. A tokenizer without template gets the prompt as it is; such a
model continues with more lines of the prompt's kind, so its answer is its first line. Prompts are padded on the left,
and positions count from a prompt's own first token: in float32 a prompt has the same answer alone and in a batch (in
bfloat16 a near tie may fall otherwise).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mer_r1.errors import InputError
from mer_r1.models.checkpoint import CAUSAL_FIX, folder_kind, read_parts, require_source
from mer_r1.models.decoding import NotFiniteError, is_drawable


@dataclass(frozen=True)
class TextModel:
    """A causal language model in evaluation mode, and its tokenizer."""

    model: Any
    tokenizer: Any

    @classmethod
    def load(cls, source: str) -> TextModel:
        """Load a folder or a Hub id: bfloat16 on a GPU where there is one, else float32.

        Raises InputError for a folder without a whole causal language model, and for a Hub id that cannot be loaded.
        """
        require_source(source, CAUSAL_FIX)
        if Path(source).exists():
            folder_kind(Path(source), CAUSAL_FIX)
        import transformers

        cuda = torch.cuda.is_available()
        classes = transformers.AutoModelForCausalLM, transformers.AutoTokenizer
        dtype = torch.bfloat16 if cuda else torch.float32
        model, tokenizer = read_parts(source, "causal language model", CAUSAL_FIX, *classes, dtype)
        model.generation_config = transformers.GenerationConfig(
            do_sample=False,
            eos_token_id=model.generation_config.eos_token_id or tokenizer.eos_token_id,
            pad_token_id=_pad_id(tokenizer),
        )
        return cls(model.to("cuda" if cuda else "cpu"), tokenizer)

    def answer(
        self,
        prompts: Sequence[str],
        max_new_tokens: int = 8,
        batch_size: int = 32,
        *,
        temperature: float = 0.0,
        top_p: float | None = None,
    ) -> list[str]:
        """The answers to the prompts, in order, without white space around it; at most `max_new_tokens` tokens long.

        Raises InputError where the model's scores are not numbers.
        """
        how: dict[str, Any] = {"max_new_tokens": max_new_tokens, "logits_processor": [_checked]}
        if temperature > 0:
            how |= {"do_sample": True, "temperature": temperature, "top_p": 1.0 if top_p is None else top_p, "top_k": 0}
        answers: list[str] = []
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for start in range(0, len(prompts), batch_size):
                try:
                    answers += self._answer(prompts[start : start + batch_size], how)
                except NotFiniteError as error:
                    raise InputError(f"{self.model.name_or_path}: {error}") from None
        return answers

    @torch.inference_mode()
    def _answer(self, prompts: Sequence[str], how: dict[str, Any]) -> Iterator[str]:
        rows = [self._ids(prompt) for prompt in prompts]
        length = max(map(len, rows))
        ids = torch.full((len(rows), length), _pad_id(self.tokenizer))
        mask = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, length - len(row) :] = torch.tensor(row)
            mask[number, length - len(row) :] = 1
        device = self.model.device
        made = self.model.generate(ids.to(device), attention_mask=mask.to(device), **how)
        texts = self.tokenizer.batch_decode(made[:, length:], skip_special_tokens=True)
        if self.tokenizer.chat_template:
            return (text.strip() for text in texts)
        return (text.strip().partition("\n")[0].strip() for text in texts)

    def _ids(self, prompt: str) -> list[int]:
        """A prompt as the model reads it. Half a surrogate pair, which no tokenizer takes, becomes a question mark."""
        text = prompt.encode("utf-8", "replace").decode("utf-8")
        if not self.tokenizer.chat_template:
            return list(self.tokenizer(text)["input_ids"])
        chat = [{"role": "user", "content": text}]
        # Models that can think before they answer are told not to; templates of others do not read it.
        whole = self.tokenizer.apply_chat_template(
            chat, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        return list(self.tokenizer(whole, add_special_tokens=False)["input_ids"])


def _checked(_: torch.Tensor, logits_BV: torch.Tensor) -> torch.Tensor:
    """The logits as they are. Raises NotFiniteError where there is nothing to choose from."""
    sound_B = is_drawable(logits_BV)
    if not sound_B.all():
        raise NotFiniteError((~sound_B).nonzero()[:, 0].tolist())
    return logits_BV


def _pad_id(tokenizer: Any) -> int:
    """Any id will do, for it is masked."""
    return int(next(id for id in (tokenizer.pad_token_id, tokenizer.eos_token_id, 0) if id is not None))
