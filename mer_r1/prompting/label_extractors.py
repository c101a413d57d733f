"""Emotion words of other models' answers: one pure function a style of answering, text -> labels and status.

    think_answer         <think>…</think><answer>a, b</answer>
    answer_think_answer  <answer>a</answer><think>…</think><answer>a, b</answer>; the last answer counts
    set_steps            <step1>…</step1><step2>…</step2><step3>…</step3>\\boxed{a}; the last box counts
    r1-omni              <think>…</think><answer>a</answer>; one word is usual, more are read too
    humanomni-v2         <context>…</context><think>…</think><answer>a, b</answer>
    list                 a, b    or    [a, b]    with text before the bracket
    affectgpt            The character's emotional state is a, b.    Another text is read as a description; all up to
                         "###" or "</s>", where its turn ends
    description          any text: the emotion words that stand in it, negated ones left out

Convention of a description: words and phrases of up to 5 words that the wheels know, the longest first, in order and
once each, and "neutral". A word is negated where one of _NEGATIONS stands at most 5 words before it in the same clause
("not happy", "no sign of fear"); a clause ends at a mark, or at a word such as "but". A list shares its negation
("without anger, fear or shame"). "not only" negates nothing. Words that mostly tell of the clip (_OUTWARD: "content",
"attention") are passed over. Reading is lexical: it knows neither irony nor whose emotion it is.

MER-UniBench itself has a language model pick the words out of every answer, so a description read here is not scored
as the published ones are (docs/endpoints.md). All functions take time linear in the text and never raise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Protocol

from mer_r1.data.labels import split_labels
from mer_r1.data.sample import Status
from mer_r1.prompting.response import parse_response

Labels = tuple[str, ...]
Read = tuple[Labels, Status]


class KnownWords(Protocol):
    """What a description is searched for; a `WheelSet` is one."""

    def reaches(self, word: str) -> bool:
        """Whether a word is an emotion word."""


MAX_PHRASE = 5
REACH = 5
_NEUTRAL = "neutral"
_LONGEST_WORD = 40
_TOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*+|[,;:.!?\n。！？；，]")
_NEGATIONS = frozenset(
    {"no", "not", "never", "none", "nor", "neither", "without", "cannot", "nothing", "hardly", "barely", "scarcely"}
    | {"lack", "lacks", "lacked", "lacking", "absence", "absent", "devoid", "unlike"}
)
_PAIRS = frozenset({("rather", "than"), ("instead", "of"), ("free", "of"), ("free", "from")})  # negate what follows
_ASSERTED = frozenset({("not", "only"), ("not", "just"), ("not", "merely"), ("not", "simply"), ("no", "doubt")})
_CONTRASTS = frozenset({"but", "however", "yet", "although", "though", "while", "whereas", "except", "because"})
_JOINS = frozenset({",", "，", "and", "or", "nor"})
_MARKS = frozenset(",;:.!?\n。！？；，")
_OUTWARD = frozenset(
    {"attention", "attentive", "concentrate", "concentrated", "concentration", "content", "focus", "focused"}
    | {"interest", "kind", "moved", "strength", "strong", "thinking"}
)
_STATE = re.compile(r"(?:the )?[\w’' ]{1,40}['’]s emotional states? (?:is|are)[\s:]*+", re.IGNORECASE)
_WORDS_OF_A_LABEL = 3
_TURN_END = re.compile(r"###|</s>")


def labels_of(text: str, style: str, wheels: KnownWords) -> Read:
    """The labels of an answer in the given style, and "ok", "truncated" or "no_answer".

    `wheels` matters to descriptions alone. KeyError for a style that is not in STYLES.
    """
    return STYLES[style](text, wheels)


def _tagged(text: str, response_format: str = "think_answer") -> Read:
    response = parse_response(text, response_format)
    return response.labels, response.status


def _humanomni(text: str) -> Read:
    context, closed, rest = text.partition("</context>")
    if not closed and "<context>" in context:
        return (), "truncated"
    return _tagged(rest if closed else text)


def _list(text: str) -> Read:
    _, opened, rest = text.partition("[")
    inside, closed, _ = rest.partition("]")
    return _with_status(split_labels(inside if opened and closed else text))


def _affectgpt(text: str, wheels: KnownWords) -> Read:
    text = _TURN_END.split(text, maxsplit=1)[0]
    stripped = text.strip()
    if match := _STATE.match(stripped):
        labels = split_labels(stripped[match.end() :])
        if labels and all(len(label.split()) <= _WORDS_OF_A_LABEL for label in labels):
            return labels, "ok"
    return _description(text, wheels)


def _description(text: str, wheels: KnownWords) -> Read:
    return _with_status(tuple(dict.fromkeys(_asserted_words(text.lower(), wheels))))


def _with_status(labels: Labels) -> Read:
    return labels, "ok" if labels else "no_answer"


def _asserted_words(text: str, wheels: KnownWords) -> Iterator[str]:
    tokens = _TOKEN.findall(text)
    reach = 0  # words that a negation still reaches
    listed = False  # only commas and joining words stand between here and a negated emotion word
    at = 0
    while at < len(tokens):
        token, pair = tokens[at], tuple(tokens[at : at + 2])
        size = _phrase(tokens, at, wheels)
        if size:
            listed = reach > 0 or listed
            if not listed:
                yield " ".join(tokens[at : at + size])
            reach = max(0, reach - size)
            at += size
            continue
        listed = listed and token in _JOINS
        if pair in _ASSERTED:
            at += 1  # both words are passed over
        elif token in _NEGATIONS or pair in _PAIRS or token.endswith(("n't", "n’t")):
            reach = REACH + (pair in _PAIRS) + 1
        elif token in _MARKS or token in _CONTRASTS:
            reach = 0
        reach = max(0, reach - 1)
        at += 1


def _phrase(tokens: list[str], at: int, wheels: KnownWords) -> int:
    """How many words the longest emotion phrase has that begins here; 0: none."""
    if tokens[at] in _MARKS or tokens[at] in _OUTWARD:
        return 0
    most = 1
    while most < MAX_PHRASE and at + most < len(tokens) and tokens[at + most] not in _MARKS:
        most += 1
    for size in range(most, 0, -1):
        words = tokens[at : at + size]
        if max(map(len, words)) <= _LONGEST_WORD:
            phrase = " ".join(words)
            if phrase == _NEUTRAL or wheels.reaches(phrase):
                return size
    return 0


STYLES: dict[str, Callable[[str, KnownWords], Read]] = {
    "description": _description,
    "list": lambda text, wheels: _list(text),
    "r1-omni": lambda text, wheels: _tagged(text),
    "humanomni-v2": lambda text, wheels: _humanomni(text),
    "affectgpt": _affectgpt,
    "think_answer": lambda text, wheels: _tagged(text),
    "answer_think_answer": lambda text, wheels: _tagged(text, "answer_think_answer"),
    "set_steps": lambda text, wheels: _tagged(text, "set_steps"),
}
