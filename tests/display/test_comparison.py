"""The one table of `score`: what stands in it and beside it, in every format."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mer_r1.commands import main
from mer_r1.display.quickstart import print_metrics
from mer_r1.emotion import official
from mer_r1.evaluation.records import MetricsRecord
from tests.evaluation.scoring import write
from tests.small_tables import write_tables

WORDS = ("happy", "sad", "angry", "neutral")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Gold of which a quarter is neutral, and three systems with fast and slow answers."""
    rows = [{"id": f"c{n}", "labels": [WORDS[n % 4]]} for n in range(40)]
    found = {"gold": write(tmp_path / "gold.jsonl", *rows)}
    for name, right in (("sft", 12), ("baseline", 20), ("mer_r1", 30)):
        (tmp_path / name).mkdir()
        answers = [
            {"id": f"c{n}", "mode": mode, "labels": [WORDS[(n + (n >= right + 4 * (mode == "slow"))) % 4]]}
            for n in range(40)
            for mode in ("fast", "slow")
        ]
        found[name] = write(tmp_path / name / "predictions.jsonl", *answers)
    return found


def score(files: dict[str, Path], *more: str) -> int:
    return main(["score", "--gold", str(files["gold"]), *more])


def systems(files: dict[str, Path]) -> list[str]:
    return ["--compare", *(str(files[name]) for name in ("sft", "baseline", "mer_r1"))]


def test_three_systems_are_one_table_that_fits_eighty_columns(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert score(files, *systems(files)) == 0
    printed = capsys.readouterr().out
    *lines, signature = printed.splitlines()
    assert lines[0] == "30 of 40 clips, mean over wheels, in %"
    assert all(len(line) <= 80 for line in lines)
    rows = [line.split() for line in lines if line.startswith(("sft", "baseline", "mer_r1"))]
    assert [row[:2] for row in rows] == [
        [name, mode] for mode in ("fast", "slow") for name in ("sft", "baseline", "mer_r1")
    ]
    assert [len(row) for row in rows] == [6, 10, 10] * 2, "the first system has no difference to itself"
    assert signature.startswith("set:gold|n:30/40|wheels:builtin@")
    assert "|mode:fast+slow|" in signature
    assert printed.count("set:") == 1
    one_line = " ".join(printed.split())
    assert "Δ to sft in points, by the paired bootstrap (1,000 resamples of clips)" in one_line
    assert "Holm's correction over 4 comparisons" in one_line


def test_details_add_every_report_and_every_measures_difference(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    score(files, *systems(files), "--details")
    printed = capsys.readouterr().out
    assert printed.count("Best constant answers") == 6
    assert printed.count("paired bootstrap, p as it is") == 4


def test_csv_has_the_raw_numbers_and_its_notes_go_to_standard_error(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(files, *systems(files), "--format", "csv") == 0
    text, notes = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["system"], row["mode"]) for row in rows][:2] == [("sft", "fast"), ("baseline", "fast")]
    assert score(files, *systems(files), "--format", "json") == 0
    table: dict[str, Any] = json.loads(capsys.readouterr().out)
    for row, values in zip(rows, table["rows"], strict=True):
        assert (int(row["n"]), int(row["counted"])) == (40, 30)
        assert float(row["f1"]) == values["f1"]
        difference = values["difference"]
        assert row["f1_p_holm"] == ("" if difference is None else str(difference["f1"]["p_holm"]))
        assert row["signature"] == values["signature"]
    assert "Holm" in notes
    assert "Built-in wheels" in notes


@pytest.mark.parametrize(("form", "first"), [("md", "| sft | fast |"), ("latex", "sft & fast &")])
def test_a_document_has_the_table_and_its_signature(
    form: str, first: str, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(files, *systems(files), "--format", form) == 0
    text, notes = capsys.readouterr()
    assert first in text
    assert "set:gold|n:30/40|" in text
    assert notes == ""
    assert score(files, "--pred", str(files["sft"]), "--format", form, "--mode", "fast") == 0
    alone = capsys.readouterr().out
    assert "interval" in alone
    assert "Δ" not in alone


def test_the_bare_number_is_the_main_one_and_stands_alone(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(files, "--pred", str(files["sft"]), "-b", "--mode", "slow", "--task", "open-vocabulary") == 0
    bare = capsys.readouterr().out
    assert score(files, "--pred", str(files["sft"]), "--format", "json", "--mode", "slow") == 0
    report = json.loads(capsys.readouterr().out)
    assert bare == f"{100 * report['open_vocabulary']['f1']:.2f}\n"
    assert score(files, "--pred", str(files["sft"]), "--bare") == 0
    assert len(capsys.readouterr().out.splitlines()) == 2, "a line a mode"


@pytest.mark.parametrize(
    "more",
    [["-b", "--compare", "a", "b"], ["-b", "--pred", "a", "--format", "md"], ["--details", "--pred", "a"]],
    ids=lambda more: " ".join(more),
)
def test_options_that_do_not_go_together_are_one_line(
    more: list[str], files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(files, *more) == 2
    assert "leave it out" in capsys.readouterr().err


def test_builtin_wheels_are_named_and_what_the_official_ones_need(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(official, "user_folder", lambda: tmp_path / "cache")
    fetch = "mer-r1 wheels download official"
    for more in (["--pred", str(files["sft"])], systems(files)):
        score(files, *more)
        printed = " ".join(capsys.readouterr().out.split())
        assert "Built-in wheels, not MER-UniBench's; by the benchmark's own a verdict can turn." in printed
        assert f"For those, run {fetch} once and add --wheels official" in printed
    write_tables(tmp_path / "cache" / "wheels" / "official")
    score(files, *systems(files))
    printed = " ".join(capsys.readouterr().out.split())
    assert "For those, add --wheels official" in printed
    assert fetch not in printed
    score(files, *systems(files), "--wheels", str(tmp_path / "cache" / "wheels" / "official"))
    assert "Built-in" not in capsys.readouterr().out


def test_diagnose_and_a_quickstart_name_the_builtin_wheels_too(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diagnose", "--gold", str(files["gold"]), "--pred", str(files["sft"])]) == 0
    assert "Built-in wheels, not MER-UniBench's;" in " ".join(capsys.readouterr().out.split())
    for wheels, told in (("builtin@1a2b3c4d", True), ("official@1a2b3c4d", False)):
        print_metrics(MetricsRecord(systems={}, signature=f"set:test|n:3|wheels:{wheels}|version:1"), Console())
        assert ("Built-in wheels" in capsys.readouterr().out) is told


def test_a_sentiment_that_is_not_the_benchmarks_is_named_beside_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gold = write(tmp_path / "gold.jsonl", {"id": "a", "valence": 1}, {"id": "b", "valence": -1})
    pred = write(tmp_path / "pred.jsonl", {"id": "a", "labels": ["happy"]})
    assert main(["score", "--gold", str(gold), "--compare", str(pred), str(pred), "--sentiment", "lexicon"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("Sentiment by the built-in lexicon: these WAF are not MER-UniBench's.") == 1
    assert "pred: 1 clips have no prediction\n" in printed
