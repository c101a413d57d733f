"""Confidence at the words of an answer that a vLLM server gave, read over HTTP with `logprob_token_ids`.

The server gives the log-probabilities of at most MOST_IDS chosen ids beside every id that it writes. So the answer is
written once more, greedily and behind what it stood behind, as many times as it takes to ask for all ids that open the
words of categories, and for all that are suppressed, whose mass is taken out. What comes back is held against the ids
of the answer: where the server writes another one (a tie that falls differently in another batch), what it gave up to
there is right, and it is asked again from behind that place.

Shape letters: A anchors, N ids that are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import torch

from mer_r1.emotion.wheel import WheelSet
from mer_r1.generation.batch import confidence_fields
from mer_r1.generation.endpoint import Ask
from mer_r1.generation.engine_confidence import confidence_of
from mer_r1.models.backbone import Backbone
from mer_r1.models.category_confidence import CategoryTokens, category_tokens
from mer_r1.models.loading import load_backbone
from mer_r1.models.token_offsets import locate_answer
from mer_r1.prompting.response import ResponseFormat

MOST_IDS = 128


class _Reader(NamedTuple):
    """A model without its weights, its wheels, and the ids that are asked for."""

    backbone: Backbone
    wheels: WheelSet
    tokens: CategoryTokens
    ids_N: list[int]


class ServedConfidence:
    """Reads the confidence of answers of the model in `folder`. Safe for threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tokenizing = Lock()  # tokenizers are not for several threads at once

    def read(
        self, token_ids: Sequence[int], prefill: str, response_format: ResponseFormat, ask: Ask
    ) -> Mapping[str, Any]:
        """`confidence`, `categories` and `categories_first` of the answer whose ids behind the prefill these are.

        Nothing where the answer holds no word, or where its words stand behind ids that no text gives back. Raises
        KeyError, TypeError or IndexError where the server does not give the log-probabilities of chosen ids.
        """
        with self._tokenizing:
            backbone, wheels, tokens, ids_N = self._reader
            prefill_ids = backbone.text_ids(prefill)
            row = [*prefill_ids, *token_ids]
            answer = locate_answer(backbone, row, response_format)
        if answer is None:
            return {}
        at = answer.start if self._text_of(row[: answer.start]) is not None else len(prefill_ids)
        found: dict[int, dict[int, float]] = {anchor: {} for anchor in answer.anchors}
        while at <= max(answer.anchors):
            text = self._text_of(row[:at])
            if text is None:
                return {}
            replies = [
                self._reply(ask, text, row[at : max(answer.anchors) + 1], ids_N[first : first + MOST_IDS])
                for first in range(0, len(ids_N), MOST_IDS)
            ]
            read = min(map(len, replies))
            for reply in replies:
                for place in found.keys() & set(range(at, at + read)):
                    found[place] |= reply[place - at]
            at += read
        found_AN = torch.tensor([[found[anchor][ident] for ident in ids_N] for anchor in answer.anchors])
        conf_AC = confidence_of(found_AN, torch.tensor(ids_N), tokens, backbone.suppressed_V)
        return confidence_fields(answer, conf_AC, tokens, wheels)

    @cached_property
    def _reader(self) -> _Reader:
        backbone = load_backbone(str(self._folder), weights=False)
        wheels = WheelSet.load(protocol="corrected")  # as LocalGenerator's
        tokens = category_tokens(backbone, wheels)
        return _Reader(backbone, wheels, tokens, sorted({*tokens.ids_N.tolist(), *backbone.suppressed_ids}))

    def _text_of(self, ids: Sequence[int]) -> str | None:
        """The text that is read as these ids; None where another would be."""
        with self._tokenizing:
            backbone = self._reader.backbone
            text = backbone.decode(ids)
            return text if backbone.text_ids(text) == list(ids) else None

    def _reply(self, ask: Ask, text: str, wanted: Sequence[int], ids: Sequence[int]) -> list[dict[int, float]]:
        """The log-probabilities of `ids` at each place of `wanted`, up to the first where another id was written."""
        choice = ask(
            text,
            {
                "max_tokens": len(wanted),
                "logprobs": True,
                "logprob_token_ids": list(ids),
                "return_tokens_as_token_ids": True,
                "return_token_ids": True,
            },
        )["choices"][0]
        read = []
        for place, ident, wanted_ident in zip(choice["logprobs"]["content"], choice["token_ids"], wanted, strict=False):
            given = {int(top["token"].removeprefix("token_id:")): top["logprob"] for top in place["top_logprobs"]}
            read.append({asked: given[asked] for asked in ids})
            if ident != wanted_ident:
                break
        if not read:
            raise KeyError("token_ids")
        return read


@lru_cache(maxsize=1)
def served_confidence(folder: Path) -> ServedConfidence:
    """The reader of a folder, which is loaded when it is first asked, and once for all prompts."""
    return ServedConfidence(folder)
