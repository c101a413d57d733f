"""A sweep trains what is varied, scores it as `score` does, and says so in a table, a file and a plot."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import yaml
from rich.console import Console

from mer_r1.analysis.sweep import LABELS, WORDS, summary, thirds
from mer_r1.data.labels import names_gold
from mer_r1.data.manifest import read_manifest, write_manifest
from mer_r1.data.predictions import read_predictions
from mer_r1.display import sweep_plot
from mer_r1.errors import InputError
from mer_r1.evaluation.score import score_file
from mer_r1.generation.make import Engine
from mer_r1.pipelines import sweep
from tests.training.runs import lines, make_recipe


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
    return sweep.sweep(str(folder / "small.yaml"), vary, [0, 1], corpus["train"], folder / "out", console=quiet)


def test_every_value_and_seed_is_trained_and_scored_as_score_does(
    swept: tuple[Path, dict[str, Any], Path], corpus: dict[str, Path]
) -> None:
    out, result, _ = swept
    assert [(row["value"], row["seed"]) for row in result["runs"]] == [
        ("baseline", 0), ("baseline", 1), ("mer_r1", 0), ("mer_r1", 1),
    ]  # fmt: skip
    for row in result["runs"]:
        index = out / row["value"] / str(row["seed"])
        reported = yaml.safe_load((index / "recipe.yaml").read_text())
        assert (reported["rl"]["objective"], reported["seed"]) == (row["value"], row["seed"])
        for mode, report in score_file(corpus["train"], index / "predictions.jsonl").words.items():
            numbers = report.to_json()["open_vocabulary"]
            assert row["greedy"][mode] == {key: numbers[key] for key in ("recall", "precision", "f1")}
        logged = [line["reward/recall"] for line in lines(index / "metrics.jsonl") if "reward/recall" in line]
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


def test_a_sweep_that_vllm_is_to_answer_trains_nothing_where_it_is_missing(
    tmp_path: Path, corpus: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"^vLLM is not installed; "):
        sweep.sweep("missing.yaml", None, [0], corpus["train"], tmp_path / "out", engine=Engine("vllm"))
    assert list(tmp_path.iterdir()) == []


def test_the_line_of_a_run_names_the_keys_that_it_does_not_read(
    tmp_path: Path, corpus: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "_run_cell", stop)
    given = ["rl.lambda_cali=0.2", "rl.lambda_fmt=0.2"]
    with pytest.raises(KeyboardInterrupt):
        sweep.sweep("minimer-rl", "rl.objective=baseline,mer_r1", [0], corpus["train"], tmp_path / "out", given)
    printed = " ".join(capsys.readouterr().out.split())
    assert printed == "1/2 rl.objective=baseline seed 0 (does not read rl.lambda_cali)"


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
    sweep_plot.plot([*rows, _row("apart", [2])], WORDS.plotted, tmp_path / "plot.svg")
    assert [(label, steps) for label, steps, _ in drawn] == [("a", [1, 3]), ("b", [1, 2])] * 2
    assert drawn[0][2][0] == pytest.approx(100 * (0.1 + 1.1) / 2)
    assert (tmp_path / "plot.svg").stat().st_size > 1000


def test_a_plot_of_no_rewards_at_all_is_empty(tmp_path: Path) -> None:
    sweep_plot.plot([_row("none", [])], WORDS.plotted, tmp_path / "plot.svg")
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


STAGES = """
variants:
  start: [{recipe: FOLDER/sft.yaml}]
  baseline: [{recipe: FOLDER/sft.yaml}, {recipe: FOLDER/small.yaml, set: [rl.objective=baseline]}]
  both:
    - {recipe: FOLDER/sft.yaml}
    - {recipe: FOLDER/sft.yaml, set: [optim.max_steps=1, data.num=4, seed=7]}
    - {recipe: FOLDER/small.yaml, set: [rl.objective=baseline]}
