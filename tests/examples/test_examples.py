"""The examples run as their docstrings say, small and offline."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from mer_r1 import read_manifest

pytestmark = pytest.mark.slow

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
    assert any(row["grad_norm"] > 0 for row in logged), "SFT left nothing to choose between: every group earns the same"
    for row in logged:
        recall, precision, keeps_format = (row[f"rewards/{name}/mean"] for name in ("recall", "precision", "format"))
        assert 0.5 < recall <= 1
        assert 0.25 < precision < recall, "the model was taught a word more than the gold has"
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


def test_own_clips_go_from_a_csv_to_a_score(
    example: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = example("own_clips")
    short = ["--max-new-tokens", "16"]  # untaught, the model would write 1024
    run = module.mer_r1
    monkeypatch.setattr(module, "mer_r1", lambda line: run([*line, *short] if line[0] == "predict" else line))
    module.main(["--out", str(tmp_path), "--num", "15", "--steps", "2"])
    printed = capsys.readouterr().out
    for name in ("check", "train", "predict", "score"):
        assert f"$ mer-r1 {name} " in printed
    train, test = (read_manifest(tmp_path / f"{name}.jsonl") for name in ("train", "test"))
    assert {sample.cluster for sample in train}.isdisjoint({sample.cluster for sample in test})
    assert all(sample.video and sample.video.is_file() and sample.labels for sample in (*train, *test))
    assert json.loads((tmp_path / "score.json").read_text(encoding="utf-8"))["n"] == len(test) > 0


def test_a_command_that_fails_ends_the_example(example: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        example("own_clips").command("check", tmp_path / "none.jsonl")
    assert caught.value.code == 2


def test_a_new_objective_trains(example: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mer_r1.objectives import OBJECTIVES

    module = example("new_reward")
    monkeypatch.setitem(OBJECTIVES, "careful", module.CAREFUL)  # so that no other test finds it afterwards
    rows = module.main(["--out", str(tmp_path), "--steps", "2"])
    assert [row["step"] for row in rows] == [1, 2]
    assert all(0 <= row["reward/recall"] <= 1 and row["grad_norm"] > 0 for row in rows)
    right, one_too_many, one_too_few, malformed = module.advantages_of_a_group()
    assert right > one_too_few > one_too_many > malformed, "a wrong emotion costs more than a missing one"
