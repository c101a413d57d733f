"""Qwen2.5-VL sees and reads as its official processor and its own positions say, and says that it did not hear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mer_r1.data.sample import Clip, MediaFacts, Sample
from mer_r1.errors import InputError
from mer_r1.models.features import read_prompts
from mer_r1.models.qwen2_5_vl import VisionBackbone
from mer_r1.models.types import Prompt, Sampling
from tests.media_samples import ANSWERS, KINDS, clip_of, control_ids, make_clip, prompt_of, respond
from tests.tolerance import logit_tolerance

SUBTITLE = "We talked for a while."


def _clips() -> list[Clip]:
    """A clip of each kind; and longer videos, taken at other rates than two frames a second, one of them cut short."""
    long = make_clip(4, 2.6, seed=7)
    wide = Clip(np.zeros((6, 56, 84, 3), np.uint8) + 90, None, MediaFacts((0.0,) * 6, video_s=1.3))
    timed = [replace(long, facts=replace(long.facts, video_s=seconds)) for seconds in (1.0, 7.3, 1000.0)]
    return [*(clip_of(kind, seed) for seed, kind in enumerate(KINDS)), *timed, wide]


def _shown(backbone: VisionBackbone, clip: Clip) -> dict[str, Any]:
    """What the official processor makes of a clip's frames and the subtitle; pixels rounded as they are kept."""
    text = f"<|im_start|>user\n{{}}{SUBTITLE}\nEmotions?<|im_end|>\n<|im_start|>assistant\n"
    frames = clip.frames_THWC
    given: dict[str, Any] = {}
    if frames is not None and len(frames) == 1:
        index = "<|vision_bos|><|IMAGE|><|vision_eos|>"
        given = {"images": [frames[0]], "images_kwargs": {"do_resize": False, "input_data_format": "channels_last"}}
    elif frames is not None:
        index = "<|vision_bos|><|VIDEO|><|vision_eos|>"
        seconds = clip.facts.video_s
        rate = len(frames) / min(seconds, backbone.budget.max_video_s) if seconds else 2.0
        given = {
            "videos": [frames],
            "videos_kwargs": {"do_resize": False, "video_metadata": [{"total_num_frames": len(frames), "fps": rate}]},
        }
    else:
        index = ""
    features = backbone.processor(text=text.format(index), return_tensors="pt", **given)
    return {name: value.half().float() if name.startswith("pixel") else value for name, value in features.items()}


