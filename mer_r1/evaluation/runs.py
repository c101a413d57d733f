"""The folders of runs, read for the diagnosis and the page. Nothing is evaluated here.

Four kinds of folder, told apart by what they hold:

    quickstart    metrics.json with "systems", data/test.jsonl, and a folder a system      its systems, one set "test"
    benchmark     run.json of kind "benchmark", and a folder a set                         one system with its sets
    predictions   manifest.jsonl and predictions.jsonl                                     one system, one set "test"
    training      metrics.jsonl, as `mer-r1 train` writes it                               one system without sets

A system's folder may hold metrics.jsonl (one line a logging step), run.json and recipe.yaml, a set's folder
manifest.jsonl and predictions.jsonl. Convention: whatever else is absent is left out. A number that is null or absent
is None. Names of sets and systems become names of folders, so they are plain words.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

from mer_r1.data.files import read_json_lines
from mer_r1.data.manifest import read_manifest
from mer_r1.data.predictions import read_predictions
from mer_r1.data.sample import Mode, Prediction, Sample
from mer_r1.errors import InputError
from mer_r1.text import printable

Json = dict[str, Any]
Answers = dict[tuple[str, Mode], Prediction]

TITLES = {"sft": "SFT", "baseline": "Baseline", "mer_r1": "MER-R1"}
TEST = "test"
NUM_ROLLOUTS_READ = 20_000
MAX_RECIPE_LETTERS = 8_000
NEEDED = (
    "no run that can be read; a folder of `mer-r1 quickstart`, `benchmark` or `train` is needed, or one that holds "
    "manifest.jsonl and predictions.jsonl"
)
_NAME = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True)
class EvaluatedSet:
    """A data set that a system was asked about: its gold samples, and the answers by (id, mode)."""

    name: str
    title: str
    folder: Path
    samples: tuple[Sample, ...]
    predictions: Answers

    def of_mode(self, mode: Mode) -> dict[str, Prediction]:
        """The answers of one mode by id."""
        return {identity: row for (identity, item), row in self.predictions.items() if item == mode}


@dataclass(frozen=True)
class System:
    """One system of a run: its name, title, and what its folder holds.

    `numbers` is its part of metrics.json (of a benchmark: all of it); `log` the lines of metrics.jsonl in order.
    """

    name: str
    title: str
    folder: Path
    numbers: Json
    log: tuple[Json, ...]
    run: Json
    recipe: str
    sets: tuple[EvaluatedSet, ...]

    @cached_property
    def predictions(self) -> Answers:
        """The answers of all sets; an id that two sets share has the later one's."""
        if len(self.sets) == 1:
            return self.sets[0].predictions
        return {key: row for item in self.sets for key, row in item.predictions.items()}

    def number(self, *keys: str) -> float | None:
        """The number at that place of `numbers`, or None."""
        return number_at(self.numbers, *keys)

    def interval(self, mode: str, measure: str) -> tuple[float, float] | None:
        """The interval of a measure, or None."""
        return interval_of(value_at(self.numbers, mode, "intervals", measure))

    def series(self, key: str) -> tuple[list[float], list[float]]:
        """(steps, values) of one logged number, steps without it left out."""
        pairs = [(_number(row.get("step")), _number(row.get(key))) for row in self.log]
        known = [(step, value) for step, value in pairs if step is not None and value is not None]
        return [step for step, _ in known], [value for _, value in known]


@dataclass(frozen=True)
class Run:
    """A quickstart's folder, read."""

    folder: Path
    metrics: Json
    systems: tuple[System, ...]
    test: tuple[Sample, ...]


def read_runs(folders: Sequence[Path]) -> tuple[System, ...]:
    """The systems of all folders in order, with names and titles of their own.

    A set of a benchmark that has no prediction yet is left out. Raises InputError for no folder, for one that is no
    run, and for a file in it that is not what it should be.
    """
    if not folders:
        raise InputError(f"no folder given; {NEEDED.split('; ', 1)[1]}")
    seen = set[Path]()
    for folder in folders:
        if folder.resolve() in seen:
            raise InputError(f"{folder}: given twice; give each run once")
        seen.add(folder.resolve())
    return _distinct([(folder, system) for folder in folders for system in _read_folder(folder)])


def read_run(folder: Path) -> Run:
    """Read a quickstart's folder.

    Raises InputError when metrics.json is missing, or a file is not what it should be.
    """
    metrics = _metrics(folder / "metrics.json")
    measured: Json = metrics["systems"]
    for name in measured:
        if not _NAME.fullmatch(name) or not isinstance(measured[name], dict):
            raise InputError(f'{folder / "metrics.json"}: system "{name}" must be the name of a folder and an object')
    names = [name for name in TITLES if name in measured or (folder / name).is_dir()]
    names += [name for name in measured if name not in TITLES]
    path = folder / "data" / "test.jsonl"
    test = tuple(read_manifest(path)) if path.exists() else ()
    systems = [_system(folder / name, name, TITLES.get(name, name), measured.get(name, {})) for name in names]
    return Run(folder, metrics, tuple(replace(system, sets=_sets_of(system.folder, test)) for system in systems), test)


def read_groups(path: Path) -> Iterator[list[Json]]:
    """The groups of a rollouts file in order, as far as its first lines: runs of rows of one step and one id."""
    if not path.exists():
        return
    group: list[Json] = []
    for number, row in read_json_lines(path):
        if group and (row.get("step"), row.get("id")) != (group[0].get("step"), group[0].get("id")):
            yield group
            group = []
        if number > NUM_ROLLOUTS_READ:
            return
        if isinstance(row.get("rewards"), dict) and _number(row.get("advantage")) is not None:
            group.append(row)
    if group:
        yield group


