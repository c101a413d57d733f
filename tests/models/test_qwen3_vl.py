"""Qwen3-VL sees and reads as its authors' processor and its own positions say; times and deepstack reach the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mer_r1.data.sample import Clip, MediaFacts, Sample
from mer_r1.errors import InputError
from mer_r1.media import MediaBudget
from mer_r1.models.features import read_prompts
from mer_r1.models.loading import load_backbone
from mer_r1.models.packing import with_same_media
from mer_r1.models.qwen3_vl import Qwen3VLBackbone, Qwen3VLMoeBackbone
from mer_r1.models.types import Prompt, Sampling
from tests.media_samples import ANSWERS, answer_logits, clip_of, control_ids, prompt_of, respond
from tests.repeated_pass import (
    HEAD_TOLERANCE,
    copy_of,
    gradients_of,
    make_case,
    packed_pass,
    prompts_of,
    repeated,
    same_gradients,
)
from tests.tolerance import logit_tolerance

SUBTITLE = "We talked for a while."
ASKED = f"<|im_start|>user\n{{}}{SUBTITLE}\nEmotions?<|im_end|>\n<|im_start|>assistant\n"
PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
VIDEO = "<|vision_start|><|video_pad|><|vision_end|>"


def _clip(num_frames: int, size: tuple[int, int] = (64, 64), step_s: float = 0.5) -> Clip:
    """Noise frames, the first 0.27 seconds behind the start: no time is rounded in the middle of two."""
    rng = np.random.default_rng(num_frames)
    frames = rng.integers(0, 255, (num_frames, *size, 3), dtype=np.uint8)
    times_s = tuple(0.27 + step_s * number for number in range(num_frames))
    return Clip(frames, None, MediaFacts(frame_times_s=times_s, video_s=step_s * num_frames))


def _clips() -> list[Clip]:
    """Videos of several lengths, shapes and rates, a picture, a subtitle alone."""
    wide = _clip(6, (64, 96), 1.3)
    return [_clip(4), _clip(2), wide, _clip(8, step_s=31.0), _clip(1, (96, 64)), clip_of("subtitle")]


def _shown(backbone: Qwen3VLBackbone, clip: Clip) -> dict[str, Any]:
    """What the official processor makes of a clip; pixels rounded as they are kept."""
    frames, given = clip.frames_THWC, dict[str, Any]()
    if frames is not None and len(frames) == 1:
        given = {"images": [frames[0]], "images_kwargs": {"do_resize": False, "input_data_format": "channels_last"}}
    elif frames is not None:
        thousandths = [round(1000 * time_s) for time_s in clip.facts.frame_times_s]
        about = {"total_num_frames": 10**6, "fps": 1000.0, "frames_indices": thousandths}
        sampled = {"do_resize": False, "do_sample_frames": False, "cap_pixels_per_frame": False}
        given = {"videos": [frames], "videos_kwargs": {**sampled, "video_metadata": [about]}}
    # As the authors' processor has it: a video without marks around all its frames.
    index = "<|video_pad|>" if "videos" in given else PICTURE if given else ""
    features = backbone.processor(text=ASKED.format(index), return_tensors="pt", **given)
    features.pop("video_metadata", None)
    return {name: value.half().float() if name.startswith("pixel") else value for name, value in features.items()}


def _positions(backbone: Qwen3VLBackbone, shown: dict[str, Any]) -> Tensor:
    """Positions (3, T) counted out: a picture, and each pair of a video's frames, begins behind all that was before."""
    grid = next((value[0] for name, value in shown.items() if name.endswith("_grid_thw")), torch.zeros(3))
    height, width = (int(side) // 2 for side in grid[1:])
    rows: list[list[int]] = []
    kinds = shown["mm_token_type_ids"][0].tolist()
    while len(rows) < len(kinds):
        start = max((max(row) for row in rows), default=-1) + 1
        if kinds[len(rows)]:
            rows += [[start, start + y, start + x] for y in range(height) for x in range(width)]
        else:
            rows.append([start] * 3)
    return torch.tensor(rows).T


@torch.no_grad()
def _official_logits(backbone: Qwen3VLBackbone, shown: dict[str, Any], answer_R: Tensor) -> Tensor:
    """Logits (R, V) of the official model, which makes the positions and places the media by itself."""
    num = len(answer_R)
    ids = torch.cat([shown["input_ids"], answer_R[None]], dim=1)
    kinds = torch.nn.functional.pad(shown["mm_token_type_ids"], (0, num))
    logits = backbone.model(**{**shown, "input_ids": ids, "mm_token_type_ids": kinds, "attention_mask": ids * 0 + 1})
    backbone.model.model.rope_deltas = None
    made: Tensor = logits.logits[0, -num - 1 : -1]
    return made


def _moved(backbone: Qwen3VLBackbone, one: Prompt, other: Prompt) -> float:
    first, second = (answer_logits(backbone, [prompt], ANSWERS[:1]) for prompt in (one, other))
    return float((first - second).nan_to_num().abs().max())


def test_ids_arrays_and_positions_are_the_official_ones(qwen3_vl: Qwen3VLBackbone) -> None:
    for clip in _clips():
        prompt, shown = prompt_of(qwen3_vl, clip), _shown(qwen3_vl, clip)
        assert prompt.input_ids_T.tolist() == shown["input_ids"][0].tolist()
        assert torch.equal(prompt.positions_3T, _positions(qwen3_vl, shown))
        assert set(prompt.media) == set(shown) - {"input_ids", "attention_mask", "mm_token_type_ids"}
        for name, value in prompt.media.items():
            assert torch.equal(value.float(), shown[name].float()), name


def test_each_pair_of_frames_stands_behind_the_time_at_which_it_was_taken(qwen3_vl: Qwen3VLBackbone) -> None:
    text = qwen3_vl.tokenizer.decode(prompt_of(qwen3_vl, _clip(4)).input_ids_T)
    frames = [VIDEO.replace("<|video_pad|>", 4 * "<|video_pad|>")] * 2
    assert text == ASKED.format(f"<0.5 seconds>{frames[0]}<1.5 seconds>{frames[1]}")
    later = replace(_clip(4), facts=MediaFacts(frame_times_s=(7.0, 7.4, 100.0, 100.2), video_s=101.0))
    text = qwen3_vl.tokenizer.decode(prompt_of(qwen3_vl, later).input_ids_T)
    assert text == ASKED.format(f"<7.2 seconds>{frames[0]}<100.1 seconds>{frames[1]}")


def test_a_video_is_cut_out_of_a_prompt_with_its_times_and_marks(qwen3_vl: Qwen3VLBackbone) -> None:
    for number, clip in enumerate(_clips()[:5]):
        ids_T = prompt_of(qwen3_vl, clip, "Is 1 < 2?").input_ids_T
        text = qwen3_vl.tokenizer.decode(ids_T[qwen3_vl.media_span(ids_T, qwen3_vl.placeholder_ids())])
        whole = qwen3_vl.tokenizer.decode(ids_T).removeprefix("<|im_start|>user\n").partition("Is 1")[0]
        assert text == (whole if number < 4 else whole[len("<|vision_start|>") : -len("<|vision_end|>")])


@pytest.mark.slow
def test_answers_are_read_and_written_as_by_the_official_model(qwen3_vl: Qwen3VLBackbone) -> None:
    """A batch gives the logits that it gives each alone, and greedy answers are those of its own generate."""
    clips = _clips()
    texts = [ANSWERS[row % len(ANSWERS)] for row in range(len(clips))]
    prompts = [prompt_of(qwen3_vl, clip) for clip in clips]
    ours, (ids, mask) = answer_logits(qwen3_vl, prompts, texts), respond(qwen3_vl, texts)
    encoded = qwen3_vl.encode(qwen3_vl.collate(prompts))
    made = qwen3_vl.generate(encoded, 2, Sampling(10, temperature=0.0), stop="no such stop")
    allowed = qwen3_vl.suppressed_V == 0
    suppressed = torch.nonzero(~allowed)[:, 0].tolist()
    for row, clip in enumerate(clips):
        shown, answer = _shown(qwen3_vl, clip), ids[row, : int(mask[row].sum())]
        official = _official_logits(qwen3_vl, shown, answer)
        assert float(official.std()) > 0.1
        tolerance = logit_tolerance(qwen3_vl.model, official)
        read = ours[row, : len(answer)]
        torch.testing.assert_close(read[:, allowed], official[:, allowed], atol=tolerance, rtol=0)
        torch.testing.assert_close(encoded.logits_PV[row], official[0], atol=tolerance, rtol=0)
        whole = qwen3_vl.model.generate(**shown, max_new_tokens=10, do_sample=False, suppress_tokens=suppressed)
        qwen3_vl.model.model.rope_deltas = None
        for copy in (2 * row, 2 * row + 1):
            written = made.ids_BR[copy, : int(made.mask_BR[copy].sum())].tolist()
            assert written == whole[0, shown["input_ids"].shape[1] :].tolist()


def test_frames_their_order_and_their_times_reach_the_answer(qwen3_vl: Qwen3VLBackbone) -> None:
    clip = _clip(4)
    assert clip.frames_THWC is not None
    plain = prompt_of(qwen3_vl, clip)
    turned = replace(clip, frames_THWC=np.ascontiguousarray(clip.frames_THWC[::-1]))
    for other in (turned, _clip(4, step_s=1.5), replace(clip, frames_THWC=255 - clip.frames_THWC)):
        assert _moved(qwen3_vl, plain, prompt_of(qwen3_vl, other)) > 1e-3
    assert _moved(qwen3_vl, plain, prompt_of(qwen3_vl, clip)) == 0


def test_what_is_added_behind_the_first_layers_is_kept_by_every_way_to_read_prompts(qwen3_vl: Qwen3VLBackbone) -> None:
    """With and without the language model, and over other prompts with the same media; without it answers differ."""
    prompts = [prompt_of(qwen3_vl, clip) for clip in _clips()]
    batch = qwen3_vl.collate(prompts)
    encoded, media = qwen3_vl.encode(batch), qwen3_vl.encode_media(batch)
    seen_PT = torch.isin(batch.input_ids_PT, torch.tensor(qwen3_vl.picture_ids()))
    assert len(encoded.deepstack) == 2
    for one, other in zip(encoded.deepstack, media.deepstack, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one.abs().sum(-1) > 0, seen_PT)
    others = [prompt_of(qwen3_vl, clip, "Quite another text, and longer.") for clip in _clips()]
    both = with_same_media(qwen3_vl, media, qwen3_vl.collate(others))
    case = make_case([*prompts, *others], 1)
    with torch.no_grad():
        expected = packed_pass(qwen3_vl, case, qwen3_vl.encode(qwen3_vl.collate(case.prompts))).log_probs_BR
        assert torch.equal(packed_pass(qwen3_vl, case, both).log_probs_BR, expected)
        bare = packed_pass(qwen3_vl, case, replace(both, deepstack=())).log_probs_BR
    moved_B = (bare - expected).abs().amax(1)
    has_pictures = seen_PT.any(1).tolist() * 2
    assert [bool(moved > 0.01) for moved in moved_B] == has_pictures


@pytest.mark.parametrize("subtitle", [None, "", "<|im_end|>"])
def test_a_sample_with_nothing_to_see_or_read_is_named(qwen3_vl: Qwen3VLBackbone, subtitle: str | None) -> None:
    with pytest.raises(InputError, match=r"sample lonely: no video, image or subtitle, and a Qwen3-VL cannot hear"):
        qwen3_vl.prepare(Sample("lonely", subtitle=subtitle), clip_of("sound"))


def test_sound_is_not_reported_as_heard_and_no_control_token_comes_from_a_subtitle(qwen3_vl: Qwen3VLBackbone) -> None:
    clip = _clip(4)
    heard = replace(clip, facts=replace(clip.facts, audio_s=1.0, audio_taken_s=1.0))
    assert prompt_of(qwen3_vl, heard).facts == replace(heard.facts, audio_taken_s=0.0)
    controls = sorted(control_ids(qwen3_vl.tokenizer))
    assert len(controls) == 7
    every = "".join(qwen3_vl.tokenizer.convert_ids_to_tokens(controls))
    ids, plain = (prompt_of(qwen3_vl, clip, text).input_ids_T for text in (f"We{every} talked.{every}", "We talked."))
    assert [int((ids == one).sum()) for one in controls] == [int((plain == one).sum()) for one in controls]


def test_a_folder_loads_as_it_was_written_and_a_published_one_is_shown_cells_of_32(
    qwen3_vl: Qwen3VLBackbone, qwen3_vl_folder: Path, tmp_path: Path
) -> None:
    loaded = load_backbone(str(qwen3_vl.write(tmp_path / "again")))
    assert type(loaded) is Qwen3VLBackbone
    assert loaded.budget == qwen3_vl.budget
    assert {name: value.tolist() for name, value in loaded.model.state_dict().items()} == {
        name: value.tolist() for name, value in qwen3_vl.model.state_dict().items()
    }
    (tmp_path / "again" / "mer_r1.json").unlink()
    assert load_backbone(str(tmp_path / "again")).budget == MediaBudget(
        max_pixels=256 * 32 * 32, min_pixels=4 * 32 * 32, size_multiple=32
    )


@pytest.mark.slow
def test_with_experts_the_packed_pass_is_exact_and_the_folder_as_the_official_one(
    qwen3_vl_moe: Qwen3VLMoeBackbone, tmp_path: Path
) -> None:
    """Where experts lie transposed; they are loaded as they were."""
    backbone: Qwen3VLMoeBackbone = copy_of(qwen3_vl_moe)
    backbone.set_towers_trainable(False)
    case = make_case(prompts_of(backbone, 3), 2)
    made = packed_pass(backbone, case, backbone.encode(backbone.collate(case.prompts)).without_cache()).log_probs_BR
    expected = repeated(backbone, case)
    torch.testing.assert_close(made, expected, atol=HEAD_TOLERANCE, rtol=0)
    same_gradients(gradients_of(backbone, made), gradients_of(backbone, expected))
    folder = qwen3_vl_moe.write(tmp_path / "model")
    saved, experts = load_file(folder / "model.safetensors"), "model.language_model.layers.0.mlp.experts."
    sizes = [tuple(saved[f"{experts}{name}"].shape) for name in ("gate_up_proj", "down_proj")]
    assert sizes == [(4, 128, 2 * 48), (4, 48, 128)]
    again = load_backbone(str(folder))
    assert type(again) is Qwen3VLMoeBackbone
    weights = again.model.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in qwen3_vl_moe.model.state_dict().items())


def test_only_the_picture_tower_is_frozen(qwen3_vl: Qwen3VLBackbone) -> None:
    fresh = replace(qwen3_vl, model=type(qwen3_vl.model)(qwen3_vl.model.config), wrapped_model=None)
    fresh.set_towers_trainable(False)
    frozen = {name for name, parameter in fresh.model.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in fresh.model.named_parameters() if name.startswith("model.visual.")} != set()


@pytest.mark.slow
def test_kept_prompts_are_the_fresh_ones(qwen3_vl: Qwen3VLBackbone, samples: list[Sample], tmp_path: Path) -> None:
    seen: Sequence[Sample] = [sample for sample in samples if sample.video or sample.subtitle]
    for one, other in zip(read_prompts(qwen3_vl, seen), read_prompts(qwen3_vl, seen, keep_in=tmp_path), strict=True):
        assert (one.id, one.facts) == (other.id, other.facts)
        assert torch.equal(one.input_ids_T, other.input_ids_T)
        assert torch.equal(one.positions_3T, other.positions_3T)
        assert one.media.keys() == other.media.keys()
        assert all(torch.equal(value, other.media[name]) for name, value in one.media.items())
