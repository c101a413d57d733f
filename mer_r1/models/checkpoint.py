"""What a checkpoint's folder or Hub id gives: its kind, how samples are shown to it, its weights and its processor.

Convention: weights come from safetensors files only and must be all there; code that comes with a checkpoint is never
run. What a person can fix is one InputError that names the folder or the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from mer_r1.errors import InputError, first_line
from mer_r1.media import MediaBudget
from mer_r1.model_settings import SETTINGS_FILE, looks_like_hub_id, published_settings, read_settings
from mer_r1.models.quantization import quantised_config, stored_quantization, use_plain_kernels
from mer_r1.prompting.templates import PROMPT_TEMPLATES

CONNECT_S = 5.0
SOURCE_FIX = "give a run, a checkpoint's folder, or a Hub id (owner/name)"
RUN_FIX = "give a run's folder or its `model`"
CAUSAL_FIX = (
    "give the folder of a causal language model with its tokenizer, or a Hub id such as Qwen/Qwen2.5-7B-Instruct"
)

MEDIA_FIX = "give the folder of a run, the folder of a downloaded checkpoint, or a Hub id such as {} while online"


def settings_of(
    source: str, budget: MediaBudget | None, prompt_style: str | None, model_type: str = ""
) -> tuple[MediaBudget, str]:
    """The given settings, else those saved beside the checkpoint, else the defaults of a published one of this kind.

    Raises InputError for a damaged settings file and for an unknown prompt template.
    """
    saved = _settings_file(source)
    saved_budget, saved_style = read_settings(saved) if saved else published_settings(model_type)
    style = prompt_style or saved_style
    if style not in PROMPT_TEMPLATES:
        raise InputError(f"{source}: prompt template {style!r} is none of {', '.join(PROMPT_TEMPLATES)}")
    return budget or saved_budget, style


def _settings_file(source: str) -> Path | None:
    """The settings file of a folder or a Hub id, if it has one."""
    if Path(source).exists():
        path = Path(source) / SETTINGS_FILE
        return path if path.exists() else None
    from transformers.utils import cached_file

    quiet = ("missing_entries", "gated_repo", "connection_errors")  # what is wrong shows when the weights are read
    try:
        found = cached_file(source, SETTINGS_FILE, **{f"_raise_exceptions_for_{name}": False for name in quiet})
    except OSError:
        return None
    return Path(found) if found else None


def require_source(source: str, fix: str = SOURCE_FIX) -> None:
    """Raises InputError, ending in `fix`, where `source` is neither there nor like a Hub id (owner/name).

    The Hub is asked once whether it can be reached. Where it cannot, this process reads what is kept of it: the Hub's
    library would ask six times for every file, and wait half a minute between.
    """
    if Path(source).exists():
        return
    if not looks_like_hub_id(source):
        raise InputError(f"{source}: no such folder; {fix}")
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return
    try:
        get_session().head(constants.ENDPOINT, timeout=CONNECT_S)
    except Exception:  # of the HTTP library, which is another one from version to version
        constants.HF_HUB_OFFLINE = True


def folder_kind(folder: Path, fix: str) -> str:
    """`model_type` of a folder's config.json. Raises InputError, ending in `fix`, where there is none."""
    config = folder / "config.json"
    if not config.is_file():
        raise InputError(f"{folder}: no checkpoint here (config.json is missing); {fix}")
    try:
        kind = json.loads(config.read_text(encoding="utf-8")).get("model_type")
    except (ValueError, AttributeError):
        kind = None
    if not isinstance(kind, str):
        raise InputError(f"{config}: not a model configuration; the checkpoint is damaged, copy it again")
    return kind


