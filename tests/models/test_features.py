"""Kept features are the fresh ones, and never those of something else."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from mer_r1.models import features
from mer_r1.models.features import read_prompts
from mer_r1.models.qwen2_5_omni import OmniBackbone
from mer_r1.models.types import Prompt


def _equal(one: Prompt, other: Prompt) -> bool:
    assert one.media.keys() == other.media.keys()
    pairs = [(one.input_ids_T, other.input_ids_T), (one.positions_3T, other.positions_3T)]
    pairs += [(one.media[name], other.media[name]) for name in one.media]
    assert all(a.dtype == b.dtype for a, b in pairs)
    return (one.id, one.facts) == (other.id, other.facts) and all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.slow
def test_kept_features_are_the_fresh_ones(
    tiny: OmniBackbone,
    samples: list[Sample],
    prompts: Sequence[Prompt],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(features, "SHARD", 3)
    kept = read_prompts(tiny, samples, tmp_path)
    assert len(kept) == len(prompts) == len(samples)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 3
    assert [prompt.id for prompt in kept] == [sample.id for sample in samples]
    assert all(_equal(one, other) for one, other in zip(kept, prompts, strict=True))
    assert all(_equal(one, other) for one, other in zip(kept[2:5], prompts[2:5], strict=True))
    assert all(_equal(a, b) for a, b in zip(pickle.loads(pickle.dumps(kept)), prompts, strict=True))


def test_features_are_computed_once(
    tiny: OmniBackbone, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []
    read_prompts(tiny, samples[:3], tmp_path, progress=done.append)
    assert done == [3]
    monkeypatch.setattr(features, "read_clip", None)  # a second reading of media would call it
    assert len([*read_prompts(tiny, samples[:3], tmp_path)]) == 3


@pytest.mark.slow
def test_features_made_in_loader_processes_are_the_same(
    tiny: OmniBackbone, samples: list[Sample], prompts: Sequence[Prompt], tmp_path: Path
) -> None:
    kept = read_prompts(tiny, samples[:2], tmp_path, workers=1)
    assert all(_equal(one, other) for one, other in zip(kept, prompts[:2], strict=True))


@pytest.mark.slow
def test_on_one_core_no_more_processes_are_started_than_it_has_and_torch_does_not_warn(
    tiny: OmniBackbone, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "SHARD", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert len(read_prompts(tiny, samples[:2], tmp_path, workers=8)) == 2


@pytest.mark.slow
def test_whatever_changes_features_changes_their_folder(
    tiny: OmniBackbone, samples: list[Sample], tmp_path: Path
) -> None:
    sample = samples[1]
    assert sample.video
    video = Path(shutil.copy(sample.video, tmp_path / "clip.mp4"))
    sample = replace(sample, video=video)
    kept = tmp_path / "features"
    read_prompts(tiny, [sample], kept)
    num = 1

    def is_new(backbone: OmniBackbone, rows: list[Sample]) -> bool:
        nonlocal num
        read_prompts(backbone, rows, kept)
        before, num = num, len(list(kept.iterdir()))
        return num == before + 1

    assert not is_new(tiny, [sample])
    assert not is_new(tiny, [replace(sample, labels=("sad",), reasoning="other")])
    assert is_new(tiny, [replace(sample, subtitle="Another.")])
    assert is_new(tiny, [sample, samples[2]])
    assert is_new(tiny, [samples[2], sample])
    assert is_new(replace(tiny, prompt_style="full"), [sample])
    assert is_new(replace(tiny, budget=replace(tiny.budget, num_frames=2)), [sample])
    video.write_bytes(video.read_bytes() + b"\0" * 8)
    assert is_new(tiny, [sample])
    stat = video.stat()
    os.utime(video, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))
    assert is_new(tiny, [sample])


def test_a_clip_that_cannot_be_read_is_named(tiny: OmniBackbone, samples: list[Sample], tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no clip")
    rows = [samples[0], Sample("bad", video=bad)]
    for keep_in in (None, tmp_path / "features"):
        with pytest.raises(InputError, match=r"bad\.mp4"):
            [*read_prompts(tiny, rows, keep_in)]
    assert not list((tmp_path / "features").rglob("*.safetensors"))
    assert not list((tmp_path / "features").rglob("*.tmp"))


def test_kept_prompts_end_where_a_sequence_ends(tiny: OmniBackbone, samples: list[Sample], tmp_path: Path) -> None:
    kept = read_prompts(tiny, samples[:2], tmp_path)
    for index in (2, -3):
        with pytest.raises(IndexError):
            kept[index]
    assert _equal(kept[-1], kept[1])


@pytest.mark.slow
def test_a_worker_names_an_unreadable_clip_in_one_line(
    tiny: OmniBackbone, samples: list[Sample], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_text("text")
    with pytest.raises(InputError, match=r"bad\.mp4") as caught:
        read_prompts(tiny, [*samples[:2], Sample("bad", video=bad)], tmp_path / "kept", workers=1)
    assert "Traceback" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_candidates_are_other_features(tiny: OmniBackbone, samples: list[Sample], tmp_path: Path) -> None:
    for labels in ((), ("joy",), ("joy", "fear"), ("joy",)):
        read_prompts(tiny, [replace(samples[0], candidates=labels)], tmp_path)
    assert len([*tmp_path.iterdir()]) == 3
