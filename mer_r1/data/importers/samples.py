"""The rows of a table as samples of a manifest: what each cell becomes, what is missing, and counts of both.

An id is its column's text; else the name of the row's file without its ending, with its folders where two files share
a name; else a hash of what the row is about (its words), so that an id stays when rows are sorted or labels corrected.
A row whose media are not there is no sample: it is listed as missing. What an error names is file and line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from mer_r1.data.importers.columns import Columns, number_in
from mer_r1.data.importers.label_cells import LabelReader
from mer_r1.data.importers.media_files import MediaFiles, NotFound
from mer_r1.data.importers.table import NOT_KNOWN, Embedded, Row, Table, text_of
from mer_r1.data.labels import split_labels
from mer_r1.data.manifest import MEDIA_KEYS, valence_errors
from mer_r1.data.media_names import media_kind
from mer_r1.data.prepared import MissingFile
from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from mer_r1.text import kind_of, printable

ALL = "all"
_UNSAFE = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class Imported:
    """What a table gives: samples in its order, the rows without media, and what is worth knowing.

    `embedded` are the media that lie in the table, by the path where they are to be written. `labels` and `unmapped`
    count words, `rows` are the rows of the table.
    """

    samples: tuple[Sample, ...]
    missing: tuple[MissingFile, ...]
    notes: tuple[str, ...]
    labels: Counter[str] = field(default_factory=Counter)
    unmapped: Counter[str] = field(default_factory=Counter)
    embedded: Mapping[Path, Embedded] = field(default_factory=dict)
    num_rows: int = 0


@dataclass(frozen=True)
class Wishes:
    """What holds for all rows: the names of labels, the labels to choose from, and where embedded media go."""

    mapping: Mapping[str, tuple[str, ...]] | None = None
    candidates: str | None = None
    embedded: Path = Path("media")


def read_samples(table: Table, columns: Columns, media: MediaFiles, wishes: Wishes) -> Imported:
    """The samples of a table. Raises InputError that names file and line for a row that cannot be one."""
    labels = LabelReader(table, columns["labels"], wishes.mapping) if "labels" in columns else None
    ids = _ids(table, columns)
    samples: list[Sample] = []
    missing: list[MissingFile] = []
    embedded: dict[Path, Embedded] = {}
    for row, identity in zip(table.rows, ids, strict=True):
        reader = _RowReader(table, row, columns, identity)
        words = labels.read(row) if labels else ()
        try:
            found = reader.media(media, wishes.embedded, embedded)
        except NotFound as why:
            missing.append(MissingFile(f"{table.where(row)}: {printable(reader.medium_named, 200)}", str(why)))
            continue
        samples.append(
            Sample(
                id=identity,
                **found,
                subtitle=reader.text("subtitle"),
                labels=words,
                valence=reader.valence(),
                reasoning=reader.text("reasoning"),
                cluster=reader.text("cluster"),
                source=reader.text("source"),
                candidates=reader.words("candidates"),
            )
        )
        if not found and not samples[-1].subtitle:
            raise InputError(f"{table.where(row)}: neither a medium nor a subtitle; fill in one, or take the row out")
    samples = _with_candidates(samples, wishes.candidates)
    counts = Counter(word for sample in samples for word in sample.labels)
    unmapped = labels.unmapped if labels else Counter()
    notes = (*table.notes, *_notes(samples, media, labels))
    return Imported(tuple(samples), tuple(missing), notes, counts, unmapped, embedded, len(table.rows))


@dataclass
class _RowReader:
    """The fields of one row."""

    table: Table
    row: Row
    columns: Columns
    identity: str
    medium_named: str = ""

    def _cell(self, name: str) -> Any:
        chosen = self.columns.get(name)
        return None if chosen is None else self.row.cells.get(chosen.columns[0])

    def text(self, name: str) -> str | None:
        """A field that is a text."""
        cell = self._cell(name)
        if isinstance(cell, list | dict | Embedded):
            kind = "a medium" if isinstance(cell, Embedded) else kind_of(cell)
            raise InputError(
                f"{self.table.where(self.row)}: {name} must be a text, found {kind}; choose another column"
            )
        return text_of(cell) or None

    def words(self, name: str) -> tuple[str, ...]:
        """A field that is a list of words."""
        cell = self._cell(name)
        if isinstance(cell, list):
            return tuple(text_of(item) for item in cell)
        return split_labels(text_of(cell))

    def valence(self) -> float | None:
        """The valence."""
        cell = self._cell("valence")
        if text_of(cell).lower() in NOT_KNOWN:
            return None
        number = number_in(cell)
        if number is None:
            raise InputError(
                f"{self.table.where(self.row)}: valence is {printable(cell)!r}, no number; correct it, or give another "
                "column: --valence COL"
            )
        if error := next(valence_errors(number), None):
            raise InputError(f"{self.table.where(self.row)}: {error}")
        return number

    def media(self, files: MediaFiles, folder: Path, embedded: dict[Path, Embedded]) -> dict[str, Path]:
        """The media of the row by kind; those that lie in the table are noted in `embedded`. Raises NotFound."""
        where, found = self.table.where(self.row), {}
        named = [kind for kind in MEDIA_KEYS if kind in self.columns]
        for kind in named:
            cell = self._only(kind, self._cell(kind))
            if isinstance(cell, Embedded):
                found[kind] = folder / f"{_file_name(self.identity)}{cell.ending}"
                embedded[found[kind]] = cell
            elif text := text_of(cell):
                self.medium_named = text
                found[kind] = files.find(text, kind, where)
        if not found and not named and files.searched:
            self.medium_named = self.identity
            try:
                found = files.of_id(self.identity, where)
            except NotFound as why:
                if media_kind(self.identity) is None:
                    raise
                column = printable(self.columns["id"])
                raise NotFound(f"{why}; if {column} holds paths: --{media_kind(self.identity)} {column}") from None
        return found

    def _only(self, kind: str, cell: Any) -> Any:
        """The one medium of a cell, which may be a list of one."""
        if not isinstance(cell, list):
            return cell
        if len(cell) > 1:
            raise InputError(
                f"{self.table.where(self.row)}: {len(cell)} {kind}s; a sample has one: keep one, or make rows of them"
            )
        return self._only(kind, cell[0]) if cell else None


def _ids(table: Table, columns: Columns) -> list[str]:
    """An id for every row. Raises InputError for one that stands twice, with both lines."""
    chosen = columns.get("id")
    if chosen is None:
        return _made_ids(table, columns)
    found: dict[str, int] = {}
    ids = []
    repeated = 0
    first = ""
    for row in table.rows:
        texts = {column: text_of(row.cells.get(column)) for column in chosen.columns}
        if empty := next((column for column, text in texts.items() if not text), None):
            raise InputError(f"{table.where(row)}: column {printable(empty)!r}, the id, is empty; give the row a name")
        identity = _filled(chosen.pattern, texts) if chosen.pattern else texts[chosen.columns[0]]
        if identity in found and not repeated:
            first = f"{table.where(row)}: id {printable(identity)!r} stands on line {found[identity]} already"
        repeated += identity in found
        found.setdefault(identity, row.line)
        ids.append(identity)
    if repeated:
        more = f" (and {repeated - 1:,} more rows repeat one)" if repeated > 1 else ""
        raise InputError(f"{first}{more}; give every row its own, or make it of several columns: --id '{{A}}_{{B}}'")
    return ids


def _filled(pattern: str, texts: Mapping[str, str]) -> str:
    """An id by its pattern; braces in a cell stay as they are."""
    return re.sub(r"\{([^{}]+)\}", lambda match: texts[match[1]], pattern)


def _made_ids(table: Table, columns: Columns) -> list[str]:
    """Ids for a table without them: by the media's names, else by the words."""
    if ids := file_ids(table, columns):
        return ids
    named = [columns[name].columns[0] for name in (*MEDIA_KEYS, "subtitle", "cluster") if name in columns]
    seen: Counter[str] = Counter()
    ids = []
    for row in table.rows:
        content = "\x1f".join(_stable(row.cells.get(column)) for column in named)
        digest = sha256(content.encode("utf-8", "backslashreplace")).hexdigest()[:12]
        seen[digest] += 1
        ids.append(digest if seen[digest] == 1 else f"{digest}-{seen[digest]}")
    return ids