def damaged_folder_errors() -> tuple[type[Exception], ...]:
    """What libraries raise that load a model from a folder in which a file is damaged or missing."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    general = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, AssertionError)
    return (*general, SafetensorError, StrictDataclassError)


def read_parts(
    source: str, name: str, fix: str, model_class: Any, processor_class: Any, dtype: Any, weights: bool = True
) -> tuple[Any, Any]:
    """(model in evaluation mode, processor or tokenizer) of a folder or a Hub id.

    `name` says in messages what is wanted, `fix` what to give; `dtype` is a torch dtype, or "auto" for the saved one.
    Without `weights` the model is on the meta device.
    Raises InputError where a file is missing or damaged, weights are missing or have sizes that config.json does not
    give them, or the Hub cannot be asked.
    """
    quantised = stored_quantization(source) if weights else None
    try:
        processor = processor_class.from_pretrained(source, trust_remote_code=False)
        if weights:
            config = {"config": quantised_config(source, model_class, quantised)} if quantised else {}
            with _loaded_by_every_process():
                model, found = model_class.from_pretrained(
                    source,
                    dtype=dtype,
                    use_safetensors=True,
                    trust_remote_code=False,
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,  # told below, in one line
                    **config,
                )
        else:
            model, found = _without_weights(source, model_class), {"missing_keys": (), "mismatched_keys": ()}
    except ImportError as error:
        if quantised is None:
            raise
        raise InputError(
            f"{source}: its weights are quantised ({quantised.get('quant_method')}): {first_line(error)}; or give the "
            "checkpoint that it was made of"
        ) from error
    except damaged_folder_errors() as error:
        raise InputError(f"{source}: cannot be loaded as a {name} ({first_line(error)}); {fix}") from error
    tokenizer = getattr(processor, "tokenizer", processor)
    if not tokenizer("Words", add_special_tokens=False)["input_ids"]:  # what transformers makes of no file at all
        raise InputError(f"{source}: the tokenizer is missing (tokenizer.json); {fix}")
    if lost := sorted(found["missing_keys"]):
        raise InputError(f"{source}: {len(lost)} weights are missing, such as {lost[0]}; {fix}")
    if odd := sorted(found["mismatched_keys"]):
        key, saved, wanted = odd[0]
        raise InputError(
            f"{source}: {key} is of size {list(saved)}, by config.json it would be {list(wanted)}; the weights are of "
            f"another model, or damaged; {fix}"
        )
    if quantised:
        use_plain_kernels(model)
    return model.eval(), processor


@contextmanager
def _loaded_by_every_process() -> Iterator[None]:
    """Within the block accelerate's RAM-efficient loading is off.

    By it transformers 5.19 gives zeros to all processes but the first, until FSDP spreads the first one's weights; what
    is computed or copied before, such as the reference of RL, would be made of them.
    """
    name = "FSDP_CPU_RAM_EFFICIENT_LOADING"
    if (setting := os.environ.get(name)) is None:
        yield
        return
    os.environ[name] = "false"
    try:
        yield
    finally:
        os.environ[name] = setting


def _without_weights(source: str, model_class: Any) -> Any:
    """A model of the configuration, in the precision that it names, on the meta device."""
    import torch
    import transformers

    kind = getattr(model_class, "config_class", None) or transformers.AutoConfig
    config = kind.from_pretrained(source, trust_remote_code=False)
    with torch.device("meta"):
        make = getattr(model_class, "from_config", None) or model_class._from_config
        return make(config)


def fingerprint(weights: Iterable[tuple[str, Any]]) -> str:
    """A hash of named tensors: of each the sum of its bits, which no device rounds."""
    import torch

    kinds = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    digest = sha256()
    for name, tensor in weights:
        bits = tensor.detach().contiguous().reshape(-1).view(kinds[tensor.element_size()])
        digest.update(f"{name} {tuple(tensor.shape)} {int(bits.sum(dtype=torch.int64))}".encode())
    return digest.hexdigest()[:16]


def saved_weights(folder: Path) -> Iterator[tuple[str, Any]]:
    """The tensors of a checkpoint's files, one after another, by name."""
    from safetensors import safe_open

    files: list[Any] = [safe_open(path, "pt") for path in sorted(folder.glob("*.safetensors"))]
    of_name = {name: file for file in files for name in file.keys()}  # noqa: SIM118  it is no dict
    for name in sorted(of_name):
        yield name, of_name[name].get_tensor(name)


def downloaded(source: str) -> Path:
    """The folder of a checkpoint: the given one, or that of a Hub id in the Hub's cache.

    Raises InputError for what is neither, and for a Hub id that cannot be had.
    """
    require_source(source)
    if Path(source).exists():
        return Path(source)
    from huggingface_hub import snapshot_download

    wanted = ("*.json", "*.jinja", "*.safetensors", "*.txt", "*.model")
    try:
        return Path(snapshot_download(source, allow_patterns=[*wanted]))
    except (OSError, ValueError) as error:
        raise InputError(f"{source}: cannot be had from the Hub ({first_line(error)}); {SOURCE_FIX}") from error
