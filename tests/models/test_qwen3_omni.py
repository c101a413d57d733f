"""Qwen3-Omni's Thinker: its tokens, its positions, its experts, and its folder as the official one is laid out."""

from __future__ import annotations

import copy
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mer_r1.data.sample import Clip, MediaFacts, Sample
from mer_r1.generation.endpoint import _REWRITES
from mer_r1.models.backbone import Backbone
from mer_r1.models.loading import load_backbone
from mer_r1.models.packing import pack
from mer_r1.models.qwen3_omni import Omni3Backbone
from mer_r1.models.sampler import policy_weights
from mer_r1.models.tiny.omni import CONTROL
from mer_r1.models.types import Prompt, Sampling
from tests.media_samples import (
    ANSWERS,
    answer_logits,
    clip_of,
    make_clip,
    official_logits,
    prompt_of,
    prompts_of_all_kinds,
    respond,
)
from tests.repeated_pass import copy_of, make_case, packed_pass, prompts_of, repeated
from tests.tolerance import logit_tolerance

PUBLISHED_TOKENS = {
    "image_token": "<|image_pad|>",
    "audio_token": "<|audio_pad|>",
    "video_token": "<|video_pad|>",
    "vision_bos_token": "<|vision_start|>",
    "vision_eos_token": "<|vision_end|>",
    "audio_bos_token": "<|audio_start|>",
    "audio_eos_token": "<|audio_end|>",
}
WEIGHT = re.compile(
    r"thinker\.(lm_head\.weight|model\.(embed_tokens\.weight|norm\.weight"
    r"|layers\.\d+\.(self_attn|mlp\.gate|mlp\.experts\.\d+\.(gate|up|down)_proj|(input|post_attention)_layernorm)\b.*)"
    r"|visual\.(patch_embed|pos_embed|blocks\.\d+|merger|merger_list\.\d+)\..+"
    r"|audio_tower\.(conv2d[123]|conv_out|layers\.\d+|ln_post|proj[12])\..+)"
)


def _tokens(backbone: Backbone, prompt: Prompt, medium: str) -> int:
    return int((prompt.input_ids_T == getattr(backbone.model.config, f"{medium}_token_id")).sum())


@pytest.mark.parametrize(("seconds", "tokens"), [(0.02, 2), (0.1, 2), (0.5, 7), (1.0, 13), (1.37, 18), (2.0, 26)])
def test_sound_costs_13_tokens_a_second(omni3: Omni3Backbone, seconds: float, tokens: int) -> None:
    """Three strided convolutions over each second's 10 ms windows; shorter sounds are padded to a tenth of a second."""
    prompt = prompt_of(omni3, make_clip(0, seconds))
    assert _tokens(omni3, prompt, "audio") == tokens
    official_logits(omni3, [prompt], ANSWERS[:1])  # raises where placeholders and outputs differ in number


@pytest.mark.parametrize("num_frames", [1, 2, 5, 8])
def test_video_costs_a_token_for_two_frames_of_32_by_32(omni3: Omni3Backbone, num_frames: int) -> None:
    prompt = prompt_of(omni3, make_clip(num_frames, 0))
    assert _tokens(omni3, prompt, "video" if num_frames > 1 else "image") == (num_frames + 1) // 2 * 4
    official_logits(omni3, [prompt], ANSWERS[:1])


def test_the_plain_pass_gives_the_official_logits(omni3: Omni3Backbone) -> None:
    """Positions of ours are those that the Thinker makes where a video's times are whole thirteenths."""
    prompts = prompts_of_all_kinds(omni3)
    texts = [ANSWERS[row % len(ANSWERS)] for row in range(len(prompts))]
    _, mask = respond(omni3, texts)
    official = official_logits(omni3, prompts, texts)
    assert float(official.std()) > 0.1
    allowed = omni3.suppressed_V == 0
    made, expected = (logits[mask.bool()][:, allowed] for logits in (answer_logits(omni3, prompts, texts), official))
    torch.testing.assert_close(made, expected, atol=logit_tolerance(omni3.model, expected), rtol=0)


