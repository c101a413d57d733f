r"""Three steps and a box, read from well-formed, half-written and hostile texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_r1.prompting.response import RESPONSE_FORMATS, is_well_formed, parse_response
from mer_r1.prompting.steps import BOX, Steps, keeps_form, read_steps, steps_of
from tests.linear import processor_time

STRICT = "<step1>A dog.</step1><step2>It warms.</step2><step3>Pleasant, calm.</step3>\\boxed{joy}"
ALL = ("A dog.", "It warms.", "Pleasant, calm.")
NONE = (None, None, None)
PIECES = st.sampled_from(
    [*(f"<{close}step{n}>" for n in range(5) for close in ("", "/")), BOX, "{", "}", "\\", "<", "a", " ", "\n", "joy"]
)
ANY_TEXT = st.lists(PIECES | st.text(max_size=4), max_size=24).map("".join)

CASES: list[tuple[str, Steps, tuple[str, ...], str, bool]] = [
    # text, steps, labels, status, strictly well formed
    (STRICT, ALL, ("joy",), "ok", True),
    (f"\n{STRICT.replace('><', '> <')}\n", ALL, ("joy",), "ok", True),
    (STRICT.replace("joy", " Happy, surprised "), ALL, ("happy", "surprised"), "ok", True),
    (STRICT.replace("A dog.", "A {dog} at 3 < 4 \\o/"), ("A {dog} at 3 < 4 \\o/", *ALL[1:]), ("joy",), "ok", True),
    (STRICT.replace("A dog", " A Dog"), ("A Dog.", *ALL[1:]), ("joy",), "ok", True),
    (STRICT.replace("joy", ""), ALL, (), "no_answer", False),
    (STRICT.replace("joy", " ... "), ALL, (), "no_answer", False),
    (STRICT.replace("A dog.", " \n"), (None, *ALL[1:]), ("joy",), "ok", False),
    (STRICT.replace("</step1>", "</step1>so"), ALL, ("joy",), "ok", False),
    (STRICT + " indeed", ALL, ("joy",), "ok", False),
    ("Well: " + STRICT, ALL, ("joy",), "ok", False),
    (STRICT + "\\boxed{fear}", ALL, ("fear",), "ok", False),
    (STRICT.replace("step2", "step4"), ("A dog.", None, ALL[2]), ("joy",), "ok", False),
    (STRICT.replace("step", "Step"), NONE, ("joy",), "ok", False),
    ("<step2>b</step2><step1>a</step1><step3>c</step3>\\boxed{joy}", ("a", "b", "c"), ("joy",), "ok", False),
    (STRICT.replace("<step2>", "<step1>z</step1><step2>"), ALL, ("joy",), "ok", False),
    ("<step1></step1><step1>z</step1>\\boxed{joy}", NONE, ("joy",), "ok", False),
    ("\\boxed{joy}", NONE, ("joy",), "ok", False),
    ("joy", NONE, (), "no_answer", False),
    ("", NONE, (), "no_answer", False),
    # what is never closed
    (STRICT.replace("</step1>", ""), ALL, ("joy",), "truncated", False),
    (STRICT.replace("</step3>", ""), ALL, ("joy",), "truncated", False),
    (STRICT.replace("</step1>", "</step2>"), ("A dog.</step2>", *ALL[1:]), ("joy",), "truncated", False),
    ("<step1>A dog", NONE, (), "truncated", False),
    ("<step1>A dog.</step1><step2>It wa", ("A dog.", None, None), (), "truncated", False),
    (STRICT[:-1], ALL, (), "truncated", False),
    # a box inside a step that is closed later is reasoning; one before the box's end starts it anew
    (STRICT.replace("A dog.", "A \\boxed{dog}"), ("A \\boxed{dog}", *ALL[1:]), ("joy",), "ok", False),
    ("\\boxed{\\boxed{joy}", NONE, ("joy",), "ok", False),
    (STRICT + "</step0>", ALL, ("joy",), "ok", False),
]


@pytest.mark.parametrize(("text", "steps", "labels", "status", "strict"), CASES, ids=[repr(case[0]) for case in CASES])
def test_a_text_of_three_steps_is_taken_apart(
    text: str, steps: Steps, labels: tuple[str, ...], status: str, strict: bool
) -> None:
    response = parse_response(text, "set_steps")
    assert (steps_of(text), response.labels, response.status) == (steps, labels, status)
    assert response.well_formed is is_well_formed(text, "set_steps") is strict


def test_the_reasoning_is_the_steps_line_by_line() -> None:
    assert parse_response(STRICT, "set_steps").reasoning == "\n".join(ALL)
    assert parse_response("<step1> A dog.\n</step1><step2>It wa", "set_steps").reasoning == "A dog.\nIt wa"
    assert parse_response("\\boxed{joy}", "set_steps").reasoning == ""


def test_every_step_and_box_is_needed_once_for_the_strict_form() -> None:
    parts = ["<step1>A dog.</step1>", "<step2>It warms.</step2>", "<step3>Pleasant, calm.</step3>", "\\boxed{joy}"]
    assert "".join(parts) == STRICT
    assert keeps_form(STRICT)
    for part in parts:
        assert not keeps_form(STRICT.replace(part, ""))
        assert not keeps_form(STRICT.replace(part, part + part))


@given(ANY_TEXT)
def test_what_keeps_the_form_has_all_that_the_reader_finds(text: str) -> None:
    for shown in (text, STRICT.replace("A dog.", text), STRICT.replace("joy", text)):
        response = parse_response(shown, "set_steps")
        read = read_steps(shown)
        assert all(0 <= step.start <= step.end <= len(shown) for step in read.steps)
        assert all("}" not in answer for answer in response.answers)
        if response.well_formed:
            assert [step.number for step in read.steps] == [1, 2, 3]
            assert None not in steps_of(shown)
            assert len(response.answers) == 1
            assert response.status == "ok"


INNER = st.text("ab {}\\/\n", min_size=1).filter(str.strip)


@given(st.tuples(INNER, INNER, INNER), st.sampled_from(["joy", "a b"]))
def test_three_steps_and_a_word_written_in_the_form_are_read_back(inner: tuple[str, str, str], word: str) -> None:
    text = "".join(f"<step{n}>{body}</step{n}>" for n, body in enumerate(inner, 1)) + f"\\boxed{{{word}}}"
    assert steps_of(text) == tuple(body.strip() for body in inner)
    assert parse_response(text, "set_steps").labels == (word,)
    assert is_well_formed(text, "set_steps")


HOSTILE = ["<step1>", "</step1>", "<step1></step1>", BOX, "}", BOX + "a}", "\\", "<", "<step1>" + BOX, " "]


@pytest.mark.slow
@pytest.mark.parametrize("head", ["", STRICT[:-1]])
@pytest.mark.parametrize("piece", HOSTILE)
def test_a_hostile_text_is_read_in_linear_time(head: str, piece: str) -> None:
    text = head + piece * (100_000 // len(piece))
    with processor_time(5):
        parse_response(text, "set_steps")
        steps_of(text)
        RESPONSE_FORMATS["set_steps"].spans(text)


@pytest.mark.parametrize("mark", [r"\text", r"\mathrm", r"\textbf"])
def test_the_font_of_a_boxed_word_is_not_read_as_a_word(mark: str) -> None:
    response = parse_response(rf"<step1>a</step1><step2>b</step2><step3>c</step3>\boxed{{{mark}{{joy}}", "set_steps")
    assert response.labels == ("joy",)
    assert not response.well_formed
