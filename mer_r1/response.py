"""A model's text taken apart: reasoning, answer blocks, emotion words, status.

What: `parse_response(text, profile)` gives a `Response`; malformed text is a status and never an exception, and every
function here takes time linear in the text, hostile text included (training reads whatever a policy samples).

Convention of a tagged profile such as `think_answer` (`<think>…</think><answer>…</answer>`, MER-R1 Section 4.1): tags
are read from left to right, in lower case as written. An answer block runs from `<answer>` to the next `</answer>`; a
second `<answer>` before it starts the block anew. `<answer>` inside a think block that is closed later is reasoning.
A think block that is never closed ends where an answer begins. `answer_think_answer` (VideoAuto-R1) reads the same tags
in the order `<answer>first</answer><think>…</think><answer>last</answer>`: the labels are the last answer's, those of
the first are `initial_labels`. Who does not dare a first answer writes FALLBACK_ANSWER there, which holds no word.
`set_steps` (EMO-R3) has three steps and a box in place of tags; response_steps.py says how they are read.

Status of a text: "truncated" when an open tag is never closed; else "no_answer" when there is no answer block or the
last one holds no word; else "ok". Text around the blocks does not change the status: the strict form, which the format
reward pays, is `Response.well_formed` (the same as `is_well_formed`). The status "error" is for callers whose media or
model failed; no text has it. So a first answer alone is "ok", which fast thinking writes, but not strictly formed.

Label fields have two parsers, one of each scoring protocol (PARSERS); `read_labels` reads a field of any kind by one.

    official    what MER-UniBench's scoring code does: split on `'`, `"` and `,` only, nothing else is stripped
    corrected   split on `, ; ； ， 、 /`, line ends and the word "and" standing alone; list marks ("1.", "-"), quotes,
                brackets, punctuation and Markdown stripped on both sides; a number alone is a list mark and no word;
                lower case, inner white space as one space, repeats removed in order

An answer block is always read by the corrected one, so that what a policy is paid for and what "corrected" scores are
the same words. "and" stands alone where white space, a separator or an edge of the piece is on either side of it:
"sad, and angry" is two words, "brand new" is one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from mer_r1.manifest import kind_of
from mer_r1.response_steps import BOX, keeps_form, read_steps
from mer_r1.sample import Mode, Response, Status

Span = tuple[int, int, str]

_SEPARATORS = r",;；，、/\r\n\v\f\x1c-\x1e\x85\u2028\u2029"
_EDGE = rf"[^\s{_SEPARATORS}]"  # what may not stand beside an "and" that separates
# One set of characters comes first, which lets the search skip the others fast.
_GAP = re.compile(rf"[{_SEPARATORS}Aa](?:(?<![Aa])|(?<!{_EDGE}.)[Nn][Dd](?!{_EDGE}))")
# Marks that may stand before or after a word without belonging to it. No alternative of _HEAD can match where another
# does and nothing follows the repetition, so the match never backtracks.
_MARKS = r"\s.!?:。！？：…·•*_`#~>|\"'“”‘’«»「」『』\[\](){}【】（）《》\-–—\\\u200b-\u200f\u2060\ufeff"
_HEAD = re.compile(rf"(?:[{_MARKS}]|\d+[.)]\s|[Aa][Nn][Dd](?!\S))*")
_TAIL = re.compile(rf"[{_MARKS}]")
_PLAIN = re.compile(r"(?!\d+\Z)[^\W_]+(?:[ -][^\W_]+)*+")
_QUOTES = re.compile(r"['\",]")
_TAGS = re.compile(r"<(/?)(think|answer)>")

FALLBACK_ANSWER = "I will think before I name an emotion."
"""The first answer of `answer_think_answer` that puts the answer off; our own sentence, one word to `split_labels`."""


@dataclass(frozen=True)
class Profile:
    """One response format.

    `fast_prefill` opens the assistant's turn so that it answers at once; `stop`, written as many times as `stops` says,
    ends generation and stays in the text; one written before `stop_after` does not count. `fallback` is what a first
    answer says to put the answer off; None where no answer stands before the reasoning. `opens` stands before the words
    of an answer and ends `fast_prefill`.
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
        """Whether the first `stop` of a text, wherever it stands, ends generation."""
        return mode == "fast" or (self.num_stops == 1 and not self.stop_after)


