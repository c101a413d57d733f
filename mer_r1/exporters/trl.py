"""TRL: `prompt` and `completion` as chats for SFTTrainer, `prompt` and reward columns for GRPOTrainer, in Parquet.

Format: the dataset formats of TRL's documentation. Its trainers read `images` and no other media (seen in 1.16), and
put them before the user's text, where ours stand. So a film is `num_frames` pictures of it, evenly over its length.
Sound is left out. For GRPO a row has `labels`, which the functions of `mer_r1.rewards` read, `candidates` where there
are any, and `solution`, the answer block of the labels.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mer_r1.exporters.examples import Example
from mer_r1.exporters.parquet import Cell, embedded, write_parquet
from mer_r1.media import MediaBudget, decode_file

JPEG_QUALITY = 95


def write_trl(examples: Sequence[Example], folder: Path, name: str) -> list[Path]:
    """Write the examples as the split `name` of a data set and return what was written."""
    import datasets

    text = datasets.Value("string")
    turns = datasets.List({"role": text, "content": text})
    features = {"prompt": turns}
    if any(example.files("image") or example.files("video") for example in examples):
        features["images"] = datasets.List(datasets.Image())
    if examples[0].response is not None:
        features["completion"] = turns
    else:
        features |= {"solution": text, "labels": datasets.List(text)}
        if any(example.sample.candidates for example in examples):
            features["candidates"] = datasets.List(text)
    rows = _rows(examples)
    kept = ({column: row[column] for column in features} for row in rows)
    return write_parquet(folder, name, kept, datasets.Features(features))


def _rows(examples: Sequence[Example]) -> Iterator[dict[str, Any]]:
    for example in examples:
        chat = example.chat()
        answer = [chat.pop()] if example.response is not None else []
        yield {
            "prompt": chat,
            "completion": answer,
            "images": _pictures(example),
            "solution": example.solution,
            "labels": list(example.sample.labels),
            "candidates": list(example.sample.candidates),
        }


def _pictures(example: Example) -> list[Cell]:
    cells = [embedded(path) for path in example.files("image")]
    for path in example.files("video"):
        assert example.num_frames is not None
        budget = MediaBudget(num_frames=example.num_frames, fps=None, frames_multiple=1)
        frames_THWC = decode_file(path, budget, sound=False).frames_THWC
        assert frames_THWC is not None
        cells += [{"bytes": _jpeg(frame), "path": f"{index}.jpg"} for index, frame in enumerate(frames_THWC)]
    return cells


def _jpeg(frame_HWC: Any) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(frame_HWC).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()
