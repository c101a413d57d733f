"""Label extractors: the emotion words of any model's answer, one function a style, text -> labels and status.

    think_answer         <think>…</think><answer>a, b</answer>
    answer_think_answer  <answer>a</answer><think>…</think><answer>a, b</answer>; the last answer counts
    set_steps            <step1>…</step1><step2>…</step2><step3>…</step3>\\boxed{a}; the last box counts
    r1-omni              <think>…</think><answer>a</answer>; one word is usual, more are read too
    humanomni-v2         <context>…</context><think>…</think><answer>a, b</answer>
    list                 a, b    or    [a, b]    with text before the bracket
    affectgpt            The character's emotional state is a, b.    Any other text is read as a description, up to
                         "###" or "</s>", where the turn ends
    description          any text: the emotion words in it, negated ones left out

Convention of a description: words and phrases of up to 5 words that the wheels know, the longest first, in order and
once each, and "neutral". A word is negated where one of _NEGATIONS or _PAIRS is at most 5 words before it in the same
clause ("not happy", "no sign of fear", "anything but calm"), or where it is denied behind it ("anger is absent"); a
clause ends at a mark, or at a word such as "but". A list shares its negation ("without anger, fear or shame"). "not
only" and "cannot hide" negate nothing. Words that mostly describe the clip (_OUTWARD: "content", "attention") are left
out. What refuses to answer names no emotion, in any style (data/refusals.py); a second clause may answer. The
extraction is lexical: it knows neither irony nor whose emotion it is.

MER-UniBench has a language model extract the words of every answer, so scores of descriptions extracted here are not
comparable with the published ones (docs/endpoints.md). All functions take time linear in the text and never raise.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple, Protocol

from mer_r1.data.labels import split_labels
from mer_r1.data.refusals import refuses, without_refusals
from mer_r1.data.sample import Status
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.prompting.response import parse_response
from mer_r1.text import printable

Labels = tuple[str, ...]


class Extracted(NamedTuple):
    """The labels of an answer in order, repeats removed, and "ok", "truncated" or "no_answer"."""

    labels: Labels
    status: Status


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
    | {"rarely", "seldom", "lack", "lacks", "lacked", "lacking", "absence", "absent", "devoid", "unlike"}
)
_PAIRS = frozenset(  # negate what follows
    {("rather", "than"), ("less", "than"), ("instead", "of"), ("free", "of"), ("free", "from"), ("far", "from")}
    | {("anything", "but"), ("everything", "but"), ("nowhere", "near"), ("opposed", "to")}
    | {("very", "little"), ("shows", "little"), ("showing", "little"), ("with", "little")}
)
_FAILURES = frozenset(  # negate the verb alone
    (word, "to") for word in ("unable", "fail", "fails", "failed", "failing", "refuses", "refused", "refusing")
)
_ASSERTED = frozenset(
    {("not", "only"), ("not", "just"), ("not", "merely"), ("not", "simply"), ("not", "without"), ("no", "doubt")}
    | {
        ("don't", "doubt"),
        ("don’t", "doubt"),
        ("not", "doubt"),
        ("cannot", "deny"),
        ("can't", "deny"),
        ("can’t", "deny"),
        ("not", "deny"),
        ("no", "question"),
        ("without", "doubt"),
        ("without", "question"),
        ("nothing", "short"),
        ("nothing", "less"),
    }
)
_REVEALS = frozenset(  # "cannot hide her joy" says that there is joy
    {"hide", "hides", "hiding", "conceal", "conceals", "concealing", "contain", "contains", "containing", "suppress"}
    | {"suppresses", "suppressing", "mask", "masks", "masking", "disguise", "help", "stop", "stops", "resist"}
)
_LIGHT = frozenset({"be", "to", "very", "really", "particularly", "especially", "any", "of", "sort", "sign", "signs"})
_SUBJECTS = frozenset({"he", "she", "they", "it", "there"})
_IDIOMS = (  # negations that deny nothing, or not what stands last
    (re.compile(r"\b(?:could ?n['’]t|could not|cannot|can['’]t) be (?:more |(?=\w{2,20}er\b))"), "is "),
    (re.compile(r"\bnot so much ([^.,;:!?\n]{1,60}?) as\b"), r"not \1 but"),
)
_UNSURE = frozenset(
    {"tell", "determine", "know", "known", "say", "sure", "certain", "unclear", "see", "judge", "assess"}
)
_NEW_CLAUSE = frozenset(  # after "and": a subject, or a verb of the same one
    {"he", "she", "they", "it", "there", "the", "his", "her", "their", "i", "we", "is", "are", "has", "looks", "seems"}
    | {"appears", "feels", "sounds", "speaks"}
)
_ABSENT = frozenset({"absent", "missing", "lacking"})
_VISIBLE = frozenset(
    {"present", "visible", "evident", "detected", "apparent", "seen", "shown", "observed", "expressed"}
)
_CONTRASTS = frozenset({"but", "however", "yet", "although", "though", "while", "whereas", "except", "because"})
_JOINS = frozenset({",", "，", "and", "or", "nor"})
_ADDS = frozenset({"and", "so"})
_MARKS = frozenset(",;:.!?\n。！？；，")
_OUTWARD = frozenset(
    {"attention", "attentive", "concentrate", "concentrated", "concentration", "content", "focus", "focused"}
    | {"interest", "kind", "moved", "strength", "strong", "thinking"}
)
_STATE = re.compile(r"(?:the )?[\w’' ]{1,40}['’]s emotional states? (?:is|are)[\s:]*+", re.IGNORECASE)
_WORDS_OF_A_LABEL = 3
_LISTED = re.compile(r"[,;/\n]|\band\b")
_TURN_END = re.compile(r"###|</s>")


def extract_labels(text: str, style: str = "description", wheels: KnownWords | None = None) -> Extracted:
    """The labels and status of an answer in the given style (LABEL_EXTRACTORS).

    `wheels` decide which words of a description are emotion words; by default the built-in wheels with "neutral".
    Raises InputError for an unknown style.
    """
    validate_style(style)
    return LABEL_EXTRACTORS[style](text, WheelSet.load(protocol="corrected") if wheels is None else wheels)


def validate_style(style: str) -> None:
    """Raises InputError for a style that is not in LABEL_EXTRACTORS."""
    if style not in LABEL_EXTRACTORS:
        raise InputError(f"style {printable(style)!r} is not known; use one of: {', '.join(LABEL_EXTRACTORS)}")


def _tagged(text: str, wheels: KnownWords, response_format: str = "think_answer") -> Extracted:
    response = parse_response(text, response_format)
    if response.status == "no_answer" and response.answers:  # it may refuse, and answer beside
        return _description(response.answers[-1], wheels)
    return Extracted(response.labels, response.status)


def _humanomni(text: str, wheels: KnownWords) -> Extracted:
    context, closed, rest = text.partition("</context>")
    if not closed and "<context>" in context:
        return Extracted((), "truncated")
    return _tagged(rest if closed else text, wheels)


def _list(text: str, wheels: KnownWords) -> Extracted:
    if refuses(text):
        return _description(text, wheels)
    _, opened, rest = text.partition("[")
    inside, closed, _ = rest.partition("]")
    is_list = opened and closed and "{" not in text and split_labels(inside)
    return _with_status(split_labels(inside if is_list else text))


def _affectgpt(text: str, wheels: KnownWords) -> Extracted:
    text = _TURN_END.split(text, maxsplit=1)[0]
    stripped = text.strip()
    if match := _STATE.match(stripped):
        named = stripped[match.end() :]
        labels = split_labels(named)
        if (
            labels
            and not refuses(named)
            and all(len(piece.split()) <= _WORDS_OF_A_LABEL for piece in _LISTED.split(named))
        ):
            return Extracted(labels, "ok")
    return _description(text, wheels)


def _description(text: str, wheels: KnownWords) -> Extracted:
    return _with_status(tuple(dict.fromkeys(_asserted_words(without_refusals(text), wheels))))


def _with_status(labels: Labels) -> Extracted:
    return Extracted(labels, "ok" if labels else "no_answer")


def _asserted_words(text: str, wheels: KnownWords) -> list[str]:
    for idiom, meaning in _IDIOMS:
        text = idiom.sub(meaning, text)
    tokens = _TOKEN.findall(text)
    found: list[str] = []
    reach = 0  # words that a negation still reaches
    listed = False  # only commas and joining words stand between here and a negated emotion word
    at = 0
    while at < len(tokens):
        token, pair = tokens[at], tuple(tokens[at : at + 2])
        size = _phrase(tokens, at, wheels)
        if size:
            listed = reach > 0 or listed
            if not listed and not _denied_after(tokens, at + size):
                found.append(" ".join(tokens[at : at + size]))
            reach = max(0, reach - size)
            at += size
            continue
        if listed and token in _SUBJECTS:  # "instead of joy there is fear"
            reach = 0
        listed = listed and token in _JOINS
        if pair in _ASSERTED or pair in _PAIRS or pair in _FAILURES:
            reach = REACH if pair in _PAIRS else 2 if pair in _FAILURES else reach
            at += 2
            continue
        if token in _NEGATIONS or token.endswith(("n't", "n’t")):
            reach = REACH + 1
        elif token == "whether" or (token == "if" and at and tokens[at - 1] in _UNSURE):
            reach = len(tokens)  # to the end of the clause
        elif _ends_reach(token, pair[-1]):
            reach = 0
        reach = max(0, reach - (token not in _LIGHT))
        at += 1
    return found


def _ends_reach(token: str, following: str) -> bool:
    """Whether a negation does not reach behind `token`."""
    if token in _MARKS:
        return following != "such"  # "no emotions, such as joy"
    return token in _CONTRASTS or token in _REVEALS or (token in _ADDS and following in _NEW_CLAUSE)


def _denied_after(tokens: list[str], at: int) -> bool:
    """Whether what stands before `at` is denied behind it: "anger is absent", "joy is not visible"."""
    rest = tokens[at : at + 5]
    if rest[:1] and rest[0] in _MARKS:
        return rest[1:4] == ["not", "at", "all"] and (len(rest) == 4 or rest[4] in _MARKS)
    rest = rest[1:] if rest[:1] and rest[0] in ("is", "are", "was", "were", "seems") else rest
    if rest[:1] and rest[0] in ("not", "isn't", "isn’t", "aren't", "aren’t", "wasn't", "wasn’t"):
        return len(rest) > 1 and rest[1] in _VISIBLE
    return bool(rest) and rest[0] in _ABSENT


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


LABEL_EXTRACTORS: dict[str, Callable[[str, KnownWords], Extracted]] = {
    "description": _description,
    "list": _list,
    "r1-omni": _tagged,
    "humanomni-v2": _humanomni,
    "affectgpt": _affectgpt,
    "think_answer": _tagged,
    "answer_think_answer": lambda text, wheels: _tagged(text, wheels, "answer_think_answer"),
    "set_steps": lambda text, wheels: _tagged(text, wheels, "set_steps"),
}
