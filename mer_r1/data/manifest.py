"""The manifest: JSON lines <-> `Sample`, every error named by file, line and field.

One JSON object a line, no other key is taken (docs/architecture.md):

    {"id", "video"?, "audio"?, "image"?, "subtitle"?, "labels"?: [..], "valence"?, "reasoning"?, "cluster"?, "source"?,
     "candidates"?: [..]}

Convention: media paths are relative to the manifest's folder, or absolute; a URL is refused. A row needs at least one
of video, audio, image, subtitle. null means "absent". Nothing is opened here but the manifest: `mer-r1 check` reads
the media. Paths come out absolute, so that no file name can pass for a decoder's protocol ("concat:…"); "~" at the
beginning of one is the user's folder. Words that are read as text (WORDS) are mended as data/characters.py says.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mer_r1.data.characters import mended
from mer_r1.data.files import read_json_lines, write_json_lines
from mer_r1.data.labels import split_labels
from mer_r1.data.sample import Sample
from mer_r1.data.table_names import is_table, prepare_command
from mer_r1.errors import InputError
from mer_r1.text import kind_of, printable

MANIFEST_FILE = "manifest.jsonl"
"""Its name in the folder of a run or of a set."""
MEDIA_KEYS = ("video", "audio", "image")
TEXT_KEYS = ("subtitle", "reasoning", "cluster", "source")
LIST_KEYS = ("labels", "candidates")
WORDS = ("subtitle", "reasoning", *LIST_KEYS)
"""What is read as text; an id, a path, a cluster and a source are names, which stay as they are."""
KEYS = ("id", *MEDIA_KEYS, "subtitle", "labels", "valence", "reasoning", "cluster", "source", "candidates")

LONGEST_FIX = 500  # characters of a list that a message writes out
MAX_VALENCE = 1000  # any scale of a data set, and no infinity
_NO_WORDS = ("nan", "none", "null", "n/a")  # how tables and programs write "not known"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|(?:data|file|https?|blob):", re.IGNORECASE)
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class ManifestScan:
    """The valid rows of a manifest, the line of each, and every problem found, in order, one line each.

    `mended` are the lines whose text is not as it stands in the file (data/characters.py). `num_invalid` counts the
    rows with a problem; a row that ended the reading (`is_whole` False) is one of them.
    """

    samples: tuple[Sample, ...]
    lines: tuple[int, ...]
    problems: tuple[str, ...]
    mended: tuple[int, ...]
    num_invalid: int
    is_whole: bool


def read_manifest(path: Path) -> list[Sample]:
    """The samples of a manifest, in order.

    Raises InputError for the first problem, with the number of the others; `scan_manifest` lists them all.
    """
    scan = scan_manifest(path)
    if scan.problems:
        others = len(scan.problems) - 1
        more = f" (and {others} more; `mer-r1 check` lists them all)" if others else ""
        raise InputError(scan.problems[0] + more)
    return list(scan.samples)


def scan_manifest(path: Path) -> ManifestScan:
    """Read a manifest to its end and collect what is wrong instead of stopping.

    A line that is no JSON object ends the reading, and is the last problem. A file without rows is a problem.
    Raises InputError for a table of another form.
    """
    path = Path(path)
    if is_table(path):
        raise InputError(f"{path}: a table, no manifest, which is JSON lines; make one of it: {prepare_command(path)}")
    folder = Path(os.path.abspath(path.parent))
    samples: list[Sample] = []
    lines: list[int] = []
    problems: list[str] = []
    changed: list[int] = []
    first_line: dict[str, int] = {}
    num_read, num_foreign, is_whole = 0, 0, True
    try:
        for number, found in read_json_lines(path):
            num_read += 1
            row = mended_row(found)
            if row != found:
                changed.append(number)
            errors = list(row_errors(row))
            num_foreign += "id" not in row and not row.keys() <= set(KEYS)
            identity = row.get("id")
            if isinstance(identity, str) and identity in first_line:
                errors.append(
                    f'id "{identity}" stands on line {first_line[identity]} already; give every row its own id'
                )
            elif isinstance(identity, str):
                first_line[identity] = number
            problems += [f"{path}:{number}: {problem}" for problem in errors]
            if not errors:
                samples.append(_sample(row, folder))
                lines.append(number)
    except InputError as error:
        problems.append(str(error))
        num_read, is_whole = num_read + 1, False
    if problems and num_foreign == num_read > 0:
        problems[0] += f"; other columns become a manifest's by: {prepare_command(path)}"
    if not first_line and not problems:
        problems.append(f"{path}: no rows; write one JSON object a line")
    return ManifestScan(
        tuple(samples), tuple(lines), tuple(problems), tuple(changed), num_read - len(samples), is_whole
    )


def mended_row(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its words mended, whatever else it holds."""
    return {key: _mended(value) if key in WORDS else value for key, value in row.items()}


