"""The text of a table's file in whichever encoding programs save it.

A byte order mark decides. Else a file of which every second byte is zero is UTF-16, and what is not valid UTF-8 is
taken as cp1252, which Excel writes in the West, unless its letters beyond ASCII stand in runs, as those of another
encoding do: then the encoding must be given, for a guess would turn words into others.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from mer_r1.data.importers.table import file_bytes
from mer_r1.errors import InputError
from mer_r1.text import printable

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_RUN = re.compile(rb"[\x80-\xff]+")
_HINT = "give its encoding, such as --encoding gb18030 or shift_jis, or save it as UTF-8"


def file_text(path: Path, encoding: str | None = None) -> tuple[str, str]:
    """The text of a file, its line ends as they are, and the encoding's name.

    Raises InputError for an encoding that is not known or does not fit, and as `file_bytes` does.
    """
    data = file_bytes(path)
    chosen = encoding or _encoding_of(data)
    if chosen is None:
        raise InputError(f"{path}: neither UTF-8 nor UTF-16, nor Western text of Excel; {_HINT}")
    try:
        text = data.decode(chosen)
    except LookupError:
        raise InputError(f"--encoding {printable(chosen)}: no such encoding; give one such as utf-8") from None
    except UnicodeError:
        raise InputError(f"{path}: not {printable(chosen)} text; {_HINT}") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{path}:{line}: a NUL character; is this a table? give a CSV, JSON, Excel or Parquet file")
    return text, chosen.removesuffix("-sig").upper() if chosen != "cp1252" else chosen


def _encoding_of(data: bytes) -> str | None:
    for mark, name in _MARKS:
        if data.startswith(mark):
            return name
    head = data[:4096]
    for zeros, name in ((head[1::2], "utf-16-le"), (head[::2], "utf-16-be")):
        if len(head) > 3 and zeros.count(0) > 0.4 * len(zeros):
            return name
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        runs = [len(run) for run in _RUN.findall(data)]
        is_western = sum(length == 1 for length in runs) > 0.7 * len(runs)
        return "cp1252" if is_western else None
    return "utf-8"
