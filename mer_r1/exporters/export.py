"""A manifest handed to another trainer: which formats there are, and one call for all of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mer_r1.data.manifest import MEDIA_KEYS, read_manifest
from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from mer_r1.exporters.examples import KINDS, Choice, Example, LeftOut, Purpose, make_examples
from mer_r1.exporters.hf import write_hf
from mer_r1.exporters.llama_factory import write_llama_factory
from mer_r1.exporters.ms_swift import write_ms_swift
from mer_r1.exporters.sounds import with_sounds
from mer_r1.exporters.trl import write_trl
from mer_r1.text import printable

Write = Callable[[Sequence[Example], Path, str], list[Path]]


@dataclass(frozen=True)
class Format:
    """How another trainer is written for.

    `use` says by purpose how it is loaded, with {folder} and {name}; `tags` are what it reads as media in a text.
    `takes` are the kinds of media that it reads; a film becomes pictures where it reads these alone.
    """

    write: Write
    use: Mapping[Purpose, str]
    tags: tuple[str, ...] = ()
    takes: tuple[str, ...] = KINDS

    @property
    def purposes(self) -> tuple[Purpose, ...]:
        """What it learns by."""
        return tuple(self.use)


_LOAD = 'load_dataset("{folder}", split="{name}")'
_TAGS = ("<video>", "<image>", "<audio>")
FORMATS: dict[str, Format] = {
    "llama-factory": Format(write_llama_factory, {"sft": "dataset_dir: {folder}, dataset: {name}"}, tags=_TAGS),
    "ms-swift": Format(
        write_ms_swift,
        {
            "sft": "swift sft --dataset {folder}/{name}.jsonl",
            "rl": "swift rlhf --rlhf_type grpo --dataset {folder}/{name}.jsonl",
        },
        tags=_TAGS,
    ),
    "trl": Format(write_trl, {"sft": _LOAD, "rl": _LOAD}, takes=("image",)),
}
HF = "hf"
"""The one format that is no trainer's: the manifest itself."""


@dataclass(frozen=True)
class Exported:
    """What was written: the files, how many rows, which rows gave nothing, and how the data set is loaded.

    `silent` counts rows whose sound the format does not take, `inside` those whose sound may lie in their video.
    """

    files: tuple[Path, ...]
    rows: int
    left_out: LeftOut
    use: str
    silent: int = 0
    inside: int = 0


def export_data(
    manifest: Path,
    to: str,
    folder: Path,
    choice: Choice | None = None,
    *,
    name: str | None = None,
    sounds: bool = False,
) -> Exported:
    """Write a manifest for another trainer into `folder`, as the data set `name`, by default the manifest's.

    `to` is a name of FORMATS, or HF. `sounds` writes the sound of films as files of their own. Raises InputError for
    what does not go together, and where no row is left.
    """
    choice = choice or Choice()
    if name is not None and not re.fullmatch(r"\w+", name, re.ASCII):
        raise InputError(f"--name {printable(name)}: give letters, digits and _")
    name = name or re.sub(r"\W+", "_", manifest.stem, flags=re.ASCII).strip("_") or "data"
    samples: Sequence[Sample] = read_manifest(manifest)
    if to in FORMATS:
        _validate(samples, to, choice)
    folder.mkdir(parents=True, exist_ok=True)
    if sounds:
        samples = with_sounds(samples, folder)
    if to == HF:
        return _export_hf(samples, folder, name)
    chosen = FORMATS[to]
    examples, left_out = make_examples(samples, choice, chosen.tags)
    files = chosen.write(examples, folder, name)
    heard = "audio" in chosen.takes
    of_rows = {example.sample.id: example for example in examples}.values()
    return Exported(
        files=tuple(files),
        rows=len(examples),
        left_out=left_out,
        use=chosen.use[choice.purpose].format(folder=folder, name=name),
        silent=sum(bool(example.files("audio")) and not heard for example in of_rows),
        inside=0
        if sounds or not heard
        else sum(bool(example.files("video")) and not example.files("audio") for example in of_rows),
    )


def _validate(samples: Sequence[Sample], to: str, choice: Choice) -> None:
    """Raises InputError for what this format does not do."""
    chosen = FORMATS[to]
    if choice.purpose not in chosen.purposes:
        others = ", ".join(other for other, one in FORMATS.items() if choice.purpose in one.purposes)
        raise InputError(f"--for {choice.purpose}: {to} does not learn so; give --to {others}")
    films = sum(sample.video is not None for sample in samples)
    if "video" in chosen.takes and choice.num_frames is not None:
        raise InputError(f"--frames writes films as pictures, and {to} reads films; leave it out")
    if "video" not in chosen.takes and films and choice.num_frames is None:
        raise InputError(
            f"{films} rows have a video and {to} reads pictures; give --frames 8 to write that many of each, or --to "
            "ms-swift, which reads films"
        )
    if choice.num_frames is not None and choice.num_frames < 1:
        raise InputError(f"--frames {choice.num_frames}: give 1 or more")


def _export_hf(samples: Sequence[Sample], folder: Path, name: str) -> Exported:
    left_out = LeftOut()
    kept = []
    for sample in samples:
        lost = next((key for key in MEDIA_KEYS if (path := getattr(sample, key)) and not path.is_file()), None)
        if lost:
            left_out.add(sample, f"without its {lost}: no such file")
        else:
            kept.append(sample)
    if not kept:
        raise InputError(f"no row can be written; {'; '.join(left_out.lines())}")
    files = write_hf(kept, folder, name)
    return Exported(tuple(files), len(kept), left_out, _LOAD.format(folder=folder, name=name))
