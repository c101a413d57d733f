"""YAML that a user gives: a file or one of the package's by name, and assignments that change it."""

from __future__ import annotations

import contextlib
import os
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from mer_r1.errors import InputError


def names_in(folder: Traversable) -> list[str]:
    """The names of the YAML files in a folder of the package."""
    return sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml"))


def read_yaml(source: str, folder: Traversable, kind: str, otherwise: str = "") -> Any:
    """The content of a YAML file, or of one in a folder of the package by name.

    Raises InputError: one line, in which `kind` says what the file is and `otherwise` what else may be given.
    """
    path = Path(os.path.expanduser(source))
    if path.suffix in (".yaml", ".yml") or path.exists():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise InputError(f"{source}: cannot be read ({reason}); give a {kind} file") from None
    elif source in names_in(folder):
        text = (folder / f"{source}.yaml").read_text(encoding="utf-8")
    else:
        raise InputError(
            f"{source}: no such {kind}; give a .yaml file or one of {', '.join(names_in(folder))}{otherwise}"
        )
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise InputError(f"{source}{line}: not valid YAML ({getattr(error, 'problem', error)})") from None


def override(tree: dict[str, Any], assignment: str) -> None:
    """Set a key of a recipe, written section.key=value. Raises InputError for what is not written so."""
    key, separator, value = assignment.partition("=")
    if not separator or not key:
        raise InputError(f"{assignment!r}: an override is written section.key=value")
    *sections, last = key.split(".")
    for section in sections:
        inner = tree.setdefault(section, {})
        if not isinstance(inner, dict):
            raise InputError(f"{assignment!r}: {section} is not a section of the recipe")
        tree = inner
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        raise InputError(f"{assignment!r}: the value is not valid YAML; quote it") from None
    if isinstance(parsed, str):  # YAML 1.1 reads 1e-4 as text
        with contextlib.suppress(ValueError):
            parsed = float(parsed)
    tree[last] = parsed
