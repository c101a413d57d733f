"""Three sets of emotion pictures, EmoSet, Emotion6 and WebEmo, read from the folders that their owners distribute.

    EmoSet     lists of (label, picture, annotation), one a split; eight labels
    Emotion6   a table of votes; the label is the largest of six, where neither neutral nor another is as large
    WebEmo     lists of addresses with a class, one a split; 25 classes, which the owners group into six and into two

Convention: a set's labels are the candidates of every row, so the manifest says from what an answer is chosen. A
picture that is not there is listed as missing; one without a single label is left out and counted. Emotion6 has no
split of its own: test is the first 30 % in the order of sha256("SEED:id"). `num` takes the first of the same order.

Source: EMO-R3 (arXiv 2602.23802) Section 4; the layouts of the owners' releases. docs/datasets.md says what is assumed.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Literal

from mer_r1.benchmarks.clips import need_folder
from mer_r1.benchmarks.tables import name_error, read_text
from mer_r1.data.prepared import MissingFile, PreparedSet
from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from mer_r1.text import printable

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
SHARE_OF_TEST = 0.3

EMOSET_LABELS = ("amusement", "anger", "awe", "contentment", "disgust", "excitement", "fear", "sadness")
EMOTION6_LABELS = ("anger", "disgust", "fear", "joy", "sadness", "surprise")
VOTES = (*EMOTION6_LABELS, "neutral")
WEBEMO_LEVELS = (
    ("affection", "love", "positive"), ("cheerfulness", "joy", "positive"), ("confusion", None, "negative"),
    ("contentment", "joy", "positive"), ("disappointment", "sadness", "negative"), ("disgust", "anger", "negative"),
    ("enthrallment", "joy", "positive"), ("envy", "anger", "negative"), ("exasperation", "anger", "negative"),
    ("gratitude", "love", "positive"), ("horror", "fear", "negative"), ("irritability", "anger", "negative"),
    ("lust", "love", "positive"), ("neglect", "sadness", "negative"), ("nervousness", "fear", "negative"),
    ("optimism", "joy", "positive"), ("pride", "joy", "positive"), ("rage", "anger", "negative"),
    ("relief", "joy", "positive"), ("sadness", "sadness", "negative"), ("shame", "sadness", "negative"),
    ("suffering", "sadness", "negative"), ("surprise", "surprise", "positive"), ("sympathy", "sadness", "negative"),
    ("zest", "joy", "positive"),
)  # fmt: skip
"""The owners' 25 classes in the order of their numbers, and what they are among six and among two labels.

Confusion is in none of the six. Two classes that the owners misspell are written as a model would write them.
"""


@dataclass(frozen=True)
class Listed:
    """One picture as the owners list it: where it may lie in the folder, and its label, or why it has none."""

    paths: tuple[str, ...]
    label: str | None
    why_none: str = ""


Listing = Mapping[str, Listed]
"""Id -> what the owners say of it, in their order."""


@dataclass(frozen=True)
class PictureSet:
    """One set of pictures: `listing` reads a split's lists, `num` are the published counts of the splits."""

    name: str
    title: str
    folder: str
    candidates: tuple[str, ...]
    num: Mapping[Split, int]
    listing: Callable[[Path, Split, int], Listing]
    where: str


def read_pictures(name: str, root: Path, split: Split = "test", num: int | None = None, seed: int = 0) -> PreparedSet:
    """One split of a set in `root`: the folder that holds the owners' folder, or that folder itself.

    `num` takes that many of the pictures that are there, `seed` says which. Raises KeyError for a name that is not in
    PICTURE_SETS; InputError for a split that the set does not have, `num` below 1, a folder or list that is missing or
    cannot be read, an unknown label, and a name that would lead to another folder.
    """
    data = PICTURE_SETS[name]
    if split not in data.num:
        raise InputError(f"--split {split}: {data.title} has {' and '.join(data.num)}; give one of them")
    if num is not None and num < 1:
        raise InputError(f"--num {num}: give 1 or more")
    folder = need_folder(data.folder, root, data.title, data.where)
    listing = data.listing(folder, split, seed)
    samples: list[Sample] = []
    missing: list[MissingFile] = []
    for identity, listed in listing.items():
        if listed.label is None:
            continue
        files = (folder / path for path in listed.paths)
        image = next((file for file in files if file.is_file() and file.stat().st_size), None)
        if image is None:
            missing.append(MissingFile(f"{folder.name}/{listed.paths[0]}", "no such file, or an empty one"))
        else:
            samples.append(
                Sample(identity, image=image, labels=(listed.label,), source=name, candidates=data.candidates)
            )
    chosen = set(first_by_hash([sample.id for sample in samples], num, seed))
    notes = tuple(_notes(listing.values(), data.num[split]))
    return PreparedSet(
        data.name, data.title, tuple(item for item in samples if item.id in chosen), tuple(missing), notes, data.where
    )


