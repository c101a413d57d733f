"""A mapping file: what each label of a table is called here.

    CSV     0,anger              two columns, with or without a head; several words in the second: "joy; surprise"
    JSON    {"0": "anger", "喜": ["joy"], "xxx": null}
    YAML    0: anger

Labels are compared without regard to case and outer white space. A label that stands for nothing (null, an empty cell)
is left out. A label that stands twice must have the same words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from mer_r1.data.importers import delimited
from mer_r1.data.importers.encoding import file_text
from mer_r1.data.importers.table import text_of
from mer_r1.data.labels import split_labels
from mer_r1.errors import InputError, first_line
from mer_r1.text import kind_of, printable

Mapping = dict[str, tuple[str, ...]]


def read_mapping(path: Path, encoding: str | None = None) -> Mapping:
    """Label, in lower case -> its words. Raises InputError that names file and label."""
    is_object = path.suffix.lower() in (".json", ".yaml", ".yml")
    mapping: Mapping = {}
    for label, value in _pairs(path, encoding) if is_object else _rows(path, encoding):
        name, words = text_of(label).lower(), _words(path, label, value)
        if mapping.setdefault(name, words) != words:
            raise InputError(f"{path}: label {printable(label)!r} stands there twice, with other words; keep one")
    return mapping


def _rows(path: Path, encoding: str | None) -> Iterator[tuple[str, str]]:
    """The two cells of every row; a head is a pair like the others, for no label is called so."""
    lines, sign, _ = delimited.read_lines(path, encoding)
    for line, cells in lines:
        if len(cells) < 2 or any(cell.strip() for cell in cells[2:]):
            raise InputError(
                f"{path}:{line}: {len(cells)} columns, which a {delimited.SIGNS[sign]} separates; a mapping has two, "
                "the label and what it is called"
            )
        yield cells[0], cells[1]


def _pairs(path: Path, encoding: str | None) -> list[tuple[Any, ...]]:
    text, _ = file_text(path, encoding)
    try:
        whole = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({first_line(error)}); write an object of labels and words") from None
    if not isinstance(whole, dict):
        raise InputError(f'{path}: {kind_of(whole)}; a mapping is an object, {{"0": "anger"}}')
    return list(whole.items())


def _words(path: Path, label: Any, value: Any) -> tuple[str, ...]:
    texts = value if isinstance(value, list) else [value]
    if not all(text is None or isinstance(text, str) for text in texts):
        raise InputError(f"{path}: label {printable(label)!r} maps to {kind_of(value)}; give a word or a list of words")
    return split_labels("\n".join(text for text in texts if text))
