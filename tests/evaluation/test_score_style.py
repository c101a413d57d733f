"""`mer-r1 score --style`: raw answers of other models scored from a file."""

from pathlib import Path
from typing import Any

import pytest

from mer_r1.errors import InputError
from mer_r1.evaluation.score import Settings, score_file
from mer_r1.evaluation.sentiment import SentimentChoice
from tests.evaluation.scoring import run, run_compare, write


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    return write(
        tmp_path / "gold.jsonl",
        {"id": "a", "labels": ["happy"], "valence": 1.0},
        {"id": "b", "labels": ["angry", "sad"], "valence": -1.0},
    )


@pytest.fixture
def described(tmp_path: Path) -> Path:
    return write(
        tmp_path / "raw.jsonl",
        {"id": "a", "raw": "He is not sad at all; he is glad."},
        {"id": "b", "raw": "She is furious and sorrowful.", "labels": ["happy"]},
    )


def test_labels_come_out_of_the_raw_text_and_the_signature_says_how(gold: Path, described: Path) -> None:
    result = run(gold, described, Settings(style="description"))
    assert result["open_vocabulary"]["f1"] == 1.0
    assert "|extract:description|version:" in result["signature"]
    assert result["signature"].count("version:") == 1
    (report,) = score_file(gold, described, Settings(style="description")).words.values()
    assert report.signature == result["signature"]


def test_a_description_may_be_neutral_whatever_scores_it(tmp_path: Path) -> None:
    gold = write(tmp_path / "gold.jsonl", {"id": "a", "labels": ["neutral"]})
    pred = write(tmp_path / "pred.jsonl", {"id": "a", "raw": "His face is expressionless."})
    result = run(gold, pred, Settings(style="description", protocol="corrected"))
    assert result["open_vocabulary"]["f1"] == 1.0
    assert run(gold, pred, Settings(style="description"))["unanswered"] == 0


def test_without_a_style_labels_are_what_they_were(gold: Path, described: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"raw\.jsonl:1: no labels; .*--style"):
        run(gold, described)
    pred = write(tmp_path / "pred.jsonl", {"id": "a", "labels": ["happy"], "raw": 7}, {"id": "b", "labels": None})
    assert "extract" not in run(gold, pred)["signature"]


def test_unfinished_and_empty_texts_are_counted_and_failed_rows_left_out(gold: Path, tmp_path: Path) -> None:
    gold.write_text(gold.read_text() + '{"id": "c", "labels": ["calm"]}\n{"id": "d", "labels": ["calm"]}\n')
    pred = write(
        tmp_path / "pred.jsonl",
        {"id": "a", "raw": "<think>t</think><answer>happy</answer>"},
        {"id": "b", "raw": "<think>t</think><answer>angry"},
        {"id": "c", "raw": None},
        {"id": "d", "status": "error"},
    )
    result = run(gold, pred, Settings(style="think_answer"))
    assert [result[key] for key in ("n", "unanswered", "missing", "failed", "malformed")] == [3, 2, 0, 1, 0]
    cut = write(tmp_path / "cut.jsonl", {"id": "a", "raw": "<answer>happy</answer>", "status": "truncated"})
    assert run(gold, cut, Settings(style="think_answer"))["unanswered"] == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "a", "labels": ["happy"]}, r"pred\.jsonl:1: no raw, the text that --style reads"),
        ({"id": "a", "raw": ["happy"]}, r"pred\.jsonl:1: raw must be a text"),
    ],
)
def test_a_row_without_a_text_is_named(row: dict[str, Any], message: str, gold: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        run(gold, write(tmp_path / "pred.jsonl", row), Settings(style="list"))


def test_a_style_that_is_not_there_is_named_with_those_that_are(gold: Path, described: Path) -> None:
    with pytest.raises(InputError, match=r"style 'prose' .*use one of: description, list"):
        run(gold, described, Settings(style="prose"))


def test_sentiment_is_made_from_the_words_that_were_found(gold: Path, described: Path) -> None:
    choice = SentimentChoice(backend="lexicon")
    result = run(gold, described, Settings(style="description", sentiment=choice))
    assert result["sentiment"]["waf"] == 1.0
    assert "|extract:description|" in result["sentiment"]["signature"]


def test_modes_and_comparisons_are_read_by_the_style_too(gold: Path, tmp_path: Path) -> None:
    rows = [{"id": name, "mode": mode, "raw": "[sad]"} for mode in ("fast", "slow") for name in ("a", "b")]
    pred = write(tmp_path / "pred.jsonl", *rows)
    result = run(gold, pred, Settings(style="list"))
    assert set(result["modes"]) == {"fast", "slow"}
    assert all("|extract:list|" in report["signature"] for report in result["modes"].values())
    other = write(tmp_path / "other.jsonl", *[row | {"raw": "[angry]"} for row in rows])
    both = run_compare(gold, pred, other, Settings(style="list", mode="fast"))
    assert "|extract:list|" in both["second"]["signature"]
