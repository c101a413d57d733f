"""The csv reader: what pandas reads is read, and every error is named by file, line and column."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mer_r1.benchmarks.tables import name_error, read_table
from mer_r1.errors import InputError


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_quotes_commas_and_line_ends_stay_within_a_cell(tmp_path: Path) -> None:
    text = '\ufeffname,chinese,english\r\na,好,"He said ""no"",\nthen\r\nleft"\r\n\r\nb,,plain\r\n'
    table = read_table(written(tmp_path / "t.csv", text), ["english"])
    assert table.cells == {"a": {"english": 'He said "no",\nthen\r\nleft'}, "b": {"english": "plain"}}
    assert table.where("b") == f"{tmp_path / 't.csv'}:6"


def test_the_last_row_of_a_clip_counts_and_the_others_are_counted(tmp_path: Path) -> None:
    table = read_table(written(tmp_path / "t.csv", "name,x\na,1\nb,2\na,3\n"), ["x"])
    assert (table.cells["a"]["x"], list(table.cells), table.num_repeated) == ("3", ["a", "b"], 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,x\na,1\n", ':1: no column "name", only id, x'),
        ("name,y\na,1\n", ':1: no column "x", only name, y'),
        ("", ':1: no column "name", only none'),
        ("name,x\n", "no rows"),
        ("name,x\na,1\nb,2,3\n", ":3: 3 cells under 2 columns"),
        ("name,x\na\n", ":2: 1 cells under 2 columns"),
        ('name,x\na,"1\nb,2\n', ":3: not a csv row"),
        ("name,x\n../../etc/passwd,1\n", ":2: column \"name\" holds '../../etc/passwd', which leads to another folder"),
        ("name,x\n/etc/passwd,1\n", "leads to another folder"),
        ("name,x\na\\b,1\n", "leads to another folder"),
        ("name,x\na\0b,1\n", "leads to another folder"),
        ("name,x\n..,1\n", "leads to another folder"),
        ("name,x\n,1\n", "is empty"),
        (f"name,x\n{'a' * 201},1\n", "longer than 200"),
        (b"name,x\na,\xff\n", "not UTF-8"),
        (f"name,x\na,{'b' * 140_000}\n", "field larger than field limit"),
    ],
)
def test_an_error_is_one_line_with_its_position(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = written(tmp_path / "t.csv", text)
    with pytest.raises(InputError) as caught:
        read_table(path, ["x"])
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: no such file"):
        read_table(tmp_path / "none.csv", ["x"])


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=80))
@example(b'name,x\n"a"b,1\n')
@example(b"name,x\r\ra,1\r")
def test_any_bytes_are_a_table_or_an_input_error(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path / "t.csv", b"name,x\n" + content)
    names, message = [], ""
    try:
        names = list(read_table(path, ["x"]).cells)
    except InputError as error:
        message = str(error)
    assert "\n" not in message
    assert [name for name in names if name_error(name)] == []
