"""Rollouts: the evaluator's own rewards, and a fast side that equals asking fast directly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isnan
from typing import Any

import pytest
import torch
from torch import Tensor

from mer_r1.data.sample import Sample
from mer_r1.emotion.wheel import WheelSet
from mer_r1.metrics.rewards import score_response
from mer_r1.models.backbone import pad_right
from mer_r1.models.category_confidence import AnchorConfidence, CategoryTokens, category_tokens
from mer_r1.models.features import read_prompts
from mer_r1.models.packing import group_pass, pack
from mer_r1.models.qwen2_5_omni import OmniBackbone
from mer_r1.models.sampler import LocalSampler
from mer_r1.models.token_offsets import locate_answer
from mer_r1.models.types import Encoded, Generated, Prompt, PromptBatch, Sampling
from mer_r1.objectives import REWARDS, ConfidenceLevel, FastThinking
from mer_r1.prompting.response import FALLBACK_ANSWER, RESPONSE_FORMATS, parse_response
from mer_r1.rl.calibration import CalibrationRewards, calibration_pair, calibration_rewards
from mer_r1.rl.data import RlBatch, RlExample
from mer_r1.rl.reflection.scores import Reflection
from mer_r1.rl.rollouts import (
    Contexts,
    RolloutBatch,
    contexts,
    make_rollouts,
    step_key,
    text_rewards,
)
from mer_r1.rl.step import Rewarded, Scored, read_rollouts, rollout_rows
from tests.media_samples import saying

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
FORMAT = RESPONSE_FORMATS["think_answer"]


def _batch(
    backbone: OmniBackbone, encoded: Encoded, texts: Sequence[str], response_format: str = "think_answer"
) -> RolloutBatch:
    """Rollouts of two groups that say `texts`, and end."""
    end = backbone.tokenizer.eos_token_id
    rows = [[*backbone.text_ids(text), end] for text in texts]
    stopped = torch.ones(len(rows), dtype=torch.bool)
    made = Generated(*pad_right(rows, backbone.tokenizer.pad_token_id, backbone.device), stopped)
    responses = [parse_response(text, response_format) for text in texts]
    return RolloutBatch(("a", "b"), GOLD, encoded, made, rows, list(texts), responses)


def _calibrated(
    backbone: OmniBackbone,
    batch: RolloutBatch,
    tokens: CategoryTokens,
    level: ConfidenceLevel = "category",
    fast_prompts: PromptBatch | None = None,
    run_towers: bool = False,
) -> CalibrationRewards:
    """As the trainer does it: one pass over all branches."""
    where = contexts(backbone, batch, FORMAT, True, fast_prompts)
    found = read_rollouts(backbone, backbone.model, batch, where, 1.0, run_towers=run_towers, tokens=tokens)
    return calibration_rewards(batch, where, found.confidences, tokens, WHEELS, level)


@pytest.fixture(scope="module")
def encoded(tiny: OmniBackbone, prompts: Sequence[Prompt]) -> Encoded:
    return tiny.encode(tiny.collate(prompts[:2]))


@pytest.fixture(scope="module")
def tokens(tiny: OmniBackbone) -> CategoryTokens:
    return category_tokens(tiny, WHEELS)


@pytest.mark.parametrize("penalty", ["none", "ratio"])
def test_rewards_of_the_text_are_the_evaluators_numbers(tiny: OmniBackbone, encoded: Encoded, penalty: Any) -> None:
    rewards = text_rewards(_batch(tiny, encoded, TEXTS), WHEELS, penalty)
    assert rewards.shape == (2, 3, len(REWARDS))
    for index, text in enumerate(TEXTS):
        score = score_response(parse_response(text), GOLD[index // 3], WHEELS, length_penalty=penalty)
        expected = [score.recall, score.precision, score.f1, score.format]
        assert rewards[divmod(index, 3)].tolist()[:4] == pytest.approx(expected)
    not_of_the_text = [position for position in range(4, len(REWARDS)) if REWARDS[position] != "accuracy"]
    assert rewards[..., not_of_the_text].isnan().all()  # no first answer; calibration and reflection come later
    assert rewards[..., REWARDS.index("accuracy")].eq(0).all()  # no answer is the one gold word alone


def test_a_first_answer_and_its_fallback_are_rewarded_in_their_response_format(
    tiny: OmniBackbone, encoded: Encoded
) -> None:
    texts = [
        "<answer>happy</answer><think>So.</think><answer>sad</answer>",
        f"<answer>{FALLBACK_ANSWER}</answer><think>So.</think><answer>angry, sad</answer>",
    ]
    rewards = text_rewards(_batch(tiny, encoded, texts, "answer_think_answer"), WHEELS)
    first, second = (dict(zip(REWARDS, row, strict=True)) for row in rewards[:, 0].tolist())
    assert first["initial_f1"] > first["f1"]
    assert (second["initial_f1"], second["fallback"], second["f1"]) == (0, 1, 1)
    assert first["fallback"] == 0


def test_the_gold_answer_earns_every_reward(tiny: OmniBackbone, encoded: Encoded) -> None:
    texts = [f"<think>So.</think><answer>{', '.join(labels)}</answer>" for labels in GOLD]
    assert text_rewards(_batch(tiny, encoded, texts), WHEELS)[..., :4].eq(1).all()


def _alone(backbone: OmniBackbone, prompt: Prompt, ids: list[int], anchors: Sequence[int]) -> Tensor:
    """log p (A, V) at the anchors of one response after one prompt, nothing padded, nothing shared."""
    whole = torch.tensor([ids])
    inputs = backbone.full_inputs(backbone.collate([prompt]), whole, torch.ones_like(whole))
    with torch.no_grad():
        return backbone.response_logits(backbone.model, inputs, len(ids))[0, list(anchors)].log_softmax(-1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("level", "fast", "run_towers"),
    [
        ("category", "prefill", False),
        ("word", "prefill", False),
        ("category", "prompt", False),
        ("word", "prompt", True),
    ],
)
def test_calibration_rewards_are_those_of_asking_slow_and_fast_one_by_one(
    tiny: OmniBackbone,
    samples: list[Sample],
    prompts: Sequence[Prompt],
    encoded: Encoded,
    tokens: CategoryTokens,
    level: ConfidenceLevel,
    fast: FastThinking,
    run_towers: bool,
) -> None:
    """The fast context is written here as a person would: prompt, prefill, the answer's text."""
    fast_prompts, prefill, asked = list(prompts), FORMAT.fast_prefill, None
    if fast == "prompt":
        answer_only = replace(tiny, template_override=tiny.template.answer_only())
        fast_prompts, prefill = [*read_prompts(answer_only, samples)], "<answer>"
        asked = tiny.collate(fast_prompts[:2])
        assert tiny.decode(fast_prompts[0].input_ids_T.tolist()) != tiny.decode(prompts[0].input_ids_T.tolist())
    found = _calibrated(tiny, _batch(tiny, encoded, TEXTS), tokens, level, asked, run_towers)
    answered = 0
    for index, text in enumerate(TEXTS):
        words, pair = parse_response(text).labels, found.pairs_B2[index].tolist()
        if not words:
            assert all(isnan(value) for value in pair)
            assert found.words[index] == {}
            continue
        answered += 1
        fast_text = prefill + text[text.rindex("<answer>") + 8 :]
        slow_ids, fast_ids = tiny.text_ids(text), tiny.text_ids(fast_text)
        slow_at, fast_at = [
            len(tiny.text_ids(whole[: whole.rindex("<answer>") + 8])) for whole in (text, tiny.decode(fast_ids))
        ]
        located = locate_answer(tiny, slow_ids)
        assert located
        assert located.anchors[0] == slow_at
        steps = [anchor - slow_at for anchor in located.anchors]
        said = torch.tensor([slow_ids[anchor] for anchor in located.anchors])
        slow, at_once = (
            tokens.confidence(_alone(tiny, of[index // 3], ids, [start + step for step in steps]), said)
            for of, ids, start in ((prompts, slow_ids, slow_at), (fast_prompts, fast_ids, fast_at))
        )
        slow = slow if parse_response(text).reasoning else at_once  # without thought the contexts are one
        gold = WHEELS.map_set(GOLD[index // 3])
        expected = calibration_pair(words, slow, at_once, gold, tokens, WHEELS, level)
        assert pair == pytest.approx(expected, abs=1e-4, nan_ok=True)
        assert not all(isnan(value) for value in pair)
        _check_words(found.words[index], words, slow, at_once, tokens, level)
    assert answered == 4


def _check_words(
    made: dict[str, tuple[float, float]],
    words: Sequence[str],
    slow: AnchorConfidence,
    fast: AnchorConfidence,
    tokens: CategoryTokens,
    level: Any,
) -> None:
    """Of every word that a wheel knows the mean of its categories' confidences, or its own, slow and fast."""
    expected = {}
    own = dict(zip(words, zip(slow.word_A.tolist(), fast.word_A.tolist(), strict=True), strict=True))
    for word, *sides in zip(words, slow.category_AC.tolist(), fast.category_AC.tolist(), strict=True):
        homes = [tokens.column(w, c) for w, ids in enumerate(WHEELS.lookup(word) or ()) for c in ids]
        if homes:
            of_categories = tuple(sum(side[home] for home in homes) / len(homes) for side in sides)
            expected[word] = own[word] if level == "word" else of_categories
    assert made.keys() == expected.keys() == set(words) - {"blurry"}
    for word, pair in expected.items():
        assert made[word] == pytest.approx(pair, abs=1e-4)


def test_an_answer_without_thought_has_no_gap(tiny: OmniBackbone, encoded: Encoded, tokens: CategoryTokens) -> None:
    """Its slow context is the fast one, whether or not its empty thought is written: y_cot is empty (Eq. 8)."""
    thoughts = ("", "<think></think>", "<think> \n</think>", "<think>A smile.</think>")
    texts = [f"{thought}<answer>happy, sad</answer>" for thought in thoughts]
    found = _calibrated(tiny, _batch(tiny, encoded, texts), tokens)
    assert found.pairs_B2[[0, 1]].tolist() == [[0, 0], [0, 0]]  # of "happy" and "sad": both apply
    assert found.pairs_B2[2].nan_to_num().tolist() == [0, 0]
    assert all(slow == fast for words in found.words[:3] for slow, fast in words.values())
    assert any(abs(value) > 1e-4 for value in found.pairs_B2[3].tolist() if not isnan(value))


def test_so_has_a_box_without_steps(tiny: OmniBackbone, encoded: Encoded, tokens: CategoryTokens) -> None:
    texts = ["\\boxed{happy}", "<step1>a</step1><step2>b</step2><step3>c</step3>\\boxed{happy}"]
    batch = _batch(tiny, encoded, texts, "set_steps")
    where = contexts(tiny, batch, RESPONSE_FORMATS["set_steps"], True)
    packed = pack(batch.encoded.prompts, where.slow, where.fast)
    found = group_pass(tiny, tiny.model, packed, batch.encoded, tokens=tokens).confidences
    (bare, stepped) = calibration_rewards(batch, where, found, tokens, WHEELS, "category").pairs_B2.tolist()
    assert bare[0] == 0
    assert abs(stepped[1]) > 1e-4


def test_calibration_leaves_no_gradient(tiny: OmniBackbone, encoded: Encoded, tokens: CategoryTokens) -> None:
    assert not _calibrated(tiny, _batch(tiny, encoded, TEXTS), tokens).pairs_B2.requires_grad


def test_groups_without_an_answer_have_no_calibration(
    tiny: OmniBackbone, encoded: Encoded, tokens: CategoryTokens
) -> None:
    found = _calibrated(tiny, _batch(tiny, encoded, TEXTS[2:4]), tokens)
    assert found.pairs_B2.isnan().all()
    assert found.words == [{}, {}]


def test_rollouts_with_the_same_answer_share_one_fast_branch_of_their_prompt(
    tiny: OmniBackbone, encoded: Encoded, tokens: CategoryTokens
) -> None:
    """And each keeps what it would have had alone."""
    thoughts = ("A smile.", "", "A frown, a cry.")
    texts = [f"<think>{thought}</think><answer>sad, happy</answer>" for thought in thoughts * 2]
    texts[1] = "<think>x</think><answer>proud</answer>"
    batch = _batch(tiny, encoded, texts)
    where = contexts(tiny, batch, FORMAT, True)
    assert [branch.prompt for branch in where.fast] == [0, 0, 1]
    assert where.fast_of == {0: 0, 1: 1, 2: 0, 3: 2, 4: 2, 5: 2}
    found = _calibrated(tiny, batch, tokens)
    for row, text in enumerate(texts):
        single = _calibrated(tiny, _batch(tiny, encoded, [text, text]), tokens).pairs_B2[row // 3]
        torch.testing.assert_close(found.pairs_B2[row], single, atol=1e-4, rtol=0, equal_nan=True)


def test_without_calibration_branches_are_the_responses_alone(tiny: OmniBackbone, encoded: Encoded) -> None:
    batch = _batch(tiny, encoded, TEXTS)
    plain, asked = (contexts(tiny, batch, FORMAT, calibrate) for calibrate in (False, True))
    assert [list(branch.ids) for branch in plain.slow] == batch.rows == [list(branch.ids) for branch in asked.slow]
    assert [branch.prompt for branch in plain.slow] == [0, 0, 0, 1, 1, 1]
    assert not any(branch.indices for branch in plain.slow)
    assert (plain.fast, plain.answers, plain.fast_of) == ([], {}, {})
    assert [row for row, branch in enumerate(asked.slow) if branch.indices] == [0, 1, 4, 5] == [*asked.answers]


def test_a_group_is_the_answers_to_one_prompt_with_its_own_gold(
    taught: OmniBackbone, samples: list[Sample], prompts: Sequence[Prompt]
) -> None:
    few = [1, 5, 7]
    ids, gold = [samples[index].id for index in few], [samples[index].labels for index in few]
    asked = RlBatch(tuple(RlExample(prompts[index], samples[index].labels, samples[index]) for index in few))
    (batch,) = make_rollouts(LocalSampler(taught), [asked], FORMAT, Sampling(80), 3, step_key(0, 1))
    assert (batch.ids, batch.golds) == (tuple(ids), tuple(gold))
    assert len(batch.rows) == len(batch.texts) == 9
    assert batch.num_generations == 3
    assert [batch.prompt_of(row) for row in range(9)] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    made = batch.generated
    for row, text, all_ids, mask in zip(
        batch.rows, batch.texts, made.ids_BR.tolist(), made.mask_BR.tolist(), strict=True
    ):
        assert row == all_ids[: sum(mask)]
        assert mask == sorted(mask, reverse=True)
        assert text == taught.decode(row)
    assert [response.labels for response in batch.responses] == [parse_response(text).labels for text in batch.texts]
    assert sum(response.status == "ok" for response in batch.responses) >= 3
    assert batch.encoded.keys == ()  # the cache is not held until the policy's pass
    assert batch.encoded.embeds_PTD is not None


def test_a_profile_with_two_answers_is_sampled_to_its_second(tiny: OmniBackbone, prompts: Sequence[Prompt]) -> None:
    """Its parser too is the response format's own."""
    text = "<answer>sad</answer><think>So.</think><answer>calm</answer>"
    with saying([[*tiny.text_ids(text), *tiny.text_ids(" and more")]]):
        response_format = RESPONSE_FORMATS["answer_think_answer"]
        asked = RlBatch((RlExample(prompts[0], ("calm",), Sample("a")),))
        (batch,) = make_rollouts(LocalSampler(tiny), [asked], response_format, Sampling(60), 1, "key")
    assert batch.texts == [text]
    assert batch.responses == [parse_response(text, "answer_think_answer")]
    assert batch.responses[0].well_formed


def test_logged_rollouts_hold_the_batch_and_leave_out_what_does_not_apply(tiny: OmniBackbone, encoded: Encoded) -> None:
    batch = _batch(tiny, encoded, TEXTS)
    rewards = torch.arange(6.0 * len(REWARDS)).view(2, 3, -1)
    rewards[0, 1, 4] = torch.nan
    advantages = torch.arange(6.0).view(2, 3)
    said = Reflection(torch.zeros(2, 3, 3), [{"coherence": "joy"}, *[{}] * 5])
    rewarded = Rewarded(batch, Contexts([], [], {}, {}), rewards, said, None, None, num_tokens=1.0, step=7)
    scored = Scored(rewarded, rewards, advantages, torch.zeros(0), [{"happy": (-1.0, -2.0)}, *[{}] * 5])
    rows = rollout_rows(scored)
    assert [row.id for row in rows] == ["a"] * 3 + ["b"] * 3
    assert [row.advantage for row in rows] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert [row.text for row in rows] == list(TEXTS)
    assert [row.labels for row in rows] == [parse_response(text).labels for text in TEXTS]
    assert {row.step for row in rows} == {7}
    expected = [len(REWARDS) + float(index) for index in range(len(REWARDS))]
    assert rows[1].rewards == dict(zip(REWARDS, expected, strict=True)) | {REWARDS[4]: None}
    assert rows[2].status == "no_answer"
    assert (rows[0].confidences, rows[1].confidences) == ({"happy": (-1.0, -2.0)}, {})
    assert [row.reflection for row in rows] == said.answers
    plain = rollout_rows(replace(scored, rewarded=replace(rewarded, reflection=None), words=None))[0]
    assert (plain.confidences, plain.reflection) == (None, None)
