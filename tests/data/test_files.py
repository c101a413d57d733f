"""Files: faults named by file and line; what is written is whole or not there."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mer_r1.data.files import (
    Kind,
    append_json_line,
    atomic_folder,
    atomic_path,
    disk_full_named,
    locked,
    read_json_lines,
    validate_outputs,
    write_json,
    write_json_lines,
    write_text,
)
from mer_r1.errors import InputError

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_atomic_path_renames_when_the_block_ends_well_and_makes_the_folder(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "deep" / "a.txt") as temporary:
        assert temporary.parent == tmp_path / "deep"
        temporary.write_text("new")
        assert not (tmp_path / "deep" / "a.txt").exists()
    assert names(tmp_path / "deep") == ["a.txt"]


HELD: dict[Kind, bytes] = {
    "JSON": b'{\n  "rows": 3\n}\n',
    "JSON lines": b'\n{"id": "a"}\n{"id": "b"}\n',
    "an HTML page": b"\n\n<!doctype html>\n<html>",
    "a list of missing files": b"labels.csv:4: c\tno such file below clips\n",
}


@pytest.mark.parametrize("kind", HELD)
def test_an_output_replaces_an_empty_file_or_one_of_its_kind_and_no_other(tmp_path: Path, kind: Kind) -> None:
    path = tmp_path / "out"
    others = (
        *(held for other, held in HELD.items() if other != kind),
        b"# Notes\n",
        b"\xff\xd8\xff\xe0\0",
        b"a,b\n1,2\n",
    )
    validate_outputs({"--out": (path, kind)})
    for held in (b"", b" \n", HELD[kind]):
        path.write_bytes(held)
        validate_outputs({"--out": (path, kind)})
    for held in others:
        path.write_bytes(held)
        with pytest.raises(InputError, match=rf"^--out .*out is there and is not {kind}; give another name"):
            validate_outputs({"--out": (path, kind)})


def test_where_no_file_can_be_written_is_said_before_anything_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.json").touch()
    validate_outputs({"--out": (tmp_path / "a.json", "JSON"), "--json": (tmp_path / "new" / "b.json", "JSON")})
    assert names(tmp_path) == ["a.json"]
    with pytest.raises(InputError, match=r"^--out .*: is a folder; give the name of a file$"):
        validate_outputs({"--out": (tmp_path, "JSON")})
    with pytest.raises(InputError, match=r"a.json is a file; give a name in a folder$"):
        validate_outputs({"--out": (tmp_path / "a.json" / "b", "JSON")})
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match=r"--out .*: cannot be written"):
        validate_outputs({"--out": (tmp_path / "b", "JSON")})


def test_an_output_is_no_input_and_no_other_output(tmp_path: Path) -> None:
    path, same = tmp_path / "a.jsonl", tmp_path / "x" / ".." / "a.jsonl"
    with pytest.raises(InputError, match=r"--json .* would overwrite another file of this command"):
        validate_outputs({"--json": (same, "JSON")}, (None, path))
    with pytest.raises(InputError, match=r"--missing .* would overwrite another file of this command"):
        validate_outputs({"--out": (path, "JSON lines"), "--missing": (same, "a list of missing files")})


def test_an_error_names_the_file_and_not_its_temporary_name(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 250)  # its temporary name is too long
    with pytest.raises(OSError, match="name too long") as caught:
        write_text(path, "x")
    assert caught.value.filename == str(path)


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt, OSError, SystemExit])
def test_atomic_path_leaves_the_old_file_and_nothing_else_on_any_failure(
    tmp_path: Path, fault: type[BaseException]
) -> None:
    (tmp_path / "a.txt").write_text("old")

    def write() -> None:
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise fault

    with pytest.raises(fault):
        write()
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_atomic_path_may_write_nothing_and_fail(tmp_path: Path) -> None:
    with pytest.raises(KeyError), atomic_path(tmp_path / "a.txt"):
        raise KeyError
    assert names(tmp_path) == []


def test_a_rename_that_fails_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").write_text("")
    with pytest.raises(OSError, match="directory"):
        write_text(tmp_path / "taken", "text")
    assert names(tmp_path) == ["taken"]


def test_a_folder_is_replaced_whole_when_the_block_ends_well(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").write_text("")
    with atomic_folder(tmp_path / "model") as temporary:
        (temporary / "new").write_text("")
        assert names(tmp_path / "model") == ["old"]
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["new"]


@pytest.mark.parametrize("fault", [KeyboardInterrupt, OSError])
def test_a_folder_that_was_not_finished_leaves_the_old_one(tmp_path: Path, fault: type[BaseException]) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / ".model.tmp").mkdir()  # a process that was killed left this
    (tmp_path / ".model.tmp" / "half").write_text("")

    def write() -> None:
        with atomic_folder(tmp_path / "model") as temporary:
            assert names(temporary) == []
            (temporary / "new").write_text("")
            raise fault

    with pytest.raises(fault):
        write()
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == []


@pytest.mark.parametrize(
    "message",
    ["Error while serializing: I/O error: No space left on device (os error 28)", "at inline_container.cc:672"],
)
def test_a_full_disk_is_recognised_in_what_libraries_raise(message: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device") as caught, disk_full_named(tmp_path):
        raise RuntimeError(message)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(tmp_path)


def test_other_errors_pass_as_they_are(tmp_path: Path) -> None:
    for error in (RuntimeError("other"), FileNotFoundError(2, "No such file"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, disk_full_named(tmp_path):
            raise error
        assert caught.value is error


class FullDisk(io.StringIO):
    """A file whose disk is full after some characters, as a buffered file finds out."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    write_json_lines(path, [{"a": 1}])
    before = path.read_bytes()
    opened = Path.open

    def full(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if "w" not in mode:
            return opened(self, mode, *args, **kwargs)
        opened(self, "w").close()  # the name is there before the bytes are
        return FullDisk()

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space left"):
        write_json_lines(path, [{"a": 2}])
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"a": 2})
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "x")
    assert path.read_bytes() == before
    assert names(tmp_path) == ["a.jsonl"]