@pytest.mark.parametrize("seconds", [1.0, 3.1, 7.77])
def test_a_time_between_two_positions_takes_the_earlier(omni3: Omni3Backbone, seconds: float) -> None:
    """As vLLM counts: whole positions, and text behind a video from its largest + 1."""
    clip = make_clip(6, 0)
    prompt = prompt_of(omni3, replace(clip, facts=replace(clip.facts, video_s=seconds)))
    at = (prompt.input_ids_T == omni3.model.config.video_token_id).nonzero()[:, 0]
    first, last = int(at[0]), int(at[-1])
    times = [int(13 * seconds / 3 * index + 1e-6) for index in range(3)]
    positions = prompt.positions_3T
    assert positions.dtype == torch.long
    assert positions[:, :first].tolist() == [list(range(first))] * 3
    assert (positions[0, at] - first).tolist() == [time for time in times for _ in range(4)]
    assert (positions[1, at] - first).tolist() == [0, 0, 1, 1] * 3
    assert (positions[2, at] - first).tolist() == [0, 1, 0, 1] * 3
    behind = int(positions[:, at].max()) + 1
    num = len(prompt.input_ids_T) - last - 1
    assert positions[:, last + 1 :].tolist() == [list(range(behind, behind + num))] * 3


def test_pictures_are_added_again_behind_the_first_layers(omni3: Omni3Backbone) -> None:
    """Each of the tower's features, at the places of pictures alone; and the answer follows from them."""
    both = prompt_of(omni3, clip_of("both"))
    encoded = omni3.encode(omni3.collate([both]))
    seen_T = both.input_ids_T == omni3.model.config.video_token_id
    assert len(encoded.deepstack) == 2
    for features_PTD in encoded.deepstack:
        assert (features_PTD[0, seen_T].abs().sum(-1) > 0).all()
        assert not features_PTD[0, ~seen_T].any()
    case = make_case([both], 1)
    with torch.no_grad():
        whole, without = (
            packed_pass(omni3, case, given).log_probs_BR
            for given in (encoded, replace(encoded, deepstack=(torch.zeros_like(encoded.deepstack[0]),) * 2))
        )
    assert float((whole - without).abs().max()) > 1e-2


