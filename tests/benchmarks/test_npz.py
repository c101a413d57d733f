"""Label files are read as data: numpy 1 and 2, text and numbers of every kind; nothing in them is ever called."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mer_r1.benchmarks import npz
from mer_r1.benchmarks.npz import read_corpus
from mer_r1.errors import InputError
from tests.benchmarks.layouts import write_npz

KEY = "test_corpus"
CORPUS = {"clip_1": {"emo": 3, "val": -10}, "片段": {"emo": "happy", "val": 0.25}}


def write_pickle(path: Path, pickled: bytes, key: str = KEY, descr: str = "|O") -> Path:
    """An npz whose one array is `pickled`."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': (), }}\n".encode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{key}.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + pickled)
    return path


def refusal(path: Path, key: str = KEY) -> str:
    with pytest.raises(InputError) as caught:
        read_corpus(path, key)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def test_what_numpy_writes_is_read_back(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "label.npz", train_corpus={}, test_corpus=CORPUS)
    assert read_corpus(path, KEY) == CORPUS


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("module", ["numpy._core.multiarray", "numpy.core.multiarray"])
def test_both_numpys_and_every_version_of_pickle_are_read(tmp_path: Path, protocol: int, module: str) -> None:
    array = np.array(CORPUS | {"scalar": {"val": np.float64(0.5)}}, dtype=object)
    pickled = pickle.dumps(array, protocol)
    if protocol < 4:  # from there on a name's length comes before it
        pickled = pickled.replace(b"numpy._core.multiarray", module.encode())
    path = write_pickle(tmp_path / "label.npz", pickled)
    assert read_corpus(path, KEY) == CORPUS | {"scalar": {"val": 0.5}}


VALUES = [
    (np.int64(-7), -7),
    (np.uint8(200), 200),
    (np.float32(0.5), 0.5),
    (np.float16(0.5), 0.5),
    (np.bool_(True), True),
    (np.str_("sad"), "sad"),
    (np.str_("难过"), "难过"),
    (np.bytes_(b"sad"), "sad"),
    (np.array([1.5]), 1.5),
    (np.array(1.5, dtype=">f8"), 1.5),
    (np.array([1, 2], dtype=">i4"), [1, 2]),
    (np.array(["sad", "难过"], dtype=">U3"), ["sad", "难过"]),
    (np.array(["happy"], dtype=object), "happy"),
    (None, None),
    (True, True),
    (2**40, 2**40),
    (-3, -3),
    (["a", "b"], ["a", "b"]),
    ((), ()),
    ((1, 2, 3, 4), (1, 2, 3, 4)),
]


@pytest.mark.parametrize(("value", "read"), VALUES, ids=lambda value: repr(value)[:30])
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_value_comes_out_as_plain_python(tmp_path: Path, value: Any, read: Any, protocol: int) -> None:
    pickled = pickle.dumps(np.array({"clip": {"field": value}}, dtype=object), protocol)
    got = read_corpus(write_pickle(tmp_path / "label.npz", pickled), KEY)["clip"]["field"]
    assert (got, type(got)) == (read, type(read))