def test_a_row_that_json_does_not_know_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_json_lines(path, [{"a": 1}])
    with pytest.raises(TypeError):
        write_json_lines(path, [{"a": 2}, {"b": object()}])
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json_lines(path, [{"a": float("nan")}])
    assert [row for _, row in read_json_lines(path)] == [{"a": 1}]
    assert names(tmp_path) == ["a.jsonl"]


@settings(max_examples=40)
@given(rows=st.lists(st.dictionaries(st.text(), values, max_size=4), max_size=5))
def test_json_lines_round_trip(rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    writable = [row for row in rows if _is_unicode(row)]
    write_json_lines(path, iter(writable))
    assert list(read_json_lines(path)) == list(enumerate(writable, start=1))


def _is_unicode(row: dict[str, Any]) -> bool:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def test_blank_lines_are_passed_over_and_lines_keep_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n  \n{"b": "\xe2\x80\xa8"}')
    assert list(read_json_lines(path)) == [(1, {"a": 1}), (4, {"b": "\u2028"})]


WRONG = [
    (b'{"a": 1}\n{"b":\n', ":2: not valid JSON"),
    (b'{"a": 1}\n\n[1]\n', ":3: a JSON object is needed, found list"),
    (b'"text"\n', ":1: a JSON object is needed, found str"),
    (b'{"a": 1}\n{"a": "\xff"}\n', ":2: not UTF-8 text; save the file as UTF-8"),
    (b"[" * 100_000, ":1: not valid JSON"),
]


@pytest.mark.parametrize(("data", "message"), WRONG, ids=[message for _, message in WRONG])
def test_a_wrong_line_is_named_by_file_and_number(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        list(read_json_lines(path))
    assert str(caught.value).startswith(f"{path}{message}")


def test_lines_before_a_wrong_one_are_given(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\nwrong\n')
    lines = read_json_lines(path)
    assert next(lines) == (1, {"a": 1})
    with pytest.raises(InputError, match=":2:"):
        next(lines)


def test_a_missing_file_and_a_folder_are_named_with_what_to_give(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(InputError) as caught:
            list(read_json_lines(path))
        assert str(caught.value).startswith(f"{path}: cannot be read")
        assert "give" in str(caught.value)


def test_an_appended_line_is_one_line_whatever_it_holds() -> None:
    handle = io.StringIO()
    append_json_line(handle, {"text": "two\nlines\r and é"})
    assert handle.getvalue() == '{"text": "two\\nlines\\r and é"}\n'


def test_half_a_surrogate_pair_is_written_as_its_escape_and_read_back(tmp_path: Path) -> None:
    row = {"text": "a\ud800b", "\udfff": 1}
    write_json_lines(tmp_path / "a.jsonl", [row])
    write_json(tmp_path / "a.json", row)
    assert list(read_json_lines(tmp_path / "a.jsonl")) == [(1, row)]
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == row


def test_a_number_of_thousands_of_digits_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n{"a": ' + "9" * 5000 + "}\n")
    with pytest.raises(InputError, match=r"a\.jsonl:2: not valid JSON \(a number too long\)"):
        list(read_json_lines(tmp_path / "a.jsonl"))


def test_json_is_indented_and_refuses_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"é": [1]})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "é": [\n    1\n  ]\n}\n'
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "b.json", float("nan"))
    assert names(tmp_path) == ["a.json"]


HOLDS = """
import os, sys, time
from pathlib import Path
from mer_r1.data.files import locked
with locked(Path(sys.argv[1])):
    if "child" not in sys.argv or os.fork() == 0:
        print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a folder, in a session of its own."""
    command = [sys.executable, "-c", HOLDS, str(folder), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_second_process_is_refused_at_once_in_one_line_that_names_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    with holder(folder) as process:
        with pytest.raises(InputError) as caught, locked(folder):
            pytest.fail("both hold it")
        assert process.poll() is None  # it was not waited for
        assert str(caught.value) == (
            f"{folder}: another process is at work here (pid {process.pid}); wait for it, or give another folder"
        )
        with locked(tmp_path / "other"):
            pass
    assert names(folder) == [".lock"]  # a killed process leaves it, and it holds nothing
    with locked(folder):
        assert (folder / ".lock").read_text() == str(os.getpid())
    assert names(folder) == []


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_folder_is_free_when_its_process_is_killed_though_a_child_of_it_lives(tmp_path: Path) -> None:
    with holder(tmp_path, "child") as process:
        process.kill()
        process.wait()
        with locked(tmp_path):
            os.killpg(process.pid, 0)  # the child is still there


def test_a_block_that_fails_frees_its_folder_and_no_block_enters_another(tmp_path: Path) -> None:
    refused = f"another process is at work here .pid {os.getpid()}"
    with pytest.raises(InputError, match=refused), locked(tmp_path), locked(tmp_path):
        pytest.fail("both hold it")
    assert names(tmp_path) == []
    with locked(tmp_path):
        assert names(tmp_path) == [".lock"]


def test_a_folder_that_was_made_and_stayed_empty_goes_with_its_lock(tmp_path: Path) -> None:
    for name in ("made", "used"):
        with locked(tmp_path / name):
            (tmp_path / "used").mkdir(exist_ok=True)
            (tmp_path / "used" / "file").touch()
    assert names(tmp_path) == ["used"]
    (tmp_path / "there").mkdir()
    with locked(tmp_path / "there"):
        pass
    assert names(tmp_path) == ["there", "used"]


def test_a_second_thread_is_refused_while_the_first_is_inside(tmp_path: Path) -> None:
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(tmp_path):
            inside.set()
            leave.wait(60)

    first = threading.Thread(target=hold)
    first.start()
    assert inside.wait(60)
    with pytest.raises(InputError, match="another process is at work"), locked(tmp_path):
        pytest.fail("both hold it")
    leave.set()
    first.join()
    with locked(tmp_path):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="flock is not used here")
@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_a_file_system_without_locks_holds_nothing_and_keeps_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", refuse)
    with locked(tmp_path), locked(tmp_path):
        assert names(tmp_path) == []
    monkeypatch.undo()
    with locked(tmp_path):
        assert names(tmp_path) == [".lock"]


def test_an_error_of_the_disk_while_locking_is_not_taken_for_a_lack_of_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("fcntl.flock", fail)
    with pytest.raises(OSError, match="Input/output"), locked(tmp_path):
        pytest.fail("held")


def test_a_lock_that_is_a_link_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    (tmp_path / ".lock").symlink_to("kept")
    with pytest.raises(OSError, match="symbolic"), locked(tmp_path):
        pass
    assert (tmp_path / "kept").read_text() == "kept"


TAKES_TURNS = """
import os, sys
from pathlib import Path
from mer_r1.errors import InputError
from mer_r1.data.files import locked
folder, turns = Path(sys.argv[1]), 0
while turns < 150:
    try:
        with locked(folder):
            os.close(os.open(folder / "inside", os.O_CREAT | os.O_EXCL))
            os.unlink(folder / "inside")
            turns += 1
    except InputError:
        pass
"""


@pytest.mark.slow
def test_processes_that_take_turns_are_never_inside_together(tmp_path: Path) -> None:
    """The file of the lock comes and goes meanwhile."""
    command = [sys.executable, "-c", TAKES_TURNS, str(tmp_path)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [(process.communicate(timeout=60)[1], process.returncode) for process in processes] == [("", 0)] * 3
    assert names(tmp_path) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from mer_r1.data.files import atomic_folder

model, removed, remove = Path(sys.argv[1]), [], os.unlink

def killed(*arguments, **options):
    remove(*arguments, **options)
    removed.append(arguments)
    if len(removed) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

os.unlink = killed
with atomic_folder(model) as temporary:
    for k in range(4):
        (temporary / f"part{k}").write_text("new")
"""


@pytest.mark.slow
def test_a_kill_while_the_old_folder_is_removed_leaves_the_new_one_whole(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for k in range(4):
        (model / f"part{k}").write_text("old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(model)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [path.read_text() for path in sorted(model.iterdir())] == ["new"] * 4
    with atomic_folder(model) as temporary:
        (temporary / "part").write_text("newer")
    assert names(tmp_path) == ["model"]
    assert names(model) == ["part"]


@pytest.mark.parametrize("half", [b'{"a": 2', b'{"a": "\xc3', b"{", b'{"a": 2}x'])
def test_the_half_written_last_line_of_a_growing_file_is_passed_over(tmp_path: Path, half: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a": 1}\n' + half)
    assert list(read_json_lines(path, growing=True)) == [(1, {"a": 1})]
    for content in (b'{"a": 1}\n' + half + b"\n", half + b'\n{"a": 1}'):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"not (valid JSON|UTF-8)"):
            list(read_json_lines(path, growing=True))
    path.write_bytes(b'{"a": 1}\n' + half)
    with pytest.raises(InputError, match=r"not (valid JSON|UTF-8)"):
        list(read_json_lines(path))
    path.write_bytes(b'{"a": 1}\n{"a": 2}')  # whole but for its end
    assert len(list(read_json_lines(path, growing=True))) == 2
