"""The reader of the published file formats: what it takes from them, and errors named with location and fix."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import openpyxl
import pytest

from mer_r1.emotion import tables as tables_module
from mer_r1.emotion.tables import FILES
from mer_r1.errors import InputError
from tests.small_tables import (
    FORMATS,
    SKY,
    WHEEL_HEAD,
    WHEELS,
    Cells,
    base_word,
    read_tables,
    synonym_rows,
    wheel_word,
    write_sheet,
    write_tables,
)


def error_of(folder: Path) -> str:
    """The one line in which reading a folder fails."""
    with pytest.raises(InputError) as caught:
        read_tables(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_forms_base_words_and_votes_are_those_of_the_files(tmp_path: Path) -> None:
    tables = read_tables(write_tables(tmp_path))
    assert tables.base_words["hot"] == ("breezy", "hot")
    assert tables.base_words["haziness"] == ("hazy",)
    assert tables.base_words["soggy"] == ("soggy",)
    assert "" not in tables.base_words
    assert tables.votes["muggy"] == {"balmy": 1, "gusty": 5}
    assert tables.votes["dark"] == {"bright": 8, "dark": 8}
    assert tables.votes["soggy"] == {"soggy": 8}
    assert (base_word(tables, "hot"), wheel_word(tables, "hot")) == ("breezy", "windy")
    assert (base_word(tables, "muggier"), wheel_word(tables, "muggier")) == ("muggy", "balmy")
    assert (base_word(tables, "snow"), wheel_word(tables, "snow")) == (None, None)


def test_blank_cells_take_the_one_above_and_the_last_one_counts(tmp_path: Path) -> None:
    sky, sea, land, *_ = read_tables(write_tables(tmp_path)).wheels
    assert (sky.categories(1), sky.categories(2)) == (("sunny", "stormy"), ("warm", "bright", "windy", "dark"))
    assert (sky.category_of(1)["mild"], sky.category_of(2)["mild"], sky.category_of(2)["sunny"]) == (
        "sunny",
        "warm",
        "bright",
    )
    assert (sea.category_of(1)["balmy"], sea.category_of(2)["balmy"]) == ("rough", "close")
    assert (land.category_of(1)["dusty"], land.category_of(2)["dry"]) == ("dry", "dusty")
    assert set(land.category_of(1)) == {"dry", "dusty", "wet", "muddy", "soggy"}


def test_a_pair_that_one_list_names_twice_counts_once(tmp_path: Path) -> None:
    rows = synonym_rows({"balmy": {"muggy": 2}})
    tables = read_tables(write_tables(tmp_path, synonyms=[*rows, rows[1]], formats={"muggy": "muggier"}))
    assert tables.votes["muggy"] == {"balmy": 2}


def test_blank_rows_a_byte_order_mark_and_extra_columns_do_no_harm(tmp_path: Path) -> None:
    plain = read_tables(write_tables(tmp_path / "plain"))
    folder = write_tables(tmp_path / "odd", wheels=([*SKY[:3], (None, " "), *SKY[3:], ()], *WHEELS[1:]))
    write_sheet(folder / "wheel4.xlsx", [(*row, "note") for row in SKY])
    text = (folder / "format.csv").read_text(encoding="utf-8").replace("\n", "\r\n\r\n")
    (folder / "format.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_tables(folder) == plain


def test_the_first_sheet_is_read_and_its_stated_size_is_not_trusted(tmp_path: Path) -> None:
    plain = read_tables(write_tables(tmp_path))
    path = tmp_path / "wheel1.xlsx"
    book = openpyxl.load_workbook(path)
    book.create_sheet("notes")
    book.active = 1
    book.save(path)
    parts = unzipped(path)
    name = "xl/worksheets/sheet1.xml"
    assert b'ref="A1:C6"' in parts[name]
    zipped(path, parts | {name: parts[name].replace(b'ref="A1:C6"', b'ref="A1"')})
    assert read_tables(tmp_path) == plain


def test_missing_files_are_named_together(tmp_path: Path) -> None:
    write_tables(tmp_path)
    (tmp_path / "wheel2.xlsx").unlink()
    (tmp_path / "format.csv").unlink()
    (tmp_path / "format.csv").mkdir()
    assert error_of(tmp_path).startswith(f"{tmp_path}: format.csv, wheel2.xlsx missing; a folder of wheels holds")
    assert all(name in error_of(tmp_path) for name in FILES)


WHEEL_FAULTS: dict[str, tuple[list[Cells], str]] = {
    "no rows at all": ([], "empty; its first row names the columns level1, level2, level3"),
    "no rows but the head": ([WHEEL_HEAD], "row 1: the wheel is empty; write one row"),
    "no column": ([("level1", "level2"), ("a", "b")], "row 1: needs each column once: .* see to level3"),
    "a column twice": ([(*WHEEL_HEAD, "level1"), ("a", "b", "c")], "row 1: needs each column once: .* see to level1"),
    "no level1": ([WHEEL_HEAD, (None, "b", "c")], "row 2: no level1 in this row or above"),
    "level3 alone": ([WHEEL_HEAD, ("a", "b", "c"), ("d", None, "e")], 'row 3: level3 "e" has no level2 under "d"'),
    "level1 alone": ([WHEEL_HEAD, ("a", "b", "c"), ("d", None, None)], 'row 3: level1 "d" has no level2'),
    "a number": ([WHEEL_HEAD, ("a", "b", 3)], 'row 2: "3" is not a text'),
    "a nameless column": ([WHEEL_HEAD, ("a", "b", "c", "d")], 'row 2: "d" is in a column without a name'),
}


@pytest.mark.parametrize("name", WHEEL_FAULTS)
def test_an_error_in_a_wheel_is_named_with_sheet_and_row(tmp_path: Path, name: str) -> None:
    rows, message = WHEEL_FAULTS[name]
    folder = write_tables(tmp_path, wheels=(*WHEELS[:2], rows, *WHEELS[3:]))
    assert re.match(f'{re.escape(str(tmp_path / "wheel3.xlsx"))}: sheet "Sheet"(, |: ){message}', error_of(folder))


def with_cell(column: str, value: str | None) -> list[Cells]:
    head, first, *rest = synonym_rows()
    return [head, [value if name == column else cell for name, cell in zip(head, first, strict=True)], *rest]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (with_cell("word_run3", "snowy"), 'row 2: "snowy" of word_run3 is in no wheel; write a word of wheel1'),
        (with_cell("word_run1", None), "row 2: synonym_run1 has no word beside it; write it into word_run1"),
        ([row[:-1] for row in synonym_rows()], "row 1: needs each column once: .* see to synonym_run8"),
    ],
)
def test_an_error_in_the_synonyms_is_named_with_sheet_and_row(tmp_path: Path, rows: list[Cells], message: str) -> None:
    index = re.escape(str(tmp_path / "synonym.xlsx"))
    assert re.match(f'{index}: sheet "Sheet", {message}', error_of(write_tables(tmp_path, synonyms=rows)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", ": empty; its first row names the columns name, format"),
        (b"name,forms\nhot,hot\n", ":1: needs each column once: name, format; see to format"),
        (b"name,format\nhot,hot,heat\n", ":2: 3 cells, but the head has 2; put a list of forms between quotes"),
        (b"name,format\nhot\n", ":2: 1 cells, but the head has 2"),
        (b"name,format\n ,hot\n", ":2: the name is empty"),
        (b"name,format\n\nhot,a\nhot,b\n", ':4: "hot" has a row already'),
        (b"name,format\nsnowy,snow\n", ':2: "snowy" is no wheel word and no synonym of one'),
        ("name,format\nhot,hot\nhazy,caf\xe9\n".encode("latin-1"), ":3: not UTF-8 text; save the file as CSV in UTF-8"),
        (b'name,format\nhot,"hot,heat\n', ":2: not a row of CSV .* fix its quotes"),
        (b"name,format\nhot," + b"x" * 200_000 + b"\n", ":2: not a row of CSV .* fix its quotes"),
    ],
)
def test_an_error_in_the_forms_is_named_with_its_line(tmp_path: Path, text: bytes, message: str) -> None:
    write_tables(tmp_path)
    (tmp_path / "format.csv").write_bytes(text)
    assert re.match(re.escape(str(tmp_path / "format.csv")) + message, error_of(tmp_path))


def test_control_characters_of_a_table_do_not_reach_the_message(tmp_path: Path) -> None:
    line = error_of(write_tables(tmp_path, formats={**FORMATS, "sno\x1b[31mwy\u2028" + "x" * 500: "snow"}))
    assert line.isprintable()
    assert len(line) < 300 + len(str(tmp_path))


def unzipped(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(path: Path, parts: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)


def without(name: str) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = {part: archive.read(part) for part in archive.namelist() if part != name}
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for part, content in parts.items():
                archive.writestr(part, content)
        return buffer.getvalue()

    return change


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "a text": lambda data: b"level1,level2,level3\n",
    "cut": lambda data: data[: len(data) // 2],
    "flipped": lambda data: data[:300] + bytes(byte ^ 255 for byte in data[300:900]) + data[900:],
    "a zip of nothing": lambda data: b"PK\x05\x06" + bytes(18),
    "no sheet": without("xl/worksheets/sheet1.xml"),
    "no book": without("xl/workbook.xml"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_workbook_is_named(tmp_path: Path, name: str) -> None:
    path = write_tables(tmp_path) / "wheel5.xlsx"
    path.write_bytes(DAMAGES[name](path.read_bytes()))
    line = error_of(tmp_path)
    assert line.startswith(f"{path}: ")
    assert re.search(r"not a valid xlsx workbook \(\w+\); save it as .xlsx|empty; its first row names", line)


def changed_sheet(folder: Path, change: Callable[[bytes], bytes]) -> Path:
    """The tables with the XML of wheel5's sheet changed."""
    path = write_tables(folder) / "wheel5.xlsx"
    name = "xl/worksheets/sheet1.xml"
    parts = unzipped(path)
    new = change(parts[name])
    assert new != parts[name]
    zipped(path, parts | {name: new})
    return path


