"""Rows as samples: ids that stay, valence, and errors that name file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from mer_r1.errors import InputError
from tests.data.importers.tables import media, prepared, samples, write


def test_rows_without_ids_are_named_by_their_files(tmp_path: Path) -> None:
    root = media(tmp_path / "m", "a.mp4", "b.mp4", "x/c.mp4", "y/c.mp4")
    path = write(tmp_path / "t.csv", "video,label\na.mp4,joy\nb.mp4,joy\n")
    assert [sample.id for sample in samples(path, root)] == ["a", "b"]
    path = write(tmp_path / "t.csv", "video,label\nx/c.mp4,joy\ny/c.mp4,joy\n")
    assert [sample.id for sample in samples(path, root)] == ["x/c", "y/c"]


def test_ids_made_of_words_stay_when_rows_are_sorted_or_labels_corrected(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "text,label\nHello,joy\nGo away,anger\nHello,joy\n")
    before = {(sample.subtitle, sample.id) for sample in samples(path)}
    path = write(tmp_path / "t.csv", "text,label\nGo away,fear\nHello,joy\nHello,joy\n")
    assert {(sample.subtitle, sample.id) for sample in samples(path)} == before
    assert len({identity for _, identity in before}) == 3


def test_a_repeated_id_is_an_error_with_both_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "id,text,label\n1,a,joy\n2,b,joy\n1,c,joy\n1,d,joy\n")
    with pytest.raises(InputError, match=r"t\.csv:4: id '1' stands on line 2 already \(and 1 more rows repeat one\)"):
        samples(path)


def test_a_row_without_id_in_a_column_of_ids_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "id,text,label\n1,a,joy\n,b,joy\n")
    with pytest.raises(InputError, match=r"t\.csv:3: column 'id', the id, is empty"):
        samples(path)


def test_valence_takes_a_comma_and_no_word(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "id;text;valence\n1;a;-0,5\n2;b;NA\n3;c;2\n")
    assert [sample.valence for sample in samples(path)] == [-0.5, None, 2.0]
    path = write(tmp_path / "t.csv", "id;text;v\n1;a;good\n")
    with pytest.raises(InputError, match=r"t\.csv:2: valence is 'good', no number"):
        samples(path, valence="v")


def test_a_table_without_media_and_words_names_the_options(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "id,label\n1,joy\n")
    with pytest.raises(InputError, match=r"no column of media files or of words among id, label; give --media DIR"):
        samples(path)


def test_rows_of_words_alone_say_how_clips_are_found(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "id,text,label\n1,a,joy\n")
    assert prepared(path).imported.notes == ("1 rows are text alone; --media DIR finds clips by their ids",)
