"""One batch of prompts answered by a model on this machine, in either mode, with the confidence of every word.

Slow lets the model write its whole response. Fast opens the assistant's turn with the response format's prefill, so
that the answer comes at once (MER-R1 Section 3.1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch

from mer_r1.data.sample import Mode, Prediction
from mer_r1.emotion.wheel import WheelSet
from mer_r1.models.backbone import Backbone
from mer_r1.models.category_confidence import CategoryTokens
from mer_r1.models.packing import Branch, group_pass, pack
from mer_r1.models.quantization import quantization_of
from mer_r1.models.token_offsets import LocatedAnswer, locate_answer
from mer_r1.models.types import ChatPrompt, Encoded, Prompt, Sampling
from mer_r1.prompting.response import parse_response


@torch.no_grad()
def predict_batch(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    mode: Mode,
    sampling: Sampling,
    tokens: CategoryTokens,
    wheels: WheelSet,
    wrote: Callable[[str], None] | None = None,
) -> list[Prediction]:
    """The prediction of every prompt; see Prediction for what its confidences mean. `tokens` are those of `wheels`.

    `wrote` is called, for one prompt alone, with the text so far whenever the model has written an id.
    """
    response_format = backbone.response_format
    encoded = backbone.encode(backbone.collate(prompts))
    assert wrote is None or len(prompts) == 1, "a text so far is one prompt's"
    rows = _response_ids(backbone, encoded, mode, sampling, wrote)
    answers = [locate_answer(backbone, row, response_format) for row in rows]
    branches = [
        Branch(index, tuple(row))
        if answer is None
        else Branch(index, tuple(row), answer.anchors, tuple(row[anchor] for anchor in answer.anchors))
        for index, (row, answer) in enumerate(zip(rows, answers, strict=True))
    ]
    packed = pack(encoded.prompts, branches)
    confidences = iter(group_pass(backbone, backbone.wrapped_model, packed, encoded, tokens=tokens).confidences)
    predictions = []
    for prompt, row, answer in zip(prompts, rows, answers, strict=True):
        read = None if answer is None else (answer, next(confidences).category_AC)
        predictions.append(prediction_of(backbone, prompt, mode, row, read, tokens, wheels))
    return predictions


def settings_of_answers(engine: str, backbone: Backbone, weights: str, max_new_tokens: int) -> dict[str, Any]:
    """What decides the answers of a checkpoint on this machine; `weights` is a fingerprint of its weights."""
    return {
        "engine": engine,
        "model": {
            "quantization": quantization_of(backbone.model),
            "weights": weights,
            "kind": type(backbone).__name__,
        },
        "prompt": backbone.template.settings,
        "budget": asdict(backbone.budget),
        "max_new_tokens": max_new_tokens,
        "temperature": 0.0,
    }


def prediction_of(
    backbone: Backbone,
    prompt: Prompt | ChatPrompt,
    mode: Mode,
    row: Sequence[int],
    read: tuple[LocatedAnswer, torch.Tensor] | None,
    tokens: CategoryTokens,
    wheels: WheelSet,
) -> Prediction:
    """The prediction of a response's ids, prefill included.

    `read` are the answer and conf(c) at its anchors, (A, C); None where there is none.
    """
    text = backbone.decode(row)
    response = parse_response(text, backbone.response_format.name)
    return Prediction(
        prompt.id,
        mode,
        text,
        response.reasoning,
        response.labels,
        response.status,
        media=prompt.facts,
        **({} if read is None else confidence_fields(*read, tokens, wheels)),
    )


def confidence_fields(
    answer: LocatedAnswer, conf_AC: torch.Tensor, tokens: CategoryTokens, wheels: WheelSet
) -> dict[str, Any]:
    """What a prediction says of confidence, by its names: `confidence`, `categories` and `categories_first`."""
    mean, first = (_by_wheel(conf_C.tolist(), tokens, wheels) for conf_C in (conf_AC.mean(0), conf_AC[0]))
    words = _word_confidence(answer.words, conf_AC, tokens, wheels)
    return {"confidence": words, "categories": mean, "categories_first": first}


def _response_ids(
    backbone: Backbone, encoded: Encoded, mode: Mode, sampling: Sampling, wrote: Callable[[str], None] | None
) -> list[list[int]]:
    """One response of every prompt, its prefill in front."""
    form = backbone.response_format
    prefill = form.prefill(mode)
    prefill_ids = backbone.text_ids(prefill)
    each = None if wrote is None else _text_so_far(backbone, prefill_ids, wrote)
    made = backbone.generate(encoded, 1, sampling, prefill, form.stop, form.stops(mode), form.stop_after, each=each)
    return [[*prefill_ids, *ids] for ids in made.rows()]


def _text_so_far(
    backbone: Backbone, prefill_ids: Sequence[int], wrote: Callable[[str], None]
) -> Callable[[torch.Tensor], None]:
    """Hands on the text of one answer, prefill included; half of a character waits for its other half."""
    ids = [*prefill_ids]

    def each(ids_B: torch.Tensor) -> None:
        ids.append(int(ids_B[0]))
        wrote(backbone.decode(ids).rstrip("\N{REPLACEMENT CHARACTER}"))

    return each


def _by_wheel(conf_C: Sequence[float], tokens: CategoryTokens, wheels: WheelSet) -> dict[str, dict[str, float]]:
    return {
        wheel: {category: round(conf_C[tokens.column(w, c)], 5) for c, category in enumerate(wheels.categories_of[w])}
        for w, wheel in enumerate(wheels.names)
    }


def _word_confidence(
    words: Sequence[str], conf_AC: torch.Tensor, tokens: CategoryTokens, wheels: WheelSet
) -> dict[str, float]:
    """Probability mass of a word's category at its first token, averaged over the wheels that know it."""
    confidence: dict[str, float] = {}
    for word, row in zip(words, conf_AC.exp().tolist(), strict=True):
        columns = tokens.columns(word, wheels)
        if columns and word not in confidence:
            confidence[word] = round(min(1.0, sum(row[column] for column in columns) / len(columns)), 5)
    return confidence