def entity_bomb(sheet: bytes) -> bytes:
    levels = b"".join(b'<!ENTITY e%d "%s">' % (k, b"&e%d;" % (k - 1) * 10) for k in range(1, 10))
    body = sheet[sheet.index(b"<worksheet") :].replace(b"<t>Dry</t>", b"<t>&e9;</t>")
    return b'<!DOCTYPE worksheet [<!ENTITY e0 "0000000000">' + levels + b"]>" + body


def text_of_no_list(sheet: bytes) -> bytes:
    return sheet.replace(b't="inlineStr"><is><t>Dry</t></is>', b't="s"><v>99</v>')


def far_row(sheet: bytes) -> bytes:
    return sheet.replace(b"</sheetData>", b'<row r="1048576"><c r="A1048576"><v>0</v></c></row></sheetData>')


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (text_of_no_list, r"not a valid xlsx workbook \(IndexError\)"),
        (entity_bomb, r"not a valid xlsx workbook \(ParseError\)"),
        (far_row, "more than 20,000 rows; this is no table of words"),
    ],
)
def test_a_sheet_that_cannot_be_read_or_grows_when_read_is_refused(
    tmp_path: Path, change: Callable[[bytes], bytes], message: str
) -> None:
    path = changed_sheet(tmp_path, change)
    assert re.match(f"{re.escape(str(path))}.*{message}", error_of(tmp_path))


