"""A small MME-Emotion: question files of all eight tasks as the owners lay them out, and real clips."""

import json
from pathlib import Path
from typing import Any

from tests.media.make_media import gray_frames, tone, write_media

THREE = ["positive", "negative", "neutral"]
NINE = ["very strong negative", "negative", "weak negative", "neutral", "weak positive", "very strong positive"]
INTENTS = ["neutral", "questioning", "consoling", "suggesting"]
BASIC = ["happy", "sad", "angry", "neutral"]

ROWS: dict[str, list[dict[str, Any]]] = {
    "ER-Lab": [{"video_id": "IEMOCAP/video/a.mp4", "label": "sad", "label_set": BASIC}],
    "ER-Wild": [
        {"video_id": "CAER/video/b.avi", "label": "anger", "label_set": ["anger", "happy"]},
        {"video_id": "MELD/video/c.mp4", "label": "happy", "label_set": BASIC},
    ],
    "FG-ER": [
        {
            "video_id": "BOLD/video/d.mp4",
            "label": "Sympathy;Doubt/Confusion",
            "label_set": ["Sympathy", "Doubt/Confusion", "Peace"],
        }
    ],
    "FG-SA": [{"video_id": "CMU-MOSI/video/e.mp4", "label": "weak positive", "label_set": NINE}],
    "ML-ER": [{"video_id": "MAFW/video/f.mp4", "label": "fear,surprise", "label_set": ["fear", "surprise", "anger"]}],
    "Noise-ER": [{"video_id": "MER2024/video/g.mp4", "label": "happy", "label_set": BASIC}],
    "IR": [{"video_id": "MC-EIU/video/h.mkv", "label": "questioning", "label_set": INTENTS}],
    "SA": [{"video_id": "MELD/video/c.mp4", "label": "positive", "label_set": THREE}],
}
"""MELD/video/c.mp4 stands in two tasks, as clips of the real one do."""


def write_questions(root: Path, rows: dict[str, list[dict[str, Any]]] = ROWS) -> Path:
    """The question files in their folders, and a file of descriptions beside each, which is no question file."""
    for task, questions in rows.items():
        folder = root / task / "question"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{task.replace('-', '_')}.json").write_text(json.dumps(questions))
        clues = [{"video_id": row["video_id"], "audio_clue": "a loud voice"} for row in questions]
        (root / task / "audio_clue").mkdir(exist_ok=True)
        (root / task / "audio_clue" / "clues.json").write_text(json.dumps(clues))
    return root


def write_clips(root: Path, rows: dict[str, list[dict[str, Any]]] = ROWS, seconds: int = 2) -> Path:
    """A clip of `seconds` (up to 3) for every question, four frames a second."""
    for questions in rows.values():
        for row in questions:
            path = root / row["video_id"]
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                pictures, sound = gray_frames(4 * seconds, 32, 32), tone(seconds, 16_000)
                if path.suffix == ".avi":
                    write_media(path, frames=pictures, fps=4, sound=sound, audio_codec="pcm_s16le", audio_format="s16")
                else:
                    write_media(path, frames=pictures, fps=4, sound=sound)
    return root


def responses_of(rows: dict[str, list[dict[str, Any]]] = ROWS) -> list[dict[str, Any]]:
    """An answer to every question: one observation and the gold label."""
    return [
        {
            "task": task,
            "video_id": row["video_id"],
            "model_response": f"<think>a smile in {task}</think>{row['label']}",
            "n": 1,
        }
        for task, questions in rows.items()
        for row in questions
    ]
