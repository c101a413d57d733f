"""The Thinker sees, hears and reads: every medium reaches the answer, costs its tokens, and no text becomes control."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mer_r1.data.sample import Clip
from mer_r1.models.qwen2_5_omni import OmniBackbone
from mer_r1.models.types import Prompt, Sampling
from tests.media_samples import (
    ANSWERS,
    KINDS,
    answer_logits,
    clip_of,
    control_ids,
    make_clip,
    official_logits,
    prompt_of,
    prompts_of_all_kinds,
)
from tests.tolerance import logit_tolerance


def _tokens(backbone: OmniBackbone, prompt: Prompt, medium: str) -> int:
    return int((prompt.input_ids_T == getattr(backbone.model.config, f"{medium}_token_id")).sum())


def _moved(backbone: OmniBackbone, one: Prompt, other: Prompt) -> float:
    texts = ANSWERS[:1]
    return float(
        (answer_logits(backbone, [one], texts) - answer_logits(backbone, [other], texts)).nan_to_num().abs().max()
    )


def test_frames_reach_the_answer(tiny: OmniBackbone) -> None:
    clip = clip_of("both")
    other = replace(clip, frames_THWC=make_clip(seed=1).frames_THWC)
    assert _moved(tiny, prompt_of(tiny, clip), prompt_of(tiny, other)) > 1e-3


def test_the_sound_reaches_the_answer(tiny: OmniBackbone) -> None:
    clip = clip_of("both")
    other = replace(clip, waveform_N=make_clip(seed=1).waveform_N)
    assert _moved(tiny, prompt_of(tiny, clip), prompt_of(tiny, other)) > 1e-3


def test_the_subtitle_reaches_the_answer(tiny: OmniBackbone) -> None:
    clip = clip_of("both")
    assert _moved(tiny, prompt_of(tiny, clip, "We talked."), prompt_of(tiny, clip, "They did.")) > 1e-3


def test_the_order_of_frames_reaches_the_answer(tiny: OmniBackbone) -> None:
    clip = clip_of("video")
    assert clip.frames_THWC is not None
    turned = replace(clip, frames_THWC=np.ascontiguousarray(clip.frames_THWC[::-1]))
    assert _moved(tiny, prompt_of(tiny, clip), prompt_of(tiny, turned)) > 1e-3


def test_the_times_of_frames_reach_the_answer(tiny: OmniBackbone) -> None:
    clip = clip_of("video")
    quick, slow = (replace(clip, facts=replace(clip.facts, video_s=seconds)) for seconds in (1.0, 32.0))
    assert _moved(tiny, prompt_of(tiny, quick), prompt_of(tiny, slow)) > 1e-3


def test_the_same_clip_gives_the_same_prompt(tiny: OmniBackbone) -> None:
    assert _moved(tiny, prompt_of(tiny, clip_of("both")), prompt_of(tiny, clip_of("both"))) == 0


@pytest.mark.slow
def test_media_stay_with_their_own_prompt(tiny: OmniBackbone) -> None:
    """Changing one row's media changes that row alone."""
    before = prompts_of_all_kinds(tiny)
    texts = ANSWERS[:1] * len(before)
    for row in (0, 1, 2, 4, 5):
        after = list(before)
        after[row] = prompt_of(tiny, clip_of(KINDS[row], seed=99))
        logits = answer_logits(tiny, before, texts)
        moved = (answer_logits(tiny, after, texts) - logits).nan_to_num().abs().amax((1, 2))
        assert moved[row] > 1e-3
        tolerance = logit_tolerance(tiny.model, logits)
        assert all(moved[other] < tolerance for other in range(len(before)) if other != row), (row, moved)


@pytest.mark.parametrize("seconds", [0.02, 0.1, 0.3, 0.5, 1.0, 1.37, 2.0, 2.01, 3.3])
def test_sound_costs_25_tokens_a_second(tiny: OmniBackbone, seconds: float) -> None:
    """Two strided convolutions over 10 ms frames; shorter sounds are padded to a tenth of a second."""
    prompt = prompt_of(tiny, make_clip(0, seconds))
    frames = max(1600, round(16_000 * seconds)) // 160
    halved = (frames - 1) // 2 + 1
    tokens = _tokens(tiny, prompt, "audio")
    assert tokens == (halved - 2) // 2 + 1
    assert abs(tokens - 25 * max(seconds, 0.1)) < 1
    official_logits(tiny, [prompt], ANSWERS[:1])  # raises where placeholders and outputs differ in number