def file_ids(table: Table, columns: Columns) -> list[str] | None:
    """Ids from the names of the rows' media, with their folders where two share a name; None where a row has none."""
    media = [columns[kind].columns[0] for kind in MEDIA_KEYS if kind in columns]
    found = [next(filter(None, (_path_in(row.cells.get(column)) for column in media)), None) for row in table.rows]
    paths = [path for path in found if path is not None]
    for ids in ([path.name for path in paths], [str(path) for path in paths]):
        if len(set(ids)) == len(table.rows):
            return ids
    return None


def _path_in(cell: Any) -> PurePosixPath | None:
    """The path of a medium without its ending."""
    if isinstance(cell, list) and len(cell) == 1:
        cell = cell[0]
    name = cell.name if isinstance(cell, Embedded) else text_of(cell)
    if not name:
        return None
    path = PurePosixPath(name.replace("\\", "/"))
    return path.with_suffix("") if media_kind(path.name) else path


def _stable(cell: Any) -> str:
    """What an id is hashed from."""
    return sha256(cell.read()).hexdigest() if isinstance(cell, Embedded) else text_of(cell)


def _file_name(identity: str) -> str:
    """An id as a file's name; where it had to be changed a hash keeps two apart."""
    safe = _UNSAFE.sub("_", identity).strip(".")[:100]
    if safe == identity:
        return safe
    return f"{safe}-{sha256(identity.encode('utf-8', 'backslashreplace')).hexdigest()[:8]}"


