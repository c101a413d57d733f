"""A model's text taken apart: reasoning, answer blocks, emotion words, status.

What: `parse_response(text, response format)` gives a `Response`; malformed text is a status and never an exception, and
every function here takes time linear in the text, also for adversarial text (training reads whatever a policy samples).

Convention of a tagged response format such as `think_answer` (`<think>…</think><answer>…</answer>`, MER-R1 Section
4.1): tags are read from left to right, in lower case as written. An answer block runs from `<answer>` to the next
`</answer>`; a second `<answer>` before it starts the block anew. `<answer>` inside a think block that is closed later
is reasoning. A think block that is never closed ends where an answer begins. `answer_think_answer` (VideoAuto-R1) reads
the same tags in the order `<answer>first</answer><think>…</think><answer>last</answer>`: the labels are the last
answer's, those of the first are `initial_labels`. A first answer that is put off is FALLBACK_ANSWER, which holds no
word. `answer_only` is an answer block alone. `set_steps` (EMO-R3) has three steps and a box in place of tags; steps.py
says how they are read.

Status of a text: "truncated" when an open tag is never closed; else "no_answer" when there is no answer block or the
last one holds no word or refuses to answer (data/refusals.py); else "ok". Text around the blocks does not change the
status: the strict form, which the format reward pays, is `Response.well_formed` (the same as `is_well_formed`). The
status "error" is for callers whose media or model failed; no text has it. So a first answer alone is "ok", which fast
thinking writes, but not strictly formed.

An answer block is always read by the corrected parser of data/labels.py, so that what a policy is paid for and what
"corrected" scores are the same words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from mer_r1.data.labels import Span, split_labels, word_spans
from mer_r1.data.refusals import refuses
from mer_r1.data.sample import Mode, Response, Status
from mer_r1.prompting.steps import BOX, keeps_form, read_steps

_TAGS = re.compile(r"<(/?)(think|answer)>")

FALLBACK_ANSWER = "I will think before I name an emotion."
"""The first answer of `answer_think_answer` that puts the answer off; `split_labels` reads it as one word."""
_FALLBACK = split_labels(FALLBACK_ANSWER)


@dataclass(frozen=True)
class ResponseFormat:
    """One response format.

    `fast_prefill` opens the assistant's turn so that it answers at once; `stop`, written as many times as `stops` says,
    ends generation and stays in the text; one written before `stop_after` does not count. `fallback` is what a first
    answer says to put the answer off; None where no answer precedes the reasoning. `opens` precedes the words of an
    answer and ends `fast_prefill`.
    `parse` takes the whole text, prefill included.
    `spans` gives (start, end, word) of every word of the last answer block, in order, BEFORE repeats are removed:
    `text[start:end]` is the word as written (its first token covers `start`); `word` is its normal form, so that
    `labels == tuple(dict.fromkeys(word for _, _, word in spans(text)))`.
    """

    name: str
    fast_prefill: str
    stop: str
    parse: Callable[[str], Response]
    spans: Callable[[str], tuple[Span, ...]]
    num_stops: int = 1
    fallback: str | None = None
    opens: str = "<answer>"
    stop_after: str = ""

    def prefill(self, mode: Mode) -> str:
        """What opens the assistant's turn: nothing for slow thinking."""
        return self.fast_prefill if mode == "fast" else ""

    def stops(self, mode: Mode) -> int:
        """How many times `stop` is written before generation ends: a fast answer is the first one and ends at once."""
        return 1 if mode == "fast" else self.num_stops

    def stops_at_first(self, mode: Mode) -> bool:
        """Whether the first `stop` of a text, wherever it is, ends generation."""
        return mode == "fast" or (self.num_stops == 1 and not self.stop_after)


class _Blocks(NamedTuple):
    """Spans inside the tags, in order, and whether an open tag was left without its close."""

    thinks: tuple[tuple[int, int], ...]
    answers: tuple[tuple[int, int], ...]
    unclosed: bool


def parse_response(text: str, response_format: str = "think_answer") -> Response:
    """Take `text` (prefill included) apart. KeyError for an unknown response format."""
    return RESPONSE_FORMATS[response_format].parse(text)


def is_well_formed(text: str, response_format: str = "think_answer") -> bool:
    """The strict form: exactly the response format's blocks in order, only white space around them, a word in the
    answer.

    An empty think block is allowed: it is what fast thinking writes.
    """
    return RESPONSE_FORMATS[response_format].parse(text).well_formed


def initial_labels(response: Response) -> tuple[str, ...] | None:
    """The words of the answer before the last: the first block's, none for the fallback; None with fewer than two."""
    if len(response.answers) < 2:
        return None
    labels = split_labels(response.answers[0])
    return () if labels == _FALLBACK else labels


def fell_back(response: Response) -> bool:
    """Whether the first of several answers is FALLBACK_ANSWER, up to case, white space and marks around it."""
    return len(response.answers) > 1 and split_labels(response.answers[0]) == _FALLBACK