def _positions(backbone: VisionBackbone, shown: dict[str, Any]) -> Tensor:
    """Positions (3, 1, T) counted out by the rule of the model's authors: what follows starts at the largest + 1."""
    grid = next((value for name, value in shown.items() if name.endswith("_grid_thw")), torch.zeros(1, 3))
    step = 0.0
    if "second_per_grid_ts" in shown:
        step = backbone.model.config.vision_config.tokens_per_second * float(shown["second_per_grid_ts"][0])
    rows: list[list[int]] = []
    kinds = shown["mm_token_type_ids"][0].tolist()
    while len(rows) < len(kinds):
        start = max((max(row) for row in rows), default=-1) + 1
        if not kinds[len(rows)]:
            rows.append([start] * 3)
            continue
        frames, height, width = (grid[0] // torch.tensor([1, 2, 2])).tolist()
        rows += [
            [start + int(t * step), start + h, start + w]
            for t in range(frames)
            for h in range(height)
            for w in range(width)
        ]
    return torch.tensor(rows).T[:, None]


@torch.no_grad()
def _official_logits(
    backbone: VisionBackbone, shown: dict[str, Any], answer_R: Tensor, positions_31T: Tensor | None = None
) -> Tensor:
    """Logits (R, V) of the official model, which places the media, and makes the positions where none are given."""
    num = len(answer_R)
    ids = torch.cat([shown["input_ids"], answer_R[None]], dim=1)
    kinds = torch.nn.functional.pad(shown["mm_token_type_ids"], (0, num))
    given = {**shown, "input_ids": ids, "mm_token_type_ids": kinds, "attention_mask": ids * 0 + 1}
    if positions_31T is not None:
        after = positions_31T.max() + 1 + torch.arange(num)
        given["position_ids"] = torch.cat([positions_31T, after.expand(3, 1, -1)], dim=2)
    logits = backbone.model(**given)
    backbone.model.model.rope_deltas = None
    made: Tensor = logits.logits[0, -num - 1 : -1]
    return made


@torch.no_grad()
def _logits(backbone: VisionBackbone, prompts: Sequence[Prompt], texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
    """(logits (B, R, V), ids (B, R), mask (B, R)) of answers to a batch of prompts."""
    ids, mask = respond(backbone, texts)
    inputs = backbone.full_inputs(backbone.collate(prompts), ids, mask)
    return backbone.response_logits(backbone.model, inputs, ids.shape[1]), ids, mask


def _moved(backbone: VisionBackbone, one: Prompt, other: Prompt) -> float:
    first, second = (_logits(backbone, [prompt], ANSWERS[:1])[0] for prompt in (one, other))
    return float((first - second).nan_to_num().abs().max())


def test_ids_and_arrays_are_the_official_processors(vision: VisionBackbone) -> None:
    for clip in _clips():
        prompt, shown = prompt_of(vision, clip, SUBTITLE), _shown(vision, clip)
        assert torch.equal(prompt.input_ids_T, shown["input_ids"][0])
        assert set(prompt.media) == set(shown) - {
            "input_ids",
            "attention_mask",
            "mm_token_type_ids",
            "second_per_grid_ts",
        }
        for name, value in prompt.media.items():
            assert torch.equal(value.float(), shown[name].float()), name


def test_positions_are_counted_as_the_authors_say(vision: VisionBackbone) -> None:
    """And as transformers makes them wherever a video does not last longer than it is wide."""
    same = 0
    for clip in _clips():
        shown = _shown(vision, clip)
        counted = _positions(vision, shown)
        assert torch.equal(prompt_of(vision, clip, SUBTITLE).positions_3T, counted[:, 0])
        grids = {name: value for name, value in shown.items() if name.endswith("_grid_thw")}
        own, _ = vision.model.model.get_rope_index(
            shown["input_ids"],
            shown["mm_token_type_ids"],
            second_per_grid_ts=shown.get("second_per_grid_ts"),
            attention_mask=shown["attention_mask"],
            **grids,
        )
        same += torch.equal(own, counted)
    assert 0 < len(_clips()) - same < same


@pytest.mark.slow
def test_a_batch_gives_the_logits_that_the_official_model_gives_each_alone(vision: VisionBackbone) -> None:
    clips = _clips()
    texts = [ANSWERS[row % len(ANSWERS)] for row in range(len(clips))]
    ours, ids, mask = _logits(vision, [prompt_of(vision, clip, SUBTITLE) for clip in clips], texts)
    encoded = vision.encode(vision.collate([prompt_of(vision, clip, SUBTITLE) for clip in clips]))
    allowed = vision.suppressed_V == 0
    for row, clip in enumerate(clips):
        shown, answer = _shown(vision, clip), ids[row, : int(mask[row].sum())]
        ways: list[Tensor | None] = [_positions(vision, shown)]
        if clip.facts.video_s == 1.0 or clip.frames_THWC is None or len(clip.frames_THWC) == 1:
            ways.append(None)
        for positions in ways:
            official = _official_logits(vision, shown, answer, positions)
            assert float(official.std()) > 0.1
            made = ours[row, : len(answer)]
            tolerance = logit_tolerance(vision.model, official)
            torch.testing.assert_close(made[:, allowed], official[:, allowed], atol=tolerance, rtol=0)
            torch.testing.assert_close(encoded.logits_PV[row], official[0], atol=tolerance, rtol=0)


@pytest.mark.slow
def test_greedy_answers_are_those_of_the_models_own_generate(vision: VisionBackbone) -> None:
    clips = _clips()
    encoded = vision.encode(vision.collate([prompt_of(vision, clip, SUBTITLE) for clip in clips]))
    made = vision.generate(encoded, 2, Sampling(10, temperature=0.0), stop="no such stop")
    suppressed = torch.nonzero(vision.suppressed_V)[:, 0].tolist()
    for row, clip in enumerate(clips):
        shown = _shown(vision, clip)
        whole = vision.model.generate(
            **shown,
            position_ids=_positions(vision, shown),
            max_new_tokens=10,
            do_sample=False,
            suppress_tokens=suppressed,
        )
        vision.model.model.rope_deltas = None
        official = whole[0, shown["input_ids"].shape[1] :].tolist()
        for copy in (2 * row, 2 * row + 1):
            assert made.ids_BR[copy, : int(made.mask_BR[copy].sum())].tolist() == official


def test_frames_their_order_and_the_subtitle_reach_the_answer(vision: VisionBackbone) -> None:
    clip = clip_of("video")
    assert clip.frames_THWC is not None
    plain = prompt_of(vision, clip, SUBTITLE)
    turned = replace(clip, frames_THWC=np.ascontiguousarray(clip.frames_THWC[::-1]))
    for other in (
        prompt_of(vision, clip_of("video", seed=1), SUBTITLE),
        prompt_of(vision, turned, SUBTITLE),
        prompt_of(vision, clip, "They did."),
    ):
        assert _moved(vision, plain, other) > 1e-3
    assert _moved(vision, plain, prompt_of(vision, clip, SUBTITLE)) == 0


def test_time_positions_lie_as_far_apart_as_the_frames_were_taken(vision: VisionBackbone) -> None:
    """tokens_per_second (2) x 2 frames of a token / rate: 8 frames of 16 s give steps of 8."""
    clip = make_clip(8, 0)
    prompt = prompt_of(vision, replace(clip, facts=replace(clip.facts, video_s=16.0)))
    times = prompt.positions_3T[0, prompt.input_ids_T == vision.model.config.video_token_id]
    assert (times - times[0]).tolist() == [step for step in (0, 8, 16, 24) for _ in range(4)]


def test_sound_is_neither_heard_nor_reported_to_be(vision: VisionBackbone) -> None:
    with_sound = clip_of("both")
    with_sound = replace(with_sound, facts=replace(with_sound.facts, audio_s=1.0, audio_taken_s=1.0))
    deaf, heard = prompt_of(vision, clip_of("video")), prompt_of(vision, with_sound)
    assert torch.equal(deaf.input_ids_T, heard.input_ids_T)
    assert _moved(vision, deaf, heard) == 0
    assert heard.facts == replace(with_sound.facts, audio_taken_s=0.0)
    assert deaf.facts == clip_of("video").facts


@pytest.mark.parametrize("subtitle", [None, "", "<|im_end|>"])
@pytest.mark.parametrize("kind", ["sound", "subtitle"])
def test_a_sample_with_nothing_to_see_or_read_is_named(vision: VisionBackbone, kind: str, subtitle: str | None) -> None:
    with pytest.raises(InputError, match=r"sample lonely: no video, image or subtitle.*cannot hear") as caught:
        vision.prepare(Sample("lonely", subtitle=subtitle), clip_of(kind))
    assert "\n" not in str(caught.value)


def test_no_control_token_comes_from_a_subtitle(vision: VisionBackbone) -> None:
    controls = torch.tensor(sorted(control_ids(vision.tokenizer)))
    assert len(controls) == 7

    def counted(subtitle: str) -> list[int]:
        ids = prompt_of(vision, clip_of("video"), subtitle).input_ids_T
        return (ids[:, None] == controls).sum(0).tolist()

    every = "".join(vision.tokenizer.convert_ids_to_tokens(controls.tolist()))
    assert counted(f"We{every} talked.{every}") == counted("We talked.")


def test_only_the_picture_tower_is_frozen(vision_folder: Path, vision: VisionBackbone) -> None:
    fresh = replace(vision, model=type(vision.model)(vision.model.config))
    fresh.set_towers_trainable(False)
    frozen = {name for name, parameter in fresh.model.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in fresh.model.named_parameters() if name.startswith("model.visual.")} != set()


@pytest.mark.slow
def test_kept_prompts_are_the_fresh_ones(vision: VisionBackbone, samples: list[Sample], tmp_path: Path) -> None:
    seen = [sample for sample in samples if sample.video or sample.subtitle]
    fresh, kept = read_prompts(vision, seen), read_prompts(vision, seen, keep_in=tmp_path)
    for one, other in zip(fresh, kept, strict=True):
        assert (one.id, one.facts) == (other.id, other.facts)
        assert torch.equal(one.input_ids_T, other.input_ids_T)
        assert torch.equal(one.positions_3T, other.positions_3T)
        assert {name: value.tolist() for name, value in one.media.items()} == {
            name: value.tolist() for name, value in other.media.items()
        }
    facts = fresh[0].facts
    assert facts.frame_times_s
    assert facts.audio_taken_s == 0.0 != facts.audio_s