class _Blocks(NamedTuple):
    """Spans inside the tags, in order, and whether an open tag was left without its close."""

    thinks: tuple[tuple[int, int], ...]
    answers: tuple[tuple[int, int], ...]
    unclosed: bool


def parse_response(text: str, profile: str = "think_answer") -> Response:
    """Take `text` (prefill included) apart. Raises for no text; KeyError for a profile that is not in PROFILES."""
    return PROFILES[profile].parse(text)


def is_well_formed(text: str, profile: str = "think_answer") -> bool:
    """The strict form: exactly the profile's blocks in order, only white space around them, a word in the answer.

    An empty think block is allowed: it is what fast thinking writes.
    """
    return PROFILES[profile].parse(text).well_formed


def initial_labels(response: Response) -> tuple[str, ...] | None:
    """The words of the answer before the last: the first block's, none for the fallback; None with fewer than two."""
    if len(response.answers) < 2:
        return None
    return () if _is_fallback(response.answers[0]) else split_labels(response.answers[0])


def fell_back(response: Response) -> bool:
    """Whether the first of several answers is FALLBACK_ANSWER, up to case, white space and marks around it."""
    return len(response.answers) > 1 and _is_fallback(response.answers[0])


def _is_fallback(answer: str) -> bool:
    return split_labels(answer) == _FALLBACK


def names_gold(labels: Sequence[str], gold: Sequence[str]) -> bool:
    """Whether an answer is exactly one word and that is one of the gold labels, in normal form (EMO-R3's match)."""
    words = corrected_labels(labels)
    return len(words) == 1 and words[0] in corrected_labels(gold)


def split_labels(answer: str) -> tuple[str, ...]:
    """The emotion words of an answer's text: normal form, repeats removed, order kept. Never raises."""
    words: list[str] = []
    for piece in _GAP.split(answer.strip("[] ")):  # the brackets of a list would go later, at more cost
        word = piece.strip()
        if _PLAIN.fullmatch(word):
            words.append(word.lower())
        elif word:
            first, last = _bare(word, 0, len(word))
            words += [_normal(word[first:last])] if first < last else []
    return tuple(dict.fromkeys(words))


def corrected_labels(field: str | Sequence[str] | None) -> tuple[str, ...]:
    """The words of a label field by `split_labels`; the items of a list are split too."""
    if field is None:
        return ()
    return split_labels(field if isinstance(field, str) else "\n".join(field))


def official_labels(field: str | Sequence[str] | None) -> tuple[str, ...]:
    """The words of a label field exactly as MER-UniBench's scoring code reads them, in lower case, repeats kept.

    A list is taken item by item. Of a string one leading `[` and one trailing `]` go, then it is split on `'`, `"` and
    `,`. Where the official code crashes (the string "[") the answer here is no word. Full stops, semicolons and line
    ends are not separators and are not stripped: "happy, sad." loses "sad.".
    """
    if field is None:
        return ()
    if not isinstance(field, str):
        return tuple([item.lower().strip() for item in field])
    text = field.removeprefix("[").removesuffix("]")
    pieces = _QUOTES.split(text) if "'" in text or '"' in text else text.split(",")
    return tuple([word.lower() for piece in pieces if (word := piece.strip())])


