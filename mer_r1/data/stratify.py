"""Groups of rows dealt into parts of given sizes, so that every part has its share of every label.

    E = sum over parts p and features f of  w_f (n_pf - e_pf)^2 / e_pf,    e_pf = n_f target_p / N

n_pf counts feature f in part p, e_pf is what its share would be. The features are the labels (w = 1) and the rows
themselves (w = ROWS_WEIGHT), so that sizes count for more than any one label.

Rule: groups are placed one after another where E, with what is placed so far, grows least; a part that has no room for
the group is taken only where none has. Groups of more rows go first (by powers of two), of single rows those with the
rarest label, equals in the order of a hash of their key. The last groups go to the parts that are still empty. Up to
CHANGED groups, two groups of different parts then change places, or one moves, as long as that lowers E, and the best
of NUM_STARTS orders is kept; with more, the first pass leaves little to gain. Single rows fill every part to the row.

It is iterative stratification (Sechidis et al. 2011) for groups, with its objective written down. scikit-learn's
StratifiedGroupKFold reads one label a row and makes equal folds, so it does not serve here.
Shape letters: P parts, G groups, F features, of which feature 0 is the rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

ROWS_WEIGHT = 5.0
NUM_STARTS = 8
CHANGED = 300  # groups; a round of changes takes time by their square
_MOST_ROUNDS = 20
_DIGITS = 9  # of E, so that no processor's rounding decides between equals

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Group:
    """Rows that stay together: how many, how many of them have each label, and a key of its own."""

    rows: int
    labels: Mapping[str, int]
    key: bytes


def stratify(groups: Sequence[Group], targets: Sequence[int]) -> list[int]:
    """The part of every group. `targets` are the rows wanted of each part: positive, together the rows of all groups.

    The order of `groups` changes nothing, as long as their keys differ. No part is empty where there are as many groups
    as parts.
    """
    total = Counter[str]()
    for group in groups:
        total.update(group.labels)
    best: tuple[float, list[int]] | None = None
    for start in range(NUM_STARTS if len(groups) <= CHANGED else 1):
        order = _order(groups, total, start)
        deal = _Deal([groups[index] for index in order], targets, total)
        deal.place()
        if len(groups) <= CHANGED:
            deal.change()
        if best is None or deal.cost < best[0]:
            part_of = dict(zip(order, deal.part_G.tolist(), strict=True))
            best = deal.cost, [part_of[index] for index in range(len(groups))]
    assert best is not None
    return best[1]


def _order(groups: Sequence[Group], total: Counter[str], start: int) -> list[int]:
    def rank(index: int) -> tuple[int, int, bytes]:
        group = groups[index]
        rarest = min((total[label] for label in group.labels), default=0) if group.rows == 1 else 0
        return -group.rows.bit_length(), rarest, sha256(b"%d:%b" % (start, group.key)).digest()

    return sorted(range(len(groups)), key=rank)


class _Deal:
    """Groups being dealt; `over_PF` is what every part has beyond its share, below zero what it lacks."""

    def __init__(self, groups: Sequence[Group], targets: Sequence[int], total: Counter[str]) -> None:
        self._column = {label: column for column, label in enumerate(sorted(total), start=1)}
        total_F = np.array([sum(targets), *(total[label] for label in self._column)], dtype=float)
        expected_PF = np.outer(np.array(targets) / sum(targets), total_F)
        self._cost_PF = 1 / expected_PF
        self._cost_PF[:, 0] *= ROWS_WEIGHT
        self._groups = groups
        self._has_sizes = any(group.rows > 1 for group in groups)
        self.over_PF = -expected_PF
        self.part_G = np.full(len(groups), -1)

    @property
    def cost(self) -> float:
        """E, rounded."""
        return round(float((self._cost_PF * self.over_PF**2).sum()), _DIGITS)

    def place(self) -> None:
        """Put each group where E grows least."""
        empty = [True] * len(self.over_PF)
        for index, group in enumerate(self._groups):
            columns = [0, *(self._column[label] for label in group.labels)]
            count = np.array([group.rows, *group.labels.values()], dtype=float)
            over_P = self.over_PF[:, columns]
            growth_P = (self._cost_PF[:, columns] * (2 * over_P + count) * count).sum(1).round(_DIGITS)
            allowed_P = over_P[:, 0] + group.rows <= 0.5  # whole rows, up to rounding
            if len(self._groups) - index <= sum(empty):
                allowed_P = np.array(empty)
            part = int(np.argmin(np.where(allowed_P | ~allowed_P.any(), growth_P, np.inf)))
            self.over_PF[part, columns] += count
            self.part_G[index], empty[part] = part, False

    def change(self) -> None:
        """Change what lowers E most, group by group, until nothing does."""
        count_GF = np.zeros((len(self._groups) + 1, len(self._column) + 1))  # the last: no group, for moves
        for row, group in zip(count_GF[:-1], self._groups, strict=True):
            row[0] = group.rows
            for label, num in group.labels.items():
                row[self._column[label]] = num
        for _ in range(_MOST_ROUNDS):
            if not sum(self._improved(index, count_GF) for index in range(len(self._groups))):
                return

    def _improved(self, index: int, count_GF: Floats) -> bool:
        """Let a group change places with another, or move, where that lowers E most. Whether anything does."""
        here, none = int(self.part_G[index]), len(self._groups)
        others = np.flatnonzero(self.part_G != here)
        parts = self.part_G[others]
        if self._has_sizes and (self.part_G == here).sum() > 1:  # of single rows the sizes are right already
            free = np.array([part for part in range(len(self.over_PF)) if part != here], dtype=int)
            others, parts = np.append(others, np.full(len(free), none)), np.append(parts, free)
        if not len(others):
            return False
        gained_CF = count_GF[others] - count_GF[index]  # by `here`, of each change
        here_C = (self._cost_PF[here] * (2 * self.over_PF[here] + gained_CF) * gained_CF).sum(1)
        there_C = (self._cost_PF[parts] * (gained_CF - 2 * self.over_PF[parts]) * gained_CF).sum(1)
        growth_C = (here_C + there_C).round(_DIGITS)
        best = int(np.argmin(growth_C))
        if growth_C[best] >= 0:
            return False
        self.over_PF[here] += gained_CF[best]
        self.over_PF[parts[best]] -= gained_CF[best]
        self.part_G[index] = parts[best]
        if others[best] != none:
            self.part_G[others[best]] = here
        return True
