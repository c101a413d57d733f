"""What a model's folder says without torch: how samples are shown to it, and what it is.

`mer_r1.json` beside the weights says how samples are shown, and travels with them. With it what every engine is told
alike. `model_facts` says which model answers: its size, what it learned from, and whether it is a toy.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mer_r1.data.files import write_json
from mer_r1.data.hub_names import looks_like_hub_id as looks_like_hub_id
from mer_r1.errors import InputError
from mer_r1.media import MediaBudget
from mer_r1.text import printable

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


_CELLS_OF_32 = MediaBudget(max_pixels=256 * 32 * 32, min_pixels=4 * 32 * 32, size_multiple=32)
PUBLISHED_BUDGETS = {
    "gemma4": MediaBudget(
        fps=1.0,
        max_pixels=70 * 48 * 48,
        min_pixels=35 * 48 * 48,
        size_multiple=48,
        frames_multiple=1,
        max_video_s=60.0,
        max_audio_s=30.0,
    ),
    "qwen3_vl": _CELLS_OF_32,
    "qwen3_vl_moe": _CELLS_OF_32,
    "qwen3_omni_moe": replace(_CELLS_OF_32, audio_tokens_per_s=13),
}
"""model_type -> how much of a clip a published checkpoint is shown, where that is not MediaBudget's default."""


def published_settings(model_type: str) -> tuple[MediaBudget, str]:
    """(media budget, prompt template) of a checkpoint that brings none along."""
    return PUBLISHED_BUDGETS.get(model_type.removesuffix("_thinker"), MediaBudget()), "full"


def folder_settings(folder: Path) -> tuple[MediaBudget, str]:
    """(media budget, prompt template) that a model's folder brings along, else those of a published checkpoint."""
    path = folder / SETTINGS_FILE
    if path.is_file():
        return read_settings(path)
    return published_settings(str(_json(folder / "config.json").get("model_type")))


TOY_PARAMETERS = 50_000_000
"""A model of fewer parameters is a toy: the smallest published one that this package loads has 3 billion."""
TOY_NOTE = (
    "A toy: its answers say nothing about people, and its reasoning describes a face, a voice and words also where the "
    "clip has none."
)
_LONGEST_HEADER = 100_000_000  # bytes, as the format bounds it
_LONGEST_CHAIN = 8  # runs that start from each other


class TrainingData(NamedTuple):
    """A manifest that a model learned from; `rows` is None where that is not recorded.

    `drawn` names the corpus where its clips are drawn by this package ("MiniMER"), "" where that is not known.
    """

    manifest: str
    rows: int | None = None
    drawn: str = ""


@dataclass(frozen=True)
class ModelFacts:
    """What can be said of a model without loading it; what is not known is empty or None.

    `name` is what was given. `architecture` is the model's class, `num_parameters` the number of its weights. `base` is
    what training began from: a Hub id, a folder, or "tiny" for the package's own untrained one. `data` are the
    manifests of its run and of the runs that it started from, the last first.
    """

    name: str
    architecture: str = ""
    num_parameters: int | None = None
    base: str = ""
    data: tuple[TrainingData, ...] = ()

    @property
    def is_toy(self) -> bool:
        """It is too small to know anything of people."""
        return self.num_parameters is not None and self.num_parameters < TOY_PARAMETERS

    @property
    def size(self) -> str:
        """1.4 M parameters, 7.6 B parameters; "" where it is not known."""
        if self.num_parameters is None:
            return ""
        scale, letter = (1e9, "B") if self.num_parameters >= 1e9 else (1e6, "M")
        return f"{self.num_parameters / scale:.1f} {letter} parameters"

    @property
    def learned_from(self) -> str:
        """What it learned from, in words; "" where it is not recorded."""
        said = []
        for data in self.data:
            corpus = f"drawn clips of {data.drawn}" if data.drawn else printable(Path(data.manifest).name)
            said.append(corpus if data.rows is None else f"{data.rows:,} rows of {corpus}")
        return " and ".join(dict.fromkeys(said))

    @property
    def line(self) -> str:
        """Which model this is, in one line, with `TOY_NOTE` where it is a toy."""
        learned = f"learned from {self.learned_from}" if self.data else ""
        facts = ", ".join(fact for fact in (self.architecture, self.size, learned) if fact)
        named = f"{printable(self.name, 200)} ({facts})" if facts else printable(self.name, 200)
        return f"{named}. {TOY_NOTE}" if self.is_toy else named


def model_facts(source: str) -> ModelFacts:
    """What is known of a run, of a model's or an adapter's folder, or by its name alone of a model that is elsewhere.

    Reads its configuration, the heads of its weight files, and the recipe and run.json of the run that it lies in.
    Nothing is asked of the Hub, and a file that is missing or damaged only leaves its facts out.
    """
    folder = Path(model_folder(source))
    if not folder.is_dir():
        return ModelFacts(source)
    adapter = _json(folder / "adapter_config.json").get("base_model_name_or_path")
    below = model_facts(adapter) if isinstance(adapter, str) and adapter != source else ModelFacts("")
    own = _num_parameters(folder)
    num_parameters = below.num_parameters if adapter else own
    if adapter and own is not None and num_parameters is not None:
        num_parameters += own
    config = _json(folder / "config.json")
    names = config.get("architectures") or [config.get("model_type") or below.architecture]
    runs = [*_runs(folder)]
    return ModelFacts(
        source,
        printable(names[0] if isinstance(names, list) and names else ""),
        num_parameters,
        str(adapter or (runs[-1].source if runs else "")),
        tuple(dict.fromkeys(run.data for run in runs)) or below.data,
    )


class _TrainedRun(NamedTuple):
    source: str
    data: TrainingData


def _runs(folder: Path) -> Iterator[_TrainedRun]:
    """The training runs behind a model's folder, the last first."""
    for _ in range(_LONGEST_CHAIN):
        run = folder.parent if folder.name == "model" else folder
        run = run.parent.parent if run.parent.name == "checkpoints" else run
        recipe = _yaml(run / "recipe.yaml")
        data, model = recipe.get("data"), recipe.get("model")
        if not isinstance(data, dict) or not isinstance(model, dict):
            return
        manifest, rows = str(data.get("train")), _json(run / "run.json").get("rows")
        # Its path is relative to the folder that the training was started in, mostly one above the run.
        homes = (Path(), *run.absolute().parents)
        drawn = next(
            (name for home in homes if (name := _json((home / manifest).parent / "corpus.json").get("corpus"))), ""
        )
        source = str(model.get("source"))
        yield _TrainedRun(source, TrainingData(manifest, rows if isinstance(rows, int) else None, printable(drawn)))
        folder = Path(model_folder(source))
        if not folder.is_dir():
            return


def _num_parameters(folder: Path) -> int | None:
    """The number of weights by the heads of a folder's safetensors files; None where there is no such file."""
    total = 0
    for path in folder.glob("*.safetensors"):
        try:
            with path.open("rb") as handle:
                length = int.from_bytes(handle.read(8), "little")
                head = json.loads(handle.read(min(length, _LONGEST_HEADER)))
            for name, tensor in head.items():
                if name != "__metadata__":
                    total += math.prod(map(int, tensor["shape"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
    return total or None


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _yaml(path: Path) -> dict[str, Any]:
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    return value if isinstance(value, dict) else {}
