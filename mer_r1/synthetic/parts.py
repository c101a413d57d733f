"""A corpus made part by part, in one process or several, and kept once it is finished.

A part depends only on the plan and its index, so a stopped run is simply started again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from signal import SIG_IGN, SIGINT, signal
from typing import Any

from mer_r1.data.files import write_json
from mer_r1.data.manifest import write_manifest
from mer_r1.data.sample import Sample
from mer_r1.errors import InputError

Make = Callable[[int], tuple[str, Sample]]
RECORD = "corpus.json"


def _is_finished(folder: Path, facts: Mapping[str, Any]) -> bool:
    """Whether `folder` holds a finished corpus of these facts.

    Raises InputError where it holds one of other facts, and where its record is damaged.
    """
    record = folder / RECORD
    if not record.exists():
        return False
    try:
        kept = json.loads(record.read_text(encoding="utf-8"))
    except ValueError:
        raise InputError(f"{record}: is damaged; remove it and run the same command again") from None
    if kept != facts:
        raise InputError(f"{folder}: holds a corpus made with other settings; give another folder or remove it")
    return True


def write_parts(
    make: Make,
    splits: Sequence[str],
    folder: Path,
    facts: Mapping[str, Any],
    workers: int,
    progress: Callable[[int], None] | None,
) -> dict[str, Path]:
    """Make parts 0 to facts["num"] - 1, write the manifests by split, and last the record; returns the manifests.

    A finished corpus of the same facts is kept as it is. Raises InputError when the folder holds one of other facts.
    """
    manifests = {split: folder / f"{split}.jsonl" for split in splits}
    if _is_finished(folder, facts):
        return manifests
    rows: dict[str, list[Sample]] = {split: [] for split in splits}
    for done, (split, sample) in enumerate(_made(make, facts["num"], workers), start=1):
        rows[split].append(sample)
        if progress:
            progress(done)
    for split, path in manifests.items():
        write_manifest(path, rows[split])
    write_json(folder / RECORD, dict(facts))
    return manifests


def _made(make: Make, num: int, workers: int) -> Iterator[tuple[str, Sample]]:
    if workers <= 1:
        yield from map(make, range(num))
        return
    # Ctrl-C is the first process's to answer: a worker that it ends amid a write to the queue would block the others.
    with ProcessPoolExecutor(workers, initializer=signal, initargs=(SIGINT, SIG_IGN)) as pool:
        yield from pool.map(make, range(num), chunksize=8)
