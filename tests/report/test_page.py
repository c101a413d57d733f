"""The page of a benchmark of pictures and of a training with their rewards, as it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.report.runs import Page, make_benchmark, page_of, write_lines

PICTURES = {"1": ["fear"], "2": ["awe"], "3": ["sadness"]}


def noted(num: int, accuracy: float, mode: str) -> dict[str, Any]:
    signed = f"set:emoset|n:{num}|parser:one-label|mode:{mode}"
    between = [accuracy / 2, 1.0]
    return {
        "measure": "accuracy", "n": num, "accuracy": accuracy, "intervals": {"accuracy": between}, "signature": signed,
    }  # fmt: skip


@pytest.mark.slow
def test_a_set_of_pictures_has_the_accuracy_of_its_benchmark_as_headline(tmp_path: Path) -> None:
    numbers = {"sets": {"emoset": {"fast": noted(9, 0.125, "fast"), "slow": noted(3, 0.625, "slow")}}}
    text = page_of(make_benchmark(tmp_path / "b", {"emoset": PICTURES}, "m", numbers)).read_text(encoding="utf-8")
    page = Page(text)
    assert "m accuracy, percent fast – slow 62.5 [31.2, 100.0]" in page.text
    assert '<th class="wide">F1</th><th class="wide">HIT</th><th>accuracy</th>' in text
    assert text.count('<span class="best">62.5</span>') == 1
    assert "Accuracy with 95 % intervals." in text
    assert "set:emoset|n:3|parser:one-label|mode:slow set:emoset|n:3|wheels:" in page.text
    assert "m, fast: accuracy left out: metrics.json has it of 9 clips, here are 3" in page.text
    assert "n:9" not in page.text
    assert "12.5" not in page.text


@pytest.mark.slow
def test_a_number_that_a_run_logged_has_its_curve(tmp_path: Path) -> None:
    log = [{"step": s, "loss": 0.0, "reward/accuracy": s / 8, "reward/reflection": 0.5} for s in range(1, 5)]
    write_lines(tmp_path / "rl" / "metrics.jsonl", log)
    text = page_of(tmp_path / "rl").read_text(encoding="utf-8")
    assert "Accuracy reward" in text
    assert "Reflective reward" in text
    assert "Recall reward" not in text
    assert "SFT loss" not in text
    assert "Correlation of the sampler" not in text
    write_lines(tmp_path / "vllm" / "metrics.jsonl", [row | {"sampling/pearson": 0.9999} for row in log])
    assert "Correlation of the sampler" in page_of(tmp_path / "vllm").read_text(encoding="utf-8")
    write_lines(tmp_path / "old" / "metrics.jsonl", [{"step": 1, "reward/recall": 0.5}])
    assert "Accuracy reward" not in page_of(tmp_path / "old").read_text(encoding="utf-8")


def test_a_group_of_rollouts_shows_the_rewards_that_it_has(tmp_path: Path) -> None:
    rewards = [{"format": 1.0, "accuracy": a, "coherence": a, "consistency": 0.5, "reflection": r}
               for a, r in ((1.0, 0.75), (0.0, 0.25))]  # fmt: skip
    rows = [{"step": 1, "id": "x", "labels": ["awe"], "rewards": item, "advantage": 0.0} for item in rewards]
    write_lines(tmp_path / "rl" / "rollouts.jsonl", rows)
    write_lines(tmp_path / "rl" / "metrics.jsonl", [{"step": 1, "reward/accuracy": 0.5}])
    page = Page(page_of(tmp_path / "rl").read_text(encoding="utf-8"))
    assert "answer advantage format accuracy coherence consistency reflection" in page.text
    assert "+0.00 1.00 1.00 1.00 0.50 0.75" in page.text
    assert "reflection: their mean" in page.text
    assert "end token" not in page.text  # a run that did not ask for it


def test_a_rollout_that_did_not_end_says_why_its_format_is_not_paid(tmp_path: Path) -> None:
    rows = [{"step": 1, "id": "x", "labels": ["awe"], "rewards": {"format": float(end)}, "advantage": 0.0, "ended": end}
            for end in (True, False)]  # fmt: skip
    write_lines(tmp_path / "rl" / "rollouts.jsonl", rows)
    write_lines(tmp_path / "rl" / "metrics.jsonl", [{"step": 1, "reward/format": 0.5}])
    page = Page(page_of(tmp_path / "rl").read_text(encoding="utf-8"))
    assert page.text.count("The end token did not follow") == 1


@pytest.mark.slow
def test_the_page_says_what_answered(tmp_path: Path) -> None:
    run = make_benchmark(tmp_path / "b", {"emoset": PICTURES, "webemo": PICTURES}, "m", {"sets": {}})
    for name, settings in (("emoset", {"engine": "vllm"}), ("webemo", {"temperature": 0.0})):
        kept = {"settings": settings, "samples": {}}
        (run / name / "predictions.jsonl.settings.json").write_text(json.dumps(kept))
    page = Page(page_of(run).read_text(encoding="utf-8"))
    assert "Answers of m by vLLM. Answers of m by our own loop." in page.text
