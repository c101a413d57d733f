"""The words of an answer found in its ids, and the fast context that is spliced of the same ids (MER-R1 Eq. 8).

An anchor is the first token of an answer word. Slow thinking reads it after the response's own reasoning, fast thinking
after the response format's prefill and *the same answer ids*, spliced as ids and never re-tokenised, so that anchors
agree by construction. For byte-level vocabularies, as Qwen's.
"""

from __future__ import annotations

from bisect import bisect_right
from codecs import getincrementaldecoder
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mer_r1.errors import InputError
from mer_r1.models.backbone import Backbone
from mer_r1.prompting.response import RESPONSE_FORMATS, ResponseFormat

# The character that a byte-level vocabulary writes for a byte: its own where that is printable, else one from 256 on.
_PRINTABLE = (*range(33, 127), *range(161, 173), *range(174, 256))
_HIDDEN = [byte for byte in range(256) if byte not in _PRINTABLE]
_BYTE_OF = {chr(byte): byte for byte in _PRINTABLE} | {chr(code): byte for code, byte in enumerate(_HIDDEN, start=256)}
_PROBE = " happy, \u5fc3"  # a space, a mark and three bytes that are one character


@dataclass(frozen=True)
class LocatedAnswer:
    """Where the answer of one response lies in its ids.

    `start` is the index of the id that covers the answer's first character; `words` are the answer's distinct words
    whose first token is theirs alone, `anchors` the indices of these tokens, where each word first has one.
    `prefill_ids` is what stands before `ids[start:]` in the fast context.
    """

    start: int
    anchors: tuple[int, ...]
    words: tuple[str, ...]
    prefill_ids: tuple[int, ...]


def locate_answer(
    backbone: Backbone, ids: Sequence[int], response_format: ResponseFormat = RESPONSE_FORMATS["think_answer"]
) -> LocatedAnswer | None:
    """Find the words of a response's last answer in its ids; None when there is no word to find.

    A word that shares its first token with a mark before it is left out: real vocabularies cut `<answer>sad, fine` at
    `>s`, an id that opens no word of any category, where Eq. 1 would read what is left of the distribution. What
    MER-R1's own targets teach never cuts so (prompting/targets.py).

    Where a token covers both the end of what opens the answer and its first character, it belongs to the answer, and
    the prefill ends as many characters earlier: both contexts then hold the same ids from `start` on. None too where
    that token reaches back to text that the prefill does not end in: no fast context could hold it.
    """
    text, starts = text_and_starts(backbone, ids)
    spans = response_format.spans(text)
    if not spans:
        return None
    first_char = text.rfind(response_format.opens, 0, spans[0][0] + 1) + len(response_format.opens)
    start = bisect_right(starts, first_char) - 1
    glued = text[starts[start] : first_char]
    if not response_format.fast_prefill.endswith(glued):
        return None
    prefill = response_format.fast_prefill.removesuffix(glued)
    anchor_of: dict[str, int] = {}  # where a word stands first; E+ and E- are sets
    for begin, _, word in spans:
        anchor = bisect_right(starts, begin) - 1
        if not text[starts[anchor] : begin].strip():
            anchor_of.setdefault(word, anchor)
    if not anchor_of:
        return None
    return LocatedAnswer(start, (*anchor_of.values(),), (*anchor_of,), tuple(backbone.text_ids(prefill)))


class FastBranch(NamedTuple):
    """The fast context of one located answer, as short as its anchors allow.

    `ids` continue the prompt: the prefill and the answer up to, and without, the id at the last anchor. `anchors` are
    indices in it, one a word: what predicts the id at index a is read at index a - 1, or at the prompt's last token
    for a = 0; the last anchor equals len(ids). `targets` are the generated ids at the anchors, in both contexts.
    """

    ids: tuple[int, ...]
    anchors: tuple[int, ...]
    targets: tuple[int, ...]


def fast_branch(row_ids: Sequence[int], answer: LocatedAnswer) -> FastBranch:
    """Splice the fast context of a response's ids and its located answer (Eq. 8)."""
    shift = len(answer.prefill_ids) - answer.start
    return FastBranch(
        ids=(*answer.prefill_ids, *row_ids[answer.start : max(answer.anchors)]),
        anchors=tuple(anchor + shift for anchor in answer.anchors),
        targets=tuple(row_ids[anchor] for anchor in answer.anchors),
    )


def text_and_starts(backbone: Backbone, ids: Sequence[int]) -> tuple[str, list[int]]:
    """The text of ids and the character at which each id's text starts. For byte-level vocabularies, as Qwen's.

    Ids may hold pieces of characters, or bytes that are no text: an id that begins inside a character starts after it.
    Raises InputError where a token is not written in the characters of a byte-level vocabulary.
    """
    reader = getincrementaldecoder("utf-8")("replace")
    starts, pieces, at = [], [], 0
    for ident, raw in zip(ids, _bytes_of(backbone.tokenizer, ids), strict=True):
        starts.append(at + bool(reader.getstate()[0]))
        if ident in backbone.control_ids:
            continue
        pieces.append(reader.decode(raw))
        at += len(pieces[-1])
    return "".join(pieces) + reader.decode(b"", final=True), starts


def require_byte_level(tokenizer: Any, source: str = "") -> None:
    """Raise InputError, naming `source`, for a tokenizer whose tokens are not pieces of the text's own bytes."""
    ids = tokenizer.encode(_PROBE, add_special_tokens=False)
    if b"".join(_bytes_of(tokenizer, ids, source)).decode("utf-8", "replace") != _PROBE:
        raise _not_byte_level(tokenizer, source)


def _bytes_of(tokenizer: Any, ids: Sequence[int], source: str = "") -> list[bytes]:
    added = tokenizer.added_tokens_decoder
    tokens: list[str] = tokenizer.convert_ids_to_tokens(list(ids))
    try:
        return [
            token.encode() if ident in added else bytes(_BYTE_OF[character] for character in token)
            for ident, token in zip(ids, tokens, strict=True)
        ]
    except KeyError:
        raise _not_byte_level(tokenizer, source) from None


def _not_byte_level(tokenizer: Any, source: str) -> InputError:
    name = source or tokenizer.name_or_path or "this model"
    return InputError(
        f"{name}: the tokenizer's vocabulary is not byte-level, so the words of an answer cannot be found in its ids; "
        "take a model whose vocabulary is, such as Qwen/Qwen2.5-Omni-7B"
    )
