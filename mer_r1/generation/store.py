"""Answers into a predictions file: what is missing is generated, what is there is kept.

    OUT                  a row a sample and mode, appended to; one with status "error" is no answer and is tried again
    OUT.settings.json    how the answers were generated (settings.py); compared when a run is resumed
    OUT.parts/           the lock, and a folder for every further process of a launch; removed when all is done

A row counts when its line is whole: a line that a stop cut off is dropped. Under `accelerate launch` process k of W
generates samples k, k + W, … The first one writes OUT; each of the others writes a part under a lock of its own. The
first waits for these locks, which the kernel frees when a process dies, moves the parts into OUT and generates what is
still missing; a process that starts only then waits for it. Nothing but files is shared, so any process may be killed
at any time, and another number of processes may resume. Memory: the keys of the rows, not the rows.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from mer_r1.data.files import append_json_line, locked
from mer_r1.data.predictions import PREDICTIONS_FILE
from mer_r1.data.sample import MODES, Mode, Sample
from mer_r1.distributed import rank_and_world_size
from mer_r1.errors import InputError
from mer_r1.generation.generator import Generator
from mer_r1.generation.rows import repair, whole_rows
from mer_r1.generation.settings import merged_settings, write_settings
from mer_r1.text import printable

Key = tuple[str, str]
Progress = Callable[[int, int], None]

SYNC_EVERY = 64  # rows that a crash of the machine may cost; a killed process loses none
POLL_S = 0.5


@dataclass(frozen=True)
class GenerationReport:
    """`num_total` rows are wanted, `num_generated` of them are new in the file; `errors` are those failed, and why.

    Under several processes that of the first one counts all of them, also what another process had in its part before
    the first began or what a killed launch left there; that of another one counts its share.
    """

    num_total: int
    num_generated: int
    errors: dict[Key, str]

    def summary(self, out: Path) -> str:
        """One line that names what failed; "" where nothing did."""
        if not self.errors:
            return ""
        (identity, mode), message = next(iter(self.errors.items()))
        return (
            f"{out}: {len(self.errors)} of {self.num_total} answers failed, such as {printable(identity)} ({mode}): "
            f"{printable(message, 200)}; the same command tries them again"
        )


@dataclass
class _Rows:
    """What is known of the rows: those answered, those failed and why, and those generated in this run."""

    answered: set[Key] = field(default_factory=set)
    failed: dict[Key, str] = field(default_factory=dict)
    generated: set[Key] = field(default_factory=set)

    def add(self, row: Mapping[str, Any]) -> None:
        key = (str(row.get("id")), str(row.get("mode")))
        if row.get("status") != "error":
            self.answered.add(key)
            self.failed.pop(key, None)
        elif key not in self.answered:
            self.failed[key] = str(row.get("error") or "no reason is given")

    def is_missing(self, key: Key) -> bool:
        return key not in self.answered and key not in self.generated


def generate_to_store(
    out: Path,
    samples: Sequence[Sample],
    generator: Generator,
    modes: Sequence[Mode] = MODES,
    progress: Progress | None = None,
) -> GenerationReport:
    """Append to `out` what is missing of `samples` x `modes`, mode by mode; failed rows are tried again.

    `progress` is called with rows done and rows wanted, of this process's share where there are several.
    Raises InputError where `out` holds answers to another prompt or of other settings, is no predictions file, or is
    written by another process; and what `generator` raises.
    """
    rank, world = rank_and_world_size()
    parts, wanted = out.with_name(f"{out.name}.parts"), {(sample.id, mode) for sample in samples for mode in modes}
    share, rows = samples[rank::world], _Rows()
    generation = _Generation(generator, modes, rows, progress)
    if rank:
        with _when_free(parts / str(rank)):
            for path in (*_part_files(parts), out):  # a part may become rows of `out` meanwhile, never the reverse
                _read_into(rows, path)
            write_settings(out, merged_settings(out, samples, generator, rows.answered))
            generation.append_to(parts / str(rank) / PREDICTIONS_FILE, share)
    else:
        with _alone(parts):
            repair(out)
            _read_into(rows, out)
            _gather_stopped(out, parts, rows, world)
            write_settings(out, merged_settings(out, samples, generator, rows.answered))
            generation.append_to(out, share)
            with ExitStack() as shares:  # held to the end: who comes late would generate all of its share again
                for number in range(1, world):
                    shares.enter_context(_when_free(parts / str(number)))
                    _gather(out, parts / str(number) / PREDICTIONS_FILE, rows)
                generation.append_to(out, samples)
    return GenerationReport(
        len(wanted), len(rows.generated & wanted), {k: v for k, v in rows.failed.items() if k in wanted}
    )


@dataclass(frozen=True)
class _Generation:
    """The generator, the modes, and the rows that are there."""

    generator: Generator
    modes: Sequence[Mode]
    rows: _Rows
    progress: Progress | None

    def append_to(self, path: Path, samples: Sequence[Sample]) -> None:
        """Append what is missing of `samples` to `path`."""
        missing = {
            mode: [sample for sample in samples if self.rows.is_missing((sample.id, mode))] for mode in self.modes
        }
        total = len(samples) * len(self.modes)
        done = total - sum(map(len, missing.values()))
        if done == total:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as handle:
            for mode, left in missing.items():
                for prediction in self.generator.generate(left, mode) if left else ():
                    _append(handle, asdict(prediction), self.rows)
                    done += 1
                    if done % SYNC_EVERY == 0:
                        os.fsync(handle.fileno())
                    if self.progress:
                        self.progress(done, total)
            os.fsync(handle.fileno())


def _append(handle: IO[str], row: dict[str, Any], rows: _Rows) -> None:
    append_json_line(handle, row)
    handle.flush()
    rows.add(row)
    rows.generated.add((row["id"], row["mode"]))


def _part_folders(parts: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(folder for folder in parts.iterdir() if folder.name.isdecimal())
    return []


def _part_files(parts: Path) -> list[Path]:
    return [folder / PREDICTIONS_FILE for folder in _part_folders(parts)]


def _gather_stopped(out: Path, parts: Path, rows: _Rows, world: int) -> None:
    """Gather what an earlier launch left; a part that is being written belongs to a process of this launch.

    Raises InputError where that process is of another launch.
    """
    for folder in _part_folders(parts):
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(folder))
            except FileNotFoundError:  # removed while it was opened
                continue
            except InputError:
                if int(folder.name) >= world:
                    raise
                continue
            _gather(out, folder / PREDICTIONS_FILE, rows)
    rows.generated.difference_update(rows.failed)  # those are tried again


def _gather(out: Path, part: Path, rows: _Rows) -> None:
    """Move the rows of a part into `out`; the part goes last, so a stop in between moves nothing twice."""
    if not part.exists():
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a", encoding="utf-8") as handle:
        for row in whole_rows(part):
            if (str(row.get("id")), str(row.get("mode"))) not in rows.answered:
                _append(handle, row, rows)
        os.fsync(handle.fileno())
    part.unlink()


@contextmanager
def _alone(parts: Path) -> Iterator[None]:
    """Holds the folder of parts, which goes when nothing is left in it."""
    try:
        with ExitStack() as stack:
            while True:
                with suppress(FileNotFoundError):  # removed while it was opened
                    stack.enter_context(locked(parts))
                    break
            yield
    finally:
        _tidy(*_part_folders(parts), parts)


@contextmanager
def _when_free(folder: Path) -> Iterator[None]:
    """Holds a folder of a part as soon as nobody else does; it goes when nothing is left in it."""
    try:
        with ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(locked(folder))
                    break
                except (InputError, FileNotFoundError):  # held, or removed while it was opened
                    time.sleep(POLL_S)
            yield
    finally:
        _tidy(folder, folder.parent)


def _tidy(*folders: Path) -> None:
    """Remove those that are empty."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _read_into(rows: _Rows, path: Path) -> None:
    with suppress(FileNotFoundError):
        for row in whole_rows(path):
            rows.add(row)