def _blocks(text: str) -> _Blocks:
    """Read the tags once, from left to right; see the module's convention."""
    thinks: list[tuple[int, int]] = []
    answers: list[tuple[int, int]] = []
    last_think_end = text.rfind("</think>")
    think = answer = -1  # where the open block's content starts; -1: none open
    unclosed = False
    for tag in _TAGS.finditer(text):
        closing, name = bool(tag[1]), tag[2]
        if name == "think" and think < 0 and answer < 0 and not closing:
            think = tag.end()
        elif name == "think" and think >= 0 and closing:
            thinks.append((think, tag.start()))
            think = -1
        elif name == "answer" and not closing and (think < 0 or tag.start() > last_think_end):
            if think >= 0:
                thinks.append((think, tag.start()))
                think, unclosed = -1, True
            answer = tag.end()
        elif name == "answer" and closing and answer >= 0:
            answers.append((answer, tag.start()))
            answer = -1
    if think >= 0:
        thinks.append((think, len(text)))
    return _Blocks(tuple(thinks), tuple(answers), unclosed or think >= 0 or answer >= 0)


def _blocks_only(*order: str) -> re.Pattern[str]:
    """The strict form of a response format: these blocks, each without a tag inside, and white space around them."""
    body = r"((?:[^<]++|<(?!/?(?:think|answer)>))*+)"  # possessive, for a hostile text must not cost a second look
    return re.compile(r"\s*+" + r"\s*+".join(f"<{name}>{body}</{name}>" for name in order) + r"\s*+")


def _parse_tagged(text: str, order: tuple[str, ...], strict: re.Pattern[str]) -> Response:
    if match := strict.fullmatch(text):
        bodies, unclosed = list(zip(order, match.groups(), strict=True)), False
        thinks, answers = ([body for name, body in bodies if name == kind] for kind in ("think", "answer"))
    else:
        blocks = _blocks(text)
        thinks, answers = ([text[start:end] for start, end in spans] for spans in (blocks.thinks, blocks.answers))
        unclosed = blocks.unclosed
    labels = _labels(answers)
    status: Status = "truncated" if unclosed else "ok" if labels else "no_answer"
    return Response(
        reasoning="\n".join([body.strip() for body in thinks]),
        answers=tuple(answers),
        labels=labels,
        status=status,
        well_formed=match is not None and bool(labels) and all(map(split_labels, answers[:-1])),
    )


def _tagged_spans(text: str) -> tuple[Span, ...]:
    answers = _blocks(text).answers
    return word_spans(text, *answers[-1]) if _labels([text[start:end] for start, end in answers[-1:]]) else ()


def _parse_steps(text: str) -> Response:
    steps, boxes, unclosed = read_steps(text)
    answers = tuple([text[start:end] for start, end in boxes])
    labels = _labels(answers)
    return Response(
        reasoning="\n".join([text[step.start : step.end].strip() for step in steps]),
        answers=answers,
        labels=labels,
        status="truncated" if unclosed else "ok" if labels else "no_answer",
        well_formed=bool(labels) and keeps_form(text),
    )


def _step_spans(text: str) -> tuple[Span, ...]:
    boxes = read_steps(text).boxes
    return word_spans(text, *boxes[-1]) if _labels([text[start:end] for start, end in boxes[-1:]]) else ()


def _labels(answers: Sequence[str]) -> tuple[str, ...]:
    """The words of the last answer; none where it puts the answer off, or refuses one."""
    labels = split_labels(answers[-1]) if answers else ()
    return () if labels == _FALLBACK or (labels and refuses(answers[-1])) else labels


RESPONSE_FORMATS: dict[str, ResponseFormat] = {
    "think_answer": ResponseFormat(
        name="think_answer",
        fast_prefill="<think></think><answer>",
        stop="</answer>",
        parse=partial(_parse_tagged, order=("think", "answer"), strict=_blocks_only("think", "answer")),
        spans=_tagged_spans,
    ),
    "answer_think_answer": ResponseFormat(
        name="answer_think_answer",
        fast_prefill="<answer>",
        stop="</answer>",
        parse=partial(
            _parse_tagged, order=("answer", "think", "answer"), strict=_blocks_only("answer", "think", "answer")
        ),
        spans=_tagged_spans,
        num_stops=2,
        fallback=FALLBACK_ANSWER,
    ),
    "answer_only": ResponseFormat(  # of a prompt that asks for no reasoning: fast thinking as a prompt
        name="answer_only",
        fast_prefill="<answer>",
        stop="</answer>",
        parse=partial(_parse_tagged, order=("answer",), strict=_blocks_only("answer")),
        spans=_tagged_spans,
    ),
    "set_steps": ResponseFormat(
        name="set_steps",
        fast_prefill=BOX,
        stop="}",
        parse=_parse_steps,
        spans=_step_spans,
        opens=BOX,
        stop_after=BOX,
    ),
}