def _mended(value: Any) -> Any:
    if isinstance(value, list):
        return [mended(item) if isinstance(item, str) else item for item in value]
    return mended(value) if isinstance(value, str) else value


def write_manifest(path: Path, samples: Iterable[Sample]) -> None:
    """Write samples as a manifest, whole or not at all, their words mended; absent fields are left out.

    Media are written relative to the manifest's folder wherever the two share a folder other than the root, so the
    whole can be moved. Raises InputError when a sample would not be read back (a repeated id, no medium, ...).
    """
    path = Path(path)
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    for sample in samples:
        row = manifest_row(sample, path.parent)
        errors = list(row_errors(row))
        if sample.id in seen:
            errors.append("its id stands in the manifest already; give every sample its own id")
        if errors:
            raise InputError(f"{path}: sample {sample.id!r} cannot be written: {errors[0]}")
        seen.add(sample.id)
        rows.append(row)
    write_json_lines(path, rows)


def row_errors(row: dict[str, Any]) -> Iterator[str]:
    """What is wrong with one row, each error with its field and its fix."""
    yield from unknown_keys(row, KEYS)
    yield from id_errors(row)
    for key in MEDIA_KEYS:
        yield from _media_errors(key, row.get(key))
    for key in TEXT_KEYS:
        yield from text_errors(key, row.get(key))
    for key in LIST_KEYS:
        yield from list_errors(key, row.get(key))
    yield from valence_errors(row.get("valence"))
    subtitle = row.get("subtitle")
    blank = subtitle is None or (isinstance(subtitle, str) and not subtitle.strip())
    if blank and all(row.get(key) is None for key in MEDIA_KEYS):
        yield "no medium; give at least one of video, audio, image, subtitle"


def unknown_keys(row: dict[str, Any], known: Iterable[str]) -> Iterator[str]:
    """An error for every key that is not known, with the key that was probably meant."""
    known = tuple(known)
    for key in row:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f'did you mean "{close[0]}"?' if close else f"the keys are {', '.join(known)}"
            yield f'unknown key "{printable(key)}"; {hint}'


def id_errors(row: dict[str, Any]) -> Iterator[str]:
    """An error when a row has no usable id."""
    identity = row.get("id")
    if identity is None:
        yield 'no id; give the row an "id", a text of its own'
    elif not isinstance(identity, str):
        yield f'id must be a text, found {kind_of(identity)}; write "id": "{printable(identity)}"'
    elif not identity.strip():
        yield "id is empty; give the row a text of its own"
    else:
        yield from text_errors("id", identity)


def _media_errors(key: str, value: object) -> Iterator[str]:
    if value is None:
        return
    if not isinstance(value, str):
        yield f"{key} must be a path in quotes, found {kind_of(value)}"
    elif not value.strip():
        yield f"{key} is empty; give a path or leave the key out"
    elif _URL.match(value):
        yield f'{key} is a URL ("{printable(value)}"); download it and give the path of the file'
    elif "\0" in value:
        yield f"{key} holds a NUL character; give the path of a file"
    else:
        yield from text_errors(key, value)


