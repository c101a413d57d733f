"""MER-Factory's output: a folder a clip, NAME/NAME_merr_data.json, or the file of another of its analyses.

`final_summary` is the reasoning, `ground_truth_label` the label where the clip had one. What its face model saw at the
peaks ("Peak at 2.88s: angry (slight), contempt (slight)") is no label of the clip: it is the column `peaks`, which is
read with --labels peaks. Source: github Lum1104/MER-Factory, b637adf (2026-03-13).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mer_r1.data.importers.table import Choice, Row, Table, file_bytes, is_blank, table_of
from mer_r1.data.media_names import media_kind
from mer_r1.errors import InputError, first_line

_ANALYSES = {
    "_merr_data.json": "final_summary",
    "_image_analysis.json": "final_summary",
    "_video_analysis.json": "llm_video_summary",
    "_audio_analysis.json": "audio_analysis",
}
"""The end of a file's name -> the key of its reasoning; of several files of a clip the first is read."""
_PEAK = re.compile(r"^Peak at [\d.]+s:")
_DEGREE = re.compile(r"\([^()]*\)")


def takes(source: str) -> bool:
    """A folder in which a folder holds an analysis that has its name."""
    path = Path(source)
    return path.is_dir() and next(iter(_analyses(path)), None) is not None


def read(source: str, choice: Choice) -> Table:
    """The table: a row a clip."""
    folder, rows = Path(source), []
    for number, (path, key) in enumerate(_analyses(folder), 1):
        try:
            found = json.loads(file_bytes(path))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: not valid JSON ({first_line(error)}); let MER-Factory write it again") from None
        if not isinstance(found, dict):
            raise InputError(f"{path}: no analysis of MER-Factory, which is an object")
        rows.append(Row(number, _cells(path.parent.name, found, key)))
    columns = tuple(dict.fromkeys(column for row in rows for column in row.cells))
    fields = {field: field for field in ("id", "video", "audio", "image", "reasoning", "labels") if field in columns}
    return table_of(folder, "MER-Factory", columns, rows, fields=fields)


def _analyses(folder: Path) -> list[tuple[Path, str]]:
    """The analysis of each clip, and the key of its reasoning."""
    found = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = ((place / f"{place.name}{ending}", key) for ending, key in _ANALYSES.items())
        if first := next(((path, key) for path, key in files if path.is_file()), None):
            found.append(first)
    return found


def _cells(name: str, found: dict[str, Any], key: str) -> dict[str, Any]:
    source = found.get("source_path")
    cells: dict[str, Any] = {"id": name}
    if isinstance(source, str):
        cells[media_kind(source) or "video"] = source
    cells["reasoning"] = found.get(key)
    if not is_blank(label := found.get("ground_truth_label")):
        cells["labels"] = label
    listed = found.get("chronological_emotion_peaks")
    peaks = [peak for peak in listed if isinstance(peak, str)] if isinstance(listed, list) else []
    if peaks:
        cells["peaks"] = ", ".join(_DEGREE.sub("", _PEAK.sub("", peak)).strip() for peak in peaks)
    return cells
