"""Which answers count: the one rule of every command that scores or compares answers.

    answer    a row of any status but "error"; one that is cut off or cannot be parsed is scored by the words it holds
    failed    a row with status "error", or no row in one mode where the clip has a row in another
    missing   no row in any mode: scored as an empty answer, so that leaving clips out never raises a number; in a run
              of our own (`all_asked`), where every clip was asked in every mode, it is failed

A clip that failed in one of the modes or files that are compared is left out of all of them: their numbers are over the
same clips. What failed is counted beside the numbers and ends the command with status 1. `rule="as-empty"` keeps these
clips and scores a failed answer as an empty one; the count and the status stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

Key = TypeVar("Key")
FailedRule = Literal["left-out", "as-empty"]
Statuses = Mapping[str, str]
"""Status by id, of the rows of one mode."""


@dataclass(frozen=True)
class Answered(Generic[Key]):
    """`ids`: the clips that the numbers are over, in the order given. `failed`: of each file, by mode, what failed."""

    ids: tuple[str, ...]
    failed: tuple[dict[Key, tuple[str, ...]], ...]

    @property
    def exit_status(self) -> int:
        """1 where an answer failed, otherwise 0."""
        return int(any(of_mode for modes in self.failed for of_mode in modes.values()))


def answered(
    ids: Iterable[str],
    *files: Mapping[Key, Statuses],
    rule: FailedRule = "left-out",
    all_asked: bool = False,
) -> Answered[Key]:
    """Which of `ids` count, by the rule above; each file maps a mode to the status of its rows by id."""
    ids = tuple(ids)
    failed = tuple(_failed(ids, modes, all_asked) for modes in files)
    left_out: set[str] = set()
    if rule == "left-out":
        left_out.update(*(of_mode for modes in failed for of_mode in modes.values()))
    return Answered(tuple(identity for identity in ids if identity not in left_out), failed)


def _failed(ids: tuple[str, ...], modes: Mapping[Key, Statuses], all_asked: bool) -> dict[Key, tuple[str, ...]]:
    asked = set(ids) if all_asked else {identity for statuses in modes.values() for identity in statuses}
    return {
        mode: tuple(i for i in ids if i in asked and statuses.get(i, "error") == "error")
        for mode, statuses in modes.items()
    }
