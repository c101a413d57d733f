"""The best constant answer on a gold file: what a system scores that says the same words of every clip.

For a constant answer that reaches the categories s of one wheel, with the means taken over the samples whose gold set g
is not empty,

    HIT(s) = sum over c in s of mean[c in g]     P(s) = HIT(s) / |s|     R(s) = sum over c in s of mean([c in g] / |g|)
    F1(s) = 2PR / (P+R), 0 where P+R = 0         reported: the plain mean over wheels

so a wheel needs two numbers a category, and the value of three words is one look-up a wheel in a table of (pairs of
rows, rows), where the rows of a wheel are the different sets of categories that a word reaches in it. The search is
over the gold words, one for each different value over all wheels. It is exact: pairs of words are passed over when even
the best third word of each wheel, chosen in each wheel for itself, does not bring them to the best answer known. Only
where words reach more than MAX_ROWS different sets in one wheel (at most 73 in MER-UniBench's tables), three words are
sought among the MAX_ROWS words that stand in the best pairs.

Why: HIT does not charge for guessing. On MELD the two words "happy, angry" reach HIT 61.1 and three words 77.9, so a
HIT below that means little. The best answer is given for F1 and for HIT.
Shape letters: N samples, G different gold sets, W wheels, C categories of a wheel, U candidate words, R rows of a
wheel, P pairs of rows, B pairs of words tried at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mer_r1.emotion.compiled import shifts
from mer_r1.metrics.open_vocabulary import mean_over_wheels, measures
from mer_r1.metrics.statistics import Floats, Ints

BEST_FOR = ("f1", "hit")
SIZES = (1, 2, 3)
MAX_ROWS = 160  # a table is then 16 MB
TIE = 1e-12  # equal values may differ by less, being summed in different orders

_PAIRS_AT_ONCE = 256


@dataclass(frozen=True)
class ConstantAnswer:
    """The fixed answer with the best `measure` ("f1" or "hit"), and all that it scores on the gold file."""

    measure: str
    words: tuple[str, ...]
    precision: float
    recall: float
    f1: float
    hit: float


@dataclass(frozen=True)
class _Wheel:
    """One wheel: its gold samples in two numbers a category, and the sets of categories that candidates reach."""

    counted: float
    """Samples whose gold set is not empty."""
    present_C: Floats
    """Samples with the category."""
    share_C: Floats
    """The sum over these of 1 / |g|."""
    reached_RC: Floats
    """The different rows, 0 or 1 a category."""
    row_U: Ints
    """Each word's row."""

    def only(self, kept: Ints) -> _Wheel:
        """The same wheel with these of the words."""
        rows, row_U = np.unique(self.row_U[kept], return_inverse=True)
        return replace(self, reached_RC=self.reached_RC[rows], row_U=row_U)


@dataclass(frozen=True)
class _Table:
    """One measure of one wheel: the value of pairs of rows with every third row. Rows may be repeated."""

    pair_RR: Ints
    """The index of a pair of rows."""
    value_PR: Floats
    row_U: Ints


def best_constant_answers(
    gold_packed: Sequence[int],
    gold_extra: Sequence[int],
    word_packed: Mapping[str, int],
    categories_of: Sequence[Sequence[str]],
    sizes: Sequence[int] = SIZES,
) -> tuple[ConstantAnswer, ...]:
    """The best answers for F1, one a size, then those for HIT, of the sizes for which there are enough candidates.

    `gold_packed[n]` are the categories of sample n as emotion.wheel.pack gives them. `gold_extra[n]` words of the
    sample reach none and count as one category each in every wheel, which no constant answer has (0 where the protocol
    drops them). `word_packed` are the candidates with what they reach; of words with equal values the first stands for
    all, those that reach nothing are no candidates, and ties go to earlier words, so give the frequent ones first.
    Empty when there is no candidate, or a wheel in which no sample counts, for then every mean would be NaN.

    Raises ValueError for a size outside 1 to 3 and when the two lists of gold differ in length.
    """
    if not set(sizes) <= set(SIZES):
        raise ValueError(f"sizes are {tuple(sizes)}; give numbers of words from {SIZES[0]} to {SIZES[-1]}")
    candidates: dict[int, str] = {}
    for word, packed in word_packed.items():
        if packed:
            candidates.setdefault(packed, word)
    wheels = _wheels(Counter(zip(gold_packed, gold_extra, strict=True)), list(candidates), categories_of)
    if not candidates or not all(wheel.counted for wheel in wheels):
        return ()
    words = list(candidates.values())
    return tuple(
        ConstantAnswer(measure, tuple(words[i] for i in indices), *_scores(wheels, indices))
        for measure in BEST_FOR
        for indices in _best(wheels, measure, [size for size in sizes if size <= len(words)])
    )