def first_by_hash(identities: Iterable[str], num: int | None, seed: int) -> list[str]:
    """The first `num` (None: all) in the order of sha256("SEED:id"): no table's order and no machine changes them."""
    return sorted(identities, key=lambda identity: sha256(f"{seed}:{identity}".encode()).digest())[:num]


def _notes(listed: Collection[Listed], published: int) -> Iterator[str]:
    """A count that differs from the published one, and how many pictures have no single label, a line a reason."""
    if len(listed) != published:
        yield f"{len(listed):,} pictures in the owners' lists, {published:,} published"
    for reason, num in Counter(item.why_none for item in listed if item.label is None).items():
        yield f"{num:,} pictures are left out: {reason}"


def _emoset(folder: Path, split: Split, _seed: int) -> Listing:
    """SPLIT.json: rows (label, picture, annotation), or with the picture's id behind the label."""
    path = folder / f"{split}.json"
    text = read_text(path)
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(f"{path}: cannot be read as JSON; take the owners' own file") from None
    if not isinstance(rows, list) or not rows:
        raise InputError(f"{path}: no rows, or no list; take the owners' own file")
    found: dict[str, Listed] = {}
    for number, row in enumerate(rows):
        where = f"{path}: row {number}"
        if not isinstance(row, list) or len(row) not in (3, 4) or not all(isinstance(cell, str) for cell in row):
            raise InputError(f"{where} must be a list of label, picture and annotation; take the owners' own file")
        label, image = row[0], row[-2]
        if label not in EMOSET_LABELS:
            raise InputError(f"{where}: label {printable(label)!r}; the labels are {', '.join(EMOSET_LABELS)}")
        _check_path(image, where)
        identity = PurePosixPath(image).stem
        if identity in found:
            raise InputError(f"{where}: {printable(identity)} is there twice; take the owners' own file")
        found[identity] = Listed((image,), label)
    return found


def _emotion6(folder: Path, split: Split, seed: int) -> Listing:
    """Votes of ground_truth.txt: the largest of the six."""
    found = {}
    for identity, (image, votes) in _votes(folder, split, seed).items():
        label, why_none = VOTES[votes.index(max(votes))], ""
        if votes.count(max(votes)) > 1:
            why_none = "two emotions have the most votes"
        elif label == "neutral":
            why_none = "neutral has the most votes"
        found[identity] = Listed((image,), None if why_none else label, why_none)
    return found


def _emotion6_folders(folder: Path, split: Split, seed: int) -> Listing:
    """The emotion that the owners searched a picture by, which is the name of its folder."""
    found = {}
    for identity, (image, _) in _votes(folder, split, seed).items():
        label = PurePosixPath(image).parts[-2]
        if label not in EMOTION6_LABELS:
            raise InputError(f"{folder}: {printable(image)} lies in none of the folders {', '.join(EMOTION6_LABELS)}")
        found[identity] = Listed((image,), label)
    return found


def _votes(folder: Path, split: Split, seed: int) -> dict[str, tuple[str, tuple[float, ...]]]:
    """Id -> (picture, seven votes) of a split. Ten columns: the picture, valence, arousal, and the votes of VOTES."""
    path = folder / "ground_truth.txt"
    found: dict[str, tuple[str, tuple[float, ...]]] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        cells = [cell.strip() for cell in line.split("\t")]
        if number == 1:
            _check_heads(cells, f"{path}:1")
        elif any(cells):
            image, votes = _vote_row(cells, f"{path}:{number}")
            identity = str(PurePosixPath(image).with_suffix(""))
            if identity in found:
                raise InputError(f"{path}:{number}: {printable(identity)} is there twice; take the owners' own file")
            found[identity] = (f"images/{image}", votes)
    if not found:
        raise InputError(f"{path}: no rows; take the owners' own file")
    test = set(first_by_hash(found, round(SHARE_OF_TEST * len(found)), seed))
    return {identity: row for identity, row in found.items() if (identity in test) == (split == "test")}


def _check_heads(cells: list[str], where: str) -> None:
    """The votes come in the order of VOTES, as far as the heads name emotions."""
    heads = [next((emotion for emotion in VOTES if emotion in cell.lower()), None) for cell in cells[3:]]
    is_row = any(re.fullmatch(r"[-+.\deE]+", cell) for cell in cells[1:])  # the heads are missing
    if (
        is_row
        or len(cells) != 3 + len(VOTES)
        or any(head not in (None, vote) for head, vote in zip(heads, VOTES, strict=True))
    ):
        raise InputError(
            f"{where}: ten columns with tabs between them are needed, picture, valence, arousal, {', '.join(VOTES)}; "
            "take the owners' own file"
        )


