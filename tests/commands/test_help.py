"""The help of every command: each argument says what it is and each option its default, on lines of 80 columns."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import pytest

from mer_r1 import commands as cli
from mer_r1.commands.help import MOST_OPTIONS
from mer_r1.commands.options import KINDS

COUNTED = {"--workers"}
"""Options whose default is counted on the machine, and said in words."""


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and all that stand below it: commands, their commands, and their kinds."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in dict.fromkeys(action.choices.values()):
                yield from parsers(below)
    registries: dict[str, dict[str, Any]] = parser._registries
    for kind in registries.get(KINDS, {}).values():
        if isinstance(kind, argparse.ArgumentParser):
            yield from parsers(kind)


ALL = {parser.prog: parser for parser in parsers(cli._parser())}


def problems(parser: argparse.ArgumentParser) -> Iterator[str]:
    """What a parser's help lacks."""
    formatter = parser._get_formatter()
    one_of = {id(a) for group in parser._mutually_exclusive_groups if group.required for a in group._group_actions}
    for group in parser._action_groups:
        for action in group._group_actions:
            name = "/".join(action.option_strings) or action.dest
            if isinstance(action, argparse._SubParsersAction):
                if unsaid := [below.dest for below in action._choices_actions if not below.help]:
                    yield f"no help of {', '.join(unsaid)}"
                continue
            text = formatter._expand_help(action) if action.help else ""
            if not text:
                yield f"{name}: no help"
            if not action.option_strings or action.required or action.nargs == 0 or id(action) in one_of:
                continue
            default = " ".join(map(str, action.default)) if isinstance(action.default, list) else action.default
            said = f"{text} {group.title} {group.description}"
            if "default" not in said:
                yield f"{name}: no word about its default"
            elif (
                default not in (None, "")
                and repr(default) != "0.0"
                and str(default) not in text
                and name not in COUNTED
            ):
                yield f"{name}: its default {default} is not in its help"


def test_the_walk_finds_commands_of_all_levels() -> None:
    assert {"mer-r1", "mer-r1 train", "mer-r1 wheels show", "mer-r1 benchmark mer-unibench"} <= ALL.keys()
    assert {"mer-r1 prepare table", "mer-r1 diagnose modality", "mer-r1 diagnose theory"} <= ALL.keys()
    assert len(ALL) > 20


@pytest.mark.parametrize("prog", ALL)
def test_every_argument_says_what_it_is_and_every_option_its_default(prog: str) -> None:
    assert list(problems(ALL[prog])) == []


def test_an_argument_without_help_or_default_would_be_found() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what")
    parser.add_argument("--file", help="a file")
    parser.add_argument("--num", type=int, default=3, help="how many (default 4)")
    parser.add_argument("--flag", action="store_true", help="a flag")
    parser.add_argument("--most", type=float, default=0.0, help="how much (default none)")
    assert list(problems(parser)) == [
        "what: no help",
        "--file: no word about its default",
        "--num: its default 3 is not in its help",
    ]


@pytest.mark.parametrize("prog", ALL)
def test_a_help_fits_80_columns_and_its_usage_a_few_lines(prog: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = ALL[prog].format_help()
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert text.index("\n\n") < 5 * 80
    assert prog in text


def test_a_usage_names_few_options_and_what_must_be_given() -> None:
    parser = cli._Parser(prog="x")
    for number in range(MOST_OPTIONS - 1):  # and -h
        parser.add_argument(f"--o{number}", help="x")
    assert parser.format_usage().count("--o") == MOST_OPTIONS - 1
    parser.add_argument("--must", required=True, help="x")
    parser.add_argument("--more", help="x")
    either = parser.add_mutually_exclusive_group(required=True)
    either.add_argument("--a", help="x")
    either.add_argument("--b", help="x")
    parser.add_argument("files", nargs="*", help="x")
    assert parser.format_usage() == "usage: x [options] --must MUST (--a A | --b B) [files ...]\n"


def test_long_choices_stand_in_the_help_s_text() -> None:
    parser = cli._Parser(prog="x")
    parser.add_argument("--short", choices=("a", "b"), help="x")
    parser.add_argument("--style", choices=("a" * 30, "b" * 30), help="the style")
    text = parser.format_help()
    assert "--short {a,b}" in text
    assert "--style STYLE" in text
    assert f"the style: {'a' * 30}," in text


@pytest.mark.parametrize("word", ["theory", "modality"])
def test_a_kind_of_diagnosis_has_a_help_of_its_own(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["diagnose", word, "--help"])
    text = capsys.readouterr().out
    assert text.startswith(f"usage: mer-r1 diagnose {word} ")
    assert "--cases" not in text
    assert ("--model" in text) == (word == "modality")
    assert cli.main(["diagnose", "--json", "x", word]) == 2
    assert f"write: mer-r1 diagnose {word}" in capsys.readouterr().err
