"""Slow-fast confidence calibration (MER-R1 Section 4.3, Eq. 1 and 8-11).

Shape letters: A anchors, V vocabulary, N ids that open a word of some category, C
categories of all wheels side by side.

An anchor is the first token of an answer word. At an anchor the confidence of a level-1 category c is

    conf(c) = log sum over e in V(c) of p(first token of e)                                              (Eq. 1)

over distinct ids, each word both with and without a leading space. An id that opens words of several categories of one
wheel counts for each of them (`shared_tokens="count"`, the paper's reading) or for none (`"drop"`). Slow reads the
anchor after the response's own reasoning, fast after the profile's prefill and *the same answer ids*, spliced as ids
and never re-tokenised, so that anchors agree by construction (Eq. 8).

    Delta(e) = conf_slow(c(e)) - conf_fast(c(e))                                                          (Eq. 9)

R+ is the mean of Delta over words of correct category, R- the mean of -Delta over words of an incorrect one (Eq.
10-11). The paper has no wheel index: here correctness is judged per wheel, and a word's Delta is averaged over the
wheels in which it is correct (for R+) or incorrect (for R-); wheels without gold say nothing. Where dropping leaves a
category without ids, its confidence is NaN and its words have no Delta in that wheel. Ablation A1 takes the generated
id's own log p(first token of e) for conf; correctness stays that of the wheels. No gradient flows through confidence.
"""

from __future__ import annotations

from bisect import bisect_right
from codecs import getincrementaldecoder
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import isnan, log, nan
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.models.backbone import Backbone
from mer_r1.response import PROFILES, Profile

CLIP = 5.0  # of one word's Delta; a log of almost nothing should not rule a group
_FLOOR = 1e-10
_PROBE = " happy, \u5fc3"  # a space, a mark and three bytes that are one character

SharedTokens = Literal["count", "drop"]
Level = Literal["category", "word"]


class Confidence(NamedTuple):
    """What one context says at A anchors, natural logarithms without gradient, none below log 1e-10.

    `category_AC` is conf(c) of every category, NaN for one whose ids were all dropped; `word_A` is the log-probability
    of the generated id (ablation A1).
    """

    category_AC: Tensor
    word_A: Tensor


@dataclass(frozen=True)
class CategoryTokens:
    """The ids that open the words of every category.

    `ids_N` are the ids that count for some category, `member_NC` (float64) is 1 where an id opens a word of the
    category. `offsets` gives the first column of each wheel, so category c of wheel w is column offsets[w] + c.
    `undefined_C` marks the categories that have words but no id left.
    """

    ids_N: Tensor
    member_NC: Tensor
    offsets: tuple[int, ...]
    undefined_C: Tensor

    def log_confidence(self, log_probs_AV: Tensor) -> Tensor:
        """conf(c) of every category at every anchor, (A, C), natural logarithm, float32 (summed in float64)."""
        p_AN = log_probs_AV.detach().index_select(1, self.ids_N).double().exp()
        conf_AC = (p_AN @ self.member_NC).clamp_min(_FLOOR).log().float()
        return conf_AC.masked_fill(self.undefined_C, nan)

    def confidence(self, log_probs_AV: Tensor, ids_A: Tensor) -> Confidence:
        """Both levels of confidence at A anchors, from log p over the vocabulary there and the ids generated there."""
        word_A = log_probs_AV.detach().gather(1, ids_A[:, None])[:, 0].float()
        return Confidence(self.log_confidence(log_probs_AV), word_A.clamp_min(log(_FLOOR)))

    def column(self, wheel: int, category: int) -> int:
        """The column of a wheel's category."""
        return self.offsets[wheel] + category

    def columns(self, word: str, wheels: WheelSet) -> list[int]:
        """The columns of a word's categories in all wheels that know it."""
        return [self.column(w, c) for w, ids in enumerate(wheels.lookup(word) or ()) for c in ids]


def category_tokens(backbone: Backbone, wheels: WheelSet, shared_tokens: SharedTokens = "count") -> CategoryTokens:
    """The token table of a backbone's tokenizer and a wheel set, on the backbone's device.

    Raises InputError for a tokenizer that is not byte-level, in whose ids no answer could be located.
    """
    require_byte_level(backbone.tokenizer)
    ids_of = category_ids(opening_ids(backbone.text_ids, wheels), wheels)
    dropped = [shared_ids(of_wheel) if shared_tokens == "drop" else frozenset() for of_wheel in ids_of]
    kept = [ids - drop for of_wheel, drop in zip(ids_of, dropped, strict=True) for ids in of_wheel]
    rows = {ident: row for row, ident in enumerate(sorted(frozenset().union(*kept)))}
    member_NC = torch.zeros(len(rows), len(kept), dtype=torch.float64)
    for column, ids in enumerate(kept):
        member_NC[[rows[ident] for ident in ids], column] = 1.0
    undefined = [bool(ids) and not left for ids, left in zip(chain.from_iterable(ids_of), kept, strict=True)]
    counts = [len(names) for names in wheels.categories_of]
    return CategoryTokens(
        ids_N=torch.tensor([*rows], dtype=torch.long, device=backbone.device),
        member_NC=member_NC.to(backbone.device),
        offsets=tuple(sum(counts[:wheel]) for wheel in range(len(counts))),
        undefined_C=torch.tensor(undefined, device=backbone.device),
    )


