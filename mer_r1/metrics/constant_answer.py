"""The best constant answer on a gold file: what a system scores that says the same words of every clip.

For a fixed set of categories s in one wheel, with the means taken over the samples whose gold set g is not empty,

    P(s) = sum over c in s of mean[c in g] / |s|        R(s) = sum over c in s of mean([c in g] / |g|)

so every set of categories of a wheel is scored once into a table of 2^C entries, and an answer is five look-ups. The
search is over the words of the gold file, one for each distinct row of categories: exact for one and two words, exact
for three while there are at most a million triples, else the best 200 pairs each extended by every word.

Why: HIT does not charge for guessing. On MELD the two words "happy, angry" reach HIT 61.1 and three words 77.9, so a
HIT below that means little. The constant is chosen by F1 and its HIT is given too (an F1 of 0/0 counts as 0 here).
Shape letters: N samples, W wheels, C categories of a wheel, U distinct rows of categories, S sets of categories.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from mer_r1.metrics.open_vocabulary import mean_over_wheels, measures

MAX_EXACT = 1_000_000
NUM_KEPT = 200

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ConstantAnswer:
    """A fixed answer and what it scores on the gold file."""

    words: tuple[str, ...]
    precision: float
    recall: float
    f1: float
    hit: float


def best_constant_answers(
    gold_sets: Sequence[Sequence[AbstractSet[int]]],
    word_ids: Mapping[str, Sequence[int]],
    num_categories: Sequence[int],
    sizes: Sequence[int] = (1, 2, 3),
) -> tuple[ConstantAnswer, ...]:
    """The best answer for F1 of each size, as far as the gold words have that many different rows of categories.

    `gold_sets[n][k]` are the category ids of sample n in wheel k. `word_ids` maps each candidate word to its category
    id in each wheel (-1: none); of words with the same ids the first stands for all, and ties go to earlier words, so
    give the frequent ones first. `num_categories[k]` is the number of categories of wheel k, at most 16.
    """
    words, masks_UW = _candidates(word_ids)
    counted = [sum(1 for sets in gold_sets if sets[k]) for k in range(len(num_categories))]
    if not len(words) or not all(counted):
        return ()
    tables = [_table([sets[k] for sets in gold_sets], n) for k, n in enumerate(num_categories)]
    answers: list[ConstantAnswer] = []
    for size in sizes:
        if size > len(words):
            break
        picks_SK = _picks(tables, masks_UW, size)
        union_SW = np.bitwise_or.reduce(masks_UW[picks_SK], axis=1)
        best = int(np.argmax(_f1(tables, union_SW)))
        values = _scores(tables, union_SW[best : best + 1])[0].tolist()
        answers.append(ConstantAnswer(tuple(words[i] for i in picks_SK[best]), *values))
    return tuple(answers)


def by_frequency(words: Sequence[Sequence[str]]) -> list[str]:
    """The distinct words of a corpus, the most frequent first, ties in order of appearance."""
    return [word for word, _ in Counter(word for sample in words for word in sample).most_common()]


def _candidates(word_ids: Mapping[str, Sequence[int]]) -> tuple[list[str], Ids]:
    """One word for each distinct row of ids that reaches a category, and the rows as bit masks."""
    first: dict[tuple[int, ...], str] = {}
    for word, ids in word_ids.items():
        if any(i >= 0 for i in ids):
            first.setdefault(tuple(ids), word)
    masks = [[1 << i if i >= 0 else 0 for i in ids] for ids in first]
    return list(first.values()), np.array(masks, dtype=np.int64)


def _table(gold: Sequence[AbstractSet[int]], num_categories: int) -> Floats:
    """(2^C, 4) of precision, recall, F1, HIT of every set of categories as a constant answer in one wheel."""
    assert num_categories <= 16, "a table of 2^C entries is for wheels of a few categories"
    gold = [categories for categories in gold if categories]
    present_C, share_C = np.zeros(num_categories), np.zeros(num_categories)
    for categories in gold:
        for category in categories:
            present_C[category] += 1
            share_C[category] += 1 / len(categories)
    bits_SC = (np.arange(2**num_categories)[:, None] >> np.arange(num_categories)) & 1
    overlap_S = bits_SC @ present_C
    sizes_S = np.maximum(bits_SC.sum(axis=1), 1)
    counted_S = np.full(len(bits_SC), float(len(gold)))
    sums = np.stack([counted_S, overlap_S / sizes_S, bits_SC @ share_C, overlap_S], axis=1)
    return measures(sums[:, :, None], undefined_f1=0.0)[:, :, 0]


def _scores(tables: Sequence[Floats], union_SW: Ids) -> Floats:
    """(S, 4): the reported measures of answers given as bit masks."""
    return mean_over_wheels(np.stack([table[union_SW[:, k]] for k, table in enumerate(tables)], axis=-1))


def _f1(tables: Sequence[Floats], union_SW: Ids) -> Floats:
    """(S,): the reported F1 alone, for the search."""
    total_S: Floats = np.zeros(len(union_SW))
    for k, table in enumerate(tables):
        total_S += table[union_SW[:, k], 2]
    return total_S / len(tables)


def _picks(tables: Sequence[Floats], masks_UW: Ids, size: int) -> Ids:
    """(S, size): the answers to try, as places in the list of candidates."""
    num_words = len(masks_UW)
    if size == 1:
        return np.arange(num_words, dtype=np.int64)[:, None]
    smaller_SK = _picks(tables, masks_UW, size - 1)
    if size == 2 or comb(num_words, size) <= MAX_EXACT:
        room_S = num_words - 1 - smaller_SK[:, -1]
        ends_S = np.cumsum(room_S)
        added = np.arange(ends_S[-1]) - np.repeat(ends_S - room_S, room_S)
        last_S = np.repeat(smaller_SK[:, -1], room_S)
        return np.column_stack([np.repeat(smaller_SK, room_S, axis=0), last_S + 1 + added])
    f1_S = _f1(tables, np.bitwise_or.reduce(masks_UW[smaller_SK], axis=1))
    kept = smaller_SK[np.argsort(-f1_S, kind="stable")[:NUM_KEPT]]
    added = np.tile(np.arange(num_words), len(kept))[:, None]
    extended: Ids = np.concatenate([np.repeat(kept, num_words, axis=0), added], axis=1)
    repeats_S = (extended[:, :-1] == added).any(axis=1)
    return np.delete(extended, np.flatnonzero(repeats_S), axis=0)
