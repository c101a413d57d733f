"""Answers into a predictions file: what the file lacks is asked, what it holds stays.

    OUT                  a row a sample and mode, appended to; one with status "error" is no answer and is asked again
    OUT.settings.json    how the answers were made, and a hash of what each sample showed; compared when asking goes on
    OUT.parts/           the lock, and a folder for every further process of a launch; gone when all is done

A row counts when its line is whole: a line that a stop cut off is dropped. Under `accelerate launch` process k of W
asks samples k, k + W, … The first one writes OUT; each of the others writes a part under a lock of its own. The first
waits for these locks, which the kernel frees when a process dies, moves the parts into OUT and asks what still lacks;
a process that comes only then waits for it. Nothing but files is shared, so any process may be killed at any time, and
another number of processes may go on.
Memory: the keys of the rows, not the rows.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Protocol

from mer_r1.data.files import append_json_line, locked, read_json_lines, write_json
from mer_r1.data.sample import Mode, Prediction, Sample
from mer_r1.distributed import rank_and_world_size
from mer_r1.errors import InputError, first_line
from mer_r1.text import printable

Key = tuple[str, str]
Progress = Callable[[int, int], None]

UNREADABLE = (ValueError, OSError, RuntimeError, MemoryError)  # InputError, and what decoders and processors raise
ROWS = "predictions.jsonl"
SYNC_EVERY = 64  # rows; what the machine's fall may cost, a killed process loses none
POLL_S = 0.5


class Generator(Protocol):
    """Who answers: a local checkpoint or an endpoint."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """JSON values: everything that decides an answer (model, prompt, media budget, sampling)."""

    def generate(self, samples: Sequence[Sample], mode: Mode) -> Iterator[Prediction]:
        """One prediction of each sample, as they come, in any order.

        What fails for one sample is a prediction with status "error"; what fails for all raises InputError.
        """


@dataclass(frozen=True)
class GenerationReport:
    """`num_total` rows are wanted, `num_generated` of them were asked now; `errors` are those still failed, and why.

    Under several processes that of the first process counts all of them, and the others count their own share.
    """

    num_total: int
    num_generated: int
    errors: dict[Key, str]

    def summary(self, out: Path) -> str:
        """One line that says what failed; "" where nothing did."""
        if not self.errors:
            return ""
        (identity, mode), message = next(iter(self.errors.items()))
        return (
            f"{out}: {len(self.errors)} of {self.num_total} answers failed, such as {printable(identity)} ({mode}): "
            f"{printable(message, 200)}; the same command asks them again"
        )


@dataclass
class _Rows:
    """What is known of the rows: those answered, those failed and why, and those asked in this run."""

    answered: set[Key] = field(default_factory=set)
    failed: dict[Key, str] = field(default_factory=dict)
    asked: set[Key] = field(default_factory=set)

    def add(self, row: Mapping[str, Any]) -> None:
        key = (str(row.get("id")), str(row.get("mode")))
        if row.get("status") != "error":
            self.answered.add(key)
            self.failed.pop(key, None)
        elif key not in self.answered:
            self.failed[key] = str(row.get("error") or "no reason is given")

    def lack(self, key: Key) -> bool:
        return key not in self.answered and key not in self.asked


def failed(identity: str, mode: Mode, error: Exception) -> Prediction:
    """The row of a sample that could not be asked."""
    return Prediction(identity, mode, "", "", (), "error", error=first_line(error))


def generate_to_store(
    out: Path,
    samples: Sequence[Sample],
    generator: Generator,
    modes: Sequence[Mode] = ("fast", "slow"),
    progress: Progress | None = None,
) -> GenerationReport:
    """Append to `out` what it lacks of `samples` x `modes`, mode by mode; failed rows are asked again.

    `progress` is called with rows done and rows wanted, of this process's share where there are several.
    Raises InputError where `out` holds answers to another question or of other settings, is no predictions file, or is
    written by another process; and what `generator` raises.
    """
    rank, world = rank_and_world_size()
    parts, wanted = out.with_name(f"{out.name}.parts"), {(sample.id, mode) for sample in samples for mode in modes}
    share, rows = samples[rank::world], _Rows()
    asking = _Generation(generator, modes, rows, progress)
    if rank:
        with _when_free(parts / str(rank)):
            for path in (*_part_files(parts), out):  # a part may become rows of `out` meanwhile, never the reverse
                _read_into(rows, path)
            _write_settings(out, _check_settings(out, samples, generator, rows.answered))
            asking.into(parts / str(rank) / ROWS, share)
    else:
        with _alone(parts):
            _mend(out)
            _read_into(rows, out)
            _gather_stopped(out, parts, rows, world)
            _write_settings(out, _check_settings(out, samples, generator, rows.answered))
            asking.into(out, share)
            with ExitStack() as shares:  # held to the end: who comes late would ask all of its share again
                for number in range(1, world):
                    shares.enter_context(_when_free(parts / str(number)))
                    _gather(out, parts / str(number) / ROWS, rows)
                asking.into(out, samples)
    return GenerationReport(
        len(wanted), len(rows.asked & wanted), {k: v for k, v in rows.failed.items() if k in wanted}
    )


@dataclass(frozen=True)
class _Generation:
    """Who is asked in what modes, and the rows that are there."""

    generator: Generator
    modes: Sequence[Mode]
    rows: _Rows
    progress: Progress | None

    def into(self, path: Path, samples: Sequence[Sample]) -> None:
        """Append what lacks of `samples` to `path`."""
        lacking = {mode: [sample for sample in samples if self.rows.lack((sample.id, mode))] for mode in self.modes}
        total = len(samples) * len(self.modes)
        done = total - sum(map(len, lacking.values()))
        if done == total:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as handle:
            for mode, left in lacking.items():
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
    rows.asked.add((row["id"], row["mode"]))


def _part_folders(parts: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(folder for folder in parts.iterdir() if folder.name.isdecimal())
    return []


def _part_files(parts: Path) -> list[Path]:
    return [folder / ROWS for folder in _part_folders(parts)]


def _gather_stopped(out: Path, parts: Path, rows: _Rows, world: int) -> None:
    """Take over what an earlier launch left; a part that is being written belongs to a process of this launch.

    Raises InputError where it cannot, for want of that many processes.
    """
    for folder in _part_folders(parts):
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(folder))
            except FileNotFoundError:  # tidied away while it was opened
                continue
            except InputError:
                if int(folder.name) >= world:
                    raise
                continue
            _gather(out, folder / ROWS, rows)
    rows.asked.clear()


def _gather(out: Path, part: Path, rows: _Rows) -> None:
    """Move the rows of a part into `out`; the part goes last, so a stop in between moves nothing twice."""
    if not part.exists():
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a", encoding="utf-8") as handle:
        for row in _whole_rows(part):
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
                with suppress(FileNotFoundError):  # tidied away while it was opened
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
                except (InputError, FileNotFoundError):  # held, or tidied away while it was opened
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
        for row in _whole_rows(path):
            rows.add(row)


def _whole_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file that is there, a last line that a stop cut off left out.

    Raises FileNotFoundError, and InputError that names file and line for anything else that is no JSON object.
    """
    size = path.stat().st_size
    try:
        for _, row in read_json_lines(path):
            yield row
    except InputError as error:
        _, tail = _tail(path, size)
        with path.open("rb") as handle:
            last = 1 + sum(chunk.count(b"\n") for chunk in iter(lambda: handle.read(1 << 20), b"") if chunk)
        if not (tail.startswith(b"{") and str(error).startswith(f"{path}:{last}: ")):
            raise


