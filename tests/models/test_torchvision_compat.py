"""Importing mer_r1.models makes the official video processor work beside a torch its wheels were not built for."""

from __future__ import annotations

import torch

from mer_r1.models.torchvision_compat import ensure_torchvision


def test_the_official_video_processor_works_after_the_package_is_imported() -> None:
    from transformers import Qwen2VLVideoProcessor

    frames = torch.zeros(4, 3, 56, 56, dtype=torch.uint8)
    made = Qwen2VLVideoProcessor()(videos=[frames], do_resize=False, do_sample_frames=False, return_tensors="pt")
    assert made["video_grid_thw"].tolist() == [[2, 4, 4]]
    ensure_torchvision()  # a second time changes nothing
