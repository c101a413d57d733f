"""Confidence in an emotion category, read from the vocabulary's distribution at an answer word (MER-R1 Eq. 1).

Shape letters: A anchors, V vocabulary, N ids that open a word of some category, C categories of all wheels side by
side. At an anchor (the first token of an answer word) the confidence of a level-1 category c is

    conf(c) = log sum over e in V(c) of p(first token of e)                                              (Eq. 1)

over distinct ids, each word both with and without a leading space. An id that opens words of several categories of one
wheel counts for each of them (`shared_tokens="count"`, the paper's reading) or for none (`"drop"`). Where dropping
leaves a category without ids, its confidence is NaN. No gradient flows through confidence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from math import log, nan
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mer_r1.emotion.wheel import WheelSet
from mer_r1.models.backbone import Backbone
from mer_r1.models.token_offsets import require_byte_level
from mer_r1.objectives import SharedTokens

_FLOOR = 1e-10


class AnchorConfidence(NamedTuple):
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

    def confidence(self, log_probs_AV: Tensor, ids_A: Tensor) -> AnchorConfidence:
        """Both levels of confidence at A anchors, from log p over the vocabulary there and the ids generated there."""
        word_A = log_probs_AV.detach().gather(1, ids_A[:, None])[:, 0].float()
        return AnchorConfidence(self.log_confidence(log_probs_AV), word_A.clamp_min(log(_FLOOR)))

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
    ids_of = category_ids(opening_ids(backbone.tokenizer, wheels), wheels)
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


def opening_ids(tokenizer: Any, wheels: WheelSet) -> dict[str, tuple[int, int]]:
    """Of every word that has a category the ids it opens with: as it stands, and after a space."""
    words = [word for word in wheels.words if wheels.reaches(word)]
    alone, after_space = (
        tokenizer(texts, add_special_tokens=False)["input_ids"] for texts in (words, [f" {word}" for word in words])
    )
    return {word: (ids[0], spaced[0]) for word, ids, spaced in zip(words, alone, after_space, strict=True)}


def category_ids(opening: Mapping[str, tuple[int, int]], wheels: WheelSet) -> tuple[tuple[frozenset[int], ...], ...]:
    """Per wheel and category the distinct ids that open the category's words."""
    return tuple(
        tuple(frozenset(chain.from_iterable(opening[word] for word in wheels.words_of(wheel, name))) for name in names)
        for wheel, names in enumerate(wheels.categories_of)
    )


def shared_ids(ids_of_categories: Iterable[frozenset[int]]) -> frozenset[int]:
    """The ids that two or more of these categories have."""
    times = Counter(chain.from_iterable(ids_of_categories))
    return frozenset(ident for ident, num in times.items() if num > 1)