def value_at(value: Any, *keys: str) -> Any:
    """What stands at `keys` of nested objects, or None."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def number_at(value: Any, *keys: str) -> float | None:
    """The finite number at `keys` of nested objects, or None."""
    return _number(value_at(value, *keys))


def interval_of(value: Any) -> tuple[float, float] | None:
    """[low, high] or {"low", "high"} as a pair, or None where it is not one."""
    if isinstance(value, dict):
        value = [value.get("low"), value.get("high")]
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    low, high = _number(value[0]), _number(value[1])
    return None if low is None or high is None else (low, high)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        return None
    return number if math.isfinite(number) else None


def _read_folder(folder: Path) -> tuple[System, ...]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; {NEEDED.split('; ', 1)[1]}")
    facts = read_object(folder / "run.json")
    if facts.get("kind") == "benchmark":
        return (_benchmark(folder, facts),)
    if isinstance(read_object(folder / "metrics.json").get("systems"), dict):
        return read_run(folder).systems
    manifest = folder / "manifest.jsonl"
    if not manifest.exists():  # a system of a quickstart, whose clips lie beside it
        manifest = folder.resolve().parent / "data" / "test.jsonl"
    asked = manifest.exists() and (folder / "predictions.jsonl").exists()
    if not asked and not (folder / "metrics.jsonl").exists():
        raise InputError(f"{folder}: {NEEDED}")
    name = folder.resolve().name
    system = _system(folder, name, TITLES.get(name, printable(name)), read_object(folder / "metrics.json"))
    return (replace(system, sets=_sets_of(folder, tuple(read_manifest(manifest)))) if asked else system,)


def _benchmark(folder: Path, facts: Json) -> System:
    """A benchmark's one system; its sets stand in the order of metrics.json, further ones follow by name."""
    numbers, name = read_object(folder / "metrics.json"), folder.resolve().name
    measured = value_at(numbers, "sets")
    order = [item for item in measured if _NAME.fullmatch(item)] if isinstance(measured, dict) else []
    found = sorted(path.parent.name for path in folder.glob("*/predictions.jsonl"))
    sets = []
    for item in dict.fromkeys([*order, *found]):
        manifest, predictions = folder / item / "manifest.jsonl", folder / item / "predictions.jsonl"
        if manifest.exists() and predictions.exists() and predictions.stat().st_size:
            title = value_at(numbers, "sets", item, "title")
            title = printable(title) if isinstance(title, str) and title else printable(item)
            sets.append(_evaluated(item, title, folder / item, tuple(read_manifest(manifest))))
    model = facts.get("model")
    asked = Path(model).name if isinstance(model, str) and model else name
    title = TITLES.get(asked, printable(asked))
    return replace(_system(folder, name, title, numbers), sets=tuple(sets))


def _sets_of(folder: Path, samples: tuple[Sample, ...]) -> tuple[EvaluatedSet, ...]:
    has_answers = (folder / "predictions.jsonl").exists()
    return (_evaluated(TEST, TEST, folder, samples),) if has_answers else ()


def _evaluated(name: str, title: str, folder: Path, samples: tuple[Sample, ...]) -> EvaluatedSet:
    rows = read_predictions(folder / "predictions.jsonl")
    return EvaluatedSet(name, title, folder, samples, {(row.id, row.mode): row for row in rows})


def _distinct(found: Sequence[tuple[Path, System]]) -> tuple[System, ...]:
    """Names and titles made different: a title that stands twice gets its folder's name, and then a number."""
    names, titles = set[str](), set[str]()
    repeated = Counter(system.title for _, system in found)
    systems = []
    for folder, system in found:
        title = system.title
        if repeated[title] > 1 and title != printable(folder.resolve().name):
            title = f"{title} ({printable(folder.resolve().name)})"
        name, title = free_name(system.name, "-", names), free_name(title, " #", titles)
        systems.append(replace(system, name=name, title=title))
    return tuple(systems)


def free_name(wanted: str, mark: str, taken: set[str]) -> str:
    """The wanted name, with the first number behind it that makes it another than all taken; it is taken now."""
    name = next(item for n in count(1) if (item := wanted if n == 1 else f"{wanted}{mark}{n}") not in taken)
    taken.add(name)
    return name


def _metrics(path: Path) -> Json:
    metrics = _json(path, f"{path}: not found; `mer-r1 quickstart` makes a run's folder, give that folder")
    if not isinstance(metrics, dict) or not isinstance(metrics.get("systems"), dict):
        raise InputError(f'{path}: an object with "systems" is needed; `mer-r1 quickstart` writes it')
    return metrics


def read_object(path: Path) -> Json:
    """The object of a JSON file; an empty one where there is no file or no object in it."""
    value = _json(path, "") if path.exists() else {}
    return value if isinstance(value, dict) else {}


def _json(path: Path, missing: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(missing) from None
    except (OSError, ValueError, RecursionError):
        raise InputError(f"{path}: cannot be read as JSON; take it away or write it anew") from None


def _system(folder: Path, name: str, title: str, numbers: Json) -> System:
    """What a system's folder holds but its sets."""
    log, recipe = folder / "metrics.jsonl", folder / "recipe.yaml"
    return System(
        name=name,
        title=title,
        folder=folder,
        numbers=numbers,
        log=tuple(row for _, row in read_json_lines(log)) if log.exists() else (),
        run=read_object(folder / "run.json"),
        recipe=recipe.read_text(encoding="utf-8", errors="replace")[:MAX_RECIPE_LETTERS] if recipe.exists() else "",
        sets=(),
    )
