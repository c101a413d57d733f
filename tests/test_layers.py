"""The house keeps its shape: imports go down, nothing is called utils."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import mer_r1

PACKAGE = Path(mer_r1.__file__).parent
ROOT = Path(__file__).parents[1]


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.slow
def test_the_import_contracts_hold() -> None:
    pytest.importorskip("importlinter")
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_nothing_is_called_utils() -> None:
    assert [path for path in modules() if "util" in path.stem or "helper" in path.stem] == []


def test_every_module_with_code_says_what_it_is() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in modules()}
    assert [path for path, text in texts.items() if text.strip() and not text.startswith('"""')] == []
