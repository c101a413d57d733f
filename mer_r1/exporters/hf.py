"""Hugging Face `datasets`: the manifest itself as Parquet, films, sound and pictures embedded as such.

The columns are the manifest's keys that some row has. Prompts are not among them: they belong to a model, not to data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mer_r1.data.manifest import KEYS, LIST_KEYS, MEDIA_KEYS
from mer_r1.data.sample import Sample
from mer_r1.exporters.parquet import embedded, write_parquet


def write_hf(samples: Sequence[Sample], folder: Path, name: str) -> list[Path]:
    """Write the samples as the split `name` of a data set and return what was written."""
    import datasets

    kinds = {
        "video": datasets.Video(),
        "audio": datasets.Audio(),
        "image": datasets.Image(),
        "valence": datasets.Value("float64"),
        **{key: datasets.List(datasets.Value("string")) for key in LIST_KEYS},
    }
    held = [key for key in KEYS if any(_has(sample, key) for sample in samples)]
    features = datasets.Features({key: kinds.get(key, datasets.Value("string")) for key in held})
    return write_parquet(folder, name, _rows(samples, held), features)


def _has(sample: Sample, key: str) -> bool:
    return getattr(sample, key) not in (None, ())


def _rows(samples: Sequence[Sample], keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    for sample in samples:
        row: dict[str, Any] = {}
        for key in keys:
            value = getattr(sample, key)
            row[key] = embedded(value) if key in MEDIA_KEYS and value is not None else value
        yield row
