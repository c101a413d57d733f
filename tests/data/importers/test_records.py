"""Gold and predictions out of tables score as the same rows in JSON lines do, and what is not clear names the fix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mer_r1.data.gold import Gold, read_gold
from mer_r1.data.manifest import read_manifest, scan_manifest
from mer_r1.data.predictions import read_modes, read_predictions
from mer_r1.errors import InputError
from mer_r1.evaluation.score import score_file
from tests.data.importers.tables import workbook, write, write_json

GOLD: list[dict[str, Any]] = [
    {"id": "a", "labels": ["happy", "sad"], "cluster": "S"},
    {"id": "b", "labels": ["angry"], "cluster": "T"},
    {"id": "17", "labels": ["surprise"], "cluster": "T"},
]
ANSWERS: list[dict[str, Any]] = [
    {"id": "a", "labels": "happy, joyful"},
    {"id": "b", "labels": "['angry', 'sad']"},
    {"id": "17", "labels": None},
]


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


def golds(tmp_path: Path) -> list[Path]:
    (tmp_path / "lines").mkdir()
    cells = [[row["id"], "; ".join(row["labels"]), row["cluster"]] for row in GOLD]
    text = "".join(f'{name},"{labels}",{cluster}\n' for name, labels, cluster in cells)
    return [
        lines(tmp_path / "g.jsonl", GOLD),
        lines(tmp_path / "lines" / "g.json", GOLD),
        write_json(tmp_path / "g.json", GOLD),
        write(tmp_path / "g.csv", "Clip,Emotion,Speaker\n" + text, "utf-8-sig"),
        workbook(tmp_path / "g.xlsx", Sheet=[["Clip", "Emotion", "Speaker"], *cells[:2], [17, *cells[2][1:]]]),
    ]


def answers(tmp_path: Path) -> list[Path]:
    text = "".join(f'{row["id"]},"{row["labels"] or ""}"\n' for row in ANSWERS)
    return [
        lines(tmp_path / "p.jsonl", ANSWERS),
        write_json(tmp_path / "p.json", ANSWERS),
        write(tmp_path / "p.csv", "filename,prediction\n" + text),
        write(tmp_path / "q.tsv", "id\tlabel\tpred_label\n" + text.replace('"', "").replace(",", "\tx\t", 1)
              .replace("\nb,", "\nb\tx\t").replace("\n17,", "\n17\tx\t")),
    ]  # fmt: skip


@pytest.mark.slow
def test_tables_score_as_the_same_rows_in_json_lines(tmp_path: Path) -> None:
    scores: list[str] = []
    for gold in golds(tmp_path):
        for pred in answers(tmp_path):
            found = score_file(gold, pred).to_json()
            scores.append(json.dumps(found, sort_keys=True).replace(str(pred), "").replace(str(gold), ""))
    assert len(scores) == 20
    assert set(scores) == {scores[0]}
    assert '"f1": 0.333' in scores[0]


def test_gold_of_every_form_is_the_same(tmp_path: Path) -> None:
    def content(gold: Gold) -> tuple[Any, ...]:
        return gold.labels, gold.clusters, gold.valence

    first, *others = [content(read_gold(path)) for path in golds(tmp_path)]
    assert first[0]["17"] == ["surprise"]
    assert [other == first for other in others] == [True] * 4


def test_valence_of_a_table_is_a_number(tmp_path: Path) -> None:
    assert read_gold(write(tmp_path / "g.csv", "id;valence\na;-0,5\n")).valence == {"a": -0.5}
    with pytest.raises(InputError, match=r"g\.csv:3: valence must be a number"):
        read_gold(write(tmp_path / "g.csv", "id;valence;labels\na;1;joy\nb;good;joy\n").rename(tmp_path / "g.csv"))


@pytest.mark.parametrize(
    ("head", "told"),
    [
        ("clip,label,emotion", r"label and emotion may each be the labels; .*prepare table .*g\.csv --media DIR"),
        ("clip,annotation", r"no column of labels or valence among clip, annotation; mer-r1 prepare table"),
        ("what,label", "no column of ids among what, label; rename the column of clips' ids to id"),
    ],
)
def test_gold_that_is_not_clear_names_the_command(tmp_path: Path, head: str, told: str) -> None:
    row = ",".join(["joy"] * len(head.split(",")))
    with pytest.raises(InputError, match=told):
        read_gold(write(tmp_path / "g.csv", f"{head}\n{row}\n"))


@pytest.mark.parametrize(
    ("head", "told"),
    [
        ("id,text", "no column of labels among id, text; rename the column of answers to labels"),
        ("id,prediction,predicted", "prediction and predicted may each be the labels; rename the right one"),
        ("name,file,label", r"name and file may each be the id; .* here: rename the column of ids to id"),
    ],
)
def test_predictions_that_are_not_clear_name_the_fix(tmp_path: Path, head: str, told: str) -> None:
    row = ",".join(["joy"] * len(head.split(",")))
    with pytest.raises(InputError, match=told):
        read_modes(write(tmp_path / "p.csv", f"{head}\n{row}\n"))


def test_predictions_keep_modes_raw_texts_and_status(tmp_path: Path) -> None:
    text = "id,mode,labels,response,status\na,fast,joy,<answer>joy</answer>,\na,slow,,,error\nb,fast,,,\n"
    path = write(tmp_path / "p.csv", text)
    modes = read_modes(path)
    assert modes["fast"].labels == {"a": "joy", "b": None}
    assert modes["slow"].failed == {"a"}
    first = read_predictions(path)[0]
    assert (first.id, first.mode, first.labels, first.raw) == ("a", "fast", ("joy",), "<answer>joy</answer>")


def test_a_repeated_id_in_a_table_names_its_lines(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r'g\.csv:3: id "a" stands on line 2 already'):
        read_gold(write(tmp_path / "g.csv", "id,label\na,joy\na,fear\n"))


def test_a_table_in_the_place_of_a_manifest_names_the_command(tmp_path: Path) -> None:
    path = write(tmp_path / "my labels.csv", "id,label\na,joy\n")
    with pytest.raises(InputError, match=r"a table, no manifest, .* prepare table '.*my labels\.csv' --media DIR"):
        scan_manifest(path)
    path = write_json(tmp_path / "t.json", [{"id": "a", "subtitle": "x"}])
    with pytest.raises(InputError, match="a table, no manifest"):
        read_manifest(path)
    path = lines(tmp_path / "m.json", [{"id": "a", "subtitle": "x"}])
    assert read_manifest(path)[0].subtitle == "x"


def test_json_lines_with_foreign_keys_name_the_command(tmp_path: Path) -> None:
    path = lines(tmp_path / "t.jsonl", [{"clip": "a", "emotion": "joy"}])
    assert scan_manifest(path).problems[0].endswith(f"--out {tmp_path / 't_manifest.jsonl'}")
    path = lines(tmp_path / "t.jsonl", [{"id": "a", "subtitle": "x"}, {"id": "b", "subtitel": "x"}])
    assert "prepare table" not in scan_manifest(path).problems[0]
