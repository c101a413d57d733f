"""Tiny random models of the other kinds, made once a session."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mer_r1.models.causal_lm import CausalLMBackbone
    from mer_r1.models.gemma4 import Gemma4Backbone
    from mer_r1.models.qwen2_5_vl import VisionBackbone


@pytest.fixture(scope="session")
def gemma4(gemma4_folder: Path) -> Gemma4Backbone:
    """The tiny Gemma 4 loaded; tests leave it as it is."""
    from mer_r1.models.gemma4 import load_gemma4

    return load_gemma4(str(gemma4_folder))


@pytest.fixture(scope="session")
def vision_folder(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A random tiny Qwen2.5-VL's folder."""
    from mer_r1.models.tiny.vision import write_tiny_vision
    from mer_r1.synthetic.corpus import minimer_texts

    return write_tiny_vision(tmp_path_factory.mktemp("vision") / "model", minimer_texts(300))


@pytest.fixture(scope="session")
def vision(vision_folder: Path) -> VisionBackbone:
    """The tiny Qwen2.5-VL loaded; tests leave it as it is."""
    from mer_r1.models.qwen2_5_vl import load_vision

    return load_vision(str(vision_folder))


@pytest.fixture(scope="session")
def words_folder(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A random tiny language model's folder."""
    from mer_r1.models.tiny.text import write_tiny_text
    from mer_r1.synthetic.corpus import minimer_texts

    return write_tiny_text(tmp_path_factory.mktemp("words") / "model", minimer_texts(300))


@pytest.fixture(scope="session")
def words(words_folder: Path) -> CausalLMBackbone:
    """The tiny language model loaded; tests leave it as it is."""
    from mer_r1.models.causal_lm import load_causal_lm

    return load_causal_lm(str(words_folder))
