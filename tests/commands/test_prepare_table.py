"""`mer-r1 prepare table`: from somebody's table to a manifest, and what is printed on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from mer_r1.commands import main
from mer_r1.data.manifest import read_manifest
from tests.data.importers.tables import media, write


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    media(tmp_path, "clips/a.mp4", "clips/b.mp4")
    (tmp_path / "notes.md").write_text("# Notes\n")
    write(tmp_path / "labels.csv", "name;emotion;text;note\na;happy, sad;Schön;1\nb;fear;;2\nc;joy;x;3\n", "cp1252")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_manifest_is_written_and_what_is_missing_is_listed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(
        ["prepare", "table", "labels.csv", "--media", "clips", "--out", "out/m.jsonl", "--missing", "missing.txt"]
    )
    printed = capsys.readouterr().out
    assert status == 1
    assert [(row.id, row.labels, row.subtitle) for row in read_manifest(place / "out/m.jsonl")] == [
        ("a", ("happy", "sad"), "Schön"), ("b", ("fear",), None),
    ]  # fmt: skip
    assert (place / "missing.txt").read_text().startswith("labels.csv:4: c\tno such file below clips")
    assert "labels.csv: CSV, semicolon between cells, cp1252, 3 rows" in printed
    assert [line.split()[1:6:2] for line in printed.splitlines() if line.startswith("│")] == [
        ["name", "id", "guessed"], ["emotion", "labels", "guessed"], ["text", "subtitle", "guessed"],
        ["note", "–", "not"],
    ]  # fmt: skip
    assert "3 labels: happy 1, sad 1, fear 1" in printed
    assert "missing labels.csv:4: c: no such file below clips (there is a.mp4)" in printed
    assert printed.endswith("next: mer-r1 check out/m.jsonl\n")


def test_a_dry_run_shows_samples_and_writes_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "table", "labels.csv", "--media", "clips", "--dry-run", "--labels", "emotion"]) == 1
    printed = capsys.readouterr().out
    assert '{"id": "a", "video": "clips/a.mp4", "subtitle": "Schön", "labels": ["happy", "sad"]}' in printed
    assert "given" in printed
    assert sorted(path.name for path in place.iterdir()) == ["clips", "labels.csv", "notes.md"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("prepare table labels.csv", "--out MANIFEST is needed"),
        ("prepare table labels.csv --out labels.csv", "--out labels.csv would overwrite another file"),
        ("prepare table labels.csv --out m.jsonl --missing labels.csv", "--missing labels.csv would overwrite another"),
        ("prepare table labels.csv --out m.jsonl --missing m.jsonl", "--missing m.jsonl would overwrite another file"),
        ("prepare table labels.csv --out notes.md", "--out notes.md is there and is not JSON lines; give another name"),
        ("prepare table labels.csv --out m.jsonl --missing notes.md", "notes.md is there and is not a list of missing"),
        ("prepare table labels.csv --out m.csv", "a manifest is JSON lines; end its name in .jsonl"),
        ("prepare table labels.csv --out m.jsonl --media clips --id none", "no column of ids or of media files among"),
        ("prepare table labels.csv --out clips", "--out clips: is a folder; give the name of a file"),
        ("prepare table labels.csv --out m.jsonl --media nowhere", "--media nowhere: no such folder"),
        ("prepare table labels.csv --out m.jsonl --root clips", "--root: no such option"),
        ("prepare tables --root clips --out m.jsonl", "data set 'tables' is not known"),
    ],
)
def test_a_wrong_call_is_one_line(place: Path, capsys: pytest.CaptureFixture[str], line: str, told: str) -> None:
    try:
        status: object = main(line.split())
    except SystemExit as end:
        status = end.code
    captured = capsys.readouterr()
    assert (status, captured.out) == (2, "")
    assert told in captured.err
    assert captured.err.count("\n") == 1


def test_its_help_is_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["prepare", "table", "--help"])
    shown = capsys.readouterr().out
    assert shown.startswith("usage: mer-r1 prepare table")
    assert "--root" not in shown
