"""`mer-r1 diagnose`: what is read, printed, drawn and written; what is measured is tested in tests/diagnosis/."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mer_r1.commands import main
from mer_r1.data.predictions import read_predictions
from mer_r1.display import diagnosis_plots
from mer_r1.display.diagnosis_plots import label
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from tests.analysis.answers import ANSWERS, GOLD


def write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_run_reads_prints_and_writes_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gold = write_lines(tmp_path / "test.jsonl", [{"id": key, "labels": list(words)} for key, words in GOLD.items()])
    rows = [{"id": row.id, "mode": row.mode, "labels": list(row.labels), "status": row.status} for row in ANSWERS]
    pred = write_lines(tmp_path / "predictions.jsonl", rows)
    files = ["--gold", str(gold), "--pred", str(pred)]
    assert main(["diagnose", *files, "--json", str(tmp_path / "out" / "diagnosis.json")]) == 0
    result = json.loads((tmp_path / "out" / "diagnosis.json").read_text())
    printed = " ".join(capsys.readouterr().out.split())
    assert "does not" in printed
    assert result["signature"] in printed
    assert "set:test|n:2|wheels:builtin@" in result["signature"]
    assert "hold no category confidences" in printed
    write_lines(pred, [*rows[:3], rows[3] | {"status": "error"}])
    assert main(["diagnose", *files]) == 1
    assert "1 answers failed and are in no number" in capsys.readouterr().out
    write_lines(pred, rows[:2])
    assert main(["diagnose", *files]) == 2
    assert "predictions.jsonl: no slow predictions" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "a", "labels": []}, "mode must be"),
        ({"id": "a", "mode": "fast"}, "no labels"),
        ({"id": "a", "mode": "fast", "labels": [1]}, r"labels\[0\] is a number"),
        ({"id": "a", "mode": "fast", "labels": [], "status": "fine"}, "status must be"),
        ({"id": "a", "mode": "fast", "labels": [], "raw": 3}, "raw must be"),
        ({"id": "a", "mode": "fast", "labels": [], "confidence": {"sad": "high"}}, "confidence must map"),
        ({"id": "a", "mode": "fast", "labels": [], "categories": {"w1": 3}}, "categories must map"),
        ({"id": "a", "mode": "fast", "labels": [], "categories_first": {"w1": {"joy": "-1"}}}, "categories_first must"),
        ({"id": "a", "mode": "fast", "labels": [], "categories_frist": {}}, 'did you mean "categories_first"'),
        ({"id": "a", "mode": "fast", "labels": [], "confidence": {"sad": 10**400}}, "confidence must map"),
        ({"id": "a", "mode": "fast", "labels": [], "categories": {"w1": {"joy": -(10**400)}}}, "categories must map"),
    ],
)
def test_a_wrong_row_is_named_by_file_and_line(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    path = write_lines(tmp_path / "p.jsonl", [{"id": "b", "mode": "fast", "labels": "['sad']"}, row])
    with pytest.raises(InputError, match=rf"p.jsonl:2: .*{message}"):
        read_predictions(path)


def test_a_later_answer_takes_an_errors_place_and_no_other(tmp_path: Path) -> None:
    error = {"id": "a", "mode": "fast", "labels": None, "status": "error"}
    good = {"id": "a", "mode": "fast", "labels": ["Sad"], "confidence": {"sad": 0.5, "x": None}}
    (row,) = read_predictions(write_lines(tmp_path / "p.jsonl", [error, good, error]))
    assert (row.labels, row.status, row.confidence) == (("sad",), "ok", {"sad": 0.5})
    with pytest.raises(InputError, match=r"p.jsonl:2: .*line 1 already in mode fast"):
        read_predictions(write_lines(tmp_path / "p.jsonl", [good, good]))
    with pytest.raises(InputError, match="no predictions; write them"):
        read_predictions(write_lines(tmp_path / "p.jsonl", []))


@pytest.mark.slow
def test_diagnosis_needs_no_torch_and_no_matplotlib() -> None:
    heavy = "{'torch', 'matplotlib', 'jinja2'}"
    modules = "mer_r1.analysis.runs, mer_r1.display.diagnosis_plots, mer_r1.report.page"
    code = f"import sys, {modules}; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def make_run(folder: Path, name: str, words: str, num: int = 12) -> Path:
    """A run of one set with both modes, confidences and a training log; the title of its system is markup."""
    wheels = WheelSet.load()
    mean, first = (
        {wheel: {category: slope * index for index, category in enumerate(names)}
         for wheel, names in zip(wheels.names, wheels.categories_of, strict=True)}
        for slope in (-0.4, -0.5)
    )  # fmt: skip
    run_folder = folder / name
    run_folder.mkdir(parents=True)
    gold = ["happy", "sad", "angry"]
    write_lines(
        run_folder / "manifest.jsonl",
        [{"id": f"[red]{n}", "subtitle": f"I am {gold[n % 3]}.", "labels": [gold[n % 3]]} for n in range(num)],
    )
    rows = [
        {"id": f"[red]{n}", "mode": mode, "labels": words.split() if mode == "fast" else [gold[n % 2]],
         "categories": mean, "categories_first": first}
        for n in range(num) for mode in ("fast", "slow")
    ]  # fmt: skip
    write_lines(run_folder / "predictions.jsonl", rows)
    write_lines(
        run_folder / "metrics.jsonl",
        [{"step": n, "reward/recall": n / 9, "reward/precision": 1 - n / 9} for n in range(1, 9)],
    )
    return run_folder


PLOTS = {"gaps", "answers", "confidence", "pair", "dynamics", "reliability", "leak"}


@pytest.mark.slow
def test_runs_are_diagnosed_into_tables_numbers_cases_and_plots(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("COLUMNS", "200")
    folders = [make_run(tmp_path, "[b]one", "happy sad"), make_run(tmp_path, "two", "angry sad")]
    assert main(["diagnose", *map(str, folders), "--cases", "2"]) == 0
    out = folders[0] / "diagnosis"
    result = json.loads((out / "diagnosis.json").read_text())
    cases = [json.loads(line) for line in (out / "cases.jsonl").read_text().splitlines()]
    assert len(cases) == sum(result["cases"].values()) > 0
    assert {path.stem for path in out.glob("*.svg")} == {path.stem for path in out.glob("*.png")} == PLOTS
    printed = capsys.readouterr().out
    assert "[b]one" in printed
    assert "[red]" in printed
    assert "reward over training: recall 0.11 → 0.89, precision 0.89 → 0.11" in printed
    assert result["sets"]["test"]["systems"]["two"]["paradox"]["signature"] in printed
    svg = (out / "gaps.svg").read_text()
    assert ">[b]one<" in svg
    assert main(["diagnose", *map(str, folders), "--out", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "gaps.svg").read_text() == svg


@pytest.mark.slow
def test_the_table_of_confidences_breaks_no_word_in_a_terminal_of_80_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis_plots, "draw", lambda *_: [])  # the tables alone
    monkeypatch.setenv("COLUMNS", "80")
    folders = [make_run(tmp_path, "baseline", "happy sad"), make_run(tmp_path, "mer_r1", "angry sad")]
    assert main(["diagnose", *map(str, folders)]) == 0
    tables = capsys.readouterr().out.partition("Log-confidence, fast")[2]
    levels, _, pair = tables.partition("Slow answers")
    for word in ("on gold", "margin", "first", "mean", "retained", "ECE", "paradox", "Baseline", "MER-R1"):
        assert f" {word} " in levels
    assert " , " not in levels
    levels += pair.partition("Label leak")[0]
    assert " precision " in pair
    assert max(map(len, levels.splitlines())) <= 80


@pytest.mark.slow
def test_one_run_and_a_training_alone_have_the_plots_that_they_can(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    one = make_run(tmp_path, "one", "happy")
    assert main(["diagnose", str(one), "--out", str(tmp_path / "out")]) == 0
    assert {path.stem for path in (tmp_path / "out").glob("*.svg")} == PLOTS - {"pair"}
    for name in ("manifest.jsonl", "predictions.jsonl"):
        (one / name).unlink()
    assert main(["diagnose", str(one), "--out", str(tmp_path / "curves")]) == 0
    assert {path.stem for path in (tmp_path / "curves").glob("*.png")} == {"dynamics"}


def test_a_long_title_keeps_its_end() -> None:
    assert label("Baseline") == "Baseline"
    cut = label("Qwen2.5-Omni-7B-" + "x" * 40 + "-seed-1")
    assert (len(cut), cut[:4], cut[-7:]) == (26, "Qwen", "-seed-1")


def test_a_negative_number_of_cases_and_a_folder_that_is_no_run_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diagnose", str(tmp_path), "--cases", "-1"]) == 2
    assert "--cases -1" in capsys.readouterr().err
    assert main(["diagnose", str(tmp_path)]) == 2
    assert "no run that can be read" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
