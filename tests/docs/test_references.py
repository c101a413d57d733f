"""What the documents name of the project is there: modules, files, and the options of commands."""

from __future__ import annotations

import argparse
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from mer_r1 import commands

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
HISTORY = {"CHANGELOG.md", "log.md"}  # these tell of files that are gone
FOLDERS = "mer_r1|tests|examples|perf|docs|" + "|".join(
    path.parent.name for path in (ROOT / "mer_r1").glob("*/__init__.py")
)


def texts() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        if page.name not in HISTORY:
            yield page.name, page.read_text(encoding="utf-8")


def is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def test_every_module_that_a_page_names_is_there() -> None:
    for page, text in texts():
        for name in re.findall(r"\bmer_r1(?:\.[a-z_0-9]+)+", text):
            assert is_module(name) or is_module(name.rpartition(".")[0]), f"{page}: {name}"


def test_every_file_of_the_project_that_a_page_names_is_there() -> None:
    for page, text in texts():
        for name in re.findall(rf"(?<![\w/.])(?:{FOLDERS})/[a-z_0-9/]+\.(?:py|yaml|md)\b", text):
            assert any((ROOT / room / name).exists() for room in ("", "mer_r1", "docs")), f"{page}: {name}"


def test_every_command_line_that_a_page_shows_in_a_block_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(parser: argparse.ArgumentParser, message: str) -> None:
        raise ValueError(message)

    monkeypatch.setattr(commands._Parser, "error", refuse)
    parser, num = commands._parser(), 0
    for page, text in texts():
        for block in re.findall(r"^```\n(.*?)^```", text.replace("\\\n", " "), flags=re.MULTILINE | re.DOTALL):
            for line in re.findall(r"^(?:\.venv/bin/)?mer-r1 (.*?)(?: {2,}#.*)?$", block, flags=re.MULTILINE):
                try:
                    parser.parse_args(shlex.split(line, comments=True))
                except ValueError as error:
                    pytest.fail(f"{page}: mer-r1 {line}: {error}")
                num += 1
    assert num > 20
