"""Pictures whose answers come in three steps, and a tiny Qwen2.5-VL that was taught them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CANDIDATES = ("fear", "joy", "calm")


def write_pictures(folder: Path, num: int) -> Path:
    """A manifest of noise pictures of two sizes; each has a subtitle that no question may hold."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(num):
        label = CANDIDATES[number % len(CANDIDATES)]
        size = (84, 84) if number % 2 else (84, 56)
        Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(folder / f"{number}.png")
        rows.append(
            {
                "id": f"picture {number}",
                "image": f"{number}.png",
                "subtitle": "We talked.",
                "labels": [label],
                "candidates": CANDIDATES,
                "reasoning": "<step1>A face, a smile.</step1><step2>A person may feel it.</step2>"
                f"<step3>It is calm.</step3>\\boxed{{{label}}}",
            }
        )
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of six pictures."""
    return write_pictures(tmp_path_factory.mktemp("pictures"), 6)


@pytest.fixture(scope="session")
def stepped_folder(pictures: Path, tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A run that has taught a tiny Qwen2.5-VL to answer about the pictures in three steps."""
    from mer_r1.media import TINY_BUDGET
    from mer_r1.model_settings import write_settings
    from mer_r1.models.tiny.vision import write_tiny_vision
    from mer_r1.pipelines.train import train
    from mer_r1.recipe import Recipe

    rows = [json.loads(line) for line in pictures.read_text(encoding="utf-8").splitlines()]
    folder = tmp_path_factory.mktemp("stepped")
    write_tiny_vision(folder / "tiny", [row["reasoning"] for row in rows])
    write_settings(folder / "tiny", TINY_BUDGET, "brief_set")
    recipe = Recipe.model_validate(
        {
            "kind": "sft",
            "model": {"source": str(folder / "tiny")},
            "data": {"train": str(pictures), "keep_features": True, "workers": 0},
            "optim": {"learning_rate": 3e-3, "max_steps": 30, "batch_size": 6, "warmup_steps": 3, "adam_beta2": 0.98},
        }
    )
    return train(recipe, folder / "run").parent
