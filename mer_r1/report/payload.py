"""The data of the page's sample browser: one index in columns, and chunks of what is long.

    index     everything that a filter or a list needs: ids, words as numbers of one dictionary, verdicts, cases, paths
    chunk K   reasoning, raw text of failed answers, category confidences and gold categories of every wheel of samples
              K*200 to K*200 + 199: base64(gzip(JSON)), which the page unpacks when one of them is opened

Convention: the same run gives the same bytes (gzip without time). Text is data: what could end a script element stands
as a JSON escape, and half a surrogate pair as its own. A medium is named as players.py says. Very long texts are cut
and end with an ellipsis. Memory: the packed chunks (about 0.4 KB an answer) beside what was read.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mer_r1.analysis.cases import CaseRule, Kind
from mer_r1.data.sample import MODES, Mode, Prediction, Sample
from mer_r1.emotion.wheel import MappedWords
from mer_r1.evaluation.records import finite
from mer_r1.metrics.signature import counted_by, wheels_part
from mer_r1.report.players import PLAYED, PageMedia
from mer_r1.report.sets import PageSet, ShownSystem
from mer_r1.report.verdicts import NO_STATE, Verdicts

CHUNK_SIZE = 200
MAX_SUBTITLE_CHARACTERS, MAX_REASONING_CHARACTERS, MAX_RAW_CHARACTERS = 2_000, 20_000, 4_000
STATUS_CHARACTERS = {"ok": "o", "truncated": "t", "no_answer": "n", "error": "e"}
_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}

Json = dict[str, Any]


@dataclass(frozen=True)
class Payload:
    """What stands in the page's data blocks, escaped."""

    index: str
    chunks: tuple[str, ...]


def make_payload(
    systems: Sequence[ShownSystem],
    sets: Sequence[PageSet],
    verdicts: Verdicts,
    rules: Mapping[Kind, CaseRule],
    strengths: Sequence[Mapping[str, Mapping[str, float]]],
    media: PageMedia,
    pair: Sequence[int],
) -> Payload:
    """The data of all samples of `sets`, in their order.

    `strengths[k]` maps a sample's id in set k to its kinds and how strongly it is of each; `pair` are the indices of
    the systems that the cases compare.
    """
    rows = [(page_set, sample) for page_set in sets for sample in page_set.samples]
    words = _Dictionary()
    golds = [verdicts.words(sample.labels) for _, sample in rows]
    mapped = [verdicts.mapped(gold) for gold in golds]
    keys = [
        (system.index, mode) for system in systems for mode in MODES if any(s.of_mode(system.index, mode) for s in sets)
    ]
    found = [strengths[page_set.index].get(sample.id, {}) for page_set, sample in rows]
    wheels = verdicts.wheels
    index = {
        "systems": [{"title": system.title, "colour": system.colour} for system in systems],
        "pair": list(pair),
        "sets": [page_set.title for page_set in sets],
        "note_keys": [_note_key(page_set) for page_set in sets],
        "wheels": [
            {"name": name, "categories": list(item)}
            for name, item in zip(wheels.short_names, wheels.categories_of, strict=True)
        ],
        "sources": [counted_by(wheels_part(wheels.source, wheels.sha256), wheels.protocol.name)],
        "kinds": [{"key": kind, **rule._asdict()} for kind, rule in rules.items()],
        "chunk_size": CHUNK_SIZE,
        "num": len(rows),
        "set": [page_set.index for page_set, _ in rows],
        **_sample_columns([sample for _, sample in rows], media),
        "gold": [words.indices(gold) for gold in golds],
        "category": [sorted(wheels.unpack(packed)[0]) for packed, _ in mapped],
        "case": [sum(1 << position for position, kind in enumerate(rules) if kind in item) for item in found],
        "strength": [[round(item[kind], 3) for kind in rules if kind in item] for item in found],
        "answers": {
            f"{position}.{mode}": _answer_columns(
                [s.answers.get(position, {}).get((sample.id, mode)) for s, sample in rows], mapped, words, verdicts
            )
            for position, mode in keys
        },
    }
    index["words"] = words.words
    return Payload(script_json(index), tuple(_chunks(rows, mapped, keys, verdicts)))


def script_json(value: Any) -> str:
    """Compact JSON that may stand in a script element: no `<`, `>`, `&`, line separators. Raises ValueError for NaN."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_ESCAPES).encode("utf-8", "backslashreplace").decode("utf-8")


def cut(text: str, characters: int) -> str:
    """The text without white space around it, no longer than `characters`."""
    text = text.strip()
    return text if len(text) <= characters else text[: characters - 2].rstrip() + " …"


def _note_key(page_set: PageSet) -> str:
    """What a browser keeps the notes on a set under: the same for the same ids, whoever answered."""
    ids = script_json([page_set.name, *(sample.id for sample in page_set.samples)])
    return sha256(ids.encode("utf-8")).hexdigest()[:16]


class _Dictionary:
    """Words as numbers, in the order in which they come."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}

    @property
    def words(self) -> list[str]:
        return list(self._index)

    def indices(self, words: Sequence[str]) -> list[int]:
        return [self._index.setdefault(word, len(self._index)) for word in words]