class Shell:
    """A pickle that runs a command when it is loaded."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_a_hostile_pickle_is_refused_and_nothing_runs(tmp_path: Path, protocol: int) -> None:
    proof = tmp_path / "proof"
    hostile = Shell(f"touch {proof}")
    pickled = pickle.dumps(np.array({"clip": {"emo": hostile}}, dtype=object), protocol)
    path = write_pickle(tmp_path / "label.npz", pickled)
    assert "which no table of labels needs" in refusal(path)
    assert not proof.exists()
    np.load(path, allow_pickle=True)[KEY]  # the same file does harm where it is loaded
    assert proof.exists()


@pytest.mark.parametrize(
    "pickled",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x02cnumpy\nload\n)R.",
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nN}b.",
        b"\x80\x02cnumpy\nndarray\nK\x01\x85R.",
        b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00f8\x85R.",
        b"\x80\x02]K\x01K\x02s.",
        b"\x80\x02}K\x01a.",
        b"\x80\x02}]K\x02s.",
        b"\x80\x02r\xff\xff\xff\x7f.",
        b"\x80\x02}r\xff\xff\xff\x7f.",
        b"\x80\x02Pname\n.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02t.",
        b"\x80\x02b.",
        b"\x80\x02.",
        b"\x80\x02}",
        b"",
        b"\x80\x04\x8e" + (2**40).to_bytes(8, "little"),
    ],
)
def test_a_broken_pickle_is_one_line(tmp_path: Path, pickled: bytes) -> None:
    refusal(write_pickle(tmp_path / "label.npz", pickled))


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
DEEP_TUPLE = b")" + b"\x85" * 1_000_000
DOUBLING_TUPLE = b"K\x01" + b"".join(b"q\x00h\x00\x86" for _ in range(60))
HASHED = b"\x80\x02}%sK\x01s."
HOSTILE = {
    "an index in the memo beyond all memory": (b"\x80\x02}r\xff\xff\xff\xffK\x010.", "more values than it has bytes"),
    "a key whose hash takes more stack than there is": (HASHED % DEEP_TUPLE, "tuples of many tuples"),
    "a key whose hash takes ages": (HASHED % DOUBLING_TUPLE, "tuples of many tuples"),
    "the same by a marked tuple": (
        HASHED % (b"K\x01" + b"".join(b"q\x00(h\x00h\x00t" for _ in range(60))), "tuples of many tuples",
    ),
    "a name that is given attributes": (
        b"\x80\x02" + RECONSTRUCT + b"N}X\x01\x00\x00\x00aK\x01s\x86b.", "state to a name",
    ),
    "a name that is made anew": (b"\x80\x02cnumpy\ndtype\n)\x81.", "NEWOBJ"),
    "a name of a name": (b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.tobytes\x93.", "asks for numpy"),
    "a value twice": (b"\x80\x02}2.", "DUP"),
    "bytes by the gigabyte": (b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b".", "not a readable label file"),
    "an array of objects from bytes": (
        b"\x80\x02" + RECONSTRUCT + b")R(K\x01K\x01\x85cnumpy\ndtype\nX\x02\x00\x00\x00O8\x85R\x89C\x08" + b"A" * 8
        + b"tb.", "unknown type 'O8'",
    ),
    "an array of records from bytes": (
        b"\x80\x02" + RECONSTRUCT + b")R(K\x01K\x01\x85cnumpy\ndtype\nX\x05\x00\x00\x00i8,O8\x85R\x89C\x10" + b"A" * 16
        + b"tb.", "unknown type 'i8,O8'",
    ),
    "a shape of all memory": (
        b"\x80\x02" + RECONSTRUCT + b"cnumpy\nndarray\n\x8a\x05\x00\x00\x00\x00\x10\x85C\x01b\x87R.",
        "no table of clips",
    ),
    "a long array": (
        b"\x80\x02" + RECONSTRUCT + b")R(K\x01K\x01\x85cnumpy\ndtype\nX\x02\x00\x00\x00u1\x85R\x89B\x01\x04\x00\x00"
        + b"A" * 1025 + b"tb.", "a long array",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("pickled", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_pickle_that_would_crash_hang_or_fill_the_memory_is_refused(
    tmp_path: Path, pickled: bytes, reason: str
) -> None:
    assert reason in refusal(write_pickle(tmp_path / "label.npz", pickled))


def test_an_absent_key_is_answered_with_those_there_are(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "label.npz", train_corpus={}, test_corpus=CORPUS)
    assert "only train_corpus, test_corpus" in refusal(path, "test1_corpus")
    assert "no such file" in refusal(tmp_path / "none.npz")
    assert "no such file" in refusal(tmp_path)


def test_an_array_of_numbers_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "label.npz"
    np.savez(path, test_corpus=np.arange(5))
    assert "no pickled table" in refusal(path)
    assert "no table of clips" in refusal(write_pickle(path, pickle.dumps(np.array([1, 2], dtype=object), 4)))
    assert "a table of fields" in refusal(write_npz(path, test_corpus={"clip": 3}))
    assert "no text" in refusal(write_npz(path, test_corpus={3: {}}))  # type: ignore[dict-item]


def test_nested_lists_that_double_at_each_level_take_no_time(tmp_path: Path) -> None:
    nested = b"\x80\x02]q\x00" + b"".join(bytes((93, 113, n, 40, 104, n - 1, 104, n - 1, 101)) for n in range(1, 41))
    named, deepest = b"cnumpy\ndtype\n", b"h\x28"
    path = write_pickle(tmp_path / "label.npz", nested + named + deepest + b"\x85R.")
    assert "names a type by what is no text" in refusal(path)
    write_pickle(path, nested + named + b"X\x02\x00\x00\x00f8\x85R" + b"K\x03" + deepest + b"\x86b.")  # an order
    assert "no table of clips" in refusal(path)


def test_a_file_that_grows_when_unpacked_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_npz(tmp_path / "label.npz", test_corpus={"clip": {"emo": "x" * 5000}})
    assert path.stat().st_size < 1000
    monkeypatch.setattr(npz, "MAX_BYTES", 4000)
    assert "larger than" in refusal(path)


def test_a_clip_within_itself_ends(tmp_path: Path) -> None:
    table: dict[str, Any] = {}
    table["clip"] = table
    assert list(read_corpus(write_npz(tmp_path / "label.npz", test_corpus=table), KEY)) == ["clip"]


def packed() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, test_corpus=np.array(CORPUS | {"c": {"emo": np.int64(1), "val": np.array([1.0])}}, dtype=object))
    return buffer.getvalue()


PACKED = packed()
PICKLED = pickle.dumps(np.array(CORPUS | {"c": {"emo": np.int64(1), "val": np.array([1.0])}}, dtype=object), 4)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_changed_bytes_are_an_input_error_or_a_table(tmp_path: Path, data: st.DataObject) -> None:
    whole = data.draw(st.booleans())
    content = bytearray(PACKED if whole else PICKLED)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    path = tmp_path / "label.npz"
    if whole:
        path.write_bytes(content)
    else:
        write_pickle(path, bytes(content))
    message = ""
    try:
        read_corpus(path, KEY)
    except InputError as error:
        message = str(error)
    assert "\n" not in message
