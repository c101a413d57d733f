"""The small parts of the quickstart; the whole of it is a run of minutes, not a test."""

import io
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from mer_r1.analysis.modality import drop
from mer_r1.data.sample import Clip, MediaFacts, Sample
from mer_r1.display.quickstart import MEDIA, SYSTEMS, TITLES, print_metrics
from mer_r1.evaluation.records import MetricsRecord
from mer_r1.pipelines.quickstart import _best_constant

NUMBERS = {"recall": 0.5, "precision": 0.25, "f1": 1 / 3}


def a_clip() -> tuple[Sample, Clip]:
    frames_THWC, waveform_N = np.zeros((2, 28, 28, 3), np.uint8), np.zeros(160, np.float32)
    return Sample("a", subtitle="Hello.", labels=("happy",)), Clip(frames_THWC, waveform_N, MediaFacts(video_s=1.0))


def held(sample: Sample, clip: Clip) -> dict[str, bool]:
    return {
        "video": clip.frames_THWC is not None,
        "sound": clip.waveform_N is not None,
        "subtitle": sample.subtitle is not None,
    }


def measured(**changed: Any) -> dict[str, Any]:
    """Metrics as the quickstart writes them, with every number alike."""
    metrics = {
        "systems": {name: {mode: dict(NUMBERS) for mode in ("fast", "slow")} for name in SYSTEMS},
        "without": {medium: {"n": 40, **NUMBERS} for medium in ("nothing", *MEDIA)},
        "constant": {"words": ["happy", "sad"], **NUMBERS},
        "signature": "set:test|n:40",
    }
    return {**metrics, **changed}


def shown(metrics: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=160)
    print_metrics(MetricsRecord.from_json(metrics, "metrics.json"), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("│")[1:-1]]


@pytest.mark.parametrize("medium", MEDIA)
def test_drop_takes_one_medium_away_and_leaves_the_rest(medium: str) -> None:
    sample, clip = a_clip()
    found = drop(sample, clip, medium)
    assert held(*found) == {item: item != medium for item in MEDIA}
    assert (found[0].id, found[0].labels, found[1].facts) == (sample.id, sample.labels, clip.facts)
    assert all(held(sample, clip).values())


def test_drop_of_nothing_changes_nothing() -> None:
    sample, clip = a_clip()
    same, kept = drop(sample, clip, "nothing")
    assert same == sample
    assert all(getattr(kept, field.name) is getattr(clip, field.name) for field in fields(Clip))


def test_the_best_constant_has_the_highest_f1_that_is_defined() -> None:
    rows = [{"words": [word], "f1": f1} for word, f1 in (("a", None), ("b", 0.2), ("c", 0.4), ("d", 0.3))]
    report: Any = SimpleNamespace(signature="set:test|n:40", to_json=lambda: {"constant_baselines": rows})
    best = _best_constant(report)
    assert (best.words, best.f1, best.signature) == (["c"], 0.4, "set:test|n:40")


def test_every_system_has_its_title_in_order() -> None:
    assert tuple(TITLES) == SYSTEMS


def test_the_table_shows_each_system_in_both_modes_and_the_constant_answer() -> None:
    lines = shown(measured()).splitlines()
    rows = [cells(line) for line in lines if line.startswith("│")]
    numbers = ["50.0", "25.0", "33.3"]
    of_systems = [[title, mode, *numbers] for name in SYSTEMS for title, mode in ((TITLES[name], "fast"), ("", "slow"))]
    assert rows == [*of_systems, ["always “happy, sad”", "-", *numbers]]
    assert lines[-2].strip() == "set:test|n:40"
    assert lines[-1].strip() == (
        "MER-R1 slow F1 on 40 clips: all media 33.3, no video 33.3, no sound 33.3, no subtitle 33.3"
    )


def test_numbers_that_are_not_defined_print_as_a_dash() -> None:
    none = dict.fromkeys(NUMBERS)
    text = shown(
        measured(
            systems={name: {"fast": none, "slow": none} for name in SYSTEMS},
            without={medium: {"n": 40, **none} for medium in ("nothing", *MEDIA)},
            constant={"words": ["happy"], **none},
        )
    )
    rows = [cells(line) for line in text.splitlines() if line.startswith("│")]
    assert len(rows) == 2 * len(SYSTEMS) + 1
    assert all(row[-3:] == ["–", "–", "–"] for row in rows)
    assert "all media –, no video –, no sound –, no subtitle –" in text