def _vote_row(cells: list[str], where: str) -> tuple[str, tuple[float, ...]]:
    if len(cells) != 3 + len(VOTES):
        raise InputError(f"{where}: {len(cells)} cells, and ten are needed; take the owners' own file")
    _check_path(cells[0], where)
    try:
        votes = tuple(float(cell) for cell in cells[3:])
    except ValueError:
        raise InputError(f"{where}: a vote is no number; take the owners' own file") from None
    if not all(math.isfinite(vote) and vote >= 0 for vote in votes):
        raise InputError(f"{where}: a vote is below 0 or not finite; take the owners' own file")
    return cells[0], votes


def _webemo(level: int) -> Callable[[Path, Split, int], Listing]:
    """SPLIT25.txt: an address and a class's number a line. `level`: 0 the 25 classes, 1 six of them, 2 two."""

    def listing(folder: Path, split: Split, _seed: int) -> Listing:
        path = folder / f"{split}25.txt"
        rows: list[tuple[str, str, str]] = []
        for number, line in enumerate(read_text(path).splitlines(), 1):
            if not line.strip():
                continue
            address, _, index = line.strip().rpartition(" ")
            if not index.isdecimal() or not int(index) < len(WEBEMO_LEVELS) or not address.strip():
                raise InputError(
                    f"{path}:{number}: an address and a number from 0 to 24 are needed, {printable(line)!r}"
                )
            image = address.strip().rsplit("/", 1)[-1]
            _check_path(image, f"{path}:{number}")
            rows.append((address.strip(), image, index))
        if not rows:
            raise InputError(f"{path}: no rows; take the owners' own file")
        return _webemo_listed(rows, level, split)

    return listing


def _webemo_listed(rows: Iterable[tuple[str, str, str]], level: int, split: Split) -> Listing:
    """Rows (address, file, class's number). A file that several addresses end in says not which picture it is."""
    rows = tuple(dict.fromkeys(rows))
    of_file = Counter(file for _, file in {row[:2] for row in rows})
    of_class = Counter(row[1:] for row in rows)
    found: dict[str, Listed] = {}
    for number, (_, image, index) in enumerate(rows):
        names = WEBEMO_LEVELS[int(index)]
        identity = f"{names[0]}/{PurePosixPath(image).stem}"
        if identity in found:
            identity = f"{names[0]}/{image} {number}"
        paths = (f"{split}/{index}/{image}", *([f"images/{image}"] if of_file[image] == 1 else []))
        is_one = of_class[image, index] == 1
        why = f"{names[0]} is in none of the six labels" if is_one else "several addresses of a class end in their name"
        found[identity] = Listed(paths, names[level] if is_one else None, why)
    return found


def _check_path(image: str, where: str) -> None:
    """Raises InputError for a picture's path that is not a plain one inside the set's folder."""
    errors = [error for part in image.split("/") if (error := name_error(part))]
    if errors:
        raise InputError(f"{where}: the picture {printable(image)!r} {errors[0].partition(';')[0]}; give a plain path")


def _names(level: int) -> tuple[str, ...]:
    """The labels of a level of WebEmo, by the alphabet."""
    return tuple(sorted({name for names in WEBEMO_LEVELS if (name := names[level])}))


_EMOTION6 = "Emotion6, from the downloads of chenlab.ece.cornell.edu"
_WEBEMO = "WEBEmo, lists of addresses from rpand002.github.io; the pictures are fetched from there by oneself"
_NUM_EMOTION6: Mapping[Split, int] = {"train": 1_386, "test": 594}
_NUM_WEBEMO: Mapping[Split, int] = {"train": 213_952, "test": 53_489}

_SETS = (
    PictureSet(
        "emoset", "EmoSet", "EmoSet-118K", EMOSET_LABELS, {"train": 94_481, "val": 5_905, "test": 17_716}, _emoset,
        "EmoSet-118K, from the project's page vcc.tech/EmoSet",
    ),
    PictureSet("emotion6", "Emotion6", "Emotion6", EMOTION6_LABELS, _NUM_EMOTION6, _emotion6, _EMOTION6),
    PictureSet(
        "emotion6-folders", "Emotion6, labels of the folders", "Emotion6", EMOTION6_LABELS, _NUM_EMOTION6,
        _emotion6_folders, _EMOTION6,
    ),
    PictureSet("webemo", "WebEmo", "WEBEmo", _names(1), _NUM_WEBEMO, _webemo(1), _WEBEMO),
    PictureSet("webemo-25", "WebEmo, 25 labels", "WEBEmo", _names(0), _NUM_WEBEMO, _webemo(0), _WEBEMO),
    PictureSet("webemo-2", "WebEmo, 2 labels", "WEBEmo", _names(2), _NUM_WEBEMO, _webemo(2), _WEBEMO),
)  # fmt: skip

PICTURE_SETS: dict[str, PictureSet] = {item.name: item for item in _SETS}
"""The three sets, Emotion6 and WebEmo by all of their label sets."""


def title_of(name: str) -> str:
    """What a set is called."""
    return PICTURE_SETS[name].title if name in PICTURE_SETS else printable(name)