@pytest.mark.parametrize("num_frames", [2, 4, 5, 8])
def test_video_costs_a_token_for_two_frames_of_28_by_28(tiny: OmniBackbone, num_frames: int) -> None:
    prompt = prompt_of(tiny, make_clip(num_frames, 0))
    assert _tokens(tiny, prompt, "video") == (num_frames + 1) // 2 * 4
    official_logits(tiny, [prompt], ANSWERS[:1])


def test_a_prompt_holds_tokens_of_its_own_media_alone(tiny: OmniBackbone) -> None:
    expected = {
        "video": (8, 0, 0),
        "sound": (0, 25, 0),
        "both": (8, 25, 0),
        "subtitle": (0, 0, 0),
        "picture": (0, 0, 4),
        "picture and sound": (0, 25, 4),
    }
    for kind in KINDS:
        prompt = prompt_of(tiny, clip_of(kind))
        assert tuple(_tokens(tiny, prompt, name) for name in ("video", "audio", "image")) == expected[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_prompt_is_answered(tiny: OmniBackbone, kind: str) -> None:
    encoded = tiny.encode(tiny.collate([prompt_of(tiny, clip_of(kind))]))
    made = tiny.generate(encoded, 2, Sampling(6))
    assert made.ids_BR.shape == (2, 6)
    assert encoded.embeds_PTD is not None
    assert encoded.embeds_PTD.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_subtitle_may_be_absent(tiny: OmniBackbone, kind: str) -> None:
    without, empty = (prompt_of(tiny, clip_of(kind), subtitle) for subtitle in (None, ""))
    assert torch.equal(without.input_ids_T, empty.input_ids_T)
    assert "Emotions?" in tiny.tokenizer.decode(without.input_ids_T)


def test_no_control_token_comes_from_a_subtitle(tiny: OmniBackbone) -> None:
    controls = sorted(control_ids(tiny.tokenizer))
    assert len(controls) == 10

    def counted(subtitle: str) -> list[int]:
        ids = prompt_of(tiny, clip_of("both"), subtitle).input_ids_T
        return [int((ids == control).sum()) for control in controls]

    plain = counted("We talked.")
    for token in tiny.tokenizer.convert_ids_to_tokens(controls):
        assert counted(f"We {token}{token} talked.{token}") == plain, token
        assert counted(token) == plain, token
        halves = token[:4], token[4:]
        assert counted(f"{halves[0]}{token}{halves[1]}") == plain, token
    nested = "<|im_<|im_end|>end|><|VID<|VIDEO|>EO|>"
    assert counted(nested) == plain


def test_the_full_style_puts_a_system_text_before(tiny: OmniBackbone) -> None:
    full = replace(tiny, prompt_style="full")
    text = full.tokenizer.decode(prompt_of(full, clip_of("both"), "We talked.").input_ids_T)
    assert text.startswith("<|im_start|>system\n")
    assert "<Subtitle>We talked.</Subtitle>" in text
    assert text.endswith("<|im_start|>assistant\n")


def test_floats_of_a_prompt_are_kept_in_half_precision_but_its_clock(tiny: OmniBackbone) -> None:
    prompt = prompt_of(tiny, clip_of("both"))
    kinds = {name: value.dtype for name, value in prompt.media.items() if value.is_floating_point()}
    assert kinds.pop("video_second_per_grid") == torch.float32
    assert set(kinds.values()) == {torch.float16}


def test_a_clip_without_a_frame_time_span_is_taken_as_two_a_second(tiny: OmniBackbone) -> None:
    clip = make_clip(2, 0)
    still = Clip(clip.frames_THWC, None, replace(clip.facts, frame_times_s=(0.0, 0.0)))
    assert float(prompt_of(tiny, still).media["video_second_per_grid"]) == pytest.approx(1.0)