def opening_ids(text_ids: Callable[[str], Sequence[int]], wheels: WheelSet) -> dict[str, frozenset[int]]:
    """Of every word that has a category the ids it may open with: its first id, and that of it after a space."""
    return {
        word: frozenset(text_ids(text)[0] for text in (word, f" {word}"))
        for word in wheels.words
        if wheels.reaches(word)
    }


def category_ids(opening: Mapping[str, frozenset[int]], wheels: WheelSet) -> tuple[tuple[frozenset[int], ...], ...]:
    """Per wheel and category the distinct ids that open the category's words."""
    return tuple(
        tuple(frozenset(chain.from_iterable(opening[word] for word in wheels.words_of(wheel, name))) for name in names)
        for wheel, names in enumerate(wheels.categories_of)
    )


def shared_ids(ids_of_categories: Iterable[frozenset[int]]) -> frozenset[int]:
    """The ids that two or more of these categories have."""
    times = Counter(chain.from_iterable(ids_of_categories))
    return frozenset(ident for ident, num in times.items() if num > 1)


@dataclass(frozen=True)
class Answer:
    """Where the answer of one response lies in its ids.

    `start` is the place of the id that covers the answer's first character; `words` are the answer's distinct words,
    `anchors` the places of the ids that cover their first characters, where each stands first. `prefill_ids` is what
    stands before `ids[start:]` in the fast context.
    """

    start: int
    anchors: tuple[int, ...]
    words: tuple[str, ...]
    prefill_ids: tuple[int, ...]


def locate_answer(backbone: Backbone, ids: Sequence[int], profile: Profile = PROFILES["think_answer"]) -> Answer | None:
    """Find the words of a response's last answer in its ids; None when there is no word to find.

    Where a token covers both the end of what opens the answer and the first word (`>happy`), it belongs to the answer,
    and the prefill ends as many characters earlier: both contexts then hold the same ids from `start` on. None too
    where that token reaches back to text that the prefill does not end in: no fast context could hold it.
    """
    text, starts = text_and_starts(backbone, ids)
    spans = profile.spans(text)
    if not spans:
        return None
    first_char = text.rfind(profile.opens, 0, spans[0][0] + 1) + len(profile.opens)
    start = bisect_right(starts, first_char) - 1
    glued = text[starts[start] : first_char]
    if not profile.fast_prefill.endswith(glued):
        return None
    prefill = profile.fast_prefill.removesuffix(glued)
    begins = {word: begin for begin, _, word in reversed(spans)}  # where a word stands first; E+ and E- are sets
    words = tuple(dict.fromkeys(word for _, _, word in spans))
    anchors = tuple(bisect_right(starts, begins[word]) - 1 for word in words)
    return Answer(start, anchors, words, tuple(backbone.text_ids(prefill)))


class FastBranch(NamedTuple):
    """The fast context of one located answer, as short as its anchors allow.

    `ids` continue the prompt: the prefill and the answer up to, and without, the id at the last anchor. `anchors` are
    places in it, one a word: what predicts the id at place a is read at place a - 1, or at the prompt's last token
    for a = 0; the last anchor equals len(ids). `targets` are the generated ids at the anchors, in both contexts.
    """

    ids: tuple[int, ...]
    anchors: tuple[int, ...]
    targets: tuple[int, ...]


def fast_branch(row_ids: Sequence[int], answer: Answer) -> FastBranch:
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
    Raises InputError where a token is not written in the letters of a byte-level vocabulary.
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
            token.encode() if ident in added else bytes(_BYTE_OF[letter] for letter in token)
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


def _byte_letters() -> dict[str, int]:
    """The letter under which a byte-level vocabulary writes each byte."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + place): byte for place, byte in enumerate(hidden)}


_BYTE_OF = _byte_letters()


def calibration_pair(
    words: Sequence[str],
    slow: Confidence,
    fast: Confidence,
    gold: Sequence[frozenset[int]],
    tokens: CategoryTokens,
    wheels: WheelSet,
    level: Level = "category",
) -> tuple[float, float]:
    """(R+, R-) of one response (Eq. 11). NaN where there is no correct, or no incorrect, word.

    `slow` and `fast` are the confidences at the anchors of `words`, in order; `gold` the gold categories per wheel.
    `level` "word" is ablation A1.
    """
    correct: list[float] = []
    incorrect: list[float] = []
    for word, gap_C in zip(words, _gaps(slow, fast, level).tolist(), strict=True):
        ways = [
            (gap_C[tokens.column(wheel, category)], category in gold[wheel])
            for wheel, categories in enumerate(wheels.lookup(word) or ())
            for category in categories
            if gold[wheel]
        ]
        right = [gap for gap, is_right in ways if is_right and not isnan(gap)]
        wrong = [-gap for gap, is_right in ways if not is_right and not isnan(gap)]
        if right:
            correct.append(sum(right) / len(right))
        if wrong:
            incorrect.append(sum(wrong) / len(wrong))
    return _mean(correct), _mean(incorrect)


def _gaps(slow: Confidence, fast: Confidence, level: Level) -> Tensor:
    """Delta of every anchor as if its word were of each category, (A, C), bounded; NaN stays NaN."""
    if level == "word":
        gaps_AC = (slow.word_A - fast.word_A)[:, None].expand_as(slow.category_AC)
    else:
        gaps_AC = slow.category_AC - fast.category_AC
    return gaps_AC.clamp(-CLIP, CLIP)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else nan
