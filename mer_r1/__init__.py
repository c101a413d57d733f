"""mer-r1: reasoning models that read human emotion from video, voice and words.

`score`, `WheelSet`, `read_manifest`, `read_clip`, `load_model` and `predict` are here for short; each is imported on
first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
_HOMES = {
    "WheelSet": "mer_r1.emotion.wheel",
    "load_model": "mer_r1.generation.local",
    "predict": "mer_r1.generation.predict",
    "read_clip": "mer_r1.media",
    "read_manifest": "mer_r1.data.manifest",
    "score": "mer_r1.metrics.corpus_score",
}
__all__ = ["WheelSet", "__version__", "load_model", "predict", "read_clip", "read_manifest", "score"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mer_r1' has no attribute {name!r}")
