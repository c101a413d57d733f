"""Pictures as files: splits of their shares, real PNG, rows with one label of their candidates."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from mer_r1.data.manifest import read_manifest
from mer_r1.data.sample import Sample
from mer_r1.media import MediaBudget, read_clip
from mer_r1.synthetic.picture_scenes import EIGHT, SIX
from mer_r1.synthetic.pictures import SPLITS, PicturePlan, picture_texts, write_pictures
from tests.synthetic.test_parts import contents

PLAN = PicturePlan(num=60, seed=4)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    write_pictures(PLAN, folder)
    return folder


@pytest.fixture(scope="module")
def rows(made: Path) -> dict[str, list[Sample]]:
    return {split: read_manifest(made / f"{split}.jsonl") for split in SPLITS}


def test_a_larger_set_begins_with_the_smaller_and_another_seed_shares_no_picture(made: Path, tmp_path: Path) -> None:
    write_pictures(PicturePlan(20, 4), tmp_path / "smaller")
    write_pictures(PicturePlan(20, 5), tmp_path / "other")
    whole, smaller, other = (contents(folder) for folder in (made, tmp_path / "smaller", tmp_path / "other"))
    names = [name for name in smaller if name.endswith(".png")]
    assert len(names) == 20
    assert all(whole[name] == smaller[name] for name in names)
    assert all(whole[name] != other[name] for name in names)


def test_every_picture_is_in_one_split_of_its_share(rows: dict[str, list[Sample]]) -> None:
    assert {split: len(samples) for split, samples in rows.items()} == {"train": 36, "val": 6, "test": 12, "other": 6}
    assert len({sample.id for samples in rows.values() for sample in samples}) == PLAN.num
    images = [sample.image for samples in rows.values() for sample in samples]
    assert len({image.read_bytes() for image in images if image}) == PLAN.num


def test_a_row_has_one_label_of_its_candidates_a_valence_and_a_reasoning(rows: dict[str, list[Sample]]) -> None:
    for split, samples in rows.items():
        for sample in samples:
            assert sample.candidates == (SIX if split == "other" else EIGHT)
            assert sample.source == ("sketched" if split == "other" else "painted")
            assert len(sample.labels) == 1
            assert sample.labels[0] in sample.candidates
            assert sample.reasoning
            assert sample.reasoning.endswith(f"\\boxed{{{sample.labels[0]}}}")
            assert sample.valence is not None
            assert 0 < abs(sample.valence) <= 1


def test_a_picture_is_a_png_that_reads_as_one_frame(rows: dict[str, list[Sample]]) -> None:
    budget = MediaBudget(num_frames=2, min_pixels=84 * 84, max_pixels=84 * 84)
    for sample in (samples[0] for samples in rows.values()):
        assert sample.image is not None
        with Image.open(sample.image) as image:
            assert (image.format, image.size, image.mode) == ("PNG", (84, 84), "RGB")
        clip = read_clip(sample, budget)
        assert clip.frames_THWC is not None
        assert clip.frames_THWC.shape == (1, 84, 84, 3)


def test_the_tokenizers_texts_hold_every_label_and_are_of_no_picture(rows: dict[str, list[Sample]]) -> None:
    texts = list(picture_texts(400, PLAN.seed))
    assert len(texts) == 400
    boxed = Counter(text.partition("\\boxed{")[2].partition("}")[0] for text in texts)
    assert set(boxed) == set(EIGHT) | set(SIX)
    own = {sample.id: f"{sample.reasoning}\n{', '.join(sample.candidates)}" for sample in rows["train"]}
    assert set(texts) & set(own.values())
    same = [own.get(f"minimer-picture-{PLAN.seed}-{index:06d}") == text for index, text in enumerate(texts)]
    assert sum(same) < 0.2 * len(own)
