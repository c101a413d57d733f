"""Ids of models and data sets on the Hugging Face Hub, told from paths, which are never asked of it."""

from __future__ import annotations

import re
from pathlib import Path

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILE_ENDINGS = (".safetensors", ".bin", ".pt", ".gguf", ".json", ".jsonl", ".yaml", ".yml")


def looks_like_hub_id(source: str) -> bool:
    """Whether this may be owner/name on the Hub rather than a path.

    It has one slash. What begins with "runs/" or with a folder that is there, or ends as a file does, is a path.
    """
    owner = source.partition("/")[0]
    is_path = owner == "runs" or Path(owner).is_dir() or source.lower().endswith(_FILE_ENDINGS)
    return _HUB_ID.fullmatch(source) is not None and not is_path
