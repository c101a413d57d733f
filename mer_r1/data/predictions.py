"""predictions.jsonl -> `Prediction`, every fault named by file and line.

One row a clip and mode (docs/architecture.md). A row with status "error" is no answer: a later row of the same clip and
mode takes its place. `labels` may be a list, a raw string (read as the official scorer reads it) or null.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from mer_r1.data.files import read_json_lines
from mer_r1.data.labels import official_labels
from mer_r1.data.manifest import id_errors
from mer_r1.data.sample import Mode, Prediction, Status
from mer_r1.errors import InputError
from mer_r1.text import printable


def read_predictions(path: Path) -> list[Prediction]:
    """The predictions of a file in order, media facts left out. Raises InputError that names file, line and fix."""
    found: dict[tuple[str, str], tuple[int, Prediction]] = {}
    for number, row in read_json_lines(path):
        for error in _errors(row):
            raise InputError(f"{path}:{number}: {error}")
        prediction = _prediction(row)
        key = (prediction.id, prediction.mode)
        earlier = found.get(key)
        if earlier is not None and earlier[1].status != "error" and prediction.status != "error":
            raise InputError(
                f'{path}:{number}: id "{printable(prediction.id)}" stands on line {earlier[0]} already in mode '
                f"{prediction.mode}; keep one row a clip and mode"
            )
        if earlier is None or earlier[1].status == "error":
            found[key] = (number, prediction)
    if not found:
        raise InputError(f"{path}: no predictions; write them with `mer-r1 predict`")
    return [prediction for _, prediction in found.values()]


def _errors(row: dict[str, Any]) -> Iterator[str]:
    yield from id_errors(row)
    if row.get("mode") not in get_args(Mode):
        yield 'mode must be "fast" or "slow"; write it with `mer-r1 predict`'
    if row.get("status", "ok") not in get_args(Status):
        yield f"status must be one of {', '.join(get_args(Status))}"
    labels = row.get("labels", "")
    if "labels" not in row:
        yield "no labels; give a list of words, the raw answer, or null where the model gave none"
    elif not (labels is None or isinstance(labels, str) or _is_words(labels)):
        yield 'labels must be a list of words or a text; write ["happy", "calm"]'
    for key in ("raw", "reasoning", "error"):
        if not isinstance(row.get(key), str | None):
            yield f"{key} must be a text in quotes"
    if not _is_numbers(row.get("confidence") or {}):
        yield 'confidence must map words to numbers; write {"happy": 0.9}'
    categories = row.get("categories") or {}
    if not (isinstance(categories, dict) and all(_is_numbers(wheel) for wheel in categories.values())):
        yield 'categories must map wheels to categories to log-confidences; write {"w1": {"joy": -0.1}}'


def _is_words(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _is_numbers(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    return all(x is None or _is_number(x) for x in value.values())


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        float(value)
    except OverflowError:  # an integer of hundreds of digits
        return False
    return True


def _prediction(row: dict[str, Any]) -> Prediction:
    categories: dict[str, dict[str, float | None]] | None = row.get("categories")
    return Prediction(
        id=row["id"],
        mode=row["mode"],
        raw=row.get("raw") or "",
        reasoning=row.get("reasoning") or "",
        labels=official_labels(row["labels"]),
        status=row.get("status", "ok"),
        confidence=_numbers(row["confidence"]) if row.get("confidence") else None,
        categories={sys.intern(wheel): _numbers(values) for wheel, values in categories.items()}
        if categories
        else None,
        error=row.get("error"),
    )


def _numbers(values: dict[str, float | None]) -> dict[str, float]:
    """null means "not there", as an absent key does. Every row has the same names, so one copy of each is kept."""
    return {sys.intern(key): float(value) for key, value in values.items() if value is not None}
