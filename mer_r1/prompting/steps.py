"""The form of Structured Emotional Thinking (EMO-R3), read from left to right in one pass.

`<step1>what is seen</step1><step2>how a person feels</step2><step3>valence and arousal</step3>\\boxed{label}`

Convention. A step runs from `<stepN>` to `</stepN>`. One that is never closed ends where another step or a box begins,
and where neither comes it is cut off. A box runs from `\\boxed{` to the next `}`; a second `\\boxed{` before it starts
the box anew; `\\text{` at its start is not of the words. A box inside a step that is closed later is reasoning, and so
are braces. Tags count in lower case as written. The time is linear in the text, whatever it is.
"""

from __future__ import annotations

import re
from typing import NamedTuple

BOX = "\\boxed{"

Steps = tuple[str | None, str | None, str | None]

_MARKS = re.compile(r"<(/?)step([123])>|\\boxed\{(?:\s*\\(?:text|mathrm|textbf)\{)?|\}")
_BODY = (
    r"((?=\s*+(?!</step))(?:[^<\\]++|<(?!/?step[123]>)|\\(?!boxed\{))++)"  # possessive: no second look, hostile or not
)
_STRICT = re.compile(
    r"\s*+" + r"\s*+".join(f"<step{n}>{_BODY}</step{n}>" for n in (1, 2, 3)) + r"\s*+\\boxed\{[^{}<>\\]*+\}\s*+"
)


class Step(NamedTuple):
    """A step's number, where its inner text starts and ends, and whether it is cut off by the end of the text."""

    number: int
    start: int
    end: int
    is_cut: bool = False


class SteppedText(NamedTuple):
    """The steps and boxes of a text in order; `unclosed`: one of them was never closed."""

    steps: tuple[Step, ...]
    boxes: tuple[tuple[int, int], ...]
    unclosed: bool


def read_steps(text: str) -> SteppedText:
    """The spans inside the steps and boxes of any text, by the module's convention."""
    steps: list[Step] = []
    boxes: list[tuple[int, int]] = []
    last_close = [-1, *(text.rfind(f"</step{number}>") for number in (1, 2, 3))]
    number, step, box = 0, -1, -1  # the open step and where it starts; where the open box starts; -1: none
    unclosed = False
    for mark in _MARKS.finditer(text):
        closing, digit = mark[1], int(mark[2] or 0)
        begins_box = mark[0].startswith(BOX) and mark.start() > last_close[number]
        begins_step = digit > 0 and not closing
        if number and (begins_box or begins_step or (closing and digit == number)):
            steps.append(Step(number, step, mark.start()))
            unclosed = unclosed or not closing
            number = 0
        if number:
            continue
        if begins_step and box < 0:
            number, step = digit, mark.end()
        elif begins_box:
            box = mark.end()
        elif mark[0] == "}" and box >= 0:
            boxes.append((box, mark.start()))
            box = -1
    if number:
        steps.append(Step(number, step, len(text), is_cut=True))
    return SteppedText(tuple(steps), tuple(boxes), unclosed or number > 0 or box >= 0)


def keeps_form(text: str) -> bool:
    """Whether a text is exactly the three steps in order, none empty, and one box, with white space between alone."""
    return _STRICT.fullmatch(text) is not None


def steps_of(text: str) -> Steps:
    """The inner text of the first step of each number, without white space around it; None where it is not there.

    An empty step, and one that the end of the text cuts off, are not there.
    """
    found: dict[int, str | None] = {}
    for step in read_steps(text).steps:
        inner = "" if step.is_cut else text[step.start : step.end].strip()
        found.setdefault(step.number, inner or None)
    return found.get(1), found.get(2), found.get(3)
