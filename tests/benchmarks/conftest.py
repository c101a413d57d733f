"""What the tests of whole benchmarks share: a generator in the place of a model, and a reader of its files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mer_r1.evaluation import suite
from mer_r1.generation import Generator, make

Asking = Callable[[Generator], None]


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> Asking:
    """Call it with the generator that is to answer, whatever the model's name."""

    def use(generator: Generator) -> None:
        monkeypatch.setattr(suite, "make_generator", lambda *_, **__: generator)
        monkeypatch.setattr(make, "validate_generator", lambda *_, **__: None)

    return use
