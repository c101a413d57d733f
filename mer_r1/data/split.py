"""The rows of a manifest split into parts: rows with something in common stay together, label shares are kept.

Rows of one group (a speaker, a source, a video, or each its own) never stand in two parts; stratify.py says by which
rule groups are dealt. What comes out follows from the rows, the parts and the seed alone: groups of equal claim are
ordered by sha256("SEED:FIELD:value"), of media that of the group's first id, so neither the order of the rows nor the
machine changes anything.

Convention: labels are read by the corrected parser (labels.py). Rows without labels share one of their own, by their
valence where they have one: its sign. A row that lacks the field that groups are made by is a group of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from mer_r1.data.files import put_new
from mer_r1.data.labels import corrected_labels
from mer_r1.data.manifest import MEDIA_KEYS, write_manifest
from mer_r1.data.sample import Sample
from mer_r1.data.stratify import Group, stratify
from mer_r1.errors import InputError
from mer_r1.text import printable

FIELDS: dict[str, Callable[[Sample], object]] = {
    "id": lambda sample: sample.id,
    "cluster": lambda sample: sample.cluster,
    "source": lambda sample: sample.source,
    "video": lambda sample: sample.video,
    "audio": lambda sample: sample.audio,
    "image": lambda sample: sample.image,
}
"""What rows can be kept together by."""
REST = "rest"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_FORM = "write them as train=0.8,dev=0.1,test=0.1 or train=5000,test=rest"


@dataclass(frozen=True)
class Parts:
    """Names of parts and the size wanted of each: all shares, or all counts of rows; None is what others leave."""

    sizes: dict[str, float | int | None]

    def targets(self, num: int) -> dict[str, int]:
        """Rows wanted of each part, of `num`; shares are rounded so that the largest remainders go up.

        Raises InputError where the parts do not fit, or one would have no row.
        """
        wanted = {
            name: size * num if isinstance(size, float) else size
            for name, size in self.sizes.items()
            if size is not None
        }
        total = round(sum(wanted.values()))
        rows = {name: int(size + 1e-9) for name, size in wanted.items()}
        by_remainder = sorted(rows, key=lambda name: rows[name] - wanted[name])
        for name in by_remainder[: total - sum(rows.values())]:
            rows[name] += 1
        if total > num:
            raise InputError(f"--parts want {total} rows together and the manifest has {num}; give fewer, or shares")
        rows = {name: rows.get(name, num - total) for name in self.sizes}
        if empty := next((name for name, size in rows.items() if not size), None):
            raise InputError(f"part {empty} would have none of {num} rows; give it a larger size, or leave it out")
        return rows


def read_parts(text: str) -> Parts:
    """Parts as the command line writes them: "train=0.8,test=0.2", "train=5000,test=500", "train=5000,test=rest".

    Raises InputError for what is none of these.
    """
    sizes: dict[str, float | int | None] = {}
    for item in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, size = (piece.strip() for piece in item.partition("="))
        if not _NAME.fullmatch(name):
            raise InputError(f"--parts: {printable(item)!r} names no part; {_FORM}")
        if name.casefold() in map(str.casefold, sizes):
            raise InputError(f"--parts: {name} stands there twice; give every part a name of its own")
        sizes[name] = _size(name, size)
    if not sizes:
        raise InputError(f"--parts {printable(text)!r}: names no part; {_FORM}")
    given = [size for size in sizes.values() if size is not None]
    if len(sizes) - len(given) > 1:
        raise InputError(f"--parts: only one part can be the {REST}; give the others a size")
    if len({type(size) for size in given}) > 1:
        raise InputError("--parts: some are shares and some are counts; give all as one of the two")
    if given and isinstance(given[0], float) and sum(given) > 1 + 1e-9:
        raise InputError(f"--parts: the shares are {sum(given):g} together; give shares that are 1 or less together")
    return Parts(sizes)


def _size(name: str, text: str) -> float | int | None:
    if text == REST:
        return None
    if re.fullmatch(r"[0-9]{1,12}", text) and int(text) > 0:
        return int(text)
    if re.fullmatch(r"[0-9]*\.[0-9]+", text) and 0 < float(text) <= 1:
        return float(text)
    raise InputError(
        f"--parts: {name}={printable(text)}: give a share such as 0.8, a count of rows such as 500, or {REST}"
    )


@dataclass(frozen=True)
class Split:
    """Samples by part, in the manifest's order, and those that no part wanted.

    `by` is the field of the groups; `groups` counts them in each part; `alone` are the rows without that field.
    """

    by: str
    parts: dict[str, tuple[Sample, ...]]
    groups: dict[str, int]
    wanted: dict[str, int]
    left_out: tuple[Sample, ...]
    alone: int


def split(samples: Sequence[Sample], parts: Parts, by: str = "cluster", seed: int = 0) -> Split:
    """Deal samples into parts. `by` is a name of FIELDS.

    Raises InputError where no row has that field, there are fewer groups than parts, or the parts do not fit.
    """
    field = FIELDS[by]
    groups: dict[tuple[str, str], list[Sample]] = {}
    alone = 0
    for sample in samples:
        value = field(sample)
        alone += value is None
        name = ("id", sample.id) if value is None else (by, str(value))
        groups.setdefault(name, []).append(sample)
    if alone == len(samples):
        hint = ", or have `mer-r1 prepare table --speaker COLUMN` write it" if by == "cluster" else ""
        raise InputError(f"--by {by}: none of the {alone} rows has it; split row by row with --by id{hint}")
    targets = parts.targets(len(samples))
    wanted = {**targets}
    if left := len(samples) - sum(targets.values()):
        wanted[""] = left
    if len(groups) < len(wanted):
        rest = " and the rows that are left out" if left else ""
        raise InputError(
            f"--by {by}: {len(groups)} groups are fewer than {len(targets)} parts{rest}; give fewer parts, or --by id"
        )
    dealt = stratify([_group(name, rows, seed) for name, rows in groups.items()], [*wanted.values()])
    names = [*wanted]
    part_of = {sample.id: names[part] for part, rows in zip(dealt, groups.values(), strict=True) for sample in rows}
    rows_of = {name: tuple([sample for sample in samples if part_of[sample.id] == name]) for name in names}
    num_groups = Counter(names[part] for part in dealt)
    return Split(
        by=by,
        parts={name: rows_of[name] for name in targets},
        groups={name: num_groups[name] for name in targets},
        wanted=targets,
        left_out=rows_of.get("", ()),
        alone=0 if by == "id" else alone,
    )


def num_shared(split: Split, field: str) -> int:
    """How many values of a field of FIELDS stand in more than one part."""
    seen = [{FIELDS[field](sample) for sample in rows} - {None} for rows in split.parts.values()]
    counted = Counter(value for values in seen for value in values)
    return sum(num > 1 for num in counted.values())


def features_of(sample: Sample) -> tuple[str, ...]:
    """The labels whose shares are kept: the row's words, else what its valence is, else that it has neither."""
    if words := corrected_labels(sample.labels):
        return words
    if sample.valence is None:
        return ("(no label)",)
    return ("(valence < 0)" if sample.valence < 0 else "(valence > 0)" if sample.valence > 0 else "(valence 0)",)


def _group(name: tuple[str, str], rows: Sequence[Sample], seed: int) -> Group:
    labels = Counter(label for sample in rows for label in features_of(sample))
    by, value = name
    named = min(sample.id for sample in rows) if by in MEDIA_KEYS else value  # a path differs from disk to disk
    key = sha256(f"{seed}:{by}:{named}".encode("utf-8", "surrogatepass")).digest()
    return Group(len(rows), labels, key)


def write_split(folder: Path, split: Split) -> dict[str, Path]:
    """Write `folder`/PART.jsonl of every part, media paths as seen from there, and return the paths.

    Raises InputError, before anything is written, where a file of that name holds something else.
    """
    paths = {name: folder / f"{name}.jsonl" for name in split.parts}
    folder.mkdir(parents=True, exist_ok=True)
    made = {path: path.with_name(f".{path.name}.new") for path in paths.values()}
    for name, path in paths.items():
        write_manifest(made[path], split.parts[name])
    put_new(made)
    return paths
