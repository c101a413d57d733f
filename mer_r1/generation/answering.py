"""Asking a model: prompts in, predictions out, in either mode, with the confidence of every word.

Slow lets the model write its whole response. Fast opens the assistant's turn with the response format's prefill, so
that the answer comes at once (MER-R1 Section 3.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from mer_r1.data.sample import Mode, Prediction
from mer_r1.emotion.wheel import WheelSet
from mer_r1.models.backbone import Backbone
from mer_r1.models.category_confidence import CategoryTokens, category_tokens
from mer_r1.models.packing import Branch, group_pass, pack
from mer_r1.models.token_offsets import locate_answer
from mer_r1.models.types import Prompt, Sampling
from mer_r1.prompting.response import parse_response


def answer(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    mode: Mode,
    sampling: Sampling,
    wheels: WheelSet,
    batch_size: int = 64,
) -> Iterator[Prediction]:
    """Ask about every prompt, in order; see Prediction for what its confidences mean."""
    tokens = category_tokens(backbone, wheels)
    for start in range(0, len(prompts), batch_size):
        batch = [prompts[i] for i in range(start, min(start + batch_size, len(prompts)))]
        yield from answer_batch(backbone, batch, mode, sampling, tokens, wheels)


@torch.no_grad()
def answer_batch(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    mode: Mode,
    sampling: Sampling,
    tokens: CategoryTokens,
    wheels: WheelSet,
) -> list[Prediction]:
    """Ask about one batch; `tokens` are those of `wheels`."""
    response_format = backbone.response_format
    prefill = response_format.prefill(mode)
    encoded = backbone.encode(backbone.collate(prompts))
    made = backbone.generate(
        encoded, 1, sampling, prefill, response_format.stop, response_format.stops(mode), response_format.stop_after
    )
    prefill_ids = backbone.text_ids(prefill)
    rows = [
        [*prefill_ids, *ids[: int(mask.sum())]] for ids, mask in zip(made.ids_BR.tolist(), made.mask_BR, strict=True)
    ]
    found = {
        index: answer for index, row in enumerate(rows) if (answer := locate_answer(backbone, row, response_format))
    }
    branches = [
        Branch(index, tuple(row), found[index].anchors, tuple(row[anchor] for anchor in found[index].anchors))
        if index in found
        else Branch(index, tuple(row))
        for index, row in enumerate(rows)
    ]
    packed = pack(encoded.prompts, branches)
    read = iter(group_pass(backbone, backbone.wrapped_model, packed, encoded, tokens=tokens).confidences)
    results = []
    for index, (prompt, row) in enumerate(zip(prompts, rows, strict=True)):
        text = backbone.decode(row)
        response = parse_response(text, response_format.name)
        confidence, categories = None, None
        if index in found:
            conf_AC = next(read).category_AC
            confidence = _word_confidence(found[index].words, conf_AC, tokens, wheels)
            categories = _by_wheel(conf_AC.mean(0).tolist(), tokens, wheels)
        results.append(
            Prediction(
                id=prompt.id,
                mode=mode,
                raw=text,
                reasoning=response.reasoning,
                labels=response.labels,
                status=response.status,
                media=prompt.facts,
                confidence=confidence,
                categories=categories,
            )
        )
    return results


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
