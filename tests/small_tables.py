"""Tables in the format of MER-UniBench, small enough to work out by hand: wheels of weather, not of emotion.

`write_tables` writes the seven files; every part can be given anew, to break it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import openpyxl
from openpyxl.worksheet.worksheet import Worksheet

from mer_r1.emotion.tables import Tables, parse_tables, read_files

Cells = Sequence[object]

WHEEL_HEAD = ("level1", "level2", "level3")
SKY = (
    WHEEL_HEAD,
    ("Sunny", "Warm", "Balmy"),
    (None, None, "Mild"),
    (None, " Bright ", "Clear"),
    ("Stormy", "Windy", "Gusty"),
    (None, "Dark", "Gloomy"),
)
SEA = (
    WHEEL_HEAD,
    ("Calm", "Still", "Balmy"),
    ("Rough", "Windy", "Choppy"),
    (None, "Close", "Balmy"),
)
LAND = (WHEEL_HEAD, ("Dry", "Dusty", None), ("Wet", "Muddy", "Soggy"))
WHEELS: tuple[Sequence[Cells], ...] = (SKY, SEA, LAND, SKY, LAND)

VOTES: Mapping[str, Mapping[str, int]] = {
    "balmy": {"muggy": 1},
    "gusty": {"muggy": 5},
    "bright": {"hazy": 2, "dark": 8},
    "windy": {"breezy": 8},
    "dark": {"hazy": 2},
    "clear": {"cloudless": 5},
    "gloomy": {"cloudy": 1},
    "mild": {"hot": 1},
    "warm": {"hot": 1, "sultry": 1},
    "choppy": {"sultry": 2},
    "dusty": {"hot": 4},
}
"""Wheel word -> synonym -> the number of lists that name it."""

FORMATS: Mapping[str, str] = {
    "muggy": "muggy,muggier",
    "hazy": "hazy, Haziness ,gale",
    "cloudy": "cloudy,cloud",
    "cloudless": "cloudless,cloud,overcast",
    "hot": "hot,heat",
    "breezy": "breezy,hot",
    "sultry": "sultry,heat,gale",
    "balmy": "",
}


def synonym_rows(votes: Mapping[str, Mapping[str, int]] = VOTES) -> list[Cells]:
    """The rows of synonym.xlsx: list number `run` names the synonyms that have more than `run` votes."""
    rows: list[Cells] = [[f"{kind}_run{run}" for run in range(1, 9) for kind in ("word", "synonym")]]
    for word, synonyms in votes.items():
        lists = [", ".join(name for name, num in synonyms.items() if num > run) for run in range(8)]
        rows.append([cell for listed in lists for cell in (word.capitalize(), listed or None)])
    return rows


def write_sheet(path: Path, rows: Iterable[Cells]) -> None:
    """One workbook with one sheet."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert isinstance(sheet, Worksheet)
    for row in rows:
        sheet.append([*row])
    book.save(path)
    book.close()


def write_tables(
    folder: Path,
    *,
    wheels: Sequence[Iterable[Cells]] = WHEELS,
    synonyms: Iterable[Cells] | None = None,
    formats: Mapping[str, str] = FORMATS,
) -> Path:
    """The seven files in a folder, which is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, rows in enumerate(wheels, start=1):
        write_sheet(folder / f"wheel{number}.xlsx", rows)
    write_sheet(folder / "synonym.xlsx", synonym_rows() if synonyms is None else synonyms)
    with (folder / "format.csv").open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle, lineterminator="\n").writerows([("name", "format"), *formats.items()])
    return folder


def read_tables(folder: Path) -> Tables:
    """The tables of a folder."""
    return parse_tables(read_files(folder), folder)


def base_word(tables: Tables, form: str) -> str | None:
    """The alphabetically first base word of a normalised form ("case 1" of the authors' code), or None."""
    return next(iter(tables.base_words.get(form, ())), None)


def wheel_word(tables: Tables, form: str) -> str | None:
    """The alphabetically first wheel word of the first base word ("case 2" of the authors' code), or None."""
    base = base_word(tables, form)
    return None if base is None else min(tables.votes[base])
