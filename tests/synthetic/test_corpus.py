"""Clips as files: people kept apart over the splits, mp4 with and without a channel, rows that say what is in them."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest

from mer_r1.data.manifest import read_manifest
from mer_r1.data.sample import Sample
from mer_r1.media import MediaBudget, read_clip
from mer_r1.prompting.response import is_well_formed
from mer_r1.synthetic.corpus import FPS, SPLITS, Plan, minimer_texts, write_clip, write_corpus
from mer_r1.synthetic.state import WORDS
from tests.synthetic.test_parts import contents

PLAN = Plan(num=100, seed=11, seconds=0.5)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("minimer")
    write_corpus(PLAN, folder)
    return folder


@pytest.fixture(scope="module")
def rows(made: Path) -> dict[str, list[Sample]]:
    return {split: read_manifest(made / f"{split}.jsonl") for split in SPLITS}


@pytest.mark.slow
def test_another_seed_makes_other_clips_and_rows(made: Path, tmp_path: Path) -> None:
    write_corpus(Plan(5, seed=12, seconds=0.5), tmp_path)
    first, other = contents(made), contents(tmp_path)
    clips = [name for name in other if name.startswith("clips/") and name in first]
    assert clips
    assert all(first[name] != other[name] for name in [*clips, "train.jsonl"])


def test_a_larger_corpus_of_as_many_people_begins_with_the_smaller(made: Path, tmp_path: Path) -> None:
    write_corpus(Plan(7, seed=11, seconds=0.5), tmp_path)
    first = contents(made)
    assert all(first[name] == data for name, data in contents(tmp_path).items() if name.startswith("clips/"))


def test_no_person_is_in_two_splits_and_every_clip_is_in_one(rows: dict[str, list[Sample]]) -> None:
    people = [{sample.cluster for sample in rows[split]} for split in SPLITS]
    assert all(people)
    assert sum(map(len, people)) == len(set.union(*people)) == PLAN.num_people
    ids = [sample.id for split in SPLITS for sample in rows[split]]
    assert len(set(ids)) == len(ids) == PLAN.num


@pytest.mark.parametrize("num", [*range(5, 30), 99, 100, 199, 200, 220, 399, 400, 7000])
def test_every_split_has_a_clip_from_five_clips_up(num: int) -> None:
    plan = Plan(num, 0)
    splits = [plan.split_of(index % plan.num_people) for index in range(num)]
    assert set(splits) == set(SPLITS)
    assert splits.count("train") >= 0.55 * num


def test_a_clip_is_h264_video_with_an_aac_track_and_reads_as_long_as_asked(
    made: Path, rows: dict[str, list[Sample]]
) -> None:
    for sample in rows["val"]:
        path = sample.video or sample.audio
        assert path is not None
        silent = "No voice is heard." in (sample.reasoning or "")
        with av.open(str(path)) as container:
            codecs = [stream.codec_context.name for stream in container.streams]
            assert codecs == (["h264"] if sample.video else []) + ([] if silent else ["aac"])
            assert "mp4" in container.format.name
        clip = read_clip(sample, MediaBudget(num_frames=2, min_pixels=56 * 56, max_pixels=56 * 56))
        assert (clip.frames_THWC is not None) == (sample.video is not None)
        assert clip.facts.video_s in (None, pytest.approx(PLAN.seconds, abs=0.5 / FPS))
        if clip.waveform_N is not None:
            assert len(clip.waveform_N) == pytest.approx(PLAN.seconds * 16_000, rel=0.3)


def test_whole_contradicting_and_incomplete_clips_all_occur_and_the_row_says_what_is_missing(
    rows: dict[str, list[Sample]],
) -> None:
    samples = [sample for split in SPLITS for sample in rows[split]]
    missing = {"face": 0, "voice": 0, "words": 0}
    for sample in samples:
        reasoning = sample.reasoning or ""
        assert ("No face is seen." in reasoning) == (sample.video is None)
        assert ("No words are given." in reasoning) == (sample.subtitle is None)
        assert (sample.video is None) == (sample.audio is not None)
        missing["face"] += sample.video is None
        missing["words"] += sample.subtitle is None
        if sample.video is not None:
            with av.open(str(sample.video)) as container:
                silent = not container.streams.audio
            assert ("No voice is heard." in reasoning) == silent
            missing["voice"] += silent
    assert all(missing.values())
    assert {sample.source for sample in samples} == {"contradicting", "consistent"}


def test_a_row_has_gold_a_reasoning_and_a_valence_in_range(rows: dict[str, list[Sample]]) -> None:
    for sample in rows["train"]:
        assert 1 <= len(sample.labels) <= 4
        assert sample.reasoning
        assert sample.valence is not None
        assert -1 <= sample.valence <= 1


def test_the_form_changes_the_reasoning_alone(made: Path, tmp_path: Path) -> None:
    write_corpus(Plan(7, 11, 0.5), tmp_path / "think")
    write_corpus(Plan(7, 11, 0.5, "set_steps"), tmp_path / "steps")
    assert "form" not in json.loads((made / "corpus.json").read_text(encoding="utf-8"))
    for split in SPLITS:
        think, steps = (read_manifest(tmp_path / form / f"{split}.jsonl") for form in ("think", "steps"))
        for one, other in zip(think, steps, strict=True):
            assert is_well_formed(one.reasoning or "")
            assert is_well_formed(other.reasoning or "", "set_steps")
            assert (one.id, one.labels, one.subtitle) == (other.id, other.labels, other.subtitle)


def test_a_clip_that_cannot_be_finished_leaves_nothing(tmp_path: Path) -> None:
    frames = np.zeros((2, 96, 96, 3), np.uint8)
    wrong = np.zeros(100, np.float64)
    with pytest.raises(ValueError, match="float32"):
        write_clip(tmp_path / "a.mp4", frames, wrong)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_the_tokenizers_texts_are_of_the_corpus_kind_but_of_none_of_its_clips(rows: dict[str, list[Sample]]) -> None:
    texts = list(minimer_texts(300, PLAN.seed))
    assert len(texts) == 300
    assert all(any(word in text for text in texts) for word in WORDS)
    clips = [
        "\n".join((s.subtitle or "", s.reasoning or "", ", ".join(s.labels))) for part in rows.values() for s in part
    ]
    assert texts[: len(clips)] != clips
    assert len(set(texts) & set(clips)) < 0.05 * len(clips)
