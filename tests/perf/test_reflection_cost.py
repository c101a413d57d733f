"""The benchmark of the reflective reward: its counts are true, and its slow side asks the same."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from tests.perf.test_perf import printed, script

pytestmark = pytest.mark.slow

__all__ = ["script"]

SMALL = {"picture": 4, "answer": 80, "group": 2, "hidden": 64, "layers": 1, "rounds": 1, "clock": "cpu"}


def test_reflection_cost_prints_shares_and_tower_calls(script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]
    result = printed(script("reflection_cost"), capsys, *arguments)
    assert result["tower_calls"] == {"without": 1, "with": 1, "naive": 2}
    assert all(-10 < result[name] < 1 for name in ("share", "naive_share"))
    assert min(result["step_s"].values()) > 0


def test_the_naive_side_hears_the_same_answers(script: Any, tmp_path: Path) -> None:
    module = script("reflection_cost")
    options = Namespace(**SMALL)
    backbone, clip = module.make_backbone(options), module.make_clip(options)
    reflections = []
    for naive in (False, True):
        folder = tmp_path / str(naive)
        module.make_step("emo_r3", backbone, clip, folder, options, naive)()
        rows = [json.loads(line) for line in (folder / "rollouts.jsonl").read_text().splitlines()]
        reflections.append([row["reflection"] for row in rows])
    assert reflections[0] == reflections[1]
    assert [set(answers) for answers in reflections[0]] == [{"coherence", "consistency"}] * 2
