"""A batch answered: both modes, the confidence of every word, and answers that do not depend on their batch."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp

import pytest
import torch

from mer_r1.data.sample import Mode, Prediction
from mer_r1.emotion.wheel import WheelSet
from mer_r1.generation.batch import predict_batch
from mer_r1.models.category_confidence import category_tokens
from mer_r1.models.qwen2_5_omni import OmniBackbone
from mer_r1.models.token_offsets import locate_answer
from mer_r1.models.types import Prompt, Sampling
from mer_r1.prompting.response import parse_response
from tests.media_samples import saying

WHEELS = WheelSet.load("builtin")
GREEDY = Sampling(80, temperature=0.0)
MODES: tuple[Mode, ...] = ("fast", "slow")
PREFILL = "<think></think><answer>"


def _predict(backbone: OmniBackbone, prompts: Sequence[Prompt], mode: Mode, batch_size: int = 64) -> list[Prediction]:
    tokens = category_tokens(backbone, WHEELS)
    batches = [
        [prompts[index] for index in range(start, min(start + batch_size, len(prompts)))]
        for start in range(0, len(prompts), batch_size)
    ]
    return [row for batch in batches for row in predict_batch(backbone, batch, mode, GREEDY, tokens, WHEELS)]


def test_fast_answers_start_with_the_prefill_and_slow_ones_think(
    taught: OmniBackbone, prompts: Sequence[Prompt]
) -> None:
    fast, slow = (_predict(taught, prompts, mode) for mode in MODES)
    assert all(made.raw.startswith(PREFILL) and made.reasoning == "" for made in fast)
    assert sum(made.status == "ok" and made.reasoning != "" for made in slow) >= len(slow) / 2
    assert sum(made.status == "ok" for made in fast) >= len(fast) / 2


@pytest.mark.parametrize("mode", MODES)
def test_a_prediction_is_its_raw_text_parsed_with_the_facts_of_its_clip(
    taught: OmniBackbone, prompts: Sequence[Prompt], mode: Mode
) -> None:
    for prompt, made in zip(prompts, _predict(taught, prompts, mode), strict=True):
        parsed = parse_response(made.raw)
        assert (made.id, made.mode, made.media) == (prompt.id, mode, prompt.facts)
        assert (made.labels, made.reasoning, made.status) == (parsed.labels, parsed.reasoning, parsed.status)


@pytest.mark.parametrize("mode", MODES)
def test_every_word_that_a_wheel_knows_has_a_confidence_and_every_category_of_every_wheel(
    taught: OmniBackbone, prompts: Sequence[Prompt], mode: Mode
) -> None:
    answered = [made for made in _predict(taught, prompts, mode) if made.labels]
    assert answered
    for made in answered:
        assert made.confidence is not None
        assert set(made.confidence) == {word for word in made.labels if any(WHEELS.map_set([word]))}
        assert all(0 < share <= 1 for share in made.confidence.values())
        for categories in (made.categories, made.categories_first):
            assert categories is not None
            assert tuple(categories) == WHEELS.names
            for wheel, names in zip(WHEELS.names, WHEELS.categories_of, strict=True):
                assert tuple(categories[wheel]) == names
                assert all(value <= 1e-5 for value in categories[wheel].values())


def test_confidence_is_the_probability_of_a_words_categories_at_its_first_token(
    taught: OmniBackbone, prompts: Sequence[Prompt]
) -> None:
    """By hand: one prompt, one pass over the prefill and the answer."""
    tokens = category_tokens(taught, WHEELS)
    for mode in MODES:
        made = next(p for p in _predict(taught, prompts, mode) if p.status == "ok" and p.confidence)
        prompt = next(p for p in prompts if p.id == made.id)
        ids = taught.text_ids(made.raw)
        found = locate_answer(taught, ids)
        assert found
        whole = torch.tensor([ids])
        inputs = taught.full_inputs(taught.collate([prompt]), whole, torch.ones_like(whole))
        with torch.no_grad():
            log_p = taught.response_logits(taught.model, inputs, len(ids))[0].log_softmax(-1)
        conf = tokens.log_confidence(log_p[list(found.anchors)])
        for word, row in zip(found.words, conf, strict=True):
            homes = [tokens.column(w, c) for w, ids in enumerate(WHEELS.lookup(word) or ()) for c in ids]
            if homes:
                assert made.confidence is not None
                expected = sum(exp(float(row[home])) for home in homes) / len(homes)
                assert made.confidence[word] == pytest.approx(min(1.0, expected), abs=1e-4)
        first = WHEELS.categories_of[0][0]
        assert made.categories is not None
        assert made.categories_first is not None
        assert made.categories["w1"][first] == pytest.approx(float(conf[:, 0].mean()), abs=1e-3)
        assert made.categories_first["w1"][first] == pytest.approx(float(conf[0, 0]), abs=1e-3)
        several = next(p for p in _predict(taught, prompts, mode) if p.status == "ok" and len(p.labels) > 1)
        assert several.categories != several.categories_first


@pytest.mark.parametrize("mode", MODES)
def test_greedy_answers_are_always_the_same_in_any_company(
    taught: OmniBackbone, prompts: Sequence[Prompt], mode: Mode
) -> None:
    together = _predict(taught, prompts, mode)
    assert _predict(taught, prompts, mode) == together
    for batch_size in (1, 3):
        for one, other in zip(_predict(taught, prompts, mode, batch_size), together, strict=True):
            assert (one.id, one.raw) == (other.id, other.raw)
            assert (one.confidence or {}) == pytest.approx(other.confidence or {}, abs=1e-4)
            if one.categories and other.categories:
                for wheel in WHEELS.names:
                    assert one.categories[wheel] == pytest.approx(other.categories[wheel], abs=1e-3)


def test_nothing_asked_is_nothing_answered(taught: OmniBackbone) -> None:
    assert _predict(taught, [], "slow") == []


@pytest.mark.parametrize("text", ["no tag at all", "<think>never closed", "<think>a</think><answer></answer>"])
def test_an_answer_without_a_word_is_a_status_without_confidence(
    tiny: OmniBackbone, prompts: Sequence[Prompt], text: str
) -> None:
    with saying([[*tiny.text_ids(text), tiny.tokenizer.eos_token_id]]):
        (made,) = _predict(tiny, prompts[:1], "slow")
    assert (made.raw, made.labels, made.confidence) == (text, (), None)
    assert made.categories is made.categories_first is None
    assert made.status == parse_response(text).status != "ok"


def test_words_that_no_wheel_knows_have_no_confidence_of_their_own(
    tiny: OmniBackbone, prompts: Sequence[Prompt]
) -> None:
    with saying([tiny.text_ids("zzz, happy</answer>")]):
        (made,) = _predict(tiny, prompts[:1], "fast")
    assert made.labels == ("zzz", "happy")
    assert made.confidence is not None
    assert set(made.confidence) == {"happy"}