def text_errors(key: str, value: object) -> Iterator[str]:
    """An error for a value that is neither null nor a text."""
    if value is None:
        return
    if not isinstance(value, str):
        yield f"{key} must be a text in quotes, found {kind_of(value)}"
    elif _SURROGATE.search(value):
        yield f"{key} holds half a surrogate pair; write the character itself, in UTF-8"


def list_errors(key: str, value: object) -> Iterator[str]:
    """What is wrong with a list of words."""
    if value is None:
        return
    if not isinstance(value, list):
        yield f"{key} must be a list of words, found {kind_of(value)}; {as_list(key, value)}"
        return
    for index, word in enumerate(value):
        if isinstance(word, list):
            yield f"{key} holds a list within the list; {as_list(key, value)}"
            return
        if not isinstance(word, str):
            yield f"{key}[{index}] must be a word in quotes, found {kind_of(word)}; {as_list(key, value)}"
        elif not word.strip():
            yield f"{key}[{index}] is empty; give a word or take the entry out"
        else:
            yield from text_errors(f"{key}[{index}]", word)


def as_list(key: str, value: object) -> str:
    """The fix of a value that is no list of words: the list, where words can be read from it."""
    words = [word for text in _texts(value) for word in split_labels(text) if word not in _NO_WORDS]
    written = json.dumps(list(dict.fromkeys(words)), ensure_ascii=False)
    if not words:
        return f'leave {key} out where none is known, or write words such as "{key}": ["happy"]'
    return f'write "{key}": {written}' if len(written) <= LONGEST_FIX else f"write its {len(words)} words as one list"


def _texts(value: object) -> Iterator[str]:
    """The texts of a value, in order."""
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, list):
            left += reversed(item)


def valence_errors(value: object) -> Iterator[str]:
    """An error for a value that is neither null nor a number of any data set's scale."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        yield f"valence must be a number, found {kind_of(value)}"
    elif not abs(value) <= MAX_VALENCE:
        yield f"valence must be a number from {-MAX_VALENCE} to {MAX_VALENCE}; leave it out where not known"


def _sample(row: dict[str, Any], folder: Path) -> Sample:
    fields: dict[str, Any] = {key: row.get(key) for key in TEXT_KEYS}
    fields |= {key: folder / os.path.expanduser(row[key]) for key in MEDIA_KEYS if row.get(key) is not None}
    fields |= {key: tuple(row.get(key) or ()) for key in LIST_KEYS}
    valence = row.get("valence")
    return Sample(id=row["id"], valence=None if valence is None else float(valence), **fields)


def manifest_row(sample: Sample, folder: Path) -> dict[str, Any]:
    """The row of a sample in a manifest that lies in `folder`, its words mended; absent fields are left out."""
    values: dict[str, Any] = {"id": sample.id}
    for key in MEDIA_KEYS:
        medium: Path | None = getattr(sample, key)
        written = None if medium is None else seen_from(medium, folder)
        values[key] = f"./{written}" if written and (_URL.match(written) or written[0] == "~") else written
    values["subtitle"] = sample.subtitle
    values["labels"] = list(sample.labels)
    values |= {key: getattr(sample, key) for key in ("valence", "reasoning", "cluster", "source")}
    values["candidates"] = list(sample.candidates) or None
    return mended_row({key: value for key, value in values.items() if value is not None})


def seen_from(medium: Path, folder: Path) -> str:
    """The path of `medium` from `folder`, in forward slashes; absolute where the two share no folder but the root."""
    medium, folder = Path(os.path.abspath(medium)), Path(os.path.abspath(folder))
    if medium.is_relative_to(folder):
        return medium.relative_to(folder).as_posix()
    # A way up ("..") follows what the folders really are, not the names of links to them.
    target, start = Path(os.path.realpath(medium.parent), medium.name), Path(os.path.realpath(folder))
    if target.parts[:2] != start.parts[:2]:
        return medium.as_posix()
    return Path(os.path.relpath(target, start)).as_posix()
