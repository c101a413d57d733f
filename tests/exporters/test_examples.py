"""Examples for other trainers: our own texts, and every row that gives none is counted with its reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mer_r1.data.sample import Mode, Sample
from mer_r1.errors import InputError
from mer_r1.exporters.examples import Choice, make_examples
from mer_r1.exporters.sounds import with_sounds
from mer_r1.media import MediaBudget, read_clip
from mer_r1.models.qwen2_5_omni import OmniBackbone
from mer_r1.prompting.templates import PROMPT_TEMPLATES

ROW = Sample("a", subtitle="I won!", labels=("happy", "calm"), reasoning="A smile.")
BOTH: tuple[Mode, ...] = ("slow", "fast")
MEDIA = MediaBudget(num_frames=2, fps=None)
TAGS = ("<video>", "<image>", "<audio>")


def test_the_chat_is_the_templates_and_the_response_the_target(tmp_path: Path) -> None:
    template = PROMPT_TEMPLATES["full"]
    slow, fast = make_examples([ROW], Choice(modes=BOTH))[0]
    assert slow.chat()[:2] == fast.chat()[:2]
    assert slow.chat() == [
        {"role": "system", "content": template.system},
        {"role": "user", "content": template.text("I won!")},
        {"role": "assistant", "content": "<think>A smile.</think><answer>happy, calm</answer>"},
    ]
    assert fast.response == "<think></think><answer>happy, calm</answer>"
    brief = make_examples([ROW], Choice(prompt_style="brief"))[0][0]
    assert [turn["role"] for turn in brief.chat()] == ["user", "assistant"]


def test_fast_answers_may_be_asked_for_by_a_prompt_of_their_own() -> None:
    fast = make_examples([ROW], Choice(modes=("fast",), fast="prompt"))[0][0]
    alone = PROMPT_TEMPLATES["full"].answer_only()
    assert (fast.system, fast.user) == (alone.system, alone.text("I won!"))
    assert fast.response == "<answer>happy, calm</answer>"


def test_for_rl_there_is_one_prompt_a_row_and_the_solution_beside_it() -> None:
    examples = make_examples([replace(ROW, reasoning=None)], Choice("rl", BOTH))[0]
    assert [example.response for example in examples] == [None]
    assert examples[0].chat()[-1]["role"] == "user"
    assert examples[0].solution == "<answer>happy, calm</answer>"
    boxed = make_examples([replace(ROW, candidates=("happy", "sad"))], Choice("rl", prompt_style="set"))[0][0]
    assert boxed.solution == "\\boxed{happy, calm}"
    assert "happy, sad" in boxed.user


@pytest.mark.parametrize(
    ("row", "choice", "reason"),
    [
        (replace(ROW, labels=()), Choice(), "without labels"),
        (replace(ROW, reasoning=None), Choice(), "without a reasoning"),
        (replace(ROW, reasoning="</think>"), Choice(), "without a reasoning"),
        (ROW, Choice("rl", prompt_style="set"), "without candidates"),
        (replace(ROW, video=Path("/nowhere/a.mp4")), Choice(), "without its video: no such file"),
        (replace(ROW, subtitle="<video> on"), Choice(), "with <video> in its text"),
        (replace(ROW, reasoning="an <audio>"), Choice(), "with <audio> in its text"),
        (replace(ROW, labels=("<image>",)), Choice("rl"), "with <image> in its text"),
    ],
)
def test_a_row_without_what_is_needed_is_left_out_and_named(row: Sample, choice: Choice, reason: str) -> None:
    fit = Sample("fit", subtitle="I won!", labels=("happy",), reasoning="A smile.", candidates=("happy", "sad"))
    examples, left_out = make_examples([fit, row, replace(row, id="b")], choice, TAGS)
    assert [example.sample.id for example in examples] == ["fit"]
    assert [*left_out.ids.values()] == [["a", "b"]]
    (line,) = left_out.lines()
    assert line.startswith(f"left out: 2 rows, each {reason}")
    assert "(the first is 'a')" in line
    with pytest.raises(InputError, match="no row gives an example"):
        make_examples([row], choice, TAGS)


def test_what_is_written_like_a_control_token_is_taken_out() -> None:
    row = replace(ROW, subtitle="<|im_end|>Bye", reasoning="A <|im_start|>smile.")
    example = make_examples([row], Choice())[0][0]
    assert "<|" not in example.user + str(example.response)


def test_templates_that_cannot_be_used_are_named() -> None:
    for choice in (Choice(prompt_style="fool"), Choice(modes=("fast",), prompt_style="full_first")):
        with pytest.raises(InputError, match="--prompt-style"):
            make_examples([ROW], choice)
    with pytest.raises(InputError, match="cannot ask for an answer alone"):
        make_examples([ROW], Choice(modes=("fast",), fast="prompt", prompt_style="set_clips"))


def test_the_chat_with_its_media_is_the_one_that_our_training_shows(
    tiny: OmniBackbone, samples: list[Sample], tmp_path: Path
) -> None:
    heard = with_sounds(samples, tmp_path)
    examples = make_examples(heard, Choice(prompt_style="brief"))[0]
    assert len(examples) == len(samples)
    for example, sample in zip(examples, samples, strict=True):
        parts = [*({"type": medium.kind} for medium in example.media), {"type": "text", "text": example.user}]
        chat = [{"role": "user", "content": parts}]
        written = tiny.processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        assert written == tiny._chat(sample, read_clip(sample, tiny.budget))


def test_the_sound_of_a_film_is_written_once_as_we_hear_it(samples: list[Sample], tmp_path: Path) -> None:
    heard = with_sounds(samples, tmp_path)
    made = [new for old, new in zip(samples, heard, strict=True) if new.audio != old.audio]
    assert made
    for sample in made:
        own, inside = (read_clip(one, MEDIA) for one in (sample, replace(sample, audio=None)))
        assert own.waveform_N is not None
        assert inside.waveform_N is not None
        assert (own.waveform_N == inside.waveform_N).all()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "sound").iterdir()}
    assert with_sounds(samples, tmp_path) == heard
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "sound").iterdir()} == before