def _tail(path: Path, size: int) -> tuple[int, bytes]:
    """Where the last line starts that has no end, and what it holds; empty where every line has one."""
    with path.open("rb") as handle:
        start, tail = size, b""
        while start > 0 and b"\n" not in tail:
            step = min(1 << 16, start)
            start -= step
            handle.seek(start)
            tail = handle.read(step) + tail
    cut = tail.rfind(b"\n") + 1
    return start + cut, tail[cut:]


def _mend(path: Path) -> None:
    """End the last line of a file: cut it off where it is half, and give it an end where it lacks only that.

    Raises InputError, the file left alone, where another line is no row.
    """
    if not path.exists():
        return
    for _ in _whole_rows(path):
        pass
    size = path.stat().st_size
    start, tail = _tail(path, size)
    if not tail:
        return
    with path.open("r+b") as handle:
        try:
            json.loads(tail)
            handle.seek(size)
            handle.write(b"\n")
        except ValueError:
            handle.truncate(start)


def _check_settings(
    out: Path, samples: Sequence[Sample], generator: Generator, answered: Collection[Key]
) -> dict[str, Any]:
    """What OUT.settings.json is to say. Raises InputError where the answers there were made otherwise."""
    path = out.with_name(f"{out.name}.settings.json")
    ids = {identity for identity, _ in answered}
    given: dict[str, Any] = json.loads(json.dumps(dict(generator.settings)))
    showing = {sample.id: _digest(sample) for sample in samples}
    kept = _kept_settings(path)
    if kept is None and ids & showing.keys():
        raise InputError(f"{out}: {path.name}, which says how its answers were made, is missing; give another --out")
    if kept is None or not ids:
        return {"settings": given, "samples": showing}
    old, new = _flat(kept["settings"]), _flat(given)
    for name in dict.fromkeys((*new, *old)):
        if old.get(name) != new.get(name):
            raise InputError(
                f"{out}: its answers were made with {name} {printable(old.get(name))}, "
                f"not {printable(new.get(name))}; give "
                "another --out, or remove the file"
            )
    for identity in ids & showing.keys():
        if kept["samples"].get(identity, showing[identity]) != showing[identity]:
            raise InputError(
                f'{out}: "{printable(identity)}" was answered with another text or file; give another --out, or remove '
                "the file"
            )
    return {"settings": given, "samples": kept["samples"] | showing}


