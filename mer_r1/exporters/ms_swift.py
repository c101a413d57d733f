"""ms-swift: NAME.jsonl in its standard format, tags before the user's text, absolute paths.

Format: docs/source_en/Customization/Custom-dataset.md of modelscope/ms-swift. For GRPO a row ends with the user's turn
and carries two columns for reward functions: `emotions`, the gold words (docs/python.md), and `solution`, the answer
block that holds them. Paths are absolute because ms-swift looks for relative ones below the folder it is started in.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mer_r1.data.files import put_new, write_json_lines
from mer_r1.exporters.examples import KINDS, Example


def write_ms_swift(examples: Sequence[Example], folder: Path, name: str) -> list[Path]:
    """Write the examples and return what was written."""
    path = folder / f"{name}.jsonl"
    made = path.with_name(f".{path.name}.new")
    write_json_lines(made, [_row(example) for example in examples])
    put_new({path: made})
    return [path]


def _row(example: Example) -> dict[str, Any]:
    row: dict[str, Any] = {"messages": example.chat(tags=True)}
    row |= {f"{kind}s": [os.path.abspath(path) for path in files] for kind in KINDS if (files := example.files(kind))}
    if example.response is None:
        row |= {"emotions": list(example.sample.labels), "solution": example.solution}
    return row
