"""Gemma 4 sees, hears and reads as its authors' processor and model say, and shares a prompt between answers."""

from __future__ import annotations

import json
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
from mer_r1.media import MediaBudget, audio_tokens, video_tokens
from mer_r1.models.backbone import chosen_log_probs, pad_right
from mer_r1.models.features import read_prompts
from mer_r1.models.gemma4 import Gemma4Backbone, load_gemma4
from mer_r1.models.loading import export_model, load_backbone
from mer_r1.models.lora import add_lora
from mer_r1.models.packing import Branch
from mer_r1.models.types import Sampling
from mer_r1.models.vllm_engine import EngineOptions
from mer_r1.models.vllm_sampler import VllmSampler
from mer_r1.recipe import LoraSection
from mer_r1.training.model_shape import shape_of
from tests.media_samples import (
    ANSWERS,
    answer_log_probs,
    clip_of,
    control_ids,
    official_logits,
    prompt_of,
    prompts_of_all_kinds,
)
from tests.repeated_pass import copy_of, repeated_logits
from tests.tolerance import logit_tolerance

SUBTITLE = "We talked for a while."
ASKED = f"<|turn>user\n{{}}{SUBTITLE}\nEmotions?<turn|>\n<|turn>model\n"
PICTURE = f"<|image>{4 * '<|image|>'}<image|>"


def _clip(times_s: Sequence[float], size: tuple[int, int] = (96, 96), samples: int = 0) -> Clip:
    rng = np.random.default_rng(len(times_s))
    frames = rng.integers(0, 255, (len(times_s), *size, 3), dtype=np.uint8) if times_s else None
    wave = rng.uniform(-0.5, 0.5, samples).astype(np.float32) if samples else None
    return Clip(frames, wave, MediaFacts(frame_times_s=tuple(times_s), video_s=100.0))


def test_the_prompt_is_the_templates_with_what_the_processor_puts_in(gemma4: Gemma4Backbone) -> None:
    frames = [PICTURE.replace("<|image|>", "<|video|>")] * 3
    video = f"00:00 {frames[0]} 00:01 {frames[1]} 01:02 {frames[2]}"
    sound = f"<|audio>{25 * '<|audio|>'}<audio|>"
    for clip, shown in (
        (_clip([0.9, 1.0, 62.5]), video),
        (_clip([0.5]), PICTURE),
        (_clip([], samples=16_000), sound),
        (_clip([0.9, 1.0, 62.5], samples=16_000), video + sound),
        (_clip([]), ""),
    ):
        prompt = prompt_of(gemma4, clip, SUBTITLE)
        assert gemma4.tokenizer.decode(prompt.input_ids_T) == ASKED.format(shown)
        assert prompt.positions_3T.tolist() == [list(range(len(prompt.input_ids_T)))] * 3
        assert gemma4.chat_prompt(Sample("a", subtitle=SUBTITLE), clip).input_ids == prompt.input_ids_T.tolist()


def test_arrays_are_the_official_ones_without_the_patches_that_pad(gemma4: Gemma4Backbone) -> None:
    clip = _clip([0.5, 1.5], (96, 144), samples=20_000)
    assert clip.frames_THWC is not None
    official = gemma4.processor(
        text="<|video|><|audio|>",
        videos=[torch.from_numpy(clip.frames_THWC).permute(0, 3, 1, 2)],
        audio=[clip.waveform_N],
        videos_kwargs={"do_resize": False, "do_sample_frames": False},
        return_tensors="pt",
    )
    kept = prompt_of(gemma4, clip).media
    assert kept.keys() == {*official} & {*kept}
    for name, value in kept.items():
        whole = official[name]
        if name in ("pixel_values_videos", "video_position_ids"):
            assert (official["video_position_ids"][:, 54:] == -1).all()
            whole = whole[:, :54]
        assert torch.equal(value, whole.half() if whole.is_floating_point() else whole), name