def _kept_settings(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(kept["settings"], dict) and isinstance(kept["samples"], dict):
            return {**kept, "settings": _with_todays_names(kept["settings"])}
    except (ValueError, TypeError, KeyError):
        pass
    raise InputError(f"{path}: cannot be read; remove it and the predictions beside it")


def _with_todays_names(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings that 0.1.0 wrote say `profile` for the response format, and WordsOnlyBackbone for CausalLMBackbone."""
    settings, prompt, model = dict(settings), settings.get("prompt"), settings.get("model")
    if isinstance(prompt, dict) and "profile" in prompt:
        settings["prompt"] = {"response_format" if key == "profile" else key: value for key, value in prompt.items()}
    if isinstance(model, dict) and model.get("kind") == "WordsOnlyBackbone":
        settings["model"] = {**model, "kind": "CausalLMBackbone"}
    return settings


def _write_settings(out: Path, settings: dict[str, Any]) -> None:
    write_json(out.with_name(f"{out.name}.settings.json"), settings)


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """The leaves of nested settings under dotted names."""
    if not isinstance(value, dict):
        return {name: value}
    return {key: leaf for k, v in value.items() for key, leaf in _flat(v, f"{name}.{k}" if name else str(k)).items()}


def _digest(sample: Sample) -> str:
    """A hash of what is asked about: texts that may stand in a question, and name and size of the files.

    Their folder may change, and so may the gold.
    """

    def stamp(path: Path | None) -> list[object] | None:
        try:
            return None if path is None else [path.name, path.stat().st_size]
        except (OSError, ValueError):
            return [path.name, None] if path else None

    texts = [sample.subtitle, sample.source, *sample.candidates]
    showing = [texts, stamp(sample.video), stamp(sample.audio), stamp(sample.image)]
    return sha256(json.dumps(showing).encode()).hexdigest()[:12]
