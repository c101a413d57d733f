"""What `export-data` writes for other trainers comes back as the samples that it was made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mer_r1.data.importers.prepare import Request, prepare_table
from mer_r1.data.manifest import read_manifest, write_manifest
from mer_r1.data.sample import Sample
from mer_r1.exporters.examples import Choice
from mer_r1.exporters.export import export_data
from tests.data.importers.tables import media

WHOLE = "<think>She laughs.</think><answer>happy</answer>"


@pytest.fixture
def rows(tmp_path: Path) -> list[Sample]:
    """A film with its sound, a picture, a text, and a reasoning that commits to fewer words than the labels."""
    media(tmp_path, "clips/a.mp4", "clips/a.wav", "clips/b.jpg", "clips/d.mp4")
    clips = tmp_path / "clips"
    return [
        Sample("a", clips / "a.mp4", clips / "a.wav", None, "Oh no", ("sad", "worried"), reasoning="She frowns."),
        Sample("b", image=clips / "b.jpg", labels=("calm",), reasoning="Quiet light."),
        Sample("c", subtitle="You came!", labels=("happy",), reasoning="Warm words."),
        Sample("d", clips / "d.mp4", labels=("happy",), reasoning=WHOLE),
    ]


def back(tmp_path: Path, rows: list[Sample], to: str, choice: Choice | None = None) -> list[Sample]:
    """The samples after `export-data` and `prepare table`."""
    write_manifest(tmp_path / "m.jsonl", rows)
    export_data(tmp_path / "m.jsonl", to, tmp_path / "out", choice)
    name = {"llama-factory": "m.json", "ms-swift": "m.jsonl"}.get(to, "")
    source = tmp_path / "out" / name
    prepare_table(Request(str(source), tmp_path / "back.jsonl", tmp_path / "clips" if name else None))
    return read_manifest(tmp_path / "back.jsonl")


@pytest.mark.parametrize("to", ["llama-factory", "ms-swift"])
@pytest.mark.parametrize("modes", [("slow",), ("fast", "slow")])
def test_chats_come_back_as_samples(tmp_path: Path, rows: list[Sample], to: str, modes: tuple[str, ...]) -> None:
    found = back(tmp_path, rows, to, Choice(modes=modes))  # type: ignore[arg-type]
    said = replace(rows[3], reasoning="She laughs.")
    assert [replace(sample, id="") for sample in found] == [replace(sample, id="") for sample in (*rows[:3], said)]


def test_rows_of_rl_come_back_with_their_labels(tmp_path: Path, rows: list[Sample]) -> None:
    found = back(tmp_path, rows, "ms-swift", Choice("rl"))
    assert [(sample.labels, sample.reasoning) for sample in found] == [(row.labels, None) for row in rows]


@pytest.mark.slow
def test_a_data_set_of_hugging_face_comes_back_whole_with_its_media(tmp_path: Path, rows: list[Sample]) -> None:
    pytest.importorskip("datasets")
    rows[0] = replace(rows[0], valence=-0.5, cluster="S", source="set", candidates=("sad", "worried", "happy"))
    found = back(tmp_path, rows, "hf")
    assert [replace(row, video=None, audio=None, image=None) for row in found] == [
        replace(row, video=None, audio=None, image=None) for row in rows
    ]
    assert found[0].video
    assert found[0].video == tmp_path / "back_media" / "a.mp4"
    assert found[0].video.read_bytes() == b"clips/a.mp4"
