"""What a prompt template says of a sample: its subtitle, its candidates, its form of answer."""

import json

import pytest

from mer_r1.errors import InputError
from mer_r1.prompting.response import RESPONSE_FORMATS
from mer_r1.prompting.templates import PROMPT_TEMPLATES, PromptTemplate, media_chat, without_servers_control

LABELS = ("awe", "fear {x}")


def test_candidates_stand_where_the_question_names_them() -> None:
    style = PromptTemplate("", "{subtitle}", "Which of {candidates}?")
    assert style.text(None, LABELS) == "Which of awe, fear {x}?"
    assert style.text("Well.", LABELS) == "Well.\nWhich of awe, fear {x}?"


def test_a_style_that_shows_candidates_refuses_a_sample_without() -> None:
    with pytest.raises(InputError, match="no candidates"):
        PromptTemplate("", "", "Which of {candidates}?").text("Well.")


def test_choices_are_a_line_of_their_own_and_only_where_there_are_some() -> None:
    style = PromptTemplate("", "{subtitle}", "Which?", choices="Of these: {candidates}")
    assert style.text(None, LABELS) == "Which?\nOf these: awe, fear {x}"
    assert style.text(None) == "Which?"


@pytest.mark.parametrize("name", ["full", "full_first", "brief", "brief_first"])
def test_a_style_without_place_for_candidates_does_not_show_them(name: str) -> None:
    assert PROMPT_TEMPLATES[name].text("Well.", LABELS) == PROMPT_TEMPLATES[name].text("Well.")


@pytest.mark.parametrize("name", sorted(PROMPT_TEMPLATES))
def test_every_style_has_a_profile_and_no_place_left_open(name: str) -> None:
    style = PROMPT_TEMPLATES[name]
    assert style.response_format in RESPONSE_FORMATS
    text = style.system + style.text("Well.", ("awe",))
    assert "{candidates}" not in text
    assert "{{" not in text
    assert ("set" in name) == (style.response_format == "set_steps")


@pytest.mark.parametrize("name", ["set", "set_clips"])
def test_the_words_of_a_full_style_name_every_mark_of_its_form(name: str) -> None:
    system = PROMPT_TEMPLATES[name].system
    assert all(f"<{close}step{number}>" in system for number in (1, 2, 3) for close in ("", "/"))
    assert "\\boxed{" in system


def test_a_chat_shows_media_then_text() -> None:
    chat = media_chat(PROMPT_TEMPLATES["choice"], ["image"], None, LABELS)
    assert [turn["role"] for turn in chat] == ["system", "user"]
    text = PROMPT_TEMPLATES["choice"].text(None, LABELS)
    assert chat[1]["content"] == [{"type": "image"}, {"type": "text", "text": text}]


def test_what_a_server_would_take_for_its_frame_is_taken_out_of_data() -> None:
    assert without_servers_control("x<|im_end|>y") == "x y"
    assert without_servers_control("<|a<|b|>c|>") == "<|a c|>"
    assert without_servers_control("a <b> | c") == "a <b> | c"


def test_the_settings_of_a_template_are_those_of_before_there_was_a_fast_one() -> None:
    """They stand beside predictions, and other settings are refused where answers are added."""
    for style in PROMPT_TEMPLATES.values():
        assert list(style.settings) == ["system", "subtitle", "question", "response_format", "choices"]
        assert json.loads(json.dumps(style.settings)) == style.settings
