"""LLaMA-Factory: NAME.json of messages with tags, and its entry in dataset_info.json.

Format: data/README.md of hiyouga/LLaMA-Factory ("sharegpt" with the roles of OpenAI, as its mllm_video_audio_demo):
`<video>`, `<image>` and `<audio>` stand before the user's text, one a file of the columns `videos`, `images`, `audios`.
Paths are relative to the folder, which is `dataset_dir` and, unless `media_dir` says otherwise, the root of media.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mer_r1.data.files import put_new, write_json
from mer_r1.data.manifest import seen_from
from mer_r1.errors import InputError
from mer_r1.exporters.examples import KINDS, Example

INFO_FILE = "dataset_info.json"


def write_llama_factory(examples: Sequence[Example], folder: Path, name: str) -> list[Path]:
    """Write the examples as the data set `name` and return what was written."""
    kinds = [kind for kind in KINDS if any(example.files(kind) for example in examples)]
    rows = [
        {"messages": example.chat(tags=True)}
        | {f"{kind}s": [seen_from(path, folder) for path in example.files(kind)] for kind in kinds}
        for example in examples
    ]
    path = folder / f"{name}.json"
    info = _info(folder / INFO_FILE)  # is found wrong before anything is written
    made = path.with_name(f".{path.name}.new")
    write_json(made, rows)
    put_new({path: made})
    info[name] = {
        "file_name": path.name,
        "formatting": "sharegpt",
        "columns": {"messages": "messages", **{f"{kind}s": f"{kind}s" for kind in kinds}},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        },
    }
    write_json(folder / INFO_FILE, info)
    return [path, folder / INFO_FILE]


def _info(path: Path) -> dict[str, Any]:
    """The entries that are there already."""
    if not path.exists():
        return {}
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        info = None
    if not isinstance(info, dict):
        raise InputError(f"{path}: not a dataset_info.json; remove it, or give another folder with --out")
    return info
