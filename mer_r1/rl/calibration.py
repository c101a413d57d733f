"""Slow-fast confidence calibration (MER-R1 Section 4.3, Eq. 1 and 8-11).

Shape letters: B responses, R response tokens, A anchors, V vocabulary, C categories of all wheels side by side.

An anchor is the first token of an answer word. At an anchor the confidence of a level-1 category c is

    conf(c) = log sum over e in V(c) of p(first token of e)                                              (Eq. 1)

over distinct ids, each word both with and without a leading space; ids that two categories share count for both, which
is the paper's reading. Slow reads the anchor after the response's own reasoning, fast after the profile's prefill and
*the same answer ids*, spliced as ids and never re-tokenised, so that anchors agree by construction (Eq. 8).

    Delta(e) = conf_slow(c(e)) - conf_fast(c(e))                                                          (Eq. 9)

R+ is the mean of Delta over words of correct category, R- the mean of -Delta over words of an incorrect one (Eq.
10-11). The paper has no wheel index: here correctness is judged per wheel, and a word's Delta is averaged over the
wheels in which it is correct (for R+) or incorrect (for R-); wheels without gold say nothing. No gradient flows through
confidence.
"""

from __future__ import annotations

from bisect import bisect_right
from codecs import getincrementaldecoder
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import torch
from torch import Tensor

from mer_r1.emotion.wheel import WheelSet
from mer_r1.models.backbone import Backbone
from mer_r1.response import PROFILES, Profile

CLIP = 5.0  # of one word's Delta; a log of almost nothing should not rule a group
_FLOOR = 1e-10


@dataclass(frozen=True)
class CategoryTokens:
    """First-token ids of every category. `member_VC` is 1 where an id opens a word of the category.

    `offsets` gives the first column of each wheel, so category c of wheel w is column offsets[w] + c.
    """

    member_VC: Tensor
    offsets: tuple[int, ...]

    def log_confidence(self, log_probs_AV: Tensor) -> Tensor:
        """conf(c) of every category at every anchor, (A, C), natural logarithm."""
        return (log_probs_AV.double().exp() @ self.member_VC.double()).clamp_min(_FLOOR).log().float()

    def column(self, wheel: int, category: int) -> int:
        """The column of a wheel's category."""
        return self.offsets[wheel] + category


def category_tokens(backbone: Backbone, wheels: WheelSet) -> CategoryTokens:
    """The token table of a tokenizer and a wheel set."""
    size = backbone.suppressed_V.shape[0]
    counts = [len(names) for names in wheels.categories_of]
    offsets = tuple(sum(counts[:wheel]) for wheel in range(len(counts)))
    member = torch.zeros(size, sum(counts))
    first: dict[str, list[int]] = {}
    for wheel, names in enumerate(wheels.categories_of):
        for category, name in enumerate(names):
            for word in wheels.words_of(wheel, name):
                if word not in first:
                    first[word] = [backbone.text_ids(text)[0] for text in (word, f" {word}")]
                member[first[word], offsets[wheel] + category] = 1.0
    return CategoryTokens(member.to(backbone.device), offsets)


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
    """Find the words of a slow response's last answer in its ids; None when there is no word to find.

    Where a token covers both the tag's end and the first word (`>happy`), it belongs to the answer, and the prefill
    ends as many characters earlier: both contexts then hold the same ids from `start` on.
    """
    text, starts = text_and_starts(backbone, ids)
    spans = profile.spans(text)
    if not spans:
        return None
    first_char = text.rfind("<answer>", 0, spans[0][0] + 1) + len("<answer>")
    start = bisect_right(starts, first_char) - 1
    overlap = first_char - starts[start]
    prefill = profile.fast_prefill[: len(profile.fast_prefill) - overlap]
    begins = {word: begin for begin, _, word in reversed(spans)}  # where a word stands first; E+ and E- are sets
    words = tuple(dict.fromkeys(word for _, _, word in spans))
    anchors = tuple(bisect_right(starts, begins[word]) - 1 for word in words)
    return Answer(start, anchors, words, tuple(backbone.text_ids(prefill)))


def text_and_starts(backbone: Backbone, ids: Sequence[int]) -> tuple[str, list[int]]:
    """The text of ids and the character at which each id's text starts. For byte-level vocabularies, as Qwen's.

    Ids may hold pieces of characters, or bytes that are no text: an id that begins inside a character starts after it.
    """
    tokens: list[str] = backbone.tokenizer.convert_ids_to_tokens(list(ids))
    added = backbone.tokenizer.added_tokens_decoder
    reader = getincrementaldecoder("utf-8")("replace")
    starts, pieces, at = [], [], 0
    for ident, token in zip(ids, tokens, strict=True):
        starts.append(at + bool(reader.getstate()[0]))
        if ident in backbone.control_ids:
            continue
        raw = token.encode() if ident in added else bytes(_BYTE_OF[letter] for letter in token)
        pieces.append(reader.decode(raw))
        at += len(pieces[-1])
    return "".join(pieces) + reader.decode(b"", final=True), starts


def _byte_letters() -> dict[str, int]:
    """The letter under which a byte-level vocabulary writes each byte."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + place): byte for place, byte in enumerate(hidden)}


_BYTE_OF = _byte_letters()


def calibration_rewards(
    words: Sequence[str],
    slow_AC: Tensor,
    fast_AC: Tensor,
    gold: Sequence[frozenset[int]],
    tokens: CategoryTokens,
    wheels: WheelSet,
) -> tuple[float, float]:
    """(R+, R-) of one response (Eq. 11). NaN where there is no correct, or no incorrect, word.

    `slow_AC` and `fast_AC` are `log_confidence` at the anchors of `words`; `gold` the gold categories per wheel.
    """
    correct: list[float] = []
    incorrect: list[float] = []
    gaps = (slow_AC - fast_AC).clamp(-CLIP, CLIP).tolist()
    for word, gap_C in zip(words, gaps, strict=True):
        ways = [
            (gap_C[tokens.column(wheel, category)], category in gold[wheel])
            for wheel, categories in enumerate(wheels.lookup(word) or ())
            for category in categories
            if gold[wheel]
        ]
        right = [gap for gap, is_right in ways if is_right]
        wrong = [-gap for gap, is_right in ways if not is_right]
        if right:
            correct.append(sum(right) / len(right))
        if wrong:
            incorrect.append(sum(wrong) / len(wrong))
    return _mean(correct), _mean(incorrect)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else nan


def gather_anchors(logits_BRV: Tensor, anchors: Sequence[tuple[int, int]]) -> Tensor:
    """log p over the vocabulary at (row, position) anchors, (A, V), without gradient."""
    if not anchors:
        return logits_BRV.new_zeros((0, logits_BRV.shape[-1]))
    rows, positions = zip(*anchors, strict=True)
    chosen: Any = logits_BRV.detach()[list(rows), list(positions)]
    return torch.log_softmax(chosen, dim=-1)
