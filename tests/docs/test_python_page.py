"""docs/python.md: its blocks run in order, its values are right, and it shows every public name."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from shutil import copyfile
from types import ModuleType
from typing import Any

import pytest

import mer_r1
from mer_r1 import read_manifest, write_manifest

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def place(corpus: dict[str, Path], tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with what the page assumes, and a stand-in for the two names that it takes from ms-swift."""
    rows = read_manifest(corpus["train"])
    film = next(row.video for row in rows if row.video and row.subtitle)
    copyfile(film, tmp_path / "clip.mp4")
    write_manifest(tmp_path / "test.jsonl", [row for row in rows if row.labels][:2])
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "sft").symlink_to(tiny_folder)
    rewards = ModuleType("swift.rewards")
    rewards.ORM, rewards.orms = object, {}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "swift", ModuleType("swift"))
    monkeypatch.setitem(sys.modules, "swift.rewards", rewards)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def values_of(block: str, names: dict[str, Any]) -> list[tuple[str, str]]:
    """Run a block; for every expression with a comment behind it (its value, the comment)."""
    lines, pairs = block.splitlines(), []
    for statement in ast.parse(block).body:
        code = ast.get_source_segment(block, statement)
        _, mark, comment = lines[(statement.end_lineno or 0) - 1][statement.end_col_offset :].partition("  # ")
        if isinstance(statement, ast.Expr) and mark:
            pairs.append((repr(eval(code or "", names)), comment))
        else:
            exec(code or "", names)
    return pairs


def test_the_blocks_of_the_page_run_and_give_the_values_it_says(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {}
    pairs = [pair for block in BLOCKS for pair in values_of(block, names)]
    assert [pair for pair in pairs if pair[0] != pair[1]] == []
    assert len(pairs) > 15
    (error,) = capsys.readouterr().out.splitlines()
    (written,) = re.findall(r"print\(error\)  # (.*) \.\.\.$", PAGE, flags=re.MULTILINE)
    assert error.startswith(written)
    plugin = sys.modules["swift.rewards"].orms["emotion_f1"]()
    happy = ["<think>A smile.</think><answer>happy</answer>"]
    assert plugin(completions=happy, emotions=[["joyful"]], trainer_state=None) == [1.0]


def test_the_page_shows_every_public_name() -> None:
    shown = {alias.name for block in BLOCKS for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ImportFrom)
             and node.module == "mer_r1" for alias in node.names}  # fmt: skip
    only_returned = {"Clip", "Prediction", "Response"}
    assert shown == {*mer_r1.__all__} - only_returned - {"__version__", "predict_clips"}
    assert all(f"`{name}`" in PAGE for name in only_returned)
