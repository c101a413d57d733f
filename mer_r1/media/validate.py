"""Every medium of a manifest, decoded in processes of their own: what is in it, and what is odd about it.

A decoder is C code, and its files are of unknown origin. A file that crashes it, or takes it longer than `PATIENCE`
times the budget's `max_decode_s`, costs one process, which is replaced, and is an error of its row alone.
A process holds one clip at a time and hands back numbers, so memory does not grow with the manifest.

Notices of a row: what the facts of its clip say; no sound track; all frames alike within 2 of 255; no pixel over 16;
sound under 1e-4 of full scale; under 0.3 s; longer than the budget takes; sound and pictures that differ by over 1 s
and over 20 %.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from pathlib import Path

import numpy as np

from mer_r1.data.sample import Clip, Sample
from mer_r1.errors import InputError, first_line
from mer_r1.media import MediaBudget, read_clip
from mer_r1.media.formats import FIX
from mer_r1.text import printable

PATIENCE = 4
ALIKE, BLACK, SILENT = 2, 16, 1e-4
SHORTEST_S, APART_S, APART_SHARE = 0.3, 1.0, 0.2


@dataclass(frozen=True)
class MediaRow:
    """A row to inspect: its line, its sample, and the files whose sha256 is wanted."""

    line: int
    sample: Sample
    hashed: tuple[Path, ...] = ()


@dataclass(frozen=True)
class MediaReport:
    """What one row's media hold, or the error that keeps them from being read.

    `length_s` is that of the pictures, else of the sound, in seconds; `sound_s` the seconds of sound taken. `digests`
    holds (file, sha256).
    """

    line: int
    error: str | None = None
    num_frames: int = 0
    sound_s: float = 0.0
    length_s: float | None = None
    remarks: tuple[str, ...] = ()
    digests: tuple[tuple[Path, str], ...] = ()


def media_of(sample: Sample) -> tuple[Path, ...]:
    """The files that a sample names, without repeats."""
    return tuple(dict.fromkeys(path for path in (sample.video, sample.audio, sample.image) if path is not None))


def media_rows(lines: Sequence[int], samples: Sequence[Sample]) -> list[MediaRow]:
    """The rows with media. Only files that share their size with another one need a sha256."""
    of_size: defaultdict[int, set[Path]] = defaultdict(set)
    for path in {path for sample in samples for path in media_of(sample)}:
        try:
            of_size[os.stat(path).st_size].add(path)
        except (OSError, ValueError):
            continue  # decoding it says what is wrong
    doubtful = {path for paths in of_size.values() if len(paths) > 1 for path in paths}
    rows = []
    for line, sample in zip(lines, samples, strict=True):
        if files := media_of(sample):
            rows.append(MediaRow(line, sample, tuple(path for path in files if path in doubtful)))
    return rows


def inspect_row(row: MediaRow, budget: MediaBudget) -> MediaReport:
    """Decode the media of one row."""
    try:
        clip = read_clip(row.sample, budget)
        digests = tuple((path, _sha256(path)) for path in row.hashed)
    except (InputError, OSError) as error:
        return MediaReport(row.line, str(error))
    except Exception as error:  # the check continues whatever one file does to a decoder
        why = f"{type(error).__name__}: {first_line(error)}"
        return MediaReport(row.line, f"{_named(row)}: cannot be decoded ({why}); {FIX}")
    facts = clip.facts
    return MediaReport(
        line=row.line,
        num_frames=0 if clip.frames_THWC is None else len(clip.frames_THWC),
        sound_s=facts.audio_taken_s or 0.0,
        length_s=facts.audio_s if facts.video_s is None else facts.video_s,
        remarks=tuple(_remarks(row.sample, clip, budget)),
        digests=digests,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _remarks(sample: Sample, clip: Clip, budget: MediaBudget) -> Iterator[str]:
    frames_THWC, waveform_N, facts = clip.frames_THWC, clip.waveform_N, clip.facts
    yield from facts.notices
    if sample.video is not None and waveform_N is None:
        yield "clips without sound"
    if frames_THWC is not None and len(frames_THWC) > 1 and int(np.ptp(frames_THWC, axis=0).max()) <= ALIKE:
        yield "videos that stand still"
    if frames_THWC is not None and int(frames_THWC.max()) <= BLACK:
        yield "black pictures"
    if waveform_N is not None and float(np.abs(waveform_N).max()) < SILENT:
        yield "silent sound"
    lengths = [seconds for seconds in (facts.video_s, facts.audio_s) if seconds is not None]
    if lengths and min(lengths) < SHORTEST_S:
        yield f"clips shorter than {SHORTEST_S:g} s"
    if (facts.video_s or 0.0) > budget.max_video_s or (facts.audio_s or 0.0) > budget.max_audio_s:
        yield f"clips longer than what is taken ({budget.max_video_s:g} s, sound {budget.max_audio_s:g} s)"
    if len(lengths) == 2 and abs(lengths[0] - lengths[1]) > max(APART_S, APART_SHARE * max(lengths)):
        yield "sound and pictures that differ in length"


def inspect_rows(rows: Iterable[MediaRow], budget: MediaBudget, num_workers: int) -> Iterator[MediaReport]:
    """A `MediaReport` of every row, as they come. Raises RuntimeError where processes cannot be started."""
    # Not forked from this process: it may have threads, and a fork of those can hang.
    kind = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(kind)
    context.set_forkserver_preload([__name__])
    pending = deque(rows)
    idle = [_Worker(context, budget) for _ in range(min(num_workers, len(pending)))]
    busy: dict[Connection, _Worker] = {}
    try:
        while pending or busy:
            while pending and len(busy) < num_workers:
                worker = idle.pop() if idle else _Worker(context, budget)
                busy[worker.connection] = worker
                worker.give(pending.popleft())
            for connection in wait(list(busy), min(worker.left_s for worker in busy.values())):
                assert isinstance(connection, Connection)
                worker = busy[connection]
                if (found := worker.result()) is not None:
                    idle.append(busy.pop(connection))
                    yield found
            for worker in [worker for worker in busy.values() if worker.left_s <= 0 or not worker.lives]:
                del busy[worker.connection]
                yield worker.error()
                worker.end()
    finally:
        for worker in [*idle, *busy.values()]:
            worker.end()


class _Worker:
    """A process that inspects one row at a time."""

    def __init__(self, context: BaseContext, budget: MediaBudget) -> None:
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, budget), daemon=True)  # type: ignore[attr-defined]
        self._process.start()
        theirs.close()
        self._patience_s = PATIENCE * budget.max_decode_s
        self._until = 0.0
        self._started = False
        self._row: MediaRow | None = None
        self.lives = True

    @property
    def left_s(self) -> float:
        """Seconds until its row has taken too long."""
        return max(0.0, self._until - time.monotonic())

    def give(self, row: MediaRow) -> None:
        """The next row."""
        if not self._started:
            try:
                self.connection.recv()
            except EOFError:
                raise RuntimeError("a process that decodes cannot be started") from None
            self._started = True
        self._row, self._until = row, time.monotonic() + self._patience_s
        with suppress(OSError):  # that it has died is seen at its next row
            self.connection.send(row)

    def result(self) -> MediaReport | None:
        """What it found; None where it died over its row."""
        try:
            found: MediaReport = self.connection.recv()
        except (EOFError, OSError):
            self.lives = False
            return None
        return found

    def error(self) -> MediaReport:
        """Why its row has no result."""
        assert self._row is not None
        if self.lives:
            why = f"takes longer than {self._patience_s:g} s to decode; shorten it, or re-encode it smaller"
        else:
            self._process.join()
            code = self._process.exitcode or 0
            why = f"the decoder ended with {signal.Signals(-code).name if code < 0 else f'status {code}'} on it; {FIX}"
        return MediaReport(self._row.line, f"{_named(self._row)}: {why}")

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self.connection.close()


def _named(row: MediaRow) -> str:
    return ", ".join(printable(path, 4096) for path in media_of(row.sample))


def _serve(connection: Connection, budget: MediaBudget) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's to answer
    connection.send(None)
    while True:
        try:
            row: MediaRow = connection.recv()
        except EOFError:
            return
        connection.send(inspect_row(row, budget))