def _sample_columns(samples: Sequence[Sample], media: PageMedia) -> Json:
    shown = [_medium(sample) for sample in samples]
    characters = (("v", "video"), ("i", "image"), ("a", "audio"), ("s", "subtitle"))  # of what the manifest names
    return {
        "id": [sample.id for sample in samples],
        "medium": [name for name, _ in shown],
        "has": ["".join(c for c, name in characters if getattr(sample, name)) for sample in samples],
        "path": [None if path is None else media.reference(path) for _, path in shown],
        "subtitle": [cut(sample.subtitle or "", MAX_SUBTITLE_CHARACTERS) for sample in samples],
        "valence": [finite(sample.valence) for sample in samples],
    }


def _medium(sample: Sample) -> tuple[str, Path | None]:
    """What the browser shows of a sample."""
    for name in PLAYED:
        path: Path | None = getattr(sample, name)
        if path is not None:
            return name, path
    return "text", None


def _answer_columns(
    answers: Sequence[Prediction | None], golds: Sequence[MappedWords], words: _Dictionary, verdicts: Verdicts
) -> Json:
    columns: dict[str, list[Any]] = {"words": [], "verdict": [], "status": [], "state": []}
    for row, gold in zip(answers, golds, strict=True):
        answer = verdicts.words(row.labels) if row is not None else ()
        columns["words"].append(None if row is None else words.indices(answer))
        columns["verdict"].append(verdicts.characters(answer, gold))
        columns["status"].append(NO_STATE if row is None else STATUS_CHARACTERS[row.status])
        columns["state"].append(verdicts.state(row, answer, gold))
    return columns


def _chunks(
    rows: Sequence[tuple[PageSet, Sample]],
    golds: Sequence[MappedWords],
    keys: Sequence[tuple[int, Mode]],
    verdicts: Verdicts,
) -> Iterator[str]:
    categories = list(zip(verdicts.wheels.names, verdicts.wheels.categories_of, strict=True))
    for start in range(0, len(rows), CHUNK_SIZE):
        index = slice(start, start + CHUNK_SIZE)
        part = [
            {**_long(page_set, sample, keys, categories), "g": [sorted(ids) for ids in verdicts.wheels.unpack(packed)]}
            for (page_set, sample), (packed, _) in zip(rows[index], golds[index], strict=True)
        ]
        text = json.dumps(part, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        packed = gzip.compress(text.encode("utf-8", "backslashreplace"), compresslevel=6, mtime=0)
        yield base64.b64encode(packed).decode("ascii")


def _long(
    page_set: PageSet,
    sample: Sample,
    keys: Sequence[tuple[int, Mode]],
    categories: Sequence[tuple[str, Sequence[str]]],
) -> Json:
    """What a chunk holds of one sample; keys without anything are left out.

    "c" are confidences at an answer's first word; in their place, and named in "mean", those averaged over its words,
    where a row has no others.
    """
    shown: dict[str, Any] = {"r": {}, "raw": {}, "c": {}, "mean": []}
    for index, mode in keys:
        row = page_set.answers.get(index, {}).get((sample.id, mode))
        if row is None:
            continue
        name = f"{index}.{mode}"
        if reasoning := cut(row.reasoning, MAX_REASONING_CHARACTERS):
            shown["r"][name] = reasoning
        if row.status != "ok" and (raw := cut(row.raw or row.error or "", MAX_RAW_CHARACTERS)):
            shown["raw"][name] = raw
        if confidences := row.categories_first or row.categories:
            shown["c"][name] = _confidences(confidences, categories)
            shown["mean"] += [] if row.categories_first else [name]
    return {key: value for key, value in shown.items() if value}


def _confidences(
    values: Mapping[str, Mapping[str, float]], categories: Sequence[tuple[str, Sequence[str]]]
) -> list[list[float | None]]:
    """Of each wheel the log-confidence of each category, to two decimals; None where there is none."""
    flat = [of_wheel.get(name, math.nan) for wheel, names in categories for of_wheel in (values.get(wheel, {}),)
            for name in names]  # fmt: skip
    rounded = np.round(flat, 2)
    known: list[float | None] = rounded.tolist()
    for index in np.flatnonzero(~np.isfinite(rounded)):
        known[index] = None
    rest = iter(known)
    return [list(islice(rest, len(names))) for _, names in categories]
