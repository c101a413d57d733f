"""`score --task classes`: closed sets by the command, in every format."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from mer_r1.commands import main
from mer_r1.errors import InputError
from mer_r1.evaluation.score import Settings, score_file
from tests.evaluation.scoring import run_compare, write

CLASSES = Settings(task="classes")


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    labels = ["happy"] * 4 + ["sad"] * 3 + ["neutral"] * 2
    rows = [{"id": str(n), "labels": [label], "cluster": f"s{n % 3}"} for n, label in enumerate(labels)]
    return write(tmp_path / "meld.jsonl", *rows, {"id": "9", "labels": []})


def answers(path: Path, *labels: str, mode: str | None = None) -> Path:
    return write(path, *({"id": str(n), "labels": label, "mode": mode} for n, label in enumerate(labels)))


@pytest.fixture
def pred(tmp_path: Path) -> Path:
    return answers(tmp_path / "a.jsonl", "happy", "Happy, sad", "sad", "furious", "sad", "sad", "", "neutral")


def score(gold: Path, *more: str) -> int:
    return main(["score", "--gold", str(gold), "--task", "classes", *more])


def test_the_terminal_has_the_measures_the_matrix_and_what_is_left_out(
    gold: Path, pred: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert score(gold, "--pred", str(pred)) == 0
    printed = capsys.readouterr().out
    assert "9 of 10 clips, one class each, in %" in printed
    for shown in ("accuracy", "UAR", "weighted F1", "macro F1", "recall", 'always "happy": accuracy 44.44'):
        assert shown in printed
    assert "1 answers are no class and count as wrong" in printed
    assert "2 gold samples have no answer, 1 of them without a prediction, and count as wrong" in " ".join(
        printed.split()
    )
    assert "set:meld|n:9/10|parser:first-label|" in printed
    assert "wheel" not in printed
    assert all(len(line) <= 80 for line in printed.splitlines())


def test_every_format_has_the_matrix(gold: Path, pred: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score(gold, "--pred", str(pred), "-b") == 0
    assert capsys.readouterr().out == "55.56\n"
    assert score(gold, "--pred", str(pred), "--format", "md") == 0
    assert "| happy | 2 | · | 1 | 1 | · | 50.0 |" in capsys.readouterr().out
    assert score(gold, "--pred", str(pred), "--format", "latex") == 0
    assert r"happy & 2 & $\cdot$ & 1 & 1 & $\cdot$ & 50.0 \\" in capsys.readouterr().out
    assert score(gold, "--pred", str(pred), "--format", "json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["confusion"]["happy"] == {"happy": 2, "neutral": 0, "sad": 1, "(no class)": 1, "(no answer)": 0}
    assert score(gold, "--pred", str(pred), "--format", "csv") == 0
    first, matrix = (list(csv.DictReader(io.StringIO(part))) for part in capsys.readouterr().out.split("\n\n"))
    assert float(first[0]["uar"]) == report["uar"]
    assert matrix[0] | {"system": "a"} == matrix[0]
    assert (matrix[0]["gold"], matrix[0]["happy"], matrix[0]["(no class)"]) == ("happy", "2", "1")


def test_systems_are_compared_by_accuracy(
    gold: Path, pred: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    perfect = answers(tmp_path / "b.jsonl", *["happy"] * 4, *["sad"] * 3, *["neutral"] * 2)
    result = run_compare(gold, pred, perfect, CLASSES)
    assert result["difference"]["accuracy"]["delta"] == pytest.approx(4 / 9)
    assert set(result["rows"][1]["difference"]) == {"accuracy", "uar", "weighted_f1", "macro_f1"}
    assert score(gold, "--compare", str(pred), str(perfect)) == 0
    printed = capsys.readouterr().out
    assert "a: 1 answers are no class" in printed
    assert printed.count("Gold down") == 2, "of the details above; the one table has no matrix"


def test_gold_of_several_labels_names_the_row(pred: Path, tmp_path: Path) -> None:
    several = write(tmp_path / "gold.jsonl", {"id": "0", "labels": ["happy", "sad"]})
    with pytest.raises(InputError, match=r"gold\.jsonl: '0': 2 labels, where a class is one"):
        score_file(several, pred, CLASSES)
    listed = write(tmp_path / "gold.jsonl", {"id": "0", "labels": ["happy"], "candidates": "happy, sad"})
    with pytest.raises(InputError, match=r"gold\.jsonl:1: candidates must be a list of words"):
        score_file(listed, pred, CLASSES)


def test_candidates_of_the_rows_are_classes(pred: Path, tmp_path: Path) -> None:
    rows = [{"id": str(n), "labels": ["happy"], "candidates": ["furious", "happy"]} for n in range(4)]
    report = score_file(write(tmp_path / "gold.jsonl", *rows), pred, CLASSES).modes["unstated"].classes
    assert report is not None
    assert report.confusion["happy"] == {"furious": 1, "happy": 2, "(no class)": 1, "(no answer)": 0}


def test_sentiment_options_do_not_go_with_classes(gold: Path, pred: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score(gold, "--pred", str(pred), "--sentiment", "lexicon") == 2
    assert "--task classes computes no sentiment" in capsys.readouterr().err
