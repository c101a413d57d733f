"""Where the official numbers lie: beside the repository, never in it."""

import json
import os
from pathlib import Path
from typing import Any, NoReturn

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"
GOLDEN = SHARED / "golden"


def load_golden(name: str = "golden.json") -> dict[str, Any]:
    """The golden vectors; the test is skipped where they are missing, and fails there when CI=true."""
    path = GOLDEN / name
    if not path.is_file():
        _missing(f"golden vectors of the official scoring code are missing: ../shared/golden/{name}")
    golden: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return golden


def shared_wheels(name: str = "official") -> Path:
    """The folder of published wheels, or of what a revision changed; the test is skipped or fails as above."""
    folder = SHARED / "wheels" / name
    if not (folder / "format.csv").is_file():
        _missing(f"the published wheels are missing: ../shared/wheels/{name}")
    return folder


def _missing(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
