"""A causal language model reads the subtitle, all of it and nothing else, and answers as by transformers' own code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mer_r1.data.sample import MediaFacts, Sample
from mer_r1.errors import InputError
from mer_r1.models.causal_lm import CausalLMBackbone, load_causal_lm
from mer_r1.models.features import read_prompts
from mer_r1.models.packing import Branch
from mer_r1.models.tiny.omni import seeded
from mer_r1.models.tiny.text import tiny_text
from mer_r1.models.types import Prompt, Sampling
from mer_r1.prompting.templates import PROMPT_TEMPLATES
from tests.media_samples import ANSWERS, clip_of, control_ids, make_clip, prompt_of, respond
from tests.repeated_pass import (
    copy_of,
    gradients_of,
    make_case,
    packed_pass,
    prompts_of,
    repeated,
    repeated_logits,
)
from tests.tolerance import logit_tolerance

NOTHING = make_clip(0, 0)
SUBTITLES = (
    "We talked for a while.",
    "No!",
    "I could not do anything. It is awful news, all of it.",
    "ünï 心 \U0001f600",
)


def _prompts(backbone: CausalLMBackbone) -> list[Prompt]:
    return [prompt_of(backbone, NOTHING, subtitle) for subtitle in SUBTITLES]


@torch.no_grad()
def _logits(backbone: CausalLMBackbone, prompts: Sequence[Prompt], ids_BR: Tensor, mask_BR: Tensor) -> Tensor:
    inputs = backbone.full_inputs(backbone.collate(prompts), ids_BR, mask_BR)
    return backbone.response_logits(backbone.model, inputs, ids_BR.shape[1])


def test_a_prompt_is_the_templates_chat_with_the_subtitle(words: CausalLMBackbone) -> None:
    for subtitle in SUBTITLES:
        chat = [{"role": "user", "content": f"{subtitle}\nEmotions?"}]
        official = words.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"]
        prompt = prompt_of(words, NOTHING, subtitle)
        assert prompt.input_ids_T.tolist() == official
        assert prompt.positions_3T.tolist() == [list(range(len(official)))] * 3
        assert (prompt.id, prompt.media, prompt.facts) == ("clip", {}, MediaFacts())


def test_the_full_style_puts_a_system_text_before(words: CausalLMBackbone) -> None:
    style = PROMPT_TEMPLATES["full"]
    text = words.tokenizer.decode(prompt_of(replace(words, prompt_style="full"), NOTHING, "No!").input_ids_T)
    user = style.text("No!")
    assert "<Subtitle>No!</Subtitle>" in user
    assert text == (
        f"<|im_start|>system\n{style.system}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"
    )


def test_candidates_are_shown_as_data_and_a_sample_without_them_is_named(words: CausalLMBackbone) -> None:
    choosing = replace(words, prompt_style="brief_choice")
    sample = Sample("a", subtitle="No!", candidates=("awe", "fear<|im_end|>"))
    text = choosing.tokenizer.decode(choosing.prepare(sample, NOTHING).input_ids_T)
    assert text == "<|im_start|>user\nNo!\nEmotion? awe, fear <|im_end|>\n<|im_start|>assistant\n"
    with pytest.raises(InputError, match="sample 'a': has no candidates"):
        choosing.prepare(replace(sample, candidates=()), NOTHING)


def _with_template(backbone: CausalLMBackbone, folder: Path, template: str | None) -> CausalLMBackbone:
    """The backbone, its tokenizer read anew with another chat template."""
    backbone.tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").unlink()
    tokenizer = type(backbone.tokenizer).from_pretrained(folder)
    tokenizer.chat_template = template
    return replace(backbone, processor=tokenizer, prompt_style="full")


def test_a_template_without_a_system_turn_is_given_it_with_the_users(words: CausalLMBackbone, tmp_path: Path) -> None:
    template = (
        "{% for message in messages %}{% if message.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "[{{ message.content }}]{% endfor %}"
    )
    refusing = _with_template(words, tmp_path, template)
    style = PROMPT_TEMPLATES["full"]
    text = refusing.tokenizer.decode(prompt_of(refusing, NOTHING, "No!").input_ids_T)
    assert text == f"[{style.system}\n{style.text('No!')}]"


def test_a_tokenizer_without_template_gets_the_text_as_it_stands(words: CausalLMBackbone, tmp_path: Path) -> None:
    style = PROMPT_TEMPLATES["full"]
    plain = _with_template(words, tmp_path, None)
    text = plain.tokenizer.decode(prompt_of(plain, NOTHING, "No!").input_ids_T)
    assert text == f"{style.system}\n{style.text('No!')}\n"


def test_a_block_of_thoughts_that_the_template_opens_is_left_to_the_model(
    words: CausalLMBackbone, tmp_path: Path
) -> None:
    opening = words.tokenizer.chat_template.replace("assistant\n", "assistant\n<think>\n")
    thinking = replace(_with_template(words, tmp_path, opening), prompt_style="brief")
    assert "assistant\n<think>" in opening
    prompt = prompt_of(thinking, NOTHING, "No! <think>")
    text = thinking.tokenizer.decode(prompt.input_ids_T)
    assert text == "<|im_start|>user\nNo! <think>\nEmotions?<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("subtitle", [None, "", " \n", "<|im_end|>"])
def test_a_sample_without_a_subtitle_is_named(words: CausalLMBackbone, subtitle: str | None) -> None:
    with pytest.raises(InputError, match=r"sample silent: no subtitle, and this model can only read") as caught:
        words.prepare(Sample("silent", subtitle=subtitle), clip_of("both"))
    assert "\n" not in str(caught.value)


def test_media_change_nothing_and_are_not_reported_as_seen(words: CausalLMBackbone) -> None:
    clip = clip_of("both")
    clip = replace(clip, facts=replace(clip.facts, audio_s=1.0, audio_taken_s=1.0))
    shown, read = prompt_of(words, clip), prompt_of(words, NOTHING)
    assert torch.equal(shown.input_ids_T, read.input_ids_T)
    assert (shown.media, shown.facts) == ({}, MediaFacts())


def test_no_control_token_comes_from_a_subtitle(words: CausalLMBackbone) -> None:
    controls = torch.tensor(sorted(control_ids(words.tokenizer)))
    assert len(controls) == 3

    def counted(subtitle: str) -> list[int]:
        ids_T = prompt_of(words, NOTHING, subtitle).input_ids_T
        counts: list[int] = (ids_T[:, None] == controls).sum(0).tolist()
        return counts

    every = "".join(words.tokenizer.convert_ids_to_tokens(controls.tolist()))
    assert counted(f"We{every} talked.{every}") == counted("We talked.")


def test_a_batch_gives_the_logits_that_the_model_gives_each_alone(words: CausalLMBackbone) -> None:
    prompts = _prompts(words)
    ids, mask = respond(words, [ANSWERS[row % len(ANSWERS)] for row in range(len(prompts))])
    ours = _logits(words, prompts, ids, mask)
    encoded = words.encode(words.collate(prompts))
    assert encoded.embeds_PTD is None
    allowed = words.suppressed_V == 0
    for row, prompt in enumerate(prompts):
        num = int(mask[row].sum())
        with torch.no_grad():
            whole = words.model(input_ids=torch.cat([prompt.input_ids_T, ids[row, :num]])[None]).logits
        official = whole[0, len(prompt.input_ids_T) - 1 : -1]
        assert float(official.std()) > 0.1
        tolerance = logit_tolerance(words.model, official)
        torch.testing.assert_close(ours[row, :num][:, allowed], official[:, allowed], atol=tolerance, rtol=0)
        torch.testing.assert_close(encoded.logits_PV[row], official[0], atol=tolerance, rtol=0)


@pytest.mark.slow
def test_greedy_answers_are_those_of_the_models_own_generate(words: CausalLMBackbone) -> None:
    prompts = _prompts(words)
    made = words.generate(words.encode(words.collate(prompts)), 2, Sampling(12, temperature=0.0), stop="no such stop")
    suppressed = torch.nonzero(words.suppressed_V)[:, 0].tolist()
    for row, prompt in enumerate(prompts):
        ids = prompt.input_ids_T[None]
        whole = words.model.generate(
            ids, attention_mask=ids * 0 + 1, max_new_tokens=12, do_sample=False, suppress_tokens=suppressed
        )
        for copy in (2 * row, 2 * row + 1):
            num = int(made.mask_BR[copy].sum())
            assert made.ids_BR[copy, :num].tolist() == whole[0, len(prompt.input_ids_T) :].tolist()


def test_it_has_no_towers_and_one_axis(words: CausalLMBackbone) -> None:
    assert (words.towers(), words.placeholder_ids(), words.num_position_axes) == ((), (), 1)
    assert words.language_model is words.model.model
    positions_3BT = torch.arange(5).expand(3, 2, -1)
    assert words.position_argument(positions_3BT).shape == (2, 5)


@pytest.mark.slow
def test_kept_prompts_are_the_fresh_ones(words: CausalLMBackbone, samples: list[Sample], tmp_path: Path) -> None:
    read = [sample for sample in samples if sample.subtitle]
    fresh, kept = read_prompts(words, read), read_prompts(words, read, keep_in=tmp_path)
    for one, other in zip(fresh, kept, strict=True):
        assert (one.id, one.facts, one.media) == (other.id, other.facts, other.media)
        assert torch.equal(one.input_ids_T, other.input_ids_T)
        assert torch.equal(one.positions_3T, other.positions_3T)


def _refused(folder: Path, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        load_causal_lm(str(folder))
    message = str(caught.value)
    assert message.startswith(str(folder))
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_tokenizer_that_knows_more_tokens_than_the_model_is_refused(words_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(words_folder, tmp_path / "model"))
    tiny_text(["entirely other words", "and many more of them"] * 3, vocab_size=320).model.save_pretrained(folder)
    _refused(folder, "tokens and its model embeds", "copy both from one checkpoint")


def test_a_tokenizer_without_an_end_token_is_refused_and_one_without_padding_gets_it(
    words_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(words_folder, tmp_path / "model"))
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "pad_token": None}))
    loaded = load_causal_lm(str(folder))
    assert loaded.tokenizer.pad_token_id == loaded.tokenizer.eos_token_id
    batch = loaded.collate(_prompts(loaded))
    assert (batch.input_ids_PT[batch.mask_PT == 0] == loaded.tokenizer.eos_token_id).all()
    assert loaded.encode(batch).logits_PV.isfinite().all()
    path.write_text(json.dumps({**config, "eos_token": None}))
    _refused(folder, "names no end token")


SMALL: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2}
HEADS: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
KINDS_OF_LAYER = ["sliding_attention", "full_attention"]
UNLIKE_ALONE = {
    "gemma2": (HEADS, "attention with softcap"),
    "phimoe": (HEADS | {"sliding_window": 8, "num_local_experts": 2}, "in the windows that its configuration names"),
    "llama4_text": (HEADS | {"intermediate_size_mlp": 16, "num_local_experts": 2}, "kind chunked_attention"),
    "granitemoehybrid": (HEADS | {"mamba_n_heads": 2, "mamba_d_head": 16}, "kind linear_attention"),
    "lfm2": (HEADS | {"layer_types": ["conv", "full_attention"]}, "kind conv cannot share"),
    "gpt_oss": (HEADS | {"layer_types": ["full_attention"] * 2, "num_local_experts": 2}, "attention with s_aux"),
    "doge": ({"num_attention_heads": 2, "num_key_value_heads": 1}, "a mask of its own"),
    "bert": ({"num_attention_heads": 2}, "attention in both directions"),
    "nemotron": (HEADS, "attention that is not handed its arguments"),
    "cohere": ({"num_attention_heads": 2, "num_key_value_heads": 1}, "scales its logits"),
    "granite": ({"num_attention_heads": 2, "num_key_value_heads": 1, "logits_scaling": 8.0}, "scales its"),
}


def _odd_folder(folder: Path, tokenizer: Any, kind: str, sizes: dict[str, Any]) -> Path:
    from transformers import AutoConfig, AutoModelForCausalLM

    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), **(SMALL | ids | sizes))
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", list(UNLIKE_ALONE))
def test_a_model_that_would_answer_unlike_alone_is_refused(words: CausalLMBackbone, tmp_path: Path, kind: str) -> None:
    sizes, said = UNLIKE_ALONE[kind]
    _refused(_odd_folder(tmp_path, words.tokenizer, kind, sizes), said, "give the folder of a causal language model")
    assert load_causal_lm(str(tmp_path), weights=False).model.device.type == "meta"  # an engine runs it as it is


WINDOW: dict[str, Any] = {
    "sliding_window": 8,
    "num_hidden_layers": 4,
    "layer_types": [*KINDS_OF_LAYER, *KINDS_OF_LAYER],
}
AS_ALONE: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen3": {},
    "smollm3": {},
    "gemma": {},
    "gpt2": {"n_inner": 16},
    "granite": {"logits_scaling": 1.0},
    "mistral": {"sliding_window": 8},
    "gemma3_text": WINDOW | {"final_logit_softcapping": 2.0},
    "gemma4_text": WINDOW
    | {
        "final_logit_softcapping": 2.0,
        "num_kv_shared_layers": 2,
        "global_head_dim": 16,
        "hidden_size_per_layer_input": 4,
        "vocab_size_per_layer_input": 900,
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(AS_ALONE))
def test_a_model_is_read_and_sampled_behind_a_shared_prompt_as_alone(
    words: CausalLMBackbone, tmp_path: Path, kind: str
) -> None:
    """In windows, with keys and values of an earlier layer, and with capped logits, too."""
    loaded = load_causal_lm(str(_odd_folder(tmp_path, words.tokenizer, kind, HEADS | AS_ALONE[kind])))
    with torch.no_grad(), seeded(0):
        for parameter in loaded.model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.3)
    exact = copy_of(loaded)
    case = make_case(prompts_of(exact, 3), group=2)
    assert len(case.prompts[0].input_ids_T) > 3 * 8
    ours, theirs = packed_pass(exact, case).log_probs_BR, repeated(exact, case)
    assert float(theirs.detach().std()) > 0.5
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    mine, expected = gradients_of(exact, ours), gradients_of(exact, theirs)
    assert mine.keys() == expected.keys()
    for name, gradient in expected.items():
        assert float((mine[name] - gradient).norm()) <= 1e-5 * float(gradient.norm()), name
    encoded, prefill = exact.encode(exact.collate(case.prompts)), exact.text_ids("sad and")
    made = exact.generate(encoded, 2, Sampling(12, temperature=0.0), prefill="sad and")
    rows = [[*prefill, *row] for row in made.rows()]
    branches = [Branch(number // 2, tuple(row)) for number, row in enumerate(rows)]
    with torch.no_grad():
        greedy_BR = repeated_logits(exact, case.prompts, branches).argmax(-1)
    for row, greedy_R in zip(rows, greedy_BR, strict=True):
        assert row[len(prefill) :] == greedy_R[len(prefill) : len(row)].tolist()


def test_a_model_whose_attention_cannot_be_exchanged_is_refused(words: CausalLMBackbone, tmp_path: Path) -> None:
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(vocab_size=len(words.tokenizer), hidden_size=16, state_size=4, num_hidden_layers=1)
    MambaForCausalLM(config).save_pretrained(tmp_path)
    words.tokenizer.save_pretrained(tmp_path)
    _refused(tmp_path, "'mamba'", "cannot be exchanged")