def read_labels(field: object, parser: str) -> tuple[tuple[str, ...], str | None]:
    """The words of a label field of any kind, and what is wrong with it as a short phrase; None where it is sound.

    No value (None, NaN) is sound and has no words. Items of a list that are not texts are left out and are a fault, as
    are a field of another kind and the text "[", at all of which the official code stops. Never raises for a JSON
    value or NaN; KeyError for a parser that is not in PARSERS.
    """
    if isinstance(field, str):
        return PARSERS[parser](field), 'labels is the text "[" alone' if field == "[" else None
    if isinstance(field, list | tuple):
        try:
            "".join(field)
        except TypeError:
            return PARSERS[parser]([item for item in field if isinstance(item, str)]), _item_fault(field)
        return PARSERS[parser](field), None
    if field is None or (isinstance(field, float) and field != field):
        return (), None
    if hasattr(field, "tolist"):  # an array of numpy, which the official code takes as a list
        return read_labels(field.tolist(), parser)
    return (), f"labels is {kind_of(field)}, not a text or a list of texts"


def _item_fault(items: Sequence[object]) -> str:
    place = next(place for place, item in enumerate(items) if not isinstance(item, str))
    return f"labels[{place}] is {kind_of(items[place])}, not a text"


def _word_spans(text: str, start: int, end: int) -> tuple[Span, ...]:
    """The words of text[start:end], read as a text of its own; the spans count in `text`."""
    answer, begin = text[start:end], 0
    spans: list[Span] = []
    for piece_end, next_begin in (*(gap.span() for gap in _GAP.finditer(answer)), (len(answer), 0)):
        first, last = _bare(answer, begin, piece_end)
        if first < last:
            spans.append((start + first, start + last, _normal(answer[first:last])))
        begin = next_begin
    return tuple(spans)


def _bare(text: str, begin: int, end: int) -> tuple[int, int]:
    """Where the word of a piece begins and ends, without marks and without "and" at its edges; equal where none is."""
    plain = text[begin:end].strip()
    if _PLAIN.fullmatch(plain):  # most words; what follows would come to the same
        first = text.index(plain, begin)
        return first, first + len(plain)
    head = _HEAD.match(text, begin, end)
    assert head, "the pattern matches nothing too"
    first, last = head.end(), end
    while last > first:
        if _TAIL.match(text, last - 1):
            last -= 1
        elif text[last - 3 : last].lower() == "and" and (last - 3 == first or text[last - 4].isspace()):
            last -= 3
        else:
            break
    return (first, first) if last <= first or text[first:last].isdecimal() else (first, last)


def _normal(word: str) -> str:
    return " ".join(word.lower().split())


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
    """The strict form of a profile: these blocks, each without a tag inside, and white space around them."""
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
    labels = split_labels(answers[-1]) if answers else ()
    labels = () if labels == _FALLBACK else labels
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
    spans = _word_spans(text, *answers[-1]) if answers else ()
    return () if tuple(dict.fromkeys(word for _, _, word in spans)) == _FALLBACK else spans


def _parse_steps(text: str) -> Response:
    steps, boxes, unclosed = read_steps(text)
    answers = tuple([text[start:end] for start, end in boxes])
    labels = split_labels(answers[-1]) if answers else ()
    return Response(
        reasoning="\n".join([text[step.start : step.end].strip() for step in steps]),
        answers=answers,
        labels=labels,
        status="truncated" if unclosed else "ok" if labels else "no_answer",
        well_formed=bool(labels) and keeps_form(text),
    )


def _step_spans(text: str) -> tuple[Span, ...]:
    boxes = read_steps(text).boxes
    return _word_spans(text, *boxes[-1]) if boxes else ()


_FALLBACK = split_labels(FALLBACK_ANSWER)  # here, for it needs the function


PROFILES: dict[str, Profile] = {
    "think_answer": Profile(
        name="think_answer",
        fast_prefill="<think></think><answer>",
        stop="</answer>",
        parse=partial(_parse_tagged, order=("think", "answer"), strict=_blocks_only("think", "answer")),
        spans=_tagged_spans,
    ),
    "answer_think_answer": Profile(
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
    "set_steps": Profile(
        name="set_steps",
        fast_prefill=BOX,
        stop="}",
        parse=_parse_steps,
        spans=_step_spans,
        opens=BOX,
        stop_after=BOX,
    ),
}

PARSERS: dict[str, Callable[[str | Sequence[str] | None], tuple[str, ...]]] = {
    "official": official_labels,
    "corrected": corrected_labels,
}
