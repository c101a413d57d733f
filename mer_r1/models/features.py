"""Prompts of a manifest: decoded and processed when asked for, or once and kept on disk.

The kept form is a folder of safetensors shards, read by memory map, under a name made from all that the features depend
on (rows, files, prompt template, media budget, vocabulary): a changed input is another folder, never a stale one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mer_r1.data.files import atomic_path, disk_full_named
from mer_r1.data.sample import MediaFacts, Sample
from mer_r1.errors import InputError
from mer_r1.media import read_clip
from mer_r1.models.backbone import Backbone
from mer_r1.models.types import Prompt
from mer_r1.threads import num_cores
from mer_r1.version import __version__

SHARD = 128


class FreshPrompts(Sequence[Prompt]):
    """Decodes and processes a sample each time it is asked for."""

    def __init__(self, backbone: Backbone, samples: Sequence[Sample]) -> None:
        self._backbone, self._samples = backbone, samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        sample = self._samples[index]
        return self._backbone.prepare(sample, read_clip(sample, self._backbone.budget))


class KeptPrompts(Sequence[Prompt]):
    """Reads prompts from the shards of a folder."""

    def __init__(self, folder: Path, num: int) -> None:
        self._folder, self._num = folder, num
        self._open: dict[int, tuple[Any, list[dict[str, Any]]]] = {}

    def __len__(self) -> int:
        return self._num

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(self._num)[index]
        file, rows = self._shard(index // SHARD)
        about = rows[index % SHARD]
        tensors = {name: file.get_tensor(f"{index}/{name}") for name in about["tensors"]}
        facts: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in about["facts"].items()
        }
        return Prompt(about["id"], tensors.pop("ids"), tensors.pop("positions"), tensors, MediaFacts(**facts))

    def _shard(self, number: int) -> tuple[Any, list[dict[str, Any]]]:
        """An open file of safetensors, and what is known of its rows."""
        if number not in self._open:
            from safetensors import safe_open

            file: Any = safe_open(self._folder / f"{number:05d}.safetensors", "pt")
            self._open[number] = file, json.loads(file.metadata()["about"])
        return self._open[number]

    def __getstate__(self) -> dict[str, Any]:
        return {"_folder": self._folder, "_num": self._num, "_open": {}}  # maps are opened anew in another process


class _Shards(torch.utils.data.Dataset[int | InputError | OSError]):
    """Item i makes shard i and is the number of samples in it; made so that loader workers can share the work.

    An error that a person can fix is an item too: raised in a worker it would come back as a traceback's text.
    """

    def __init__(self, fresh: FreshPrompts, folder: Path) -> None:
        self._fresh, self._folder = fresh, folder

    def __len__(self) -> int:
        return -(-len(self._fresh) // SHARD)

    def __getitem__(self, number: int) -> int | InputError | OSError:
        try:
            with disk_full_named(self._folder):
                return self._make(number)
        except (InputError, OSError) as error:
            return error

    def _make(self, number: int) -> int:
        from safetensors.torch import save_file

        path = self._folder / f"{number:05d}.safetensors"
        rows = range(number * SHARD, min((number + 1) * SHARD, len(self._fresh)))
        if path.exists():
            return len(rows)
        tensors: dict[str, Tensor] = {}
        about = []
        for row in rows:
            prompt = self._fresh[row]
            named = {"ids": prompt.input_ids_T, "positions": prompt.positions_3T, **prompt.media}
            tensors |= {f"{row}/{name}": value.contiguous() for name, value in named.items()}
            about.append({"id": prompt.id, "tensors": list(named), "facts": asdict(prompt.facts)})
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata={"about": json.dumps(about)})
        return len(rows)


def _fingerprint(backbone: Backbone, samples: Sequence[Sample]) -> str:
    def stamp(path: Path | None) -> Any:
        if path is None or not path.exists():
            return None
        return [str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns]

    rows = [[s.id, s.subtitle, s.candidates, stamp(s.video), stamp(s.audio), stamp(s.image)] for s in samples]
    vocabulary = sorted(backbone.tokenizer.get_vocab().items())
    processor = backbone.processor
    names = ("feature_extractor", "video_processor", "image_processor")  # a family has some of them
    parts = [getattr(processor, name, None) for name in names]
    inputs = json.dumps(
        [
            rows,
            backbone.template.settings,
            asdict(backbone.budget),
            vocabulary,
            [__version__, version("transformers"), version("av")],
            backbone.model.config.to_json_string(),
            processor.chat_template,
            *(part.to_json_string() for part in parts if part is not None),
        ]
    )
    return hashlib.sha256(inputs.encode()).hexdigest()[:16]


def read_prompts(
    backbone: Backbone,
    samples: Sequence[Sample],
    keep_in: Path | None = None,
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Sequence[Prompt]:
    """The prompts of `samples`, in order. With `keep_in`, features are computed once and kept in that folder.

    Raises InputError, naming the file, for a sample whose media cannot be read.
    """
    fresh = FreshPrompts(backbone, samples)
    if keep_in is None:
        return fresh
    folder = keep_in / _fingerprint(backbone, samples)
    folder.mkdir(parents=True, exist_ok=True)
    shards = _Shards(fresh, folder)
    loader = torch.utils.data.DataLoader(shards, batch_size=None, num_workers=min(workers, len(shards), num_cores()))
    done = 0
    for made in loader:
        if isinstance(made, Exception):
            raise made
        done += int(made)
        if progress:
            progress(done)
    return KeptPrompts(folder, len(samples))
