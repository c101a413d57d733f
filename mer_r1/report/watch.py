"""A page that follows runs: written again when their files change, until all of them are finished.

    finished   evaluation.runs.is_finished says so of every folder; where nothing says so, it is followed until stopped
    changed    name, size or time of a file that the page is made of (FILES), in a folder or one below it

Convention: whether the runs are finished is asked before their files are read, so the last page holds their last line.
The page is whole at any time (it is renamed into its place), and holds a script that loads it again; the last one does
not. Writing takes at most a share of 1 / (1 + PAUSES) of the time, for the run itself needs the processor.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep

from mer_r1.data.files import write_text
from mer_r1.data.manifest import MANIFEST_FILE
from mer_r1.data.predictions import PREDICTIONS_FILE, SENTIMENT_FILE
from mer_r1.errors import InputError
from mer_r1.evaluation.records import METRICS_FILE, RUN_FILE
from mer_r1.evaluation.runs import STAGES_FILE, is_finished
from mer_r1.report.page import PageChoice, page_path, write_choice

FILES = {
    RUN_FILE, METRICS_FILE, STAGES_FILE, MANIFEST_FILE, PREDICTIONS_FILE, SENTIMENT_FILE, "metrics.jsonl",
    "rollouts.jsonl", "recipe.yaml", "test.jsonl",
}  # fmt: skip
PAUSES = 4
_LIVE = re.compile(r"<!--live-->.*?<!--/live-->", re.DOTALL)

State = frozenset[tuple[str, int, int]]


def watch_page(
    folders: Sequence[Path],
    out: Path | None,
    choice: PageChoice,
    *,
    started: Callable[[Path], None],
    waiting: Callable[[str], None],
) -> int:
    """Follow the runs of `folders`, looking every `choice.refresh_s` seconds; how many answers failed in the end.

    `started` is called with the page's path once it is there first, `waiting` with what a run still lacks to be shown.
    KeyboardInterrupt ends it with a page that stands. Raises InputError for a folder that is not there, a page that
    cannot be, and for runs that are finished and cannot be read.
    """
    assert choice.refresh_s, "a page that is followed is loaded again"
    out = page_path(folders, out, choice)
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; give one that a run is writing into")
    seen: State | None = None
    said, num_failed, is_there = "", 0, False
    try:
        while True:
            finished = all(is_finished(folder) for folder in folders)
            state, start = state_of(folders), monotonic()
            if state != seen:
                try:
                    num_failed = write_choice(folders, out, replace(choice, refresh_s=None) if finished else choice)
                except InputError as error:  # a run that has just begun
                    if finished:
                        raise
                    if str(error) != said:
                        waiting(said := str(error))
                else:
                    seen = state
                    if not is_there:
                        is_there = True
                        started(out)
            if finished:
                return num_failed
            sleep(max(choice.refresh_s, PAUSES * (monotonic() - start)))
    except KeyboardInterrupt:
        if is_there:
            write_text(out, standing(out.read_text(encoding="utf-8")))
        raise


def state_of(folders: Sequence[Path]) -> State:
    """What is known of the files that a page of these folders is made of, without reading them."""
    found = set()
    for folder in folders:
        for path in (*folder.glob("*"), *folder.glob("*/*")):
            if path.name in FILES:
                try:
                    facts = path.stat()
                except OSError:  # gone meanwhile
                    continue
                found.add((str(path), facts.st_size, facts.st_mtime_ns))
    return frozenset(found)


def standing(page: str) -> str:
    """A page without what loads it again; no text of a file can hold these marks, for it is escaped."""
    return _LIVE.sub("", page)
