"""What the folder of a served model says of how samples are shown to it. No weights are read, no torch is imported."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mer_r1.errors import InputError
from mer_r1.media import MediaBudget
from mer_r1.model_settings import folder_settings, model_folder

_HEARS = ("gemma4", "qwen2_5_omni", "qwen3_omni_moe")  # and their Thinkers
_FIX = "with --served-as give the run, or the folder that is served; without it the name there"


@dataclass(frozen=True)
class ServedFolder:
    """How samples are shown to the checkpoint in `folder`: media budget, prompt template, whether with sound.

    `suppressed` are the ids that the model never answers: those of media and of the chat's frame, but for the end
    token, and rows of the embedding table without a token. Locally they have probability 0.
    """

    folder: Path
    budget: MediaBudget
    prompt_style: str
    hears: bool
    suppressed: tuple[int, ...]


def read_served(source: str) -> ServedFolder:
    """What a run's folder or a checkpoint's says. Raises InputError, naming the file, for one that is none."""
    folder = Path(model_folder(source))
    if not (folder / "config.json").is_file():
        raise InputError(f"{source}: no model's folder (config.json is missing); {_FIX}")
    config = _read(folder / "config.json")
    text = config.get("thinker_config", config)
    try:
        suppressed = _suppressed(folder, text.get("text_config", text)["vocab_size"])
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{folder}: its configuration or tokenizer is not that of a language model ({error}); copy it again"
        ) from None
    hears = str(config.get("model_type")).startswith(_HEARS)
    return ServedFolder(folder, *folder_settings(folder), hears=hears, suppressed=suppressed)


def _suppressed(folder: Path, vocab_size: int) -> tuple[int, ...]:
    tokenizer = _read(folder / "tokenizer.json")
    end = _read(folder / "tokenizer_config.json")["eos_token"]
    added = {token["id"]: token for token in tokenizer["added_tokens"]}
    end_text = end["content"] if isinstance(end, dict) else end
    special = [ident for ident, token in added.items() if token["special"] and token["content"] != end_text]
    num_tokens = len({*tokenizer["model"]["vocab"].values(), *added})
    return (*sorted(special), *range(num_tokens, vocab_size))


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(value, dict):
            return value
    except (OSError, ValueError):
        pass
    raise InputError(f"{path}: cannot be read; the checkpoint is damaged, copy it again")
