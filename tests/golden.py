"""Where the official numbers lie: beside the repository, or where `make golden` puts them; never in it."""

import json
import os
from pathlib import Path
from typing import Any

import platformdirs
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def golden_folder() -> Path:
    """Where `make golden` works: $MER_R1_GOLDEN, else a folder of the user's cache."""
    named = os.environ.get("MER_R1_GOLDEN")
    return Path(named).resolve() if named else platformdirs.user_cache_path("mer-r1", appauthor=False) / "golden"


ROOTS = (SHARED, golden_folder())  # read at import: tests have a cache folder of their own


def load_golden(name: str = "golden.json") -> dict[str, Any]:
    """The golden vectors; the test is skipped where they are missing, and fails there when CI=true."""
    path = _found(Path("golden") / name, "golden vectors of the official scoring code")
    golden: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return golden


def shared_wheels(name: str = "official") -> Path:
    """The folder of published wheels, or of what a revision changed; the test is skipped or fails as above."""
    return _found(Path("wheels") / name / "format.csv", f"the published wheels {name}").parent


def _found(path: Path, what: str) -> Path:
    for root in ROOTS:
        if (root / path).is_file():
            return root / path
    reason = f"{what} are missing: `make golden` makes them, once, with a network"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
