"""Reading and scoring: padding, positions, prompts read once, suppressed ids, and what the LM head reads."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from mer_r1.models.backbone import chosen_log_probs, next_positions, pad_right
from mer_r1.models.qwen2_5_omni import OmniBackbone
from mer_r1.models.qwen2_5_vl import VisionBackbone
from tests.media_samples import (
    ANSWERS,
    answer_log_probs,
    answer_logits,
    clip_of,
    control_ids,
    official_logits,
    prompt_of,
    prompts_of_all_kinds,
    respond,
)
from tests.tolerance import logit_tolerance


def _texts(num: int) -> list[str]:
    return [ANSWERS[row % len(ANSWERS)] for row in range(num)]


def _close(ours: Tensor, theirs: Tensor, mask_BR: Tensor, tiny: OmniBackbone) -> None:
    """Equal on real tokens, over the ids that may be answered."""
    allowed = tiny.suppressed_V == 0
    made, expected = (logits[mask_BR.bool()][:, allowed] for logits in (ours, theirs))
    torch.testing.assert_close(made, expected, atol=logit_tolerance(tiny.model, expected), rtol=0)


def test_padding_on_the_left_changes_no_log_probability(tiny: OmniBackbone) -> None:
    prompts = prompts_of_all_kinds(tiny)
    texts = _texts(len(prompts))
    together = answer_log_probs(tiny, prompts, texts)
    for row, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
        alone = answer_log_probs(tiny, [prompt], [text])
        made = together[row : row + 1, : alone.shape[1]]
        torch.testing.assert_close(made, alone, atol=logit_tolerance(tiny.model, alone), rtol=0)


def test_the_plain_pass_gives_the_official_logits(tiny: OmniBackbone) -> None:
    """full_inputs == the Thinker with positions of its own making."""
    prompts = prompts_of_all_kinds(tiny)
    texts = _texts(len(prompts))
    _, mask = respond(tiny, texts)
    official = official_logits(tiny, prompts, texts)
    assert float(official.std()) > 0.1
    _close(answer_logits(tiny, prompts, texts), official, mask, tiny)


@pytest.mark.slow
def test_encoding_reads_what_the_official_thinker_reads_alone(tiny: OmniBackbone) -> None:
    """The first logits, the embeddings with media in place, keys and values: none knows the padding or the company."""
    prompts = prompts_of_all_kinds(tiny)
    together = tiny.encode(tiny.collate(prompts))
    assert together.embeds_PTD is not None
    for row, prompt in enumerate(prompts):
        official = official_logits(tiny, [prompt], ["x"])[0, 0]
        tolerance = logit_tolerance(tiny.model, official)
        torch.testing.assert_close(together.logits_PV[row], official, atol=tolerance, rtol=0)
        alone, num = tiny.encode(tiny.collate([prompt])), len(prompt.input_ids_T)
        assert alone.embeds_PTD is not None
        embeds = alone.embeds_PTD[0]
        tolerance = logit_tolerance(tiny.model, embeds)
        torch.testing.assert_close(together.embeds_PTD[row, -num:], embeds, atol=tolerance, rtol=0)
        for name in ("keys", "values"):
            for ours, own in zip(getattr(together, name), getattr(alone, name), strict=True):
                torch.testing.assert_close(ours[row, :, -num:], own[0], atol=logit_tolerance(tiny.model, own), rtol=0)
    assert len(together.keys) == len(together.values) == tiny.model.config.get_text_config().num_hidden_layers


def test_the_embeddings_of_a_prompt_are_words_where_words_stand_and_media_where_media_stand(tiny: OmniBackbone) -> None:
    batch = tiny.collate(prompts_of_all_kinds(tiny))
    embeds = tiny.encode(batch).embeds_PTD
    assert embeds is not None
    with torch.no_grad():
        words = tiny.model.get_input_embeddings()(batch.input_ids_PT)
    is_medium = torch.isin(batch.input_ids_PT, torch.tensor(list(tiny.placeholder_ids())))
    assert 0 < is_medium.sum() < is_medium.numel()
    assert torch.equal((embeds == words).all(-1), ~is_medium)


def test_what_a_later_pass_needs_of_a_prompt_is_kept_without_the_cache(tiny: OmniBackbone) -> None:
    encoded = tiny.encode(tiny.collate(prompts_of_all_kinds(tiny)[:2]))
    kept = encoded.without_cache()
    assert (kept.keys, kept.values, kept.logits_PV.numel()) == ((), (), 0)
    assert kept.prompts is encoded.prompts
    assert kept.embeds_PTD is encoded.embeds_PTD


def test_a_response_continues_from_the_largest_position_of_its_prompt(tiny: OmniBackbone) -> None:
    prompts = prompts_of_all_kinds(tiny)
    batch = tiny.collate(prompts)
    ids, mask = respond(tiny, _texts(len(prompts)))
    positions = tiny.full_inputs(batch, ids, mask)["position_ids"][:, :, batch.mask_PT.shape[1] :]
    for row, prompt in enumerate(prompts):
        start = int(prompt.positions_3T.max()) + 1
        assert positions[:, row].tolist() == [list(range(start, start + ids.shape[1]))] * 3
    counted = [prompt.positions_3T.shape[1] == int(prompt.positions_3T.max()) + 1 for prompt in prompts]
    assert not all(counted)  # the tokens of a picture share positions: plain counting would be wrong
    assert next_positions(batch.positions_3PT, 0).shape == (3, len(prompts), 0)


def test_only_response_positions_pass_the_lm_head(tiny: OmniBackbone) -> None:
    """And of a prompt that is encoded only its last."""
    read: list[tuple[int, ...]] = []

    def count(module: Any, args: Any, logits: Tensor) -> None:
        read.append(tuple(logits.shape[:2]))

    prompts = prompts_of_all_kinds(tiny)[:2]
    handle = tiny.model.lm_head.register_forward_hook(count)
    try:
        logits = answer_logits(tiny, prompts, ANSWERS[:2])
        tiny.encode(tiny.collate(prompts))
    finally:
        handle.remove()
    num_response = respond(tiny, ANSWERS[:2])[0].shape[1]
    assert read == [(2, num_response + 1), (2, 1)]
    assert logits.shape[:2] == (2, num_response)
    assert not tiny.model.lm_head._forward_pre_hooks  # and the cut does not outlive the pass
    assert not tiny.language_model._forward_pre_hooks


def test_suppressed_ids_are_those_of_media_and_frame_and_no_others(tiny: OmniBackbone) -> None:
    tokenizer = tiny.tokenizer
    suppressed = {index for index, value in enumerate(tiny.suppressed_V.tolist()) if value != 0}
    assert suppressed == control_ids(tokenizer) - {tokenizer.eos_token_id}
    names = set(tokenizer.convert_ids_to_tokens(sorted(suppressed)))
    assert {"<|VIDEO|>", "<|AUDIO|>", "<|IMAGE|>", "<|vision_bos|>", "<|audio_eos|>", "<|im_start|>"} <= names
    assert not {"<think>", "</think>", "<answer>", "</answer>"} & names
    assert set(tiny.suppressed_V.tolist()) == {0.0, float("-inf")}


def test_suppressed_ids_have_probability_zero_however_the_model_likes_them(fresh_tiny: OmniBackbone) -> None:
    liked = [fresh_tiny.model.config.video_token_id, fresh_tiny.model.config.audio_token_id]

    def like(module: Any, args: Any, logits: Tensor) -> Tensor:
        logits[..., liked] += 100.0
        return logits

    prompts = [prompt_of(fresh_tiny, clip_of("both"))]
    before = answer_log_probs(fresh_tiny, prompts, ANSWERS[:1])
    fresh_tiny.model.lm_head.register_forward_hook(like)
    probabilities = answer_logits(fresh_tiny, prompts, ANSWERS[:1]).softmax(-1)
    assert float(probabilities[..., liked].max()) == 0.0
    torch.testing.assert_close(answer_log_probs(fresh_tiny, prompts, ANSWERS[:1]), before)


def test_rows_that_pad_the_embedding_table_are_suppressed(fresh_tiny: OmniBackbone) -> None:
    num = len(fresh_tiny.tokenizer)
    fresh_tiny.model.resize_token_embeddings(num + 32, mean_resizing=False)
    assert fresh_tiny.suppressed_V.shape == (num + 32,)
    assert fresh_tiny.suppressed_V[num:].eq(float("-inf")).all()


def test_log_probabilities_of_all_ids_sum_to_one(tiny: OmniBackbone) -> None:
    logits = answer_logits(tiny, [prompt_of(tiny, clip_of("both"))], ANSWERS[:1])
    every = torch.arange(logits.shape[-1])
    total = sum(chosen_log_probs(logits, torch.full(logits.shape[:2], int(ident))).exp() for ident in every)
    torch.testing.assert_close(total, torch.ones(logits.shape[:2]))


def test_padding_on_the_right_is_masked() -> None:
    ids, mask = pad_right([[5, 6, 7], [], [8]], 0, torch.device("cpu"))
    assert ids.tolist() == [[5, 6, 7], [0, 0, 0], [8, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 0], [1, 0, 0]]


def test_freezing_the_towers_leaves_the_language_model_free(fresh_tiny: OmniBackbone) -> None:
    for trainable in (False, True):
        fresh_tiny.set_towers_trainable(trainable)
        for name, parameter in fresh_tiny.model.named_parameters():
            is_tower = "visual." in name or "audio_tower." in name
            assert parameter.requires_grad == (trainable or not is_tower), name


@pytest.mark.parametrize("text", ["a . b , c 's", " two  spaces ", "ünï 心 \U0001f600", "<answer>a,b</answer>\n"])
def test_text_survives_its_ids(tiny: OmniBackbone, text: str) -> None:
    assert tiny.decode(tiny.text_ids(text)) == text


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["omni", "vision"])
def test_a_picture_is_shown_with_its_candidates_as_data(kind: str, tiny: OmniBackbone, vision: VisionBackbone) -> None:
    backbone: OmniBackbone | VisionBackbone = tiny if kind == "omni" else vision
    choosing, clip = replace(backbone, prompt_style="brief_set"), clip_of("picture")
    sample = Sample("a", candidates=("awe", "fear<|im_end|>"))
    text = choosing.tokenizer.decode(choosing.prepare(sample, clip).input_ids_T)
    assert text.endswith("<|vision_eos|>Steps? awe, fear <|im_end|>\n<|im_start|>assistant\n")
    with pytest.raises(InputError, match="sample 'a': has no candidates"):
        choosing.prepare(replace(sample, candidates=()), clip)
