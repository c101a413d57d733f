"""The two files of `mer-r1 score`, read: gold labels and predictions, every wrong row named by file and line.

Gold rows: `{"id", "labels": [..] | "raw string", "valence"?, "cluster"?}`; the other keys of a manifest may stand
beside. Prediction rows: `{"id", "labels": [..] | "raw string" | null, "mode"?, "status"?, "sentiment"?}`; further keys
are let be unless they look like a slip of one of these. A row with status "error" is no prediction (answered.py says
what it costs) and a later row of the same clip takes its place. What stands in `labels` is for the protocol's parser to
judge: a field that it cannot read is counted, not refused. With a style of answering (answer_styles.py) the labels are
those that it finds in each row's `raw` text, and `labels` may be left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

from mer_r1.data.files import read_json_lines
from mer_r1.data.labels import read_labels
from mer_r1.data.manifest import KEYS, MAX_VALENCE, id_errors, unknown_keys
from mer_r1.data.sample import Prediction, Status
from mer_r1.errors import InputError
from mer_r1.metrics.corpus_score import Labels
from mer_r1.prompting.label_extractors import extract_labels, validate_style
from mer_r1.text import printable

UNSTATED = "unstated"
PREDICTION_KEYS = (*Prediction.__dataclass_fields__, "sentiment")
STATUSES = get_args(Status)


@dataclass
class ModePredictions:
    """The predictions of one mode (None: unstated): labels by id, ids of unfinished answers, the line of each id.

    `sentiment` holds the word of those rows that carry one. `failed` are the ids that have nothing but errors.
    """

    mode: str | None = None
    labels: dict[str, Labels] = field(default_factory=dict)
    sentiment: dict[str, str] = field(default_factory=dict)
    unanswered: set[str] = field(default_factory=set)
    line: dict[str, int] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)

    @property
    def statuses(self) -> dict[str, Status]:
        """What `answered` reads: the status by id, "ok" for every answer."""
        return {**dict.fromkeys(self.failed, "error"), **dict.fromkeys(self.labels, "ok")}

    def put_in_empty(self, ids: Iterable[str]) -> None:
        """Answers without a word, which are neutral, for these ids."""
        for identity in ids:
            self.labels[identity] = []
            self.failed.discard(identity)
            if self.sentiment:
                self.sentiment[identity] = "neutral"


@dataclass(frozen=True)
class Gold:
    """The gold file: labels and line by id in file order, and the cluster and the valence of ids that have one."""

    labels: dict[str, Labels]
    clusters: dict[str, str]
    valence: dict[str, float]
    line: dict[str, int]


def read_gold(path: Path) -> Gold:
    """Gold labels by id. Raises InputError that names file and line."""
    gold = Gold({}, {}, {}, {})
    for number, row in read_json_lines(path):
        if errors := _gold_errors(row):
            raise InputError(f"{path}:{number}: {errors[0]}")
        identity, cluster, valence = row["id"], row.get("cluster"), row.get("valence")
        if identity in gold.line:
            index = f"line {gold.line[identity]} already"
            raise InputError(f'{path}:{number}: id "{printable(identity)}" stands on {index}; keep one row a clip')
        gold.line[identity] = number
        gold.labels[identity] = row.get("labels")
        if cluster is not None:
            gold.clusters[identity] = cluster
        if valence is not None:
            gold.valence[identity] = float(valence)
    if not gold.line:
        raise InputError(f'{path}: no rows; write one {{"id", "labels"}} a line')
    return gold


def only(gold: Gold, ids: Collection[str]) -> Gold:
    """The gold of some clips."""
    kept = set(ids)
    return Gold(*({i: value for i, value in part.items() if i in kept} for part in vars(gold).values()))


def read_modes(path: Path, mode: str | None = None, style: str | None = None) -> dict[str, ModePredictions]:
    """The modes of a predictions file in the order of their names, or the one named.

    `style` reads the labels out of each row's `raw`, as that style of answering has them.
    Raises InputError that names file and line, or for a mode that the file does not have.
    """
    modes: dict[str, ModePredictions] = {}
    read = None if style is None else _reader(style)
    for number, row in read_json_lines(path):
        if errors := _prediction_errors(row, style):
            raise InputError(f"{path}:{number}: {errors[0]}")
        identity, status, named = row["id"], row.get("status") or "ok", row.get("mode") or None
        found = modes.setdefault(named or UNSTATED, ModePredictions(named))
        if identity in found.line:
            index = f"line {found.line[identity]} already" + (f" in mode {printable(named)}" if named else "")
            raise InputError(
                f'{path}:{number}: id "{printable(identity)}" stands on {index}; keep one row a clip and mode'
            )
        if status == "error":
            found.failed.add(identity)
            continue
        found.failed.discard(identity)
        found.line[identity] = number
        if read is None:
            found.labels[identity] = row["labels"]
        else:
            found.labels[identity], said = read(row["raw"] or "")
            status = status if status != "ok" else said
        if row.get("sentiment") is not None:
            found.sentiment[identity] = row["sentiment"]
        if status != "ok":
            found.unanswered.add(identity)
    if not modes:
        raise InputError(f'{path}: no predictions; write one {{"id", "labels"}} a line')
    if mode is not None and mode not in modes:
        raise InputError(
            f"{path}: no predictions of mode {printable(mode)!r}; it has {printable(', '.join(sorted(modes)))}"
        )
    return {name: predictions for name, predictions in sorted(modes.items()) if mode in (None, name)}


def refuse_faults(gold: Path, truth: Gold, pred: Path, modes: Mapping[str, ModePredictions], parser: str) -> None:
    """What `--strict` does not pass over: the first malformed field, clip without prediction, or prediction without
    gold, as an InputError that names file and line."""
    sides = [(gold, truth.labels, truth.line)] + [(pred, mode.labels, mode.line) for mode in modes.values()]
    for path, labels, line in sides:
        for identity, value in labels.items():
            if error := read_labels(value, parser)[1]:
                raise InputError(f"{path}:{line[identity]}: {error}; mend it, or leave out --strict")
    for mode in modes.values():
        named = f" in mode {printable(mode.mode)}" if mode.mode else ""
        if missing := [identity for identity in truth.labels if identity not in mode.labels]:
            raise InputError(
                f'{pred}: no prediction for "{printable(missing[0])}" '
                f"(line {truth.line[missing[0]]} of {gold}){named}, "
                f"{len(missing)} missing in all; give them, or leave out --strict"
            )
        for identity, number in mode.line.items():
            if identity not in truth.labels:
                raise InputError(
                    f'{pred}:{number}: id "{printable(identity)}" is not in {gold}; leave it out, or leave out --strict'
                )


def _gold_errors(row: dict[str, Any]) -> list[str]:
    errors = [*unknown_keys(row, KEYS), *id_errors(row)]
    if "labels" not in row and row.get("valence") is None:
        errors.append("neither labels nor a valence; give a list of words, a raw text, or a number")
    if not isinstance(row.get("cluster"), str | None):
        errors.append("cluster must be a text in quotes; name the speaker or dialogue")
    valence = row.get("valence")
    if valence is not None and (type(valence) not in (int, float) or not abs(valence) <= MAX_VALENCE):
        errors.append(f"valence must be a number from {-MAX_VALENCE} to {MAX_VALENCE}; leave it out where not known")
    return errors


def _reader(style: str) -> Callable[[str], tuple[list[str], Status]]:
    """What reads a text by a style. A description is searched for the same words whatever wheels then score them."""
    validate_style(style)

    def read(text: str) -> tuple[list[str], Status]:
        labels, status = extract_labels(text, style)
        return list(labels), status

    return read


def _prediction_errors(row: dict[str, Any], style: str | None) -> list[str]:
    errors = list(id_errors(row))
    errors += [error for key in row if (error := _key_error(key))]
    if style is not None and "raw" not in row and row.get("status") != "error":
        errors.append("no raw, the text that --style reads; give the model's whole answer, or null where there is none")
    if style is not None and not isinstance(row.get("raw"), str | None):
        errors.append("raw must be a text in quotes")
    if style is None and "labels" not in row:
        errors.append(
            "no labels; give a list of words, the raw answer, or null where the model gave none; or give a `raw` text "
            "and --style"
        )
    if not isinstance(row.get("mode"), str | None) or row.get("mode") == UNSTATED:
        errors.append('mode must be a text, such as "fast" or "slow", or left out')
    if not isinstance(row.get("sentiment"), str | None):
        errors.append('sentiment must be a text: "positive", "negative" or "neutral"')
    if row.get("status") is not None and row["status"] not in STATUSES:
        errors.append(f"status must be one of {', '.join(STATUSES)}")
    return errors


@lru_cache(maxsize=1000)
def _key_error(key: str) -> str | None:
    """A key that looks like a slip of a known one; remembered, for every row has the same keys."""
    close = get_close_matches(key, PREDICTION_KEYS, n=1, cutoff=0.75)
    if key in PREDICTION_KEYS or not close:
        return None
    return f'unknown key "{printable(key)}"; did you mean "{close[0]}"?'
