"""The examples run as their docstrings say, small and offline."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Any:
    """Imports an example by its name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def test_every_example_says_its_command() -> None:
    paths = sorted(FOLDER.glob("*.py"))
    assert paths
    for path in paths:
        assert f"python examples/{path.name}" in path.read_text(encoding="utf-8").split('"""')[1], path.name


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # inside TRL 1.16
def test_trls_trainer_is_paid_by_our_rewards(example: Any, tmp_path: Path) -> None:
    logged = example("trl_reward").main(["--out", str(tmp_path), "--steps", "2"])
    assert len(logged) == 2
    for row in logged:
        recall, precision, keeps_format = (row[f"rewards/{name}/mean"] for name in ("recall", "precision", "format"))
        assert 0.5 < recall <= 1
        assert 0.5 < precision <= 1
        assert 0.5 < keeps_format <= 1
        assert row["reward"] == pytest.approx(recall + precision + 0.1 * keeps_format, abs=1e-4)


def test_a_new_benchmark_runs_and_resumes(example: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = example("new_benchmark")
    assert module.main(["--out", str(tmp_path)]) == 0
    sets = json.loads((tmp_path / "metrics.json").read_text())["sets"]
    assert {name: item["fast"]["accuracy"] for name, item in sets.items()} == {"plain": 1, "ironic": 0.5}
    row = next(line for line in capsys.readouterr().out.splitlines() if "keywords" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == ["keywords", "fast", "100.00", "50.00", "75.00"]
    answers = (tmp_path / "ironic" / "predictions.jsonl").read_bytes()
    assert module.main(["--out", str(tmp_path)]) == 0
    assert (tmp_path / "ironic" / "predictions.jsonl").read_bytes() == answers
