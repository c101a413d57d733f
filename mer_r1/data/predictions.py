"""predictions.jsonl, read: one set of rules for scoring, benchmarks, diagnosis and the page.

    {"id", "labels": [..] | "raw text" | null, "mode"?, "status"?, "raw"?, "sentiment"?, ..}     one row a clip and mode

Convention: null means absent; the status is "ok" where none is given. An answer needs labels; where sentiment alone is
scored its sentiment is enough. A row with status "error" is no answer and needs no labels: an answer of the same clip
and mode takes its place, wherever it stands; two answers are an error. Keys that look like a misspelt one are an error,
others are passed over. Every error names file and line. A table of another form (CSV, Excel, Parquet, a JSON list) is
read where its columns are clear (importers/records.py).

`read_modes` keeps the labels as they stand in the row, for the scoring protocol's parser to judge: a field that it
cannot read is counted there, for the official code meets such fields too. `read_predictions` gives `Prediction`, whose
labels are words, and takes no other field.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from mer_r1.data.importers.records import read_records
from mer_r1.data.labels import read_labels
from mer_r1.data.manifest import id_errors
from mer_r1.data.refusals import is_refusal, refuses
from mer_r1.data.sample import Mode, Prediction, Status
from mer_r1.errors import InputError
from mer_r1.text import printable

Row = dict[str, Any]
Needed = Literal["labels", "raw", "sentiment"]
"""What an answer is read by. Where it is its sentiment, a row with labels may go without: who scores it says so."""
Extract = Callable[[str], tuple[tuple[str, ...], Status]]
"""Reads labels out of a model's whole text, and says how the text ended."""

PREDICTIONS_FILE = "predictions.jsonl"
"""Its name in the folder of a run or of a set."""
SENTIMENT_FILE = "sentiment.jsonl"
"""In the folder of a set of sentiment: predictions with the sentiment of their words."""
UNSTATED = "unstated"
"""The name of the mode of rows that name none."""
KEYS = (*Prediction.__dataclass_fields__, "sentiment")
STATUSES = get_args(Status)
_MISSING: dict[Needed, str] = {
    "labels": "no labels; give a list of words, the raw answer, or null where the model gave none; or give a `raw` "
    "text and --style, or a `sentiment` and --task sentiment",
    "raw": "no raw, the text that --style reads; give the model's whole answer, or null where there is none",
    "sentiment": 'no sentiment and no labels; give one of them, or "status": "error"',
}


@dataclass(frozen=True)
class ModePredictions:
    """The rows of one mode (None: unstated), by id, in the order of the file.

    `labels` has the answers; `failed` the ids of which there are errors only; `unanswered` those of answers that are
    cut off or hold no label, `refused` those of them that refuse to answer. `sentiment` has the word of those rows that
    carry one. `line` counts from 1.
    """

    mode: str | None = None
    labels: dict[str, Any] = field(default_factory=dict)
    sentiment: dict[str, str] = field(default_factory=dict)
    unanswered: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    line: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, mode: Mode, rows: Iterable[Prediction]) -> ModePredictions:
        """The predictions of one mode, without the lines of a file."""
        found = cls(mode)
        for row in rows:
            if row.status == "error":
                found.failed.add(row.id)
                continue
            found.labels[row.id] = row.labels
            found.note_status(row.id, row.status, row.raw)
        return found

    def note_status(self, identity: str, status: str, raw: object) -> None:
        """Note whether an answer is one: `raw` is its whole text, where that is known."""
        if status == "ok":
            return
        self.unanswered.add(identity)
        if status == "no_answer" and isinstance(raw, str) and refuses(raw):
            self.refused.add(identity)

    @property
    def statuses(self) -> dict[str, str]:
        """The status by id, "ok" for every answer."""
        return {**dict.fromkeys(self.failed, "error"), **dict.fromkeys(self.labels, "ok")}

    def with_empty(self, ids: Collection[str]) -> ModePredictions:
        """The same with an answer without a word, which is neutral, for each of these ids."""
        sentiment = self.sentiment | (dict.fromkeys(ids, "neutral") if self.sentiment else {})
        labels = self.labels | {identity: [] for identity in ids}
        return replace(self, labels=labels, sentiment=sentiment, failed=self.failed - set(ids))

    def without(self, ids: Collection[str]) -> ModePredictions:
        """The same without the answers of these ids."""
        if not ids:
            return self
        return replace(self, labels={identity: value for identity, value in self.labels.items() if identity not in ids})


def read_predictions(path: Path, parser: str = "official", *, growing: bool = False) -> list[Prediction]:
    """The predictions of a file in order, those of fast and slow thinking; `parser` reads labels that are a raw text.

    `growing`: a last line that is half-written is passed over, as the command does that goes on with the file. Media
    facts are left out. Raises InputError that names file, line and fix.
    """
    found: dict[tuple[str, str], Prediction] = {}
    for number, row in _rows(path, growing=growing):
        if error := next(_typed_errors(row), None):
            raise InputError(f"{path}:{number}: {error}")
        found[row["id"], row["mode"]] = _prediction(row, parser)
    if not found:
        raise InputError(f"{path}: no predictions; write them with `mer-r1 predict`")
    return list(found.values())


