"""`mer-r1 score`: files in, table and JSON out; every wrong row named by file and line."""

import json
from pathlib import Path
from typing import Any

import pytest

from mer_r1.errors import InputError
from mer_r1.verbs.score import run

KEYS = {
    "signature",
    "protocol",
    "task",
    "n",
    "malformed",
    "missing",
    "unmapped_predictions",
    "unscorable_gold",
    "open_vocabulary",
    "intervals",
    "constant_baselines",
}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    return write(
        tmp_path / "meld.jsonl",
        {"id": "a", "labels": ["happy"], "video": "a.mp4", "cluster": "dialogue 1"},
        {"id": "b", "labels": "[angry, sad]", "cluster": "dialogue 1"},
        {"id": "c", "labels": ["sad"], "cluster": "dialogue 2"},
    )


def test_a_perfect_file_scores_one_and_the_json_file_holds_what_is_returned(
    gold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pred = write(
        tmp_path / "pred.jsonl",
        {"id": "a", "labels": ["happy"], "mode": "slow", "status": "ok", "raw": "...", "my_own_note": 1},
        {"id": "b", "labels": "sad, angry", "mode": "slow"},
        {"id": "c", "labels": "['sad']", "mode": "slow"},
    )
    result = run(gold, pred, "builtin", tmp_path / "out" / "score.json")
    assert result["open_vocabulary"]["f1"] == 1.0
    assert set(result) >= KEYS
    assert result["n"] == 3
    assert result["task"] == "open_vocabulary"
    assert result["intervals"]["num_clusters"] == 2
    assert result["signature"].startswith("set:meld|n:3|wheels:builtin@")
    assert "|mode:slow|" in result["signature"]
    assert json.loads((tmp_path / "out" / "score.json").read_text()) == result
    printed = capsys.readouterr().out
    assert result["signature"] in printed
    assert printed.index("[100.00, 100.00]") < printed.index("w1") < printed.index('always "')


def test_missing_and_malformed_predictions_count_as_empty_ones(gold: Path, tmp_path: Path) -> None:
    pred = write(
        tmp_path / "pred.jsonl",
        {"id": "a", "labels": ["happy"]},
        {"id": "b", "labels": None, "status": "truncated"},
    )
    result = run(gold, pred)
    assert (result["missing"], result["malformed"]) == (1, 1)
    assert result["open_vocabulary"]["wheels"]["w1"]["n"] == 3
    assert result["open_vocabulary"]["recall"] == pytest.approx(1 / 3)


def test_words_of_a_malformed_answer_are_scored_and_the_answer_is_counted(gold: Path, tmp_path: Path) -> None:
    pred = write(tmp_path / "pred.jsonl", {"id": "a", "labels": ["happy"], "status": "truncated"})
    result = run(gold, pred)
    assert (result["missing"], result["malformed"]) == (2, 1)
    assert result["open_vocabulary"]["recall"] == pytest.approx(1 / 3)


def test_an_error_is_no_prediction_and_a_later_row_takes_its_place(gold: Path, tmp_path: Path) -> None:
    failed = {"id": "a", "labels": [], "status": "error"}
    pred = write(tmp_path / "pred.jsonl", failed, failed, {"id": "a", "labels": ["happy"]}, failed | {"id": "b"})
    result = run(gold, pred)
    assert (result["missing"], result["malformed"]) == (2, 0)
    assert result["open_vocabulary"]["recall"] == pytest.approx(1 / 3)


def test_several_modes_are_scored_apart_and_compared(
    gold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pred = write(
        tmp_path / "pred.jsonl",
        *({"id": name, "mode": "fast", "labels": ["happy", "angry", "sad"]} for name in "abc"),
        *({"id": name, "mode": "slow", "labels": ["sad"]} for name in "abc"),
    )
    result = run(gold, pred)
    assert list(result["modes"]) == ["fast", "slow"]
    assert result["modes"]["fast"]["open_vocabulary"]["recall"] == 1.0
    difference = result["differences"]["slow - fast"]["recall"]
    assert difference["delta"] == pytest.approx(result["modes"]["slow"]["open_vocabulary"]["recall"] - 1.0)
    assert set(difference) == {"delta", "low", "high", "p_value"}
    assert "Slow minus fast" in capsys.readouterr().out
    assert run(gold, pred, mode="fast") == result["modes"]["fast"]
    with pytest.raises(InputError, match="no predictions of mode 'medium'; it has fast, slow"):
        run(gold, pred, mode="medium")


WRONG = [
    ({"id": "zzz", "labels": []}, 'id "zzz" is not in the gold file'),
    ({"id": "a", "labels": ["sad"]}, 'id "a" stands on line 1 already; keep one row a clip and mode'),
    ({"labels": []}, "no id"),
    ({"id": 3, "labels": []}, "id must be a text"),
    ({"id": "b"}, "no labels"),
    ({"id": "b", "lables": ["sad"]}, 'unknown key "lables"; did you mean "labels"?'),
    ({"id": "b", "labels": 3}, "labels must be a list"),
    ({"id": "b", "labels": ["sad", None]}, "labels[1] must be a word"),
    ({"id": "b", "labels": [], "mode": 1}, "mode must be a text"),
    ({"id": "b", "labels": [], "status": "fine"}, "status must be one of ok, truncated, no_answer, error"),
]


@pytest.mark.parametrize(("row", "message"), WRONG, ids=[message[:30] for _, message in WRONG])
def test_a_wrong_prediction_names_file_and_line(row: dict[str, Any], message: str, gold: Path, tmp_path: Path) -> None:
    pred = write(tmp_path / "pred.jsonl", {"id": "a", "labels": ["happy"]}, row)
    with pytest.raises(InputError) as caught:
        run(gold, pred)
    assert str(caught.value).startswith(f"{pred}:2: ")
    assert message in str(caught.value)


WRONG_GOLD = [
    ({"id": "a", "labels": ["sad"]}, 'id "a" stands on line 1 already'),
    ({"id": "b", "label": ["sad"]}, 'unknown key "label"; did you mean "labels"?'),
    ({"id": "b", "labels": {"sad": 1}}, "labels must be a list"),
    ({"id": "b", "labels": ["sad"], "cluster": 3}, "cluster must be a text"),
]


@pytest.mark.parametrize(("row", "message"), WRONG_GOLD, ids=[message[:30] for _, message in WRONG_GOLD])
def test_a_wrong_gold_row_names_file_and_line(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "gold.jsonl", {"id": "a", "labels": ["happy"]}, row)
    with pytest.raises(InputError) as caught:
        run(path, write(tmp_path / "pred.jsonl", {"id": "a", "labels": []}))
    assert str(caught.value).startswith(f"{path}:2: ")
    assert message in str(caught.value)


def test_empty_missing_and_broken_files_are_named(gold: Path, tmp_path: Path) -> None:
    empty = write(tmp_path / "empty.jsonl")
    with pytest.raises(InputError, match="no predictions"):
        run(gold, empty)
    with pytest.raises(InputError, match="no rows"):
        run(empty, empty)
    with pytest.raises(InputError, match="cannot be read"):
        run(gold, tmp_path / "none.jsonl")
    (tmp_path / "broken.jsonl").write_text('{"id": "a", "labels": []}\n{"id": "b", "lab')
    with pytest.raises(InputError, match=r"broken\.jsonl:2: not valid JSON"):
        run(gold, tmp_path / "broken.jsonl")


def test_words_of_a_model_cannot_style_or_steer_the_terminal(
    gold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(gold, write(tmp_path / "pred.jsonl", {"id": "a", "labels": ["[red]x\x1b[2Jy"]}))
    printed = capsys.readouterr().out
    assert "[red]x" in printed
    assert "\x1b" not in printed
