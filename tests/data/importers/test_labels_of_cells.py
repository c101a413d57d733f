"""Labels of a table: several a cell, lists, columns of 0 and 1, classes, other languages by a mapping."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mer_r1.data.importers.mapping import read_mapping
from mer_r1.errors import InputError
from tests.data.importers.tables import prepared, samples, write, write_json


def labels(tmp_path: Path, *cells: object, **more: Any) -> list[tuple[str, ...]]:
    rows = [{"id": f"c{number}", "text": "x", "labels": cell} for number, cell in enumerate(cells)]
    return [sample.labels for sample in samples(write_json(tmp_path / "t.json", rows), **more)]


@pytest.mark.parametrize(
    "cell",
    ["happy, very sad", "Happy;very sad", "['happy', 'very sad']", '["happy", "very sad"]', ["happy", "very sad"],
     "happy|very sad", "happy、very sad", "happy\nvery  sad"],
)  # fmt: skip
def test_several_labels_stand_in_one_cell_in_any_form(tmp_path: Path, cell: object) -> None:
    assert labels(tmp_path, cell) == [("happy", "very sad")]


def test_no_label_is_none_and_neutral_is_one(tmp_path: Path) -> None:
    found = labels(tmp_path, "neutral", "", None, "nan", "N/A", "NA", [], ["joy", None])
    assert found == [("neutral",), (), (), (), (), (), (), ("joy",)]
    assert "6 rows have no labels" in prepared(tmp_path / "t.json").imported.notes


def test_columns_of_0_and_1_are_labels_by_their_names(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "id,text,A happy,B sad,C\n1,x,1,0,\n2,x,True,x,\n3,x,,,\n")
    assert [s.labels for s in samples(path, labels="A happy,B sad,C")] == [("a happy",), ("a happy", "b sad"), ()]
    path = write(tmp_path / "t.csv", "id,text,a,b,c\n1,x,1,0,0.5\n")
    with pytest.raises(InputError, match=r"t\.csv:2: column 'c' holds '0\.5', the other columns of labels 0 and 1"):
        samples(path, labels="a,b,c")


def test_what_the_names_of_such_columns_begin_with_is_no_label(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "id,text,emotion_joy,emotion_fear,is_clear\n1,x,1,0,1\n2,x,1,1,0\n")
    assert [s.labels for s in samples(path)] == [("joy",), ("joy", "fear")]


def test_several_columns_of_words_are_one_list(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "id,text,first,second\n1,x,joy,surprise\n2,x,fear,\n")
    assert [s.labels for s in samples(path, labels="first,second")] == [("joy", "surprise"), ("fear",)]


def test_numbers_need_a_mapping(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"t\.json:2: label 3 is a number, no word; .* --mapping FILE"):
        labels(tmp_path, "joy", 3)
    mapping = write(tmp_path / "m.csv", "class,name\n0,anger\n3,joy; surprise\n4,\n")
    assert labels(tmp_path, 0, 3.0, "3", "0, 3", 4, mapping=mapping) == [
        ("anger",), ("joy", "surprise"), ("joy", "surprise"), ("anger", "joy", "surprise"), (),
    ]  # fmt: skip


@pytest.mark.parametrize("ending", ["csv", "json", "yaml"])
def test_a_mapping_translates_and_what_it_lacks_is_counted(tmp_path: Path, ending: str) -> None:
    pairs = {"开心": "happy", "Très triste": ["sad", "grief"], "egal": None}
    text = {
        "csv": "开心,happy\nTrès triste,sad; grief\negal,\n",
        "json": json.dumps(pairs),
        "yaml": "开心: happy\nTrès triste: [sad, grief]\negal:\n",
    }[ending]
    mapping = write(tmp_path / f"m.{ending}", text)
    found = labels(tmp_path, "开心", "très triste", "egal", "Wut, 开心", mapping=mapping)
    assert found == [("happy",), ("sad", "grief"), (), ("wut", "happy")]
    assert prepared(tmp_path / "t.json", mapping=mapping).imported.unmapped == {"wut": 1}


@pytest.mark.parametrize(
    ("text", "mapping"),
    [
        ("sad,gloomy\n", {"sad": ("gloomy",)}),
        ("xxx,\nsad,gloomy\n", {"xxx": (), "sad": ("gloomy",)}),
        ("joy,joy\nsad,gloomy\n", {"joy": ("joy",), "sad": ("gloomy",)}),
    ],
)
def test_the_first_row_of_a_mapping_without_a_head_is_a_pair(
    tmp_path: Path, text: str, mapping: dict[str, tuple[str, ...]]
) -> None:
    assert read_mapping(write(tmp_path / "m.csv", text)) == mapping


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("m.csv", "a,b,c\n1,2,3\n", "m.csv:1: 3 columns, which a comma separates; a mapping has two"),
        ("m.csv", "joy,happy\nJoy,glad\n", "label 'Joy' stands there twice, with other words"),
        ("m.json", "[1]", "a list; a mapping is an object"),
        ("m.json", '{"0": 3}', "label '0' maps to a number"),
        ("m.yaml", "a: [b", "cannot be read"),
        ("m.yaml", "a: !!python/object/apply:os.system [ls]", "cannot be read"),
    ],
)
def test_a_wrong_mapping_is_named(tmp_path: Path, name: str, text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        read_mapping(write(tmp_path / name, text))


def test_candidates_are_given_or_all_labels_of_the_table(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "id,text,label\n1,x,joy\n2,x,fear\n3,x,fear\n")
    assert samples(path, candidates="all")[0].candidates == ("fear", "joy")
    assert samples(path, candidates="joy, fear, anger")[0].candidates == ("joy", "fear", "anger")
    with pytest.raises(InputError, match="the label 'fear' of 2 is not among them"):
        samples(path, candidates="joy,anger")
