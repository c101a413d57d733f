"""The cold start: what a target is, which ids carry loss, and that it teaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from mer_r1.models.qwen2_5_omni import OmniBackbone
from mer_r1.models.transformers_compat import enable_checkpointing
from mer_r1.models.types import Prompt
from mer_r1.prompting.response import parse_response
from mer_r1.prompting.targets import slow_text
from mer_r1.training.sft import SftBatch, SftExample, SftExamples, collate, make_target, sft_loss

PREFILL = "<think></think><answer>"
PLAIN = Sample("a", subtitle="We talked.", labels=("happy", "calm"), reasoning="A smile.")
WHOLE = replace(PLAIN, reasoning="<think>A smile.</think><answer>cheerful</answer>")


def test_a_slow_target_keeps_the_annotators_words_and_adds_the_gold_to_a_plain_reasoning() -> None:
    assert slow_text(WHOLE) == WHOLE.reasoning
    assert slow_text(PLAIN) == "<think>A smile.</think><answer>happy, calm</answer>"


def test_slow_targets_say_the_annotators_words_and_fast_ones_the_gold(
    tiny: OmniBackbone, samples: list[Sample]
) -> None:
    end = tiny.tokenizer.eos_token_id
    for sample in samples:
        slow, fast = make_target(tiny, sample, "slow"), make_target(tiny, sample, "fast")
        assert slow.given == ()
        assert tiny.decode(slow.learned) == sample.reasoning
        assert tiny.decode(fast.given) == PREFILL
        assert tiny.decode(fast.learned) == f"{', '.join(sample.labels)}</answer>"
        assert slow.learned[-1] == fast.learned[-1] == end
        assert end not in slow.learned[:-1]
    assert any(parse_response(sample.reasoning or "").labels != sample.labels for sample in samples)


def test_both_targets_open_the_answer_with_the_same_ids(tiny: OmniBackbone) -> None:
    """The first word never shares a token with the tag, whatever the tokenizer would do."""
    slow, fast = make_target(tiny, PLAIN, "slow"), make_target(tiny, PLAIN, "fast")
    assert slow.learned[-len(fast.learned) :] == fast.learned
    assert fast.given[-1] == slow.learned[-len(fast.learned) - 1] == tiny.text_ids("<answer>")[-1]


@pytest.mark.slow
def test_checkpointing_asks_no_gradient_of_frozen_towers(
    fresh_tiny: OmniBackbone, samples: list[Sample], prompts: Sequence[Prompt]
) -> None:
    """transformers would: it makes the towers' inputs require one."""
    backbone = fresh_tiny
    backbone.set_towers_trainable(False)
    enable_checkpointing(backbone.model)
    backbone.model.train()
    asked: list[bool] = []
    for tower in backbone.towers():
        tower.register_forward_hook(lambda *given: asked.append(given[-1].last_hidden_state.requires_grad))
    examples = SftExamples.of(backbone, samples[:1], prompts[:1], ["slow"])
    sft_loss(backbone, backbone.model, collate(backbone, [examples[0]])).backward()  # type: ignore[no-untyped-call]
    assert asked == [False, False]
    learned = [weight for name, weight in backbone.model.named_parameters() if "language_model.layers.0" in name]
    assert learned
    assert all(weight.grad is not None and weight.grad.any() for weight in learned)


@pytest.mark.parametrize("mode", ["slow", "fast"])
def test_a_sample_without_labels_is_refused(tiny: OmniBackbone, mode: Any) -> None:
    with pytest.raises(InputError, match=r"'a'.*labels"):
        make_target(tiny, replace(PLAIN, labels=()), mode)


@pytest.mark.parametrize("reasoning", [None, "", "  \n"])
def test_a_sample_without_reasoning_has_no_slow_target_but_a_fast_one(
    tiny: OmniBackbone, reasoning: str | None
) -> None:
    bare = replace(PLAIN, reasoning=reasoning)
    with pytest.raises(InputError, match=r"'a'.*reasoning"):
        make_target(tiny, bare, "slow")
    assert make_target(tiny, bare, "fast").learned


def _batch(backbone: OmniBackbone, samples: Sequence[Sample], prompts: Sequence[Prompt]) -> SftBatch:
    """Every sample slow and fast."""
    examples = SftExamples.of(backbone, samples, prompts, ("slow", "fast"))
    return collate(backbone, [examples[index] for index in range(len(examples))])