def _with_candidates(samples: list[Sample], candidates: str | None) -> list[Sample]:
    """The same with the labels to choose from: those given, or with ALL every label that occurs, by how often."""
    if candidates is None:
        return samples
    if candidates == ALL:
        counts = Counter(word for sample in samples for word in sample.labels)
        words = tuple(word for word, _ in counts.most_common())
    else:
        words = tuple(dict.fromkeys(word.strip() for word in candidates.split(",") if word.strip()))
    if not words:
        raise InputError(f"--candidates {printable(candidates)}: no label; list labels with commas between, or {ALL}")
    for sample in samples:
        if foreign := [word for word in sample.labels if word not in words]:
            raise InputError(
                f"--candidates: the label {printable(foreign[0])!r} of {printable(sample.id)} is not among them; add it"
            )
    return [replace(sample, candidates=words) for sample in samples]


def _notes(samples: Sequence[Sample], media: MediaFiles, labels: LabelReader | None) -> list[str]:
    notes = []
    if elsewhere := media.elsewhere:
        text, path = next(iter(elsewhere.items()))
        notes.append(
            f"{len(elsewhere):,} paths lead out of {media.root}; the file of the same name below it is taken, such as "
            f"{path.relative_to(media.root).as_posix()} for {printable(text, 120)}"
        )
    if media.renamed:
        notes.append(
            f"{len(media.renamed):,} files have another ending than in the table ({printable(media.renamed[0])})"
        )
    without = sum(not sample.labels and sample.valence is None for sample in samples)
    if labels is None and without:
        notes.append("no column of labels was found; say which: --labels COL (a model can still answer these rows)")
    elif without:
        notes.append(f"{without:,} rows have no labels")
    if alone := sum(not (sample.video or sample.audio or sample.image) for sample in samples):
        notes.append(
            f"{alone:,} rows are text alone" + ("" if media.searched else "; --media DIR finds clips by their ids")
        )
    return notes
