"""The owners' label files: npz archives of pickled dicts, read as data. Nothing in them is ever called.

    label.npz = zip of NAME.npy;  NAME.npy = header, then a pickle of an array of one dict {clip: {field: value}}

A pickle is a program, and `numpy.load(allow_pickle=True)` runs it. Here its instructions are listed by the standard
library (`pickletools.genops`) and those that build text, numbers, lists, tuples and dicts are carried out by this file.
The names that numpy writes for arrays, dtypes and scalars (numpy 1 and 2) become plain Python values; any other name,
and any other instruction, is refused. So a file can hold wrong values, but nothing happens by reading it.

Bounds: one array of at most 8 MiB unpacked, which is several times the largest of MER-UniBench, in a file of 64 MiB.
"""

from __future__ import annotations

import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from lzma import LZMAError
from pathlib import Path
from typing import Any, NoReturn

from mer_r1.errors import InputError
from mer_r1.text import printable

MAX_BYTES = 8 * 2**20
MAX_FILE_BYTES = 64 * 2**20
_MAX_NUMBERS = 1024
_MAGIC = b"\x93NUMPY"
_OBJECT = b"'descr': '|O'"
_BROKEN = (
    zipfile.BadZipFile, zlib.error, LZMAError, struct.error, OSError, EOFError, MemoryError, NotImplementedError,
    RuntimeError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError,
)  # fmt: skip
"""What the zip and pickle readers of the standard library raise over broken bytes."""


class _Refused(Exception):
    """An instruction, or a name, that label files have no use for."""


@dataclass(frozen=True)
class _Name:
    """A name that a pickle asks for; never looked up."""

    module: str
    name: str


@dataclass
class _Type:
    """A dtype: kind and bytes as numpy writes them ("f8"), with the byte order that its state gives later."""

    code: str
    order: str = "<"


@dataclass
class _Array:
    """An array: its items, which its state gives later."""

    items: list[Any] = field(default_factory=list)


class _Mark:
    """The place on the stack where a group of items begins."""


def read_corpus(path: Path, key: str) -> dict[str, dict[str, Any]]:
    """The dict {clip: {field: value}} that stands in the label file `path` under `key`, in the file's order.

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
        if not isinstance(clip, str) or not isinstance(fields, dict):
            raise InputError(f'{path}: "{key}", clip {printable(clip)!r}: a clip has a name and a table of fields')
        corpus[clip] = {str(name): _plain(value) for name, value in fields.items()}
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
    return _single(_interpret(data[end:]))


def _single(value: object) -> object:
    """The one item of an array of one; anything else as it stands."""
    return value.items[0] if isinstance(value, _Array) and len(value.items) == 1 else value


def _plain(value: object) -> Any:
    value = _single(value)
    if isinstance(value, _Array):
        return [_single(item) for item in value.items]
    return None if isinstance(value, _Name | _Type | _Mark) else value


def _interpret(data: bytes) -> object:
    """The value that the pickle `data` builds."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    argument: Any
    for instruction, argument, _ in pickletools.genops(data):
        name = instruction.name
        if name in _PUSH:
            stack.append(argument)
        elif name in _NEW:
            stack.append(_NEW[name]())
        elif name in _BUILD:
            _BUILD[name](stack)
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "GLOBAL":
            stack.append(_name(*argument.split(" ", 1)))
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise _Refused(f"holds the pickle instruction {name}, which no table of labels needs")
    raise EOFError("the pickle ends too early")


def _name(module: object, name: object) -> _Name:
    if not isinstance(module, str) or not isinstance(name, str):
        raise _Refused("asks for a name that is no text")
    if (module, name) not in _KNOWN:
        raise _Refused(f"asks for {printable(f'{module}.{name}')}, which no table of labels needs")
    return _Name(module, name)


def _group(stack: list[Any]) -> list[Any]:
    """Take what stands above the newest mark, and the mark, from the stack."""
    items: list[Any] = []
    while not isinstance(item := stack.pop(), _Mark):
        items.append(item)
    return items[::-1]


def _stack_global(stack: list[Any]) -> None:
    name, module = stack.pop(), stack.pop()
    stack.append(_name(module, name))


def _tuple(num: int) -> Callable[[list[Any]], None]:
    def build(stack: list[Any]) -> None:
        items = [stack.pop() for _ in range(num)]
        stack.append(tuple(reversed(items)))

    return build


