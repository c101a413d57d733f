"""How samples are shown to a model: `mer_r1.json` beside its weights, which travels with them. Read without torch.

With it what every engine is told alike.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from mer_r1.data.files import write_json
from mer_r1.errors import InputError
from mer_r1.media import MediaBudget

SETTINGS_FILE = "mer_r1.json"
SUPPRESSED_BIAS = -100.0
"""What an engine adds to the logits of ids that are never answered: the lowest that vLLM and OpenAI's API take."""


def model_folder(source: str) -> str:
    """The model's folder in a run's; any other source as it is."""
    inner = Path(source) / "model"
    return str(inner) if inner.is_dir() else source


def write_settings(folder: Path, budget: MediaBudget, prompt_style: str) -> None:
    """Write how samples are shown to the model of this folder."""
    write_json(folder / SETTINGS_FILE, {"prompt_style": prompt_style, "budget": asdict(budget)})


def read_settings(path: Path) -> tuple[MediaBudget, str]:
    """(media budget, prompt template) of a settings file. Raises InputError that names it when it is none."""
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        return MediaBudget(**saved["budget"]), str(saved["prompt_style"])
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: not the settings of a model ({error}); copy it again, or remove it") from None


def folder_settings(folder: Path) -> tuple[MediaBudget, str]:
    """(media budget, prompt template) that a model's folder brings along, else those of a published checkpoint."""
    path = folder / SETTINGS_FILE
    return read_settings(path) if path.is_file() else (MediaBudget(), "full")
