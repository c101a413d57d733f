"""Miniature copies of the owners' folders: tiny real clips, pickled label files, csv tables."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mer_r1.benchmarks.mer_caption import FOLDER as CAPTION_FOLDER
from mer_r1.benchmarks.mer_unibench.layouts import SETS, DataSet
from tests.media.make_media import gray_frames, tone, write_media

SUBTITLE = 'Well, "fine"\nthen {}'
CHINESE = "好吧，{}"
OPEN_SETS = ("[happy, excited]", "['sad', 'worried']", '["angry"]', "")
NAMES = {
    "ovmerdplus": "samplenew_{:08d}",
    "mer2023": "sample_{:08d}",
    "mer2024": "sample_{:08d}",
    "meld": "test_dia{}_utt0",
    "iemocap": "Ses05F_impro01_F{:03d}",
    "mosi": "03bSnISJMiM_{}",
    "mosei": "-3g5yACwYnA_{}",
    "sims": "video_0001_{:04d}",
    "simsv2": "aqgy3_0001_{:05d}",
    "mer-caption": "samplenew3_{:08d}",
}


def write_layout(name: str, root: Path, num: int = 4) -> Path:
    """The folder of one data set ("mer-caption" too) in `root`, as its owners distribute it, with `num` test clips."""
    names = [NAMES[name].format(number) for number in range(num)]
    if name == "mer-caption":
        return _write_caption(root / CAPTION_FOLDER, names)
    data = SETS[name]
    folder = root / data.folder
    words = [(CHINESE if data.column == "chinese" else SUBTITLE).format(number) for number in range(num)]
    write_table(folder / data.subtitles, ["name", data.column], list(zip(names, words, strict=True)))
    # Silent avi where the owners' are silent; a clip of MER2023 in each of its two formats.
    for number, clip in enumerate(names):
        copy_clip(folder / data.video / f"{clip}{data.endings[number % len(data.endings)]}", sound=not data.silent)
        copy_clip(folder / data.audio / f"{clip}.wav")
    if data.corpus:
        corpora = {"train_corpus": {"train_clip": _fields(data, 0)}, data.corpus: _corpus(data, names)}
        write_npz(folder / data.labels, **corpora)
    else:
        rows = [(clip, OPEN_SETS[number % len(OPEN_SETS)]) for number, clip in enumerate(names)]
        write_table(folder / data.labels, ["name", "openset"], rows)
    return folder


def write_all(root: Path, num: int = 2) -> None:
    """The folders of all nine."""
    for name in SETS:
        write_layout(name, root, num)


def write_table(path: Path, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    """A csv with a byte order mark, as a spreadsheet writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8-sig", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(head)
        writer.writerows(rows)
    return path


def write_npz(path: Path, **corpora: Mapping[str, Any]) -> Path:
    """A label file: pickled dicts, as `numpy.savez_compressed` writes them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {key: np.array(dict(corpus), dtype=object) for key, corpus in corpora.items()}
    np.savez_compressed(path, **arrays)
    return path


def copy_clip(path: Path, sound: bool = True) -> Path:
    """A third of a second of gray frames (mp4 with a tone, avi) or a tone (wav), by the ending of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_clip(path.suffix, sound))
    return path


@lru_cache
def _clip(ending: str, sound: bool) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"clip{ending}"
        wave = tone(0.5, 16_000) if sound else None
        if ending == ".wav":
            return write_media(path, sound=wave, audio_codec="pcm_s16le", audio_format="s16").read_bytes()
        codecs = {"video_codec": "mpeg4", "audio_codec": "mp3"} if ending == ".avi" else {}
        return write_media(path, frames=gray_frames(4, 56, 56), sound=wave, **codecs).read_bytes()  # type: ignore[arg-type]


def _corpus(data: DataSet, names: Sequence[str]) -> dict[str, Any]:
    corpus = {clip: _fields(data, number) for number, clip in enumerate(names)}
    return corpus | ({"Ses01F_impro01_F000": _fields(data, 0)} if data.name == "iemocap" else {})


def _fields(data: DataSet, number: int) -> dict[str, Any]:
    if data.task == "sentiment":
        return {"emo": 0, "val": np.float64([-1.2, 0.0, 2.4][number % 3])}
    index = number % len(data.emotions)
    return {"emo": data.emotions[index] if data.name.startswith("mer") else index, "val": -10}


def _write_caption(folder: Path, names: Sequence[str]) -> Path:
    labels = [(clip, OPEN_SETS[number % len(OPEN_SETS)]) for number, clip in enumerate(names)]
    write_table(folder / "track2_train_mercaptionplus.csv", ["name", "openset"], labels)
    reasons = [(clip, f"In clip {number}, the voice rises, then the face falls.") for number, clip in enumerate(names)]
    write_table(folder / "track3_train_mercaptionplus.csv", ["name", "reason"], reasons)
    words = [(clip, CHINESE.format(k), SUBTITLE.format(k)) for k, clip in enumerate(names)]
    write_table(folder / "subtitle_chieng.csv", ["name", "chinese", "english"], words)
    for clip in names:
        copy_clip(folder / "video" / f"{clip}.mp4")
        copy_clip(folder / "audio" / f"{clip}.wav")
    return folder