def _append(stack: list[Any]) -> None:
    _extend(stack, [stack.pop()])


def _extend(stack: list[Any], items: list[Any]) -> None:
    if not isinstance(stack[-1], list):
        raise _Refused("adds items to what is no list")
    stack[-1].extend(items)


def _set_item(stack: list[Any]) -> None:
    value, key = stack.pop(), stack.pop()
    _update(stack, [key, value])


def _update(stack: list[Any], items: list[Any]) -> None:
    if not isinstance(stack[-1], dict) or len(items) % 2:
        raise _Refused("adds entries to what is no table")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str):
            raise _Refused("has an entry whose name is no text")
        stack[-1][key] = value


def _reduce(stack: list[Any]) -> None:
    """A call in the pickle: one of the names of _KNOWN, made here from its arguments."""
    arguments, asked = stack.pop(), stack.pop()
    make = _KNOWN[asked.module, asked.name] if isinstance(asked, _Name) else None
    if make is None or not isinstance(arguments, tuple):
        raise _Refused("calls something, which no table of labels needs")
    stack.append(make(*arguments))


def _set_state(stack: list[Any]) -> None:
    """numpy's states: (version, order, ...) of a dtype; (version, shape, dtype, is Fortran, content) of an array."""
    state, target = stack.pop(), stack[-1]
    if isinstance(target, _Type):
        target.order = ">" if state[1] == ">" else "<"
    elif isinstance(target, _Array):
        dtype, content = state[2], state[4]
        target.items = content if isinstance(content, list) else _numbers(dtype, content)
    else:
        raise _Refused("gives a state to something, which no table of labels needs")


def _array(*_: object) -> _Array:
    return _Array()


def _dtype(code: object, *_: object) -> _Type:
    if not isinstance(code, str):  # the text of nested lists that hold each other twice has no end
        raise _Refused("names a type by what is no text")
    return _Type(code)


def _scalar(dtype: object, content: object) -> object:
    numbers = _numbers(dtype, content)
    if len(numbers) != 1:
        raise _Refused("holds a number that is none")
    return numbers[0]


def _encode(text: object, encoding: object) -> bytes:
    """Bytes, as the second version of pickle writes them: text of one letter a byte."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _Refused("encodes something, which no table of labels needs")
    return text.encode("latin1")


def _forbidden(*_: object) -> NoReturn:
    raise _Refused("calls numpy.ndarray, which no table of labels needs")


def _numbers(dtype: object, content: object) -> list[Any]:
    """The items of an array of numbers or text from their bytes."""
    if not isinstance(dtype, _Type) or not isinstance(content, bytes):
        raise _Refused("holds an array without type or content")
    kind, size = dtype.code[:1], int(dtype.code[1:])
    size *= 4 if kind == "U" else 1
    if not content or size <= 0 or len(content) % size:
        raise _Refused("holds an array of another length than its type")
    if len(content) // size > _MAX_NUMBERS:
        raise _Refused("holds a long array")
    if kind in "US":
        encoding = "latin1" if kind == "S" else "utf-32-be" if dtype.order == ">" else "utf-32-le"
        pieces = [content[k : k + size] for k in range(0, len(content), size)]
        return [piece.decode(encoding).rstrip("\0") for piece in pieces]
    if (letter := _LETTERS.get(dtype.code)) is None:
        raise _Refused(f"holds numbers of the unknown type {printable(dtype.code)!r}")
    return list(struct.unpack(f"{dtype.order}{len(content) // size}{letter}", content))


_LETTERS = {
    "b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q",
    "f2": "e", "f4": "f", "f8": "d",
}  # fmt: skip

_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy._core.multiarray", "_reconstruct"): _array,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): _forbidden,
    ("_codecs", "encode"): _encode,
}

_PUSH = frozenset({
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "SHORT_BINUNICODE", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES",
})  # fmt: skip

_NEW: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "MARK": _Mark,
}

_BUILD: dict[str, Callable[[list[Any]], None]] = {
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "TUPLE": lambda stack: stack.append(tuple(_group(stack))),
    "APPEND": _append,
    "APPENDS": lambda stack: _extend(stack, _group(stack)),
    "SETITEM": _set_item,
    "SETITEMS": lambda stack: _update(stack, _group(stack)),
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "BUILD": _set_state,
}
