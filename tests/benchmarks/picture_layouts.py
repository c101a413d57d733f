"""Miniature copies of the owners' picture folders: one tiny picture many times, and the owners' lists."""

from __future__ import annotations

import json
import tempfile
from functools import lru_cache
from pathlib import Path

from mer_r1.benchmarks.emotion_pictures.layouts import EMOSET_LABELS, EMOTION6_LABELS, VOTES, WEBEMO_LEVELS
from tests.media.make_media import gray_frames, write_image

HEADS = ["[image_filename]", "[valence]", "[arousal]", *(f"[prob. of {vote}]" for vote in VOTES)]
ADDRESS = "https://stock.example/jpg/00/220_F_{}.jpg"


def copy_picture(path: Path) -> Path:
    """A small gray picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_picture(path.suffix))
    return path


@lru_cache
def _picture(ending: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = write_image(Path(folder) / "picture.png", gray_frames(1, 56, 56)[0])
        return path.read_bytes()


def write_emoset(root: Path, num: int = 16, with_ids: bool = False) -> Path:
    """EmoSet-118K with `num` test pictures, one label after the other, and half as many for training."""
    folder = root / "EmoSet-118K"
    for split, count in (("train", num // 2), ("test", num)):
        rows = []
        for number in range(count):
            label = EMOSET_LABELS[number % len(EMOSET_LABELS)]
            name = f"{label}_{split}{number:05d}"
            copy_picture(folder / "image" / label / f"{name}.jpg")
            ends = [f"image/{label}/{name}.jpg", f"annotation/{label}/{name}.json"]
            rows.append([label, *([name] if with_ids else []), *ends])
        write_list(folder / f"{split}.json", rows)
    return folder


def write_list(path: Path, rows: object) -> Path:
    """A JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def write_emotion6(root: Path, votes: list[list[float]], heads: list[str] | None = None) -> Path:
    """Emotion6: a picture a row of seven votes, in the folders of the six emotions in turn."""
    folder = root / "Emotion6"
    lines = ["\t".join(heads or HEADS)]
    for number, row in enumerate(votes):
        image = f"{EMOTION6_LABELS[number % 6]}/{number}.jpg"
        copy_picture(folder / "images" / image)
        lines.append("\t".join([image, "4.6", "5.2", *map(str, row)]))
    (folder / "ground_truth.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_webemo(root: Path, num: int = 25) -> Path:
    """WEBEmo: `num` addresses, class after class; pictures lie in SPLIT/CLASS/ or, every other, in images/."""
    folder = root / "WEBEmo"
    lines = []
    for number in range(num):
        index = number % len(WEBEMO_LEVELS)
        name = f"220_F_{number}.jpg"
        copy_picture(folder / "images" / name if number % 2 else folder / "test" / str(index) / name)
        lines.append(f"{ADDRESS.format(number)} {index}")
    (folder / "test25.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
