"""`mer-r1 prepare`: an owners' folder turned into a manifest, with a list of what is not there.

    mer-r1 prepare meld --root DIR --out meld.jsonl
    mer-r1 prepare mer-unibench --root DIR --out FOLDER      all nine: FOLDER/NAME.jsonl of each set that is there
    mer-r1 prepare mer-caption --root DIR --out FOLDER       FOLDER/sft.jsonl and FOLDER/rl.jsonl
    mer-r1 prepare emoset --root DIR --split train --num 2000 --out emoset-train.jsonl

Convention: 0 when every clip was written, 1 when something is missing (the manifest holds the others), and InputError,
status 2, when nothing can be written. A count that differs from the published one is shown and changes no status.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mer_r1.benchmarks import mer_caption
from mer_r1.benchmarks.emotion_pictures.layouts import PICTURE_SETS, SPLITS, read_pictures
from mer_r1.benchmarks.mer_unibench.layouts import SETS, present_sets, read_set
from mer_r1.data.files import write_text
from mer_r1.data.manifest import write_manifest
from mer_r1.data.prepared import PreparedSet
from mer_r1.errors import InputError
from mer_r1.text import printable

UNIBENCH = "mer-unibench"
MME = "mme-emotion"
NAMES = (UNIBENCH, *SETS, mer_caption.NAME, MME, *PICTURE_SETS)
SEVERAL = (UNIBENCH, mer_caption.NAME)
"""Whose manifests are several, and go into a folder."""
NUM_SHOWN = 20


@dataclass(frozen=True)
class Part:
    """Which part of a data set: of pictures a split and how many, of MER-Caption+ how many are for SFT."""

    split: str | None = None
    num: int | None = None
    num_sft: int | None = None
    seed: int | None = None

    def check(self, name: str) -> None:
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


def run(
    name: str,
    root: Path,
    out: Path,
    *,
    seed: int | None = None,
    num_sft: int | None = None,
    split: str | None = None,
    num: int | None = None,
    missing: Path | None = None,
) -> int:
    """Write the manifest of a data set (of several, into the folder `out`) and print what was found.

    `seed` and `num_sft` cut MER-Caption+ (0 and 5,000 where they are None); of pictures `split` (test) is written, or
    `num` of it that `seed` chooses. `missing` is a file for the whole list of missing files. Returns 0, or 1 when
    something is missing. Raises InputError when nothing can be written.
    """
    if name not in NAMES:
        raise InputError(f"data set {printable(name)!r} is not known; use one of: {', '.join(NAMES)}")
    part = Part(split, num, num_sft, seed)
    part.check(name)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the folder that holds the data set's own")
    if name in SEVERAL and out.is_file():
        raise InputError(f"{out} is a file; give the folder for the manifests of {name}")
    if name not in SEVERAL and out.is_dir():
        raise InputError(f"{out} is a folder; give the path of the manifest to write, such as {out / name}.jsonl")
    if missing is not None and _is_manifest(missing, name, out):
        raise InputError(f"--missing {missing} would be a manifest's place; give another file")
    found = _read(name, root, out, part)
    absent = sorted(set(SETS) - set(present_sets(root)), key=list(SETS).index) if name == UNIBENCH else []
    if missing is not None:
        rows = [f"{printable(file.path, 999)}\t{file.why}\n" for item in found for file in item.whole.missing]
        write_text(missing, "".join(rows))
    if not any(item.files for item in found):
        raise _nothing(found, root)
    for item in found:
        for path, prepared in item.files.items():
            write_manifest(path, prepared.samples)
    _print(found, absent)
    _print_stale(found, absent, out)
    return 1 if absent or any(item.whole.missing for item in found) else 0


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
        whole = _read_mme(root) if name == MME else read_set(name, root)
    return [Found(whole, {out: whole} if whole.samples else {})]


def _is_manifest(missing: Path, name: str, out: Path) -> bool:
    """Whether the list of missing files would take the place of a manifest."""
    index, out = missing.resolve(), out.resolve()
    return index == out or (name in SEVERAL and index.parent == out and index.suffix == ".jsonl")


def _read_mme(root: Path) -> PreparedSet:
    from mer_r1.benchmarks.mme_emotion import questions as mme_emotion

    return mme_emotion.prepare(root)


def _nothing(found: list[Found], root: Path) -> InputError:
    """The error of a root in which no clip was found."""
    if not found:
        folders = ", ".join(data.folder for data in SETS.values())
        return InputError(f"{root}: none of the folders {folders}; give the folder that holds them")
    first = found[0].whole
    file = f" (the first is {printable(first.missing[0].path)}: {first.missing[0].why})" if first.missing else ""
    kind = "picture" if first.name in PICTURE_SETS else "clip"
    return InputError(f"{root}: no {kind} of {first.title} is there{file}; {first.where}")


def _print(found: list[Found], absent: list[str]) -> None:
    console = Console()
    table = Table(title="prepared", title_justify="left")
    for head in ("data set", "samples", "missing", "manifest"):
        table.add_column(head, justify="right" if head in ("samples", "missing") else "left", overflow="fold")
    for item in found:
        num_missing = f"{len(item.whole.missing):,}"
        for path, part in item.files.items():
            table.add_row(escape(item.whole.title), f"{len(part.samples):,}", num_missing, escape(str(path)))
        if not item.files:
            table.add_row(escape(item.whole.title), "0", num_missing, "not written")
    console.print(table)
    for item in found:
        for line in _lines(item.whole):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    for data in (SETS[name] for name in absent):
        line = f"{data.title}: not there, no folder {data.folder}; {data.where}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _print_stale(found: list[Found], absent: list[str], out: Path) -> None:
    """Name the manifests of an earlier time, of sets of which nothing is there now: benchmark would take them."""
    for name in (*(item.whole.name for item in found if not item.files), *absent):
        if (path := out / f"{name}.jsonl").exists():
            line = f"{SETS[name].title}: {path} is of an earlier time and was left as it is; remove it, or move it away"
            Console().print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _lines(whole: PreparedSet) -> list[str]:
    """Notes, the first missing files and where they are to be had."""
    lines = [f"{whole.title}: {note}" for note in whole.notes]
    lines += [f"{whole.title}: missing {printable(file.path, 200)}: {file.why}" for file in whole.missing[:NUM_SHOWN]]
    if (more := len(whole.missing) - NUM_SHOWN) > 0:
        lines.append(f"{whole.title}: missing {more:,} more; --missing FILE writes all of them")
    if whole.missing:
        lines.append(f"{whole.title}: to be had: {whole.where}")
    return lines
