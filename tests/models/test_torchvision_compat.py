"""Importing mer_r1.models makes the official video processor work beside a torch its wheels were not built for."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CODE = """
import mer_r1.models
import numpy, torch
from transformers import Qwen2VLVideoProcessor
frames = torch.from_numpy(numpy.zeros((4, 3, 56, 56), dtype=numpy.uint8))
made = Qwen2VLVideoProcessor()(videos=[frames], do_resize=False, do_sample_frames=False, return_tensors="pt")
print(made["video_grid_thw"].tolist())
mer_r1.models.ensure_torchvision()  # a second time changes nothing
"""


def test_the_official_video_processor_works_after_the_package_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[[2, 4, 4]]"
