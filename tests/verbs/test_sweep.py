"""A sweep trains what is varied, scores it as `score` does, and says so in a table, a file and a plot."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import yaml
from rich.console import Console

from mer_r1.errors import InputError
from mer_r1.verbs import sweep
from mer_r1.verbs.score import score_files
from tests.test_training import lines, make_recipe


@pytest.fixture(scope="module")
def swept(
    taught_folder: Path, corpus: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], Path]:
    """(its folder, its result, its recipe) of a sweep over two objectives and two seeds."""
    folder = tmp_path_factory.mktemp("sweep")
    rl = {"num_generations": 2, "max_completion_length": 48}
    recipe = make_recipe("rl", taught_folder, corpus["train"], {"max_steps": 3}, rl=rl)
    (folder / "small.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    return folder / "out", _sweep(folder, corpus), folder / "small.yaml"


def _sweep(folder: Path, corpus: dict[str, Path], vary: str = "rl.objective=baseline,mer_r1") -> dict[str, Any]:
    quiet = Console(quiet=True)
    return sweep.run(str(folder / "small.yaml"), vary, [0, 1], corpus["train"], folder / "out", console=quiet)


def test_every_value_and_seed_is_trained_and_scored_as_score_does(
    swept: tuple[Path, dict[str, Any], Path], corpus: dict[str, Path]
) -> None:
    out, result, _ = swept
    assert [(row["value"], row["seed"]) for row in result["runs"]] == [
        ("baseline", 0), ("baseline", 1), ("mer_r1", 0), ("mer_r1", 1),
    ]  # fmt: skip
    for row in result["runs"]:
        place = out / row["value"] / str(row["seed"])
        told = yaml.safe_load((place / "recipe.yaml").read_text())
        assert (told["rl"]["objective"], told["seed"]) == (row["value"], row["seed"])
        for mode, report in score_files(corpus["train"], place / "predictions.jsonl").items():
            numbers = report.to_json()["open_vocabulary"]
            assert row["greedy"][mode] == {key: numbers[key] for key in ("recall", "precision", "f1")}
        logged = [line["reward/recall"] for line in lines(place / "metrics.jsonl") if "reward/recall" in line]
        assert [value for _, value in row["dynamics"]["reward/recall"]] == logged
        assert row["sampled"]["recall"] == logged[-1]  # a third of three steps
    assert json.loads((out / "sweep.json").read_text())["summary"] == result["summary"]


def test_the_summary_is_mean_and_range_over_the_seeds(swept: tuple[Path, dict[str, Any], Path]) -> None:
    out, result, _ = swept
    values = [row["greedy"]["slow"]["f1"] for row in result["runs"] if row["value"] == "mer_r1"]
    number = result["summary"]["mer_r1"]["slow/f1"]
    assert number == {"mean": pytest.approx(mean(values)), "low": min(values), "high": max(values)}
    table = (out / "sweep.md").read_text()
    assert f"{100 * mean(values):.1f} ({100 * min(values):.1f}–{100 * max(values):.1f})" in table
    assert "over seeds 0, 1" in table
    for ending in ("svg", "png"):
        assert (out / f"dynamics.{ending}").stat().st_size > 1000


def test_a_sweep_that_goes_on_keeps_what_is_done(
    swept: tuple[Path, dict[str, Any], Path], corpus: dict[str, Path]
) -> None:
    out, result, recipe = swept
    before = {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")}
    assert len(before) == 4
    again = _sweep(recipe.parent, corpus)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")} == before
    assert again["summary"] == result["summary"]


def test_a_sweep_does_not_start_under_a_launcher_of_several_processes(
    tmp_path: Path, corpus: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"WORLD_SIZE=2: a sweep runs in one process"):
        _sweep(tmp_path, corpus)
    assert list(tmp_path.iterdir()) == []


def _row(value: str, steps: list[int], seed: int = 0) -> dict[str, Any]:
    line = [(step, 0.1 * step + seed) for step in steps]
    return {"value": value, "dynamics": {"reward/recall": line, "reward/precision": line}}


def test_seeds_are_drawn_over_their_common_steps_and_a_value_without_rewards_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.axes import Axes

    drawn: list[tuple[str, list[int], list[float]]] = []

    def plot(self: Axes, x: list[int], y: list[float], **keys: Any) -> Any:
        drawn.append((keys["label"], x, y))
        return real(self, x, y, **keys)

    real = Axes.plot
    monkeypatch.setattr(Axes, "plot", plot)
    rows = [_row("a", [1, 2, 3]), _row("a", [1, 3], 1), _row("none", []), _row("b", [1, 2]), _row("apart", [1])]
    sweep.plot([*rows, _row("apart", [2])], tmp_path / "plot.svg")
    assert [(label, steps) for label, steps, _ in drawn] == [("a", [1, 3]), ("b", [1, 2])] * 2
    assert drawn[0][2][0] == pytest.approx(100 * (0.1 + 1.1) / 2)
    assert (tmp_path / "plot.svg").stat().st_size > 1000


def test_a_plot_of_no_rewards_at_all_is_empty(tmp_path: Path) -> None:
    sweep.plot([_row("none", [])], tmp_path / "plot.svg")
    assert (tmp_path / "plot.svg").exists()


@pytest.mark.parametrize(
    "vary", ["rl.objective", "=a,b", "rl.objective=", "rl.objective=a,,b", "rl.objective=rd,rd", "model.source=a/b,c"]
)
def test_a_key_that_is_not_varied_is_refused(
    vary: str, swept: tuple[Path, dict[str, Any], Path], corpus: dict[str, Path]
) -> None:
    with pytest.raises(InputError, match="--vary"):
        _sweep(swept[2].parent, corpus, vary)


def test_a_value_that_the_recipe_refuses_is_refused_before_anything_is_trained(
    swept: tuple[Path, dict[str, Any], Path], corpus: dict[str, Path]
) -> None:
    with pytest.raises(InputError, match=r"rl\.objective"):
        _sweep(swept[2].parent, corpus, "rl.objective=rd,nonsense")
    assert not (swept[0] / "rd").exists()