@pytest.mark.parametrize("num_samples", [1, 1600, 1601, 1919, 2081, 15_999, 16_161, 50_321, 480_001])
def test_sound_of_any_length_has_as_many_ids_as_the_tower_makes(gemma4: Gemma4Backbone, num_samples: int) -> None:
    """Beyond 30 seconds too, where the processor would cut it; the model itself counts."""
    prompt = prompt_of(gemma4, _clip([], samples=num_samples))
    num = int((prompt.input_ids_T == gemma4.model.config.audio_token_id).sum())
    assert 0 <= audio_tokens(max(num_samples, 1600) / 16_000, gemma4.budget) - num <= 1
    assert gemma4.encode_media(gemma4.collate([prompt])).embeds_PTD is not None


def test_a_video_costs_the_tokens_that_the_budget_says(gemma4: Gemma4Backbone) -> None:
    ids_T = prompt_of(gemma4, _clip([0.5, 1.5, 2.5], (144, 96))).input_ids_T
    num = int((ids_T == gemma4.model.config.video_token_id).sum())
    assert num == video_tokens(3, 96, 144, gemma4.budget) == 18


@pytest.mark.slow
def test_media_of_every_kind_stand_where_the_official_model_puts_them(gemma4: Gemma4Backbone) -> None:
    """In a batch whose sounds and frames are padded; positions count the padding there, which rounds otherwise."""
    prompts = prompts_of_all_kinds(gemma4)
    texts = [ANSWERS[row % len(ANSWERS)] for row in range(len(prompts))]
    ids, mask = pad_right([gemma4.text_ids(text) for text in texts], 0, gemma4.device)
    logits = official_logits(gemma4, prompts, texts) + gemma4.suppressed_V
    expected = chosen_log_probs(logits, ids).masked_fill(mask == 0, 0.0)
    tolerance = 4 * logit_tolerance(gemma4.model, logits.masked_fill(logits == -torch.inf, 0.0))
    torch.testing.assert_close(answer_log_probs(gemma4, prompts, texts), expected, atol=tolerance, rtol=0)
    for row, prompt in enumerate(prompts):
        alone = answer_log_probs(gemma4, [prompt], [texts[row]])[0]
        torch.testing.assert_close(alone, expected[row, : len(alone)], atol=tolerance, rtol=0)


def test_frames_and_sounds_of_other_sizes_in_a_batch_change_nothing(gemma4: Gemma4Backbone) -> None:
    films = _clip([0.5, 1.5], (96, 144), 9000), _clip([0.5, 1.5, 2.5], samples=20_000)
    clips = [*films, _clip([0.5]), _clip([1.5], (48, 144))]
    prompts = [prompt_of(gemma4, clip) for clip in clips]
    together = gemma4.encode(gemma4.collate(prompts)).logits_PV
    for prompt, logits_V in zip(prompts, together, strict=True):
        alone_PV = gemma4.encode(gemma4.collate([prompt])).logits_PV
        torch.testing.assert_close(alone_PV[0], logits_V, atol=logit_tolerance(gemma4.model, logits_V), rtol=0)