def test_towers_run_without_the_language_model_give_the_same(omni3: Omni3Backbone) -> None:
    batch = omni3.collate(prompts_of_all_kinds(omni3))
    whole, media = omni3.encode(batch), omni3.encode_media(batch)
    assert media.keys == media.values == ()
    assert torch.equal(media.embeds_PTD, whole.embeds_PTD)  # type: ignore[arg-type]
    assert len(media.deepstack) == len(whole.deepstack) == 2
    assert all(torch.equal(*pair) for pair in zip(media.deepstack, whole.deepstack, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("prefill", ["", "<think></think><answer>"])
def test_greedy_answers_are_the_argmax_of_teacher_forcing(omni3: Omni3Backbone, prefill: str) -> None:
    """Each of two answers behind the one cache of its prompt."""
    prompts = prompts_of_all_kinds(omni3)
    made = omni3.generate(omni3.encode(omni3.collate(prompts)), 2, Sampling(12, temperature=0.0), prefill)
    given_ids = omni3.text_ids(prefill)
    for row, ids in enumerate(made.rows()):
        whole = torch.tensor([[*given_ids, *ids]])
        inputs = omni3.full_inputs(omni3.collate([prompts[row // 2]]), whole, torch.ones_like(whole))
        with torch.no_grad():
            logits = omni3.response_logits(omni3.model, inputs, whole.shape[1])
        assert logits[0, len(given_ids) :].argmax(-1).tolist() == ids


@contextmanager
def _routed(backbone: Backbone) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """By layer the experts of every token (T, 2) in order, and their weights."""
    seen: list[tuple[Tensor, Tensor]] = []

    def keep(_: Any, __: Any, made: tuple[Tensor, Tensor, Tensor]) -> None:
        _, weights, experts = made
        order = experts.argsort(-1)
        seen.append((experts.gather(-1, order), weights.gather(-1, order)))

    handles = [layer.mlp.gate.register_forward_hook(keep) for layer in backbone.language_model.layers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def test_packing_changes_no_choice_of_the_router(omni3: Omni3Backbone) -> None:
    """Every token of prompts and answers goes to the experts, and by the weights, that it has in a row of its own."""
    backbone = copy_of(omni3)
    case = make_case(prompts_of(backbone, 3), 3)._replace(fast=[])
    packed = pack(backbone.collate(case.prompts), case.slow)
    with torch.no_grad():
        with _routed(backbone) as ours:
            packed_pass(backbone, case)
        with _routed(backbone) as theirs:
            repeated(backbone, case)
    lengths = [len(prompt.input_ids_T) for prompt in case.prompts]
    longest, width = max(lengths), max(lengths) + max(map(len, case.rows)) + 1  # a row has one id more
    flat = [3 * p * width + longest - length + t for p, length in enumerate(lengths) for t in range(length)]
    flat += [row * width + longest + index for row, ids in enumerate(case.rows) for index in range(len(ids))]
    assert len(flat) == len(packed.input_ids_S)
    assert len(ours) == len(theirs) == 3
    used = defaultdict[int, int](int)
    for (experts, weights), (own_experts, own_weights) in zip(ours, theirs, strict=True):
        assert torch.equal(experts, own_experts[flat])
        torch.testing.assert_close(weights, own_weights[flat], atol=1e-9, rtol=0)
        for expert in experts.flatten().tolist():
            used[expert] += 1
    assert len(used) == 4


def test_grouped_products_are_the_plain_ones(omni3: Omni3Backbone) -> None:
    """What transformers computes experts with where it can, and what it falls back to."""
    assert omni3.model.config.text_config._experts_implementation == "grouped_mm"
    plain = copy_of(omni3, torch.float32)
    prompts, texts = prompts_of_all_kinds(omni3)[:3], [ANSWERS[0]] * 3
    grouped, eager = (answer_logits(backbone, prompts, texts) for backbone in (omni3, plain))
    allowed = omni3.suppressed_V == 0
    tolerance = logit_tolerance(omni3.model, eager[..., allowed])
    torch.testing.assert_close(grouped[..., allowed], eager[..., allowed], atol=tolerance, rtol=0)


def test_a_folder_is_a_whole_omni_without_voice_with_every_expert_by_itself(omni3_folder: Path) -> None:
    config = json.loads((omni3_folder / "config.json").read_text())
    assert (config["model_type"], config["enable_audio_output"]) == ("qwen3_omni_moe", False)
    assert config["architectures"] == ["Qwen3OmniMoeForConditionalGeneration"]
    weights = load_file(omni3_folder / "model.safetensors")
    assert [name for name in weights if not WEIGHT.fullmatch(name)] == []
    experts = {name.split(".mlp.experts.")[1] for name in weights if ".experts." in name}
    assert experts == {f"{number}.{part}_proj.weight" for number in range(4) for part in ("gate", "up", "down")}
    assert weights["thinker.model.layers.0.mlp.experts.3.up_proj.weight"].shape == (64, 128)


def test_transformers_classes_take_the_folder(omni3_folder: Path, omni3: Omni3Backbone) -> None:
    import transformers

    kind = transformers.Qwen3OmniMoeThinkerForConditionalGeneration
    thinker, found = kind.from_pretrained(omni3_folder, output_loading_info=True)
    assert not any(found.values())
    whole = transformers.Qwen3OmniMoeForConditionalGeneration.from_pretrained(omni3_folder)
    assert not hasattr(whole, "talker")
    wanted = omni3.model.state_dict()
    for model in (thinker, whole.thinker):
        made = model.state_dict()
        assert made.keys() == wanted.keys()
        assert all(torch.equal(made[name], wanted[name]) for name in wanted)
    processor = transformers.AutoProcessor.from_pretrained(omni3_folder)
    assert isinstance(processor, transformers.Qwen3OmniMoeProcessor)


def test_a_folder_written_again_is_the_same_and_an_engine_is_given_its_weights(
    omni3_folder: Path, omni3: Omni3Backbone, tmp_path: Path
) -> None:
    again = load_backbone(str(omni3_folder)).write(tmp_path / "again")
    for name in ("model.safetensors", "mer_r1.json", "chat_template.jinja", "tokenizer.json"):
        assert (again / name).read_bytes() == (omni3_folder / name).read_bytes(), name
    saved = load_file(omni3_folder / "model.safetensors")
    given = dict(policy_weights(omni3))
    assert given.keys() == saved.keys()
    assert all(torch.equal(given[name], saved[name]) for name in saved)


def test_a_thinker_of_its_own_configuration_loads(omni3: Omni3Backbone, tmp_path: Path) -> None:
    """As transformers' Thinker class writes it."""
    omni3.model.save_pretrained(tmp_path)
    omni3.save(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "qwen3_omni_moe_thinker"
    loaded = load_backbone(str(tmp_path))
    assert isinstance(loaded, Omni3Backbone)
    assert (loaded.budget, loaded.prompt_style) == (omni3.budget, omni3.prompt_style)
    prompts = [prompt_of(omni3, clip_of("both"))]
    assert torch.equal(*(answer_logits(one, prompts, ANSWERS[:1]) for one in (loaded, omni3)))


def test_a_published_checkpoint_is_shown_cells_of_32(omni3_folder: Path, tmp_path: Path) -> None:
    for path in omni3_folder.iterdir():
        if path.name != "mer_r1.json":
            (tmp_path / path.name).symlink_to(path)
    backbone = load_backbone(str(tmp_path), weights=False)
    assert (backbone.budget.size_multiple, backbone.budget.audio_tokens_per_s) == (32, 13)
    assert backbone.prompt_style == "full"


def test_sound_alone_is_heard(omni3: Omni3Backbone) -> None:
    clip = clip_of("sound")
    other = Clip(None, make_clip(0, 1.0, seed=1).waveform_N, clip.facts)
    one, two = (answer_logits(omni3, [prompt_of(omni3, each)], ANSWERS[:1]) for each in (clip, other))
    assert float((one - two).nan_to_num().abs().max()) > 1e-3


THINKING = """{% for message in messages %}<|im_start|>{{ message.role }}
{% if message.role == 'assistant' %}<think>
{{ message.content.split('</think>')[0].split('<think>')[-1] }}
</think>

{{ message.content.split('</think>')[-1] }}{% elif message.content is string %}{{ message.content }}{% else %}
{%- for part in message.content %}{% if part.type == 'text' %}{{ part.text }}{% else %}<{{ part.type }}>{% endif %}
{%- endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
<think>
{% endif %}"""
"""As the templates of Qwen3's Thinking models treat a block of thoughts."""


def test_a_block_of_thoughts_that_the_template_opens_is_left_to_the_answer(omni3: Omni3Backbone) -> None:
    """So slow answers begin with <think>, and a fast one's prefill closes the block that it opens."""
    thinking = replace(omni3, processor=copy.deepcopy(omni3.processor))
    thinking.processor.chat_template = THINKING
    prompt = thinking.prepare(Sample("words", subtitle="We talked."), Clip(None, None, MediaFacts()))
    read = thinking.tokenizer.decode(prompt.input_ids_T)
    assert read.endswith("<|im_start|>assistant\n")
    assert torch.equal(prompt.input_ids_T, prompt_of(omni3, make_clip(0, 0.0), "We talked.").input_ids_T)


def test_the_template_of_the_guide_shows_a_server_what_was_taught(omni3: Omni3Backbone) -> None:
    """With it a server continues the fast prefill, which it refuses with one that rewrites the block of thoughts."""
    guide = (Path(__file__).parents[2] / "docs" / "endpoints.md").read_text(encoding="utf-8")
    plain = guide.partition("(`--chat-template plain.jinja`)")[2].split("```")[1].strip("\n")
    for name, token in PUBLISHED_TOKENS.items():
        assert token in plain
        plain = plain.replace(token, CONTROL[name])
    chat: list[dict[str, Any]] = [{"role": "system", "content": "Look."}]
    chat.append({"role": "user", "content": [{"type": kind, "text": "Hm."} for kind in ("video", "audio", "text")]})
    turn = {"role": "assistant", "content": "<think></think><answer>"}

    def shown(template: str | None, *more: dict[str, Any]) -> Any:
        how = {"continue_final_message": True} if more else {"add_generation_prompt": True}
        return omni3.processor.apply_chat_template([*chat, *more], chat_template=template, tokenize=False, **how)

    assert shown(plain) == shown(None)
    assert shown(plain, turn) == shown(None) + turn["content"]
    with pytest.raises(ValueError, match=re.escape(_REWRITES)):
        shown(THINKING, turn)