"""


@pytest.fixture(scope="module")
def staged(
    swept: tuple[Path, dict[str, Any], Path],
    taught_folder: Path,
    corpus: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dict[str, Any]]:
    """(folder, result) of a sweep over chains of recipes, asked about samples with candidates and about free ones."""
    folder = tmp_path_factory.mktemp("staged")
    sft = make_recipe("sft", taught_folder, corpus["train"], {"max_steps": 2})
    (folder / "sft.yaml").write_text(yaml.safe_dump(sft.model_dump(mode="json")))
    (folder / "small.yaml").write_text(swept[2].read_text())
    (folder / "variants.yaml").write_text(STAGES.replace("FOLDER", str(folder)))
    answered = {
        row.id: row.labels for row in read_predictions(swept[0] / "baseline/0/predictions.jsonl") if row.mode == "slow"
    }
    samples = []
    for sample in read_manifest(corpus["train"]):
        gold = answered[sample.id][:1] or ("calm",)
        samples.append(replace(sample, labels=gold, candidates=tuple(dict.fromkeys((*gold, "calm", "sad")))))
    write_manifest(folder / "chosen.jsonl", samples)
    return folder, _staged(folder, corpus)


def _staged(folder: Path, corpus: dict[str, Path]) -> dict[str, Any]:
    return sweep.sweep(
        str(folder / "variants.yaml"),
        None,
        [0],
        folder / "chosen.jsonl",
        folder / "out",
        ["optim.max_grad_norm=0.5"],
        other=corpus["train"],
        console=Console(quiet=True),
    )


def test_a_later_stage_starts_from_the_one_before_and_equal_beginnings_are_trained_once(
    staged: tuple[Path, dict[str, Any]],
) -> None:
    out = staged[0] / "out"
    reported = {path.parent.relative_to(out): yaml.safe_load(path.read_text()) for path in out.rglob("recipe.yaml")}
    assert len(reported) == 4  # the first SFT once, the second one, and RL from each
    (cold,) = [index for index in reported if index.parts[0].startswith("sft-")]
    sources = {str(index): recipe["model"]["source"] for index, recipe in reported.items()}
    assert sources["baseline/0"] == str(out / "start" / "0")
    assert sources[str(cold)] == str(out / "start" / "0")
    assert sources["both/0"] == str(out / cold)
    assert [reported[index]["seed"] for index in (cold, Path("both/0"))] == [7, 0]
    assert (reported[cold]["data"]["num"], reported[Path("start/0")]["data"]["num"]) == (4, None)
    assert all(recipe["optim"]["max_grad_norm"] == 0.5 for recipe in reported.values())


def test_a_staged_sweep_that_goes_on_keeps_what_is_done(
    staged: tuple[Path, dict[str, Any]], corpus: dict[str, Path]
) -> None:
    folder, result = staged
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("model.safetensors")}
    assert len(before) == 4
    assert _staged(folder, corpus)["summary"] == result["summary"]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("model.safetensors")} == before


def test_labels_chosen_from_candidates_are_scored_by_accuracy_and_free_words_by_f1(
    staged: tuple[Path, dict[str, Any]], corpus: dict[str, Path]
) -> None:
    folder, result = staged
    gold = {sample.id: sample.labels for sample in read_manifest(folder / "chosen.jsonl")}
    for row in result["runs"]:
        index = folder / "out" / row["value"] / "0"
        answers = read_predictions(index / "predictions.jsonl")
        for mode in ("slow", "fast"):
            right = [names_gold(answer.labels, gold[answer.id]) for answer in answers if answer.mode == mode]
            assert row["greedy"][mode] == {"accuracy": sum(right) / 8}
            report = score_file(corpus["train"], index / "predictions-other.jsonl").words[mode].to_json()
            assert row["other"][mode] == report["open_vocabulary"]["f1"]
    text = (folder / "out" / "sweep.md").read_text()
    assert "| variant | slow accuracy | fast accuracy | slow other | fast other | sampled accuracy |" in text
    assert "`set:chosen|n:8|parser:corrected|mode:fast+slow|" in text
    assert "Other: 8 samples of train.jsonl; `set:train|n:8|wheels:builtin" in text


def test_a_rise_is_the_last_third_less_the_first_and_a_summary_leaves_out_what_no_run_logged() -> None:
    assert thirds([]) is None
    assert thirds([(1, 0.5)]) == (0.5, 0.5)
    assert thirds([(step, float(step)) for step in range(1, 8)]) == (1.5, 6.5)
    numbers = {"slow": {"accuracy": 0.5}, "fast": {"accuracy": 0.25}}
    row = {"value": "a", "greedy": numbers, "other": {}, "sampled": {"accuracy": 0.5, "reflection": None}}
    found = summary([{**row, "rise": {"accuracy": rise}} for rise in (0.1, -0.1)])["a"]
    assert found["rise/accuracy"] == {"mean": 0.0, "low": -0.1, "high": 0.1}
    assert set(found) == {"slow/accuracy", "fast/accuracy", "sampled/accuracy", "rise/accuracy"}


def test_the_plot_of_labels_shows_accuracy_beside_the_reflective_reward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.axes import Axes

    named: list[str] = []
    monkeypatch.setattr(Axes, "set_ylabel", lambda self, label: named.append(label))
    line = [(1, 0.1), (2, 0.2)]
    rows = [{"value": "a", "dynamics": {"reward/accuracy": line, "reward/reflection": []}}]
    sweep_plot.plot(rows, LABELS.plotted, tmp_path / "plot.svg")
    assert named == ["accuracy of sampled answers, %", "reflection of sampled answers, %"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("variants: {}", r"variants: .*write variants:"),
        ("- a", r"the file: .*write variants:"),
        ("kind: rl", r"variants: Field required.*--vary KEY=A,B"),
        ("variants: {a: []}", r"variants\.a: has no stages"),
        ("variants: {a: [{recipe: minimer-sft, sets: [a=b]}]}", r"variants\.a\.0\.sets"),
        ("variants: {a/b: [{recipe: minimer-sft}]}", "holds no slash"),
        ("variants: {a: [{recipe: minimer-sft}], b: [{recipe: minimer-sft}]}", "variants a and b are the same"),
        ("variants: {a: [{recipe: nothing}]}", "nothing: no such recipe"),
        ("variants: [", "not valid YAML"),
    ],
)
def test_a_variants_file_with_a_fault_is_refused_in_one_line(
    text: str, message: str, tmp_path: Path, corpus: dict[str, Path]
) -> None:
    path = tmp_path / "variants.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        sweep.sweep(str(path), None, [0], corpus["train"], tmp_path / "out", console=Console(quiet=True))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_variants_that_are_not_there_are_refused_with_the_package_s(tmp_path: Path, corpus: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=r"emo-r3-ablation.*--vary"):
        sweep.sweep("minimer-rl", None, [0], corpus["train"], tmp_path / "out")
