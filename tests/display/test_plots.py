"""Figures are drawn wherever the command is started from."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

CODE = """
import sys
from pathlib import Path
from mer_r1.display.plots import canvas, save

with canvas("salt", 1, 1) as figure:
    save(figure, Path(sys.argv[1]))
"""
INLINE = "module://matplotlib_inline.backend_inline"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("matplotlib_inline") is not None, reason="the notebook's backend is installed here")
def test_a_notebooks_backend_that_is_not_installed_here_is_no_hindrance(tmp_path: Path) -> None:
    environment = os.environ | {"MPLBACKEND": INLINE}
    subprocess.run([sys.executable, "-c", CODE, str(tmp_path / "a.png")], env=environment, check=True)
    assert (tmp_path / "a.png").is_file()