def by_frequency(words: Sequence[Sequence[str]]) -> list[str]:
    """The distinct words of a corpus, the most frequent first, ties in order of appearance."""
    return [word for word, _ in Counter(word for sample in words for word in sample).most_common()]


def _wheels(
    gold: Mapping[tuple[int, int], int], candidates: Sequence[int], categories_of: Sequence[Sequence[str]]
) -> list[_Wheel]:
    """Every wheel of a gold file, given as how many samples have which packed categories and extra words."""
    times_G = np.array(list(gold.values()), dtype=np.float64)
    extra_G = np.array([extra for _, extra in gold], dtype=np.float64)
    wheels: list[_Wheel] = []
    for names, shift in zip(categories_of, shifts(categories_of), strict=True):
        full = (1 << len(names)) - 1
        gold_GC = _bits([packed >> shift & full for packed, _ in gold], len(names))
        size_G = gold_GC.sum(axis=1) + extra_G
        rows: dict[int, int] = {}
        row_U = [rows.setdefault(packed >> shift & full, len(rows)) for packed in candidates]
        wheels.append(
            _Wheel(
                counted=float(times_G[size_G > 0].sum()),
                present_C=times_G @ gold_GC,
                share_C=(times_G / np.maximum(size_G, 1)) @ gold_GC,
                reached_RC=_bits(list(rows), len(names)),
                row_U=np.array(row_U, dtype=np.int64),
            )
        )
    return wheels


def _bits(packed: Sequence[int], num_bits: int) -> Floats:
    """(len(packed), num_bits) of 0 and 1, the lowest bit first; an integer may be longer than a machine word."""
    num_bytes = num_bits // 8 + 1
    raw = np.frombuffer(b"".join(value.to_bytes(num_bytes, "little") for value in packed), dtype=np.uint8)
    bits = np.unpackbits(raw.reshape(len(packed), num_bytes), axis=1, count=num_bits, bitorder="little")
    return bits.astype(np.float64)