def test_every_sample_comes_once_in_each_mode_with_its_own_prompt(
    tiny: OmniBackbone, samples: list[Sample], prompts: Sequence[Prompt]
) -> None:
    examples = SftExamples.of(tiny, samples, prompts, ("slow", "fast"))
    assert len(examples) == 2 * len(samples)
    for index in range(len(examples)):
        sample = samples[index % len(samples)]
        assert examples[index].prompt.id == sample.id
        assert examples[index].target == make_target(tiny, sample, "slow" if index < len(samples) else "fast")


@pytest.mark.slow
def test_the_loss_is_the_mean_cross_entropy_of_the_learned_ids(
    tiny: OmniBackbone, samples: list[Sample], prompts: Sequence[Prompt]
) -> None:
    """Against the official Thinker, row by row without padding, and torch's cross entropy over answerable ids."""
    losses: list[Tensor] = []
    for sample, prompt in zip(samples, prompts, strict=True):
        media = {name: value.float() if value.is_floating_point() else value for name, value in prompt.media.items()}
        for mode in ("slow", "fast"):
            target = make_target(tiny, sample, mode)
            ids = torch.tensor([[*prompt.input_ids_T.tolist(), *target.given, *target.learned]])
            with torch.no_grad():
                logits = tiny.model(input_ids=ids, attention_mask=torch.ones_like(ids), **media).logits[0]
            num = len(target.learned)
            scored = logits[-num - 1 : -1] + tiny.suppressed_V
            losses += torch.nn.functional.cross_entropy(scored, ids[0, -num:], reduction="none").unbind()
    with torch.no_grad():
        made = sft_loss(tiny, tiny.model, _batch(tiny, samples, prompts))
    assert float(made) == pytest.approx(float(torch.stack(losses).mean()), abs=1e-5)


