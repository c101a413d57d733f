"""Rollouts: the evaluator's own rewards, and a fast side that equals asking fast directly."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

import pytest
import torch
from torch import Tensor

from mer_r1.emotion.wheel import WheelSet
from mer_r1.models.backbone import Encoded, Generated, Prompt, Sampling, pad_right
from mer_r1.models.omni import OmniBackbone
from mer_r1.response import PROFILES, parse_response
from mer_r1.rewards import score_response
from mer_r1.rl.advantages import REWARDS
from mer_r1.rl.calibration import CategoryTokens, calibration_rewards, category_tokens, locate_answer
from mer_r1.rl.rollouts import RolloutBatch, as_rows, calibration_pairs, make_rollouts, score_rollouts
from mer_r1.sample import Sample

WHEELS = WheelSet.load("builtin")
TEXTS = (
    "<think>A smile.</think><answer>happy, sad</answer>",
    "<think>A loud voice, a frown.</think><answer>angry, furious, blurry</answer>",
    "<think>Nothing to say.</think><answer></answer>",
    "<think>never closed",
    "<answer>calm</answer>",
    "<think></think><answer>shocked, scared, proud, annoyed</answer>",
)
GOLD = (("happy", "joyful"), ("angry", "sad"))
PREFILL = PROFILES["think_answer"].fast_prefill


def _batch(backbone: OmniBackbone, encoded: Encoded, texts: Sequence[str]) -> RolloutBatch:
    """Rollouts of two groups that say `texts`, and end."""
    end = backbone.tokenizer.eos_token_id
    rows = [[*backbone.text_ids(text), end] for text in texts]
    ids, mask = pad_right(rows, backbone.tokenizer.pad_token_id, backbone.device)
    return RolloutBatch(
        repeated=encoded.repeat(len(texts) // 2),
        generated=Generated(ids, mask),
        rows=rows,
        texts=list(texts),
        responses=[parse_response(text) for text in texts],
        golds=[labels for labels in GOLD for _ in range(len(texts) // 2)],
    )


def _logits(backbone: OmniBackbone, encoded: Encoded, rows: Sequence[Sequence[int]]) -> Tensor:
    ids, mask = pad_right(rows, backbone.tokenizer.pad_token_id, backbone.device)
    with torch.no_grad():
        return backbone.response_logits(backbone.model, backbone.score_inputs(encoded, ids, mask), ids.shape[1])


@pytest.fixture(scope="module")
def encoded(tiny: OmniBackbone, prompts: Sequence[Prompt]) -> Encoded:
    return tiny.encode(tiny.collate(prompts[:2]))


@pytest.fixture(scope="module")
def tokens(tiny: OmniBackbone) -> CategoryTokens:
    return category_tokens(tiny, WHEELS)


def test_recall_precision_f1_and_format_are_the_evaluators_numbers(tiny: OmniBackbone, encoded: Encoded) -> None:
    batch = _batch(tiny, encoded, TEXTS)
    rewards = score_rollouts(tiny, batch, _logits(tiny, batch.repeated, batch.rows), 3, WHEELS, None)
    assert rewards.shape == (2, 3, len(REWARDS))
    for index, text in enumerate(TEXTS):
        score = score_response(parse_response(text), GOLD[index // 3], WHEELS)
        expected = [score.recall, score.precision, score.f1, score.format]
        assert rewards[divmod(index, 3)].tolist()[:4] == pytest.approx(expected)
    assert rewards[..., 4:].isnan().all()  # no token table, no fast pass


def test_the_gold_answer_earns_every_reward(tiny: OmniBackbone, encoded: Encoded) -> None:
    texts = [f"<think>So.</think><answer>{', '.join(labels)}</answer>" for labels in GOLD]
    batch = _batch(tiny, encoded, texts)
    rewards = score_rollouts(tiny, batch, _logits(tiny, batch.repeated, batch.rows), 1, WHEELS, None)
    assert rewards[..., :4].eq(1).all()


def _alone(backbone: OmniBackbone, encoded: Encoded, ids: list[int], anchors: Sequence[int]) -> Tensor:
    """log p (A, V) at the anchors of one response after one prompt, nothing padded."""
    return _logits(backbone, encoded, [ids])[0, list(anchors)].log_softmax(-1)


def test_calibration_rewards_are_those_of_asking_slow_and_fast_one_by_one(
    tiny: OmniBackbone, prompts: Sequence[Prompt], encoded: Encoded, tokens: CategoryTokens
) -> None:
    """The fast context is written here as a person would: prompt, prefill, the answer's text."""
    batch = _batch(tiny, encoded, TEXTS)
    pairs = calibration_pairs(tiny, batch, _logits(tiny, batch.repeated, batch.rows), WHEELS, tokens)
    answered = 0
    for index, (text, pair) in enumerate(zip(TEXTS, pairs, strict=True)):
        words = parse_response(text).labels
        if not words:
            assert all(isnan(value) for value in pair)
            continue
        answered += 1
        single = tiny.encode(tiny.collate([prompts[index // 3]]))
        slow_ids, fast_ids = tiny.text_ids(text), tiny.text_ids(PREFILL + text[text.rindex("<answer>") + 8 :])
        slow_at, fast_at = [
            len(tiny.text_ids(whole[: whole.rindex("<answer>") + 8])) for whole in (text, tiny.decode(fast_ids))
        ]
        located = locate_answer(tiny, slow_ids)
        assert located
        assert located.anchors[0] == slow_at
        steps = [anchor - slow_at for anchor in located.anchors]
        expected = calibration_rewards(
            words,
            tokens.log_confidence(_alone(tiny, single, slow_ids, [slow_at + step for step in steps])),
            tokens.log_confidence(_alone(tiny, single, fast_ids, [fast_at + step for step in steps])),
            WHEELS.map_set(GOLD[index // 3]),
            tokens,
            WHEELS,
        )
        assert pair == pytest.approx(expected, abs=1e-4, nan_ok=True)
        assert not all(isnan(value) for value in pair)
    assert answered == 4


def test_an_answer_without_thought_has_no_gap(tiny: OmniBackbone, encoded: Encoded, tokens: CategoryTokens) -> None:
    """Its slow context is the fast one."""
    batch = _batch(tiny, encoded, TEXTS[4:])
    pairs = calibration_pairs(tiny, batch, _logits(tiny, batch.repeated, batch.rows), WHEELS, tokens)
    assert all(isnan(value) or abs(value) < 1e-4 for value in pairs[1])
    assert any(abs(value) > 1e-4 for value in pairs[0] if not isnan(value))


def test_calibration_leaves_no_gradient(tiny: OmniBackbone, encoded: Encoded, tokens: CategoryTokens) -> None:
    batch = _batch(tiny, encoded, TEXTS)
    logits = _logits(tiny, batch.repeated, batch.rows).requires_grad_()
    assert not score_rollouts(tiny, batch, logits, 3, WHEELS, tokens).requires_grad


def test_groups_without_an_answer_have_no_calibration(
    tiny: OmniBackbone, encoded: Encoded, tokens: CategoryTokens
) -> None:
    batch = _batch(tiny, encoded, TEXTS[2:4])
    pairs = calibration_pairs(tiny, batch, _logits(tiny, batch.repeated, batch.rows), WHEELS, tokens)
    assert all(isnan(value) for pair in pairs for value in pair)


def test_a_group_is_the_answers_to_one_prompt_with_its_own_gold(
    taught: OmniBackbone, samples: list[Sample], prompts: Sequence[Prompt]
) -> None:
    few = [1, 5, 7]
    gold = [samples[index].labels for index in few]
    encoded = taught.encode(taught.collate([prompts[index] for index in few]))
    torch.manual_seed(0)
    batch = make_rollouts(taught, encoded, gold, 3, Sampling(80))
    assert batch.golds == [labels for labels in gold for _ in range(3)]
    assert len(batch.rows) == len(batch.texts) == len(batch.repeated.mask_PT) == 9
    for row, text, ids, mask in zip(
        batch.rows, batch.texts, batch.generated.ids_BR.tolist(), batch.mask_BR.tolist(), strict=True
    ):
        assert row == ids[: sum(mask)]
        assert mask == sorted(mask, reverse=True)
        assert text == taught.decode(row)
    assert [response.labels for response in batch.responses] == [parse_response(text).labels for text in batch.texts]
    assert sum(response.status == "ok" for response in batch.responses) >= 3


def test_logged_rollouts_hold_the_batch_and_leave_out_what_does_not_apply(tiny: OmniBackbone, encoded: Encoded) -> None:
    batch = _batch(tiny, encoded, TEXTS)
    rewards = torch.arange(36, dtype=torch.float32).view(2, 3, 6)
    rewards[0, 1, 4] = torch.nan
    rows = as_rows(batch, ("a", "b"), rewards, torch.arange(6.0).view(2, 3), step=7)
    assert [row.id for row in rows] == ["a"] * 3 + ["b"] * 3
    assert [row.advantage for row in rows] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert [row.text for row in rows] == list(TEXTS)
    assert {row.step for row in rows} == {7}
    assert rows[1].rewards == dict(zip(REWARDS, (6.0, 7.0, 8.0, 9.0, None, 11.0), strict=True))
    assert rows[2].status == "no_answer"
