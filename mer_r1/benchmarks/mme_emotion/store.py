"""Judging many answers into a folder from which a stopped run is resumed.

    OUT/settings.json   who judges by which prompts, and whether with frames; another setting does not mix with it
    OUT/judge.sqlite    every reply of the judge by content, written as it comes
    OUT/judged.jsonl    one row an answer, appended to; a row of an answer that has changed since is made anew

A row is kept when its `key` is the case's: the same question, answer, description and clip. Rows that wanted a clip
that was not there are tried again. At most twice `num_workers` cases, with their frames, are in memory.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from mer_r1.benchmarks.mme_emotion.judge import Case, Judgement, Verdict
from mer_r1.data.files import append_json_line, write_json
from mer_r1.errors import InputError
from mer_r1.judge.chat import ChatError
from mer_r1.text import printable

ROWS = "judged.jsonl"
SETTINGS = "settings.json"
CACHE = "judge.sqlite"


def check_settings(out: Path, settings: dict[str, Any]) -> None:
    """Keep `settings` in OUT. Raises InputError where judgements of another setting stand there."""
    path = out / SETTINGS
    if path.exists():
        try:
            kept = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            raise InputError(f"{path}: is damaged; give another --out, or remove the folder") from None
        for name, value in settings.items():
            if kept.get(name) != value:
                raise InputError(
                    f"{out}: its judgements were made with {name} {printable(kept.get(name))}, now it is "
                    f"{printable(value)}; give another --out, or the old setting"
                )
    else:
        write_json(path, settings)


def kept_judgements(out: Path, cases: Sequence[Case]) -> dict[str, Judgement]:
    """The judgements in OUT that are those of `cases`, by the question's id; a last line without its end is none."""
    path = out / ROWS
    if not path.exists():
        return {}
    of_case = {(case.question.id, case.question.task, case.num_labels): case.key for case in cases}
    found: dict[str, Judgement] = {}
    data = path.read_bytes()
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), start=1):
        judgement = _judgement(line)
        if judgement is None:
            raise InputError(f"{path}:{number}: is no judgement; take the line out, and it is made anew")
        key = of_case.get((judgement.id, judgement.task, judgement.num_labels))
        if key == judgement.key and judgement.status != "no_clip":
            found[judgement.id] = judgement
    return found


def judge_into(
    out: Path,
    cases: Sequence[Case],
    judge: Callable[[Case], Judgement],
    num_workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[Judgement]:
    """The judgement of every case in order; what is missing in OUT is made by `judge`, in threads, and appended.

    The first exception of `judge` ends the work, and what was judged before it is kept.
    """
    path = out / ROWS
    if path.exists():
        data = path.read_bytes()
        os.truncate(path, data.rfind(b"\n") + 1)  # a last line that a stop cut off
    done = kept_judgements(out, cases)
    missing = [case for case in cases if case.question.id not in done]
    with path.open("a", encoding="utf-8") as handle:
        for judgement in _judged(missing, judge, num_workers):
            append_json_line(handle, asdict(judgement))
            handle.flush()
            done[judgement.id] = judgement
            if progress:
                progress(len(done), len(cases))
    return [done[case.question.id] for case in cases]


def _judged(cases: Sequence[Case], judge: Callable[[Case], Judgement], num_workers: int) -> Iterator[Judgement]:
    """Judgements as they come. Up to `num_workers` refused cases are put last: one alone does not stop the others."""
    rest = deque(cases)
    put_last: set[str] = set()
    pool = ThreadPoolExecutor(num_workers, thread_name_prefix="judge")
    waiting: dict[Future[Judgement], Case] = {}
    try:
        while rest or waiting:
            while rest and len(waiting) < 2 * num_workers:
                case = rest.popleft()
                waiting[pool.submit(judge, case)] = case
            failures: list[BaseException] = []
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                case, error = waiting.pop(future), future.exception()
                name = case.question.id
                if error is None:
                    yield future.result()
                elif (
                    isinstance(error, ChatError)
                    and error.of_one
                    and name not in put_last
                    and len(put_last) < num_workers
                ):
                    put_last.add(name)
                    rest.append(case)
                else:
                    failures.append(error)
            if failures:
                raise failures[0]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _judgement(line: bytes) -> Judgement | None:
    """A row as it was written; None for anything else."""
    try:
        row = json.loads(line)
        made = Judgement(**{**row, "steps": tuple(row["steps"]), "scores": tuple(row["scores"])})
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    texts = (made.id, made.task, made.video_id, made.key, made.why, *made.steps)
    numbers = (made.num_labels, made.num_frames, *made.scores)
    sound = (
        made.status in get_args(Verdict)
        and all(isinstance(text, str) for text in texts)
        and all(isinstance(number, int) and number >= 0 for number in numbers)
        and made.num_labels > 0
        and (made.status != "judged" or (made.scores and made.scores[-1] <= made.num_labels))
    )
    return made if sound else None