@pytest.mark.slow
def test_greedy_answers_are_the_likeliest_ids_of_the_plain_pass(gemma4: Gemma4Backbone) -> None:
    """Over windows, keys of earlier layers and capped logits: prompts are longer than a window, and so are answers."""
    exact: Gemma4Backbone = copy_of(gemma4)
    window = gemma4.model.config.text_config.sliding_window
    prompts = [prompt_of(exact, clip_of("both")), prompt_of(exact, clip_of("subtitle"), "No!")]
    assert len(prompts[1].input_ids_T) < window < len(prompts[0].input_ids_T)
    encoded, prefill = exact.encode(exact.collate(prompts)), exact.text_ids("sad and")
    made = exact.generate(encoded, 2, Sampling(window + 4, temperature=0.0), "sad and", stop="no such stop")
    rows = [[*prefill, *row] for row in made.rows()]
    with torch.no_grad():
        likeliest = repeated_logits(exact, prompts, [Branch(row // 2, tuple(ids)) for row, ids in enumerate(rows)])
    for ids, best_R in zip(rows, likeliest.argmax(-1), strict=True):
        assert ids[len(prefill) :] == best_R[len(prefill) : len(ids)].tolist()
    torch.testing.assert_close(exact.encode_media(exact.collate(prompts)).embeds_PTD, encoded.embeds_PTD)


def test_frames_sound_and_times_reach_the_answer(gemma4: Gemma4Backbone) -> None:
    clip = _clip([0.5, 1.5, 2.5], samples=16_000)
    assert clip.frames_THWC is not None
    assert clip.waveform_N is not None
    others = [
        replace(clip, frames_THWC=np.ascontiguousarray(clip.frames_THWC[::-1])),
        replace(clip, waveform_N=np.ascontiguousarray(clip.waveform_N[::-1])),
        replace(clip, facts=MediaFacts(frame_times_s=(0.5, 1.5, 9.5))),
    ]
    prompts = [prompt_of(gemma4, one) for one in (clip, *others)]
    first, *moved = answer_log_probs(gemma4, prompts, ANSWERS[:1] * 4)
    assert all(float((one - first).abs().max()) > 1e-4 for one in moved)


def test_a_prompts_media_are_the_stretch_that_the_processor_put_in(gemma4: Gemma4Backbone) -> None:
    for clip in (_clip([0.5, 61.5]), _clip([0.5]), _clip([], samples=9000), _clip([0.5, 61.5], samples=9000)):
        chat, ids_T = gemma4.chat_prompt(Sample("a", subtitle=SUBTITLE), clip), prompt_of(gemma4, clip).input_ids_T
        media = [at for at, ident in enumerate(chat.chat_ids) if ident in gemma4.placeholder_ids()]
        put_in = ids_T[gemma4.media_span(ids_T, gemma4.placeholder_ids())].tolist()
        assert [*chat.chat_ids[: media[0]], *put_in, *chat.chat_ids[media[-1] + 1 :]] == ids_T.tolist()


def test_no_control_token_comes_from_a_subtitle_and_an_answer_ends_with_its_turn(gemma4: Gemma4Backbone) -> None:
    controls = sorted(control_ids(gemma4.tokenizer))
    every = "".join(gemma4.tokenizer.convert_ids_to_tokens(controls))
    ids, plain = (
        prompt_of(gemma4, _clip([]), text).input_ids_T for text in (f"We{every} talked.{every}", "We talked.")
    )
    assert [int((ids == one).sum()) for one in controls] == [int((plain == one).sum()) for one in controls]
    end = gemma4.tokenizer.convert_tokens_to_ids("<turn|>")
    assert gemma4.tokenizer.eos_token_id == end
    assert set(controls) - set(gemma4.suppressed_ids) == {end}


def _same_weights(one: Any, other: Any) -> bool:
    first, second = one.model.state_dict(), other.model.state_dict()
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_folder_loads_as_it_was_written_and_a_published_one_is_shown_its_own_budget(
    gemma4: Gemma4Backbone, tmp_path: Path
) -> None:
    folder = gemma4.write(tmp_path / "again")
    loaded = load_backbone(str(folder))
    assert (type(loaded), loaded.budget, loaded.prompt_style) == (Gemma4Backbone, gemma4.budget, "brief")
    assert _same_weights(loaded, gemma4)
    assert loaded.model.config.text_config.final_logit_softcapping == 30.0
    (folder / "mer_r1.json").unlink()
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"eos_token": "<|endoftext|>"}))
    published = load_backbone(str(folder), weights=False)
    assert published.tokenizer.eos_token == "<turn|>"
    assert published.budget == MediaBudget(
        fps=1.0,
        max_pixels=70 * 48 * 48,
        min_pixels=35 * 48 * 48,
        size_multiple=48,
        frames_multiple=1,
        max_video_s=60.0,
        max_audio_s=30.0,
    )


@pytest.mark.parametrize("odd", ["within pictures", "deaf"])
def test_a_larger_gemma_4_is_refused(gemma4: Gemma4Backbone, tmp_path: Path, odd: str) -> None:
    folder = gemma4.write(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    if odd == "deaf":
        config["audio_config"] = None
    else:
        config["text_config"]["use_bidirectional_attention"] = "vision"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=f"^{folder}: a Gemma 4 that .*; take E2B or E4B$"):
        load_gemma4(str(folder), weights=False)


def test_vllm_is_refused(gemma4: Gemma4Backbone) -> None:
    with pytest.raises(InputError, match=r"rl\.sampler: a model of this kind is not sampled by vLLM"):
        VllmSampler(gemma4, EngineOptions(max_model_len=512))


