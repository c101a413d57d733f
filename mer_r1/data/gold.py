"""Gold labels by id: of a file, which is a manifest or has the keys of one, or of samples that were read already.

Rows: `{"id", "labels": [..] | "raw text", "valence"?, "cluster"?}`; the other keys of a manifest may stand beside, and
media are not needed. A table of another form (CSV, Excel, Parquet, a JSON list) is read where its columns are clear.
Convention: a row needs labels or a valence. What stands in `labels` is for the scoring protocol's parser to judge: a
field that it cannot read is counted there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mer_r1.data.importers.records import read_records
from mer_r1.data.manifest import KEYS, id_errors, list_errors, mended_row, text_errors, unknown_keys, valence_errors
from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from mer_r1.text import printable


@dataclass(frozen=True)
class Gold:
    """Labels by id in file order; cluster, valence and candidates of ids that have some; `line` of a file from 1."""

    labels: dict[str, Any]
    clusters: dict[str, str]
    valence: dict[str, float]
    line: dict[str, int]
    candidates: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> Gold:
        """The gold of samples."""
        samples = list(samples)
        return cls(
            {sample.id: sample.labels for sample in samples},
            {sample.id: sample.cluster for sample in samples if sample.cluster is not None},
            {sample.id: sample.valence for sample in samples if sample.valence is not None},
            {},
            {sample.id: sample.candidates for sample in samples if sample.candidates},
        )

    def only(self, ids: Collection[str]) -> Gold:
        """The gold of some clips."""
        kept = set(ids)
        return Gold(*({i: value for i, value in part.items() if i in kept} for part in vars(self).values()))


def read_gold(path: Path) -> Gold:
    """The gold of a file. Raises InputError that names file and line."""
    gold = Gold({}, {}, {}, {})
    for number, row in read_records(path, "gold"):
        if error := next(_errors(row), None):
            raise InputError(f"{path}:{number}: {error}")
        identity, cluster, valence = row["id"], row.get("cluster"), row.get("valence")
        if identity in gold.line:
            line = gold.line[identity]
            raise InputError(
                f'{path}:{number}: id "{printable(identity)}" stands on line {line} already; keep one row a clip'
            )
        gold.line[identity] = number
        mended = mended_row(row)
        gold.labels[identity] = mended.get("labels")
        if candidates := mended.get("candidates"):
            gold.candidates[identity] = candidates
        if cluster is not None:
            gold.clusters[identity] = cluster
        if valence is not None:
            gold.valence[identity] = float(valence)
    if not gold.line:
        raise InputError(f'{path}: no rows; write one {{"id", "labels"}} a line')
    return gold


def _errors(row: dict[str, Any]) -> Iterator[str]:
    yield from unknown_keys(row, KEYS)
    yield from id_errors(row)
    if "labels" not in row and row.get("valence") is None:
        yield "neither labels nor a valence; give a list of words, a raw text, or a number"
    yield from list_errors("candidates", row.get("candidates"))
    yield from text_errors("cluster", row.get("cluster"))
    yield from valence_errors(row.get("valence"))
