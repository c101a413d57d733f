"""Several systems on the clips of one gold file: each against the first, mode by mode.

The numbers of every system are over the same clips, those whose answer failed in no system (answered.py). Differences
are those of the paired bootstrap (metrics/statistics.py). The p-values of one measure, over all systems and modes that
are compared, are one family, which Holm's correction is for: one comparison alone is left as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mer_r1.data.predictions import PREDICTIONS_FILE, UNSTATED, ModePredictions
from mer_r1.errors import InputError
from mer_r1.evaluation.runs import free_name
from mer_r1.evaluation.score import FileScore, ModeReports, Scorer, Settings
from mer_r1.metrics.corpus_score import difference_json
from mer_r1.metrics.signature import joined
from mer_r1.metrics.statistics import LEVEL, NUM_RESAMPLES, Difference, holm, or_none
from mer_r1.text import printable

Json = dict[str, Any]


@dataclass(frozen=True)
class SystemFile:
    """A predictions file and what the system is called."""

    name: str
    path: Path


@dataclass(frozen=True)
class Row:
    """A system in a mode, UNSTATED where its rows name none.

    `differences` are to the first system in the same mode, by measure, and empty for the first itself; `p_holm` are
    their p-values, corrected.
    """

    system: SystemFile
    mode: str
    reports: ModeReports
    differences: Mapping[str, Difference]
    p_holm: Mapping[str, float]

    def to_json(self) -> Json:
        """The row as JSON values: fractions from 0 to 1, NaN as None."""
        rows = difference_json(self.differences)
        return {
            "system": self.system.name,
            "file": str(self.system.path),
            "mode": None if self.mode == UNSTATED else self.mode,
            "n": self.reports.main.whole,
            "counted": self.reports.main.counted,
            "missing": self.reports.main.missing,
            "failed": self.reports.failed,
            **{name: or_none(value) for name, value in self.reports.measures.items()},
            "intervals": {name: bounds.to_json() for name, bounds in self.reports.intervals.items()},
            "difference": {name: row | {"p_holm": or_none(self.p_holm[name])} for name, row in rows.items()} or None,
            "signature": self.reports.main.signature,
        }


@dataclass(frozen=True)
class Comparison:
    """The rows of all systems, mode by mode, the first system first. `not_compared` are modes that not all files have.

    `first` says what the differences are to.
    """

    rows: tuple[Row, ...]
    first: str
    not_compared: tuple[str, ...] = ()

    @property
    def exit_status(self) -> int:
        """1 where an answer failed, otherwise 0."""
        return int(any(row.reports.failed for row in self.rows))

    @property
    def headline(self) -> str:
        """The measure that is the main one."""
        return self.rows[0].reports.headline

    @property
    def num_comparisons(self) -> int:
        """How many p-values of a measure are one family."""
        return sum(bool(row.differences) for row in self.rows)

    @cached_property
    def signatures(self) -> tuple[str, ...]:
        """What all numbers were computed on, and how: of the words or classes, and of the sentiment."""
        by_kind: dict[str, list[str]] = {}
        for row in self.rows:
            for kind, text in row.reports.signatures.items():
                by_kind.setdefault(kind, []).append(text)
        return tuple(map(joined, by_kind.values()))

    def to_json(self) -> Json:
        """The table as JSON values, row by row; of two systems also the whole reports, as version 0.1.0 wrote them.

        These are `{"first": report, "second": report, "difference": {measure: {"delta", "low", "high", "p_value"}}}`,
        or `{"modes": {mode: ..}}` of them where there are several modes.
        """
        table: Json = {
            "headline": self.headline,
            "signatures": list(self.signatures),
            "level": LEVEL,
            "num_resamples": NUM_RESAMPLES,
            "correction": "holm",
            "num_comparisons": self.num_comparisons,
            "not_compared": list(self.not_compared),
            "rows": [row.to_json() for row in self.rows],
        }
        return table | self._of_two()

    def _of_two(self) -> Json:
        systems = list(dict.fromkeys(row.system for row in self.rows))
        if len(systems) != 2 or len(self.rows) % 2:
            return {}
        one, other = (system.path for system in systems)
        titles = (one.name, other.name) if one.name != other.name else (str(one), str(other))
        half = len(self.rows) // 2
        pairs = {self.rows[2 * index].mode: self.rows[2 * index : 2 * index + 2] for index in range(half)}
        result: Json = {
            mode: {
                "first": {"file": titles[0], **first.reports.to_json()},
                "second": {"file": titles[1], **second.reports.to_json()},
                "difference": difference_json(second.differences),
            }
            for mode, (first, second) in pairs.items()
        }
        return next(iter(result.values())) if half == 1 else {"modes": result}


def systems_of(files: Sequence[str | Path]) -> tuple[SystemFile, ...]:
    """The systems that `FILE` or `NAME=FILE` name; a folder is that of its predictions.jsonl.

    A file goes by its stem, and predictions.jsonl by its folder's name; two of one name by more of their paths.
    Raises InputError for a name that is given twice.
    """
    given = [_given(str(file)) for file in files]
    paths = [within if (within := path / PREDICTIONS_FILE).is_file() else path for _, path in given]
    said = [name for name, _ in given if name is not None]
    if twice := next((name for name, times in Counter(said).items() if times > 1), None):
        raise InputError(f"{printable(twice)}: two systems of this name; give each NAME=FILE a name of its own")
    taken, ways = set(said), [_way(path) for path in paths]
    found = []
    for (name, _), path, way in zip(given, paths, ways, strict=True):
        short = next(
            (text for depth in range(1, len(way)) if _once(text := "/".join(way[-depth:]), ways, depth)), "/".join(way)
        )
        found.append(SystemFile(name or free_name(printable(short), "{}#{}", taken), path))
    return tuple(found)


def compare_files(gold: Path, files: Sequence[str | Path], settings: Settings | None = None) -> Comparison:
    """Score two or more systems (`systems_of`) on the clips of one gold file that failed for none.

    Raises InputError as `score_file` does, for one system alone, and when the files have no mode in common and more
    than one to choose from.
    """
    settings = settings or Settings()
    if len(files) < 2:
        raise InputError("one file alone has nothing to be compared with; give two or more, or score it by --pred")
    if settings.sentiment.out:
        raise InputError("--sentiment-out keeps the answers to one file; score each by --pred, then compare these")
    systems, scorer = systems_of(files), Scorer(gold, settings)
    found = [scorer.read(system.path) for system in systems]
    kept, not_compared = _same_modes(systems, found)
    scored = scorer.scored(*((system.path, modes) for system, modes in zip(systems, kept, strict=True)))
    rows = []
    for by_system in zip(*(modes.items() for modes in scored), strict=True):  # a mode's reports, system by system
        first = by_system[0][1]
        for system, (mode, reports) in zip(systems, by_system, strict=True):
            differences = {} if reports is first else reports.minus(first)
            rows.append(Row(system, mode, reports, differences, {}))
    return Comparison(_corrected(rows), systems[0].name, not_compared)


def rows_of_file(system: SystemFile, scored: FileScore) -> Comparison:
    """The modes of one file as rows, and slow minus fast where both are there."""
    rows = []
    for mode, reports in scored.modes.items():
        differences = scored.slow_minus_fast if mode == "slow" else None
        rows.append(Row(system, mode, reports, differences or {}, {}))
    return Comparison(_corrected(rows), "fast")


def _given(text: str) -> tuple[str | None, Path]:
    """The name, if one is given, and the path: `NAME=FILE`, unless the whole is the path of a file."""
    name, sign, rest = text.partition("=")
    if not sign or Path(text).exists():
        return None, Path(text)
    if not name.strip() or not rest:
        raise InputError(f"{printable(text)}: no name or no file; write NAME=FILE, or FILE alone")
    return printable(name.strip()), Path(rest).expanduser()


def _way(path: Path) -> tuple[str, ...]:
    """The parts of a path that a name is made of, the most telling last."""
    whole = path.absolute()
    return whole.parent.parts[1:] if path.name == PREDICTIONS_FILE else (*whole.parent.parts[1:], whole.stem)


def _once(text: str, ways: Sequence[tuple[str, ...]], depth: int) -> bool:
    """Whether one path alone ends so; a path that is given twice is one."""
    return sum("/".join(way[-depth:]) == text for way in set(ways)) == 1


def _same_modes(
    systems: Sequence[SystemFile], found: Sequence[Mapping[str, ModePredictions]]
) -> tuple[list[dict[str, ModePredictions]], tuple[str, ...]]:
    """The modes that all files have, and those that not all have; the one mode of each where none is shared."""
    if shared := [mode for mode in found[0] if all(mode in modes for modes in found)]:
        others = {mode for modes in found for mode in modes} - set(shared)
        return [{mode: modes[mode] for mode in shared} for modes in found], tuple(sorted(others))
    if all(len(modes) == 1 for modes in found):
        return [dict(modes) for modes in found], ()
    had = "; ".join(f"{s.path} has {printable(', '.join(modes))}" for s, modes in zip(systems, found, strict=True))
    raise InputError(f"the files have no mode in common ({had}); name one that all have with --mode")


def _corrected(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows with Holm's correction, measure by measure."""
    p_holm: list[dict[str, float]] = [{} for _ in rows]
    for measure in dict.fromkeys(name for row in rows for name in row.differences):
        family = [index for index, row in enumerate(rows) if measure in row.differences]
        corrected = holm([rows[index].differences[measure].p_value for index in family])
        for index, p in zip(family, corrected, strict=True):
            p_holm[index][measure] = p
    return tuple(replace(row, p_holm=p) for row, p in zip(rows, p_holm, strict=True))
