"""Folders that are data sets, saved data sets, Parquet, MER-Factory; media that lie in them are written out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mer_r1.commands import main
from mer_r1.data.gold import read_gold
from mer_r1.data.importers import read_table
from mer_r1.data.importers.embedded import class_names, media_cell
from mer_r1.data.importers.prepare import Request, prepare_table
from mer_r1.data.importers.saved_dataset import chosen_split, is_hub_id
from mer_r1.data.importers.table import Choice
from mer_r1.data.manifest import read_manifest
from mer_r1.data.predictions import read_modes
from mer_r1.errors import InputError
from tests.data.importers.tables import media, prepared, samples, write, write_json

PNG = b"\x89PNG\r\n\x1a\n picture"
WAV = b"RIFF\0\0\0\0WAVEfmt "


def test_metadata_beside_media_and_folders_of_labels_are_read(tmp_path: Path) -> None:
    media(tmp_path, "set/train/a.jpg", "set/train/metadata.txt", "by_label/joy/1.jpg", "by_label/anger/x/2.wav")
    write(tmp_path / "set/train/metadata.csv", "file_name,label\na.jpg,joy\n")
    (found,) = samples(tmp_path / "set", split="train")
    assert (found.id, found.image, found.labels) == ("a", tmp_path / "set/train/a.jpg", ("joy",))
    first, second = samples(tmp_path / "by_label")
    assert (first.audio, first.labels) == (tmp_path / "by_label/anger/x/2.wav", ("anger",))
    assert (second.image, second.labels) == (tmp_path / "by_label/joy/1.jpg", ("joy",))


def test_a_folder_with_one_table_is_that_table_and_one_with_two_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write(tmp_path / "a.csv", "id,label,text\n1,joy,x\n")
    assert samples(tmp_path)[0].labels == ("joy",)
    found = write(tmp_path / "set" / "m.jsonl", '{"id": "1", "text": "x"}\n')
    with pytest.raises(InputError, match=r"--out .*m\.jsonl would overwrite another file"):
        samples(tmp_path / "set", out=found)
    write(tmp_path / "b.jsonl", '{"id": "1"}\n')
    with pytest.raises(InputError, match="several tables; give one of"):
        read_table(str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="neither a table nor folders of media"):
        read_table(str(tmp_path / "empty"))


def parquet(path: Path, rows: dict[str, list[Any]], features: dict[str, Any] | None = None) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(rows)
    if features is not None:
        known = json.dumps({"info": {"features": features}}).encode()
        table = table.replace_schema_metadata({b"huggingface": known})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=2)
    return path


@pytest.mark.slow
def test_parquet_gives_class_names_and_its_media_are_written_beside_the_manifest(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = parquet(
        tmp_path / "t.parquet",
        {
            "image": [{"bytes": PNG + bytes([number]), "path": None} for number in range(3)],
            "sound": [WAV, WAV + b"1", WAV + b"2"],
            "label": [0, 2, -1],
            "name": ["a/b", "c", "d"],
        },
        {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["anger", "fear", "joy"]}},
    )
    out = tmp_path / "out" / "m.jsonl"
    done = prepare_table(Request(str(path), out))
    assert done.imported.samples == tuple(read_manifest(out))
    first, second, third = read_manifest(out)
    assert [row.labels for row in (first, second, third)] == [("anger",), ("joy",), ()]
    assert (first.id, second.image) == ("a/b", out.parent / "m_media/c.png")
    assert first.image
    assert first.image.parent == out.parent / "m_media"
    assert [row.image.read_bytes()[-1] for row in (first, second, third) if row.image] == [0, 1, 2]
    assert third.audio
    assert third.audio.read_bytes() == WAV + b"2"


@pytest.mark.parametrize(
    ("data", "kind", "made"),
    [
        (b"\0\0\0 ftypisom", "audio", ("audio", ".mp4")),
        (b"\0\0\0 ftypM4A ", None, ("audio", ".m4a")),
        (b"\xff\xd8\xff", None, ("image", ".jpg")),
        (b"RIFF\0\0\0\0AVI ", "video", ("video", ".avi")),
        (b"nobody knows", "image", ("image", ".jpg")),
        (b"nobody knows", None, ("", "")),
    ],
)
def test_bytes_get_the_ending_of_their_form(data: bytes, kind: str | None, made: tuple[str, str]) -> None:
    cell = media_cell({"bytes": data, "path": None}, kind, lambda: {"bytes": data})
    assert (cell.kind, cell.ending, cell.read()) == (*made, data)
    assert media_cell({"bytes": None, "path": "a.mp4"}, kind, lambda: None) == "a.mp4"


@pytest.mark.slow
def test_classes_of_predictions_and_gold_are_read_by_their_names(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    names = {"_type": "ClassLabel", "names": ["anger", "joy"]}
    path = parquet(tmp_path / "t.parquet", {"id": [1, 2], "label": [1, 0]}, {"label": names})
    assert read_gold(path).labels == {"1": ["joy"], "2": ["anger"]}
    assert read_modes(path)["unstated"].labels == {"1": "joy", "2": "anger"}


def test_shards_of_splits_are_one_table_a_split(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    for number, name in enumerate(("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001")):
        parquet(tmp_path / "data" / f"{name}.parquet", {"id": [number], "text": ["x"], "label": ["joy"]})
    with pytest.raises(InputError, match=r"several splits; say which: --split test \| train"):
        read_table(str(tmp_path))
    assert [sample.id for sample in samples(tmp_path, split="train")] == ["0", "1"]
    with pytest.raises(InputError, match=r"no split 'dev'; it has test, train"):
        prepared(tmp_path, split="dev")


def test_a_damaged_parquet_file_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(InputError, match=r"t\.parquet: not a Parquet file that can be read"):
        read_table(str(write(tmp_path / "t.parquet", "PAR1 no")))
    with pytest.raises(InputError, match="no rows under the columns id, label"):
        read_table(str(parquet(tmp_path / "t.parquet", {"id": [], "label": []})))


@pytest.mark.parametrize("known", ["[]", "{no json", '{"info": {"features": 3}}', '{"info": null}'])
def test_a_parquet_file_whose_features_cannot_be_read_is_a_plain_one(tmp_path: Path, known: str) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.table({"id": ["a"], "label": ["joy"]}).replace_schema_metadata({"huggingface": known})
    pq.write_table(table, tmp_path / "t.parquet")
    assert read_table(str(tmp_path / "t.parquet")).rows[0].cells == {"id": "a", "label": "joy"}


def test_classes_without_names_are_numbers_and_no_split_is_told() -> None:
    assert class_names({"label": {"_type": "ClassLabel"}}) == {"label": ()}
    with pytest.raises(InputError, match="set: no split in it"):
        chosen_split("set", [], Choice())


@pytest.mark.slow
def test_a_saved_data_set_is_read_with_lists_of_classes_and_media(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "image": datasets.Image(decode=False),
            "labels": datasets.List(datasets.ClassLabel(names=["joy", "fear"])),
            "text": datasets.Value("string"),
        }
    )
    rows = {"image": [{"bytes": PNG, "path": "x.png"}], "labels": [[1, 0]], "text": ["hi"]}
    data = datasets.Dataset.from_dict(rows, features=features)
    datasets.disable_progress_bars()
    data.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": data, "test": data}).save_to_disk(str(tmp_path / "two"))
    out = tmp_path / "m.jsonl"
    prepare_table(Request(str(tmp_path / "one"), out))
    (found,) = read_manifest(out)
    assert (found.id, found.labels, found.subtitle) == ("x", ("fear", "joy"), "hi")
    assert found.image
    assert found.image.read_bytes() == PNG
    with pytest.raises(InputError, match=r"several splits; say which: --split train \| test"):
        read_table(str(tmp_path / "two"))
    assert len(samples(tmp_path / "two", split="test")) == 1


def test_only_what_cannot_be_a_path_is_asked_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    assert is_hub_id("owner/set.name-1")
    for path in ("data/set", "./owner/set", "owner", "a/b/c", "/owner/set", "~/set", "owner/clip.mp4", "../x"):
        assert not is_hub_id(path), path


def test_a_data_set_of_the_hub_is_loaded_by_its_split(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"id": ["a"], "text": ["x"], "label": ["joy"]})
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda source: ["train", "test"])
    monkeypatch.setattr(datasets, "load_dataset", lambda source, split: {"test": data}[split])
    with pytest.raises(InputError, match=r"owner/set: several splits; say which: --split train \| test"):
        read_table("owner/set")
    assert samples("owner/set", split="test")[0].labels == ("joy",)


def test_a_missing_extra_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    path = write(tmp_path / "t.parquet", "PAR1")
    assert main(["prepare", "table", str(path), "--dry-run"]) == 2
    assert "pip install 'mer-r1[data]'" in capsys.readouterr().err


def merr(label: str | None = None) -> dict[str, Any]:
    return {
        "source_path": "/home/alice/videos/CLIP.mp4",
        "audio_path": "/home/alice/out/CLIP/CLIP.wav",
        "chronological_emotion_peaks": ["Peak at 2.88s: angry (slight), contempt (slight)"],
        "overall_peak_frame_info": {"frame_number": 88, "timestamp": 3.48, "top_aus_intensities": {"AU06_r": 1.45}},
        "coarse_descriptions_at_peak": {"audio_analysis": "a", "video_content": "v"},
        "final_summary": "He frowns.",
    } | ({"ground_truth_label": label} if label else {})


def test_the_output_of_mer_factory_is_read(tmp_path: Path) -> None:
    root = media(tmp_path / "videos", "a.mp4", "b.mp4", "c.jpg")
    for name, label in (("a", "angry"), ("b", None)):
        text = json.dumps(merr(label)).replace("CLIP", name)
        (tmp_path / "out" / name).mkdir(parents=True)
        write(tmp_path / "out" / name / f"{name}_merr_data.json", text)
        write_json(tmp_path / "out" / name / f"{name}_audio_analysis.json", {"audio_analysis": "calm"})
    (tmp_path / "out" / "c").mkdir()
    picture = {"source_path": "/x/c.jpg", "final_summary": "She smiles.", "chronological_emotion_peaks": 5}
    write_json(tmp_path / "out" / "c" / "c_image_analysis.json", picture)
    found = samples(tmp_path / "out", root)
    assert [(row.id, row.labels, row.reasoning) for row in found] == [
        ("a", ("angry",), "He frowns."), ("b", (), "He frowns."), ("c", (), "She smiles."),
    ]  # fmt: skip
    assert (found[0].video, found[2].image) == (root / "a.mp4", root / "c.jpg")
    assert samples(tmp_path / "out", root, labels="peaks")[1].labels == ("angry", "contempt")


def test_the_json_of_emotion_llama_is_read_by_its_names(tmp_path: Path) -> None:
    entry = {"AU_list": ["AU05"], "peak_index": "11", "text": "Why", "pseu_emotion": "surprise", "caption": "x"}
    entry["smp_reason_caption"] = "Raised lids."
    (found,) = samples(write_json(tmp_path / "MERR_fine_grained.json", {"sample_33": entry}))
    assert (found.id, found.labels, found.subtitle) == ("sample_33", ("surprise",), "Why")
    assert found.reasoning == "Raised lids."
