"""Each format as its trainer reads it: tags and files agree, columns are documented ones, nothing is overwritten."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mer_r1.data.manifest import read_manifest, write_manifest
from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from mer_r1.exporters import parquet
from mer_r1.exporters.examples import Choice
from mer_r1.exporters.export import FORMATS, HF, export_data
from mer_r1.rewards import make_rewards

BOTH = Choice(modes=("slow", "fast"))
RL = Choice("rl")


@pytest.fixture
def manifest(corpus: dict[str, Path], tmp_path: Path) -> Path:
    """The train split, one row with a picture, and one that a slow answer cannot be made of."""
    rows = read_manifest(corpus["train"])
    picture = tmp_path / "face.png"
    from PIL import Image

    Image.new("RGB", (56, 56), "red").save(picture)
    rows += [
        Sample("picture", image=picture, labels=("calm",), reasoning="A face.", candidates=("calm", "sad")),
        replace(rows[0], id="bare", reasoning=None),
    ]
    write_manifest(tmp_path / "in" / "my-train.jsonl", rows)
    return tmp_path / "in" / "my-train.jsonl"


def tags_and_files(row: dict[str, Any]) -> list[tuple[int, int]]:
    text = "".join(turn["content"] for turn in row["messages"])
    return [(text.count(f"<{kind}>"), len(row.get(f"{kind}s", ()))) for kind in ("video", "image", "audio")]


def test_llama_factory_gets_tags_files_from_its_folder_and_an_entry(manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "lf"
    out.mkdir()
    (out / "dataset_info.json").write_text('{"other": {"file_name": "other.json"}}')
    done = export_data(manifest, "llama-factory", out, BOTH, sounds=True)
    rows = json.loads((out / "my_train.json").read_text())
    assert len(rows) == done.rows
    assert all(tags == files for row in rows for tags, files in tags_and_files(row))
    assert {sum(tags for tags, _ in tags_and_files(row)) for row in rows} >= {1, 2}
    for row in rows:
        paths = [path for kind in ("videos", "images", "audios") for path in row[kind]]
        assert all((out / path).is_file() and not os.path.isabs(path) for path in paths)
        assert [turn["role"] for turn in row["messages"]] == ["system", "user", "assistant"]
    info = json.loads((out / "dataset_info.json").read_text())
    assert list(info) == ["other", "my_train"]
    entry = info["my_train"]
    assert entry["columns"] == {"messages": "messages", "videos": "videos", "images": "images", "audios": "audios"}
    assert (entry["file_name"], entry["formatting"]) == ("my_train.json", "sharegpt")
    assert {*entry["tags"].values()} == {"role", "content", "user", "assistant", "system"}
    (out / "dataset_info.json").write_text("[]")
    with pytest.raises(InputError, match=r"dataset_info\.json: not a dataset_info"):
        export_data(manifest, "llama-factory", out, name="more")
    assert not (out / "more.json").exists()


def test_ms_swift_gets_absolute_paths_and_columns_for_reward_functions(manifest: Path, tmp_path: Path) -> None:
    assert export_data(manifest, "ms-swift", tmp_path, BOTH).use.startswith("swift sft --dataset ")
    rows = [json.loads(line) for line in (tmp_path / "my_train.jsonl").read_text().splitlines()]
    assert all(tags == files for row in rows for tags, files in tags_and_files(row))
    assert all(os.path.isabs(path) for row in rows for kind in ("videos", "images") for path in row.get(kind, ()))
    assert all({*row} <= {"messages", "videos", "images", "audios"} for row in rows)
    exported = export_data(manifest, "ms-swift", tmp_path, RL, name="rl")
    assert exported.use == f"swift rlhf --rlhf_type grpo --dataset {tmp_path}/rl.jsonl"
    rows = [json.loads(line) for line in (tmp_path / "rl.jsonl").read_text().splitlines()]
    assert {row["messages"][-1]["role"] for row in rows} == {"user"}
    assert rows[0]["solution"] == f"<answer>{', '.join(rows[0]['emotions'])}</answer>"


@pytest.mark.slow
def test_trl_gets_turns_pictures_and_what_our_rewards_read(manifest: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    with pytest.raises(InputError, match="give --frames 8"):
        export_data(manifest, "trl", tmp_path / "sft")
    done = export_data(manifest, "trl", tmp_path / "sft", replace(BOTH, num_frames=3))
    rows = datasets.load_dataset(str(tmp_path / "sft"), split="my_train", cache_dir=str(tmp_path / "cache"))
    assert {*rows.column_names} == {"prompt", "completion", "images"}
    assert len(rows) == done.rows
    assert {len(row["images"]) for row in rows} == {0, 1, 3}
    assert [turn["role"] for turn in rows[0]["prompt"] + rows[0]["completion"]] == ["system", "user", "assistant"]
    export_data(manifest, "trl", tmp_path / "rl", replace(RL, num_frames=3))
    rows = datasets.load_dataset(str(tmp_path / "rl"), split="my_train", cache_dir=str(tmp_path / "cache"))
    assert {*rows.column_names} == {"prompt", "images", "solution", "labels", "candidates"}
    answers = [f"<think>Yes.</think>{row['solution']}" for row in rows]
    (recall,) = make_rewards(["recall"])
    assert {value for value in recall(answers, labels=rows["labels"]) if value is not None} == {1.0}


@pytest.mark.slow
def test_trls_collator_makes_a_batch_of_it(manifest: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    pytest.importorskip("trl")
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    from mer_r1.models.loading import load_backbone
    from mer_r1.models.tiny.vision import write_tiny_vision
    from mer_r1.synthetic.corpus import minimer_texts

    processor = load_backbone(str(write_tiny_vision(tmp_path / "vl", minimer_texts(50)))).processor
    export_data(manifest, "trl", tmp_path / "out", Choice(num_frames=2))
    rows = datasets.load_dataset(str(tmp_path / "out"), split="my_train", cache_dir=str(tmp_path / "cache"))
    rows = rows.filter(lambda row: len(row["images"]) > 0).select(range(3))
    batch = DataCollatorForVisionLanguageModeling(processor, completion_only_loss=True)([*rows])
    assert batch["image_grid_thw"].shape == (6, 3)
    learned = [ids[labels != -100] for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True)]
    texts = [processor.tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in learned]
    assert texts == [row["completion"][0]["content"] for row in rows]


@pytest.mark.slow
def test_a_hugging_face_data_set_is_the_manifest_with_its_files_inside(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(parquet, "SHARD_BYTES", 20_000)
    monkeypatch.setattr(parquet, "BATCH_BYTES", 20_000)
    done = export_data(manifest, HF, tmp_path / "hf")
    assert len(done.files) > 1
    read = datasets.load_dataset(str(tmp_path / "hf"), split="my_train", cache_dir=str(tmp_path / "cache"))
    assert isinstance(read.features["video"], datasets.Video)
    assert isinstance(read.features["audio"], datasets.Audio)
    assert isinstance(read.features["image"], datasets.Image)
    for key, feature in (("video", datasets.Video), ("audio", datasets.Audio)):
        read = read.cast_column(key, feature(decode=False))
    samples = read_manifest(manifest)
    assert len(read) == len(samples)
    for row, sample in zip(read, samples, strict=True):
        assert (row["id"], tuple(row["labels"]), row["subtitle"]) == (sample.id, sample.labels, sample.subtitle)
        if sample.video is not None:
            assert row["video"] == {"bytes": sample.video.read_bytes(), "path": sample.video.name}
    assert str(tmp_path).encode() not in b"".join(path.read_bytes() for path in done.files)


@pytest.mark.parametrize("to", ["llama-factory", "ms-swift", "hf"])
def test_the_same_export_writes_the_same_bytes_and_another_one_is_refused(
    to: str, manifest: Path, tmp_path: Path
) -> None:
    if to == "hf":
        pytest.importorskip("datasets")
    out = tmp_path / "out"
    before = {path: path.read_bytes() for path in export_data(manifest, to, out).files}
    assert {path: path.read_bytes() for path in export_data(manifest, to, out).files} == before
    write_manifest(manifest, read_manifest(manifest)[:3])
    with pytest.raises(InputError, match="remove it, or give another folder with --out"):
        export_data(manifest, to, out)
    assert {path: path.read_bytes() for path in before} == before
    assert not any(out.rglob("*.new"))


@pytest.mark.parametrize(
    ("to", "choice", "name", "reason"),
    [
        ("llama-factory", RL, None, "llama-factory does not learn so; give --to ms-swift, trl"),
        ("ms-swift", Choice(num_frames=4), None, "ms-swift reads films"),
        ("trl", Choice(num_frames=0), None, "give 1 or more"),
        ("ms-swift", Choice(), "../x", "--name"),
    ],
)
def test_what_does_not_go_together_is_named_before_anything_is_written(
    to: str, choice: Choice, name: str | None, reason: str, manifest: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=reason):
        export_data(manifest, to, tmp_path / "out", choice, name=name)
    assert not (tmp_path / "out").exists()


def test_sound_is_counted_where_it_is_lost_or_may_be(manifest: Path, tmp_path: Path) -> None:
    films = sum(sample.video is not None and sample.audio is None for sample in read_manifest(manifest)) - 1  # "bare"
    assert export_data(manifest, "ms-swift", tmp_path / "a").inside == films
    assert export_data(manifest, "ms-swift", tmp_path / "b", sounds=True).inside == 0
    assert FORMATS["trl"].takes == ("image",)
