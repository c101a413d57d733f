"""An owners' folder turned into manifests, with a list of what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mer_r1.benchmarks import mer_caption
from mer_r1.benchmarks.emotion_pictures.layouts import PICTURE_SETS, SPLITS, read_pictures
from mer_r1.benchmarks.mer_unibench.layouts import SETS, present_sets, read_set
from mer_r1.benchmarks.mme_emotion import questions as mme_emotion
from mer_r1.data.files import validate_outputs, write_text
from mer_r1.data.manifest import write_manifest
from mer_r1.data.prepared import PreparedSet
from mer_r1.errors import InputError
from mer_r1.text import printable

UNIBENCH = "mer-unibench"
MME = "mme-emotion"
NAMES = (UNIBENCH, *SETS, mer_caption.NAME, MME, *PICTURE_SETS)
SEVERAL = (UNIBENCH, mer_caption.NAME)
"""Those with several manifests, which go into a folder."""


@dataclass(frozen=True)
class Part:
    """Which part of a data set: of pictures a split and how many, of MER-Caption+ how many are for SFT."""

    split: str | None = None
    num: int | None = None
    num_sft: int | None = None
    seed: int | None = None

    def validate(self, name: str) -> None:
        """Raises InputError for what does not go with that data set."""
        if name not in PICTURE_SETS and (self.split is not None or self.num is not None):
            raise InputError(f"--split and --num choose among pictures; leave them out for {name}")
        if name != mer_caption.NAME and self.num_sft is not None:
            raise InputError(f"--sft-num splits {mer_caption.NAME} and nothing else; leave it out for {name}")
        if name not in (mer_caption.NAME, *PICTURE_SETS) and self.seed is not None:
            raise InputError(f"--seed is for {mer_caption.NAME} and pictures; leave it out for {name}")
        if self.split is not None and self.split not in SPLITS:
            raise InputError(f"--split {printable(self.split)}: use one of {', '.join(SPLITS)}")


@dataclass(frozen=True)
class Found:
    """A data set as it was found, and its manifests: path -> what stands in it."""

    whole: PreparedSet
    files: dict[Path, PreparedSet]


@dataclass(frozen=True)
class Prepared:
    """What `prepare` has written.

    `absent` names the sets of MER-UniBench whose folder is missing, `stale` (set, manifest) of an earlier time that
    were left where nothing of the set is there now: a benchmark would take them.
    """

    found: tuple[Found, ...]
    absent: tuple[str, ...] = ()
    stale: tuple[tuple[str, Path], ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing."""
        return not self.absent and not any(item.whole.missing for item in self.found)


def prepare(name: str, root: Path, out: Path, part: Part | None = None, missing: Path | None = None) -> Prepared:
    """Write the manifest of a data set to `out`, or of several into the folder `out`.

    `part` None is the whole of MER-Caption+ with 5,000 clips for SFT, and the test split of pictures. `missing` is a
    file for the whole list of missing files. A count that differs from the published one is a note and no error.
    Raises InputError when nothing can be written.
    """
    if name not in NAMES:
        raise InputError(f"data set {printable(name)!r} is not known; use one of: {', '.join(NAMES)}")
    part = part or Part()
    part.validate(name)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the folder that holds the data set's own")
    if name in SEVERAL and out.is_file():
        raise InputError(f"{out} is a file; give the folder for the manifests of {name}")
    if name not in SEVERAL and out.is_dir():
        raise InputError(f"{out} is a folder; give the path of the manifest to write, such as {out / name}.jsonl")
    if missing is not None:
        file, manifest = missing.resolve(), out.resolve()
        if file == manifest or (name in SEVERAL and file.parent == manifest and file.suffix == ".jsonl"):
            raise InputError(f"--missing {missing} would take the place of a manifest; give another file")
    validate_outputs({"--missing": (missing, "a list of missing files")})
    found = _read(name, root, out, part)
    for path in (path for item in found for path in item.files):
        validate_outputs({"--out": (path, "JSON lines")})
    present = set(present_sets(root) if name == UNIBENCH else SETS)
    absent = tuple(item for item in SETS if item not in present)
    if missing is not None:
        rows = [f"{printable(file.path, 999)}\t{file.why}\n" for item in found for file in item.whole.missing]
        write_text(missing, "".join(rows))
    if not any(item.files for item in found):
        raise _nothing(found, root)
    for item in found:
        for path, prepared in item.files.items():
            write_manifest(path, prepared.samples)
    unwritten = (
        (item, out / f"{item}.jsonl") for item in (*(one.whole.name for one in found if not one.files), *absent)
    )
    return Prepared(tuple(found), absent, tuple((item, path) for item, path in unwritten if path.exists()))


def _read(name: str, root: Path, out: Path, part: Part) -> list[Found]:
    """The data sets of that name; one of which no clip is there has no manifest."""
    if name == UNIBENCH:
        wholes = {out / f"{item}.jsonl": read_set(item, root) for item in present_sets(root)}
        return [Found(whole, {path: whole} if whole.samples else {}) for path, whole in wholes.items()]
    if name == mer_caption.NAME:
        whole = mer_caption.read_caption(root)
        num_sft = mer_caption.NUM_SFT if part.num_sft is None else part.num_sft
        parts = mer_caption.split(whole, num_sft, part.seed or 0) if whole.samples else {}
        return [Found(whole, {out / f"{item}.jsonl": prepared for item, prepared in parts.items()})]
    if name in PICTURE_SETS:
        split = next(item for item in SPLITS if item == (part.split or "test"))
        whole = read_pictures(name, root, split, part.num, part.seed or 0)
    else:
        whole = mme_emotion.prepare(root) if name == MME else read_set(name, root)
    return [Found(whole, {out: whole} if whole.samples else {})]


def _nothing(found: list[Found], root: Path) -> InputError:
    """The error of a root in which no clip was found."""
    if not found:
        folders = ", ".join(data.folder for data in SETS.values())
        return InputError(f"{root}: none of the folders {folders}; give the folder that holds them")
    first = found[0].whole
    file = f" (the first is {printable(first.missing[0].path)}: {first.missing[0].why})" if first.missing else ""
    kind = "picture" if first.name in PICTURE_SETS else "clip"
    return InputError(f"{root}: no {kind} of {first.title} is there{file}; {first.where}")