def _best(wheels: Sequence[_Wheel], measure: str, sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Of each size the indices of the words of the best answer, ascending; of equal answers the first in that order."""
    every = np.arange(len(wheels[0].row_U))
    alone = [np.arange(len(wheel.reached_RC)) for wheel in wheels]
    tables = [_table(wheel, measure, rows, rows) for wheel, rows in zip(wheels, alone, strict=True)]
    pairs_UU = _values(tables, every, every)
    found: list[tuple[int, ...]] = []
    for size in sizes:
        if size == 1:
            found.append((_first_best(pairs_UU.diagonal()),))
        elif size == 2:
            found.append(divmod(_first_best(np.where(every[:, None] < every, pairs_UU, -1.0)), len(every)))
        else:
            kept = every
            if max(len(wheel.reached_RC) for wheel in wheels) > MAX_ROWS:
                kept = np.sort(np.argsort(-pairs_UU.max(axis=1), kind="stable")[:MAX_ROWS])
            triple = _best_triple([wheel.only(kept) for wheel in wheels], measure)
            found.append(tuple(kept[list(triple)].tolist()))
    return found


def _best_triple(wheels: Sequence[_Wheel], measure: str) -> tuple[int, int, int]:
    """The best three: first a value to beat from the likeliest pairs, then every pair that may reach it, in order."""
    tables = [_table(wheel, measure, *np.triu_indices(len(wheel.reached_RC))) for wheel in wheels]
    num_words = len(wheels[0].row_U)
    first_P, second_P = np.triu_indices(num_words, 1)
    bound_P = np.zeros(len(first_P))
    for table in tables:
        best_third = table.value_PR.max(axis=1)
        bound_P += best_third[table.pair_RR[table.row_U[first_P], table.row_U[second_P]]]
    likely = np.argpartition(bound_P, -min(len(bound_P), _PAIRS_AT_ONCE))[-_PAIRS_AT_ONCE:]
    at_least = _with_later(tables, first_P[likely], second_P[likely]).max()
    left = np.flatnonzero(bound_P >= at_least - TIE)
    best, value = (0, 1, 2), -1.0
    while len(left):
        pairs, left = left[:_PAIRS_AT_ONCE], left[_PAIRS_AT_ONCE:]
        values_BU = _with_later(tables, first_P[pairs], second_P[pairs])
        if values_BU.max() > value + TIE:
            value = float(values_BU.max())
            pair, third = divmod(_first_best(values_BU), num_words)
            best = (int(first_P[pairs[pair]]), int(second_P[pairs[pair]]), third)
            left = left[bound_P[left] > value + TIE]
    return best


def _table(wheel: _Wheel, measure: str, first_P: Ints, second_P: Ints) -> _Table:
    """The value of these pairs of rows with every row, as constant answers in this wheel alone."""
    rows_RC = wheel.reached_RC
    pair_RR = np.full((len(rows_RC), len(rows_RC)), -1, dtype=np.int64)
    pair_RR[first_P, second_P] = pair_RR[second_P, first_P] = np.arange(len(first_P))
    pairs_PC = np.maximum(rows_RC[first_P], rows_RC[second_P])
    value_PR = _over_unions(pairs_PC, rows_RC, wheel.present_C / wheel.counted)
    if measure == "f1":  # 2PR / (P+R) with P = HIT / size
        recall_PR = _over_unions(pairs_PC, rows_RC, wheel.share_C / wheel.counted)
        below_PR = _over_unions(pairs_PC, rows_RC, np.ones(rows_RC.shape[1])) * recall_PR + value_PR
        value_PR *= 2 * recall_PR
        np.divide(value_PR, below_PR, out=value_PR, where=below_PR > 0)
    return _Table(pair_RR, value_PR, wheel.row_U)


def _over_unions(pairs_PC: Floats, rows_RC: Floats, weight_C: Floats) -> Floats:
    """(P, R): the weights of the categories in a pair or a third row, added up."""
    return (pairs_PC @ weight_C)[:, None] + ((1 - pairs_PC) * weight_C) @ rows_RC.T


def _values(tables: Sequence[_Table], first_B: Ints, second_B: Ints) -> Floats:
    """(B, U): the sum over wheels of the value of two words with each word."""
    total_BU = np.zeros((len(first_B), len(tables[0].row_U)))
    for table in tables:
        pair_B = table.pair_RR[table.row_U[first_B], table.row_U[second_B]]
        total_BU += table.value_PR[pair_B].take(table.row_U, axis=1)
    return total_BU


def _with_later(tables: Sequence[_Table], first_B: Ints, second_B: Ints) -> Floats:
    """`_values` with the words after the second; -1 with the others."""
    values_BU = _values(tables, first_B, second_B)
    values_BU[np.arange(values_BU.shape[1]) <= second_B[:, None]] = -1
    return values_BU


def _first_best(values: Floats) -> int:
    """The index of the first of the best values, in the order of the flat table."""
    return int(np.argmax(values >= values.max() - TIE))


def _scores(wheels: Sequence[_Wheel], indices: Sequence[int]) -> list[float]:
    """Precision, recall, F1 and HIT of the words at these indices, as reported."""
    sums: list[list[float]] = []
    for wheel in wheels:
        union_C = wheel.reached_RC[wheel.row_U[list(indices)]].max(axis=0)
        overlap = float(wheel.present_C @ union_C)
        sums.append([wheel.counted, overlap / max(1.0, union_C.sum()), float(wheel.share_C @ union_C), overlap])
    reported: list[float] = mean_over_wheels(measures(np.array(sums).T[None], undefined_f1=0.0))[0].tolist()
    return reported
