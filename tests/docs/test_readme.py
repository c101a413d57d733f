"""The README's commands are ones that the parser takes, name files that are there, and run where that is cheap."""

from __future__ import annotations

import argparse
import csv
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from shutil import copyfile

import pytest

from mer_r1 import commands, read_manifest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = {"mer-r1", "pip", "make", "docker", "sbatch", "git", "cd", "python"}
CHEAP = {"prepare", "split", "check", "score", "report", "wheels", "export-data"}


def lines() -> Iterator[list[str]]:
    """The commands of the fenced blocks that are no Python, as words."""
    for kind, block in re.findall(r"^```(\w*)\n(.*?)^```", README.replace("\\\n", " "), re.MULTILINE | re.DOTALL):
        if kind in ("", "bash", "sh"):
            yield from (words for line in block.splitlines() if (words := shlex.split(line, comments=True)))


def of_mer_r1() -> list[list[str]]:
    return [words[1:] for words in lines() if words[0] == "mer-r1"]


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found[0].choices) if found else {}


def test_it_can_be_read_to_its_end() -> None:
    assert len(README.splitlines()) <= 155


def test_every_line_of_a_block_is_a_command() -> None:
    assert {words[0] for words in lines()} <= PROGRAMS
    assert len(of_mer_r1()) > 15


def test_the_parser_takes_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(parser: argparse.ArgumentParser, message: str) -> None:
        raise ValueError(message)

    monkeypatch.setattr(commands._Parser, "error", refuse)
    for words in of_mer_r1():
        try:
            commands._parser().parse_args(words)
        except ValueError as error:
            pytest.fail(f"mer-r1 {shlex.join(words)}: {error}")


def test_recipes_targets_and_files_that_it_names_are_there() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for words in lines():
        if words[0] == "make":
            assert words[1] in targets
        if words[:2] == ["mer-r1", "train"]:
            assert (ROOT / "mer_r1" / "recipes" / f"{words[2]}.yaml").is_file(), words[2]
        for word in words:
            if word.startswith(("examples/", "docs/", "perf/")):
                assert (ROOT / word).exists(), word


def test_the_page_of_commands_lists_every_verb_and_what_is_below_it() -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    parser = commands._parser()
    for verb, parsed in subparsers(parser).items():
        assert re.search(rf"`{verb}[ `]", page), verb
        for name in subparsers(parsed):
            assert re.search(rf"`{verb} {name}\b", page) or f"`{verb} NAME " in page, f"{verb} {name}"


@pytest.fixture
def place(corpus: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a user's own: clips, a table about them, and answers of two models."""
    (tmp_path / "clips").mkdir()
    with (tmp_path / "mine.csv").open("w", encoding="utf-8", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(["file", "text", "emotions", "speaker", "reasoning"])
        for part in corpus.values():
            for row in read_manifest(part):
                if row.video:
                    copyfile(row.video, tmp_path / "clips" / row.video.name)
                    words = "; ".join(row.labels)
                    table.writerow([row.video.name, row.subtitle, words, row.cluster, row.reasoning])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_commands_that_are_cheap_run_one_behind_the_other(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    num = 0
    for words in of_mer_r1():
        if words[0] not in CHEAP or "--watch" in words:
            continue
        for name in ("sft", "mer_r1"):
            if (test := place / "runs" / "data" / "test.jsonl").is_file():
                write_answers(test, place / "runs" / name)
        assert commands.main(words) == 0, shlex.join(words)
        num += 1
    assert num >= 6
    spoken = {row.subtitle for row in read_manifest(place / "runs" / "data" / "test.jsonl") if row.subtitle}
    page = (place / "page.html").read_text(encoding="utf-8")
    assert any(subtitle in page for subtitle in spoken), "the page has the samples that the runs answered"


def test_the_python_of_the_page_runs(
    corpus: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "runs" / "quickstart" / "data"
    data.parent.mkdir(parents=True)
    data.symlink_to(corpus["test"].parent)
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    exec(block, {})
    assert "set:gold|n:" in capsys.readouterr().out


def write_answers(gold: Path, run: Path) -> None:
    """What a model answered to every row, fast and slow."""
    run.mkdir(parents=True, exist_ok=True)
    rows = [
        {"id": sample.id, "mode": mode, "raw": "", "reasoning": "", "labels": sample.labels[:1], "status": "ok"}
        for sample in read_manifest(gold)
        for mode in ("fast", "slow")
    ]
    (run / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
