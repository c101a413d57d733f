"""Reading JSON lines with named errors; writing whole or not at all; a folder held by one process."""

from __future__ import annotations

import errno
import filecmp
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal

from filelock import FileLock, Timeout

from mer_r1.errors import InputError

Kind = Literal["JSON", "JSON lines", "an HTML page", "a list of missing files"]
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)  # as some network file systems answer


def read_json_lines(path: Path, *, growing: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, object) of a JSON-lines file; blank lines are passed over.

    `growing`: a last line without its end that is no JSON is being written, or was when its writer was stopped; it is
    passed over.

    Raises InputError that names file and line for a missing file, text that is not UTF-8, bad JSON, or a line that is
    not an object.
    """
    try:
        handle = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the path of a JSON-lines file") from None
    with handle:
        try:
            for number, line in enumerate(handle, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
                except UnicodeDecodeError:
                    if growing and not line.endswith(b"\n"):
                        return
                    raise InputError(f"{path}:{number}: not UTF-8 text; save the file as UTF-8") from None
                except RecursionError:
                    raise InputError(
                        f"{path}:{number}: not valid JSON (nested too deeply); write one object a line"
                    ) from None
                except ValueError as error:  # a number of thousands of digits is a plain one, without "msg"
                    if growing and not line.endswith(b"\n"):
                        return
                    reason = getattr(error, "msg", "a number too long")
                    raise InputError(f"{path}:{number}: not valid JSON ({reason}); write one object a line") from None
                if not isinstance(row, dict):
                    raise InputError(f"{path}:{number}: a JSON object is needed, found {type(row).__name__}")
                yield number, row
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); give a JSON-lines file") from None


def read_bytes(path: Path, max_bytes: int, *, fix: str, too_large: str) -> bytes:
    """The bytes of a file, of which no more than `max_bytes` are read.

    Raises InputError for a file that cannot be read, which ends in `fix`, and for a larger one, in `too_large`.
    """
    try:
        with path.open("rb") as handle:
            data = handle.read(max_bytes + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {fix}") from None
    if len(data) > max_bytes:
        raise InputError(f"{path}: larger than {max_bytes / 2**20:.0f} MiB; {too_large}")
    return data


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it when the block ends well and removed when it does not."""
    if path.name in ("", ".."):
        raise InputError(f"{str(path)!r} is no name of a file; give the path of the file to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):  # never made, or on a disk that may not be written
            temporary.unlink()
        if isinstance(error, OSError) and error.filename == str(temporary):
            error.filename = str(path)  # the name that the user gave
        raise


def validate_outputs(outputs: Mapping[str, tuple[Path | None, Kind]], inputs: Iterable[Path | None] = ()) -> None:
    """Raises InputError where an output, by the name of its option, would replace what this command did not write.

    That is a file that is read, another output, or a file that is there and holds something of another kind. And as
    `require_place` does.
    """
    taken = {path.resolve() for path in inputs if path is not None}
    for option, (path, kind) in outputs.items():
        if path is None:
            continue
        if path.resolve() in taken:
            raise InputError(f"{option} {path} would overwrite another file of this command; give another name")
        if path.is_file() and not _is_of_kind(path, kind):
            raise InputError(f"{option} {path} is there and is not {kind}; give another name, or remove that file")
        require_place(option, path)
        taken.add(path.resolve())


def require_place(option: str, path: Path) -> None:
    """Raises InputError where no file can be written: in place of a folder, below a file, or without permission."""
    if path.is_dir():
        raise InputError(f"{option} {path}: is a folder; give the name of a file")
    there = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    if there != path.absolute() and not there.is_dir():
        raise InputError(f"{option} {path}: {there} is a file; give a name in a folder")
    if not os.access(there, os.W_OK):
        raise InputError(f"{option} {path}: cannot be written; give a name where you may write")


def _is_of_kind(path: Path, kind: Kind) -> bool:
    """Whether a file is empty or begins as what is written of this kind; its first line tells."""
    with path.open("rb") as handle:
        first = next((line for line in handle if line.strip()), b"")
    text = first.decode("utf-8-sig", "replace").strip()
    if not text:
        return True
    if kind == "JSON":
        return text in ("{", "{}")  # as write_json indents it; a manifest's line is a whole object
    if kind == "an HTML page":
        return text.casefold().startswith(("<!doctype html", "<html"))
    if kind == "a list of missing files":
        return text.count("\t") == 1
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def put_new(temporary: Mapping[Path, Path]) -> None:
    """Give finished files their names: `temporary` maps a name to where its content stands.

    A file that holds the very same already is no obstacle. Raises InputError, before any is renamed, where one holds
    something else. What is left under the temporary names is removed.
    """
    try:
        for path, made in temporary.items():
            if path.exists() and (path.is_dir() or not filecmp.cmp(path, made, shallow=False)):
                raise InputError(f"{path} holds something else; remove it, or give another folder with --out")
        for path, made in temporary.items():
            made.replace(path)
    finally:
        for made in temporary.values():
            made.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder`, renamed to it when the block ends well and removed when it does not.

    A folder of that name that was there before is replaced.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    earlier = folder.with_name(f".{folder.name}.old")
    try:
        yield temporary
        shutil.rmtree(earlier, ignore_errors=True)
        if folder.exists():
            folder.rename(earlier)  # removing it takes time, in which a kill would leave half of it
        temporary.rename(folder)
        shutil.rmtree(earlier, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds `folder`, which is made where it is missing, for this process alone. One that was made and stayed empty is
    removed when the block ends.

    The lock is the kernel's, on `folder`/.lock: it ends with the process, however that ends, and no forked child keeps
    it. The file is removed when the block ends. On a file system without locks nothing is held.
    Raises InputError at once where another process holds it, or another block of this one.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lock"
    # A soft lock in place of the kernel's would outlive a killed process.
    lock = FileLock(path, blocking=False, thread_local=False, fallback_to_soft=False, on_acquired=_write_pid)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(
            f"{folder}: another process is at work here (pid {_holder(path)}); wait for it, or give another folder"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        path.unlink(missing_ok=True)
    try:
        yield
    finally:
        if lock.is_locked:  # not in a forked child that came here on its way out
            with suppress(OSError):  # Windows removes it when the lock ends
                path.unlink()
            lock.release()
            if is_new:
                with suppress(OSError):  # it holds something
                    folder.rmdir()


def _write_pid(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())


def _holder(path: Path) -> str:
    try:
        pid = path.read_bytes()[:20].decode(errors="replace")
    except OSError:  # gone by now, or not readable while it is locked (Windows)
        pid = ""
    return pid if pid.isdigit() else "not known"


@contextmanager
def disk_full_named(folder: Path) -> Iterator[None]:
    """Turns what libraries raise when a disk is full (safetensors, torch.save) into the OSError it is."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        if "No space left" in str(error) or "inline_container" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all; half a surrogate pair becomes its JSON escape."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all. NaN is refused: use None."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """`value` as indented JSON with a line end. NaN is refused: use None."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json_lines(path: Path, rows: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> None:
    """Write rows as JSON lines, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
        for row in rows:
            append_json_line(handle, row)


def append_json_line(handle: IO[str], row: dict[str, Any]) -> None:
    """Append one object as one line to an open text file; half a surrogate pair becomes its JSON escape."""
    line = json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
    handle.write(line.encode("utf-8", "backslashreplace").decode("utf-8"))