def test_a_far_column_costs_nothing(tmp_path: Path) -> None:
    plain = read_tables(write_tables(tmp_path / "plain"))
    changed_sheet(tmp_path / "far", lambda sheet: sheet.replace(b"</row>", b'<c r="XFD1"><v>0</v></c></row>', 1))
    assert read_tables(tmp_path / "far") == plain


def test_large_files_and_workbooks_that_unpack_to_much_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tables(tmp_path) / "wheel1.xlsx"
    zipped(path, unzipped(path) | {"xl/media/image1.png": bytes(3_000_000)})
    assert path.stat().st_size < 1_000_000
    assert read_tables(tmp_path)
    monkeypatch.setattr(tables_module, "MAX_UNPACKED_BYTES", 2_000_000)
    assert error_of(tmp_path) == f"{path}: unpacks to 3 MB; this is no table of emotion words"
    monkeypatch.setattr(tables_module, "MAX_FILE_BYTES", 1_000)
    assert error_of(tmp_path).startswith(f"{tmp_path / 'synonym.xlsx'}: larger than")


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tables(tmp_path)

    def refuse(path: Path, mode: str = "r") -> Iterable[bytes]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert error_of(tmp_path) == (
        f"{tmp_path / 'format.csv'}: cannot be read (Permission denied); give a file that may be read"
    )