@pytest.mark.slow
def test_prefill_and_padding_carry_no_loss(
    fresh_tiny: OmniBackbone, samples: list[Sample], prompts: Sequence[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradient of the loss on the logits is zero exactly where an id is given or padding."""
    seen: list[Tensor] = []
    score = fresh_tiny.response_logits

    def kept(*args: Any) -> Tensor:
        seen.append(score(*args))
        seen[-1].retain_grad()
        return seen[-1]

    monkeypatch.setattr(fresh_tiny, "response_logits", kept)
    sft_loss(fresh_tiny, fresh_tiny.model, batch := _batch(fresh_tiny, samples, prompts)).backward()  # type: ignore[no-untyped-call]
    assert seen[0].grad is not None
    assert torch.equal(seen[0].grad.abs().sum(-1) > 0, batch.learned_BR.bool())
    num_given, half = len(fresh_tiny.text_ids(PREFILL)), len(samples)
    assert (batch.learned_BR[:half, 0] == 1).all()
    assert (batch.learned_BR[half:, :num_given] == 0).all()
    assert (batch.learned_BR[half:, num_given] == 1).all()
    assert (batch.learned_BR <= batch.response_mask_BR).all()


def test_padding_does_not_change_the_loss(tiny: OmniBackbone, samples: list[Sample], prompts: Sequence[Prompt]) -> None:
    example = SftExample(prompts[1], make_target(tiny, samples[1], "fast"))
    longer = SftExample(prompts[2], make_target(tiny, samples[2], "slow"))
    with torch.no_grad():
        alone = sft_loss(tiny, tiny.model, collate(tiny, [example]))
        other = sft_loss(tiny, tiny.model, collate(tiny, [longer]))
        both = sft_loss(tiny, tiny.model, collate(tiny, [example, longer]))
    sizes = [len(example.target.learned), len(longer.target.learned)]
    assert float(both) == pytest.approx((float(alone) * sizes[0] + float(other) * sizes[1]) / sum(sizes), abs=1e-5)


@pytest.mark.slow
def test_the_towers_learn_when_they_are_free_and_not_when_frozen(
    fresh_tiny: OmniBackbone, samples: list[Sample], prompts: Sequence[Prompt]
) -> None:
    for free in (True, False):
        fresh_tiny.model.zero_grad(set_to_none=True)
        fresh_tiny.set_towers_trainable(free)
        sft_loss(fresh_tiny, fresh_tiny.model, _batch(fresh_tiny, samples, prompts)).backward()  # type: ignore[no-untyped-call]
        for tower in fresh_tiny.towers():
            learned = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in tower.parameters()]
            assert (sum(learned) > 0.9 * len(learned)) if free else not any(learned)


@pytest.mark.slow
def test_a_few_steps_teach(fresh_tiny: OmniBackbone, samples: list[Sample], prompts: Sequence[Prompt]) -> None:
    batch = _batch(fresh_tiny, samples[:3], prompts[:3])
    optimizer = torch.optim.AdamW(fresh_tiny.model.parameters(), lr=3e-3)
    losses = []
    for _ in range(6):
        loss = sft_loss(fresh_tiny, fresh_tiny.model, batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_a_profile_that_answers_first_is_taught_the_gold_words_before_the_reasoning(fresh_tiny: OmniBackbone) -> None:
    first = replace(fresh_tiny, prompt_style="brief_first")
    slow, fast = make_target(first, WHOLE, "slow"), make_target(first, WHOLE, "fast")
    assert first.decode(slow.learned) == f"<answer>happy, calm</answer>{WHOLE.reasoning}"
    assert parse_response(first.decode(slow.learned), "answer_think_answer").well_formed
    assert first.decode((*fast.given, *fast.learned)) == "<answer>happy, calm</answer>"
    assert slow.learned[: len(fast.given) + len(fast.learned)] == (*fast.given, *fast.learned)


STEPPED = replace(PLAIN, reasoning="<step1>A smile.</step1><step2>Warm.</step2><step3>Calm.</step3>\\boxed{cheerful}")


def test_a_profile_of_three_steps_learns_a_whole_stepped_reasoning_as_it_stands(fresh_tiny: OmniBackbone) -> None:
    stepped = replace(fresh_tiny, prompt_style="brief_set_clips")
    slow, fast = make_target(stepped, STEPPED, "slow"), make_target(stepped, STEPPED, "fast")
    assert (slow.given, stepped.decode(slow.learned)) == ((), STEPPED.reasoning)
    assert stepped.decode(fast.given) == "\\boxed{"
    assert stepped.decode(fast.learned) == "happy, calm}"
    assert slow.learned[-1] == fast.learned[-1] == stepped.tokenizer.eos_token_id


@pytest.mark.parametrize(
    ("style", "answer"), [("brief", "cheerful</answer>"), ("brief_set_clips", "cheerful}")], ids=["tags", "steps"]
)
def test_the_answer_is_cut_into_ids_by_itself(
    fresh_tiny: OmniBackbone, monkeypatch: pytest.MonkeyPatch, style: str, answer: str
) -> None:
    """Else a tokenizer may join the first word to what opens the answer, as Qwen's does `{cheerful`."""
    asked: list[str] = []
    cut = OmniBackbone.text_ids

    def watched(self: OmniBackbone, text: str) -> list[int]:
        asked.append(text)
        return cut(self, text)

    monkeypatch.setattr(OmniBackbone, "text_ids", watched)
    make_target(replace(fresh_tiny, prompt_style=style), STEPPED, "slow")
    assert asked[-1] == answer


@pytest.mark.slow
@pytest.mark.parametrize("reasoning", [PLAIN.reasoning, WHOLE.reasoning, f"{STEPPED.reasoning} so"])
def test_a_profile_of_three_steps_says_what_a_slow_target_needs(fresh_tiny: OmniBackbone, reasoning: str) -> None:
    stepped = replace(fresh_tiny, prompt_style="brief_set_clips")
    with pytest.raises(InputError, match=r"'a': its reasoning is no whole response in three steps; .*<step1>"):
        make_target(stepped, replace(PLAIN, reasoning=reasoning), "slow")


def test_stepped_reasoning_becomes_a_think_block_and_its_answer_where_that_is_asked_for(tiny: OmniBackbone) -> None:
    text = tiny.decode(make_target(tiny, STEPPED, "slow").learned)
    assert text == "<think>A smile.\nWarm.\nCalm.</think><answer>cheerful</answer>"


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("brief", "<think></think><answer>happy, calm</answer>"),
        ("brief_first", "<answer>happy, calm</answer><think></think><answer>happy, calm</answer>"),
        ("brief_set_clips", "\\boxed{happy, calm}"),
    ],
)
def test_a_label_target_is_the_answer_alone_learned_from_its_first_token(
    fresh_tiny: OmniBackbone, style: str, text: str
) -> None:
    backbone = replace(fresh_tiny, prompt_style=style)
    target = make_target(backbone, replace(PLAIN, reasoning=None), "label")
    assert (target.given, backbone.decode(target.learned)) == ((), text)
    assert target.learned[-1] == backbone.tokenizer.eos_token_id
    response = parse_response(text, backbone.response_format.name)
    assert (response.labels, response.reasoning, response.status) == (("happy", "calm"), "", "ok")
