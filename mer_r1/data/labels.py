"""A field of labels, text or list -> emotion words.

Label fields have two parsers, one of each scoring protocol (PARSERS); `read_labels` reads a field of any kind by one.

    official    what MER-UniBench's scoring code does: split on `'`, `"` and `,` only, nothing else is stripped
    corrected   split on `, ; ； ， 、 /`, line ends and the word "and" standing alone; list marks ("1.", "-"), quotes,
                brackets, punctuation and Markdown stripped on both sides; a number alone is a list mark and no word;
                lower case, inner white space as one space, repeats removed in order. What chat models write around
                a list (JSON, fences, boxes, headings, scores, sentences) is no word: answer_forms.py

"and" stands alone where white space, a separator or an edge of the piece is on either side of it: "sad, and angry" is
two words, "brand new" is one. Every function takes time linear in the text, also for adversarial text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from mer_r1.data.answer_forms import is_plain, plain
from mer_r1.data.refusals import is_refusal
from mer_r1.text import kind_of

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


def names_gold(labels: Sequence[str], gold: Sequence[str]) -> bool:
    """Whether an answer is exactly one word and that is one of the gold labels, in normal form (EMO-R3's match)."""
    words = corrected_labels(labels)
    return len(words) == 1 and words[0] in corrected_labels(gold)


def split_labels(answer: str) -> tuple[str, ...]:
    """The emotion words of an answer's text: normal form, repeats removed, order kept. Never raises."""
    words: list[str] = []
    answer = answer.strip("[] ")  # the brackets of a list, which need no other reading
    for piece in _GAP.split(answer if is_plain(answer) else plain(answer)):
        word = piece.strip()
        if _PLAIN.fullmatch(word):
            words.append(word.lower())
        elif word:
            first, last = _bare(word, 0, len(word))
            words += [_normal(word[first:last])] if first < last else []
    return tuple(dict.fromkeys(words))


def corrected_labels(field: str | Sequence[str] | None) -> tuple[str, ...]:
    """The words of a label field by `split_labels`; the items of a list are split too.

    Items that are words and nothing else are taken as they are: a line "confidence" of a text is a heading, a label is
    none.
    """
    if field is None:
        return ()
    if isinstance(field, str):
        return () if is_refusal(field) else split_labels(field)
    return split_labels((", " if all(map(is_plain, field)) else "\n").join(field))


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
    """The words of a label field of any kind, and what is wrong with it as a short phrase; None where it is valid.

    No value (None, NaN) is valid and has no words. Items of a list that are not texts are left out and are an error, as
    are a field of another kind and the text "[", at all of which the official code stops. Never raises for a JSON
    value or NaN; KeyError for a parser that is not in PARSERS.
    """
    if isinstance(field, str):
        return PARSERS[parser](field), 'labels is the text "[" alone' if field == "[" else None
    if isinstance(field, list | tuple):
        try:
            "".join(field)
        except TypeError:
            texts = [item for item in field if isinstance(item, str)]
            index, odd = next((index, item) for index, item in enumerate(field) if not isinstance(item, str))
            return PARSERS[parser](texts), f"labels[{index}] is {kind_of(odd)}, not a text"
        return PARSERS[parser](field), None
    if field is None or (isinstance(field, float) and field != field):
        return (), None
    if hasattr(field, "tolist"):  # an array of numpy, which the official code takes as a list
        return read_labels(field.tolist(), parser)
    return (), f"labels is {kind_of(field)}, not a text or a list of texts"


def is_misread(field: object) -> bool:
    """Whether the official parser reads other words than the corrected one, apart from white space and repeats."""
    if isinstance(field, list | tuple) and all(isinstance(item, str) for item in field):
        return _is_list_misread(tuple(field))
    return _is_misread(field)


@lru_cache(maxsize=65_536)
def _is_list_misread(words: tuple[str, ...]) -> bool:
    """Remembered, for the answers to many clips are a few sets of words."""
    return _is_misread(words)


def _is_misread(field: object) -> bool:
    official = (" ".join(word.split()) for word in read_labels(field, "official")[0])
    return tuple(dict.fromkeys(filter(None, official))) != read_labels(field, "corrected")[0]


def word_spans(text: str, start: int, end: int) -> tuple[Span, ...]:
    """The words of text[start:end], read as a text of its own; the spans count in `text`."""
    answer, begin = text[start:end], 0
    if not is_plain(core := answer.strip("[] ")):
        answer = answer.replace(core, plain(core), 1)
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


PARSERS: dict[str, Callable[[str | Sequence[str] | None], tuple[str, ...]]] = {
    "official": official_labels,
    "corrected": corrected_labels,
}
