"""A file scored, or two compared, as the command does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from mer_r1.data.files import write_json
from mer_r1.display.comparison import print_table
from mer_r1.display.score import print_details, print_file_score
from mer_r1.evaluation.compare import compare_files
from mer_r1.evaluation.score import Settings, score_file


def run(gold: Path, pred: Path, settings: Settings | None = None, json_out: Path | None = None) -> dict[str, Any]:
    """Score a file, print the score and return it as JSON values, as the command does."""
    scored, settings = score_file(gold, pred, settings), settings or Settings()
    print_file_score(scored, settings.failed, Console())
    if json_out is not None:
        write_json(json_out, scored.to_json())
    return scored.to_json()


def run_compare(
    gold: Path, first: Path, second: Path, settings: Settings | None = None, json_out: Path | None = None
) -> dict[str, Any]:
    """Compare two files, print all of it and return the result as JSON values, as the command does."""
    comparison, settings = compare_files(gold, [first, second], settings), settings or Settings()
    print_table(comparison, settings.failed, Console())
    print_details(comparison, settings.failed, Console())
    if json_out is not None:
        write_json(json_out, comparison.to_json())
    return comparison.to_json()


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
