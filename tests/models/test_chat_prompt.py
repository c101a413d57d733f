"""A prompt for an engine that runs the processor itself has the ids that our own processing gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mer_r1.data.sample import Clip, MediaFacts, Sample
from mer_r1.errors import InputError
from mer_r1.media import read_clip

if TYPE_CHECKING:
    from mer_r1.models.backbone import Backbone
    from mer_r1.models.causal_lm import CausalLMBackbone
    from mer_r1.models.qwen2_5_omni import OmniBackbone
    from mer_r1.models.qwen2_5_vl import VisionBackbone
    from mer_r1.models.qwen3_omni import Omni3Backbone
    from mer_r1.models.qwen3_vl import Qwen3VLBackbone


def test_ids_and_facts_are_those_of_the_prepared_prompt(
    tiny: OmniBackbone,
    omni3: Omni3Backbone,
    vision: VisionBackbone,
    qwen3_vl: Qwen3VLBackbone,
    words: CausalLMBackbone,
    samples: list[Sample],
) -> None:
    backbones: tuple[Backbone, ...] = (tiny, omni3, vision, qwen3_vl, words)
    for backbone in backbones:
        for sample in (sample for sample in samples if sample.subtitle):
            clip = read_clip(sample, backbone.budget)
            prepared, chat = backbone.prepare(sample, clip), backbone.chat_prompt(sample, clip)
            assert chat.input_ids == prepared.input_ids_T.tolist()
            assert (chat.id, chat.facts) == (prepared.id, prepared.facts)


@pytest.mark.parametrize("num_samples", [1, 1600, 1601, 1759, 1760, 1919, 1920, 2081, 15_999, 16_000, 16_161, 50_321])
def test_sound_of_any_length_has_as_many_ids_as_the_processor_makes(
    tiny: OmniBackbone, omni3: Omni3Backbone, num_samples: int
) -> None:
    clip = Clip(None, np.full(num_samples, 0.1, np.float32), MediaFacts())
    sample = Sample("sound", subtitle="Look!")
    for backbone in (tiny, omni3):
        assert backbone.chat_prompt(sample, clip).input_ids == backbone.prepare(sample, clip).input_ids_T.tolist()


@pytest.mark.parametrize("num_frames", [1, 2, 6])
def test_frames_of_any_number_have_as_many_ids_as_the_processor_makes(
    tiny: OmniBackbone, omni3: Omni3Backbone, vision: VisionBackbone, qwen3_vl: Qwen3VLBackbone, num_frames: int
) -> None:
    facts = MediaFacts(tuple(0.35 * number for number in range(num_frames)), video_s=3.0)
    for backbone in (tiny, omni3, vision, qwen3_vl):
        side = backbone.budget.size_multiple
        clip = Clip(np.zeros((num_frames, 2 * side, 3 * side, 3), np.uint8), None, facts)
        chat = backbone.chat_prompt(Sample("frames"), clip)
        assert chat.input_ids == backbone.prepare(Sample("frames"), clip).input_ids_T.tolist()
        assert chat.frames_per_s == pytest.approx(num_frames / 3, rel=2e-6)


def test_a_backbone_without_weights_makes_the_same_prompts(
    tiny: OmniBackbone, tiny_folder: Path, samples: list[Sample]
) -> None:
    from mer_r1.models.loading import load_backbone

    light = load_backbone(str(tiny_folder), weights=False)
    assert {parameter.device.type for parameter in light.model.parameters()} == {"meta"}
    assert light.suppressed_V.tolist() == tiny.suppressed_V.tolist()
    clip = read_clip(samples[0], light.budget)
    assert light.chat_prompt(samples[0], clip).input_ids == tiny.chat_prompt(samples[0], clip).input_ids


def test_an_adapter_is_to_be_merged_for_an_engine(tmp_path: Path) -> None:
    from mer_r1.models.loading import load_backbone

    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"mer-r1 export .* --out DIR"):
        load_backbone(str(tmp_path), weights=False)


def test_what_cannot_be_shown_is_refused_as_when_it_is_prepared(words: CausalLMBackbone, samples: list[Sample]) -> None:
    mute = replace(samples[0], subtitle=None)
    with pytest.raises(InputError, match="no subtitle, and this model can only read"):
        words.chat_prompt(mute, Clip(None, None, MediaFacts()))
