"""Forms of files: the same rows come out of each, and what cannot be read is named in one line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mer_r1.data.importers import read_table
from mer_r1.data.importers.table import Choice
from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from tests.data.importers.tables import media, prepared, samples, workbook, write, write_json

ROWS = [
    {"id": "a", "labels": "happy, sad", "text": "Schön; so", "speaker": "A"},
    {"id": "b", "labels": "anger", "text": 'She said "no",\nand left', "speaker": "B"},
]
CLIPS = ("a.mp4", "b.mp4")


def expected(root: Path) -> tuple[Sample, ...]:
    return (
        Sample("a", video=root / "a.mp4", subtitle="Schön; so", labels=("happy", "sad"), cluster="A"),
        Sample("b", video=root / "b.mp4", subtitle='She said "no",\nand left', labels=("anger",), cluster="B"),
    )


def delimited(sign: str) -> str:
    quoted = [['"' + str(value).replace('"', '""') + '"' for value in row.values()] for row in ROWS]
    return "\r\n".join([sign.join(ROWS[0]), *(sign.join(row) for row in quoted)]) + "\r\n"


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le"])
def test_delimited_text_is_read_by_any_sign_in_any_encoding_of_excel(tmp_path: Path, sign: str, encoding: str) -> None:
    root = media(tmp_path / "clips", *CLIPS)
    path = write(tmp_path / "labels.csv", delimited(sign), encoding)
    assert samples(path, root) == expected(root)


def test_the_line_sep_of_excel_is_obeyed(tmp_path: Path) -> None:
    path = write(tmp_path / "labels.csv", "sep=;\nid;labels;text\n1;joy;a,b,c\n")
    assert samples(path)[0].subtitle == "a,b,c"
    assert read_table(str(path)).rows[0].line == 3


@pytest.mark.parametrize(
    "shape",
    [
        ROWS,
        {"data": ROWS, "version": 1},
        {row["id"]: {key: value for key, value in row.items() if key != "id"} for row in ROWS},
        {key: {str(index): row[key] for index, row in enumerate(ROWS)} for key in ROWS[0]},
    ],
    ids=["list", "list under a key", "by id", "columns of pandas"],
)
def test_json_is_read_in_the_shapes_people_keep_it(tmp_path: Path, shape: object) -> None:
    root = media(tmp_path / "clips", *CLIPS)
    assert samples(write_json(tmp_path / "labels.json", shape), root) == expected(root)


@pytest.mark.parametrize("name", ["labels.jsonl", "labels.ndjson", "labels.json"])
def test_json_lines_are_read_whatever_the_file_is_called(tmp_path: Path, name: str) -> None:
    root = media(tmp_path / "clips", *CLIPS)
    path = write(tmp_path / name, "\n".join(json.dumps(row) for row in ROWS))
    assert samples(path, root) == expected(root)


def test_an_excel_sheet_is_read_with_its_numbers_as_names(tmp_path: Path) -> None:
    head, rows = list(ROWS[0]), [list(row.values()) for row in ROWS]
    path = workbook(tmp_path / "labels.xlsx", Notes=[["see the other sheet"]], Labels=[[], head, *rows])
    root = media(tmp_path / "clips", *CLIPS)
    assert samples(path, root) == expected(root)
    path = workbook(tmp_path / "numbers.xlsx", Labels=[["id", "emotion", "text"], [7.0, "joy", "x"], [8, "fear", "y"]])
    assert [sample.id for sample in samples(path)] == ["7", "8"]
    assert read_table(str(path)).rows[1].line == 3


def test_of_several_sheets_one_is_said(tmp_path: Path) -> None:
    rows = [["id", "emotion", "text"], ["1", "joy", "x"]]
    path = workbook(tmp_path / "labels.xlsx", Train=rows, Test=[rows[0], ["2", "fear", "y"]])
    with pytest.raises(InputError, match=r"several sheets with rows; say which: --sheet Train \| Test"):
        prepared(path)
    assert samples(path, sheet="Test")[0].id == "2"
    with pytest.raises(InputError, match="no sheet 'Dev'; it has Train, Test"):
        prepared(path, sheet="Dev")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", b"id,labels\n1,joy\n2,joy,fear\n", r"a\.csv:3: 3 cells under 2 columns, which a comma separates"),
        ("a.csv", b'id,labels\n1,"joy\n', r"a\.csv:2: not a row of a CSV file"),
        ("a.csv", b"", "no column has a name"),
        ("a.csv", b"id,labels\n", "no rows under the columns id, labels"),
        ("a.csv", "id,labels\n1,高兴快乐\n2,悲伤难过\n".encode("gb18030"), "neither UTF-8 .* give its encoding"),
        ("a.csv", b"id,labels\n1,a\0b\n", r"a\.csv:2: a NUL character"),
        ("a.json", b'[{"id": 1},\n{"id": ]', r"a\.json:2: not valid JSON"),
        ("a.json", b"[1, 2]", "row 1 is int; an object is needed"),
        ("a.json", b"[" * 100_000, "nested too deeply"),
        ("a.json", b'{"clip_1": "joy", "clip_1": "fear"}', r"a\.json: key 'clip_1' stands twice in one object"),
        ("a.json", b"3", "no rows; give a list of objects"),
        ("a.xlsx", b"PK\3\4 damaged", "not a workbook that can be read"),
        ("a.xls", b"\xd0\xcf", r"\.xls is not read; save it as \.xlsx or CSV"),
        ("a.docx", b"PK", "none of the forms"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_its_line(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=told):
        read_table(str(path))


def test_an_encoding_can_be_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id,labels,text\n1,高兴,你好\n", "gb18030")
    assert samples(path, encoding="gb18030")[0].labels == ("高兴",)
    with pytest.raises(InputError, match="--encoding klingon: no such encoding"):
        read_table(str(path), Choice(encoding="klingon"))


def test_a_source_that_is_not_there_or_a_pipe_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match=r"pipe\.csv: neither a file nor a folder"):
        read_table(str(tmp_path / "pipe.csv"))
    with pytest.raises(InputError, match="no such file"):
        read_table(str(tmp_path / "labels.csv"))
