"""examples/first_steps.ipynb is a notebook that anybody's Jupyter opens, holds no outputs, and its cells run."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mer_r1.commands import main

NOTEBOOK = Path(__file__).parents[2] / "examples" / "first_steps.ipynb"
CELLS: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


def test_it_keeps_to_the_format_of_version_4_5_and_holds_no_outputs() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert notebook.keys() == {"cells", "metadata", "nbformat", "nbformat_minor"}
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in CELLS}) == len(CELLS)
    for cell in CELLS:
        keys = {"cell_type", "id", "metadata", "source"}
        is_code = cell["cell_type"] == "code"
        assert cell.keys() == (keys | {"execution_count", "outputs"} if is_code else keys)
        assert not is_code or (cell["execution_count"], cell["outputs"]) == (None, [])
        assert all(line.endswith("\n") for line in cell["source"][:-1])


def run_cell(code: str, names: dict[str, Any]) -> None:
    """As IPython does: lines of Python, and behind ! a command in which {name} is a value."""
    python: list[str] = []
    for line in code.replace("\\\n", "").splitlines():
        if not line.startswith("!"):
            python.append(line)
            continue
        exec("\n".join(python), names)
        python.clear()
        program, *arguments = shlex.split(re.sub(r"\{(\w+)\}", lambda found: str(names[found[1]]), line[1:]))
        assert program == "mer-r1"
        short = ["--max-new-tokens", "16"] if arguments[0] == "predict" else []  # untaught, it would write 1024
        assert main([*arguments, *short]) == 0, line
    exec("\n".join(python), names)


@pytest.mark.slow
def test_its_cells_run_from_clips_to_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    shown: list[str] = []
    display = ModuleType("IPython.display")
    display.HTML = shown.append  # type: ignore[attr-defined]
    ipython = ModuleType("IPython")
    ipython.version_info = (9, 0)  # type: ignore[attr-defined]  # matplotlib asks
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "notebook"}
    install, cells = CODE[:2], CODE[2:]
    assert "git clone {REPOSITORY} mer-r1" in install[0]
    assert install[1].startswith("%pip install ")
    for cell in cells:
        run_cell(cell.replace("CLIPS, STEPS = 200, 100", "CLIPS, STEPS = 20, 2"), names)
    (page,) = shown
    assert "srcdoc=" in page
    folder = tmp_path / "runs" / "notebook"
    assert (folder / "report.html").is_file()
    assert len((folder / "sft" / "predictions.jsonl").read_text().splitlines()) > 1
