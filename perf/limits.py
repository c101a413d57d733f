"""What a manifest of many rows costs: one JSON object with seconds and peak memory of each step, a process for each.

    python perf/limits.py [--rows 100000]

start        importing what the steps need, and nothing else: what stands in every other peak
read         `read_manifest`: labels, subtitle, cluster and a media path in each row
check        `mer-r1 check` with the media of the first row alone
predictions  `read_predictions` of fast and slow answers, with reasoning and twice the confidence of 40 categories, as
             `diagnose` and `report` read them
score        `mer-r1 score` of these

Peaks are the most resident memory that the process ever held, in MB.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mer_r1.data.files import append_json_line
from mer_r1.emotion.wheel import WheelSet

NUM_ROWS = 100_000
STEPS = ("start", "read", "check", "predictions", "score")
REASONING = "The corners of the mouth are drawn back and the voice is even; the words say that a wish has come true. "


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=NUM_ROWS)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.step:
        print(json.dumps(measured(options.step, options.folder)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder, options.rows)
        sizes = {path.name: path.stat().st_size / 2**20 for path in sorted(folder.glob("*.jsonl"))}
        steps = {step: in_a_process(step, folder) for step in STEPS}
    print(json.dumps({"rows": options.rows, "file_mb": sizes, "steps": steps}, indent=2))


def write_files(folder: Path, num: int) -> None:
    """A manifest of `num` rows without media files, and two answers to each."""
    words = [word for word in WheelSet.load().words if word.isalpha()]
    draws = random.Random(0)
    with (
        (folder / "manifest.jsonl").open("w", encoding="utf-8") as manifest,
        (folder / "predictions.jsonl").open("w", encoding="utf-8") as predictions,
    ):
        for number in range(num):
            identity = f"clip_{number:06d}"
            row: dict[str, Any] = {
                "id": identity,
                "labels": draws.sample(words, 3),
                "cluster": f"speaker {number % 500}",
            }
            append_json_line(manifest, row | {"video": f"clips/{identity}.mp4", "subtitle": "I got what I wished for."})
            for mode in ("fast", "slow"):
                append_json_line(predictions, answer(identity, mode, draws.sample(words, 3), draws))


def answer(identity: str, mode: str, words: list[str], draws: random.Random) -> dict[str, Any]:
    """A row of predictions.jsonl as `mer-r1 predict` writes it."""
    reasoning = REASONING * 5 if mode == "slow" else ""
    return {
        "id": identity,
        "mode": mode,
        "raw": f"<think>{reasoning}</think><answer>{', '.join(words)}</answer>",
        "reasoning": reasoning,
        "labels": words,
        "status": "ok",
        "confidence": {word: draws.random() for word in words},
        "categories": confidences(draws),
        "categories_first": confidences(draws),
    }


def confidences(draws: random.Random) -> dict[str, dict[str, float]]:
    """A log-confidence for every category of every wheel."""
    names = [f"category {c}" for c in range(8)]
    return {f"w{k}": {name: round(-10 * draws.random(), 5) for name in names} for k in range(1, 6)}


def in_a_process(step: str, folder: Path) -> dict[str, float]:
    """Seconds and peak of one step, alone in a process."""
    command = [sys.executable, __file__, "--step", step, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(step: str, folder: Path) -> dict[str, float]:
    """Do one step here."""
    from mer_r1.analysis.check import check_manifest
    from mer_r1.data.manifest import read_manifest
    from mer_r1.data.predictions import read_predictions
    from mer_r1.evaluation import score

    manifest, predictions = folder / "manifest.jsonl", folder / "predictions.jsonl"
    begun = time.perf_counter()
    kept: object = None  # what a caller would hold
    if step == "read":
        kept = read_manifest(manifest)
    elif step == "check":
        kept = check_manifest(manifest, limit=1)
    elif step == "predictions":
        kept = read_predictions(predictions)
    elif step == "score":
        kept = score.score_file(manifest, predictions)
    spent_s = time.perf_counter() - begun
    del kept
    return {"seconds": round(spent_s, 2), "peak_mb": peak_mb()}


def peak_mb() -> float:
    """The most resident memory this process ever held; ru_maxrss would begin at its parent's peak."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main()
