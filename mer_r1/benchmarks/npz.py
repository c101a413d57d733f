"""The owners' label files: npz archives of pickled dicts, read without numpy's or anybody else's code being called.

    label.npz = zip of NAME.npy;  NAME.npy = header, then a pickle of an array of one dict {clip: {field: value}}

A pickle is a program, and `numpy.load(allow_pickle=True)` runs it. Here the standard library's Unpickler builds text,
numbers, lists, tuples and dicts, and meets stand-ins of this file under the few names that numpy writes for arrays,
dtypes and scalars (numpy 1 and 2); any other name is refused. Stand-ins, because numpy trusts the state that a pickle
gives to a dtype: a wrong one makes it take bytes for the addresses of objects.

Bounds: one array of at most 8 MiB unpacked, which is several times the largest of MER-UniBench, in a file of 64 MiB.
Instructions that no such file needs are refused before the first is carried out, as are an index in the memo beyond the
file's length (the Unpickler makes room for all before it) and tuples of many tuples, whose hash is taken by recursion.
"""

from __future__ import annotations

import pickle
import pickletools
import re
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO
from lzma import LZMAError
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from mer_r1.errors import InputError
from mer_r1.text import printable

MAX_BYTES = 8 * 2**20
MAX_FILE_BYTES = 64 * 2**20
_MAX_NUMBERS = 1024
_MAX_TUPLE = 1024
_MAGIC = b"\x93NUMPY"
_OBJECT = b"'descr': '|O'"
_NUMBERS_OR_TEXT = re.compile(r"[biufSU][0-9]{1,5}")
_INSTRUCTIONS = frozenset({
    "PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1",
    "BINFLOAT", "SHORT_BINUNICODE", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES", "EMPTY_TUPLE", "EMPTY_LIST",
    "EMPTY_DICT", "TUPLE1", "TUPLE2", "TUPLE3", "TUPLE", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "BINPUT",
    "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD",
})  # fmt: skip
_BROKEN = (
    zipfile.BadZipFile, zlib.error, LZMAError, pickle.UnpicklingError, OSError, EOFError, MemoryError,
    NotImplementedError, RuntimeError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError,
)  # fmt: skip
"""What the zip and pickle readers of the standard library, and numpy, raise over broken bytes."""


class _Refused(Exception):
    """An instruction, or a name, that label files have no use for."""


def read_corpus(path: Path, key: str) -> dict[str, dict[str, Any]]:
    """The dict {clip: {field: value}} that the label file `path` holds under `key`, in the file's order.

    Values are text, int, float, None, lists and tuples of them: numpy's scalars and arrays of one number come out as
    that number. Raises InputError for a file that cannot be read, is no npz, has no such key, or holds anything else.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; the labels stand there")
    try:
        table = _read(path, key)
    except _Refused as error:
        raise InputError(f"{path}: {error}; take the owners' own file") from None
    except _BROKEN as error:
        reason = printable(error) or type(error).__name__
        raise InputError(f"{path}: not a readable label file ({reason}); copy it again") from None
    if not isinstance(table, dict):
        raise InputError(f'{path}: "{key}" holds no table of clips; take the owners\' own file')
    corpus: dict[str, dict[str, Any]] = {}
    for clip, fields in table.items():
        if not isinstance(fields, dict):
            raise InputError(f'{path}: "{key}", clip {printable(clip)!r}: a clip has a table of fields')
        if not all(isinstance(name, str) for name in (clip, *fields)):
            raise InputError(
                f'{path}: "{key}", clip {printable(clip)!r}: it, or a field of it, has a name that is no text'
            )
        corpus[clip] = {name: _plain(value) for name, value in fields.items()}
    return corpus


def _read(path: Path, key: str) -> object:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise _Refused(f"is larger than {MAX_FILE_BYTES // 2**20} MiB")
    with zipfile.ZipFile(path) as archive:
        names = [Path(name).stem for name in archive.namelist()]
        if f"{key}.npy" not in archive.namelist():
            raise _Refused(f'holds no "{key}", only {printable(", ".join(names)) or "nothing"}')
        with archive.open(f"{key}.npy") as member:
            data = member.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise _Refused(f'"{key}" is larger than {MAX_BYTES // 2**20} MiB')
    wide = 2 if data[6:7] == b"\x01" else 4
    start = 8 + wide
    end = start + int.from_bytes(data[8:start], "little")
    if not data.startswith(_MAGIC) or _OBJECT not in data[start:end]:
        raise _Refused(f'"{key}" holds no pickled table')
    pickled = data[end:]
    _check(pickled)
    return _single(_Unpickler(BytesIO(pickled)).load())


def _check(data: bytes) -> None:
    """Refuse a pickle by its instructions alone, with the stack followed only as far as tuples nest.

    An instruction that finds no values on the stack is left to the Unpickler, which stops there.
    """
    stack: list[int] = []  # for each value: tuples and items of tuples in it, shared ones counted wherever they are
    marks: list[int] = []
    memo: dict[int, int] = {}
    argument: Any
    for instruction, argument, _ in pickletools.genops(data):
        name = instruction.name
        if name not in _INSTRUCTIONS:
            raise _Refused(f"holds the pickle instruction {name}, which no table of labels needs")
        if name == "MARK":
            marks.append(len(stack))
            continue
        if name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            index = len(memo) if name == "MEMOIZE" else argument
            if index > len(data):
                raise _Refused("counts more values than it has bytes")
            memo[index] = stack[-1]
            continue
        start = marks.pop() if pickletools.markobject in instruction.stack_before else len(stack)
        start -= sum(kind not in (pickletools.markobject, pickletools.stackslice) for kind in instruction.stack_before)
        size = memo[argument] if name in ("BINGET", "LONG_BINGET") else 1
        if instruction.stack_after == [pickletools.pytuple]:
            size += sum(stack[start:])
        if size > _MAX_TUPLE:
            raise _Refused("holds tuples of many tuples, which no table of labels needs")
        stack[start:] = [size] * len(instruction.stack_after)


class _Unpickler(pickle.Unpickler):
    """The standard library's, for which the names of _KNOWN are all there are."""

    def find_class(self, module: str, name: str) -> _Known:
        """The stand-in of a name that numpy writes. Raises _Refused for any other."""
        if (module, name) not in _KNOWN:
            raise _Refused(f"asks for {printable(f'{module}.{name}')}, which no table of labels needs")
        return _Known(_KNOWN[module, name])


