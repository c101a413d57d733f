"""The folder of a run, as `mer-r1 quickstart` lays it out, read for the page. Nothing is evaluated here.

    metrics.json               what was measured; the one file that must be there
    data/test.jsonl, train.jsonl
    SYSTEM/metrics.jsonl       one line a logging step; predictions.jsonl, rollouts.jsonl, run.json, recipe.yaml

Convention: whatever is absent but metrics.json is left out of the page. A number that is null or absent is None.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mer_r1.errors import InputError
from mer_r1.files import read_json_lines
from mer_r1.manifest import read_manifest
from mer_r1.predictions import read_predictions
from mer_r1.sample import Mode, Prediction, Sample

Json = dict[str, Any]

TITLES = {"sft": "SFT", "baseline": "Baseline", "mer_r1": "MER-R1"}
NUM_ROLLOUTS_READ = 20_000
MAX_RECIPE_LETTERS = 8_000


@dataclass(frozen=True)
class System:
    """One system of a run: its name, title, and what its folder holds.

    `numbers` is its part of metrics.json; `log` the lines of metrics.jsonl in order of steps.
    """

    name: str
    title: str
    folder: Path
    numbers: Json
    log: tuple[Json, ...]
    predictions: dict[tuple[str, Mode], Prediction]
    run: Json
    recipe: str

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
    """A run's folder, read."""

    folder: Path
    metrics: Json
    systems: tuple[System, ...]
    test: tuple[Sample, ...]


def read_run(folder: Path) -> Run:
    """Read a run's folder. Raises InputError when metrics.json is missing, or a file is not what it should be."""
    metrics = _metrics(folder / "metrics.json")
    measured: Json = metrics["systems"]
    for name in measured:
        if not re.fullmatch(r"\w[\w.-]*", name) or not isinstance(measured[name], dict):
            raise InputError(f'{folder / "metrics.json"}: system "{name}" must be the name of a folder and an object')
    names = [name for name in TITLES if name in measured or (folder / name).is_dir()]
    names += [name for name in measured if name not in TITLES]
    test = folder / "data" / "test.jsonl"
    return Run(
        folder=folder,
        metrics=metrics,
        systems=tuple(_system(folder / name, name, measured.get(name, {})) for name in names),
        test=tuple(read_manifest(test)) if test.exists() else (),
    )


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
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _metrics(path: Path) -> Json:
    metrics = _json(path, f"{path}: not found; `mer-r1 quickstart` makes a run's folder, give that folder")
    if not isinstance(metrics, dict) or not isinstance(metrics.get("systems"), dict):
        raise InputError(f'{path}: an object with "systems" is needed; `mer-r1 quickstart` writes it')
    return metrics


def _json(path: Path, missing: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(missing) from None
    except (OSError, ValueError, RecursionError):
        raise InputError(f"{path}: cannot be read as JSON; take it away or write it anew") from None


def _system(folder: Path, name: str, numbers: Json) -> System:
    log, predictions = folder / "metrics.jsonl", folder / "predictions.jsonl"
    recipe, facts = folder / "recipe.yaml", folder / "run.json"
    run = _json(facts, "") if facts.exists() else {}
    return System(
        name=name,
        title=TITLES.get(name, name),
        folder=folder,
        numbers=numbers,
        log=tuple(row for _, row in read_json_lines(log)) if log.exists() else (),
        predictions={(p.id, p.mode): p for p in read_predictions(predictions)} if predictions.exists() else {},
        run=run if isinstance(run, dict) else {},
        recipe=recipe.read_text(encoding="utf-8", errors="replace")[:MAX_RECIPE_LETTERS] if recipe.exists() else "",
    )