def read_modes(
    path: Path, mode: str | None = None, extract: Extract | None = None, *, by_sentiment: bool = False
) -> dict[str, ModePredictions]:
    """The modes of a predictions file in the order of their names, or the one named.

    `extract` reads the labels out of each row's `raw`, instead of `labels`. With `by_sentiment` rows that have a
    sentiment need neither, and `extract` is not used.
    Raises InputError that names file and line, or for a mode that the file does not have.
    """
    modes: dict[str, ModePredictions] = {}
    extract = None if by_sentiment else extract
    for number, row in _rows(path, "sentiment" if by_sentiment else "raw" if extract else "labels"):
        named = row.get("mode") or None
        _add(modes.setdefault(named or UNSTATED, ModePredictions(named)), number, row, extract)
    if not modes:
        raise InputError(f'{path}: no predictions; write one {{"id", "labels"}} a line')
    if mode is not None and mode not in modes:
        raise InputError(
            f"{path}: no predictions of mode {printable(mode)!r}; it has {printable(', '.join(sorted(modes)))}"
        )
    return {name: predictions for name, predictions in sorted(modes.items()) if mode in (None, name)}


def _add(found: ModePredictions, number: int, row: Row, extract: Extract | None) -> None:
    identity, status = row["id"], row.get("status") or "ok"
    if status == "error":
        found.failed.add(identity)
        return
    found.failed.discard(identity)
    found.line[identity] = number
    if extract is None:
        found.labels[identity] = row.get("labels")
    else:
        found.labels[identity], ended = extract(row["raw"] or "")
        status = ended if status == "ok" else status
    if row.get("sentiment") is not None:
        found.sentiment[identity] = row["sentiment"]
    labels = found.labels[identity]
    if isinstance(labels, str) and is_refusal(labels):
        found.note_status(identity, "no_answer", labels)
    found.note_status(identity, status, row.get("raw"))


def _rows(path: Path, needed: Needed = "labels", *, growing: bool = False) -> Iterator[tuple[int, Row]]:
    """The rows that count, each with its line: every answer, and errors as long as there is no answer."""
    answered: dict[tuple[str, str | None], int] = {}
    for number, row in read_records(path, "predictions", growing=growing):
        if error := next(_row_errors(row, needed), None):
            raise InputError(f"{path}:{number}: {error}")
        key, failed = (row["id"], row.get("mode") or None), row.get("status") == "error"
        if key not in answered:
            yield number, row
        elif not failed:
            named = f" in mode {printable(key[1])}" if key[1] else ""
            raise InputError(
                f'{path}:{number}: id "{printable(key[0])}" stands on line {answered[key]} already{named}; keep one '
                "row a clip and mode"
            )
        if not failed:
            answered[key] = number


def _row_errors(row: Row, needed: Needed) -> Iterator[str]:
    """What is wrong with a row whoever reads it."""
    yield from id_errors(row)
    yield from (error for key in row if (error := _key_error(key)))
    status = row.get("status")
    if status is not None and status not in STATUSES:
        yield f"status must be one of {', '.join(STATUSES)}"
    if not isinstance(row.get("mode"), str | None) or row.get("mode") == UNSTATED:
        yield 'mode must be a text, such as "fast" or "slow", or left out'
    is_given = needed in row or (needed == "sentiment" and "labels" in row)
    if not is_given and status != "error":
        yield _MISSING[needed]
    if needed == "raw" and not isinstance(row.get("raw"), str | None):
        yield "raw must be a text in quotes"
    if not isinstance(row.get("sentiment"), str | None):
        yield 'sentiment must be a text: "positive", "negative" or "neutral"'


@lru_cache(maxsize=1000)
def _key_error(key: str) -> str | None:
    """A key that looks like a misspelt one; remembered, for every row has the same keys."""
    close = get_close_matches(key, KEYS, n=1, cutoff=0.75)
    if key in KEYS or not close:
        return None
    return f'unknown key "{printable(key)}"; did you mean "{close[0]}"?'


def _typed_errors(row: Row) -> Iterator[str]:
    """What is wrong with a row that is to be a `Prediction`."""
    if row.get("mode") not in get_args(Mode):
        yield 'mode must be "fast" or "slow"; write it with `mer-r1 predict`'
    if error := read_labels(row.get("labels"), "official")[1]:
        yield f'{error}; write ["happy", "calm"]'
    for key in ("raw", "reasoning", "error"):
        if not isinstance(row.get(key), str | None):
            yield f"{key} must be a text in quotes"
    if not _is_numbers(row.get("confidence") or {}):
        yield 'confidence must map words to numbers; write {"happy": 0.9}'
    for key in ("categories", "categories_first"):
        categories = row.get(key) or {}
        if not (isinstance(categories, dict) and all(_is_numbers(wheel) for wheel in categories.values())):
            yield f'{key} must map wheels to categories to log-confidences; write {{"w1": {{"joy": -0.1}}}}'


def _is_numbers(value: object) -> bool:
    def is_number(x: object) -> bool:
        return type(x) is float or (type(x) is int and abs(x) <= sys.float_info.max)  # an int has any number of digits

    return isinstance(value, dict) and all(x is None or is_number(x) for x in value.values())


def _prediction(row: Row, parser: str) -> Prediction:
    labels = row.get("labels")
    return Prediction(
        id=row["id"],
        mode=row["mode"],
        raw=row.get("raw") or "",
        reasoning=row.get("reasoning") or "",
        labels=read_labels(labels, parser if isinstance(labels, str) else "official")[0],
        status=row.get("status") or "ok",
        confidence=_numbers(row["confidence"]) if row.get("confidence") else None,
        categories=_by_wheel(row.get("categories")),
        categories_first=_by_wheel(row.get("categories_first")),
        error=row.get("error"),
    )


def _by_wheel(categories: dict[str, dict[str, float | None]] | None) -> dict[str, dict[str, float]] | None:
    return {sys.intern(wheel): _numbers(values) for wheel, values in categories.items()} if categories else None


def _numbers(values: dict[str, float | None]) -> dict[str, float]:
    """null means "not there", as an absent key does. Every row has the same names, so one copy of each is kept."""
    return {sys.intern(key): float(value) for key, value in values.items() if value is not None}