class _Known:
    """A name that a pickle asks for: it can be called, and nothing else."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., object]) -> None:
        self._make = make

    def __call__(self, *arguments: object) -> object:
        return self._make(*arguments)

    def __setstate__(self, state: object) -> NoReturn:
        raise _Refused("gives a state to a name, which no table of labels needs")


class _Type:
    """A dtype: kind and bytes as numpy writes them ("f8"), with the byte order that its state gives later."""

    def __init__(self, code: object, *_: object) -> None:
        if not isinstance(code, str):  # the text of nested lists that hold one another twice has no end
            raise _Refused("names a type by what is no text")
        self.code = code
        self.order = "<"

    def __setstate__(self, state: Any) -> None:
        """`state`: (version, byte order, ...)."""
        self.order = ">" if state[1] == ">" else "<"


class _Array:
    """An array: its items, which its state gives later."""

    def __init__(self, *_: object) -> None:
        self.items: list[Any] = []

    def __setstate__(self, state: Any) -> None:
        """`state`: (version, shape, dtype, is Fortran, content)."""
        dtype, content = state[2], state[4]
        self.items = content if isinstance(content, list) else _numbers(dtype, content)


def _scalar(dtype: object, content: object) -> object:
    (number,) = _numbers(dtype, content)
    return number


def _encode(text: object, encoding: object) -> bytes:
    """Bytes, as the second version of pickle writes them: text of one character a byte."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _Refused("encodes something, which no table of labels needs")
    return text.encode("latin1")


def _forbidden(*_: object) -> NoReturn:
    raise _Refused("calls numpy.ndarray, which no table of labels needs")


def _numbers(dtype: object, content: object) -> list[Any]:
    """The items of an array of numbers or text from their bytes."""
    if not isinstance(dtype, _Type) or not isinstance(content, bytes):
        raise _Refused("holds an array without type or content")
    if not _NUMBERS_OR_TEXT.fullmatch(dtype.code):
        raise _Refused(f"holds numbers of the unknown type {printable(dtype.code)!r}")
    array = np.frombuffer(content, np.dtype(dtype.order + dtype.code))
    if len(array) > _MAX_NUMBERS:
        raise _Refused("holds a long array")
    return [item.decode("latin1") if isinstance(item, bytes) else item for item in array.tolist()]


_KNOWN: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy", "dtype"): _Type,
    ("numpy", "ndarray"): _forbidden,
    ("_codecs", "encode"): _encode,
}


def _single(value: object) -> object:
    """The one item of an array of one; anything else as it is."""
    return value.items[0] if isinstance(value, _Array) and len(value.items) == 1 else value


def _plain(value: object) -> Any:
    value = _single(value)
    if isinstance(value, _Array):
        return [_single(item) for item in value.items]
    return None if isinstance(value, _Known | _Type) else value
