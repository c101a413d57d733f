"""One set of rules for predictions and one for gold, whoever reads them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mer_r1.data.gold import Gold, read_gold
from mer_r1.data.manifest import read_manifest
from mer_r1.data.predictions import read_modes, read_predictions
from mer_r1.errors import InputError

Reader = Callable[[Path], object]
READERS: tuple[Reader, ...] = (read_predictions, read_modes)
ANSWER = {"id": "a", "mode": "fast", "labels": ["happy"]}
FAILED = {"id": "a", "mode": "fast", "status": "error"}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("rows", [[FAILED, ANSWER], [ANSWER, FAILED], [FAILED, ANSWER, FAILED], [ANSWER]])
def test_an_answer_takes_the_place_of_errors_wherever_they_stand(rows: list[Any], tmp_path: Path) -> None:
    path = write(tmp_path / "pred.jsonl", *rows)
    (row,) = read_predictions(path)
    fast = read_modes(path)["fast"]
    assert (row.status, row.labels, fast.labels, fast.failed) == ("ok", ("happy",), {"a": ["happy"]}, set())


def test_an_error_alone_needs_no_labels_and_null_is_absent(tmp_path: Path) -> None:
    path = write(tmp_path / "pred.jsonl", FAILED, ANSWER | {"id": "b", "status": None, "sentiment": None, "raw": None})
    assert [row.status for row in read_predictions(path)] == ["error", "ok"]
    assert read_modes(path)["fast"].statuses == {"a": "error", "b": "ok"}


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ANSWER, 'id "a" stands on line 1 already in mode fast; keep one row a clip and mode'),
        (ANSWER | {"id": "b", "lables": []}, 'unknown key "lables"; did you mean "labels"?'),
        ({"id": "b", "mode": "fast"}, "no labels; give a list"),
        (ANSWER | {"id": "b", "status": "fine"}, "status must be one of ok, truncated, no_answer, error"),
        (ANSWER | {"id": "b", "mode": 3}, "mode must be"),
        (ANSWER | {"id": "b", "sentiment": 1}, "sentiment must be a text"),
    ],
)
def test_both_readers_stop_at_the_same_rows(read: Reader, row: Any, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "pred.jsonl", ANSWER, row)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert message in str(caught.value)


def test_a_raw_text_is_read_by_the_parser_of_the_protocol(tmp_path: Path) -> None:
    path = write(tmp_path / "pred.jsonl", ANSWER | {"labels": "[Don't care; sad.]"})
    assert read_predictions(path)[0].labels == ("don", "t care; sad.")
    assert read_predictions(path, "corrected")[0].labels == ("don't care", "sad")


def test_a_prediction_has_words_where_scoring_counts_what_is_none(tmp_path: Path) -> None:
    path = write(tmp_path / "pred.jsonl", ANSWER | {"labels": ["happy", 3]})
    assert read_modes(path)["fast"].labels == {"a": ["happy", 3]}
    with pytest.raises(InputError, match=r"pred\.jsonl:1: labels\[1\] is a number, not a text"):
        read_predictions(path)


def test_the_gold_of_a_manifest_is_that_of_its_samples(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "subtitle": "x", "labels": ["happy"], "cluster": "c"},
        {"id": "b", "subtitle": "y", "valence": 1},
    ]
    path = write(tmp_path / "gold.jsonl", *rows)
    read, made = read_gold(path), Gold.of(read_manifest(path))
    assert (read.clusters, read.valence, read.line) == (made.clusters, made.valence, {"a": 1, "b": 2})
    assert {name: tuple(labels or ()) for name, labels in read.labels.items()} == made.labels
    assert made.only(["b"]) == Gold({"b": ()}, {}, {"b": 1.0}, {})