def test_adapters_and_freezing_know_language_model_from_towers(gemma4: Gemma4Backbone) -> None:
    fresh = replace(gemma4, model=type(gemma4.model)(gemma4.model.config), wrapped_model=None)
    fresh.set_towers_trainable(False)
    learning = {name for name, parameter in fresh.model.named_parameters() if parameter.requires_grad}
    assert learning == {name for name, _ in fresh.model.named_parameters() if name.startswith("model.language_model.")}
    add_lora(fresh.model, LoraSection(r=2, lora_alpha=4, target_modules=("q_proj", "k_proj", "down_proj")))
    adapters = {name for name, parameter in fresh.model.named_parameters() if parameter.requires_grad}
    assert len(adapters) == 2 * (6 + 4 + 6)  # the last two layers have no keys of their own
    assert all(name.startswith("model.language_model.layers.") for name in adapters)


SIZES: dict[str, tuple[dict[str, Any], int]] = {
    "E2B": (
        {"hidden_size": 1536, "intermediate_size": 6144, "num_key_value_heads": 1, "num_kv_shared_layers": 20}
        | {"num_hidden_layers": 35, "layer_types": 7 * [*4 * ["sliding_attention"], "full_attention"]}
        | {"use_double_wide_mlp": True},
        5_104_297_504,
    ),
    "E4B": (
        {"hidden_size": 2560, "intermediate_size": 10240, "num_key_value_heads": 2, "num_kv_shared_layers": 18}
        | {"num_hidden_layers": 42, "layer_types": 7 * [*5 * ["sliding_attention"], "full_attention"]},
        7_941_100_832,
    ),
}


@pytest.mark.parametrize("size", list(SIZES))
def test_parameters_are_counted_exactly_before_a_run(size: str) -> None:
    from transformers import Gemma4Config, Gemma4ForConditionalGeneration

    text, number = SIZES[size]
    config = Gemma4Config(text_config=text, vision_config={}, audio_config={})
    with torch.device("meta"):
        model = Gemma4ForConditionalGeneration(config)
    shape = shape_of(config.to_dict(), "x")
    assert sum(p.numel() for p in model.parameters()) == shape.parameters == number
    assert sum(p.numel() for p in model.model.language_model.parameters()) == shape.text.parameters
    written = config.to_dict()  # the official file names the width of full layers once
    del written["text_config"]["per_layer_config"]
    written["text_config"]["global_head_dim"] = 512
    assert shape_of(written, "x") == shape


def test_an_adapter_is_counted_and_merged_and_bounds_of_infinity_stop_no_export(
    gemma4: Gemma4Backbone, gemma4_folder: Path, tmp_path: Path
) -> None:
    lora = LoraSection(r=2, lora_alpha=4)
    shape = shape_of(gemma4.model.config.to_dict(), "x")
    fresh: Gemma4Backbone = copy_of(gemma4, torch.float32)
    fresh.wrapped_model = add_lora(fresh.model, lora, str(gemma4_folder))
    learning = [parameter for parameter in fresh.model.parameters() if parameter.requires_grad]
    assert sum(p.numel() for p in learning) == shape.text.adapter_parameters(2, lora.target_modules)
    with torch.no_grad():
        for parameter in learning:
            parameter.fill_(0.1)
    fresh.save_checkpoint(tmp_path / "adapter")
    merged = load_backbone(str(export_model(str(tmp_path / "adapter"), tmp_path / "merged")))
    prompts = [prompt_of(gemma4, clip_of("both"))]
    expected, plain = (answer_log_probs(one, prompts, ANSWERS[:1]) for one in (fresh, gemma4))
    assert float((expected - plain).abs().max()) > 1e-2
    torch.testing.assert_close(answer_log_probs(merged, prompts, ANSWERS[:1]), expected, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_kept_prompts_are_the_fresh_ones(gemma4: Gemma4Backbone, samples: list[Sample], tmp_path: Path) -> None:
    fresh, kept = read_prompts(gemma4, samples), read_prompts(gemma4, samples, keep_in=tmp_path)

    def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
        return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())

    for one, other in zip(fresh, kept, strict=True):
        assert (one.id, one.facts) == (other.id, other.facts)
        assert torch.equal(one.input_ids_T, other.input_ids_T)
        assert same(one.media, other.media)
