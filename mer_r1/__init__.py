"""mer-r1: reasoning models that read human emotion from video, voice and words.

The names here are the package's Python API (docs/python.md). Each is imported on first use, so `import mer_r1` is
light, and only `load_model`, and `predict` and `predict_windows` when they are called, import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mer_r1.version import __version__

if TYPE_CHECKING:
    from mer_r1 import rewards
    from mer_r1.data.manifest import read_manifest, write_manifest
    from mer_r1.data.sample import Clip, Prediction, Response, Sample
    from mer_r1.emotion.wheel import WheelSet
    from mer_r1.errors import InputError
    from mer_r1.evaluation.compare import compare_files
    from mer_r1.generation.local import load_model
    from mer_r1.generation.predict import predict, predict_clips
    from mer_r1.generation.timeline import predict_windows
    from mer_r1.media import MediaBudget, read_clip
    from mer_r1.metrics.corpus_score import compare, score
    from mer_r1.prompting.label_extractors import extract_labels
    from mer_r1.prompting.response import parse_response

__all__ = [
    "Clip",
    "InputError",
    "MediaBudget",
    "Prediction",
    "Response",
    "Sample",
    "WheelSet",
    "__version__",
    "compare",
    "compare_files",
    "extract_labels",
    "load_model",
    "parse_response",
    "predict",
    "predict_clips",
    "predict_windows",
    "read_clip",
    "read_manifest",
    "rewards",
    "score",
    "write_manifest",
]
_MODULE_OF = {
    "Clip": "data.sample",
    "InputError": "errors",
    "MediaBudget": "media",
    "Prediction": "data.sample",
    "Response": "data.sample",
    "Sample": "data.sample",
    "WheelSet": "emotion.wheel",
    "compare": "metrics.corpus_score",
    "compare_files": "evaluation.compare",
    "extract_labels": "prompting.label_extractors",
    "load_model": "generation.local",
    "parse_response": "prompting.response",
    "predict": "generation.predict",
    "predict_clips": "generation.predict",  # deprecated
    "predict_windows": "generation.timeline",
    "read_clip": "media",
    "read_manifest": "data.manifest",
    "score": "metrics.corpus_score",
    "write_manifest": "data.manifest",
}


if not TYPE_CHECKING:  # or a wrong name would be of type Any instead of an error

    def __getattr__(name: str) -> Any:
        if name == "rewards":
            return import_module("mer_r1.rewards")
        if name in _MODULE_OF:
            return getattr(import_module(f"mer_r1.{_MODULE_OF[name]}"), name)
        raise AttributeError(f"module 'mer_r1' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
